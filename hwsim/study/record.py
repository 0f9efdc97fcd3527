"""The file of finished points: JSON Lines, one line per point; it can be read while a study runs.

Each line is appended and synced. The next run removes an incomplete last line that a killed run left. If two lines
have the same key, the later one counts.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from hwsim.errors import InputError


def read_points(path: Path) -> dict[str, dict[str, Any]]:
    """Key -> line, for every complete line; other lines are skipped. raises: InputError if the file cannot be read."""
    found: dict[str, dict[str, Any]] = {}
    try:
        with path.open("rb") as file:
            for line in file:
                point = _point(line)
                if point:
                    found[point["key"]] = point
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return found


def _point(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and isinstance(data.get("key"), str) and "error" in data else None


class Record:
    """The file, opened for appending by one run at a time. raises: InputError if another run has it open."""

    def __init__(self, path: Path):
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise InputError(
                f"{path}: another run is writing this file; wait for it to end, or choose another folder with --out"
            ) from None
        self._end = self._cut()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _cut(self) -> int:
        """Remove an incomplete last line; return the size of the file."""
        end = os.fstat(self._file).st_size
        keep = end
        while keep:
            start = max(0, keep - 65536)
            newline = os.pread(self._file, keep - start, start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < end:
            os.ftruncate(self._file, keep)
        return keep

    def append(self, line: str) -> None:
        """Write one line; it is on the disk when this returns. raises: InputError if it cannot be written."""
        rest = line.encode() + b"\n"
        try:
            while rest:
                written = os.pwrite(self._file, rest, self._end)
                self._end, rest = self._end + written, rest[written:]
            os.fsync(self._file)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from error
