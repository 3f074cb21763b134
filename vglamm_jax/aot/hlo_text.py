"""Reads the text of a compiled HLO module: its computations, what runs in them and which line of Python asked for it.

Only what costs need is understood; the rest of a line is kept as text. The format is the one that
`jax.stages.Compiled.as_text()` gives with libtpu 0.0.42: one instruction a line,

    %all-gather.4 = bf16[4096,1024]{1,0:T(8,128)} all-gather(%param.1), replica_groups={{0,1,2,3}}, dimensions={0}, ...

computations between `%name (...) -> ... {` and `}`, and before them tables of the Python frames that instructions
refer to with `stack_frame_id`.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from functools import cached_property

WIDTHS = {"pred": 8, "bf16": 16, "token": 0, "opaque": 0}  # bits; of the others, the digits in the name
ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^{}]*\})?")
CALLED = re.compile(r"\b(?:calls|body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
HEAD = re.compile(r"^(?:ENTRY |%)", re.MULTILINE)  # of a computation
CONTINUED = re.compile(r'\n(?="|\}\})')  # kernels bring metadata of several lines
PACKAGE = "/vglamm_jax/"
FAST_MEMORY = "S(1)"  # in a layout: the array is in the core's own memory, not in HBM


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of a shape, `bf16[4096,1024]{1,0:T(8,128)(2,1)S(1)}`."""

    dtype: str
    sizes: tuple[int, ...]
    layout: str

    @property
    def bytes(self) -> int:
        return math.prod(self.sizes) * _bits(self.dtype) // 8

    @property
    def in_hbm(self) -> bool:
        return FAST_MEMORY not in self.layout


def _bits(dtype: str) -> int:
    digits = re.search(r"\d+", dtype)
    return WIDTHS[dtype] if dtype in WIDTHS else int(digits.group()) if digits else 0


def arrays(shape: str) -> list[Array]:
    """Those of a shape, of a tuple the leaves in order."""
    found = ARRAY.findall(shape)
    return [Array(dtype, tuple(map(int, sizes.split(","))) if sizes else (), layout) for dtype, sizes, layout in found]


@dataclasses.dataclass(frozen=True)
class Instruction:
    """`name = shape opcode(inside), rest`."""

    name: str
    shape: str
    opcode: str
    inside: str  # the parentheses: operands, or the value of a constant
    rest: str  # attributes, metadata and backend_config
    root: bool

    @cached_property
    def operands(self) -> tuple[str, ...]:
        return tuple(re.findall(r"%([\w.\-]+)", self.inside))

    @cached_property
    def arrays(self) -> list[Array]:
        return arrays(self.shape)

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in self.arrays)

    @property
    def cycles(self) -> int | None:
        """The compiler's own estimate, in cycles of the core's clock."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(found.group(1)) if found else None

    @property
    def called(self) -> tuple[str, ...]:
        """Computations that it runs, a while's condition aside."""
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.rest)
        return (*CALLED.findall(self.rest), *(re.findall(r"[\w.\-]+", branches.group(1)) if branches else ()))

    @property
    def op_name(self) -> str:
        """JAX's path to it, `jit(step)/llm/while/body/dot_general`."""
        return self.field(r'op_name="((?:[^"\\]|\\.)*)"') or ""

    def field(self, pattern: str) -> str | None:
        found = re.search(pattern, self.rest)
        return found.group(1) if found else None


@dataclasses.dataclass(frozen=True)
class Computation:
    name: str
    instructions: tuple[Instruction, ...]  # in the order they are issued: compiled modules are scheduled

    @cached_property
    def by_name(self) -> dict[str, Instruction]:
        return {instruction.name: instruction for instruction in self.instructions}

    @cached_property
    def root(self) -> Instruction:
        return next(instruction for instruction in self.instructions if instruction.root)

    @cached_property
    def parameters(self) -> dict[str, int]:
        return {i.name: int(i.inside) for i in self.instructions if i.opcode == "parameter"}


