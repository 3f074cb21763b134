"""launch/local_multiprocess.sh: where the processes of a run meet."""

import os
import socket
import subprocess

import pytest
from conftest import ROOT


@pytest.fixture
def listener():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def run(command: str, **environment: str) -> subprocess.CompletedProcess:
    env = {name: value for name, value in os.environ.items() if name != "PORT"}
    script = ["bash", str(ROOT / "launch" / "local_multiprocess.sh"), "2", "--config", "any"]
    env |= {"COMMAND": command} | environment
    return subprocess.run(script, env=env, capture_output=True, text=True, timeout=60, check=False)


def ports(done: subprocess.CompletedProcess) -> list[str]:
    words = done.stdout.split()
    return [words[i + 1] for i, word in enumerate(words) if word == "--coordinator"]


def test_runs_side_by_side_meet_at_ports_of_their_own():
    first, second = (ports(run("echo")) for _ in range(2))
    assert len(first) == len(second) == 2  # both processes of each
    assert len(set(first)) == len(set(second)) == 1
    assert first[0] != second[0]


def test_a_port_that_is_said_is_taken():
    assert set(ports(run("echo", PORT="23456"))) == {"127.0.0.1:23456"}


def test_a_port_in_use_is_refused_before_anything_starts(listener):
    done = run("echo", PORT=str(listener))
    assert done.returncode == 2 and done.stdout == ""
    assert f"port {listener} is in use; choose another, PORT=" in done.stderr and done.stderr.count("\n") == 1
