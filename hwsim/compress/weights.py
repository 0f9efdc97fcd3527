"""Weights of a checkpoint: what a model has, whatever tensors a file stores it in.

A *weight* has a name, a shape, an axis K, and values. In a plain file it is one tensor of floats. hwsim's own files
hold it as one tensor of bytes, and released checkpoints as codes with their scales beside them: one class per layout,
in the modules next to this one. Each reads rows of values; one that is exactly a format of hwsim reads rows of codes.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from hwsim.compress.checkpoint import widen
from hwsim.compress.parts import Held, moved, row_count, rows_of
from hwsim.compress.record import HWSIM, Record
from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.format import Encoded, Format
from hwsim.formats.layout import Layout
from hwsim.formats.names import NAMES, layout

Spec = str | Mapping[str, object] | Format
"""A format as a user names it: as for `get_format`, or what that returned, with options."""

Plain = str | Mapping[str, object]
"""A format as a file records it."""

PLAIN = "plain"
"""Name of the layout of one tensor of floats."""


@dataclass(frozen=True)
class Weight(ABC):
    """One weight and the tensors that store it.

    name: of the weight, as a file of plain values would have it. layout: name of the layout. words: its format.
    shape: of the values. axis: K, counted from the front. parts: the tensors that belong to it alone, the codes first.
    """

    name: str
    layout: str
    words: str
    shape: tuple[int, ...]
    axis: int
    parts: tuple[Held, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def k(self) -> int:
        """Values of a row."""
        return self.shape[self.axis]

    @property
    def row_count(self) -> int:
        """Rows along K."""
        return row_count(self.shape, self.axis)

    @property
    def nbytes(self) -> int:
        """Stored bytes of all its tensors."""
        return sum(part.tensor.nbytes for part in self.parts)

    @property
    def bits_per_value(self) -> float:
        """Stored bits per value with scales and padding, without tensors of one number: the scale of the whole."""
        nbytes = sum(part.tensor.nbytes for part in self.parts if part.tensor.size > 1 or part is self.parts[0])
        return 8 * nbytes / self.size if self.size else 0.0

    @property
    def place(self) -> str:
        """`file: name`, the start of an error."""
        return f"{self.parts[0].shard.path}: {self.name}"

    @property
    def original_nbytes(self) -> int:
        """Bytes before compression: as bfloat16, unless the file says otherwise."""
        return 2 * self.size

    @property
    def tile_rows(self) -> int:
        """Rows that share a scale; chunks of rows begin at a multiple of them."""
        return 0

    @property
    def format(self) -> Format | None:
        """The format of hwsim that has exactly these codes and values; None where there is none."""
        return None

    @abstractmethod
    def rows(self, first: int, last: int) -> np.ndarray:
        """float32 or float16[last - first, K]: values of rows, each rounded once."""

    def codes(self, first: int, last: int) -> Encoded:
        """The codes of rows in `format`, [last - first, K]. raises: InputError where there is no such format."""
        raise InputError(f"{self.place}: {self.words} in the layout {self.layout} has no codes of a format of hwsim")


@dataclass(frozen=True)
class PlainWeight(Weight):
    """One tensor of float32, float16 or bfloat16; or of float64, whose values are rounded to float32."""

    @property
    def original_nbytes(self) -> int:
        """Its own bytes."""
        return self.nbytes

    def rows(self, first: int, last: int) -> np.ndarray:
        """The values as they are; bfloat16 and float64 as float32."""
        part = self.parts[0]
        found = rows_of(part.array(), self.axis, first, last)
        if part.tensor.dtype == "F64":
            with np.errstate(over="ignore"):  # beyond float32: an infinity, which is refused by its name
                return found.astype(np.float32)
        return widen(found) if part.tensor.dtype == "BF16" else np.array(found)


@dataclass(frozen=True)
class PackedWeight(Weight):
    """One tensor with the bytes of `Encoded.to_bytes()`, as hwsim writes it; record: its entry in the header."""

    record: Record

    @property
    def original_nbytes(self) -> int:
        """As the record says."""
        return self.size * {"F32": 4}.get(self.record.dtype, 2)

    @cached_property
    def form(self) -> Format:
        """The format of the record."""
        return get_format(self.record.format)

    @property
    def format(self) -> Format | None:
        """The format of the record."""
        return self.form

    @property
    def tile_rows(self) -> int:
        """Of the layout."""
        return self.form.layout.tile_rows

    def rows(self, first: int, last: int) -> np.ndarray:
        """The decoded values."""
        return self.codes(first, last).decode()

    def codes(self, first: int, last: int) -> Encoded:
        """The records of these rows, with the scale of the tensor or of their tiles."""
        layout, data = self.form.layout, self.parts[0].array()
        size = layout.codes_nbytes(self.k)
        body = data[first * size : last * size].tobytes()
        if layout.tile_rows:
            at, count = _tiles(layout, moved(self.shape, self.axis), first, last)
            start = self.row_count * size + at * layout.scales_nbytes(self.k)
            tail = data[start : start + count * layout.scales_nbytes(self.k)].tobytes()
        else:
            tail = data[len(data) - layout.tensor_scale_bytes :].tobytes() if layout.tensor_scale_bytes else b""
        return self.form.from_bytes(body + tail, (last - first, self.k))


def _tiles(layout: Layout, shape: tuple[int, ...], first: int, last: int) -> tuple[int, int]:
    """(rows of tiles before row `first`, rows of tiles of the chunk), of a chunk that lies in one matrix."""
    n = shape[-2] if len(shape) > 1 else 1
    matrix, row = divmod(first, n)
    at = matrix * -(-n // layout.tile_rows) + row // layout.tile_rows
    return at, -(-(last - first) // layout.tile_rows)


def packed_weight(held: Held, record: Record) -> PackedWeight:
    """The weight of a tensor that hwsim wrote."""
    return PackedWeight(held.name, HWSIM, format_words(record.format), record.shape, record.k_axis, (held,), record)


def format_words(spec: Plain) -> str:
    """A format's name, as tables print it."""
    return spec if isinstance(spec, str) else str(spec.get("name", "custom"))


