"""Reads the next tensor in a thread while the last one is being written: reading, checksums and writing overlap."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from vglamm_jax.convert.torch_io import LazyTensor, Tensors


def ahead(tensors: Tensors) -> dict[str, LazyTensor]:
    """The same tensors; when one is read, the one after it begins to be. Two are in memory at a time.

    Read in another order they are still right, only not faster.
    """
    reader = _Reader(tensors)
    return {name: replace(tensor, read=lambda n=n: reader.read(n)) for n, (name, tensor) in enumerate(tensors.items())}


class _Reader:
    def __init__(self, tensors: Tensors):
        self.reads = [tensor.read for tensor in tensors.values()]
        self.thread = ThreadPoolExecutor(1)
        self.next: tuple[int, Future] | None = None

    def read(self, n: int) -> np.ndarray:
        waiting, self.next = self.next, None
        value = waiting[1].result() if waiting is not None and waiting[0] == n else self.reads[n]()
        if n + 1 < len(self.reads):
            self.next = n + 1, self.thread.submit(self.reads[n + 1])
        return value
