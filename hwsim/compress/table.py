"""`inspect`: the tensors of a safetensors file or of all shards of a model, compressed or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from hwsim.compress.checkpoint import FLOATS, read_checkpoint
from hwsim.compress.record import Record, read_records
from hwsim.files.tables import bytes_text, table


@dataclass(frozen=True)
class TensorRow:
    """One tensor. format: its number format, or its data type if it is not compressed.

    bits: stored bits per value, including scales and padding.
    error: ||W - Q|| / ||W||; None if it is not compressed.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    nbytes: int
    bits: float
    error: float | None


@dataclass(frozen=True)
class Inspection:
    """The tensors of a model.

    nbytes: stored bytes of all tensors. original_nbytes: before compression. file_bytes: on disk, with headers.
    """

    path: str
    rows: tuple[TensorRow, ...]
    nbytes: int
    original_nbytes: int
    file_bytes: int


def inspect(path: str | Path) -> Inspection:
    """Read the headers of a model. raises: InputError as `checkpoint.read_checkpoint`, and for damaged metadata."""
    source = read_checkpoint(path)
    rows, original = [], 0
    for shard in source.shards:
        records = read_records(shard)
        for t in shard.tensors:
            record = records.get(t.name)
            shape = record.shape if record else t.shape
            values = math.prod(shape)
            original += values * FLOATS[record.dtype].itemsize if record else t.nbytes
            bits = 8 * t.nbytes / values if values else 0.0
            name = _format_name(record) if record else t.dtype
            rows.append(TensorRow(t.name, shape, name, t.nbytes, bits, record.error if record else None))
    rows.sort(key=lambda row: row.name)
    nbytes = sum(row.nbytes for row in rows)
    return Inspection(str(path), tuple(rows), nbytes, original, sum(s.stamp[0] for s in source.shards))


def _format_name(record: Record) -> str:
    return record.format if isinstance(record.format, str) else str(record.format.get("name", "custom"))


def inspect_text(found: Inspection) -> str:
    """A table with one line per tensor, and the total."""
    lines = [
        [
            r.name,
            "x".join(map(str, r.shape)),
            r.format,
            f"{r.bits:.3f}",
            "" if r.error is None else f"{r.error:.4f}",
            bytes_text(r.nbytes),
        ]
        for r in found.rows
    ]
    head = ["tensor", "shape", "format", "bits", "error", "size"]
    share = found.nbytes / found.original_nbytes if found.original_nbytes else 1.0
    total = f"{bytes_text(found.nbytes)} of {bytes_text(found.original_nbytes)} ({share:.1%})"
    return f"{table(head, lines, left=3)}\n\n{len(lines)} tensors, {total}"
