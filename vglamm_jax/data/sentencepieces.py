"""The slow Llama tokenizer the original uses, exact to the last space, straight on sentencepiece.

transformers 5 rebuilds such tokenizers from merges and so splits runs of spaces differently ("the  dog" loses its
word-initial piece); a model trained on the original ids would see other tokens than it knows.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

SPACE = "▁"


class Encoding(NamedTuple):
    input_ids: list[int]


@dataclasses.dataclass(frozen=True)
class AddedToken:
    content: str
    lstrip: bool = False  # swallows the white space before it
    rstrip: bool = False  # swallows the white space after it
    special: bool = True


class SentencePieceTokenizer:
    """`tokenizer(text).input_ids` and `decode(ids)` as `LlamaTokenizer(use_fast=False, legacy=False)` gives them."""

    def __init__(self, model: bytes, added: dict[int, AddedToken], settings: dict):
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=_without_dummy_prefix(model))
        self._added = dict(added)
        self._settings = settings
        self._unk = self._pieces.id_to_piece(self._pieces.unk_id())
        self._unk_length = len(self._pieces.encode(self._unk))
        self.unk_token = self._named("unk_token") or self._unk
        self.bos_token, self.eos_token = self._named("bos_token"), self._named("eos_token")
        self.pad_token = self._named("pad_token") or self.unk_token
        self.add_bos_token = bool(settings.get("add_bos_token", True))
        self.model_max_length = int(settings.get("model_max_length", 1 << 30))
        self._index()

    @property
    def bos_token_id(self) -> int | None:
        return self.convert_tokens_to_ids(self.bos_token) if self.bos_token else None

    @property
    def eos_token_id(self) -> int | None:
        return self.convert_tokens_to_ids(self.eos_token) if self.eos_token else None

    @property
    def pad_token_id(self) -> int:
        return self.convert_tokens_to_ids(self.pad_token)

    def __len__(self) -> int:
        return max([self._pieces.get_piece_size(), *(i + 1 for i in self._added)])

    def __call__(self, text: str, add_special_tokens: bool = True) -> Encoding:
        ids = self._encode(text)
        if add_special_tokens and self.add_bos_token and self.bos_token_id is not None:
            ids = [self.bos_token_id, *ids]
        return Encoding(ids)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False, spaced: bool = False) -> str:
        """Text of ids, spaces where the pieces say; `spaced`: also around added tokens, as the original prints.

        Ids without a token have no text: a model's table may be longer than its vocabulary (Phi-3's has 32064 rows).
        """
        runs: list[list[int]] = [[]]
        parts: list[str] = []
        for i in map(int, ids):
            token = self._added.get(i)
            if token is None:
                runs[-1] += [i] if 0 <= i < self._pieces.get_piece_size() else []
                continue
            parts.append(self._piece_text(runs[-1]))
            parts.append("" if skip_special_tokens and token.special else token.content)
            runs.append([])
        parts.append(self._piece_text(runs[-1]))
        if spaced:
            return " ".join(part.removeprefix(" ") if n % 2 == 0 else part for n, part in enumerate(parts) if part)
        return "".join(parts).removeprefix(" ")

    def convert_tokens_to_ids(self, token: str) -> int:
        return self._ids[token] if token in self._ids else self._pieces.piece_to_id(token)

    def get_vocab(self) -> dict[str, int]:
        pieces = {self._pieces.id_to_piece(i): i for i in range(self._pieces.get_piece_size())}
        return {**pieces, **self._ids}

    def add_tokens(self, token: str) -> int:
        """Adds an ordinary token at the end; returns how many were added (0 if it is known)."""
        if token in self._ids:
            return 0
        self._added[len(self)] = AddedToken(token, special=False)
        self._index()
        return 1

    def _index(self) -> None:
        self._ids = {token.content: i for i, token in self._added.items()}
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if self._ids else None

    def _named(self, name: str) -> str | None:
        value = self._settings.get(name)
        return value.get("content") if isinstance(value, dict) else value

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        chunks = self._chunks(SPACE + text.replace(SPACE, " "))
        ids: list[int] = []
        for chunk in chunks:
            ids += [self._ids[chunk]] if chunk in self._ids else self._encode_plain(chunk)
        starts_special = len(ids) > 1 and self._added.get(ids[1], AddedToken("", special=False)).special
        return ids[1:] if starts_special and ids[0] == self._pieces.piece_to_id(SPACE) else ids

    def _chunks(self, text: str) -> list[str]:
        """Text cut at added tokens, without the white space these swallow."""
        chunks = self._split.split(text) if self._split else [text]
        for n in range(1, len(chunks), 2):
            token = self._added[self._ids[chunks[n]]]
            if token.rstrip:
                chunks[n + 1] = chunks[n + 1].lstrip()
            if token.lstrip:
                chunks[n - 1] = chunks[n - 1].rstrip()
        return [chunk for chunk in chunks if chunk]

    def _encode_plain(self, text: str) -> list[int]:
        if not text.startswith((SPACE, " ")):
            return self._pieces.encode(text)
        # A model that trims its input would lose the leading space: hide it behind a known piece.
        return self._pieces.encode(self._unk + text)[self._unk_length :]

    def _piece_text(self, ids: list[int]) -> str:
        """Pieces to text, leading space kept (sentencepiece would drop it)."""
        if not ids:
            return ""
        leading = self._pieces.id_to_piece(ids[0]).startswith(SPACE)
        text = self._pieces.decode(ids)
        return " " + text if leading and not text.startswith(" ") else text


def read_sentencepiece(folder: Path) -> SentencePieceTokenizer:
    """From `tokenizer.model`, `tokenizer_config.json` and, in older folders, `added_tokens.json`.

    Raises:
        OSError, ValueError, RuntimeError: a file is missing or broken.
    """
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    added = {int(i): _added_token(entry) for i, entry in settings.get("added_tokens_decoder", {}).items()}
    if (folder / "added_tokens.json").is_file():
        for content, i in json.loads((folder / "added_tokens.json").read_text(encoding="utf-8")).items():
            added.setdefault(int(i), AddedToken(content))
    return SentencePieceTokenizer((folder / "tokenizer.model").read_bytes(), added, settings)


def _without_dummy_prefix(model: bytes) -> bytes:
    """The same model, which no longer puts a space before every text: only the first chunk of a prompt gets one."""
    spec = sentencepiece_model_pb2.ModelProto.FromString(model)
    spec.normalizer_spec.add_dummy_prefix = False
    return spec.SerializeToString()


def _added_token(entry: dict) -> AddedToken:
    flags = {name: bool(entry.get(name, False)) for name in ("lstrip", "rstrip", "special")}
    return AddedToken(entry["content"], **flags)
