"""Answering: one prefill, then one compiled loop that chooses a token and runs the model on it (facts 4.5 to 4.7).

A prompt comes as embeddings, padded on the left to a bucket of lengths, so that a second question of similar
length compiles nothing. On the way the states that predict [SEG] are collected: the hidden state, after the
final norm, of the position before each [SEG] (facts 4.6), those of a [SEG] in the prompt first.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vglamm_jax.models.llm import CausalLM, KVCache

BUCKET = 128
STREAM_TOKENS = 16  # tokens between two calls of the stream
COLDEST, HOTTEST = 1e-6, 1e6  # logits divided by these stay numbers in float32

Stream = Callable[[list[list[int]]], None]


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the likeliest at temperature 0, else drawn; the original draws at (1.0, 50)."""

    temperature: float = 0.0
    top_k: int | None = None  # only the k likeliest
    top_p: float | None = None  # only the likeliest that together reach this probability
    seed: int = 0

    def __post_init__(self):
        if self.temperature and not COLDEST <= self.temperature <= HOTTEST:
            raise ValueError(f"temperature must be 0 or between {COLDEST:g} and {HOTTEST:g}, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be between 0 and 2**63 - 1, got {self.seed}")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rules:
    """What decides on tokens, as arrays, so that another value compiles nothing. `temperature` None = greedy."""

    seg_token: jax.Array  # int32
    stops: jax.Array  # int32 [n]
    pad: jax.Array  # int32, what rows emit after their stop
    temperature: jax.Array | None
    top_k: jax.Array | None
    top_p: jax.Array | None
    key: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything the loop carries. B rows, N token places, K object places, `step` tokens chosen so far."""

    cache: KVCache
    padding: jax.Array  # int32 [B], empty slots in front of each prompt
    step: jax.Array  # int32
    tokens: jax.Array  # int32 [B, N]
    counts: jax.Array  # int32 [B], tokens of each row, its stop included
    done: jax.Array  # bool [B]
    seg_hidden: jax.Array  # [B, K, D]
    seg_total: jax.Array  # int32 [B], may exceed K
    scores: jax.Array | None  # float32 [B, N, padded_vocab]
    hidden: jax.Array | None  # [B, S + N, D], every position the model has seen


@dataclasses.dataclass(frozen=True)
class Generation:
    """An answer per row. `scores` and `hidden` only where asked for."""

    tokens: np.ndarray  # int32 [B, max_new_tokens], pad from counts[b] on
    counts: np.ndarray  # int32 [B], the stop token included
    seg_hidden: jax.Array  # [B, K, D], the states that predict [SEG], in order
    seg_count: np.ndarray  # int32 [B], how many of the K are filled
    seg_overflow: np.ndarray  # int32 [B], objects beyond K, which were not kept
    seg_in_prompt: np.ndarray  # int32 [B], how many of the first stem from the prompt
    scores: np.ndarray | None = None  # float32 [B, steps, padded_vocab]
    hidden: np.ndarray | None = None  # [B, S + steps - 1, D], left-padded like the prompt given

    @property
    def seg_valid(self) -> np.ndarray:
        """bool [B, K]."""
        return np.arange(self.seg_hidden.shape[1]) < self.seg_count[:, None]

    def ids(self, row: int) -> list[int]:
        return self.tokens[row, : self.counts[row]].tolist()


def bucket(length: int, step: int = BUCKET) -> int:
    return -(-length // step) * step


def restrict(logits: jax.Array, top_k: jax.Array | None, top_p: jax.Array | None) -> jax.Array:
    """Logits [..., V] with those outside the k likeliest, then outside the top-p set, at -inf; equals are kept."""
    ascending = jnp.sort(logits, axis=-1)
    vocab = logits.shape[-1]
    least = ascending[..., :1]
    if top_k is not None:
        least = jax.lax.dynamic_slice_in_dim(ascending, jnp.maximum(vocab - top_k, 0), 1, axis=-1)
    if top_p is not None:
        kept = jnp.where(ascending >= least, ascending, -jnp.inf)
        below = jnp.cumsum(jax.nn.softmax(kept, axis=-1), axis=-1)  # probability of this and all less likely
        first = jnp.minimum(jnp.sum(below <= 1 - top_p, axis=-1, keepdims=True), vocab - 1)
        least = jnp.take_along_axis(ascending, first, axis=-1)
    return jnp.where(logits >= least, logits, -jnp.inf)


def choose(logits: jax.Array, rules: Rules, step: jax.Array) -> jax.Array:
    """Logits [B, V] -> tokens [B]. A row's draw depends on seed, row and step, not on the batch."""
    if rules.temperature is None:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = restrict(logits / rules.temperature, rules.top_k, rules.top_p)

    def draw(row, logits):
        key = jax.random.fold_in(jax.random.fold_in(rules.key, row), step)
        return jax.random.categorical(key, logits)

    return jax.vmap(draw)(jnp.arange(len(logits)), logits).astype(jnp.int32)


