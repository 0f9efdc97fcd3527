"""docs/simulator-walk.md: its program draws its picture, and its files exist."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "simulator-walk.md").read_text(encoding="utf-8")


def test_the_program_prints_the_picture():
    program, picture = re.findall(r"```(?:python|text)\n(.*?)```", PAGE, re.S)[:2]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    assert printed.getvalue() == picture


def test_every_file_it_names_exists():
    named = set(re.findall(r"`((?:hwsim|tests)/[\w/]+\.py)`", PAGE))
    assert len(named) > 10
    assert all((ROOT / name).exists() for name in named)
