"""What a program costs, on snippets of which it is known."""

import pytest
from hlo_snippets import chips, computation, estimated, module

from vglamm_jax.aot.charges import KERNEL_EFFICIENCY
from vglamm_jax.aot.hlo import costs
from vglamm_jax.aot.network import LATENCY
from vglamm_jax.chips import of_topology

V5E = of_topology("v5e")
LOOP_STATE = "(s32[], f32[8]{0})"


def of(text: str, count: int = 4):
    return costs(text, V5E, chips(count))


def looping(body: str, start: int = 0, step: int = 1, stop: int = 12, test: str = "direction=LT") -> str:
    """A loop, `body` its instructions besides the counter; they may use `%x`, f32[8]."""
    counting = f"""
        %p = {LOOP_STATE} parameter(0)
        %i = s32[] get-tuple-element(%p), index=0
        %x = f32[8]{{0}} get-tuple-element(%p), index=1
        %one = s32[] constant({step})
        %next = s32[] add(%i, %one)
        {body}
        ROOT %t = {LOOP_STATE} tuple(%next, %x)"""
    condition = f"""
        %p = {LOOP_STATE} parameter(0)
        %i = s32[] get-tuple-element(%p), index=0
        %n = s32[] constant({stop})
        ROOT %lt = pred[] compare(%i, %n), {test}"""
    entry = f"""
        %zero = s32[] constant({start})
        %from = s32[] copy(%zero)
        %a = f32[8]{{0}} parameter(0)
        %s = {LOOP_STATE} tuple(%from, %a)
        ROOT %w = {LOOP_STATE} while(%s), condition=%cond, body=%body"""
    return module(entry, computation("body", counting), computation("cond", condition))


@pytest.mark.parametrize(("start", "step", "stop", "runs"), [(0, 1, 12, 12), (2, 1, 12, 10), (0, 2, 7, 4)])
def test_loops_multiply(start, step, stop, runs):
    found = of(looping(f"%m = f32[8]{{0}} negate(%x), {estimated(1500)}", start, step, stop))
    assert [(each.name, each.runs, each.cycles) for each in found.operations] == [("m", runs, 1500)]
    assert found.compute == pytest.approx(runs * 1500 / V5E.clock) and not found.notes


def test_loop_of_unknown_length_counts_once_and_says_so():
    found = of(looping(f"%m = f32[8]{{0}} negate(%x), {estimated(1500)}", test="direction=NE"))
    assert found.operations[0].runs == 1
    assert found.notes == ("w: how often it loops is not known, counted once",)


def test_trip_count_that_the_compiler_states():
    text = looping(f"%m = f32[8]{{0}} negate(%x), {estimated(10)}", test="direction=NE")
    text = text.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"5"}}')
    assert of(text).operations[0].runs == 5


def test_most_expensive_branch():
    branches = [
        computation(n, f"%p = f32[] parameter(0)\nROOT %{n}_ = f32[] negate(%p), {estimated(c)}")
        for n, c in (("a", 10), ("b", 90))
    ]
    entry = "%i = s32[] parameter(0)\nROOT %c = f32[] conditional(%i, %i, %i), branch_computations={%a, %b}"
    found = of(module(entry, *branches))
    assert [each.name for each in found.operations] == ["b_"]
    assert found.notes == ("c: the most expensive of 2 branches counted",)


GATHER = """
    %a = bf16[1048576]{0} parameter(0)
    %g = (bf16[1048576]{0}, bf16[4194304]{0}) all-gather-start(%a), replica_groups={{0,1,2,3}}, dimensions={0}
    %f = f32[8]{0} negate(%a), BUSY
    ROOT %d = bf16[4194304]{0} all-gather-done(%g)"""
SENT = 3 * 2**20 * 2
SENDING = LATENCY + SENT / V5E.ici


@pytest.mark.parametrize(("busy", "overlapped"), [(0.25, 1.0), (3.0, 3.0)])
def test_transfers_overlap_what_stands_between_start_and_done(busy, overlapped):
    """The core works `busy` times as long as the links."""
    cycles = round(busy * SENDING * V5E.clock)
    found = of(module(GATHER.replace("BUSY", estimated(cycles))))
    assert [(each.kind, each.network, each.runs, each.bytes) for each in found.collectives] == [
        ("all-gather", "ICI", 1, SENT)
    ]
    assert found.sending == pytest.approx(SENDING)
    assert found.step == pytest.approx(SENDING * (1 + busy), rel=1e-4)
    assert found.overlapped == pytest.approx(SENDING * overlapped, rel=1e-4)


