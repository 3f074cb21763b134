"""What a run writes when it goes on: each step once."""

import json

import pytest

from vglamm_jax.train.metrics import Writer


def written(folder) -> list[tuple[int, str]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], *(name for name in line if "/" in name)) for line in lines]


def test_steps_that_are_done_again_are_written_once(tmp_path):
    before = Writer(tmp_path, tensorboard=False)
    before.scalars(0, {"eval/j": 0.1})
    for step in range(1, 6):
        before.scalars(step, {"train/loss": 1.0})
    before.scalars(3, {"eval/j": 0.2})
    before.lines.write('{"step": 6, "tra')  # killed
    before.close()
    after = Writer(tmp_path, tensorboard=False, done=3, evaluates=True)
    after.scalars(3, {"eval/j": 0.2})
    after.scalars(4, {"train/loss": 1.0})
    after.close()
    trained = [(step, "train/loss") for step in (1, 2, 3)]
    assert written(tmp_path) == [(0, "eval/j"), *trained, (3, "eval/j"), (4, "train/loss")]


def test_tensorboard_is_told_to_forget_them(tmp_path):
    pytest.importorskip("tensorboardX", reason="an extra")
    from tensorboardX.proto.event_pb2 import Event

    Writer(tmp_path, done=3).close()
    content = next((tmp_path / "tensorboard").glob("events*")).read_bytes()
    events = []
    while content:
        size = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    assert [event.step for event in events if event.HasField("session_log")] == [4]
