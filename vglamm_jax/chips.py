"""Published figures of the TPU chips, in one table: what they compute, hold and send.

Sources, by the row's name (docs.cloud.google.com/tpu/docs/..., read 2026):

- `v4`: .../v4. Links: six of 50 GB/s each way (arXiv 2304.01433, table 4). No figure of its data-centre network is
  published per chip, so programs over several slices of it are not predicted.
- `v5e`: .../v5e. 400 GB/s between chips counts both directions; 25 Gbit/s per chip is 2 x 100 Gbit/s per host of 8.
- `v5p`: .../v5p. 1200 GB/s between chips, both directions; 50 Gbit/s per chip out of the slice.
- `v6e`: .../v6e, and the comparison in .../tpu7x for its 100 Gbit/s per chip.
- `tpu7x`: .../tpu7x.

Derived, not published:

- `clock`: FLOP/s / (FLOPs of all matrix units in a cycle). A unit of 128 x 128 does 2 x 128^2 FLOPs: v5e 197e12 /
  (4 x 2 x 128^2) = 1.50 GHz, v5p 459e12 / (8 x 2 x 128^2) = 1.75 GHz, v4 275e12 / (8 x 2 x 128^2) = 1.05 GHz. The page
  of v6e speaks of two units of 256 x 256, yet libtpu estimates a large bfloat16 product at 369e3 FLOPs a cycle, more
  than two of them do; four are the next possible number: 918e12 / (4 x 2 x 256^2) = 1.75 GHz. tpu7x publishes no
  units; libtpu's 422e3 FLOPs a cycle of one core point to four of 256 x 256 there: 1.1535e15 / 524288 = 2.20 GHz.
- `ici`: half of the published sum of both directions, divided among the links (two per torus dimension).
- `usable`: what libtpu 0.0.42 says a program may have, in the message that a program too large gets.
"""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """Figures of one JAX device, which is a chip, except on v4 and tpu7x, where it is one of the chip's two cores."""

    name: str  # of the generation, as in `v5e:4x4`
    kinds: tuple[str, ...]  # JAX's `device_kind`
    flops: float  # dense bfloat16 FLOP/s
    cycle: int  # FLOPs of its matrix units in a clock cycle
    hbm: float  # bytes
    hbm_speed: float  # bytes/s
    usable: float  # bytes a program may have
    ici: float  # bytes/s of one link between chips, one way
    torus: int  # dimensions of it; two links each
    dcn: float | None  # bytes/s out of the slice, one way

    @property
    def clock(self) -> float:
        """Cycles a second of the core that the compiler's estimates are in."""
        return self.flops / self.cycle


MXU_128, MXU_256 = 2 * 128**2, 2 * 256**2  # FLOPs a cycle of one matrix unit

CHIPS = (
    Chip("v4", ("TPU v4",), 137.5e12, 4 * MXU_128, 16 * GIB, 600e9, 15.25 * GIB, 50e9, 3, None),
    Chip("v5e", ("TPU v5 lite", "TPU v5e"), 197e12, 4 * MXU_128, 16e9, 819e9, 15.75 * GIB, 50e9, 2, 3.125e9),
    Chip("v5p", ("TPU v5", "TPU v5p"), 459e12, 8 * MXU_128, 95 * GIB, 2765e9, 95.74 * GIB, 100e9, 3, 6.25e9),
    Chip("v6e", ("TPU v6 lite", "TPU v6e"), 918e12, 4 * MXU_256, 32e9, 1638e9, 31.25 * GIB, 100e9, 2, 12.5e9),
    Chip("tpu7x", ("TPU7x",), 1153.5e12, 4 * MXU_256, 96 * GIB, 3690e9, 94.75 * GIB, 100e9, 3, 6.25e9),
)


def of_topology(name: str) -> Chip:
    """The chip of e.g. `v5e:4x4`.

    Raises ValueError for a generation that is not in the table.
    """
    generation = name.partition(":")[0]
    for chip in CHIPS:
        if chip.name == generation:
            return chip
    known = ", ".join(chip.name for chip in CHIPS)
    raise ValueError(f"no figures of {generation!r} chips are known here, only of {known}")


def of_kind(kind: str) -> Chip | None:
    """The chip that JAX calls `kind`; None for one that is not in the table, a CPU for instance."""
    return next((chip for chip in CHIPS if kind in chip.kinds), None)
