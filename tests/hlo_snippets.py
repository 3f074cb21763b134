"""Small HLO modules in the form libtpu prints, and chips that are only coordinates."""

import itertools
from types import SimpleNamespace

FRAMES = """
FileNames
1 "/home/me/vglamm_jax/models/llm.py"
2 "/home/me/lib/site-packages/flax/nnx/nn/linear.py"

FunctionNames
1 "f"

FileLocations
1 {file_name_id=1 function_name_id=1 line=120 end_line=120 column=6 end_column=6}
2 {file_name_id=2 function_name_id=1 line=422 end_line=422 column=6 end_column=6}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}

"""


def estimated(cycles: int) -> str:
    return f'backend_config={{"window_config":{{"estimated_cycles":"{cycles}"}}}}'


def module(entry: str, *computations: str) -> str:
    """`entry`: the instructions of the entry computation; the others are whole."""
    main = "ENTRY %main () -> f32[] {\n" + _lines(entry) + "}\n"
    return "HloModule jit_step, is_scheduled=true\n" + FRAMES + "\n" + "\n".join((*computations, main))


def computation(name: str, instructions: str) -> str:
    return f"%{name} (p: f32[]) -> f32[] {{\n{_lines(instructions)}}}\n"


def _lines(instructions: str) -> str:
    lines = (line.strip() for line in instructions.strip().splitlines())
    return "".join(f"  {line}\n" if line.startswith(("%", "ROOT")) else f"{line}\n" for line in lines)


def chips(*sizes: int, slices: int = 1) -> list[SimpleNamespace]:
    """Devices of a slice of these sizes, x changing fastest."""
    return [
        SimpleNamespace(coords=place[::-1], slice_index=number)
        for number in range(slices)
        for place in itertools.product(*(range(size) for size in sizes[::-1]))
    ]
