"""An addition made in a copy of the project: exactly the files and rows that a section of docs/adding.md lists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")


def listed(section: str) -> set[str]:
    """Paths in the table of the section whose heading starts with `section`."""
    body = re.split(r"^## ", PAGE, flags=re.M)
    (text,) = [part for part in body if part.startswith(section)]
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.M))


class Copy:
    """`hwsim/`, `rtl/` and `arch_configs/` in a temporary folder; records which files are written."""

    def __init__(self, folder: Path, *more: str):
        self.folder, self.touched = folder, set()
        for room in ("hwsim", "rtl", "arch_configs", *more):
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))

    def new(self, path: str, text: str) -> None:
        """Write a new file."""
        target = self.folder / path
        assert not target.exists(), path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        self.touched.add(path)

    def row(self, path: str, after: str, line: str) -> None:
        """Insert a line after the only line that contains `after`."""
        target = self.folder / path
        lines = target.read_text().splitlines(keepends=True)
        (at,) = [i for i, text in enumerate(lines) if after in text]
        target.write_text("".join([*lines[: at + 1], line + "\n", *lines[at + 1 :]]))
        self.touched.add(path)

    def before(self, path: str, mark: str, text: str) -> None:
        """Insert a text before the only line that contains `mark`."""
        target = self.folder / path
        lines = target.read_text().splitlines(keepends=True)
        (at,) = [i for i, line in enumerate(lines) if mark in line]
        target.write_text("".join([*lines[:at], text + "\n", *lines[at:]]))
        self.touched.add(path)

    def replace(self, path: str, old: str, new: str) -> None:
        """Change a text that must be there once."""
        target = self.folder / path
        text = target.read_text()
        assert text.count(old) == 1, old
        target.write_text(text.replace(old, new))
        self.touched.add(path)

    def run(self, *command: str) -> str:
        """Run Python on the copy, which must succeed; return its standard output."""
        env = {**os.environ, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
