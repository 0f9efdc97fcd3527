"""The file of finished points: JSON Lines, one line per point; it can be read while a study runs.

Each line is appended and synced. The next run removes an incomplete last line that a killed run left. If two lines
have the same key, the later one counts. A run keeps where each line begins, not the lines, so that its memory does not
grow with them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwsim.errors import InputError


def read_points(path: Path) -> dict[str, dict[str, Any]]:
    """Key -> line, for every complete line; other lines are skipped. raises: InputError if the file cannot be read."""
    return {point["key"]: point for _, point in _points(path)}


def _points(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(where the line begins, line), of every complete line. A file that is not there has none."""
    place = 0
    try:
        with path.open("rb") as file:
            for line in file:
                point = _point(line)
                if point:
                    yield place, point
                place += len(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def lines_of(path: Path) -> Iterator[tuple[int, str, bytes, bool]]:
    """(where the line begins, key, hash of the line, whether it is final), of every complete line."""
    for place, point in _points(path):
        digest = hashlib.blake2b(json.dumps(point, sort_keys=True).encode(), digest_size=16).digest()
        yield place, point["key"], digest, _final(point)


def _final(point: dict[str, Any]) -> bool:
    """Whether running the point again would give the same line: it has a result, or an error in its input."""
    return point["error"] is None or point["error"]["kind"] == "InputError"


def _point(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(data, dict) and isinstance(data.get("key"), str) and "error" in data
    return data if known else None


def _text(settings: dict[str, Any] | None) -> bytes:
    """A short name of a point's settings."""
    return hashlib.blake2b(json.dumps(settings).encode(), digest_size=12).digest()


class Record:
    """The file, opened for appending by one run at a time. raises: InputError if another run has it open.

    errors: message by key, of the points whose line has one; running them again would give the same, except where the
    error is not in their input. speeds: tokens per second by key, of the points that make tokens.
    """

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
        self.errors: dict[str, str] = {}
        self.speeds: dict[str, float] = {}
        self._places: dict[str, int] = {}
        self._keys: dict[bytes, list[str]] = {}
        for place, point in _points(path):
            self._note(point, place)

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def __contains__(self, key: str) -> bool:
        """Whether the point is finished: running it again would give the same line."""
        return key in self._places

    @property
    def finished(self) -> int:
        """How many points are."""
        return len(self._places)

    def line(self, key: str) -> dict[str, Any]:
        """The line of a finished point."""
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            point = _point(file.readline())
        assert point is not None, "only complete lines are noted"
        return point

    def known(self, settings: dict[str, Any]) -> frozenset[str]:
        """Keys of the finished points with these settings, under any version of the code and of the study's file."""
        return frozenset(self._keys.get(_text(settings), ()))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _note(self, point: dict[str, Any], place: int) -> None:
        """A line is final if it has a result, or an error in its input."""
        key, error = point["key"], point["error"]
        self._places.pop(key, None)
        self.errors.pop(key, None)
        self.speeds.pop(key, None)
        if isinstance(speed := point.get("tokens_per_second"), (int, float)):
            self.speeds[key] = speed
        if error is not None:
            self.errors[key] = error["message"]
        if _final(point):
            self._places[key] = place
            self._keys.setdefault(_text(point.get("point")), []).append(key)

    def append(self, line: str) -> None:
        """Write one line; it is on the disk when this returns. raises: InputError if it cannot be written."""
        rest, place = line.encode() + b"\n", self._end
        point = _point(rest)
        try:
            while rest:
                written = os.pwrite(self._file, rest, self._end)
                self._end, rest = self._end + written, rest[written:]
            os.fsync(self._file)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from error
        if point:
            self._note(point, place)
