"""What becomes of one weight: encoded from its values, its codes moved to another layout, or decoded."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwsim.compress.checkpoint import FLOATS, narrow
from hwsim.compress.parts import CHUNK, moved, spans
from hwsim.compress.record import NOTE_LENGTH, Record, error_note
from hwsim.compress.targets import Target
from hwsim.compress.weights import PLAIN, PackedWeight, Spec, Weight, recorded
from hwsim.compress.writing import Part, Piece, Tell, Write
from hwsim.errors import InputError
from hwsim.formats.format import Encoded, Format
from hwsim.formats.seed import SeedFormat

_FLOAT64 = 1 << 20  # number of values whose errors are in float64 at the same time


@dataclass
class Job(ABC):
    """What becomes of one weight."""

    weight: Weight

    @abstractmethod
    def piece(self) -> Piece:
        """The tensors to write."""

    def record(self) -> Record | None:
        """The entry of the header; None for plain values."""
        return None


@dataclass
class Encode(Job):
    """A weight encoded from its values."""

    spec: Spec
    form: Format
    target: Target

    def piece(self) -> Piece:
        """The tensors of the layout."""
        shape = moved(self.weight.shape, self.weight.axis)
        parts = self.target.parts(self.weight.name, self.form.layout, shape)
        return Piece(self.weight.name, parts, self.weight.size, self.make, NOTE_LENGTH)

    def record(self) -> Record:
        """With the type of the original values."""
        weight = self.weight
        plain = weight.parts[0].tensor.dtype if weight.layout == PLAIN else "F32"
        plain = plain if plain in FLOATS else "F32"  # decoded values are float32
        kind = weight.record.dtype if isinstance(weight, PackedWeight) else plain
        return Record(recorded(self.spec), weight.shape, kind, None, weight.axis, self.target.name)

    def make(self, tell: Tell, write: Write) -> str:
        """Encode, write, and give the relative error as text."""
        weight, sink = self.weight, self.target.sink(write)
        noise = power = 0.0
        scale: float | None = None
        with named(weight):
            form = self.form.fitted(rows for _, rows in chunks(weight, self.form))
            for first, rows in chunks(weight, self.form):
                encoded = self._encoded(form, rows, first * weight.k, tell)
                if form.layout.tensor_scale_bytes and not isinstance(form, SeedFormat):
                    scale = encoded.tensor_number if scale is None else scale
                    if scale != encoded.tensor_number:
                        what = "has a scale of the whole tensor that is not known before its chunks"
                        raise InputError(
                            f"{form.name} with these options {what}; write tensor_scale, or leave them out"
                        )
                sink.add(encoded)
                more = _squares(rows, encoded.decode())
                noise, power = noise + more[0], power + more[1]
            sink.close()
        if not math.isfinite(noise):
            what = f"its largest weights would become infinite in {self.form.name}; exclude it, or use another format"
            raise InputError(f"{weight.place}: {what}")
        return error_note(math.sqrt(noise / power) if power else 0.0)

    def _encoded(self, form: Format, rows: np.ndarray, before: int, tell: Tell) -> Encoded:
        """The codes of a chunk. before: values of the chunks before it."""
        if isinstance(form, SeedFormat):
            return form.find(rows, tell=lambda done: tell(before + done))[0]
        encoded = form.encode(rows)
        tell(before + rows.size)
        return encoded


@dataclass
class Move(Encode):
    """A weight whose codes are moved to another layout as they are."""

    def make(self, tell: Tell, write: Write) -> str:
        """The error is 0: of the quantised values, not of those that they once were."""
        sink = self.target.sink(write)
        with named(self.weight):
            for first, last in spans(self.weight.shape, self.weight.axis, self._tiles()):
                sink.add(self.weight.codes(first, last))
                tell(last * self.weight.k)
            sink.close()
        return error_note(0.0)

    def _tiles(self) -> int:
        return max(self.weight.tile_rows, self.form.layout.tile_rows)


@dataclass
class Decode(Job):
    """A weight as plain values. dtype: F32, F16 or BF16."""

    dtype: str

    def piece(self) -> Piece:
        """One tensor of plain values."""
        w = self.weight
        part = Part(w.name, self.dtype, w.shape, w.size * FLOATS[self.dtype].itemsize)
        return Piece(w.name, (part,), w.size, self.make)

    def make(self, tell: Tell, write: Write) -> str:
        """Rows in the order of the file; where K is not the last axis, a matrix at a time."""
        w = self.weight
        with named(w):
            if w.axis == len(w.shape) - 1:
                for first, rows in chunks(w):
                    write(0, narrow(_float32(rows), self.dtype).reshape(-1).view(np.uint8).data)
                    tell(first * w.k)
                return ""
            after = math.prod(w.shape[w.axis + 1 :])
            for matrix in range(0, w.row_count, after):
                parts = [narrow(_float32(w.rows(a, b)), self.dtype) for a, b in _within(w, matrix, matrix + after)]
                whole = np.ascontiguousarray(np.concatenate(parts).T)
                write(0, whole.reshape(-1).view(np.uint8).data)
                tell(matrix * w.k)
        return ""


def _float32(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows, np.float32)


def _within(weight: Weight, first: int, last: int) -> Iterator[tuple[int, int]]:
    step = max(1, CHUNK // max(1, weight.k))
    step = max(weight.tile_rows, step // weight.tile_rows * weight.tile_rows) if weight.tile_rows else step
    for at in range(first, last, step):
        yield at, min(at + step, last)


def chunks(weight: Weight, form: Format | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, float[rows, K]) of all rows, cut where the tiles of either side allow it."""
    tile_rows = max(weight.tile_rows, form.layout.tile_rows if form else 0)
    for first, last in spans(weight.shape, weight.axis, tile_rows):
        yield first, weight.rows(first, last)


def _squares(rows: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
    """(|w - q|^2, |w|^2), summed in float64."""
    noise = power = 0.0
    step = max(1, _FLOAT64 // max(1, rows.shape[1]))
    for at in range(0, len(rows), step):
        exact = rows[at : at + step].astype(np.float64)
        power += float(np.sum(exact * exact))
        exact -= decoded[at : at + step]
        noise += float(np.sum(exact * exact))
    return noise, power


@contextlib.contextmanager
def named(weight: Weight) -> Iterator[None]:
    """Put the file and weight in front of every error raised inside."""
    try:
        yield
    except InputError as error:
        place = f"{weight.place}: "
        raise InputError(*(p if p.startswith(place) else place + p for p in error.problems)) from error
