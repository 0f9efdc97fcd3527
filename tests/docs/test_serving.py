"""docs/serving.md: its commands run on its trace, and its names are those of the code."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.jobs.serving.engines import ENGINES
from hwsim.jobs.serving.router import ROUTERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    hwsim (.*)$", PAGE, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(command, tmp_path):
    (trace,) = re.findall(r"^```csv\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "requests.csv").write_text(trace)
    words = [sys.executable, "-m", "hwsim", *shlex.split(command)]
    done = subprocess.run(
        words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "serve, " in done.stdout or "mixed, " in done.stdout
    for name in re.findall(r"served\.\w+", command):
        assert (tmp_path / name).stat().st_size > 100


def test_the_names_are_those_of_the_code():
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGE.split("| `--scheduler` |")[1], re.M)
    assert set(rows) == set(ENGINES)
    for name in ROUTERS:
        assert f"`{name}`" in PAGE
