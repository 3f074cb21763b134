"""Tokenizers of real layouts: ids as sentencepiece gives them, [SEG] and pad in place, clear errors."""

import json
import random
import shutil

import pytest
import sentencepiece

from vglamm_jax.data import tokenizer as tok


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    return tok.tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return tok.load_tokenizer(tiny_folder)


def test_tiny_fills_the_tiny_config(tiny):
    assert len(tiny) == 512
    assert tiny.convert_tokens_to_ids("[SEG]") == 511
    assert tiny.convert_tokens_to_ids("</s>") == 2
    assert (tiny.bos_token_id, tiny.pad_token_id) == (1, 0)


def test_tiny_is_deterministic(tiny_folder, tmp_path):
    again = tok.tiny_tokenizer(tmp_path)
    for name in ("tokenizer.model", "tokenizer_config.json", "added_tokens.json"):
        assert (again / name).read_bytes() == (tiny_folder / name).read_bytes()


def test_special_tokens_swallow_the_white_space_after_them(tiny):
    assert tiny("<|end|>\n\nA").input_ids == tiny("<|end|>A").input_ids
    assert tiny("[SEG] A").input_ids != tiny("[SEG]A").input_ids


@pytest.mark.parametrize(
    "text",
    ["A dog [SEG] walks, slowly.", "two  spaces", "one\nline <p>a hat</p> [SEG].", "Где 🙂 你好", " leading", "[SEG]"],
)
def test_decode_inverts_encode(tiny, text):
    assert tok.decode(tiny, tiny(text, add_special_tokens=False).input_ids) == text


@pytest.mark.parametrize("unknown", [-1, 600, 1 << 40])
def test_ids_beyond_the_vocabulary_have_no_text(tiny, unknown):
    first, *others = tiny("A dog [SEG] walks.", add_special_tokens=False).input_ids
    assert tok.decode(tiny, [unknown, first, unknown, *others, unknown]) == "A dog [SEG] walks."
    assert tok.decode(tiny, [unknown], spaced=True) == ""


def random_texts(count, alphabet="abc XYZ  .,\n\t'\"/pé你🙂Где 0123▁"):
    rng = random.Random(0)
    return ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 30))) for _ in range(count)]


@pytest.mark.parametrize("which", ["tiny", "golden"])
def test_plain_text_equals_sentencepiece(which, tiny_folder, request):
    folder = tiny_folder if which == "tiny" else request.getfixturevalue("golden") / "checkpoint"
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    ours = tok.load_tokenizer(folder)
    for text in random_texts(300):
        expected = pieces.encode(text.replace("▁", " "))
        assert ours(text, add_special_tokens=False).input_ids == expected, repr(text)


def test_golden_generation_decodes_to_the_original_text(golden):
    case = json.loads((golden / "case.json").read_text())
    ours = tok.load_tokenizer(golden / "checkpoint")
    assert tok.decode(ours, case["generated"], spaced=True) == case["text"]
    assert len(ours) == case["phi3"]["vocab"]


def test_seg_is_added_where_missing(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "base")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["added_tokens_decoder"]["511"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "added_tokens.json").unlink()
    assert tok.load_tokenizer(folder)("x[SEG]").input_ids[-1] == 511


def test_a_folder_without_added_tokens(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "bare")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    bare = {"add_bos_token": False} | {name: settings[name] for name in ("unk_token", "eos_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(bare))
    (folder / "added_tokens.json").unlink()
    tokenizer = tok.load_tokenizer(folder)
    assert tokenizer("x[SEG]").input_ids[-1] == len(tokenizer) - 1 == 500


def test_tokenizer_json_folder(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["a dog walks"], trainer)
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": special[0], "eos_token": special[1], "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    tokenizer = tok.load_tokenizer(tmp_path)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 1
    assert tokenizer.convert_tokens_to_ids("[SEG]") == len(tokenizer) - 1
    ids = tokenizer("a dog [SEG].<|eot_id|>").input_ids
    assert tok.decode(tokenizer, ids) == "a dog [SEG].<|eot_id|>"


def test_missing_folder(tmp_path):
    with pytest.raises(tok.TokenizerError, match="no such folder"):
        tok.load_tokenizer(tmp_path / "nowhere")


def test_folder_without_tokenizer(tmp_path):
    with pytest.raises(tok.TokenizerError, match=r"neither tokenizer\.model nor tokenizer\.json"):
        tok.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", None, "missing; it lists the special tokens"),
        ("tokenizer_config.json", b"{broken", "cannot be read"),
        ("tokenizer.model", b"not a model", "cannot be read"),
    ],
)
def test_broken_folder(tiny_folder, tmp_path, name, content, message):
    folder = shutil.copytree(tiny_folder, tmp_path / "broken")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(tok.TokenizerError, match=message) as error:
        tok.load_tokenizer(folder)
    assert "\n" not in str(error.value)


def test_broken_tokenizer_json(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(tok.TokenizerError, match="cannot be read"):
        tok.load_tokenizer(tmp_path)
