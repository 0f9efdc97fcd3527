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
    recipe, study = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "mine.yaml").write_text(recipe)
    (tmp_path / "plans.yaml").write_text(study)
    return tmp_path


def run(command, place):
    words = [sys.executable, "-m", "hwsim", *shlex.split(command)]
    env = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(place)}
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("train")])
def test_steps(command, place):
    assert re.search("(tokens|samples)/s ", run(command, place))


def test_plans(place):
    study, report = (c for c in COMMANDS if not c.startswith("train"))
    assert "fastest" in run(study, place)
    assert "plans.md" in run(report, place)


def test_there_are_commands():
    assert len(COMMANDS) == 7