def test_chain_of_a_collective_in_fusions_counts_once():
    inner = 'all-gather(%p), channel_id=7, replica_groups={{0,1,2,3}}, frontend_attributes={chain_id="1"}'
    parts = [
        computation(
            name,
            f"%p = bf16[1048576]{{0}} parameter(0)\n%g = bf16[4194304]{{0}} {inner}\n"
            f'ROOT %c = bf16[4194304]{{0}} custom-call(%g), custom_call_target="{target}"',
        )
        for name, target in (
            ("first", "AsyncCollectiveStart"),
            ("step", "AsyncCollectiveStep"),
            ("last", "AsyncCollectiveDone"),
        )
    ]
    entry = f"""
        %a = bf16[1048576]{{0}} parameter(0)
        %s = bf16[4194304]{{0}} fusion(%a), kind=kCustom, calls=%first
        %m = bf16[4194304]{{0}} fusion(%s), kind=kOutput, calls=%step, {estimated(round(SENDING * V5E.clock))}
        ROOT %d = bf16[4194304]{{0}} fusion(%m), kind=kCustom, calls=%last"""
    found = of(module(entry, *parts))
    assert [(each.runs, each.bytes) for each in found.collectives] == [(1, SENT)]
    assert found.overlapped == pytest.approx(SENDING, rel=1e-4) and found.estimated_here == 0


def test_all_reduce_of_which_each_chip_keeps_a_part():
    inner = computation(
        "scatter",
        "%p = bf16[4194304]{0} parameter(0)\n"
        "%r = bf16[4194304]{0} all-reduce(%p), replica_groups={{0,1,2,3}}, to_apply=%add\n"
        "ROOT %s = bf16[1048576]{0} dynamic-slice(%r), dynamic_slice_sizes={1048576}",
    )
    entry = "%a = bf16[4194304]{0} parameter(0)\nROOT %f = bf16[1048576]{0} fusion(%a), kind=kCustom, calls=%scatter"
    found = of(module(entry, inner))
    assert [(each.kind, each.bytes) for each in found.collectives] == [("reduce-scatter", SENT)]


@pytest.mark.parametrize(
    ("name", "more", "products", "blocks"),
    [
        (
            "splash_mha_fwd_segmented.1",
            "s8[1,8,8]{2,1,0}, bf16[32,4096,96], bf16[32,4096,96], s32[4096,128], s32[8,4096]",
            2,
            64,
        ),
        (
            "splash_mha_fwd_segmented.1",
            "s8[1,8,8]{2,1,0}, bf16[32,4096,96], bf16[32,4096,96], s32[9], s32[9], s32[9]",
            2,
            36,
        ),
        (
            "splash_mha_dq_segmented.1",
            "s8[1,8,5]{2,1,0}, bf16[32,4096,96], bf16[32,4096,96], s32[9], s32[9], s32[9]",
            3,
            30,
        ),
        (
            "splash_mha_dkv_segmented.1",
            "s8[1,5,8]{2,1,0}, bf16[32,4096,96], bf16[32,4096,96], s32[9], s32[9], s32[9]",
            4,
            30,
        ),
        (
            "splash_mha_dkv_segmented.1",
            "s8[1,8,8]{2,1,0}, bf16[32,4096,96], bf16[32,4096,96], s32[9], s32[9], s32[9]",
            5,
            36,
        ),
    ],
    ids=["all", "causal", "window", "window by keys", "backward at once"],
)
def test_attention_kernels_are_estimated_here(name, more, products, blocks):
    """Heads 96 wide work as if 128 wide; blocks are of 512 by 512."""
    results = "bf16[32,4096,96]{2,1,0}" if products < 5 else "(" + ", ".join(["bf16[32,4096,96]{2,1,0}"] * 3) + ")"
    attributes = f'custom_call_target="tpu_custom_call", operand_layout_constraints={{{more}{{0}}}}'
    call = f"ROOT %{name} = {results} custom-call(%a), {attributes}"
    found = of(module(f"%a = bf16[32,4096,96]{{2,1,0}} parameter(0)\n{call}"))
    flops = products * 2 * 32 * 128 * blocks * 512**2
    assert found.compute == found.estimated_here == pytest.approx(flops / (V5E.flops * KERNEL_EFFICIENCY))


