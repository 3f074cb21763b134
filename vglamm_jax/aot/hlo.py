"""Predicts the time of a compiled program from its text: the compiler's cycles, and what goes over the links.

The compiler notes with each fusion, copy and convolution how many cycles it expects. They are summed through loops
(times their trip counts), calls and conditionals (the most expensive branch), and divided by the core's clock. They are
made to choose between ways of compiling, and are careful about memory: work on whole arrays is priced at a half to an
eighth of what HBM's published speed would allow, matrix products at 80 to 90 % of the peak.

Two predictions of a step follow:

- `step`, a bound from above: all that the core does plus all collectives, as if nothing overlapped.
- `overlapped`, the headline: the schedule played through in the order the compiler issues it, with one queue for each
  of the core, the links in a slice, the data-centre network and the copies beside the core. A `-start` puts a transfer
  in its queue and a `-done` waits for it. A loop's rounds and a branch each end with empty queues.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from vglamm_jax.aot.bounds import least, product_flops
from vglamm_jax.aot.charges import Charge, Charges
from vglamm_jax.aot.hlo_text import Computation, Instruction, Module, parse
from vglamm_jax.aot.loops import trips
from vglamm_jax.aot.network import Network
from vglamm_jax.chips import Chip


@dataclasses.dataclass(frozen=True)
class Operation:
    """One instruction and all its runs in a step."""

    name: str
    what: str  # JAX's path to it
    source: str  # the line of Python
    runs: int
    cycles: int | None  # of one run; None where it is estimated here
    seconds: float  # of all runs


@dataclasses.dataclass(frozen=True)
class File:
    """All that a Python file of this package asked for in a step, in seconds; "" is what nobody asked for by name."""

    name: str
    compute: float
    sending: float


@dataclasses.dataclass(frozen=True)
class Sent:
    """All collectives of a kind in a step, for one chip."""

    kind: str
    network: str  # "ICI" or "DCN"
    runs: int
    bytes: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Costs:
    """Of one step, for one chip; seconds.

    Attributes:
      compute: of the core.
      estimated_here: the part of `compute` that the compiler does not estimate.
      least: of the core at the published speed of matrix units and HBM, `bounds.py`; no prediction, a bound.
      flops: of the products in it, attention kernels aside; what is computed again counts again.
      overlapped: of the whole step where transfers overlap as scheduled.
      copied: what the copies between HBM and the core's memory, beside the core, would take alone.
      files: the most expensive first, as are operations.
      notes: what was assumed where the text does not tell.
    """

    compute: float
    estimated_here: float
    least: float
    flops: float
    overlapped: float
    copied: float
    collectives: tuple[Sent, ...]
    files: tuple[File, ...]
    operations: tuple[Operation, ...]
    notes: tuple[str, ...]

    @property
    def sending(self) -> float:
        return sum(sent.seconds for sent in self.collectives)

    @property
    def step(self) -> float:
        return self.compute + self.sending


def costs(text: str, chip: Chip, devices: Sequence[Any], most: int = 10) -> Costs:
    """Of a compiled module's text.

    Args:
      text: `jax.stages.Compiled.as_text()`.
      devices: the chips the program runs on, `mesh.devices.flat`, in that order.
      most: so many operations are listed.

    Raises:
      ValueError: the text is no HLO module, or has replica groups of an unknown form.
    """
    ledger = _Ledger(parse(text), Network(chip, devices))
    ledger.walk(ledger.module.entry, 1)
    return ledger.costs(most)


@dataclasses.dataclass(frozen=True)
class _Spent:
    """One charge of an instruction, for all its runs."""

    home: Computation
    instruction: Instruction
    charge: Charge
    runs: int

    @property
    def seconds(self) -> float:
        return self.charge.seconds * self.runs


class _Ledger:
    def __init__(self, module: Module, network: Network):
        self.module, self.charges = module, Charges(module, network)
        self.priced: dict[tuple[str, str], list[Charge]] = {}
        self.times: dict[str, float] = {}
        self.runs: Counter = Counter()
        self.notes: Counter = Counter()

    def price(self, home: Computation, instruction: Instruction) -> list[Charge]:
        key = home.name, instruction.name
        if key not in self.priced:
            self.priced[key] = self.charges.of(home, instruction)
        return self.priced[key]

    def walk(self, computation: Computation, runs: int) -> None:
        """Notes how often each instruction runs that costs something."""
        for instruction in computation.instructions:
            for body, times in self.inner(computation, instruction):
                self.walk(body, runs * times)
            if self.price(computation, instruction):
                self.runs[computation.name, instruction.name] += runs

    def inner(self, home: Computation, instruction: Instruction) -> list[tuple[Computation, int]]:
        """The computations that it runs, and how often."""
        bodies = [self.module.computations[name] for name in instruction.called]
        if instruction.opcode == "while":
            count = trips(self.module, home, instruction)
            if count is None:
                self.notes[f"{instruction.name}: how often it loops is not known, counted once"] = 1
            body = instruction.field(r"body=%?([\w.\-]+)")
            return [(self.module.computations[body], 1 if count is None else count)]
        if instruction.opcode == "conditional":
            self.notes[f"{instruction.name}: the most expensive of {len(bodies)} branches counted"] = 1
            return [(max(bodies, key=self.time), 1)]
        return [(body, 1) for body in bodies] if instruction.opcode == "call" else []

    def time(self, computation: Computation) -> float:
        """With transfers that overlap as scheduled."""
        if computation.name not in self.times:
            self.times[computation.name] = self._play(computation)
        return self.times[computation.name]

    def _play(self, computation: Computation) -> float:
        now, free, done = 0.0, defaultdict(float), {}
        for instruction in computation.instructions:
            now += sum(times * self.time(body) for body, times in self.inner(computation, instruction))
            for charge in self.price(computation, instruction):
                if charge.resource == "core":
                    now += charge.seconds
                    continue
                free[charge.resource] = max(now, free[charge.resource]) + charge.seconds
                if charge.waited is None:
                    now = free[charge.resource]
                else:
                    done[charge.waited] = free[charge.resource]
            now = max(now, done.pop(self.charges.ends(instruction), now))
        return max(now, *free.values(), *done.values()) if free else now

    def costs(self, most: int) -> Costs:
        spent = [
            _Spent(home, home.by_name[name], charge, runs)
            for home, name, runs in ((self.module.computations[home], name, n) for (home, name), n in self.runs.items())
            for charge in self.priced[home.name, name]
        ]
        core = [each for each in spent if each.charge.resource == "core"]
        moved = [each for each in spent if each.charge.transfer is not None]
        guessed: Counter = Counter()
        for each in core:
            guessed[each.instruction.opcode] += each.seconds * each.charge.unknown
        notes = [f"{opcode}: {s * 1e3:.2f} ms guessed from the bytes" for opcode, s in guessed.items() if s > 1e-5]
        spent_most = sorted(core + moved, key=lambda each: -each.seconds)[:most]
        return Costs(
            compute=sum(each.seconds for each in core),
            estimated_here=sum(each.seconds for each in core if each.charge.cycles is None),
            least=sum(least(self.module, each.home, each.instruction, self.charges.chip) * each.runs for each in core),
            flops=sum(product_flops(self.module, each.home, each.instruction) * each.runs for each in core),
            overlapped=self.time(self.module.entry),
            copied=sum(each.seconds for each in spent if each.charge.resource == "HBM"),
            collectives=_by_kind(moved),
            files=self._files(core, moved),
            operations=tuple(map(self._operation, spent_most)),
            notes=(*self.notes, *notes),
        )

    def _files(self, core: list[_Spent], moved: list[_Spent]) -> tuple[File, ...]:
        compute, sending = Counter(), Counter()
        for part, spent in ((compute, core), (sending, moved)):
            for each in spent:
                part[self._source(each).rpartition(":")[0]] += each.seconds
        files = [File(name, compute[name], sending[name]) for name in {*compute, *sending}]
        return tuple(sorted(files, key=lambda file: -file.compute - file.sending))

    def _operation(self, spent: _Spent) -> Operation:
        did, source = spent.instruction, self._source(spent)
        return Operation(did.name, did.op_name, source, spent.runs, spent.charge.cycles, spent.seconds)

    def _source(self, spent: _Spent) -> str:
        """The line that asked for it; else for what is inside it; else for what uses it: the compiler adds copies."""
        inside = [i for name in spent.instruction.called for i in self.module.computations[name].instructions]
        users = (i for i in spent.home.instructions if spent.instruction.name in i.operands)
        lines = (self.module.source(i) for group in ([spent.instruction], inside, users) for i in group)
        return next(filter(None, lines), "")


def _by_kind(moved: list[_Spent]) -> tuple[Sent, ...]:
    sums: dict[tuple[str, str], Sent] = {}
    for each in moved:
        what = each.charge.transfer
        before = sums.get((what.kind, what.network), Sent(what.kind, what.network, 0, 0.0, 0.0))
        sums[what.kind, what.network] = dataclasses.replace(
            before,
            runs=before.runs + each.runs,
            bytes=before.bytes + what.bytes * each.runs,
            seconds=before.seconds + each.seconds,
        )
    return tuple(sorted(sums.values(), key=lambda sent: -sent.seconds))
