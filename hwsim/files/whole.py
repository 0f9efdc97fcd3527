"""Atomic files: written next to their place and moved there at the end, so that they are whole or absent."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hwsim.errors import InputError


def check_writable(path: Path) -> None:
    """Refuse a path that cannot be written, before work is spent on its content. raises: InputError."""
    folder = path.parent
    if path.is_dir():
        raise InputError(f"{path}: is a folder; write a file name")
    if not folder.is_dir():
        raise InputError(f"{path}: folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path}: folder {folder} is not writable")


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path` in one move. raises: InputError if the system refuses."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, delete=False, encoding="utf-8", errors="backslashreplace"
        ) as f:
            f.write(text)
        os.chmod(f.name, 0o644)
        os.replace(f.name, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
