"""How often a loop of a compiled module runs."""

import re

from vglamm_jax.aot.hlo_text import Computation, Instruction, Module

SAME_VALUE = {"copy", "bitcast", "convert", "reshape", "copy-start", "copy-done"}  # of a scalar


def trips(module: Module, home: Computation, loop: Instruction) -> int | None:
    """Of a `while` in `home`: what the compiler says, or what its counter says; None where neither does.

    A counter is what `lax.scan` and the partitioner's own loops have: it starts at a constant, each round adds a
    constant, and the loop ends at a constant.
    """
    known = re.search(r'known_trip_count"?:\{"n":"?(\d+)', loop.rest)
    if known:
        return int(known.group(1))
    condition = module.computations[loop.field(r"condition=%?([\w.\-]+)")]
    test = condition.root
    if test.opcode != "compare" or "direction=LT" not in test.rest:
        return None
    counter, end = (condition.by_name[name] for name in test.operands)
    index, stop = _element(counter), _constant(condition, end)
    if index is None or stop is None:
        return None
    start, step = _start(home, loop, index), _step(module.computations[loop.called[-1]], index)
    return None if start is None or not step else max(0, -((start - stop) // step))


def _element(instruction: Instruction) -> int | None:
    """Which element of a loop's state it is."""
    index = instruction.field(r"index=(\d+)")
    return int(index) if instruction.opcode == "get-tuple-element" and index is not None else None


def _constant(computation: Computation, instruction: Instruction) -> int | None:
    while instruction.opcode in SAME_VALUE:
        instruction = computation.by_name[instruction.operands[0]]
    is_number = instruction.opcode == "constant" and re.fullmatch(r"-?\d+", instruction.inside)
    return int(instruction.inside) if is_number else None


def _start(home: Computation, loop: Instruction, index: int) -> int | None:
    state = home.by_name[loop.operands[0]]
    if state.opcode != "tuple":
        return None
    return _constant(home, home.by_name[state.operands[index]])


def _step(body: Computation, index: int) -> int | None:
    """What one round adds to an element, through as many additions as it takes."""
    if body.root.opcode != "tuple":
        return None
    value, step = body.by_name[body.root.operands[index]], 0
    while _element(value) != index:
        if value.opcode in SAME_VALUE:
            value = body.by_name[value.operands[0]]
            continue
        if value.opcode != "add":
            return None
        sides = [body.by_name[name] for name in value.operands]
        numbers = [_constant(body, side) for side in sides]
        if numbers[0] is None and numbers[1] is None:
            return None
        constant = 0 if numbers[0] is not None else 1
        value, step = sides[1 - constant], step + numbers[constant]
    return step