def take_token(llm: CausalLM, state: State, hidden: jax.Array, rules: Rules) -> State:
    """Chooses the next token from the last hidden states [B, 1, D] and notes what it means."""
    logits = llm.logits(hidden)[:, 0]
    rows, step, objects = jnp.arange(len(logits)), state.step, state.seg_hidden.shape[1]
    token = jnp.where(state.done, rules.pad, choose(logits, rules, step))
    is_seg = (token == rules.seg_token) & ~state.done
    place = jnp.where(is_seg, state.seg_total, objects)
    scores = state.scores
    if scores is not None:
        scores = jax.lax.dynamic_update_slice(scores, logits[:, None], (0, step, 0))
    return dataclasses.replace(
        state,
        step=step + 1,
        tokens=jax.lax.dynamic_update_slice(state.tokens, token[:, None], (0, step)),
        counts=state.counts + ~state.done,
        done=state.done | jnp.isin(token, rules.stops),
        seg_hidden=state.seg_hidden.at[rows, place].set(hidden[:, 0], mode="drop"),
        seg_total=state.seg_total + is_seg,
        scores=scores,
    )


def marked_rows(hidden: jax.Array, mark: jax.Array, size: int) -> jax.Array:
    """The first `size` rows of hidden [B, S, D] where mark [B, S] is True, in order; zeros where there are fewer."""
    index = jax.vmap(lambda m: jnp.nonzero(m, size=size, fill_value=-1)[0])(mark)
    rows = jnp.take_along_axis(hidden, jnp.maximum(index, 0)[..., None], axis=1)
    return jnp.where((index >= 0)[..., None], rows, 0)


@functools.partial(jax.jit, static_argnames=("new_tokens", "max_objects", "return_scores", "return_hidden"))
def prefill(
    llm: CausalLM,
    embeds: jax.Array,
    padding: jax.Array,
    prompt_seg: jax.Array,
    rules: Rules,
    *,
    new_tokens: int,
    max_objects: int,
    return_scores: bool = False,
    return_hidden: bool = False,
) -> State:
    """Reads left-padded prompts [B, S, D] and chooses the first token; room for `new_tokens` in all."""
    batch, length, width = embeds.shape
    slots = jnp.arange(length)
    hidden, cache = llm(
        embeds,
        slots - padding[:, None],
        slots >= padding[:, None],
        llm.empty_cache(batch, length + new_tokens),
        prefill=True,
    )
    every = jnp.concatenate([hidden, jnp.zeros((batch, new_tokens, width), hidden.dtype)], 1)
    state = State(
        cache=cache,
        padding=padding,
        step=jnp.int32(0),
        tokens=jnp.broadcast_to(rules.pad, (batch, new_tokens)),
        counts=jnp.zeros(batch, jnp.int32),
        done=jnp.zeros(batch, bool),
        seg_hidden=marked_rows(hidden, prompt_seg, max_objects),
        seg_total=prompt_seg.sum(1, dtype=jnp.int32),
        scores=jnp.zeros((batch, new_tokens, llm.cfg.padded_vocab), jnp.float32) if return_scores else None,
        hidden=every if return_hidden else None,
    )
    return take_token(llm, state, hidden[:, -1:], rules)


@functools.partial(jax.jit, donate_argnames="state")
def decode(llm: CausalLM, state: State, limit: jax.Array, rules: Rules) -> State:
    """Chooses tokens until each row has stopped, or `limit` have been chosen; may be called again to go on."""
    valid = jnp.arange(state.cache.capacity) >= state.padding[:, None]

    def unfinished(state):
        return (state.step < limit) & ~state.done.all()

    def next_token(state):
        slot = state.cache.index
        last = jax.lax.dynamic_slice_in_dim(state.tokens, state.step - 1, 1, axis=1)
        hidden, cache = llm(llm.embed(last), slot - state.padding[:, None], valid, state.cache)
        every = state.hidden
        if every is not None:
            every = jax.lax.dynamic_update_slice(every, hidden, (0, slot, 0))
        return take_token(llm, dataclasses.replace(state, cache=cache, hidden=every), hidden, rules)

    return jax.lax.while_loop(unfinished, next_token, state)


def make_rules(seg_token_id: int, stop_ids: Sequence[int], pad_id: int, sampling: Sampling) -> Rules:
    greedy = sampling.temperature == 0
    return Rules(
        seg_token=jnp.int32(seg_token_id),
        stops=jnp.asarray(stop_ids, jnp.int32),
        pad=jnp.int32(pad_id),
        temperature=None if greedy else jnp.float32(sampling.temperature),
        top_k=None if greedy or sampling.top_k is None else jnp.int32(min(sampling.top_k, 2**31 - 1)),
        top_p=None if greedy or sampling.top_p is None else jnp.float32(sampling.top_p),
        key=None if greedy else jax.random.key(sampling.seed),
    )


