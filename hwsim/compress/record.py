"""The record of compressed weights in a file: JSON in the metadata entry `hwsim`, version 2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.compress.checkpoint import FLOATS, Shard
from hwsim.errors import InputError
from hwsim.files.yaml import short

KEY = "hwsim"
HWSIM = "hwsim"
"""Name of the layout of this project: its own records, one tensor per weight."""

VERSION = 2
"""Version 2 says the axis of the blocks and the layout; version 1 had the last axis and the layout `hwsim` always."""

NOTE_LENGTH = 12
"""Number of characters of a relative error in the header, for example `1.218370e-01`."""


@dataclass(frozen=True)
class Record:
    """One compressed tensor. format: an argument of `get_format`. shape, dtype: those of the original tensor.

    error: ||W - Q|| / ||W||, with 7 digits; None until it is known.
    axis: along which the blocks run, counted from the front: K, the inputs of a weight.
    layout: "hwsim" (one U8 tensor with the bytes of `Encoded.to_bytes()`), or a released layout.
    """

    format: str | Mapping[str, object]
    shape: tuple[int, ...]
    dtype: str
    error: float | None = None
    axis: int = -1
    layout: str = HWSIM

    @property
    def k_axis(self) -> int:
        """The axis, counted from the front."""
        return self.axis % len(self.shape)


def error_note(error: float) -> str:
    """A relative error as text of exactly `NOTE_LENGTH` characters."""
    return f"{error if error >= 1e-99 else 0.0:.6e}"


def write_records(records: Mapping[str, Record], notes: Mapping[str, str], writer: str) -> str:
    """The metadata text; its length does not depend on the notes."""
    tensors = {
        name: {
            "format": r.format,
            "shape": r.shape,
            "axis": r.k_axis,
            "dtype": r.dtype,
            "layout": r.layout,
            "error": notes[name],
        }  # fmt: skip
        for name, r in sorted(records.items())
    }
    return json.dumps({"version": VERSION, "writer": writer, "tensors": tensors}, separators=(",", ":"))


def read_records(shard: Shard) -> dict[str, Record]:
    """Tensor name -> record; empty for a file that hwsim did not compress.

    Version 1 is read as before: blocks along the last axis.
    raises: InputError for an entry of another version, or one that contradicts the tensors of the file.
    """
    from hwsim.formats.names import layout

    text = shard.metadata.get(KEY)
    if text is None:
        return {}
    try:
        entry = json.loads(text)
        version = entry["version"]
        if version not in (1, VERSION):
            found = f"is a compressed file of version {short(version)}"
            raise InputError(f"{shard.path}: {found}; this hwsim reads versions 1 and {VERSION}")
        records = {
            name: Record(
                t["format"], tuple(int(n) for n in t["shape"]), str(t["dtype"]), float(t["error"]),
                -1 if version == 1 else int(t["axis"]), HWSIM if version == 1 else str(t["layout"]),
            )
            for name, t in entry["tensors"].items()
        }  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"metadata entry {KEY!r} is damaged: {short(repr(error), 120)}"
        raise InputError(f"{shard.path}: {what}") from error
    held, problems = {t.name: t for t in shard.tensors}, []
    for name, r in records.items():
        tensor = held.get(name)
        whole = r.dtype in FLOATS and bool(r.shape) and min(r.shape) >= 1 and -len(r.shape) <= r.axis < len(r.shape)
        if whole and r.layout != HWSIM:
            continue  # its tensors are recognised by their names and types, as those of any checkpoint
        if tensor is None or tensor.dtype != "U8" or not whole:
            problems.append(f"{shard.path}: {short(name)}: its record contradicts the tensor")
        elif not isinstance(r.format, str | Mapping) or str(r.format).endswith((".yaml", ".yml")):
            problems.append(f"{shard.path}: {short(name)}: {short(r.format)} is not a format")
        else:
            moved = (*r.shape[: r.k_axis], *r.shape[r.k_axis + 1 :], r.shape[r.k_axis])
            planned = layout(r.format).array_nbytes(moved)
            if planned != tensor.nbytes:
                what = f"has {tensor.nbytes} bytes, but its format and shape need {planned}"
                problems.append(f"{shard.path}: {short(name)}: {what}")
    if problems:
        raise InputError(*problems[:20])
    return records
