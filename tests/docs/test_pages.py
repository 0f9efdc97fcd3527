"""README and docs/: every block runs, every link leads somewhere, every page has a test."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks, run_command, run_page

#: Pages whose blocks run here, in order, in one folder; the others have a test of their own.
PAGES = [
    "README.md", "docs/machines.md", "docs/tutorial-architect.md", "docs/tutorial-fpga.md", "docs/tutorial-formats.md",
    "docs/validation.md", "docs/api.md", "docs/energy.md", "docs/faq.md", "docs/glossary.md", "docs/index.md",
]  # fmt: skip
#: Written from the code, and compared with it in test_written_pages.py.
WRITTEN = ["docs/cli.md", "docs/rtl-units.md"]
STUDY = """\
name: study
machine: m0
model: mamba2-130m
run: {context: 64, weights: int8}
grid: {run.batch: [1, 2]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, current, with the files that some page shows and another uses."""
    monkeypatch.chdir(tmp_path)
    for page in PAGES:
        for block in blocks(page):
            if block.file:
                (tmp_path / block.file).write_text(block.text)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_run(page, folder):
    run_page(page, folder, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.slow for block in blocks(page))])
def test_the_slow_blocks_run(page, folder):
    assert run_page(page, folder, slow=True)


def test_every_page_has_a_test():
    mine = {*PAGES, *WRITTEN}
    without = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        name = page.relative_to(ROOT).as_posix()
        own = page.stem.replace("-", "_")
        tests = list((ROOT / "tests" / "docs").glob(f"test_{own}*.py"))
        if (name in mine) == bool(tests):
            without.append(name)
    assert without == []


def page(name):
    return (ROOT / "reports" / f"{name}.md").read_text()


def test_readme_figures_are_those_of_their_commands_and_pages():
    """The table of README: a command that runs here prints the figure; the page that a target writes holds it."""
    table = (ROOT / "README.md").read_text().split("## How far to trust it")[1].split("\n## ")[0]
    seedlm, gemms, served, rtl = re.findall(r"^\| (.+) \| (.+) \| `(.+)` \|$", table, re.M)
    cycles = seedlm[1].split()[0]
    assert f"cycles      {cycles} " in run_command(seedlm[2])
    rows = {
        name: re.search(
            rf"^\| {name} \| \*\*all\*\*.*?\| (\d+) \| [\d.]+ \| \*\*([\d.]+)\*\*", page("validation"), re.M
        )
        for name in ("a100-sxm", "h100-sxm", "b200")
    }
    assert gemms[0].startswith(f"{sum(int(row[1]) for row in rows.values()):,} held-out GEMMs")
    assert gemms[1] == f"{', '.join(row[2] for row in rows.values())} % mean error"
    times, error = re.match(r"(\d+) times", served[0])[1], served[1].split(" %")[0]
    assert re.search(rf"all models, model left out \| {times} \| \*\*{re.escape(error)} ", page("serving"))
    assert re.search(rf"Verilator .*, {rtl[1].split(' cycles')[0]} cycles: 0 mismatches", page("verification"))


LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def linking() -> list[Path]:
    """Pages that people read."""
    folders = [(ROOT / name).rglob("*.md") for name in ("docs", "reports")]
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *folders[0], *folders[1]]


def test_every_link_leads_somewhere():
    bad, found = [], 0
    for page in linking():
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if re.match(r"\w+:", target):
                continue
            found += 1
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists() or (anchor and anchor not in anchors(path)):
                bad.append(f"{page.relative_to(ROOT)}: {target}")
    assert bad == [] and found > 100


#: What a command needs -> the extra that brings it.
NEEDS = {
    "--html": "html", "hwsim report": "report", "hwsim (compress|decompress|inspect|convert)": "scale",
    "python -m rtl": "rtl", "hwsim search": "search", "--table .*parquet": "table",
}  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if "tutorial" in page])
def test_a_tutorial_names_the_extras_of_its_commands(page):
    """By name, and with `make setup` and the command of `extras.install`; the lock of `make setup` has the packages."""
    text = (ROOT / page).read_text()
    run = [line for line in text.splitlines() if line.startswith("    ") or "`hwsim run --html" in line]
    needed = {extra for words, extra in NEEDS.items() if re.search(words, "\n".join(run))}
    named = set(",".join(re.findall(r"pip install -e '\.\[([\w,]+)\]'", text)).split(","))
    named |= set(re.findall(r"extra `(\w+)`", text))
    assert needed and needed <= named and "`make setup`" in text
    lock = (ROOT / "requirements" / "all.txt").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = set(re.findall(r"^([\w-]+)(?:\[[\w,-]+\])?==", lock, re.MULTILINE))
    wanted = {re.match(r"[\w-]+", requirement)[0] for extra in named for requirement in extras[extra]}
    assert wanted <= locked
