"""Tokenizers as checkpoints store them, and a tiny one for the demo and the tests.

A VideoGLaMM folder holds a sentencepiece `tokenizer.model` with added tokens (Phi-3's layout, facts 1.7);
Llama-3 style folders hold a `tokenizer.json`. Nothing is ever downloaded.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

import sentencepiece

from vglamm_jax.data.sentencepieces import SentencePieceTokenizer, read_sentencepiece

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SEG = "[SEG]"
PHI3_TOKENS = (
    "<|endoftext|>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
)


Tokenizer = Union[SentencePieceTokenizer, "PreTrainedTokenizerFast"]


class TokenizerError(ValueError):
    """A tokenizer folder that cannot be read; the message names the file and the fix."""


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder, with a pad token and [SEG] (added last where the folder has none).

    Raises:
        TokenizerError: the folder or its files are missing or unreadable.
    """
    folder = Path(folder)
    _require(folder.is_dir(), f"{folder}: no such folder; give the folder that holds the checkpoint's tokenizer")
    try:
        tokenizer = _read(folder)
    except TokenizerError:
        raise
    except Exception as error:  # the readers raise anything from OSError to a bare Exception of their Rust part
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TokenizerError(f"{folder}: the tokenizer cannot be read ({reason}); copy its files again") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    tokenizer.add_tokens(SEG)
    return tokenizer


def decode(tokenizer: Tokenizer, ids: Sequence[int], spaced: bool = False) -> str:
    """Token ids -> text, special tokens kept; `spaced`: with spaces around added tokens, as the original prints it."""
    if isinstance(tokenizer, SentencePieceTokenizer):
        return tokenizer.decode(ids, spaced=spaced)
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def tiny_tokenizer(folder: str | Path, vocab: int = 512) -> Path:
    """Trains a toy tokenizer of exactly `vocab` ids in Phi-3's layout ([SEG] last) and writes it into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    added = {token: vocab - 1 - len(PHI3_TOKENS) + i for i, token in enumerate((*PHI3_TOKENS, SEG))}
    _write_json(folder / "added_tokens.json", added)
    _write_json(folder / "tokenizer_config.json", _phi3_settings(added))
    # Last and at once: where it is, the folder is whole, even if a run is killed while it makes its tokenizer.
    partial = folder / "tokenizer.model.partial"
    partial.write_bytes(_train_pieces(vocab - len(added)))
    partial.rename(folder / "tokenizer.model")
    return folder


def _read(folder: Path) -> Tokenizer:
    # The original always loads the slow tokenizer; AutoTokenizer would not know config.json's model_type "VideoGPT+".
    if (folder / "tokenizer.model").is_file():
        path = folder / "tokenizer_config.json"
        _require(path.is_file(), f"{path}: missing; it lists the special tokens, copy it from the checkpoint's release")
        return read_sentencepiece(folder)
    _require(
        (folder / "tokenizer.json").is_file(),
        f"{folder}: neither tokenizer.model nor tokenizer.json is here; copy them from the language model's release",
    )
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)


def _train_pieces(size: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _phi3_settings(added: dict[str, int]) -> dict:
    def entry(token: str, special: bool) -> dict:
        return {
            "content": token,
            "lstrip": False,
            "normalized": not special,
            "rstrip": special and token.startswith("<|") and token != "<|endoftext|>",
            "single_word": False,
            "special": special,
        }

    ids = {"<unk>": 0, "<s>": 1, "</s>": 2, **added}
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {str(i): entry(token, token != SEG) for token, i in ids.items()},
        "additional_special_tokens": list(PHI3_TOKENS),
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<unk>",
        "unk_token": "<unk>",
        "legacy": False,
        "model_max_length": 4096,
        "tokenizer_class": "LlamaTokenizer",
    }


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise TokenizerError(message)


_SENTENCES = (
    "You are a helpful AI assistant.",
    "Can you describe the video with interleaved segmentation masks?",
    "Please segment the red circle in this video and describe what it does.",
    "A dog walks across the lawn while a man in a white shirt follows it slowly.",
    "The blue square moves from the left side of the frame to the right side.",
    "Where is the person who is riding the bicycle, and what are they holding?",
    "Sure, the small yellow ball rolls under the table and stops near the chair.",
    "In the image there is a woman with an umbrella standing next to two children.",
    "Which objects are moving? The car turns left; the green bus waits at the corner.",
)