def check_lengths(lengths: np.ndarray, given: int, max_new_tokens: int, max_positions: int) -> None:
    """Raises ValueError where a prompt cannot be read or nothing may be said."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if lengths.min() < 1 or lengths.max() > given:
        raise ValueError(f"prompt lengths {lengths.tolist()} must lie between 1 and the {given} rows of the embeddings")
    if lengths.max() > max_positions:
        raise ValueError(
            f"the prompt takes {lengths.max()} positions, the language model holds {max_positions} "
            "(llm.max_positions): shorten the text, or give a config with fewer `frames`"
        )


def generate(
    llm: CausalLM,
    embeds: jax.Array,
    lengths: Sequence[int] | None = None,
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    seg_token_id: int,
    pad_id: int = 0,
    sampling: Sampling = Sampling(),
    prompt_seg: np.ndarray | None = None,
    max_objects: int = 32,
    stream: Stream | None = None,
    return_scores: bool = False,
    return_hidden: bool = False,
) -> Generation:
    """Answers prompts given as embeddings.

    Args:
      llm: the language model.
      embeds: [B, S, D], padded on the left: row b's prompt is its last lengths[b] rows.
      lengths: int [B]; all S by default.
      max_new_tokens: most tokens of an answer. Answers may run past `llm.max_positions`, as in the original.
      stop_ids: tokens that end an answer; they are part of it.
      seg_token_id: the id of [SEG].
      pad_id: what fills `tokens` after a row's end.
      sampling: greedy by default.
      prompt_seg: bool [B, S], positions of the prompt whose next token is [SEG] (they count, facts 4.6).
      max_objects: K, places for states that predict [SEG]; more are counted in `seg_overflow`.
      stream: called with the new tokens of each row every few steps; changes nothing else.
      return_scores, return_hidden: also return the logits of each step, all hidden states.

    Raises ValueError for a prompt longer than the model's positions, naming both lengths.
    """
    batch, given, _ = embeds.shape
    lengths = np.full(batch, given, np.int32) if lengths is None else np.asarray(lengths, np.int32)
    check_lengths(lengths, given, max_new_tokens, llm.cfg.max_positions)
    prompt_seg = np.zeros((batch, given), bool) if prompt_seg is None else np.asarray(prompt_seg, bool)
    prompt_seg = prompt_seg & (np.arange(given) >= given - lengths[:, None])
    extra = bucket(given) - given
    rules = make_rules(seg_token_id, stop_ids, pad_id, sampling)
    state = prefill(
        llm, jnp.pad(embeds, ((0, 0), (extra, 0), (0, 0))), jnp.asarray(extra + given - lengths, jnp.int32),
        jnp.asarray(np.pad(prompt_seg, ((0, 0), (extra, 0)))), rules, new_tokens=bucket(max_new_tokens),
        max_objects=max_objects, return_scores=return_scores, return_hidden=return_hidden,
    )  # fmt: skip
    state = _decode_all(llm, state, max_new_tokens, rules, stream)
    return _finish(state, max_new_tokens, prompt_seg.sum(1), extra, given)


def _decode_all(llm, state: State, max_new_tokens: int, rules: Rules, stream: Stream | None) -> State:
    if stream is None:
        return decode(llm, state, jnp.int32(max_new_tokens), rules)
    told = np.zeros(len(state.tokens), np.int32)
    while True:
        tokens, counts = np.asarray(state.tokens), np.asarray(state.counts)
        stream([row[a:b].tolist() for row, a, b in zip(tokens, told, counts, strict=True)])
        told, step = counts, int(state.step)
        if step >= max_new_tokens or bool(state.done.all()):
            return state
        state = decode(llm, state, jnp.int32(min(step + STREAM_TOKENS, max_new_tokens)), rules)


def _finish(state: State, max_new_tokens: int, seg_in_prompt: np.ndarray, extra: int, given: int) -> Generation:
    objects, steps, total = state.seg_hidden.shape[1], int(state.step), np.asarray(state.seg_total)
    return Generation(
        tokens=np.asarray(state.tokens)[:, :max_new_tokens],
        counts=np.asarray(state.counts),
        seg_hidden=state.seg_hidden,
        seg_count=np.minimum(total, objects),
        seg_overflow=np.maximum(total - objects, 0),
        seg_in_prompt=np.minimum(seg_in_prompt, objects).astype(np.int32),
        scores=None if state.scores is None else np.asarray(state.scores[:, :steps]),
        hidden=None if state.hidden is None else np.asarray(state.hidden[:, extra : extra + given + steps - 1]),
    )