def test_unknown_work_is_guessed_from_its_bytes_and_said():
    entry = "%a = f32[1048576]{0} parameter(0)\n%s = f32[1048576]{0} sort(%a)\nROOT %c = f32[1048576]{0} copy(%s)"
    found = of(module(entry))
    assert found.compute == found.estimated_here == pytest.approx(4 * 2**22 / V5E.hbm_speed)
    assert found.notes == ("sort: 0.01 ms guessed from the bytes",)


def test_files_and_sources():
    asked = 'metadata={op_name="jit(f)/x" stack_frame_id=2}'
    found = of(module(f"ROOT %a = f32[8]{{0}} exponential(), {asked}, {estimated(15)}"))
    assert [(each.name, each.sending) for each in found.files] == [("vglamm_jax/models/llm.py", 0)]
    assert found.operations[0].source == "vglamm_jax/models/llm.py:120" and found.operations[0].what == "jit(f)/x"


def test_at_least_what_products_and_memory_take():
    """A product with one of 12 slices of the weights, written into a stack; then the same without the product."""
    body = computation(
        "fused",
        """
        %x = bf16[4096,2048]{1,0} parameter(0)
        %w = bf16[12,2048,2048]{2,1,0} parameter(1)
        %stack = bf16[12,4096,2048]{2,1,0} parameter(2)
        %one = bf16[1,2048,2048]{2,1,0} dynamic-slice(%w), dynamic_slice_sizes={1,2048,2048}
        %weight = bf16[2048,2048]{1,0} bitcast(%one)
        %y = bf16[4096,2048]{1,0} convolution(%x, %weight), dim_labels=bf_io->bf
        %row = bf16[1,4096,2048]{2,1,0} bitcast(%y)
        ROOT %new = bf16[12,4096,2048]{2,1,0} dynamic-update-slice(%stack, %row)""",
    )
    entry = f"""
        %x = bf16[4096,2048]{{1,0:T(8,128)S(1)}} parameter(0)
        %w = bf16[12,2048,2048]{{2,1,0}} parameter(1)
        %stack = bf16[12,4096,2048]{{2,1,0}} parameter(2)
        ROOT %f = bf16[12,4096,2048]{{2,1,0}} fusion(%x, %w, %stack), kind=kOutput, calls=%fused, {estimated(1)}"""
    found = of(module(entry, body))
    assert found.flops == 2 * 4096 * 2048**2 and found.least == pytest.approx(found.flops / V5E.flops)
    slow = entry.replace("4096,2048]{1,0:T(8,128)S(1)}", "4096,2048]{1,0}")
    thin = body.replace("convolution(%x, %weight), dim_labels=bf_io->bf", "negate(%x)")
    moved = 2 * (4096 * 2048 + 2048 * 2048 + 4096 * 2048)  # what goes in, one slice, and the row written
    assert of(module(slow, thin)).least == pytest.approx(moved / V5E.hbm_speed)


@pytest.mark.parametrize(
    ("window", "labels", "left", "kernel", "out", "pairs"),
    [
        (
            "size=7x7 stride=4x4 pad=3_3x3_3",
            "b01f_01io->b01f",
            (1, 16, 16, 3),
            (7, 7, 3, 8),
            (1, 4, 4, 8),
            25**2 * 3 * 8,
        ),
        ("size=4 stride=3 lhs_dilate=4", "0bf_0io->0bf", (4, 5, 6), (4, 6, 7), (4, 5, 7), 4 * 5 * 6 * 7),
    ],
    ids=["padded", "batched"],
)
def test_products_count_where_both_factors_are(window, labels, left, kernel, out, pairs):
    """A 7 x 7 convolution with stride 4, of whose 4 x 7 places along an axis 3 are padding; a batch of 4 products."""

    def array(sizes):
        return f"bf16[{','.join(map(str, sizes))}]"

    found = of(
        module(
            f"""
            %a = {array(left)} parameter(0)
            %k = {array(kernel)} parameter(1)
            ROOT %c = {array(out)} convolution(%a, %k), window={{{window}}}, dim_labels={labels}, {estimated(1)}"""
        )
    )
    assert found.flops == 2 * pairs


def test_a_copy_the_compiler_adds_counts_for_the_line_that_uses_it():
    entry = f"""
        %a = f32[8]{{0}} parameter(0)
        %c = f32[8]{{0}} copy(%a), {estimated(15)}
        ROOT %n = f32[8]{{0}} negate(%c), metadata={{op_name="jit(f)/neg" stack_frame_id=1}}"""
    assert of(module(entry)).operations[0].source == "vglamm_jax/models/llm.py:120"