def settled(spec: Spec) -> Spec:
    """A format as an output file records it: its canonical name, or the content of its YAML file. With options: itself.

    raises: InputError for a format that does not exist, or whose options a file cannot record; TypeError for no format.
    """
    if isinstance(spec, Format):
        return _storable(spec)
    if not isinstance(spec, str | Mapping):
        raise TypeError(f"a format must be a name, a mapping or what get_format returned, not {type(spec).__name__}")
    if isinstance(spec, str) and spec.endswith((".yaml", ".yml")):
        from hwsim.files.yaml import read

        spec = dict(read(spec).data)
    form = get_format(spec)
    return form.name if isinstance(spec, str) else dict(spec)


def _storable(form: Format) -> Format:
    """The format, if a file of its codes decodes without its options. raises: InputError."""
    if getattr(form, "rounding", "") == "stochastic":
        raise InputError(
            f"{form.name}: rounding stochastic: a file is written in chunks, and each would draw the same bits again; "
            "write another rounding"
        )
    if getattr(form, "row_scaled", False):
        name = form.name.removesuffix("_row")  # as the user wrote it
        raise InputError(f"{name}: option row_scaled: a file records no scales of rows; leave the option out")
    tile = getattr(form, "tile", 1)
    known = form.layout.definition or form.name in NAMES
    if not known or form.layout != layout(recorded(form)) or (isinstance(tile, int) and tile != 1):
        raise InputError(f"{form.name}: option tile: a file records no tile; leave the option out")
    return form


def recorded(spec: Spec) -> Plain:
    """What a file says of a format: how to decode its codes, whatever options made them."""
    return spec.layout.resolved() if isinstance(spec, Format) else spec


def options_of(form: Format) -> dict[str, object]:
    """The options of a format that its layout does not say, by name; those at their defaults too."""
    given = {field.name: getattr(form, field.name) for field in fields(form) if field.init}  # type: ignore[arg-type]
    return {name: value for name, value in given.items() if name not in ("given", "threads")}


def spec_text(spec: Spec) -> str:
    """A format as text that two equal formats share, options included."""
    if isinstance(spec, Format):
        return json.dumps([recorded(spec), options_of(spec)], sort_keys=True, default=str)
    return json.dumps(spec, sort_keys=True, default=str)
