"""Predictions of real programs, compiled by libtpu for chips that are not here, against what is known of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vglamm_jax.aot.hlo import costs
from vglamm_jax.aot.topology import topology_devices
from vglamm_jax.chips import of_topology

pytest.importorskip("libtpu", reason="compiling for TPUs needs libtpu: pip install vglamm_jax[aot]")
pytestmark = pytest.mark.slow
V5E = of_topology("v5e")


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    devices = np.array(topology_devices("v5e:2x2"))
    return Mesh(devices, ("x",), axis_types=(AxisType.Auto,))


def predicted(mesh: Mesh, function, *arguments: tuple):
    """Costs of a function of arrays given as (shape, spec), bfloat16."""
    abstract = [
        jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=NamedSharding(mesh, spec)) for shape, spec in arguments
    ]
    text = jax.jit(function).lower(*abstract).compile().as_text()
    return costs(text, V5E, list(mesh.devices.flat))


def test_a_large_matrix_product_runs_near_the_peak(mesh):
    found = predicted(mesh, jnp.dot, ((8192, 8192), P()), ((8192, 8192), P()))
    least = 2 * 8192**3 / V5E.flops
    assert least <= found.compute <= 2 * least and found.sending == 0
    assert found.operations[0].source.startswith("test_compiled.py:")


def test_a_scan_costs_its_rounds(mesh):
    def scan(x, weights):
        return jax.lax.scan(lambda x, weight: (jax.nn.relu(x @ weight), None), x, weights)[0]

    x = ((2048, 2048), P())
    one, twelve = (predicted(mesh, scan, x, ((rounds, 2048, 2048), P())) for rounds in (1, 12))
    (alone, *_), (looped, *_) = one.operations, twelve.operations
    assert looped.runs == 12 and not twelve.notes
    assert looped.seconds == pytest.approx(12 * alone.seconds, rel=0.2)
    least = 12 * 2 * 2048**3 / V5E.flops
    assert least <= looped.seconds <= twelve.compute <= 2 * least  # a round also copies what it carries


def test_collectives_send_what_the_ring_algorithm_says(mesh):
    """Of 2 MiB on each of four chips."""

    def exchange(x):
        ring = [(0, 1), (1, 2), (2, 3), (3, 0)]
        gathered, summed = jax.lax.all_gather(x, "x", tiled=True), jax.lax.psum(x, "x")
        return gathered, summed, jax.lax.all_to_all(x, "x", 0, 0, tiled=True), jax.lax.ppermute(x, "x", ring)

    part, own = P("x"), 2 * 2**20
    whole = jax.shard_map(exchange, mesh=mesh, in_specs=part, out_specs=(P(), P(), part, part), check_vma=False)
    found = {each.kind: each for each in predicted(mesh, whole, ((4096, 1024), part)).collectives}
    sent = {"all-gather": 3 * own, "all-reduce": 1.5 * own, "all-to-all": 0.75 * own, "collective-permute": own}
    assert {kind: each.bytes for kind, each in found.items()} == sent
    assert all(each.runs == 1 and each.network == "ICI" for each in found.values())
