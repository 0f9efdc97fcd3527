"""Pages that are written from the code are those that the code writes now."""

import re

import pytest

from docs.site import commands
from hwsim.cli import app
from tests.docs.blocks import ROOT, blocks, run_command


def test_the_page_of_commands_is_fresh():
    assert (ROOT / "docs/cli.md").read_text() == commands.page(), "write it again: python -m docs.site.commands"


def test_the_page_of_commands_has_every_option():
    """Compared with what the help of each command prints."""
    from typer.testing import CliRunner

    page = (ROOT / "docs/cli.md").read_text()
    for found in app.registered_commands:
        name = commands.name_of(found)
        help_text = CliRunner().invoke(app, [name, "--help"]).stdout
        options = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", help_text, re.M)) - {"--help"}
        part = page.split(f"### hwsim {name}\n")[1].split("\n### ")[0].split("\n## ")[0]
        assert options <= set(re.findall(r"--[a-z-]+", part)), name


def test_the_page_of_units_is_fresh():
    pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
    from docs.site import units

    assert (ROOT / "docs/rtl-units.md").read_text() == units.page(), "write it again: python -m docs.site.units"


@pytest.mark.slow
def test_the_commands_of_the_page_of_units_run(tmp_path, monkeypatch):
    pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
    monkeypatch.chdir(tmp_path)
    found = [command for block in blocks("docs/rtl-units.md") for command in block.commands]
    assert len(found) == 15
    for command in found:
        run_command(command)
