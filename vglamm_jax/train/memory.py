"""A run that does not fit its devices ends in one line, as other configs that cannot work."""

import contextlib
from collections.abc import Iterator

import jax

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


class DoesNotFit(ValueError):
    """A program or a run needs more memory than its devices have; starting it again changes nothing."""


@contextlib.contextmanager
def fitting() -> Iterator[None]:
    """What is made, compiled and run in here fits the devices, or else:

    Raises:
      DoesNotFit: what XLA says of it, and the fields that help.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise DoesNotFit(
            "the run does not fit the memory of its devices: raise accumulate, set remat=true, or spread it with "
            f"mesh.fsdp and mesh.tensor; `vglamm aot train` says before what fits ({reason})"
        ) from error
