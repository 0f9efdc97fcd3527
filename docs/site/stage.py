"""`make docs`: the pages of the project as a static site in build/site/html/, without warnings.

The pages link to one another as they do in the repository, so they are copied with their folders. A link to a file
that is no page (a source, a machine file) would lead nowhere on the site: its text stays, the link goes. An entry of
the navigation whose page does not exist is left out, and a page without an entry is added at the end.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGE = ROOT / "build" / "site"
COPIED = ("README.md", "CHANGELOG.md", "docs", "reports")
#: A link to a file: [text](path#anchor), no image and no address.
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
ON_SITE = {".md", ".svg", ".png", ".csv", ".html"}


def stage() -> None:
    """Copy pages and configuration to `STAGE`."""
    shutil.rmtree(STAGE, ignore_errors=True)
    pages = STAGE / "pages"
    pages.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, pages / name, ignore=shutil.ignore_patterns("site", "__pycache__"))
        else:
            shutil.copy(source, pages / name)
    for page in pages.rglob("*.md"):
        page.write_text(LINK.sub(_kept, page.read_text(encoding="utf-8")), encoding="utf-8")
    config = (ROOT / "docs" / "site" / "zensical.toml").read_text(encoding="utf-8")
    (STAGE / "zensical.toml").write_text(with_pages(config, pages), encoding="utf-8")


def _kept(link: re.Match[str]) -> str:
    return link[0] if Path(link[2]).suffix in ON_SITE else link[1]


ENTRY = re.compile(r'= "((?:[\w-]+/)*[\w-]+\.md)"}')


def with_pages(config: str, pages: Path) -> str:
    """The configuration with a navigation of exactly the pages that are below `pages`."""
    there = {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}
    lines = [line for line in config.splitlines() if not (found := ENTRY.search(line)) or found[1] in there]
    others = sorted(there - set(ENTRY.findall("\n".join(lines))))
    if others:
        entries = [f'    {{"{_title(pages / name)}" = "{name}"}},' for name in others]
        end = lines.index("]", lines.index("nav = ["))
        lines[end:end] = ['  {"More" = [', *entries, "  ]},"]
    return "\n".join(lines) + "\n"


def _title(page: Path) -> str:
    """The first heading of a page, as it may stand in TOML."""
    found = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.M)
    return re.sub(r'[`"\\]', "", found[1] if found else page.stem)


def main() -> None:
    """Stage the pages and build the site; exits with the status of the generator."""
    stage()
    command = [Path(sys.executable).parent / "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=STAGE, check=False)
    if done.returncode:
        sys.exit(1)
    print(STAGE.relative_to(ROOT) / "html" / "index.html")


if __name__ == "__main__":
    main()
