"""What collectives send, and how long that takes at the published speed of the links.

Bytes are what one chip sends by the ring algorithm, n chips in a group and D the bytes of the whole (gathered, or not
yet reduced) array: all-gather and reduce-scatter (n-1)/n D, all-reduce twice that, all-to-all (n-1)/n D of the chip's
own D, a permute all of it.

Time, within a slice. A chip has two links per dimension of the torus. Along a dimension, a group that reaches all
around uses both of them; one that does not, or whose slice does not wrap, is a row of chips, whose ends have one link.
A slice wraps where it is a whole pod wide, 16 chips, on the two-dimensional v5e and v6e, and in multiples of 4 chips
on the others. A group over several dimensions uses the links of each, but no more dimensions than the compiler says
its algorithm does (`2DAllGather...`, `StrategyND{... num_dims:2`, `1DRing`). Where a group takes only each s-th chip of
a dimension, s groups share its links. What an all-to-all sends travels several links, a quarter of a ring or half of a
row in each direction on average; a permute is as slow as the link that the most of its messages cross, sent by the
shortest way, one dimension after the other. Every collective costs LATENCY once more for being
started, between slices DCN_LATENCY.

Between slices. libtpu reduces within each slice first, then sends each chip's part over the data-centre network, as
pairs of `send` and `recv` to the host; a group of ordinary collectives that spans slices is counted the same way.

No published figure says how near to their speed the links get, and no other traffic is assumed on them.
"""

import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from vglamm_jax.aot.hlo_text import Instruction
from vglamm_jax.chips import Chip

LATENCY, DCN_LATENCY = 1e-6, 50e-6  # seconds; assumed
FLAG = "S(2)"  # in the layout of a semaphore
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One run of a collective, for one chip."""

    kind: str
    network: str  # "ICI" within a slice, "DCN" between slices
    bytes: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Network:
    """The chips of a program, in the order that its ids mean.

    Attributes:
      devices: `mesh.devices.flat`, each with `coords` and, where there are several slices, `slice_index`.
    """

    chip: Chip
    devices: Sequence[Any]
    known: dict[str, tuple[int, bool]] = dataclasses.field(default_factory=dict)  # the loops repeat their permutes

    def slice_of(self, number: int) -> int:
        return getattr(self.devices[number], "slice_index", None) or 0

    def coords(self, number: int) -> tuple[int, ...]:
        return tuple(self.devices[number].coords)

    @cached_property
    def extent(self) -> tuple[int, ...]:
        """Chips of a slice along each dimension."""
        return tuple(1 + max(along) for along in zip(*(device.coords for device in self.devices)))

    def wraps(self, dimension: int) -> bool:
        size = self.extent[dimension]
        return size == 16 if self.chip.torus == 2 else size % 4 == 0

    def axes(self, group: Sequence[int]) -> list[tuple[int, float]]:
        """(chips, links per chip) of a group of one slice along each dimension that it has more than one chip in."""
        if len(group) < 2:
            return []
        along = [sorted(set(places)) for places in zip(*map(self.coords, group))]
        if math.prod(map(len, along)) != len({self.coords(number) for number in group}):
            return [(len(group), 1.0)]  # no box: whatever the algorithm, a chip has one link
        axes = []
        for dimension, places in enumerate(along):
            if len(places) > 1:
                stride = max(b - a for a, b in itertools.pairwise(places))
                whole = stride == 1 and len(places) == self.extent[dimension] and self.wraps(dimension)
                axes.append((len(places), 2.0 if whole else 1.0 / stride))
        return axes or [(len(group), 1.0)]  # two cores of one chip

    def busiest_link(self, pairs: str) -> tuple[int, bool]:
        """Of messages `{0,1},{1,2}`: how many cross the link that most of them cross, and do any leave their slice?"""
        if pairs not in self.known:
            crossed, leave = Counter(), False
            for source, target in re.findall(r"\{(\d+),(\d+)\}", pairs):
                leave |= self.slice_of(int(source)) != self.slice_of(int(target))
                crossed.update(self.way(int(source), int(target)))
            self.known[pairs] = max(crossed.values(), default=0), leave
        return self.known[pairs]

    def way(self, source: int, target: int) -> list[tuple]:
        """The links from chip to chip, one dimension after the other, the shorter way around where the slice wraps."""
        place, goal, extent = list(self.coords(source)), self.coords(target), self.extent
        links = []
        for dimension, size in enumerate(extent):
            ahead = (goal[dimension] - place[dimension]) % size
            forward = ahead <= size - ahead if self.wraps(dimension) else goal[dimension] > place[dimension]
            while place[dimension] != goal[dimension]:
                links.append((self.slice_of(source), *place, dimension, forward))
                place[dimension] = (place[dimension] + (1 if forward else -1)) % size
        return links


def transfer(network: Network, collective: Instruction, whole: int | None = None) -> Transfer:
    """Of one collective; `whole` overrides the bytes that its shape says.

    Raises ValueError for replica groups in a form that is not understood.
    """
    kind = collective.opcode.removesuffix("-start")
    if kind == "collective-permute":
        return _permute(network, collective)
    group = max(groups(collective, len(network.devices)), key=len)
    by_slice = Counter(map(network.slice_of, group))
    inner, size = max(by_slice.values()), whole if whole is not None else full_bytes(collective, len(group))
    seconds = LATENCY + _within(
        network, collective, kind, [n for n in group if network.slice_of(n) == min(by_slice)], size
    )
    if len(by_slice) == 1:
        return Transfer(kind, "ICI", sent(kind, size, len(group)), seconds)
    between = sent(kind, size / (1 if kind == "all-to-all" else inner), len(by_slice))
    return Transfer(kind, "DCN", between, seconds + _dcn(network.chip, between))


def _within(network: Network, collective: Instruction, kind: str, group: list[int], size: float) -> float:
    axes = sorted(network.axes(group), key=lambda axis: -axis[1])[: dimensions(collective)]
    if not axes:
        return 0.0
    seconds = sent(kind, size, len(group)) / (sum(links for _, links in axes) * network.chip.ici)
    if kind != "all-to-all":
        return seconds
    crossing = sum(chips * size / (8 if links == 2 else 4 * links) for chips, links in network.axes(group))
    return max(seconds, crossing / network.chip.ici)


def between_slices(chip: Chip, send: Instruction) -> Transfer:
    """Of a `send` to the other slices, whose `recv` brings as much."""
    kind = (send.field(r'_xla_megascale_transfer_type="(\w+)"') or "send").lower().replace("_", "-")
    target = send.field(r'_xla_megascale_target="\{([\d,]*)\}') or "0,1"
    count = sent(kind, send.arrays[0].bytes, len(target.split(",")))
    return Transfer(kind, "DCN", count, _dcn(chip, count))


def _dcn(chip: Chip, size: float) -> float:
    if chip.dcn is None:
        raise ValueError(f"no speed of the data-centre network is published for {chip.name}: use one slice")
    return DCN_LATENCY + size / chip.dcn


def sent(kind: str, whole: float, chips: int) -> float:
    """Bytes one chip sends by the ring algorithm."""
    return whole * (chips - 1) / chips * (2 if kind == "all-reduce" else 1)


def full_bytes(collective: Instruction, chips: int) -> int:
    """Of the array gathered, or not yet reduced."""
    size = collective.bytes
    if collective.opcode == "all-gather-start":  # a pair of what goes in and what comes out
        return size * chips // (chips + 1)
    return size * chips if collective.opcode.startswith("reduce-scatter") else size


def dimensions(collective: Instruction) -> int | None:
    """Of the torus, that the compiler's algorithm uses; None where it does not say."""
    strategy = collective.field(r"num_dims:(\d+)")
    named = collective.field(r'"(?:strategy|emitter)":"[A-Za-z]*?(\d)D')
    return int(strategy or named) if strategy or named else None


