"""docs/training.md: its commands run as they stand, with its recipe."""

import re
import shlex
import subprocess
import sys

import pytest

from tests.docs.addition import ROOT

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    hwsim (.*)$", PAGE, re.M)


@pytest.fixture
def place(tmp_path):
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "mine.yaml").write_text(recipe)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, place):
    words = [sys.executable, "-m", "hwsim", *shlex.split(command)]
    done = subprocess.run(words, cwd=place, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tokens/s" in done.stdout


def test_there_are_commands():
    assert len(COMMANDS) == 3
