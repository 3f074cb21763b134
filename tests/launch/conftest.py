"""A cloud made of files: a `gcloud` (and an `xpk`) that writes down what it is asked and answers from a script."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

FAKE = r"""#!/usr/bin/env bash
echo "${0##*/} $*" >>"$FAKE/calls"
next() { # the first line of a script; the last one stays
  head -n 1 "$FAKE/$1"
  [[ $(wc -l <"$FAKE/$1") -le 1 ]] || sed -i 1d "$FAKE/$1"
}
case "$*" in
  *"get-value project"*) echo a-project ;;
  *"get-value compute/zone"*) echo a-zone ;;
  *"describe"*)
    state=$(next states)
    [[ $state != none ]] || { echo "ERROR: NOT_FOUND: no such queued resource" >&2; exit 1; }
    [[ $state != forbidden ]] || { echo "ERROR: PERMISSION_DENIED" >&2; exit 1; }
    echo "$state"
    ;;
  *"tpu-vm list"*) next machines ;;
  *"worker.sh status"*)
    said=$(next statuses)
    [[ $said != lost ]] || exit 255
    tr '|' '\n' <<<"$said" | sed 's/^/vglamm is /'
    ;;
  *"worker.sh log"*) echo "step 1/2" ;;
esac
"""


TOOLS = ("bash", "cat", "dirname", "env", "git", "gzip", "head", "mktemp")
TOOLS += ("rm", "sed", "sleep", "tail", "tar", "tr", "wc")


class Cloud:
    """`states` and `statuses`: what each question about the TPU, and about the run, is answered, one after the other.

    "none" is no TPU, "lost" a machine that does not answer, "running|finished" two machines.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        for place in ("bin", "tools"):
            (folder / place).mkdir()
        for name in TOOLS:  # and nothing else: a real gcloud of this machine is not to be found
            (folder / "tools" / name).symlink_to(shutil.which(name))
        for name in ("gcloud", "xpk", "docker"):
            (folder / "bin" / name).write_text(FAKE)
            (folder / "bin" / name).chmod(0o755)
        self.script([], [])

    def script(self, states: list[str], statuses: list[str], machines: tuple[str, ...] = ("READY",)) -> None:
        scripts = {"calls": [], "states": states, "statuses": statuses, "machines": machines}
        for name, lines in scripts.items():
            (self.folder / name).write_text("".join(f"{line}\n" for line in lines))

    def run(self, script: str, *args: str, installed: bool = True) -> subprocess.CompletedProcess:
        path = f"{self.folder / 'bin'}:{self.folder / 'tools'}" if installed else str(self.folder / "tools")
        env = os.environ | {"PATH": path, "FAKE": str(self.folder), "POLL": "0", "TMPDIR": str(self.folder)}
        command = ["bash", str(ROOT / "launch" / script), *args]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    def calls(self, *words: str) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if all(word in line for word in words)]


@pytest.fixture
def cloud(tmp_path) -> Cloud:
    return Cloud(tmp_path)
