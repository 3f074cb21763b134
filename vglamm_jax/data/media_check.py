"""Can the pictures of an example be read, and are they what it says?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from vglamm_jax.data.fields import Problem
from vglamm_jax.data.media import VideoError
from vglamm_jax.data.open_media import open_media, window
from vglamm_jax.data.schema import Media

Depth = Literal["exists", "some", "all"]


class MediaCheck:
    """Problems of media under `root`; examples that share a video have it read once.

    Depth "exists" looks for the files, "some" also decodes the first, middle and last frame, "all" every frame.
    """

    def __init__(self, root: str | Path, depth: Depth = "some"):
        self.root, self.depth = Path(root), depth
        self._known: dict[Media, list[Problem]] = {}

    def __call__(self, media: Media) -> list[Problem]:
        if media.encoded or media not in self._known:
            problems = list(self._problems(media))
            if media.encoded:
                return problems
            self._known[media] = problems
        return self._known[media]

    def _problems(self, media: Media) -> Iterator[Problem]:
        missing = [name for name in media.frames if not (self.root / name).is_file()]
        if media.path and not (self.root / media.path).exists():
            missing.append(media.path)
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            fix = f"copy it there, or correct the path (relative to {self.root})"
            yield Problem("media", f"{self.root / missing[0]} is missing{more}", fix)
        elif self.depth != "exists":
            try:
                self._read(media)
            except (VideoError, OSError) as error:
                yield Problem("media", str(error), "correct the example or the file")

    def _read(self, media: Media) -> None:
        """Raises VideoError."""
        video = open_media(media, self.root)
        wanted = window(media, video)
        if self.depth == "some":
            wanted = sorted({wanted[0], wanted[len(wanted) // 2], wanted[-1]})
        for frame, picture in zip(wanted, video.frames(wanted)):
            if picture.shape[:2] != tuple(media.size):
                height, width = picture.shape[:2]
                raise VideoError(
                    f"{video.path}: frame {frame} is {width}x{height}, but the example says "
                    f"{media.size[1]}x{media.size[0]} (its size is [height, width])"
                )
