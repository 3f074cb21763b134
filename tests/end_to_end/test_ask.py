"""`vglamm ask` as a user meets it: what it writes, and one clear line for everything that can be wrong."""

import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest
import tiny_checkpoint
from safetensors.numpy import load_file, save_file

import vglamm_jax.infer.predictor
from vglamm_jax.cli import main
from vglamm_jax.data.clip_maker import make_clip
from vglamm_jax.infer.answer import Answer
from vglamm_jax.infer.generate import Sampling
from vglamm_jax.infer.predictor import tokenizer_of

PROMPT = "Please segment the red ball."


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("video") / "clip.mp4", seconds=1.0, fps=10, size=(60, 90))


@pytest.fixture(scope="session")
def model(checkpoint):
    return vglamm_jax.load(checkpoint)


def ask(video, checkpoint, *options: str) -> int:
    return main(["ask", str(video), PROMPT, "--checkpoint", str(checkpoint), "--max-new-tokens", "3", *options])


def test_output_folder(clip, checkpoint, tmp_path, capsys):
    options = ("--every-frame", "--masks", "--quiet")
    assert ask(clip, checkpoint, "--out", str(tmp_path), *options) == 0
    answer = Answer.load(tmp_path)
    assert answer.text in capsys.readouterr().out
    assert answer.size == (60, 90) and answer.frame_indices.tolist() == list(range(10))
    assert len(answer.objects) == answer.token_ids.count(tiny_checkpoint.tiny_config().seg_token_id) > 0
    for number, thing in enumerate(answer.objects):
        assert thing.masks.shape == (10, 60, 90)
        stored = cv2.imread(str(tmp_path / "masks" / str(number) / "00003.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(stored > 0, thing.mask(3))
    assert (tmp_path / "overlay.mp4").stat().st_size > 0
    assert cv2.imread(str(tmp_path / "answer.png")).shape[1] == 1280


def test_an_orbax_folder_answers_the_same(clip, checkpoint, tmp_path, capsys):
    """`--check` compares the weights with their manifest first; `answer.json` is the same but for the time it took."""
    assert main(["convert", str(checkpoint), str(tmp_path / "orbax"), "--quiet"]) == 0
    for folder, options in ((checkpoint, ()), (tmp_path / "orbax", ("--check",))):
        out = tmp_path / f"{folder.name}-answer"
        assert ask(clip, folder, "--stride", "4", "--no-overlay", "--quiet", "--out", str(out), *options) == 0
    written = [
        json.loads((tmp_path / f"{name}-answer" / "answer.json").read_text()) for name in (checkpoint.name, "orbax")
    ]
    assert written[0] == written[1] and written[0]["objects"]
    capsys.readouterr()


def test_file_folder_and_python_agree(clip, checkpoint, model, tmp_path):
    """Masks of a folder of losslessly stored frames are those of the file."""
    frames = list(vglamm_jax.infer.predictor.open_video(clip).frames())
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame[..., ::-1])
    one = model.ask(clip, PROMPT, stride=3, max_new_tokens=3)
    two = model.ask(tmp_path, PROMPT, stride=3, max_new_tokens=3)
    assert one.token_ids == two.token_ids and len(one.objects) == len(two.objects) > 0
    for a, b in zip(one.objects, two.objects):
        np.testing.assert_array_equal(np.asarray(a.masks), np.asarray(b.masks))


def test_modes_differ_and_logits_are_kept_on_request(clip, model):
    tracked = model.ask(clip, PROMPT, stride=3, max_new_tokens=3, keep_logits=True)
    framewise = model.ask(clip, PROMPT, stride=3, max_new_tokens=3, mode="framewise", keep_logits=True)
    assert tracked.token_ids == framewise.token_ids
    assert tracked.objects[0].logits.shape == (4, 32, 32)
    assert not np.array_equal(tracked.objects[0].logits, framewise.objects[0].logits)


def test_streamed_text_is_the_answer(clip, model):
    pieces = []
    sampling = Sampling(temperature=2.0, seed=1)
    answer = model.ask(clip, PROMPT, stride=9, max_new_tokens=24, sampling=sampling, stream=pieces.append)
    assert "".join(pieces) == answer.text and len(pieces) > 1


def test_a_seg_that_is_spelled_out_is_words(model):
    seg = model.cfg.seg_token_id
    spelled = [model.tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in b"[SEG]"]
    dog = model.tokenizer("A dog", add_special_tokens=False).input_ids
    assert model.raw_text([*dog, seg, *dog, *spelled, seg]) == "A dog[SEG] A dog[ SEG ][SEG]"


def test_an_image_is_one_frame(model, tmp_path):
    cv2.imwrite(str(tmp_path / "picture.png"), np.full((40, 50, 3), 90, np.uint8))
    answer = model.ask(tmp_path / "picture.png", PROMPT, max_new_tokens=3)
    assert answer.frame_indices.tolist() == [0]
    assert all(thing.masks.shape == (1, 40, 50) for thing in answer.objects)


def test_a_second_question_compiles_nothing(clip, model):
    from vglamm_jax.infer import generate, predictor, track

    programs = (predictor.see_video, predictor.read, generate.prefill, generate.decode, track.encode, track.follow)
    model.ask(clip, PROMPT, stride=3, max_new_tokens=3)
    before = [program._cache_size() for program in programs]
    model.ask(clip, "And where is the blue box now, please?", stride=2, max_new_tokens=4)
    assert [program._cache_size() for program in programs] == before


def test_an_answer_without_seg_is_valid_and_empty(clip, tmp_path, capsys):
    silent = tiny_checkpoint.write(tmp_path / "silent", frequent_seg=False)
    assert ask(clip, silent, "--out", str(tmp_path / "out"), "--quiet") == 0
    assert Answer.load(tmp_path / "out").objects == []
    assert "No object was segmented" in capsys.readouterr().out


def test_too_many_objects_are_refused(clip, model):
    with pytest.raises(ValueError, match="max_objects"):
        model.ask(clip, PROMPT, stride=9, max_new_tokens=4, max_objects=1)


def complaint(capsys, code: int) -> str:
    """The one line of an error, without a traceback."""
    assert code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    lines = [line for line in lines if "vglamm: error:" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def no_weights(tmp_path):
    """A checkpoint that is not there: what is wrong with the question is said before it is looked for."""
    return tmp_path / "weights"


def text_as_video(folder):
    (folder / "a.mp4").write_text("not a video at all")
    return folder / "a.mp4"


def uneven_frames(folder):
    for number, size in enumerate((20, 30)):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((size, 40, 3), np.uint8))
    return folder


def truncated(folder):
    whole = make_clip(folder / "whole.mp4", seconds=2, size=(120, 160)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return folder / "cut.mp4"


def empty_folder(folder):
    (folder / "frames").mkdir()
    return folder / "frames"


BAD_VIDEOS = [
    (lambda folder: folder / "nowhere.mp4", "nowhere.mp4"),
    (text_as_video, "a.mp4"),
    (uneven_frames, "1.png"),
    (truncated, "cut.mp4"),
    (empty_folder, "frames"),
]


@pytest.mark.parametrize("make,named", BAD_VIDEOS, ids=["missing", "text", "sizes", "truncated", "empty"])
def test_bad_video(make, named, no_weights, tmp_path, capsys):
    assert named in complaint(capsys, ask(make(tmp_path), no_weights, "--quiet"))


def test_prompt_too_long_is_told_before_the_video_is_encoded(clip, model, monkeypatch):
    monkeypatch.setattr(model, "see", lambda *_: pytest.fail("the video was encoded"))
    with pytest.raises(ValueError, match=r"1024.*shorten the text"):
        model.ask(clip, "word " * 2000)


def test_a_seg_of_the_prompt_is_no_object_unless_as_in_the_original(clip, model):
    asked = {"stride": 9, "max_new_tokens": 1, "max_objects": 1}
    assert len(model.ask(clip, "[SEG] " * 5, **asked).objects) <= 1
    with pytest.raises(ValueError, match="--max-objects"):
        model.ask(clip, "[SEG] " * 5, protocol="reference", **asked)


def test_a_tokenizer_with_another_seg_is_refused(checkpoint, model):
    other = dataclasses.replace(model.cfg, seg_token_id=500)
    with pytest.raises(ValueError, match=r"checkpoint: \[SEG\] is 511 in this tokenizer and 500 in the model"):
        tokenizer_of(other, checkpoint / "checkpoint")


@pytest.fixture
def damaged(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "damaged")
    return folder, folder / "checkpoint" / "model.safetensors"


def test_missing_and_misshapen_tensors_are_named_together(clip, damaged, capsys):
    folder, path = damaged
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:, :32].copy()
    save_file(tensors, path)
    line = complaint(capsys, ask(clip, folder, "--quiet"))
    assert "model.norm.weight" in line and "lm_head.weight" in line and "[512, 32]" in line


def test_truncated_weights(clip, damaged, capsys):
    folder, path = damaged
    path.write_bytes(path.read_bytes()[:-1000])
    assert "model.safetensors" in complaint(capsys, ask(clip, folder, "--quiet"))


def test_missing_tower(clip, damaged, capsys):
    folder, _ = damaged
    (folder / "internvideo2.safetensors").unlink()
    line = complaint(capsys, ask(clip, folder, "--quiet"))
    assert "--internvideo2" in line and "--config that says encoders='image'" in line
    path = folder / "image_only.py"
    path.write_text(
        "from dataclasses import replace\nfrom vglamm_jax.config import load_config\n"
        "def get_config():\n    return replace(load_config('tiny'), encoders='image')\n"
    )
    assert vglamm_jax.load(folder, config=path).cfg.encoders == "image"


def test_missing_setting(clip, damaged, capsys):
    folder, _ = damaged
    path = folder / "checkpoint" / "config.json"
    values = json.loads(path.read_text())
    del values["seg_token_idx"]
    path.write_text(json.dumps(values))
    line = complaint(capsys, ask(clip, folder, "--quiet"))
    assert "seg_token_idx" in line and "config.json" in line


BAD_OPTIONS = [
    *(("--fps", "0"), ("--stride", "0"), ("--start", "99"), ("--top-p", "2"), ("--seed", "9" * 20)),
    *(("--temperature", "nan"), ("--max-objects", "0"), ("--max-new-tokens", "0"), ("--out", __file__)),
    *(("--config", "sam2"), ("--config", "train_moving_things")),
]


@pytest.mark.parametrize("option, value", BAD_OPTIONS)
def test_bad_options(clip, no_weights, option, value, capsys):
    line = complaint(capsys, ask(clip, no_weights, "--quiet", option, value))
    assert option.strip("-").replace("-", "_") in line or "no frame between 99" in line


def test_a_prompt_that_is_no_text(clip, no_weights, capsys):
    code = main(["ask", str(clip), "a \udcff", "--checkpoint", str(no_weights)])
    assert "UTF-8 at character 3" in complaint(capsys, code)


def test_a_config_whose_frames_are_not_whole_clips(clip, no_weights, tmp_path, capsys):
    path = tmp_path / "six.py"
    path.write_text(
        "from dataclasses import replace\nfrom vglamm_jax.config import load_config\n"
        "def get_config():\n    return replace(load_config('tiny'), frames=6)\n"
    )
    line = complaint(capsys, ask(clip, no_weights, "--config", str(path), "--quiet"))
    assert "frames is 6" in line and "internvideo2.frames = 4" in line
