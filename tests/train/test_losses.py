"""Losses against facts 5.3 and appendix A, and sums of micro-batches against the whole batch."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vglamm_jax.data.pack import Batch
from vglamm_jax.train import losses
from vglamm_jax.train.parity import Settings

Z = (np.arange(-8, 8) / 4).reshape(4, 4).astype(np.float32)
T = (np.arange(16) % 3 == 0).reshape(4, 4).astype(np.int8)
DEFAULT, REFERENCE = Settings(protocol="default"), Settings(protocol="reference")


def mask_means(logits, target, protocol):
    """BCE and DICE of masks [K, h, w], divided by their weights alone."""
    cfg = Settings(bce_weight=1, dice_weight=1, protocol=protocol)
    sums = losses.mask_losses(logits[None, :, None], target[None, :, None], protocol)
    metrics = losses.total(sums | {"ce": (0.0, 0.0)}, cfg)[1]
    return metrics["mask_bce_loss"], metrics["mask_dice_loss"]


def test_appendix_a():
    np.testing.assert_allclose(mask_means(Z[None], T[None], "reference"), (0.8310941, 0.5792822), rtol=1e-6)
    logits, target = np.stack([Z, -Z]), np.stack([T, np.full_like(T, -1)])
    np.testing.assert_allclose(mask_means(logits, target, "reference"), (0.4155471, 0.2896411), rtol=1e-6)
    np.testing.assert_allclose(mask_means(logits, target, "default"), (0.8310941, 0.5792822), rtol=1e-6)
    empty = losses.dice(jnp.full((256, 256), -10.0), jnp.zeros((256, 256), jnp.int8))
    assert float(empty) == pytest.approx(0.9997, abs=5e-5)


def test_ignored_pixels_have_no_part_but_in_the_mean():
    target = T.copy()
    target[0] = -1
    wild = Z.copy()
    wild[0] = [50, -50, 1e4, -1e4]
    assert losses.bce(wild, target) == losses.bce(Z, target)
    assert losses.dice(wild, target) == losses.dice(Z, target)
    np.testing.assert_allclose(losses.bce(Z, target), losses.bce(Z[1:], T[1:]) * 12 / 16, rtol=1e-6)
    np.testing.assert_allclose(losses.dice(Z, target), losses.dice(Z[1:], T[1:]), rtol=1e-6)
    slot = jax.grad(lambda z: losses.bce(z, T * 0 - 1) + losses.dice(z, T * 0 - 1))(jnp.asarray(Z))
    assert not slot.any()


def test_extreme_logits_stay_finite():
    z = jnp.asarray(Z) * 1e4
    value, slope = jax.value_and_grad(lambda z: losses.bce(z, T) + losses.dice(z, T))(z)
    assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.fixture(scope="module")
def said():
    """Hidden states, labels of answers of unequal length, and a head whose last columns only pad the vocabulary."""
    rng = np.random.default_rng(0)
    hidden, head = rng.normal(size=(2, 50, 8)).astype(np.float32), rng.normal(size=(8, 24)).astype(np.float32)
    labels = np.where(np.arange(50) >= np.array([[30], [45]]), rng.integers(0, 20, (2, 50)), -100)
    return hidden, labels, head


def scores(hidden, head):
    return jnp.where(jnp.arange(24) < 20, hidden @ head, np.finfo(np.float32).min)


def plain(hidden, labels, head):
    """Shifted, mean over labels, over the 20 true rows of the vocabulary."""
    logp = jax.nn.log_softmax(hidden[:, :-1] @ head[:, :20])
    there = labels[:, 1:] != -100
    chosen = jnp.take_along_axis(logp, np.where(there, labels[:, 1:], 0)[..., None], axis=-1)[..., 0]
    return -jnp.where(there, chosen, 0).sum() / there.sum()


@pytest.mark.parametrize("chunk", [512, 50, 7])
def test_cross_entropy_in_chunks(said, monkeypatch, chunk):
    monkeypatch.setattr(losses, "CHUNK", chunk)
    hidden, labels, head = said

    def ours(hidden, head):
        value, weight = losses.cross_entropy(hidden, labels, head, scores)
        return value / weight

    with jax.default_matmul_precision("highest"):
        found = jax.value_and_grad(ours, argnums=(0, 1))(hidden, head)
        wanted = jax.value_and_grad(lambda h, w: plain(h, labels, w), argnums=(0, 1))(hidden, head)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)
    assert not found[1][1][:, 20:].any(), "padding of the vocabulary takes no part"
    of_hidden = jax.grad(lambda h: 3 * ours(h, head))(hidden)  # of the head no gradient is made then
    np.testing.assert_allclose(of_hidden, 3 * found[1][0], rtol=1e-6, atol=1e-8)


ON_A_MESH = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from vglamm_jax.sharding import gathered, make_mesh, shardings
from vglamm_jax.train import losses

losses.CHUNK = 20
keys = jax.random.split(jax.random.key(0), 3)
hidden, kernel = jax.random.normal(keys[0], (8, 50, 8)), jax.random.normal(keys[1], (8, 24))
labels = jnp.where(jnp.arange(50) >= 6 * jnp.arange(8)[:, None], jax.random.randint(keys[2], (8, 50), 0, 24), -100)

def loss(hidden, tree):
    whole = gathered(tree, cuts={"kernel": (6, 10, 8)})["lm_head"]["kernel"]
    return losses.cross_entropy(hidden, labels, whole, lambda x, head: x @ head)[0]

tree = {"lm_head": {"kernel": kernel}}
with jax.default_matmul_precision("highest"):
    wanted = jax.value_and_grad(loss, argnums=(0, 1))(hidden, tree)
    for sizes in ((2, 4, 1), (1, 2, 1), (2, 2, 2)):
        with jax.set_mesh(make_mesh(*sizes, devices=jax.devices()[: np.prod(sizes)])) as mesh:
            placed = jax.device_put(tree, shardings(tree, jax.sharding.get_mesh()))
            found = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(hidden, placed)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert np.allclose(a, b, rtol=1e-5, atol=1e-5), (sizes, np.abs(a - b).max())
        kernel_gradient = found[1][1]["lm_head"]["kernel"]
        assert kernel_gradient.sharding.spec[0] == "fsdp", kernel_gradient.sharding
"""