@dataclasses.dataclass(frozen=True)
class Module:
    computations: dict[str, Computation]
    entry: Computation
    frames: dict[int, str]  # stack_frame_id -> `vglamm_jax/models/llm.py:120`

    def source(self, instruction: Instruction) -> str:
        """The line of Python that asked for it; empty where the compiler does not say."""
        frame = instruction.field(r"stack_frame_id=(\d+)")
        if frame is not None:
            return self.frames.get(int(frame), "")
        file, line = instruction.field(r'source_file="([^"]*)"'), instruction.field(r"source_line=(\d+)")
        return f"{short(file)}:{line}" if file else ""


def parse(text: str) -> Module:
    """Raises ValueError for a text without an entry computation."""
    computations, entry = {}, None
    for name, is_entry, body in _computations(text):
        computations[name] = Computation(name, tuple(body))
        entry = computations[name] if is_entry else entry
    if entry is None:
        raise ValueError("this is no HLO module: no computation is marked ENTRY")
    return Module(computations, entry, _frames(_tables(text)))


def _computations(text: str) -> Iterator[tuple[str, bool, list[Instruction]]]:
    name, is_entry, body = "", False, []
    for line in CONTINUED.sub(" ", text).splitlines():
        if HEAD.match(line) and line.endswith("{"):
            is_entry = line.startswith("ENTRY ")
            name, body = line.removeprefix("ENTRY ").lstrip("%").split(" ", 1)[0], []
        elif line.startswith("}"):
            yield name, is_entry, body
        elif line.startswith("  ") and " = " in line:
            body.append(instruction(line))


def instruction(line: str) -> Instruction:
    """Of one line."""
    left, right = line.strip().split(" = ", 1)
    shape, right = _balanced(right) if right.startswith("(") else right.split(" ", 1)
    opcode, right = right.strip().split("(", 1)
    inside, rest = _balanced("(" + right)
    name = left.removeprefix("ROOT ").lstrip("%")
    return Instruction(name, shape, opcode, inside[1:-1], rest, left.startswith("ROOT "))


def _balanced(text: str) -> tuple[str, str]:
    """The parentheses that a text starts with, and what follows."""
    depth = 0
    for place in re.finditer(r"[()]", text):
        depth += 1 if place.group() == "(" else -1
        if depth == 0:
            return text[: place.end()], text[place.end() :]
    raise ValueError(f"parentheses do not close: {text[:80]}")


def _tables(text: str) -> dict[str, dict[int, str]]:
    """The numbered tables before the first computation."""
    tables: dict[str, dict[int, str]] = {}
    table: dict[int, str] = {}
    for line in text[: HEAD.search(text).start()].splitlines():
        if re.fullmatch(r"[A-Z]\w+", line):
            table = tables.setdefault(line, {})
        elif line[:1].isdigit():
            number, value = line.split(" ", 1)
            table[int(number)] = value
    return tables


def _frames(tables: dict[str, dict[int, str]]) -> dict[int, str]:
    """Of each frame the innermost line of this package, or of all where none is."""
    files, places = tables.get("FileNames", {}), tables.get("FileLocations", {})
    lines, parents = {}, {}
    for number, frame in tables.get("StackFrames", {}).items():
        place = places.get(_number("file_location_id", frame), "")
        lines[number] = files.get(_number("file_name_id", place), "").strip('"'), _number("line", place)
        parents[number] = _number("parent_frame_id", frame) - 1  # counted from 1, 0 is none
    return {number: _shown(number, lines, parents) for number in lines}


def _shown(number: int, lines: dict[int, tuple[str, int]], parents: dict[int, int]) -> str:
    inner = number
    while number in lines and PACKAGE not in lines[number][0]:
        number = parents[number]
    file, line = lines[number if number in lines else inner]
    return f"{short(file)}:{line}" if file else ""


def _number(field: str, text: str) -> int:
    found = re.search(rf"\b{field}=(\d+)", text)
    return int(found.group(1)) if found else 0


def short(file: str) -> str:
    """`vglamm_jax/models/llm.py` of a path to it, `jax/_src/nn/functions.py` of a library's."""
    for start in (PACKAGE, "/site-packages/"):
        _, found, rest = file.rpartition(start)
        if found:
            return f"{PACKAGE[1:]}{rest}" if start == PACKAGE else rest
    return file.rpartition("/")[2]
