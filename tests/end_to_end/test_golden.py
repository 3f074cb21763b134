"""The original's answer and masks about a real video, from files to files, as a user gets them."""

import json

import numpy as np
import pytest

from vglamm_jax.cli import main
from vglamm_jax.infer.answer import Answer

torch = pytest.importorskip("torch", reason="the golden checkpoint is a .bin file")

from exact_golden import drawn_weights  # noqa: E402

pytestmark = pytest.mark.slow


def original_masks(golden, name: str) -> np.ndarray:
    outputs = np.load(golden / "outputs.npz")
    shape = outputs["masks_shape"]
    return np.unpackbits(outputs[name], count=int(np.prod(shape))).reshape(shape).astype(bool)


def check(folder, golden, name: str) -> None:
    answer = Answer.load(folder)
    case = json.loads((golden / "case.json").read_text())
    theirs = original_masks(golden, name)  # [frames, objects, H, W]
    assert answer.token_ids == case["generated"]
    assert len(answer.objects) == theirs.shape[1]
    for number, thing in enumerate(answer.objects):
        ours, original = np.asarray(thing.masks), theirs[:, number]
        union = (ours | original).sum((1, 2))
        iou = np.where(union > 0, (ours & original).sum((1, 2)) / np.maximum(union, 1), 1)
        assert iou.min() >= 0.999


def ask(video, checkpoint, out, *options) -> None:
    prompt = json.loads((checkpoint / "case.json").read_text())["prompt"]
    assert main(["ask", str(video), prompt, "--checkpoint", str(checkpoint), "--out", str(out), *options]) == 0


def test_the_drawn_weights_round_to_the_stored_ones(golden):
    stored = torch.load(golden / "checkpoint" / "pytorch_model.bin", weights_only=True)
    drawn = drawn_weights(stored)
    assert len(drawn) > 100
    for name, matrix in drawn.items():
        assert torch.equal(matrix.bfloat16(), stored[name]), name


def test_folder_of_frames_tracked(exact_golden, golden, davis, quick_tracking, tmp_path):
    ask(davis / "JPEGImages" / "dog", exact_golden, tmp_path, "--stride", "10", "--no-overlay")
    check(tmp_path, golden, "masks_video_branch")


def test_lossless_mp4_framewise(exact_golden, golden, tmp_path):
    from vglamm_jax.data.video_writer import write_video

    frames = np.load(golden / "inputs.npz")["frames"]
    clip = write_video(tmp_path / "dog.mp4", frames, fps=10, lossless=True)
    ask(clip, exact_golden, tmp_path / "out", "--every-frame", "--mode", "framewise")
    check(tmp_path / "out", golden, "masks_framewise")
    assert (tmp_path / "out" / "overlay.mp4").stat().st_size > 0
