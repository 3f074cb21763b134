"""Whether a checkpoint is of the run that would go on from it: its arrays, settings, data and first weights."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from vglamm_jax.config import to_json
from vglamm_jax.train.config import TrainConfig

# What decides the rows, their order and the frozen weights; with another batch size the same step has other rows.
KEPT = ("batch_size", "seed", "data", "model")
FREE = ("data.threads", "data.ahead", "data.strict")


class ResumeError(ValueError):
    """A checkpoint that this run cannot go on from; the message says why and what to do."""


def check_steps(where: Path, done: int, steps: int) -> None:
    if done > steps:
        raise ResumeError(
            f"{where}: has done {done} steps, steps={steps} is fewer; raise steps, or use another workdir"
        )


def check_arrays(where: Path, wanted: Mapping[str, jax.ShapeDtypeStruct], stored: Mapping[str, tuple]) -> None:
    """One line about every array that is missing, too many or of another shape."""
    wrong = [f"{name} is missing" for name in wanted if name not in stored]
    wrong += [f"{name} is not part of this run" for name in stored if name not in wanted]
    wrong += [
        f"{name} is {list(stored[name])}, here {list(x.shape)}"
        for name, x in wanted.items()
        if stored.get(name, tuple(x.shape)) != tuple(x.shape)
    ]
    if wrong:
        raise ResumeError(
            f"{where}: is of another model or trains other parts: {_few(wrong)}; use another workdir, or the config it "
            "was written with"
        )


def check_settings(where: Path, cfg: TrainConfig, before: Mapping[str, Any]) -> None:
    """`before`: the config in the checkpoint. Fields that only one of the two has are of another version."""
    now = json.loads(json.dumps(to_json(cfg)))
    changed = [f"{name}={_short(old)}, here {_short(new)}" for name, old, new in _changes(before, now, KEPT)]
    if changed:
        raise ResumeError(f"{where}: was trained with {_few(changed)}; use the same, or another workdir")


def check_data(where: Path, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Both as `pipeline.Batches.identity`; checkpoints of earlier versions say nothing of contents."""
    if before["fingerprint"] != now["fingerprint"]:
        raise ResumeError(
            f"{where}: was trained on other data (sources, weights, frame rules or seed differ); use another workdir, "
            "and start.parts to begin with its weights"
        )
    for known, (name, found) in zip(before.get("contents", ()), now["contents"]):
        if known[1] != found:
            raise ResumeError(
                f"{where}: {name} holds other examples than when it was written; bring them back, or use another "
                "workdir"
            )


def check_start(where: Path, cfg: TrainConfig, digests: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Frozen weights are read again from where the run began, wherever that lies now.

    Checkpoints of earlier versions know it by the names of its folders alone.
    """
    now, before = json.loads(json.dumps(to_json(cfg.start))), meta["config"]["start"]
    known = meta.get("start", {field: _names(before.get(field)) for field in digests})
    found = digests if "start" in meta else {field: _names(now[field]) for field in digests}
    for field in digests:
        if known.get(field) != found[field]:
            raise ResumeError(
                f"{where}: its run began with other weights, start.{field}={before.get(field)}; what this one says, "
                f"{now[field]}, does not hold the same: begin with those, or use another workdir"
            )


def _names(path: str | list[str] | None) -> Any:
    return [Path(one).name for one in path] if isinstance(path, list) else path and Path(path).name


def _changes(before: Mapping, now: Mapping, fields, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, old, new) of each field of these that both have, down to those that are no configs themselves."""
    for field in (field for field in fields if field in before and field in now):
        name, old, new = prefix + field, before[field], now[field]
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, old, f"{name}.")
        elif old != new and name not in FREE:
            yield name, old, new


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _few(wrong: list[str]) -> str:
    return ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
