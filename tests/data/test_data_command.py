"""`vglamm data` as people use it: what it prints, draws and returns."""

import argparse
import json
import re

import cv2
import numpy as np
import own_data
import pytest
from PIL import Image

from vglamm_jax.data import command, drawing, show, stats
from vglamm_jax.data.schema import Turn
from vglamm_jax.data.sources import find
from vglamm_jax.data.video import open_video


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def folder(tmp_path):
    return own_data.jsonl_folder(tmp_path / "data")


def test_good_data_is_said_to_be_good(folder, capsys):
    assert run("validate", folder) == 0
    assert capsys.readouterr().out == f"{folder}: 3 rows, all good\n"


def test_bad_rows_are_explained(folder, tmp_path, capsys):
    lines = [
        own_data.ball_line(id="good"),
        own_data.ball_line(id="typo", turns=[{"question": "What?", "anwser": "A ball."}]),
        own_data.ball_line(id="late", media={"path": "videos/ball.mp4", "clip": [5, 6]}),
        own_data.ball_line(id="lost", media={"kind": "video", "path": "b.mp4", "size": [24, 32], "length": 4}),
        own_data.ball_line(id="long", media={"kind": "video", "path": "still.png", "size": [24, 32], "length": 4}),
    ]
    own_data.write_lines(folder / "train.jsonl", lines)
    assert run("validate", folder / "train.jsonl", "--json", tmp_path / "report.json") == 1
    out = capsys.readouterr().out
    assert out.startswith(
        "train.jsonl:2  id typo\n"
        "    turns[0].anwser: unknown field\n"
        "        -> did you mean 'answer'?\n"
        "    turns[0].answer: is missing\n"
        "        -> write text\n"
        "train.jsonl:3  id late\n"
    )
    assert "media.clip: is [5.0, 6.0], but the media ends at 0.5 s" in out
    assert f"media: {folder / 'b.mp4'} is missing" in out
    assert "has 1 frames of 32x24, but the example says 4" in out
    assert "5 rows, 4 with problems:\n         2  media\n" in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["rows"] == 5 and [row["place"][-1] for row in report["bad"]] == list("2345")
    assert report["bad"][0]["problems"][1] == {"field": "turns[0].answer", "what": "is missing", "fix": "write text"}


def test_media_are_looked_at_unless_told_otherwise(folder, capsys):
    own_data.picture(folder / "cat" / "1.png", size=(10, 10))
    assert run("validate", folder) == 1
    assert "frame 1 is 10x10, but the example says 32x24" in capsys.readouterr().out
    assert run("validate", folder, "--no-media") == 0
    assert run("validate", folder, "--no-media", "--split", "nothing") == 1
    assert "no rows at all" in capsys.readouterr().out


def test_make_writes_moving_things(tmp_path, capsys):
    """What is written is good data of the size, task and split asked for, and the same again."""
    arguments = ["--split", "test", "--clips", 2, "--size", 48, 65, "--frames", 5, "--task", "segment", "--seed", 3]
    made = [tmp_path / name for name in "ab"]
    assert run("make", made[0], *arguments, "--sheet") == 0
    assert capsys.readouterr().out.split() == [str(made[0] / "test.jsonl"), str(made[0] / "test.png")]
    assert run("make", made[1], *arguments) == 0 and not (made[1] / "test.png").exists()
    assert (made[0] / "test.jsonl").read_bytes() == (made[1] / "test.jsonl").read_bytes()
    with Image.open(made[0] / "test.png") as picture:
        assert picture.width > 1000
    assert run("validate", made[0]) == 0
    examples = [row.example for row in find.rows(made[0], None, None)]
    assert [(e.split, e.media.size, e.media.length) for e in examples] == [("test", (48, 65), 5)] * 2
    assert {turn.task for e in examples for turn in e.turns} == {"segment"}
    with pytest.raises(ValueError, match="seed"):
        run("make", tmp_path / "c", "--seed", -1)
    with pytest.raises(ValueError, match="lossy video needs even sides"):
        run("make", tmp_path / "d", "--size", 33, 64, "--playable")


def test_many_bad_rows_are_summed_up(folder, capsys):
    lines = [own_data.ball_line(id=f"b{n}", turns=[]) for n in range(5)]
    own_data.write_lines(folder / "train.jsonl", lines)
    assert run("validate", folder / "train.jsonl", "--limit", 2, "--max-objects", 4) == 1
    out = capsys.readouterr().out
    assert out.count("-> write at least one question and answer") == 2 and "3 more bad rows" in out
    assert "         5  turns\n" in out


def test_real_davis_is_good(davis, tmp_path, capsys):
    videos = json.loads((davis / "meta_expressions.json").read_text())["videos"]
    own_data.write_json(tmp_path / "meta_expressions.json", {"videos": {"dog": videos["dog"]}})
    for name in ("JPEGImages", "Annotations"):
        (tmp_path / name).symlink_to(davis / name)
    assert run("validate", tmp_path, "--decode", "all") == 0
    assert capsys.readouterr().out == f"{tmp_path}: 1 row, all good\n"


@pytest.mark.parametrize("job", [job.name for job in command.JOBS])
def test_every_job_explains_itself(job, capsys):
    with pytest.raises(SystemExit) as ended:
        run(job, "--help")
    assert ended.value.code == 0 and f"vglamm data {job} " in capsys.readouterr().out, "an example to copy"


