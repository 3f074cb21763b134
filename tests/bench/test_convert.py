"""The benchmark of conversion works in a folder of its own."""

import pytest

from vglamm_jax.bench import convert


def test_folders_of_the_user_are_left_alone(tmp_path):
    for name in ("source", "copy", "orbax", "back"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text(name)
    before = sorted(tmp_path.rglob("*"))
    seen = []

    def interrupt(row):
        seen.append([path for path in tmp_path.iterdir() if path not in before])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert.run("tiny", tmp_path, "safetensors", interrupt)
    ((work,),) = seen
    assert work.name.startswith("bench-convert-") and not work.exists()
    assert sorted(tmp_path.rglob("*")) == before
