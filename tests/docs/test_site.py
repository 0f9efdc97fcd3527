"""The site of `make docs`: it builds without warnings, its navigation knows every page, docstrings become lists."""

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest

from docs.site import prose, stage
from tests.docs.blocks import ROOT

CONFIG = (ROOT / "docs" / "site" / "zensical.toml").read_text()


def named(nav):
    """Pages of a navigation, at any depth."""
    for entry in nav:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else named(target)


def navigation(pages):
    return list(named(tomllib.loads(stage.with_pages(CONFIG, pages))["project"]["nav"]))


def test_the_navigation_has_exactly_the_pages_that_exist(tmp_path):
    asked = list(named(tomllib.loads(CONFIG)["project"]["nav"]))
    assert len(asked) == len(set(asked)) > 30
    there = [*asked[2:], "docs/new.md", "reports/of/another.md"]
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('# A "new" page\n')
    assert navigation(tmp_path) == there


def test_the_pages_of_the_project_are_in_the_navigation_by_hand_where_people_look_first():
    asked = set(named(tomllib.loads(CONFIG)["project"]["nav"]))
    names = ["README.md", "CHANGELOG.md", *(f"docs/tutorial-{who}.md" for who in ("architect", "fpga", "formats"))]
    assert {*names, "docs/cli.md", "docs/api.md", "docs/machines.md", "docs/validation.md"} <= asked


def test_a_link_to_a_source_becomes_text():
    text = "[a](x.md) [b](../hwsim/b.py) ![c](d.svg) [e](https://f.org/g.py) [h](i.md#j)"
    assert stage.LINK.sub(stage._kept, text) == "[a](x.md) b ![c](d.svg) [e](https://f.org/g.py) [h](i.md#j)"


def test_prose_is_what_is_left_without_code():
    page = "# Head\n\nSome `code` and a [link](a/b.md).\n\n    hwsim run\n\n```python\nx = 1\n```\n| a | b |\nEnd.\n"
    assert prose.prose(page).splitlines() == ["# Head", "", "Some this and a [link].", *[""] * 7, "End."]


needs = pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="make docs installs it")


@needs
def test_docstrings_become_lists():
    from docs.site.docstrings import as_markdown

    text = "What it does.\n\nm, n: sizes,\n    whole numbers.\nraises: InputError for\n    others.\n\nMore: text"
    assert as_markdown(text).splitlines() == [
        "What it does.", "", "- `m`, `n`: sizes,", "  whole numbers.", "- `raises`: InputError for", "  others.", "",
        "- `More`: text",
    ]  # fmt: skip


@needs
@pytest.mark.slow
def test_the_site_builds_without_warnings():
    done = subprocess.run(
        [sys.executable, "-m", "docs.site.stage"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "No issues found" in done.stdout + done.stderr, done.stdout + done.stderr
    api = (ROOT / "build/site/html/docs/api.html").read_text()
    for name in ("hwsim.api.run", "hwsim.result.Result", "hwsim.formats.format.Format"):
        assert f'id="{name}"' in api
    assert not re.search(r'(?:src|href)="https?://(?!github|zensical)[^"]+\.(?:js|css|woff2?)"', api)
