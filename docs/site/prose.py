"""Part of `make lint`: proselint on the prose of README, CHANGELOG and docs/, without code, tables and links.

The pages are copied to build/prose/ with every line in its place, so that a finding names the line of the page. Pages
that are written from the code are left out: their prose is in the code.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGE = ROOT / "build" / "prose"
WRITTEN = {"docs/cli.md", "docs/rtl-units.md"}


def prose(page: str) -> str:
    """The page with everything that is not prose blanked; the lines keep their numbers."""
    lines, fenced = [], False
    for line in page.splitlines():
        mark = line.startswith("```")
        fenced ^= mark
        code = fenced or mark or line.startswith(("    ", "|", "<!--", ":::"))
        lines.append("" if code else line)
    text = re.sub(r"`[^`]*`", "this", "\n".join(lines))
    return re.sub(r"\]\([^)]*\)", "]", text) + "\n"


def pages() -> list[Path]:
    """The pages that people write."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if page.relative_to(ROOT).as_posix() not in WRITTEN]


def main() -> int:
    """Copy the prose, run proselint on it, and give its status."""
    shutil.rmtree(STAGE, ignore_errors=True)
    names = [page.relative_to(ROOT) for page in pages()]
    for name in names:
        (STAGE / name).parent.mkdir(parents=True, exist_ok=True)
        (STAGE / name).write_text(prose((ROOT / name).read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("proselint.json"), STAGE / ".proselintrc.json")
    command = [Path(sys.executable).parent / "proselint", "check", *names]
    done = subprocess.run(command, cwd=STAGE, capture_output=True, text=True, check=False)
    print(done.stdout.replace(f"{STAGE}/", ""), end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
