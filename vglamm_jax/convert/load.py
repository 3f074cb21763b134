"""Loads the whole model from a checkpoint of either form: the original's files, or an Orbax folder."""

from pathlib import Path
from typing import Any

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.convert import orbax_read, source, verify
from vglamm_jax.convert.engine import Progress
from vglamm_jax.convert.orbax_io import is_orbax
from vglamm_jax.models.videoglamm import VideoGlamm


def load(
    folder: str | Path,
    clip: str | Path | None = None,
    internvideo2: str | Path | None = None,
    sam2: str | Path | None = None,
    config: VideoGlammConfig | None = None,
    *,
    dtype: Any = "float32",
    check: bool = False,
    progress: Progress | None = None,
    shardings: Any = None,
) -> tuple[VideoGlamm, VideoGlammConfig, Path]:
    """The model with its weights, its sizes, and the folder its tokenizer is in.

    Args:
      folder: see `source.find`, or an Orbax folder that `vglamm convert` wrote, which holds its towers.
      clip, internvideo2, sam2: where those are, when not beside the original's files.
      config: overrides whatever the files say.
      dtype: of every parameter.
      check: first compare every tensor with the manifest that was written with the folder.
      progress: called with bytes read so far and in all.
      shardings: a tree like the model, e.g. `sharding.shardings(layers.abstract(...), mesh)`; each device then
        reads and holds its own shards only.

    Raises:
      FileNotFoundError, CheckpointError: one message with the file, what is wrong, and what to do.
    """
    if check:
        verify.check(folder, config, progress)
    if not is_orbax(folder):
        return source.load(
            folder, clip, internvideo2, sam2, config, dtype=dtype, progress=progress, shardings=shardings
        )
    given = [name for name, path in (("clip", clip), ("internvideo2", internvideo2), ("sam2", sam2)) if path]
    if given:
        raise ValueError(f"{folder}: an Orbax folder holds the whole model; leave --{' and --'.join(given)} out")
    model, cfg = orbax_read.restore(folder, config, dtype=dtype, shardings=shardings)
    return model, cfg, Path(folder) / "files" / "home"
