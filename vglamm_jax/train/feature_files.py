"""Features of an encoder in files, by the pixels they are of.

    DIR/<encoder>-<fingerprint>/about.json             what the fingerprint is of
    DIR/<encoder>-<fingerprint>/ab/<key>.safetensors    of one frame (CLIP, SAM2) or one clip (InternVideo2)

The key is a hash of the pixels, the fingerprint one of all else that features follow from: weights, sizes, dtype, the
code between pixels and features, the versions and the machine that run it, and how many rows a device has at a time,
for a sum in a batch of another size may be rounded otherwise. So what is found is what the encoder would say, bit for
bit, and what is stale is never found. An entry is put in place by a rename and has checksums: processes may share a
folder, and what is damaged is known.
"""

import contextlib
import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from vglamm_jax.data import preprocess
from vglamm_jax.models import layers
from vglamm_jax.train import forward

FORMAT = "vglamm.features/1"
ENTRY = ".safetensors"


class Damaged(ValueError):
    """An entry that is not as it was written."""


class Entries:
    """The features of one encoder; an entry holds those of a unit, the least that it looks at at once."""

    def __init__(self, folder: str | Path, name: str, about: dict[str, Any], shapes: Sequence[jax.ShapeDtypeStruct]):
        """Makes the folder.

        Args:
          about: all that features follow from besides pixels; plain JSON values.
          shapes: of a unit's features.
        """
        self.shapes, text = shapes, json.dumps(about, indent=1, sort_keys=True)
        self.fingerprint = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self.folder = Path(folder) / f"{name}-{self.fingerprint.hex()}"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "about.json").write_text(text + "\n", encoding="utf-8")

    def path(self, pixels: np.ndarray) -> Path:
        """Where the features of a unit are, by what it looks at."""
        digest = hashlib.blake2b(self.fingerprint, digest_size=16)
        digest.update(f"{pixels.dtype} {pixels.shape} ".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        key = digest.hexdigest()
        return self.folder / key[:2] / f"{key}{ENTRY}"

    def read(self, path: Path) -> list[np.ndarray] | None:
        """None where there is no entry.

        Raises:
          Damaged: it was cut off or changed.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            start = 8 + int.from_bytes(content[:8], "little")
            header, body = json.loads(content[8:start]), content[start:]
            sums = header["__metadata__"]["crc32"].split()
            return [_checked(body, header[str(n)], shape, sums[n]) for n, shape in enumerate(self.shapes)]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise Damaged(f"{path}: is damaged ({error})") from error

    def write(self, path: Path, features: Sequence[np.ndarray]) -> None:
        """An entry is there whole or not at all; what a killed process began has a name that is never read.

        Raises:
          OSError: the disk is full or not writable; says what to do.
        """
        tensors = {str(n): np.ascontiguousarray(x) for n, x in enumerate(features)}
        content = safetensors.numpy.save(tensors, {"crc32": " ".join(map(_crc, tensors.values()))})
        partial = path.with_name(f".{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, path)
        except OSError as error:
            reason = error.strerror or "cannot be written to"
            with contextlib.suppress(OSError):
                partial.unlink()
            raise OSError(f"{self.folder}: {reason}; make room, or train without --cache-features") from error

    def size(self) -> tuple[int, int]:
        """Number of entries, and their bytes."""
        sizes = [path.stat().st_size for path in self.folder.glob(f"*/*{ENTRY}")]
        return len(sizes), sum(sizes)


def _checked(body: bytes, entry: dict[str, Any], shape: jax.ShapeDtypeStruct, crc: str) -> np.ndarray:
    start, stop = entry["data_offsets"]
    found = np.frombuffer(body[start:stop], shape.dtype).reshape(shape.shape)
    if _crc(found) != crc:
        raise ValueError("its checksum is another")
    return found


def _crc(x: np.ndarray) -> str:
    return f"{zlib.crc32(x.reshape(-1).view(np.uint8)):08x}"


def origin() -> dict[str, Any]:
    """What runs the encoders, as far as it can change a bit of what they say."""
    code = hashlib.blake2b(digest_size=16)
    package = Path(layers.__file__).parent
    for path in [*sorted(package.rglob("*.py")), Path(preprocess.__file__), Path(forward.__file__)]:
        code.update(path.read_bytes())
    return {
        "format": FORMAT,
        "code": code.hexdigest(),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax")},
        "device": jax.devices()[0].device_kind,
        "flags": [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")],
        "precision": jax.config.jax_default_matmul_precision,
    }
