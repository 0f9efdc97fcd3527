"""docs/serving.md: its commands run on its trace, and its names are those of the code."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.jobs.serving.engines import ENGINES
from hwsim.jobs.serving.file import load_of, read_load
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.router import ROUTERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    hwsim (.*)$", PAGE, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(command, tmp_path):
    (trace,) = re.findall(r"^```csv\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "requests.csv").write_text(trace)
    for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S):
        (tmp_path / f"{text.split()[1]}.yaml").write_text(text)
    said = ""
    for part in command.split(" && hwsim "):
        words = [sys.executable, "-m", "hwsim", *shlex.split(part)]
        env = {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert any(word in said for word in ("serve, ", "mixed, ", "limits_users.svg", "split: "))
    for name in re.findall(r"served\.\w+", command):
        assert (tmp_path / name).stat().st_size > 100


def test_the_load_of_the_page_is_one(tmp_path):
    (text,) = [t for t in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S) if "machine:" not in t]
    (tmp_path / "mine.yaml").write_text(text)
    assert load_of(read_load(tmp_path / "mine.yaml")) == Load("8/s", requests=400, lengths="lognormal(1024,0.8)/256",
                                                              slo="ttft=500ms,tpot=30ms")  # fmt: skip


def test_the_names_are_those_of_the_code():
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGE.split("| `--scheduler` |")[1], re.M)
    assert set(rows) == set(ENGINES)
    for name in ROUTERS:
        assert f"`{name}`" in PAGE
