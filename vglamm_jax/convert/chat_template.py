"""Which chat template a language model was taught: its tokenizer has a token of its own for the template's headers."""

from pathlib import Path

from vglamm_jax.convert.torch_io import CheckpointError

HEADERS = {"<|user|>": "phi3", "<|start_header_id|>": "llama3", "<|im_start|>": "chatml"}
TOKENIZER_FILES = ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json")


def template_of(folder: Path, fused: bool) -> str:
    """The template of the model in `folder`; fused projections are Phi-3's, if no tokenizer says another.

    Raises:
      CheckpointError: the tokenizer has the headers of no template, or of several.
    """
    files = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    said = "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
    found = [template for header, template in HEADERS.items() if header in said] or ["phi3"] * fused
    if len(found) != 1:
        has = " and ".join(header for header in HEADERS if header in said) or f"none of {', '.join(HEADERS)}"
        raise CheckpointError(
            f"{folder}: its tokenizer has {has}, so the chat template is not known; state `template` in a config and "
            "pass --config"
        )
    return found[0]
