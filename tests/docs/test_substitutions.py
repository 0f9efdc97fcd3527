"""docs/substitutions.md: every command of the page gives the note or the error that stands beside it."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from tests.docs.addition import ROOT

PAGE = (ROOT / "docs" / "substitutions.md").read_text(encoding="utf-8")
NOTES, ERRORS = PAGE.split("## Errors")


def rows(text):
    """(command, message) of each row."""
    return re.findall(r"^\| [^|]+ \| `hwsim ([^|]+)` \| `([^|]+)` \|$", text, re.M)


def run(command, *more):
    line = [sys.executable, "-m", "hwsim", *shlex.split(command), *more]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_has_rows():
    assert len(rows(NOTES)) == NOTES.count("`hwsim ") >= 8
    assert len(rows(ERRORS)) == ERRORS.count("`hwsim ") >= 5


@pytest.mark.parametrize(("command", "message"), rows(NOTES))
def test_a_note(command, message):
    done = run(command, "--json")
    assert done.returncode == 0, done.stderr
    assert any(message in note for note in json.loads(done.stdout)["notes"]), json.loads(done.stdout)["notes"]


@pytest.mark.parametrize(("command", "message"), rows(ERRORS))
def test_an_error(command, message):
    done = run(command)
    assert done.returncode == 2 and message in done.stderr, done.stderr
