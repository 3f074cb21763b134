"""The chat template follows the tokenizer of a checkpoint."""

import json

import pytest

from vglamm_jax.convert.chat_template import template_of
from vglamm_jax.convert.torch_io import CheckpointError


@pytest.mark.parametrize(
    ("file", "said", "fused", "template"),
    [
        ("added_tokens.json", {"<|user|>": 32010}, True, "phi3"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"6": {"content": "<|start_header_id|>"}}}, False, "llama3"),
        ("tokenizer.json", {"added_tokens": [{"id": 1, "content": "<|im_start|>"}]}, False, "chatml"),
        ("tokenizer.json", {"added_tokens": [{"id": 1, "content": "<|im_start|>"}]}, True, "chatml"),
        ("added_tokens.json", {"[SEG]": 511}, True, "phi3"),  # Phi-3's layout has but one
    ],
)
def test_the_tokenizers_headers_name_it(tmp_path, file, said, fused, template):
    (tmp_path / file).write_text(json.dumps(said))
    assert template_of(tmp_path, fused) == template


@pytest.mark.parametrize(
    ("tokens", "has"), [({}, "none of <|user|>, "), ({"<|user|>": 1, "<|im_start|>": 2}, "<|user|> and <|im_start|>")]
)
def test_a_tokenizer_that_names_none_or_several_is_an_error(tmp_path, tokens, has):
    (tmp_path / "added_tokens.json").write_text(json.dumps(tokens))
    with pytest.raises(CheckpointError, match="pass --config") as error:
        template_of(tmp_path, fused=False)
    assert f"{tmp_path}: its tokenizer has {has}" in str(error.value)
