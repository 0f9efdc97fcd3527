"""docs/rtl.md: each command in it runs, and writes the files that the page names."""

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl.test_emit import ROOT, rtl

PAGE = (ROOT / "docs" / "rtl.md").read_text()
COMMANDS = re.findall(r"^    python -m rtl (.*?)(?:  +#.*)?$", PAGE, re.M)


def test_page_has_commands():
    assert len(COMMANDS) == 22 and len(COMMANDS) == PAGE.count("\n    python")


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command, tmp_path):
    words = shlex.split(command.replace("build/rtl", str(tmp_path)))
    done = rtl(*words)
    assert done.returncode == 0, done.stderr
    if "-o" not in words:
        return
    (unit,) = (path for path in tmp_path.glob("*.v") if not path.stem.endswith("_tb"))
    suffixes = {path.suffix for path in tmp_path.glob(f"{unit.stem}.*")}
    project = {f".{words[words.index('--tool') + 1]}"} if "--tool" in words else set()
    header = {".h"} if words[0] == "accel" else set()
    assert suffixes == {".v", ".vh", ".core", ".xdc", ".sdc"} | project | header
    said = dict(re.findall(r"(interval|latency) (\d+)", done.stdout))
    if "--interleave 1 " in command:
        assert said["interval"] == ("3" if "--stages" in command else "13")


def test_macro_that_the_page_shows_is_there(tmp_path):
    assert rtl("block-dot", "--format", "mxfp4", "-o", str(tmp_path)).returncode == 0
    (name,) = re.findall(r"tdata\[`(\w+)\]", PAGE)
    assert f"`define {name} 7:0\n" in Path(tmp_path / "block_dot_mxfp4_e2m1.vh").read_text()
