"""Chat text, its token ids with placeholders for the picture, label masks and [SEG] positions (facts section 4).

turns = as_turns(question("Who wears a hat?"))
ids = encode(render(turns, "phi3", frames=16), tokenizer)   # int64 [L], 16 of them -200
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

PLACEHOLDER = "<image>"
VIDEO = "<video>"
PLACEHOLDER_ID = -200
IGNORE = -100
SYSTEM = "You are a helpful AI assistant."

Protocol = Literal["default", "reference"]


class PromptError(ValueError):
    """A conversation that cannot be put into the template; the message says what to change."""


class Turn(NamedTuple):
    role: Literal["user", "assistant"]
    text: str


@dataclasses.dataclass(frozen=True)
class Template:
    """system + text + end, then user/assistant + text + end for each turn (facts 4.1)."""

    system: str
    user: str
    assistant: str
    end: str


TEMPLATES = {
    "phi3": Template("<|system|>\n", "\n<|user|>\n", "\n<|assistant|>\n", "<|end|>"),
    "llama3": Template(
        "<|start_header_id|>system<|end_header_id|>\n\n",
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "chatml": Template("<|im_start|>system\n", "\n<|im_start|>user\n", "\n<|im_start|>assistant\n", "<|im_end|>"),
}

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def question(text: str, media: Literal["video", "image"] | None = "video") -> list[Turn]:
    """A first user turn about a video, an image, or nothing but text."""
    marker = {"video": VIDEO + "\n", "image": PLACEHOLDER + "\n", None: ""}[media]
    return [Turn("user", marker + text)]


def as_turns(messages: Iterable) -> list[Turn]:
    """Turns, {"role", "content"} or {"from", "value"} messages -> turns that alternate and start with the user.

    Raises:
        PromptError: an unknown role, two turns of one role in a row, or no turn at all.
    """
    turns = [message if isinstance(message, Turn) else _from_dict(message) for message in messages]
    if not turns:
        raise PromptError("the conversation is empty: give at least one user message")
    for i, turn in enumerate(turns):
        expected = ("user", "assistant")[i % 2]
        if turn.role != expected:
            raise PromptError(f"message {i} is from the {turn.role}, expected the {expected}: roles must alternate")
    return turns


def render(turns: Sequence[Turn], template: str = "phi3", frames: int = 16, system: str = SYSTEM) -> str:
    """The whole conversation as text; ends with the assistant's header when the last turn is the user's.

    A video becomes `frames` times `<image>`, in front of the text of its turn (facts 4.2).
    """
    style = template_named(template)
    parts = [style.system, system, style.end]
    for turn in turns:
        text = _media_first(turn.text, frames) if turn.role == "user" else turn.text.strip()
        parts += [style.user if turn.role == "user" else style.assistant, text, style.end]
    if turns[-1].role == "user":
        parts.append(style.assistant)
    return "".join(parts)


def template_named(name: str) -> Template:
    if name not in TEMPLATES:
        raise PromptError(f"unknown chat template {name!r}: choose one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def encode(text: str, tokenizer) -> np.ndarray:
    """Text -> int64 [L]; each `<image>` is one -200, and only the first chunk keeps its BOS (facts 4.3)."""
    first, *others = text.split(PLACEHOLDER)
    ids = list(tokenizer(first).input_ids)
    adds_bos = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
    for chunk in others:
        ids.append(PLACEHOLDER_ID)
        if chunk:
            ids += tokenizer(chunk).input_ids[adds_bos:]
    return np.array(ids, np.int64)


def encode_labelled(
    turns: Sequence[Turn],
    tokenizer,
    template: str = "phi3",
    frames: int = 16,
    system: str = SYSTEM,
    protocol: Protocol = "default",
) -> tuple[np.ndarray, np.ndarray]:
    """A training conversation -> ids and labels, both int64 [L]; -100 everywhere but in the assistant's turns.

    Supervised are each answer and the token that ends it. `protocol="reference"` repeats the original's counting for
    phi3, which ignores every conversation of several turns when the tokenizer adds no BOS (facts 4.4 and 10.35).
    """
    text = render(turns, template, frames, system)
    ids = encode(text, tokenizer)
    if protocol == "reference":
        return ids, reference_labels(text, ids, tokenizer)
    labels = np.full_like(ids, IGNORE)
    for start, stop in _answer_spans(turns, tokenizer, template, frames, system, ids):
        labels[start:stop] = ids[start:stop]
    return ids, labels


def reference_labels(text: str, ids: np.ndarray, tokenizer) -> np.ndarray:
    """The original's label mask for the phi3 template, with its fixed offsets (facts 4.4)."""
    style = TEMPLATES["phi3"]
    pieces = text.split(style.end)
    rounds = [style.end.join(pieces[:3])]
    rounds += [style.end.join(pieces[i : i + 2]) for i in range(3, len(pieces), 2)]
    labels, position = ids.copy(), 0
    for i, part in enumerate(rounds):
        halves = part.split(style.end + style.assistant)
        if not part or len(halves) != 2:
            break
        offset = 1 if i == 0 else -2
        instruction = len(_encode_like(text, halves[0] + style.end + style.assistant, tokenizer)) - 1 + offset
        labels[position : position + instruction] = IGNORE
        position += len(_encode_like(text, part, tokenizer)) + offset
    labels[position:] = IGNORE
    if position != (ids != tokenizer.pad_token_id).sum():
        labels[:] = IGNORE
    return labels


def seg_mask(ids: np.ndarray, seg_id: int, labels: np.ndarray | None = None) -> np.ndarray:
    """bool [..., L]: positions whose next token is [SEG], i.e. whose hidden state predicts it (facts 4.6).

    With `labels`, a [SEG] that stands in a question does not count (the original counts it).
    """
    is_seg = ids == seg_id
    if labels is not None:
        is_seg &= labels != IGNORE
    mask = np.zeros_like(is_seg)
    mask[..., :-1] = is_seg[..., 1:]
    return mask


def _from_dict(message: dict) -> Turn:
    role = message.get("role", message.get("from"))
    text = message.get("content", message.get("value"))
    if role not in _ROLES or not isinstance(text, str):
        raise PromptError(f"a message needs a role (one of {', '.join(_ROLES)}) and a text, got {message!r}")
    return Turn(_ROLES[role], text)


def _media_first(text: str, frames: int) -> str:
    marker = re.search(f"{VIDEO}|{PLACEHOLDER}", text)
    if marker is None:
        return text
    rest = text.replace(VIDEO, "").replace(PLACEHOLDER, "").strip()
    return PLACEHOLDER * (frames if marker.group() == VIDEO else 1) + "\n" + rest


def _answer_spans(turns, tokenizer, template, frames, system, ids):
    """[start, stop) of every assistant turn, its end token included, found by the lengths of encoded prefixes."""
    for i, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        before = encode(render(turns[:i], template, frames, system), tokenizer)
        upto = encode(render(turns[: i + 1], template, frames, system), tokenizer)
        if not (np.array_equal(before, ids[: len(before)]) and np.array_equal(upto, ids[: len(upto)])):
            raise PromptError(f"this tokenizer does not keep the {template} template's special tokens apart")
        yield len(before), len(upto)


def _encode_like(whole: str, part: str, tokenizer) -> Sequence[int]:
    return encode(part, tokenizer) if PLACEHOLDER in whole else tokenizer(part).input_ids
