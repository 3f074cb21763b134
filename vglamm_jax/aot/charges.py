"""What one run of one instruction costs: the compiler's estimate, or ours where it has none.

Estimated here, since the compiler says nothing about them:

- Attention kernels (Pallas), from their operands. The products of one visited block of scores: forward 2, backward to
  the queries 3, to keys and values 4, to all of them at once 5, all at KERNEL_EFFICIENCY of the peak with the head's
  width rounded up to the 128 lanes of a matrix unit. How many blocks are visited the kernel's table says ([1, query
  blocks, key blocks of a row]): all of it, or, where another operand gives the positions for a causal mask, those up
  to the diagonal.
- Copies and updates in place, as bytes read and written in HBM at its published speed.
- What collectives send: `network.py`.

Transfers that run beside the core (`-start` until `-done`) are marked by `waited`, the name under which their end is
waited for.
"""

import dataclasses
import math
import re

from vglamm_jax.aot.hlo_text import Array, Computation, Instruction, Module, arrays
from vglamm_jax.aot.network import KINDS, Network, Transfer, between_slices, transfer

KERNEL_EFFICIENCY = 0.5  # of the peak; assumed, cautiously
PRODUCTS = {"_fwd": 2, "_dq": 3, "_dkv": 4}  # of a block of scores, by what the kernel's name has
FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"),
    *("while", "conditional", "call", "opt-barrier", "add-dependency", "recv", "recv-done", "domain"),
}
FREE_CALLS = ("AllocateBuffer", "ConcatBitcast", "Sharding", "MoveToHost", "MoveToDevice")
BESIDE = (
    *("copy-start", "slice-start", "dynamic-slice-start", "dynamic-update-slice-start"),
    *("async-start", "call-start"),  # by another core of the chip
)
COPIES = ("copy", "reshape", "iota", "concatenate", "slice", "dynamic-slice", "dynamic-update-slice")
NEGLIGIBLE = 2**14  # bytes: work on scalars and the like


@dataclasses.dataclass(frozen=True)
class Charge:
    """Attributes:
    resource: "core"; "ICI" or "DCN", the links; "HBM", a copy beside the core.
    cycles: of the core, where the compiler estimates them.
    waited: None for what the core does itself, or waits for at once.
    """

    seconds: float
    resource: str = "core"
    cycles: int | None = None
    transfer: Transfer | None = None
    waited: str | None = None
    unknown: bool = False  # nobody has an estimate


