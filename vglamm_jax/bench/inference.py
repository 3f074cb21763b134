"""`vglamm bench inference`: each part of answering a video, ours against the PyTorch model of transformers.

Same weights, same inputs, same run, same number of threads, float32 on the CPU. Times are medians of runs in
turns and depend on the machine; the ratios are what to look at.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import jax

from vglamm_jax.bench import PARTS
from vglamm_jax.bench.timing import Pair, Row, measure
from vglamm_jax.config import HieraConfig, VideoGlammConfig, load_model_config

Size = Literal["tiny", "small", "full"]


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is computed at one size."""

    config: VideoGlammConfig
    images: int
    prompt: int  # positions the language model reads before it answers
    new_tokens: int
    objects: int


def workload(size: Size) -> Workload:
    """`full`: the published towers and SAM2, and a Phi-3 of width 1024 and 8 blocks, since two float32 copies of the
    published one would take 30 GB. `small`: published widths with few blocks, for a quick look. `tiny`: the test model.
    """
    if size == "tiny":
        return Workload(load_model_config("tiny"), images=2, prompt=128, new_tokens=8, objects=2)
    config = load_model_config("videoglamm_phi3")
    if size == "full":
        config.llm = dataclasses.replace(
            config.llm, width=1024, depth=8, heads=16, kv_heads=16, head_dim=64, mlp_width=2816
        )
        return Workload(config, images=2, prompt=config.video_tokens + 72, new_tokens=16, objects=2)
    config.llm.depth, config.llm.vocab, config.clip.depth = 2, 4096, 5
    hiera = config.sam2.hiera
    config.sam2.hiera = HieraConfig(
        width=hiera.width, heads=hiera.heads, stages=(1, 1, 4, 1), windows=hiera.windows, global_blocks=(3,)
    )
    return Workload(config, images=1, prompt=512, new_tokens=16, objects=1)


def parts(work: Workload) -> dict[str, Callable[[], Iterator[Pair]]]:
    """Builders of the pairs of each part; nothing is built before it is called."""
    from vglamm_jax.bench import pairs

    return {
        "clip": lambda: pairs.clip(work.config.clip, work.images),
        "llm": lambda: pairs.llm(work.config.llm, work.prompt, work.new_tokens),
        "sam2": lambda: pairs.sam2(work.config.sam2, work.objects),
    }


def run(
    size: Size = "small",
    runs: int = 5,
    only: Sequence[str] | None = None,
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Measures `only` these parts (all by default), one after the other; `report` gets each row as it is known.

    Raises:
      ModuleNotFoundError: PyTorch is not installed.
      ValueError: an unknown part, or a part whose two programs disagree.
    """
    unknown = sorted(set(only or ()) - set(PARTS))
    if unknown:
        raise ValueError(f"no such part to measure: {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    require_torch()
    rows = []
    with jax.default_device(jax.devices("cpu")[0]):
        builders = parts(workload(size))
        for name in only or PARTS:
            for pair in builders[name]():
                rows.append(measure(pair, runs))
                report(rows[-1])
    return rows


def require_torch() -> None:
    """PyTorch with as many threads as JAX takes."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("this compares with PyTorch: pip install 'vglamm_jax[torch]'") from error
    torch.set_num_threads(threads())


def threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy() -> str:
    """What to say where other programs take the processors; empty where they do not."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= threads() / 2:
        return ""
    return (
        f"this machine is busy (load {load:.1f} on {threads()} processors): PyTorch's threads wait for each other "
        "and suffer more than ours, so ratios measured now flatter us"
    )


COLUMNS = {
    "part": 18,
    "of": 34,
    "ours ms": 9,
    "PyTorch ms": 10,
    "ours / PyTorch": 14,
    "range": 14,
    "error": 5,
}


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.detail,
        f"{row.ours_ms:.1f}",
        f"{row.torch_ms:.1f}",
        f"{row.ratio:.2f}",
        f"{row.lowest_ratio:.2f} to {row.highest_ratio:.2f}",
        f"{row.error:.0e}",
    )