def _permute(network: Network, collective: Instruction) -> Transfer:
    moved = [array for array in collective.arrays if FLAG not in array.layout]
    if collective.opcode.endswith("-start"):  # what goes in, then what comes out
        moved = moved[len(moved) // 2 :]
    size = sum(array.bytes for array in moved)
    messages, between = network.busiest_link(collective.field(r"source_target_pairs=\{(.*?)\}\}") + "}")
    seconds = LATENCY + size * messages / network.chip.ici
    if between:
        return Transfer("collective-permute", "DCN", size, seconds + _dcn(network.chip, size))
    return Transfer("collective-permute", "ICI", size, seconds)


def groups(collective: Instruction, count: int) -> list[list[int]]:
    """The chips that take part together, as places in the program's list of `count` devices.

    Understood are `{{0,1},{2,3}}`, `[2,2]<=[4]`, `[2,2]<=[2,2]T(1,0)`, `mesh['a'=2,'b'=2] {'a'}`, the same with
    `, device_ids=([2,2]T(1,0))` before the names, and `{}`, all.
    """
    rest = collective.rest
    if found := re.search(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}", rest):
        listed = re.findall(r"\{([\d,]+)\}", found.group(1))
        return [[int(n) for n in group.split(",")] for group in listed] or [list(range(count))]
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest):
        numbers = _iota(_numbers(found.group(3)), _numbers(found.group(4)) if found.group(4) else None)
        size = int(found.group(2))
        return [numbers[i : i + size] for i in range(0, len(numbers), size)]
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\]([^{]*)\{([^}:]*)\}", rest):
        places = _mesh_groups(found.group(1), found.group(3))
        ids = re.search(r"device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\)", found.group(2))
        if ids is None:
            return places
        numbers = _iota(_numbers(ids.group(1)), _numbers(ids.group(2)) if ids.group(2) else None)
        return [[numbers[place] for place in group] for group in places]
    raise ValueError(f"replica groups of {collective.name} are not understood: {rest[:200]}")


def _mesh_groups(mesh: str, chosen: str) -> list[list[int]]:
    names, sizes = zip(*((name, int(size)) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)))
    inside = [name in re.findall(r"'([^']+)'", chosen) for name in names]
    order = [i for i, chosen in enumerate(inside) if not chosen] + [i for i, chosen in enumerate(inside) if chosen]
    numbers, size = _iota(sizes, order), math.prod(s for s, chosen in zip(sizes, inside) if chosen)
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def _iota(sizes: Sequence[int], order: Sequence[int] | None) -> list[int]:
    """0, 1, 2 ... as an array of these sizes, its axes put in another order, then flat."""
    numbers = [0]
    strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    for axis in order if order is not None else range(len(sizes)):
        numbers = [n + i * strides[axis] for n in numbers for i in range(sizes[axis])]
    return numbers