class Charges:
    """Prices the instructions of one module on one kind of chip."""

    def __init__(self, module: Module, network: Network):
        self.module, self.network, self.chip = module, network, network.chip

    def of(self, home: Computation, instruction: Instruction) -> list[Charge]:
        """What it costs; nothing for what only names or groups values, or waits."""
        opcode = instruction.opcode
        if opcode in FREE or opcode.endswith("-done"):
            return []
        if opcode.removesuffix("-start") in KINDS:
            return [self._sending(instruction, instruction.name if opcode.endswith("-start") else None)]
        if opcode == "send":
            moved = between_slices(self.chip, instruction)
            return [Charge(moved.seconds, moved.network, transfer=moved, waited=instruction.name)]
        if opcode in BESIDE:
            return self._beside(instruction)
        inside = self._inside(instruction) if opcode == "fusion" else []
        if instruction.cycles is not None:
            return [Charge(instruction.cycles / self.chip.clock, cycles=instruction.cycles), *inside]
        return inside or self._estimated(home, instruction)

    def ends(self, instruction: Instruction) -> str | None:
        """The `waited` of the transfer that it waits for."""
        if instruction.opcode == "fusion":
            chained = self._chained(instruction, "AsyncCollectiveDone")
            return None if chained is None else chained.field(r"channel_id=(\d+)")
        return instruction.operands[0] if instruction.opcode.endswith("-done") and instruction.operands else None

    def _sending(self, collective: Instruction, waited: str | None, whole: int | None = None) -> Charge:
        moved = transfer(self.network, collective, whole)
        return Charge(moved.seconds, moved.network, transfer=moved, waited=waited)

    def _beside(self, start: Instruction) -> list[Charge]:
        """Collectives of another core, or a copy."""
        found = [inner for inner in self._fused(start) if inner.opcode in KINDS]
        if found:
            return [self._sending(collective, start.name) for collective in found]
        size = max((array.bytes for array in start.arrays[1:]), default=0)
        return [Charge(size / self.chip.hbm_speed, "HBM", waited=start.name)]

    def _inside(self, fusion: Instruction) -> list[Charge]:
        """Collectives in a fusion: the start of a chain of them, or an all-reduce of which a part is kept."""
        started = self._chained(fusion, "AsyncCollectiveStart")
        if started is not None:
            return [self._sending(started, started.field(r"channel_id=(\d+)"))]
        found = [i for i in self._fused(fusion) if i.opcode in KINDS and "chain_id=" not in i.rest]
        charges = []
        for collective in found:
            scatters = collective.opcode == "all-reduce" and any(
                i.opcode == "dynamic-slice" for i in self._fused(fusion)
            )
            if scatters:
                collective = dataclasses.replace(collective, opcode="reduce-scatter")
            charges.append(self._sending(collective, None, collective.bytes if scatters else None))
        return charges

    def _fused(self, fusion: Instruction) -> list[Instruction]:
        return [i for name in fusion.called for i in self.module.computations[name].instructions]

    def _chained(self, fusion: Instruction, target: str) -> Instruction | None:
        """The collective of an `AsyncCollective...` call inside."""
        fused = self._fused(fusion)
        if not any(f'custom_call_target="{target}"' in i.rest for i in fused):
            return None
        return next((i for i in fused if i.opcode in KINDS), None)

    def _estimated(self, home: Computation, instruction: Instruction) -> list[Charge]:
        if instruction.opcode == "custom-call":
            if any(f'"{name}"' in instruction.rest for name in FREE_CALLS):
                return []
            flops = kernel_flops(instruction)
            if flops is None:
                return [Charge(self._memory(home, instruction), unknown=True)]
            return [Charge(flops / (self.chip.flops * KERNEL_EFFICIENCY))]
        if instruction.bytes <= NEGLIGIBLE or (instruction.opcode == "fusion" and self.ends(instruction) is not None):
            return []
        return [Charge(self._memory(home, instruction), unknown=instruction.opcode not in COPIES)]

    def _memory(self, home: Computation, instruction: Instruction) -> float:
        """Seconds to read and write it in HBM; of an update in place, only what is new."""
        if instruction.opcode == "dynamic-update-slice":
            size = 2 * home.by_name[instruction.operands[1]].bytes
        elif instruction.opcode in ("slice", "dynamic-slice"):
            size = 2 * instruction.bytes
        else:
            size = instruction.bytes + sum(home.by_name[name].bytes for name in instruction.operands)
        return size / self.chip.hbm_speed


def kernel_flops(call: Instruction) -> float | None:
    """Of an attention kernel, as its matrix units work; None for another kernel."""
    products = next((count for name, count in PRODUCTS.items() if "splash" in call.name and name in call.name), None)
    if products is None:
        return None
    if "_dkv" in call.name and sum(len(array.sizes) > 2 for array in call.arrays) > 2:  # and one for the queries
        products += 1
    operands = arrays(re.search(r"operand_layout_constraints=\{(.*?\})\}", call.rest).group(1))
    query, key = [array for array in operands if array.dtype in ("bf16", "f32") and len(array.sizes) > 2][:2]
    width = 128 * math.ceil(query.sizes[-1] / 128)
    return products * 2 * math.prod(query.sizes[:-2]) * width * visited(operands, query, key, "_dkv" in call.name)


def visited(operands: list[Array], query: Array, key: Array, by_key: bool) -> float:
    """Scores that are computed, of one head."""
    queries, keys = query.sizes[-2], key.sizes[-2]
    positions = [array for array in operands if array.dtype == "s32"]
    table = next((array.sizes for array in operands if array.dtype == "s8" and len(array.sizes) == 3), None)
    if table is None or len(positions) < 3:  # segment ids of both sides only: no mask but theirs
        return queries * keys
    rows, blocks = (table[2], table[1]) if by_key else (table[1], table[2])
    return sum(min(row + 1, blocks) for row in range(rows)) * (queries / rows) * (keys / rows)
