"""One compilation: what the program needs of a chip, its text, and what the compiler complained of meanwhile."""

import contextlib
import dataclasses
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import jax

from vglamm_jax.train.memory import OUT_OF_MEMORY, DoesNotFit

# What the partitioner says where it found no way from one sharding to another but to gather the whole array.
COMPLAINT = "Involuntary full rematerialization"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program for one chip of a topology; sizes in bytes."""

    arguments: int
    outputs: int  # those that are no arguments' memory
    temporaries: int
    peak: int
    code: int
    seconds: float  # of compilation
    complaints: tuple[str, ...]  # lines with COMPLAINT
    hlo: str  # the optimised program


def compiled(program: jax.stages.Lowered) -> Compiled:
    """Compiles for the topology that the program's shapes are placed on.

    Raises:
      DoesNotFit: it needs more memory than a chip has; the message has both sizes.
    """
    start = time.time()
    with captured_stderr() as said, not_kept():
        try:
            executable = program.compile()
        except jax.errors.JaxRuntimeError as error:
            if OUT_OF_MEMORY not in str(error):
                raise
            raise DoesNotFit(_memory_line(str(error))) from error
    memory = executable.memory_analysis()
    return Compiled(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        peak=memory.peak_memory_in_bytes,
        code=memory.generated_code_size_in_bytes,
        seconds=time.time() - start,
        complaints=tuple(line for line in said if COMPLAINT in line),
        hlo=executable.as_text(),
    )


@contextlib.contextmanager
def not_kept() -> Iterator[None]:
    """Nothing goes into JAX's compilation cache: without its chip, no program of a TPU can be read from there again."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, math.inf)
    try:
        yield
    finally:
        jax.config.update(name, before)


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """What the process, libraries included, writes to stderr meanwhile: lines, there when the block is left.

    All of it still appears on stderr, after the block.
    """
    lines: list[str] = []
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            lines += _lines(file)
            print("\n".join(line for line in lines if line), end="\n" if lines else "", file=sys.stderr)


def _lines(file: IO[str]) -> list[str]:
    file.seek(0)
    return file.read().splitlines()


def _memory_line(message: str) -> str:
    """`Used 20.31G of 15.75G hbm. Exceeded hbm capacity by 4.56G.` of a message of many lines."""
    found = re.search(r"Ran out of memory.*|Used [^\n]*hbm[^\n]*", message)
    return (found.group(0) if found else message.splitlines()[0])[:300]
