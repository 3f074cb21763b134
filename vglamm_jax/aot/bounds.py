"""The least a chip can take for one instruction: matrix units and HBM at their published speed, the slower of both.

A bound from below, where the compiler's cycles are careful. FLOPs are those of the products (convolutions) in it, as
many as have both factors: padding and dilation, by which XLA writes batched products and gradients, cost nothing here.
Bytes are what is read from HBM and written there; of arrays that are only sliced or updated, the slice.
"""

import functools
import re

from vglamm_jax.aot.charges import kernel_flops
from vglamm_jax.aot.hlo_text import Computation, Instruction, Module
from vglamm_jax.aot.network import KINDS
from vglamm_jax.chips import Chip

SAME_PLACE = ("bitcast", "reshape", "copy-done", "get-tuple-element")

# Of a fusion beside which a collective runs: the buffers of that, neither read nor written by the core.
HANDED_ON = (*KINDS, "custom-call", "tuple", "parameter")


def least(module: Module, home: Computation, instruction: Instruction, chip: Chip) -> float:
    """Seconds."""
    kernel = kernel_flops(instruction) if instruction.opcode == "custom-call" else None
    flops = kernel if kernel is not None else product_flops(module, home, instruction)
    return max(flops / chip.flops, hbm_bytes(module, home, instruction) / chip.hbm_speed)


def product_flops(module: Module, home: Computation, instruction: Instruction) -> float:
    """Of a convolution, or of all in a fusion."""
    if instruction.opcode == "convolution":
        return convolution_flops(home, instruction)
    if instruction.opcode != "fusion":
        return 0.0
    bodies = [module.computations[name] for name in instruction.called]
    return sum(product_flops(module, body, inner) for body in bodies for inner in body.instructions)


def convolution_flops(home: Computation, instruction: Instruction) -> float:
    """Of `dim_labels=b01f_01io->b01f`, `window={size=7x7 stride=4x4 pad=3_3x3_3}`."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.rest)
    left, kernel = (home.by_name[name].arrays[0].sizes for name in instruction.operands[:2])
    shapes = left, kernel, instruction.arrays[0].sizes
    sizes = [dict(zip(label, shape)) for label, shape in zip(labels.groups(), shapes)]
    flops = 2 * sizes[2]["b"] * sizes[2]["f"] * sizes[1]["i"]
    for axis, window in enumerate(_windows(instruction, sum(label.isdigit() for label in labels.group(1)))):
        flops *= _meetings(sizes[0][str(axis)], sizes[1][str(axis)], sizes[2][str(axis)], *window)
    return flops


def _windows(instruction: Instruction, count: int) -> list[tuple[int, int, int, int]]:
    """Stride, padding before, dilation of the input and of the kernel, of each spatial dimension."""
    text = instruction.field(r"window=\{([^}]*)\}") or ""
    fields = dict(part.split("=") for part in text.split() if "=" in part)
    strides, pads, inputs, kernels = (
        fields[name].split("x") if name in fields else [default] * count
        for name, default in (("stride", "1"), ("pad", "0_0"), ("lhs_dilate", "1"), ("rhs_dilate", "1"))
    )
    return [(int(s), int(p.split("_")[0]), int(i), int(k)) for s, p, i, k in zip(strides, pads, inputs, kernels)]


@functools.cache
def _meetings(size: int, kernel: int, output: int, stride: int, pad: int, dilate: int, spread: int) -> int:
    """Pairs of an output and a kernel element for which there is an input element."""
    places = (o * stride + k * spread - pad for o in range(output) for k in range(kernel))
    return sum(0 <= place <= (size - 1) * dilate and place % dilate == 0 for place in places)


def hbm_bytes(module: Module, home: Computation, instruction: Instruction) -> int:
    """Read and written in HBM by one run."""
    if instruction.opcode != "fusion":
        read = sum(a.bytes for name in instruction.operands for a in home.by_name[name].arrays if a.in_hbm)
        return read + sum(array.bytes for array in instruction.arrays if array.in_hbm)
    body = module.computations[instruction.called[0]]
    names = {number: name for name, number in body.parameters.items()}
    read = 0
    for number, name in enumerate(instruction.operands):
        if all(array.in_hbm for array in home.by_name[name].arrays):
            read += _read(module, body, names[number])
    return read + _written(body, instruction)


def _read(module: Module, body: Computation, name: str) -> int:
    """Of a value of a fused computation, by what uses it."""
    whole, read = body.by_name[name].bytes, 0
    for user in body.instructions:
        if name not in user.operands:
            continue
        if user.opcode in ("dynamic-slice", "slice"):
            read += user.bytes
        elif user.opcode in SAME_PLACE or _renames(module, user):
            read += _read(module, body, user.name)
        elif user.opcode == "fusion":
            inner = module.computations[user.called[0]]
            numbers = {number: parameter for parameter, number in inner.parameters.items()}
            read += sum(_read(module, inner, numbers[i]) for i, each in enumerate(user.operands) if each == name)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
            continue
        elif user.opcode not in HANDED_ON:
            return whole
    return min(whole, read)


def _renames(module: Module, fusion: Instruction) -> bool:
    """Whether a fusion inside another only gives its operand another shape or layout."""
    if fusion.opcode != "fusion" or len(fusion.operands) != 1:
        return False
    inner = module.computations[fusion.called[0]].instructions
    return all(each.opcode in ("parameter", "copy", *SAME_PLACE) for each in inner)


def _written(body: Computation, fusion: Instruction) -> int:
    """What is new of the results in HBM."""
    root = body.root
    results = [body.by_name[name] for name in root.operands] if root.opcode == "tuple" else [root]
    written = 0
    for result, array in zip(results, fusion.arrays):
        while result.opcode in SAME_PLACE and result.operands:
            result = body.by_name[result.operands[0]]
        if result.opcode in HANDED_ON:
            continue
        updated = result.opcode == "dynamic-update-slice"
        written += array.in_hbm * (body.by_name[result.operands[1]].bytes if updated else array.bytes)
    return written
