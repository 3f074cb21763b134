"""Config files: which file a name stands for, and what is said of one that does not work."""

import pytest

from vglamm_jax.config import VideoGlammConfig, load_config


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_here_does_not_stand_for_a_shipped_config(here):
    (here / "tiny.py").write_text("raise KeyError('not a config')")
    assert isinstance(load_config("tiny"), VideoGlammConfig)
    with pytest.raises(ValueError, match=r"tiny\.py:1: KeyError"):
        load_config("tiny.py")


def test_a_name_that_is_not_shipped_is_a_file_here(here):
    (here / "mine.py").write_text("def get_config():\n    return 3\n")
    assert load_config("mine") == load_config("mine.py") == load_config(here / "mine.py") == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef get_config(:", r"broken\.py:2: SyntaxError"),
        ("def get_config():\n    return 1 / 0", r"broken\.py:2: ZeroDivisionError: division by zero"),
        ("import no_such_package", r"broken\.py:1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = 1", r"broken\.py has no function get_config"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(here, text, message):
    (here / "broken.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config("broken.py")


def test_an_argument_that_a_config_does_not_take(here):
    with pytest.raises(ValueError, match=r"tiny\.py:1: TypeError: get_config\(\) takes 0 positional arguments"):
        load_config("tiny:2")
