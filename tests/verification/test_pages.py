"""`make pages`: every page is known, names its command, and is written exactly when its sources changed."""

import pytest

from tests.verification import pages
from tests.verification.pages import PAGES, Page, renew
from tests.verification.sources import ROOT

REPORTS = ROOT / "reports"


def test_every_file_of_the_reports_belongs_to_one_page():
    files = {path for path in REPORTS.rglob("*") if path.is_file() and path.name != "pages.json"}
    owned = [path for page in PAGES for pattern in page.files for path in REPORTS.glob(pattern)]
    assert sorted(owned) == sorted(files)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_its_command(page):
    for pattern in page.files:
        if pattern.endswith(".md"):
            assert page.shown in "\n".join((REPORTS / pattern).read_text().splitlines()[:12])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_are_targets_or_of_hwsim(page):
    makefile = (ROOT / "Makefile").read_text()
    for command in page.command.split(" && "):
        target = command.removeprefix("make ")
        assert f"\n{target}: " in makefile or command.startswith("{py} -m hwsim")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A project with one page, written by a module that reads one file of data."""
    for folder in ("reports", "tool", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tool" / "__init__.py").write_text("")
    (tmp_path / "tool" / "write.py").write_text("import json  # a comment\n")
    (tmp_path / "data" / "a.yaml").write_text("a: 1\n")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    for name in ("closure", "with_data", "digest"):
        real = getattr(pages, name)
        monkeypatch.setattr(pages, name, lambda *args, real=real: real(*args, root=tmp_path))
    return tmp_path


def test_a_page_is_written_when_its_sources_or_its_files_changed(toy):
    ran = []

    def run(command):
        ran.append(command)
        (toy / "reports" / "p.md").write_text("page\n")
        return True

    page = Page("p", ("p.md",), "make p", ("tool.write",), ("data/*.yaml",), "make p")
    notes = toy / "reports" / "pages.json"

    def renewed(**how):
        return {what: names for what, names in renew([page], False, run, notes, **how).items() if names}

    assert renewed() == {"written": ["p"]} and renewed() == {"unchanged": ["p"]} and ran == ["make p"]
    (toy / "tool" / "write.py").write_text("import json  # another comment\n")
    assert renewed() == {"unchanged": ["p"]}
    (toy / "data" / "a.yaml").write_text("a: 2\n")
    assert renewed(dry=True) == {"written": ["p"]} and ran == ["make p"]
    assert renewed() == {"written": ["p"]} and renewed() == {"unchanged": ["p"]}
    (toy / "reports" / "p.md").write_text("edited by hand\n")
    assert renewed() == {"written": ["p"]} and (toy / "reports" / "p.md").read_text() == "page\n"
    (toy / "tool" / "write.py").write_text("import re\n")
    assert renewed() == {"written": ["p"]} and len(ran) == 4


def test_a_page_that_fails_or_writes_nothing_is_not_noted(toy):
    page = Page("p", ("p.md",), "make p", ("tool.write",), (), "make p")
    notes = toy / "reports" / "pages.json"
    assert renew([page], False, lambda command: True, notes)["failed"] == ["p"]
    assert renew([page], False, lambda command: False, notes)["failed"] == ["p"]
    assert not notes.exists()


def test_long_pages_wait_until_they_are_asked_for(toy):
    page = Page("p", ("p.md",), "make p", ("tool.write",), (), "make p", long=True)
    notes = toy / "reports" / "pages.json"

    def run(command):
        (toy / "reports" / "p.md").write_text("page\n")
        return True

    assert renew([page], False, run, notes)["left for LONG=1"] == ["p"]
    assert renew([page], True, run, notes)["written"] == ["p"]
    assert renew([page], False, run, notes)["unchanged"] == ["p"]
