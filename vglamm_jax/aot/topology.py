"""TPUs that are not here: libtpu describes a topology's chips on any Linux machine and compiles for them."""

import os
from typing import Any

from vglamm_jax import chips

WITHOUT_LIBTPU = "compiling for TPUs needs libtpu: pip install vglamm_jax[aot]"


def topology_devices(name: str, slices: int = 1) -> list[Any]:
    """The chips of e.g. `v5e:4x4`, of `slices` such slices joined by the data-centre network.

    Raises:
      ValueError: a topology libtpu does not know, or chips whose figures `chips` does not know.
      ModuleNotFoundError: no libtpu.
    """
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if name.partition(":")[2] in ("1x1", "1x1x1"):
        options["chips_per_host_bounds"] = (1, 1, 1)
    if slices > 1:
        options["num_slices"] = slices
    try:
        devices = list(topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices)
    except ImportError as error:
        raise ModuleNotFoundError(WITHOUT_LIBTPU) from error
    except Exception as error:
        if "libtpu" in str(error).lower() and "not" in str(error).lower():
            raise ModuleNotFoundError(WITHOUT_LIBTPU) from error
        raise ValueError(f"topology {name!r} is not known; examples: v5e:1x1, v5e:4x4, v5p:2x2x1 ({error})") from error
    chips.of_topology(name)
    return devices