def test_stats_count_what_was_drawn(tmp_path, capsys):
    root = own_data.coco_folder(tmp_path / "coco")
    (root / "images" / "2.jpg").unlink()
    assert run("stats", root, "--json", tmp_path / "stats.json") == 0
    counted = json.loads((tmp_path / "stats.json").read_text())
    assert counted["no example"]["bad"] == 1
    assert counted["own/train"] == {
        "examples": 2,
        "bad": 0,
        "without_media": 1,
        "kinds": {"image": 2},
        "tasks": {"describe": 1, "segment": 4},
        "turns": {"2": 1, "3": 1},
        "objects": {"2": 1, "3": 1},
        "segs": {"1": 5},
        "phrase_words": {"2": 1},
        "expression_words": {"1": 1, "2": 2, "5": 1},
        "answer_words": {"1": 4, "4": 1},
        "frames": {"1": 2},
        "annotated_frames": {"1": 5},
        "mask_area": {"0.01": 1, "0.03": 2, "0.1": 1, "0.3": 1},
        "categories": {"Dog": 4, "Traffic Light": 1},
    }
    table = dict(re.split(r"  +", line)[:2] for line in capsys.readouterr().out.splitlines()[1:])
    assert table["words of an expression"] == "1 .. 2 .. 5" and table["task describe"] == "1"
    assert table["masks up to 3.0% of the picture"] == "40%"


def test_the_sheet_shows_each_mask_in_the_colour_of_its_words(folder):
    ball = next(row.example for row in find.rows(folder) if row.id == "ball")
    (scene,) = show.scenes(ball)
    sheet = np.asarray(show.contact_sheet([scene], folder, frames=2, width=328))
    inside, rim, outside = sheet[4 + 30, 4 + 40], sheet[4 + 20, 4 + 40], sheet[4 + 100, 4 + 100]
    red = np.array(drawing.colour(0))
    assert np.abs(outside.astype(int) - 0).max() < 12, "the first frame is black"
    assert np.abs(inside - red * drawing.OPACITY).max() < 12 and (rim == red).all()
    runs = [run for line in show.words(scene) for run in line if run.text]
    assert drawing.Run("A ball", drawing.colour(0)) in runs and drawing.Run(" rolls away.") in runs
    caption = sheet[130:]
    assert (caption == red).all(-1).any(), "the words of the phrase are red, too"


def test_words_of_bare_and_repeated_segs():
    from vglamm_jax.data.markup import parse_marked
    from vglamm_jax.data.schema import Example, Media

    answer, phrases = parse_marked("<p> Two dogs </p> [SEG:a] [SEG:b], [SEG:c], <p> dog </p> [SEG:a].")
    turn = Turn(question="Segment dogs now.", answer=answer, phrases=phrases, expression="dogs", time_span=(1, 2))
    scene = show.Scene(Example(id="x", media=Media(kind="image", size=(1, 1), length=1), turns=(turn,)), (turn,))
    one, two, three = map(drawing.colour, range(3))
    question, reply = show.words(scene)[1:]
    assert [run for run in question[1:] if run.text] == [
        drawing.Run("Segment ", drawing.FAINT),
        drawing.Run("dogs", one),
        drawing.Run(" now.", drawing.FAINT),
    ]
    assert [run for run in reply if run.text] == [
        drawing.Run("A: "),
        drawing.Run("Two dogs", one),
        drawing.Run(" [SEG]", two),
        drawing.Run(", "),
        drawing.Run("[SEG]", three),
        drawing.Run(", "),
        drawing.Run("dog", one),
        drawing.Run("."),
        drawing.Run("  (1 to 2 s)", drawing.FAINT),
    ]


def test_things_that_lie_in_each_other_are_all_seen():
    red, blue = drawing.colour(0), drawing.colour(1)
    outer, inner = own_data.block((4, 20), (4, 28)) > 0, own_data.block((10, 14), (10, 20)) > 0
    black = np.zeros((*own_data.SIZE, 3), np.uint8)
    painted = drawing.paint(black, [(inner, blue), (outer, red)])
    assert np.abs(painted[12, 15] - np.array(blue) * drawing.OPACITY).max() <= 1
    assert np.abs(painted[16, 23] - np.array(red) * drawing.OPACITY).max() <= 1
    assert tuple(painted[10, 15]) == blue and tuple(painted[4, 15]) == tuple(painted[3, 15]) == red
    assert not black.any()


def test_show_writes_sheet_and_videos(folder, tmp_path, capsys):
    out = tmp_path / "shown"
    assert run("show", folder, "--id", "cat", "ball", "--video", "--out", out) == 0
    assert capsys.readouterr().out.split() == [str(out / n) for n in ("sheet.png", "00_cat.mp4", "01_ball.mp4")]
    assert Image.open(out / "sheet.png").width == 1280
    video = open_video(out / "01_ball.mp4")
    assert len(video) == 4 and video.size[1] == 640
    first, second = video.frames([0, 1])
    red = cv2.cvtColor(first[:480], cv2.COLOR_RGB2HSV)[..., 1] > 120
    assert red[120, 160] and not red[300, 400], "the ball of 8 x 6 pixels at (4, 4), twenty times as large"
    assert not (cv2.cvtColor(second[:480], cv2.COLOR_RGB2HSV)[..., 1] > 120).any(), "frame 1 has no annotation"
    assert run("show", folder, "--sample", "1", "--seed", "3", "--out", out) == 0
    with pytest.raises(ValueError, match="no good example with the id fox"):
        run("show", folder, "--id", "fox", "--out", out)


def test_spread_and_bins():
    assert stats.spread(stats.Counter({1: 1, 5: 3, 100: 1})) == "1 .. 5 .. 100" and stats.spread(stats.Counter()) == "-"
    assert [stats.area_bin(x) for x in (0.0005, 0.001, 0.02, 1.0)] == [0.001, 0.001, 0.03, 1.0]
