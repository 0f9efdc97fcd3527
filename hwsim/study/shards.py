"""Shards of a study: `--shard I/N` in a job array, without a daemon or an open port; `--merge` when they have ended.

Shard I of N, from 1, simulates the points whose place in grid order, from 0, leaves I - 1 when divided by N. Each shard
writes its own file under its own lock, so a shard that runs twice, at once or later, loses and doubles nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import InputError
from hwsim.study.points import Study
from hwsim.study.record import Record, lines_of
from hwsim.study.work import GRID, POINTS, write_grid


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8` as (2, 8). raises: InputError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts:
        raise InputError(f"--shard: {text!r} is not I/N with I from 1 to N; write 1/8, 2/8, ... 8/8")
    return part, parts


@dataclass(frozen=True, slots=True)
class Merged:
    """points: of the grid. found: those with a line. other: lines of points outside the grid, kept at the end."""

    study: str
    points: int
    found: int
    other: int
    files: int
    file: str


def merge(study: Study, out: str | Path) -> Merged:
    """Write `points.jsonl` from the shards in a folder, and from itself, in grid order; the shards stay.

    raises: InputError if two files have different lines for one point, if there is no shard, or if a file is in use.
    """
    folder = Path(out)
    files = sorted(path for path in folder.glob("points.*-of-*.jsonl"))
    if not files:
        raise InputError(f"{folder}: holds no shards; run `hwsim study {study.source} --shard 1/N` first")
    with Record(folder / POINTS) as record:
        places: dict[str, tuple[Path, int, bytes, bool]] = {}
        problems = []
        for path in (folder / POINTS, *files):
            for place, key, digest, final in lines_of(path):
                before = places.get(key)
                if before and before[2] != digest and final and before[3]:
                    problems.append(
                        f"{path}: point {key} differs from that in {before[0]}; remove one of the two lines"
                    )
                elif before is None or final or not before[3]:
                    places[key] = path, place, digest, final
        if problems:
            raise InputError(*problems)
        keys = {node: study.points[node].key for node in range(len(study.points))}
        order = dict.fromkeys(key for key in keys.values() if key in places)
        other = [key for key in places if key not in order]
        part = folder / f".{POINTS}.{os.getpid()}"
        try:
            with part.open("wb") as file:
                for line in _lines([*order, *other], places):
                    file.write(line)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, record.path)
        except OSError as error:
            raise InputError(f"{record.path}: cannot be written: {error.strerror}") from error
        write_grid(study, keys, folder / GRID)
    return Merged(study.name, len(study.points), len(order), len(other), len(files), str(record.path))


def _lines(keys: list[str], places: dict[str, tuple[Path, int, bytes, bool]]) -> Iterator[bytes]:
    opened = {path: path.open("rb") for path in {place[0] for place in places.values()}}
    try:
        for key in keys:
            path, place, _, _ = places[key]
            opened[path].seek(place)
            yield opened[path].readline()
    finally:
        for file in opened.values():
            file.close()
