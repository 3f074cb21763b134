"""Generation against the plainest loop there is: the whole sequence again for each token."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vglamm_jax.config import LlmConfig
from vglamm_jax.infer import generate as module
from vglamm_jax.infer.generate import Sampling, choose, generate, make_rules, restrict
from vglamm_jax.models import layers
from vglamm_jax.models.llm import CausalLM

CFG = LlmConfig(
    vocab=40, width=32, depth=2, heads=2, kv_heads=1, head_dim=16, mlp_width=48,
    max_positions=300, window=9, fused=True,
)  # fmt: skip
NEW = 20


@functools.cache
def llm(listed=False) -> CausalLM:
    made = jax.jit(lambda: CausalLM(CFG, nnx.Rngs(3)))()
    made.lm_head.kernel[...] = 20 * made.lm_head.kernel[...]
    if listed:
        made.blocks = layers.unstack(made.blocks)
    return made


@functools.cache
def prompts(n=3, length=14):
    return np.random.default_rng(0).normal(size=(3, length, CFG.width)).astype(np.float32)[:n]


@functools.cache
def forward():
    def whole(model, embeds, positions, valid):
        hidden, _ = model(embeds, positions, valid)
        return hidden, model.logits(hidden)

    return jax.jit(whole)


def by_recomputation(embeds, stops, steps=NEW):
    """Greedy ids of one prompt [S, D], and hidden states and logits of the last pass; fixed length, no cache."""
    ids, given, room = [], len(embeds), len(embeds) + steps
    table = np.asarray(llm().embed_tokens.embedding[...])
    rows = np.pad(embeds, ((0, steps), (0, 0)))
    while True:
        seen = given + len(ids)
        rows[given:seen] = table[ids]
        hidden, logits = forward()(llm(), rows[None], np.arange(room)[None], np.arange(room)[None] < seen)
        hidden, logits = np.asarray(hidden)[0, :seen], np.asarray(logits)[0, :seen]
        ids.append(int(logits[-1].argmax()))
        if ids[-1] in stops or len(ids) == steps:
            return ids, hidden, logits


def ask(embeds, lengths=None, stops=(), seg=39, **kwargs):
    kwargs = {"max_new_tokens": NEW, "max_objects": 4} | kwargs
    return generate(kwargs.pop("llm", llm()), embeds, lengths, stop_ids=stops, seg_token_id=seg, **kwargs)


@functools.cache
def references():
    return [by_recomputation(p, ()) for p in prompts()]


def frequent_token():
    """A token some reference says several times, to play [SEG]."""
    return max(range(CFG.vocab), key=lambda t: max(ids.count(t) for ids, *_ in references()))


@pytest.mark.parametrize("listed", [False, True])
def test_equals_recomputation(listed):
    out = ask(prompts(), return_scores=True, return_hidden=True, llm=llm(listed))
    assert len({tuple(ids) for ids, *_ in references()}) == 3
    for row, (ids, hidden, logits) in enumerate(references()):
        assert out.ids(row) == ids
        np.testing.assert_allclose(out.hidden[row], hidden, atol=1e-4)
        np.testing.assert_allclose(out.scores[row], logits[13:], atol=1e-3)


def test_batch_of_different_lengths_equals_single():
    lengths = np.array([14, 5, 9])
    together = ask(prompts(), lengths)
    for row, length in enumerate(lengths):
        alone = ask(prompts()[row : row + 1, 14 - length :])
        assert together.ids(row) == alone.ids(0)
        assert together.ids(row) == by_recomputation(prompts()[row, 14 - length :], ())[0]


def test_stopped_rows_emit_padding():
    stop = references()[0][0][6]
    out = ask(prompts(), stops=(stop,), pad_id=7)
    for row, (ids, *_) in enumerate(references()):
        expected = ids[: ids.index(stop) + 1] if stop in ids else ids
        assert out.ids(row) == expected
        assert (out.tokens[row, len(expected) :] == 7).all()
    assert out.tokens.shape == (3, NEW)


@pytest.mark.parametrize("room", [1, 4, 25])
def test_states_that_predict_seg(room):
    seg = frequent_token()
    marked = np.zeros((3, 14), bool)
    marked[1, [2, 8]] = True
    out = ask(prompts(), seg=seg, max_objects=room, prompt_seg=jnp.asarray(marked))
    for row, (ids, hidden, _) in enumerate(references()):
        places = np.flatnonzero(marked[row]).tolist() + [13 + i for i, t in enumerate(ids) if t == seg]
        assert out.seg_count[row] == min(len(places), room)
        assert out.seg_overflow[row] == max(len(places) - room, 0)
        assert out.seg_in_prompt[row] == min(marked[row].sum(), room)
        kept = np.asarray(out.seg_hidden[row])[out.seg_valid[row]]
        np.testing.assert_allclose(kept, hidden[places[:room]], atol=1e-4)
    assert max(ids.count(seg) for ids, *_ in references()) > 1


def test_seg_after_a_stop_does_not_count():
    seg = frequent_token()
    out = ask(prompts(), stops=(seg,), seg=seg, pad_id=seg)
    assert out.seg_count.tolist() == [int(seg in ids) for ids, *_ in references()]


def test_streaming_gives_the_same_tokens(monkeypatch):
    monkeypatch.setattr(module, "STREAM_TOKENS", 3)
    stop = references()[0][0][6]
    heard = [[], [], []]

    def hear(pieces):
        for row, piece in enumerate(pieces):
            heard[row] += piece

    streamed = ask(prompts(), stops=(stop,), stream=hear)
    at_once = ask(prompts(), stops=(stop,))
    np.testing.assert_array_equal(streamed.tokens, at_once.tokens)
    np.testing.assert_allclose(streamed.seg_hidden, at_once.seg_hidden, atol=1e-6)
    assert heard == [at_once.ids(row) for row in range(3)]


def test_similar_questions_compile_nothing_and_padding_changes_nothing():
    first = ask(prompts(1), stops=(38,))
    sizes = module.prefill._cache_size(), module.decode._cache_size()
    padded = jnp.pad(prompts(1), ((0, 0), (70, 0), (0, 0)), constant_values=5.0)
    for kwargs in ({"max_new_tokens": NEW - 3}, {"pad_id": 3, "seg": 11}):
        second = ask(padded, [14], stops=(37,), **kwargs)
        assert second.ids(0) == first.ids(0)[: second.counts[0]]
    assert (module.prefill._cache_size(), module.decode._cache_size()) == sizes
    longer = ask(jnp.pad(prompts(1), ((0, 0), (150, 0), (0, 0))), [14], stops=(38,))
    assert longer.ids(0) == first.ids(0)
    assert module.prefill._cache_size() == sizes[0] + 1


def test_sampling_is_reproducible_and_does_not_depend_on_the_batch():
    drawn = Sampling(temperature=1.5, top_k=20, seed=5)
    one, again = ask(prompts(), sampling=drawn), ask(prompts(), sampling=drawn)
    np.testing.assert_array_equal(one.tokens, again.tokens)
    np.testing.assert_array_equal(ask(prompts(1), sampling=drawn).tokens[0], one.tokens[0])
    other = ask(prompts(), sampling=Sampling(temperature=1.5, top_k=20, seed=6))
    assert (other.tokens != one.tokens).any()
    only_best = ask(prompts(), sampling=Sampling(temperature=1.0, top_k=1))
    assert [only_best.ids(row) for row in range(3)] == [ids for ids, *_ in references()]


@pytest.mark.parametrize("top_k, top_p", [(5, None), (None, 0.7), (12, 0.5), (None, 1.0), (1000, 1e-6)])
def test_restrictions_equal_transformers(top_k, top_p):
    torch = pytest.importorskip("torch", reason="the reference runs in PyTorch: pip install -e .[torch]")
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits = np.random.default_rng(0).normal(size=(6, 50)).astype(np.float32) * 2
    theirs = torch.tensor(logits)
    if top_k:
        theirs = processors.TopKLogitsWarper(top_k)(None, theirs)
    if top_p:
        theirs = processors.TopPLogitsWarper(top_p)(None, theirs)
    np.testing.assert_array_equal(restrict(jnp.asarray(logits), top_k, top_p), theirs.numpy())


def test_draws_follow_the_probabilities():
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.1, 0.6, 0.3])), (4000, 3))
    rules = make_rules(0, (), 0, Sampling(temperature=1.0))
    share = np.bincount(choose(logits, rules, jnp.int32(0)), minlength=3) / 4000
    np.testing.assert_allclose(share, [0.1, 0.6, 0.3], atol=0.03)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"embeds": jnp.zeros((1, 301, 32))}, r"takes 301 positions, the language model holds 300 .*shorten"),
        ({"embeds": jnp.zeros((1, 4, 32)), "lengths": [5]}, r"prompt lengths \[5\]"),
        ({"embeds": jnp.zeros((1, 4, 32)), "max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_bad_lengths_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ask(**kwargs)


BAD_SAMPLING = [
    *({"temperature": value} for value in (-1.0, float("nan"), float("inf"), 1e-39)),
    *({"top_k": 0}, {"top_p": 1.5}, {"top_p": float("nan")}, {"seed": -1}, {"seed": 2**63}),
]


@pytest.mark.parametrize("kwargs", BAD_SAMPLING)
def test_bad_sampling_is_refused(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        Sampling(**kwargs)


@pytest.mark.parametrize("temperature", [module.COLDEST, module.HOTTEST])
def test_the_ends_of_what_is_allowed_choose_a_token(temperature):
    logits = jnp.array([[-1e3, 1e3, -jnp.inf]])
    sampling = Sampling(temperature, top_k=10**11, top_p=1e-60, seed=2**63 - 1)
    assert choose(logits, make_rules(0, (), 0, sampling), jnp.int32(0)).tolist() == [1]
