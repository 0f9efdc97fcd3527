"""The record of compressed tensors in a file: JSON in the metadata entry `hwsim`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.compress.checkpoint import FLOATS, Shard
from hwsim.errors import InputError
from hwsim.files.yaml import short

KEY = "hwsim"
VERSION = 1
NOTE_LENGTH = 12
"""Number of characters of a relative error in the header, for example `1.218370e-01`."""


@dataclass(frozen=True)
class Record:
    """One compressed tensor. format: an argument of `get_format`. shape, dtype: those of the original tensor.

    error: ||W - Q|| / ||W||, with 7 digits; None until it is known.
    """

    format: str | Mapping[str, object]
    shape: tuple[int, ...]
    dtype: str
    error: float | None = None


def error_note(error: float) -> str:
    """A relative error as text of exactly `NOTE_LENGTH` characters."""
    return f"{error if error >= 1e-99 else 0.0:.6e}"


def write_records(records: Mapping[str, Record], notes: Mapping[str, str], writer: str) -> str:
    """The metadata text; its length does not depend on the notes."""
    tensors = {
        name: {"format": r.format, "shape": r.shape, "dtype": r.dtype, "error": notes[name]}
        for name, r in sorted(records.items())
    }
    return json.dumps({"version": VERSION, "writer": writer, "tensors": tensors}, separators=(",", ":"))


def read_records(shard: Shard) -> dict[str, Record]:
    """Tensor name -> record; empty for a file that hwsim did not compress.

    raises: InputError for an entry of another version, or one that contradicts the tensors of the file.
    """
    from hwsim.formats.names import layout

    text = shard.metadata.get(KEY)
    if text is None:
        return {}
    try:
        entry = json.loads(text)
        version = entry["version"]
        if version != VERSION:
            found = f"is a compressed file of version {short(version)}"
            raise InputError(f"{shard.path}: {found}; this hwsim reads version {VERSION}")
        records = {
            name: Record(t["format"], tuple(int(n) for n in t["shape"]), str(t["dtype"]), float(t["error"]))
            for name, t in entry["tensors"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"metadata entry {KEY!r} is damaged: {short(repr(error), 120)}"
        raise InputError(f"{shard.path}: {what}") from error
    held, problems = {t.name: t for t in shard.tensors}, []
    for name, r in records.items():
        tensor = held.get(name)
        if tensor is None or tensor.dtype != "U8" or r.dtype not in FLOATS or not r.shape or min(r.shape) < 1:
            problems.append(f"{shard.path}: {short(name)}: its record contradicts the tensor")
        elif not isinstance(r.format, str | Mapping) or str(r.format).endswith((".yaml", ".yml")):
            problems.append(f"{shard.path}: {short(name)}: {short(r.format)} is not a format")
        else:
            planned = layout(r.format).array_nbytes(r.shape)
            if planned != tensor.nbytes:
                what = f"has {tensor.nbytes} bytes, but its format and shape need {planned}"
                problems.append(f"{shard.path}: {short(name)}: {what}")
    if problems:
        raise InputError(*problems[:20])
    return records
