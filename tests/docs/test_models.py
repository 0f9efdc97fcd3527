"""docs/models.md: its lists are those of the code, its commands and its file run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.workload import load_model_text
from hwsim.workload.language.families import FAMILIES, OUTER
from hwsim.workload.language.kinds import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def column(head, rows):
    """Words in backticks in one column of the table with this head."""
    table = PAGE.split(f"| {head}", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"`([^`]+)`", "\n".join(line.split("|")[rows] for line in table.splitlines()[2:]))


def test_the_types_are_those_that_are_read():
    listed = column("group |", 2)
    assert len(listed) == len(set(listed))
    assert set(listed) == set(FAMILIES) - {"state-spaces"}
    outer = re.search(r"The files of (.*?) hold one", PAGE, re.S)[1]
    assert set(re.findall(r"`([^`]+)`", outer)) == set(OUTER)


@pytest.mark.parametrize("page", ["README.md", "docs/faq.md"])
def test_pages_that_count_the_types_count_these(page):
    (said,) = re.findall(r"(\d+) types", (ROOT / page).read_text())
    assert int(said) == len(FAMILIES) - 1  # without state-spaces, whose files name no type


def test_the_kinds_are_those_of_the_model_file():
    assert set(column("kind |", 1)) == set(KINDS)


def test_the_commands_run():
    (commands,) = blocks("sh")
    for line in commands.splitlines():
        done = subprocess.run([sys.executable, "-m", *shlex.split(line)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_file_is_a_model():
    (text,) = blocks("yaml")
    model = load_model_text(text)
    assert len(model.layers) == 4
    assert model.kv_elements_per_token == 4 * (256 + 32)
