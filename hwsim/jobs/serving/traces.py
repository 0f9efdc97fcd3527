"""Traces of requests, read: a plain CSV, Azure's, BurstGPT's, Mooncake's. Times begin at the first request.

plain     arrival_s,input_tokens,output_tokens[,prefix_hashes]: keys of the prompt's blocks, separated by spaces
Azure     TIMESTAMP,ContextTokens,GeneratedTokens (Azure/AzurePublicDataset, AzureLLMInferenceTrace_*.csv)
BurstGPT  Timestamp,Model,Request tokens,Response tokens,... (HPMLL/BurstGPT); 0 response tokens is a failed request
Mooncake  JSON Lines: timestamp (ms), input_length, output_length, hash_ids of 512 tokens (kvcache-ai/Mooncake)
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from hwsim.errors import InputError, nearest
from hwsim.jobs.serving.requests import Request, ticks

#: Errors of one file that are listed; a trace of another format has one per line.
LISTED = 10
#: Tokens per key of a Mooncake trace.
MOONCAKE_BLOCK = 512


class Row(NamedTuple):
    """One request of a file. arrival: seconds, None where the file has lengths only."""

    line: int
    arrival: float | None
    input_tokens: int
    output_tokens: int
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """rows in the file's order. block: tokens per prefix key (0: of the engine's block). notes: what was left out."""

    name: str
    kind: str
    rows: tuple[Row, ...]
    block: int = 0
    notes: tuple[str, ...] = ()

    def requests(self, size: int, count: int | None = None) -> list[Request]:
        """The first `count` requests, with a key for each block of `size` tokens. raises: InputError without times."""
        if any(row.arrival is None for row in self.rows):
            raise InputError(
                f"{self.name}: has no arrival times; write a column arrival_s, or use --lengths and --rate"
            )
        rows = self.rows[:count]
        start = rows[0].arrival or 0.0
        return [
            Request(i, ticks((r.arrival or 0.0) - start), r.input_tokens, r.output_tokens, self.keys(r, size))
            for i, r in enumerate(rows)
        ]

    def keys(self, row: Row, size: int) -> tuple[object, ...]:
        """A key for each whole block of `size` tokens at the head of the prompt."""
        block = self.block or size
        if not row.prefix or block % size:
            return tuple(row.prefix) if block == size else ()
        per = block // size
        whole = min(len(row.prefix) * per, row.input_tokens // size)
        return tuple((row.prefix[i // per], i % per) for i in range(whole))


def read_trace(path: Path, lengths: bool = False) -> Trace:
    """A trace. lengths: arrival times may be missing. raises: InputError with what is wrong, by line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; write the path of a trace") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text; write the path of a CSV file or of JSON Lines") from None
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise InputError(f"{path}: is empty; write a header and one request per line")
    problems: list[str] = []
    reader = _mooncake if lines[0].lstrip().startswith("{") else _table
    trace = reader(path, lines, problems, lengths)
    if not problems and not trace.rows:
        problems.append(f"{path}: has no request; write one per line")
    before = None
    for row in trace.rows:
        if row.arrival is not None:
            if before is not None and row.arrival < before:
                problems.append(f"{path}:{row.line}: arrives before the request above it; sort the file by arrival")
            before = row.arrival
    if problems:
        more = [f"{path}: and {len(problems) - LISTED:,} more like these"] if len(problems) > LISTED else []
        raise InputError(*problems[:LISTED], *more)
    return trace


def _whole(path: Path, line: int, name: str, text: object, problems: list[str], least: int = 1) -> int:
    value = str(text).strip()
    if re.fullmatch(r"[0-9]{1,9}(\.0+)?", value) and int(float(value)) >= least:
        return int(float(value))
    problems.append(f"{path}:{line}: {name}: {value[:40]!r} is not a whole number of tokens; write {least} or more")
    return 1


def _seconds(path: Path, line: int, name: str, text: str, problems: list[str]) -> float:
    try:
        found = float(text)
        if found >= 0 and found < 1e9:
            return found
    except ValueError:
        pass
    problems.append(f"{path}:{line}: {name}: {text[:40]!r} is not a time; write seconds, 0 or more")
    return 0.0


#: Columns of each kind of table: arrival, input, output.
COLUMNS = {
    "plain": ("arrival_s", "input_tokens", "output_tokens"),
    "Azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "BurstGPT": ("Timestamp", "Request tokens", "Response tokens"),
}


def _table(path: Path, lines: list[str], problems: list[str], lengths: bool) -> Trace:
    header = next(csv.reader(lines[:1]))
    kind = next((name for name, columns in COLUMNS.items() if columns[1] in header), None)
    if kind is None:
        kind = "plain"
    time, prompt, answer = COLUMNS[kind]
    needed = (prompt, answer) if lengths else (time, prompt, answer)
    for missing in [name for name in needed if name not in header]:
        problems.append(f"{path}:1: has no column {missing!r}{nearest(missing, header)}; write {','.join(needed)}")
    if problems:
        return Trace(str(path), kind, ())
    rows: list[Row] = []
    failed = 0
    seconds: Callable[[Path, int, str, str, list[str]], float] = _stamp if kind == "Azure" else _seconds
    for number, cells in _cells(lines, header, path, problems):
        output = _whole(path, number, answer, cells[answer], problems, least=0 if kind == "BurstGPT" else 1)
        if output == 0:
            failed += 1
            continue
        arrival = seconds(path, number, time, cells[time], problems) if time in header else None
        keys = tuple((cells.get("prefix_hashes") or cells.get("prefix_blocks_512") or "").split())
        rows.append(Row(number, arrival, _whole(path, number, prompt, cells[prompt], problems), output, keys))
    notes = (f"{failed:,} failed requests, of 0 output tokens, left out",) if failed else ()
    block = MOONCAKE_BLOCK if "prefix_blocks_512" in header else 0
    return Trace(str(path), kind, tuple(rows), block, notes)


def _cells(
    lines: list[str], header: list[str], path: Path, problems: list[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    for number, cells in enumerate(csv.reader(lines[1:]), 2):
        if not cells:
            continue
        if len(cells) != len(header):
            problems.append(f"{path}:{number}: has {len(cells)} cells for {len(header)} columns; write one for each")
            continue
        yield number, dict(zip(header, cells, strict=True))


def _stamp(path: Path, line: int, name: str, text: str, problems: list[str]) -> float:
    """Azure's `2023-11-16 18:15:46.6805900`: seven digits behind the point."""
    head, _, digits = text.partition(".")
    try:
        return datetime.fromisoformat(head + "+00:00").timestamp() + float(f"0.{digits.rstrip('+:Z') or 0}")
    except ValueError:
        problems.append(f"{path}:{line}: {name}: {text[:40]!r} is not a time; write 2023-11-16 18:15:46.68")
        return 0.0


def _mooncake(path: Path, lines: list[str], problems: list[str], lengths: bool) -> Trace:
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            stated = found["timestamp"], found["input_length"], found["output_length"]
        except (ValueError, TypeError, KeyError):
            problems.append(f"{path}:{number}: is no request; write timestamp, input_length and output_length as JSON")
            continue
        arrival = _seconds(path, number, "timestamp", str(stated[0]), problems) / 1e3
        prompt = _whole(path, number, "input_length", stated[1], problems)
        answer = _whole(path, number, "output_length", stated[2], problems)
        rows.append(Row(number, arrival, prompt, answer, tuple(map(str, found.get("hash_ids", ())))))
    return Trace(str(path), "Mooncake", tuple(rows), MOONCAKE_BLOCK)
