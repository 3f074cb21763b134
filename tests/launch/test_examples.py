"""The commands that pages and helps show for pods: configs that can work, and all they read is on the machines."""

import dataclasses
import re
import shlex
import subprocess
from pathlib import PurePosixPath

import pytest
from conftest import ROOT

from vglamm_jax.config import load_config
from vglamm_jax.train import places
from vglamm_jax.train.command import EXAMPLES
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.overrides import override
from vglamm_jax.train.start import named_folders

COMMAND = re.compile(r"^ *(bash launch/(?:tpu_vm|gke_xpk)\.sh train (?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)


def explained(script: str) -> str:
    command = ["bash", str(ROOT / "launch" / script), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "launch/README.md")}
PAGES |= {f"{name} --help": explained(name) for name in ("tpu_vm.sh", "gke_xpk.sh")}
PAGES |= {"vglamm train --help": EXAMPLES}
COMMANDS = [(page, command) for page, text in PAGES.items() for command in COMMAND.findall(text)]


def option(words: list[str], name: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == name]


def chips(words: list[str]) -> int:
    kind, _, count = option(words, "--type")[0].partition("-")
    slices = int((option(words, "--num-slices") or ["1"])[0])
    return int(count) * slices // (2 if kind == "v5p" else 1)  # a v5p's name counts cores


def there(words: list[str]) -> list[str]:
    """Folders that are on every machine: of `--copy`, and the mounts, named as their storage, of `--storage`."""
    copied = [copy.partition("=")[2] for copy in option(words, "--copy")]
    return copied + [f"/{storage}" for storage in option(words, "--storage")]


def read_by(cfg: TrainConfig) -> list[str]:
    return [cfg.built, *named_folders(cfg.start).values()]


def test_every_page_has_one():
    assert {page for page, _ in COMMANDS} == set(PAGES)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[page for page, _ in COMMANDS])
def test_a_command_that_is_shown_can_work(page, command):
    words = shlex.split(command.replace("\\\n", " "))
    before, after = words[: words.index("--")], words[words.index("--") + 1 :]
    overrides = [word for word in after if word.startswith("--config.")]
    cfg = override(load_config(option(after, "--config")[0]), overrides)
    assert cfg.workdir.startswith("gs://")
    places.check(dataclasses.replace(cfg, workdir="runs"))
    brought = there(before)
    lacking = [folder for folder in read_by(cfg) if not any(PurePosixPath(folder).is_relative_to(b) for b in brought)]
    assert not lacking, f"{page}: {lacking} are on no machine"
    # What launch/README.md has compiled: one row a chip at a time.
    assert cfg.batch_size == cfg.accumulate * chips(before)
