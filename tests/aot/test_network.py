"""Who takes part in a collective, what it sends and how long that takes."""

import pytest
from hlo_snippets import chips

from vglamm_jax.aot.hlo_text import instruction
from vglamm_jax.aot.network import DCN_LATENCY, LATENCY, Network, between_slices, groups, transfer
from vglamm_jax.chips import of_topology

LINK = 50e9  # of a v5e, one way


def collective(opcode: str, rest: str, shape: str = "bf16[1024,1024]{1,0}"):
    return instruction(f"  %c.1 = {shape} {opcode}(%a), channel_id=1, {rest}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{0,1},{2,3}}", [[0, 1], [2, 3]]),
        ("{}", [[0, 1, 2, 3]]),
        ("[2,2]<=[4]", [[0, 1], [2, 3]]),
        ("[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
        ("mesh['axis_0'=4,'axis_1'=1] {'axis_0'}", [[0, 1, 2, 3]]),
        ("mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
        ("mesh['a'=2,'b'=2] {'b'}", [[0, 1], [2, 3]]),
        ("mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}", [[0, 2], [1, 3]]),
    ],
)
def test_groups(text, expected):
    assert groups(collective("all-reduce", f"replica_groups={text}, use_global_device_ids=true"), 4) == expected


def test_groups_of_an_unknown_form_are_refused():
    with pytest.raises(ValueError, match=r"replica groups of c\.1 are not understood"):
        groups(collective("all-reduce", "replica_groups=mesh['a'=4] {'a':(1)2}"), 4)


@pytest.mark.parametrize(
    ("topology", "sizes", "group", "links"),
    [
        ("v5e", (4, 4), range(4), 1),  # a row
        ("v5e", (4, 4), range(16), 2),  # rows and columns
        ("v5e", (16, 16), range(16), 2),  # a ring
        ("v5e", (16, 16), range(256), 4),
        ("v5e", (16, 16), range(8), 1),  # half of a ring is a row
        ("v5e", (16, 16), range(0, 16, 2), 0.5),  # every other chip: two groups share the links
        ("v5e", (4, 4), (0, 1, 2, 4), 1),  # no box
        ("v5p", (4, 4, 4), range(64), 6),
        ("v5p", (2, 2, 2), range(8), 3),
    ],
)
def test_links_a_group_uses(topology, sizes, group, links):
    network = Network(of_topology(topology), chips(*sizes))
    assert sum(each for _, each in network.axes(list(group))) == links


@pytest.mark.parametrize(
    ("opcode", "shape", "share"),
    [
        ("all-gather", "bf16[1024,1024]{1,0}", 3 / 4),
        ("all-gather-start", "(bf16[256,1024]{1,0}, bf16[1024,1024]{1,0})", 3 / 4),
        ("all-reduce", "bf16[1024,1024]{1,0}", 2 * 3 / 4),
        ("reduce-scatter", "bf16[256,1024]{1,0}", 3 / 4),
    ],
)
def test_bytes_and_time_of_a_row_of_four(opcode, shape, share):
    found = transfer(Network(of_topology("v5e"), chips(4)), collective(opcode, "replica_groups={{0,1,2,3}}", shape))
    assert (found.kind, found.network) == (opcode.removesuffix("-start"), "ICI")
    assert found.bytes == pytest.approx(share * 2 * 2**20)
    assert found.seconds == pytest.approx(LATENCY + found.bytes / LINK)


def test_all_to_all_is_held_up_in_the_middle_of_a_row():
    found = transfer(Network(of_topology("v5e"), chips(4)), collective("all-to-all", "replica_groups={{0,1,2,3}}"))
    # 2 chips send half of theirs across the middle link.
    assert found.bytes == 0.75 * 2 * 2**20 and found.seconds == pytest.approx(LATENCY + 2 * 2**20 / LINK)


def test_algorithm_of_one_dimension_uses_one():
    named = 'replica_groups={}, backend_config={"collective_algorithm_config":{"emitter":"1DAllGatherOnMajorDim"}}'
    network = Network(of_topology("v5e"), chips(16, 16))
    one, both = (transfer(network, collective("all-gather", rest)) for rest in (named, "replica_groups={}"))
    assert one.bytes == both.bytes and one.seconds - LATENCY == pytest.approx(2 * (both.seconds - LATENCY))


def test_permute_is_as_slow_as_its_busiest_link():
    shape = "(bf16[1024]{0}, bf16[1024]{0}, u32[]{:S(2)}, u32[]{:S(2)})"
    ring = "source_target_pairs={{0,1},{1,2},{2,3},{3,0}}"
    found = transfer(Network(of_topology("v5e"), chips(4)), collective("collective-permute-start", ring, shape))
    assert found.bytes == 2048 and found.seconds == pytest.approx(LATENCY + 2048 / LINK)  # 3 -> 0 goes the other way
    far = "source_target_pairs={{0,2},{1,3}}"
    found = transfer(Network(of_topology("v5e"), chips(4)), collective("collective-permute-start", far, shape))
    assert found.seconds == pytest.approx(LATENCY + 2 * 2048 / LINK)  # both cross the middle


def test_between_slices():
    chip = of_topology("v5e")
    network = Network(chip, chips(4, slices=2))
    found = transfer(network, collective("all-reduce", "replica_groups={}"))
    part = 2 * 2**20 / 4  # of a chip, after the sum in its slice
    assert found.network == "DCN" and found.bytes == part
    inside = LATENCY + 2 * 3 / 4 * 2 * 2**20 / LINK
    assert found.seconds == pytest.approx(inside + DCN_LATENCY + part / chip.dcn)
    attributes = '_xla_megascale_target="{1,2}x{0:15}",_xla_megascale_transfer_type="ALL_REDUCE"'
    sent = between_slices(chip, collective("send", attributes, "(bf16[1024]{0}, u32[], token[])"))
    assert (sent.kind, sent.network, sent.bytes) == ("all-reduce", "DCN", 2048)
    with pytest.raises(ValueError, match="no speed of the data-centre network is published for v4"):
        transfer(Network(of_topology("v4"), chips(4, slices=2)), collective("all-reduce", "replica_groups={}"))
