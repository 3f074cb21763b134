"""Large files told apart without reading all of them."""

import zlib
from pathlib import Path

import numpy as np

PIECE = 4096  # bytes


def glimpse(path: Path, pieces: int) -> int:
    """A checksum of a file's size and of so many pieces of it, spread evenly, its beginning and end among them."""
    size = path.stat().st_size
    found = zlib.crc32(str(size).encode())
    with path.open("rb") as file:
        for place in np.unique(np.linspace(0, max(0, size - PIECE), pieces).astype(np.int64)):
            file.seek(int(place))
            found = zlib.crc32(file.read(PIECE), found)
    return found
