"""From a data set as it was downloaded to array_record files, whole or not at all."""

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from etils import epath

from vglamm_jax.data.builders.report import Report, asked, read_report, write_report
from vglamm_jax.data.builders.stored import AS_USUAL, Storage
from vglamm_jax.data.schema import BadRecord
from vglamm_jax.data.sources.registry import options_of, source_named

VERSION = "1.0.0"
BEAM_TASKS = 64


def folder_of(name: str) -> str:
    """The name of a source as a name of files: "refcoco+" is refcoco_plus."""
    return name.replace("+", "_plus")


def directory_of(out: str | os.PathLike, name: str, split: str) -> epath.Path:
    return epath.Path(out) / folder_of(name) / split / VERSION


def builder_class(name: str) -> type:
    """The tfds builder of a source. Raises ValueError for a name that is none."""
    module = importlib.import_module(f"vglamm_jax.data.builders.{source_named(name).module}")
    return next(one for one in vars(module).values() if getattr(one, "SOURCE", None) == name)


def build(
    name: str,
    root: str | os.PathLike,
    out: str | os.PathLike,
    split: str = "train",
    *,
    workers: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    beam_runner: str | None = None,
    beam_options: Sequence[str] = (),
    storage: Storage = AS_USUAL,
    options: dict[str, Any] | None = None,
    progress: bool = True,
) -> Report:
    """Writes `out/<name>/<split>/1.0.0`, which appears when it is complete; what is there already is kept.

    The files do not depend on `workers` or Beam: examples are ordered by a hash of their ids. Bad records are left out
    and listed in the report, which lies beside the files.

    workers: processes that read, 1 unless given; with Beam the number of tasks, 64 unless given.
    strict: the first bad record ends the build.
    beam_runner: e.g. "DirectRunner", "FlinkRunner", "DataflowRunner" with `beam_options` like "--project=name".
    options: of the source's `examples`, see `registry.options_of`.

    Raises:
        ValueError: unknown name, split or option, no usable example, built before from other options, Beam asked for
            and not installed; BadRecord when strict.
        FileNotFoundError: files of the data set are missing.
    """
    final, options = directory_of(out, name, split), dict(options or {})
    workers = (BEAM_TASKS if beam_runner else 1) if workers is None else workers
    _check(name, root, workers, beam_runner, options)
    if final.exists() and not overwrite:
        return _there_already(final, asked(options, storage))
    work = epath.Path(out) / f".{folder_of(name)}-{split}.building"
    _remove(work)
    work.mkdir(parents=True)
    try:
        config = {"storage": storage, "options": options, "strict": strict, "parts": workers}
        report = _prepare(name, root, work, split, config, beam_runner, beam_options, progress)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            final.rename(work / "replaced")
        report.directory.rename(final)
    finally:
        _remove(work)
    return dataclasses.replace(report, directory=final)


def _there_already(final: epath.Path, wanted: dict[str, Any]) -> Report:
    """Raises ValueError when what was built is not what is asked for."""
    report = read_report(final)
    for what, now in wanted.items():
        if report.asked[what] != now:
            raise ValueError(
                f"{final} was built with {what} {report.asked[what]}, not {now}; add --overwrite or change --out"
            )
    return dataclasses.replace(report, reused=True)


def _check(name: str, root, workers: int, beam_runner: str | None, options: dict[str, Any]) -> None:
    known = options_of(name)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}: choose of {', '.join(known) or 'none'}")
    if not epath.Path(root).is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give the folder the data set was unpacked to")
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    if beam_runner and importlib.util.find_spec("apache_beam") is None:
        raise ValueError("Apache Beam is not installed: pip install 'vglamm_jax[beam]', or leave --beam-runner out")


def _prepare(name, root, work: epath.Path, split: str, config: dict, runner, flags, progress: bool) -> Report:
    import tensorflow_datasets as tfds

    from vglamm_jax.data.builders.tfds_builder import BuildConfig

    tfds.disable_progress_bar()
    bad_file = work / "bad.jsonl" if runner else None
    config = BuildConfig(name=split, beam=os.fspath(bad_file) if runner else None, **config)
    downloads = tfds.download.DownloadConfig(
        manual_dir=root, beam_runner=runner, beam_options=_beam_options(flags) if runner else None
    )
    with _quiet(), _bar(f"{name} {split}", progress) as bar:
        builder = builder_class(name)(data_dir=work, config=config)
        builder.on_record = bar.update_to
        builder.download_and_prepare(
            download_dir=work / "downloads", download_config=downloads, file_format="array_record"
        )
    bad = _read_bad(bad_file) if runner else builder.bad
    examples, wanted = builder.info.splits[split].num_examples, asked(config.options, config.storage)
    report = Report(epath.Path(builder.data_path), examples, tuple(bad), wanted)
    write_report(report)
    return report


@contextlib.contextmanager
def _quiet():
    """Without what tfds prints about a "download" to a folder that is about to be renamed."""
    from absl import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(before)


def _beam_options(flags: Sequence[str]):
    from apache_beam.options.pipeline_options import PipelineOptions

    return PipelineOptions(flags=list(flags))


def _bar(what: str, progress: bool):
    from tqdm import tqdm

    class Bar(tqdm):
        def update_to(self, count: int) -> None:
            self.update(count - self.n)

    return Bar(desc=what, unit="record", disable=not (progress and sys.stderr.isatty()), leave=False)


def _read_bad(file: epath.Path) -> Iterable[BadRecord]:
    return [BadRecord(**json.loads(line)) for line in sorted(file.read_text().splitlines())] if file.exists() else []


def _remove(path: epath.Path) -> None:
    if path.exists():
        path.rmtree()
