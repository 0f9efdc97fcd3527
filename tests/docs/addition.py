"""A contributor's addition, made in a copy: exactly the files and rows that a section of docs/adding.md lists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")


def listed(section: str) -> set[str]:
    """Paths in the table of the section whose heading begins with `section`."""
    body = re.split(r"^## ", PAGE, flags=re.M)
    (text,) = [part for part in body if part.startswith(section)]
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.M))


class Copy:
    """`hwsim/`, `rtl/` and `arch_configs/` in a temporary folder; remembers which files were written."""

    def __init__(self, folder: Path, *more: str):
        self.folder, self.touched = folder, set()
        for room in ("hwsim", "rtl", "arch_configs", *more):
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))

    def new(self, path: str, text: str) -> None:
        """Write a file that is not there yet."""
        target = self.folder / path
        assert not target.exists(), path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        self.touched.add(path)

    def row(self, path: str, after: str, line: str) -> None:
        """Put a line behind the one that holds `after`, which must be there once."""
        target = self.folder / path
        lines = target.read_text().splitlines(keepends=True)
        (at,) = [i for i, text in enumerate(lines) if after in text]
        target.write_text("".join([*lines[: at + 1], line + "\n", *lines[at + 1 :]]))
        self.touched.add(path)

    def before(self, path: str, mark: str, text: str) -> None:
        """Put a text before the line that holds `mark`, which must be there once."""
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
        """Standard output of Python on the copy. The process must succeed."""
        env = {**os.environ, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