def test_on_a_mesh_each_device_sums_over_its_rows():
    """And a kernel collected in pieces is whole; its gradient goes back in parts. In a process with 8 devices."""
    subprocess.run([sys.executable, "-c", ON_A_MESH], check=True, timeout=300)


def test_no_labels_cost_nothing(said):
    hidden, labels, head = said
    value, weight = losses.cross_entropy(hidden, np.full_like(labels, -100), head, scores)
    sums = {"ce": (value, weight)} | losses.mask_losses(Z[None, None, None], np.full((1, 1, 1, 4, 4), -1, np.int8))
    loss, metrics = losses.total(sums, DEFAULT)
    assert loss == 0 and weight == 0 and set(metrics) == {
        "loss", "ce_loss", "mask_bce_loss", "mask_dice_loss", "mask_loss"
    }  # fmt: skip


def test_logits_are_never_whole(said):
    hidden, labels, head = said
    hidden, labels = np.tile(hidden, (1, 40, 1)), np.tile(labels, (1, 40))
    step = jax.grad(lambda h, w: losses.cross_entropy(h, labels, w, scores)[0], argnums=(0, 1))
    sizes = [aval.shape for aval in _avals(jax.make_jaxpr(step)(hidden, head).jaxpr)]
    assert max(np.prod(shape) for shape in sizes if shape and shape[-1] == 24) <= 2 * losses.CHUNK * 24


def _avals(jaxpr):
    for equation in jaxpr.eqns:
        yield from (v.aval for v in equation.outvars)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _avals(inner)


@pytest.mark.parametrize("cfg", [DEFAULT, REFERENCE], ids=["default", "reference"])
def test_micro_batches_add_up(said, cfg):
    """Rows with 19 and 4 labels and 3 and 1 masks: the mean of the rows' means would be another number."""
    hidden, labels, head = said
    rng = np.random.default_rng(1)
    logits, masks = rng.normal(size=(2, 2, 2, 4, 4)), rng.integers(0, 2, (2, 2, 2, 4, 4)).astype(np.int8)
    masks[0, 1, 1], masks[1, 1], masks[1, 0, 0] = -1, -1, -1

    def sums(rows):
        ce = losses.cross_entropy(hidden[rows], labels[rows], head, scores)
        return {"ce": ce} | losses.mask_losses(logits[rows], masks[rows], cfg.protocol)

    whole, parts = sums(slice(None)), [sums(slice(0, 1)), sums(slice(1, 2))]
    added = jax.tree.map(lambda a, b: a + b, *parts)
    np.testing.assert_allclose(losses.total(added, cfg)[0], losses.total(whole, cfg)[0], rtol=1e-6)
    means = np.mean([losses.total(part, cfg)[0] for part in parts])
    assert abs(means - losses.total(whole, cfg)[0]) > 1e-3
    batch = Batch(*[None] * len(Batch._fields))._replace(labels=labels, masks=masks)
    assert {k: float(v) for k, v in losses.weights(batch, cfg).items()} == {k: float(w) for k, (_, w) in whole.items()}
    assert float(whole["bce"][1]) == (8 if cfg is REFERENCE else 4)
