"""Reading HLO text: instructions, shapes, and the Python line that asked for them."""

import pytest
from hlo_snippets import computation, estimated, module

from vglamm_jax.aot.hlo_text import arrays, instruction, parse, short

KERNEL = """%k.1 = f32[4,8]{1,0:T(8,128)} custom-call(%a), frontend_attributes={kernel_metadata={
"xprof_metadata":"{}"
}}, metadata={op_name="jit(step)/pallas_call" stack_frame_id=2}"""


def test_instruction_of_a_tuple_shape():
    found = instruction(
        "  ROOT %all.1 = (bf16[2,4]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/u32[]{:S(2)}) all-gather-start(%a.1, %b), "
        'dimensions={0}, metadata={op_name="jit(step)/x" stack_frame_id=7}'
    )
    assert (found.name, found.opcode, found.operands, found.root) == ("all.1", "all-gather-start", ("a.1", "b"), True)
    assert found.bytes == 2 * 4 * 2 + 4 and [array.in_hbm for array in found.arrays] == [False, True]
    assert found.op_name == "jit(step)/x" and found.cycles is None


@pytest.mark.parametrize(
    ("shape", "size"),
    [("pred[3]", 3), ("bf16[2,3]{1,0}", 12), ("f32[]", 4), ("s4[8]", 4), ("f8e4m3fn[5]", 5), ("token[]", 0)],
)
def test_bytes_of_shapes(shape, size):
    assert sum(array.bytes for array in arrays(shape)) == size


def test_module_with_instructions_of_several_lines():
    inner = computation("fused", "%p = f32[4]{0} parameter(0)\nROOT %n = f32[4]{0} negate(%p)")
    found = parse(
        module(f"%a = f32[4]{{0}} parameter(0)\n{KERNEL}\nROOT %f = f32[4]{{0}} negate(%k.1), {estimated(7)}", inner)
    )
    assert set(found.computations) == {"fused", "main"}
    kernel, last = found.entry.by_name["k.1"], found.entry.root
    assert kernel.op_name == "jit(step)/pallas_call" and last.cycles == 7 and last.operands == ("k.1",)
    assert found.computations["fused"].parameters == {"p": 0}


def test_source_is_the_innermost_line_of_this_package():
    found = parse(module('ROOT %a = f32[] parameter(0), metadata={op_name="a" stack_frame_id=2}'))
    assert found.source(found.entry.root) == "vglamm_jax/models/llm.py:120"
    assert short("/x/site-packages/jax/_src/nn.py") == "jax/_src/nn.py" and short("/tmp/toy.py") == "toy.py"


def test_other_text_is_refused():
    with pytest.raises(ValueError, match="no computation is marked ENTRY"):
        parse("HloModule nothing\n\n%a (p: f32[]) -> f32[] {\n}\n")
