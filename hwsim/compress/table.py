"""`inspect`: the weights of a checkpoint, compressed or not, with the tensors that belong to each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwsim.compress.checkpoint import FLOATS
from hwsim.compress.open import open_checkpoint
from hwsim.compress.record import HWSIM
from hwsim.compress.released import find_weights, records_of
from hwsim.compress.weights import PLAIN
from hwsim.files.tables import bytes_text, table


@dataclass(frozen=True)
class TensorRow:
    """One weight, or another tensor. format: its number format, or its data type if it is not quantised.

    shape: of the values. bits: stored bits per value, including scales and padding; in a released layout without the
    one scale of the whole tensor.
    error: ||W - Q|| / ||W||; None if it is not compressed by hwsim.
    layout: how the file stores it: "plain", "hwsim", or a released layout. axis: K, counted from the front; None for
    vectors and what is no weight. tensors: names of the tensors that it is, the codes first.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    nbytes: int
    bits: float
    error: float | None
    layout: str = PLAIN
    axis: int | None = None
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """The weights of a model.

    nbytes: stored bytes of all tensors. original_nbytes: before compression; of weights that a released layout stores
    and no record describes, as bfloat16; assumed: there are such weights. file_bytes: on disk, with headers.
    notes: what the reader should do or know.
    """

    path: str
    rows: tuple[TensorRow, ...]
    nbytes: int
    original_nbytes: int
    file_bytes: int
    notes: tuple[str, ...] = ()
    assumed: bool = False


def inspect(path: str | Path) -> Inspection:
    """Read the headers of a model. raises: InputError as `checkpoint.read_checkpoint`, and for damaged metadata."""
    source = open_checkpoint(path)
    weights, rest = find_weights(source)
    records = records_of(source)
    rows, original, assumed = [], 0, False
    for w in weights:
        record = records.get(w.name)
        bits = w.bits_per_value
        error = record.error if record and record.layout == w.layout else None
        axis = w.axis if len(w.shape) > 1 else None
        parts = tuple(part.name for part in w.parts)
        known = record is not None and record.layout == w.layout
        original += w.size * FLOATS[record.dtype].itemsize if record and known else w.original_nbytes
        assumed = assumed or not (known or w.layout in (PLAIN, HWSIM))
        rows.append(TensorRow(w.name, w.shape, w.words, w.nbytes, bits, error, w.layout, axis, parts))
    for held in rest:
        t = held.tensor
        original += t.nbytes
        bits = 8 * t.nbytes / t.size if t.size else 0.0
        rows.append(TensorRow(t.name, t.shape, t.dtype, t.nbytes, bits, None, PLAIN, None, (t.name,)))
    rows.sort(key=lambda row: row.name)
    nbytes = sum(row.nbytes for row in rows)
    notes = ("a GGUF file; hwsim reads its plain floats, Q8_0, Q4_0, MXFP4 and NVFP4",) if source.is_gguf else ()
    return Inspection(str(path), tuple(rows), nbytes, original, sum(s.stamp[0] for s in source.shards), notes, assumed)


def inspect_text(found: Inspection) -> str:
    """A table with one line per weight, the tensors of those that are several, and the total."""
    lines = []
    layouts = any(r.layout not in (PLAIN, HWSIM) for r in found.rows)
    for r in found.rows:
        last = r.axis is not None and r.axis != len(r.shape) - 1
        sizes = [f"{n}*" if last and i == r.axis else str(n) for i, n in enumerate(r.shape)]
        error = "" if r.error is None else f"{r.error:.4f}"
        line = [r.name, "x".join(sizes), r.format, f"{r.bits:.3f}", error, bytes_text(r.nbytes)]
        lines.append([*line[:3], *([r.layout] if layouts else []), *line[3:]])
    head = ["tensor", "shape", "format", *(["layout"] if layouts else []), "bits", "error", "size"]
    share = found.nbytes / found.original_nbytes if found.original_nbytes else 1.0
    released = ", weights of released layouts taken as 16 bits before" if found.assumed else ""
    total = f"{bytes_text(found.nbytes)} of {bytes_text(found.original_nbytes)} ({share:.1%}{released})"
    text = [table(head, lines, left=4 if layouts else 3), "", f"{len(lines)} tensor{'s' * (len(lines) != 1)}, {total}"]
    together: dict[tuple[str, ...], list[str]] = {}
    for r in found.rows:
        if len(r.tensors) > 1:
            together.setdefault(_pattern(r), []).append(r.name)
    for pattern, names in together.items():
        text.append(f"{len(names)} weight{'s' * (len(names) > 1)} of several tensors: {', '.join(pattern)}")
    if any(r.axis is not None and r.axis != len(r.shape) - 1 for r in found.rows):
        text.append("* K, along which blocks run, where it is not the last axis")
    return "\n".join([*text, *found.notes])


def _pattern(row: TensorRow) -> tuple[str, ...]:
    """The tensors of a weight with X for what its names share."""
    stem = row.tensors[0]
    for name in row.tensors[1:]:
        stem = stem[: next((i for i, (a, b) in enumerate(zip(stem, name, strict=False)) if a != b), len(name))]
    stem = stem[: max(stem.rfind("."), stem.rfind("_"))] if stem not in row.tensors else stem
    return tuple("X" + name.removeprefix(stem) for name in row.tensors)
