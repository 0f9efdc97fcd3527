"""Tensors in chunks of rows, so that memory does not grow with them; a row is along K, the axis of the blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwsim.compress.checkpoint import FLOATS, Shard, Tensor, widen

CHUNK = 1 << 22
"""Values of a weight in memory at once, about; with everything that is made of them some 80 MB."""


@dataclass(frozen=True)
class Held:
    """A tensor and the file that holds it."""

    shard: Shard
    tensor: Tensor

    @property
    def name(self) -> str:
        """Name in the file."""
        return self.tensor.name

    @property
    def place(self) -> str:
        """`file: name`, the start of an error."""
        return f"{self.shard.path}: {self.tensor.name}"

    def array(self) -> np.ndarray:
        """The stored values in the numpy type that holds their bits, [shape]; types below a byte: their bytes."""
        kind = STORED.get(self.tensor.dtype)
        data = self.shard.data(self.tensor)
        return data.view(kind).reshape(self.tensor.shape) if kind else data

    def floats(self) -> np.ndarray:
        """float32 or float16[shape] of a small float tensor, such as scales. E8M0 and E4M3 become their values."""
        from hwsim.formats.elements import E4M3, E5M2, E8M0_VALUES

        stored, dtype = self.array(), self.tensor.dtype
        tables = {"F8_E4M3": E4M3.values, "F8_E5M2": E5M2.values, "F8_E8M0": E8M0_VALUES}
        if dtype in tables:
            return np.array(tables[dtype], np.float32)[stored]
        return widen(stored) if dtype == "BF16" else np.asarray(stored)


STORED: dict[str, np.dtype[np.generic]] = {
    **FLOATS, "U8": np.dtype("u1"), "I8": np.dtype("i1"), "BOOL": np.dtype("u1"), "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"), "F64": np.dtype("<f8"), "I16": np.dtype("<i2"), "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"), "F8_E4M3": np.dtype("u1"), "F8_E5M2": np.dtype("u1"), "F8_E8M0": np.dtype("u1"),
}  # fmt: skip
"""numpy's type of the bits of a safetensors type; those that share bytes between values are missing."""


def moved(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape with `axis` put last, as weights are encoded."""
    return (*shape[:axis], *shape[axis + 1 :], shape[axis])


def row_count(shape: tuple[int, ...], axis: int) -> int:
    """Rows of a weight: all other axes together."""
    return math.prod(shape) // shape[axis] if shape[axis] else 0


def spans(shape: tuple[int, ...], axis: int, tile_rows: int = 0) -> Iterator[tuple[int, int]]:
    """(first, last) of chunks of rows. tile_rows: a chunk then begins and ends at tiles, and lies in one matrix."""
    rows, k = row_count(shape, axis), shape[axis]
    step = max(1, CHUNK // max(1, k))
    if not tile_rows:
        for at in range(0, rows, step):
            yield at, min(at + step, rows)
        return
    n = moved(shape, axis)[-2] if len(shape) > 1 else 1
    step = max(tile_rows, step // tile_rows * tile_rows)
    for matrix in range(0, rows, n):
        for at in range(matrix, matrix + n, step):
            yield at, min(at + step, matrix + n)


def rows_of(array: np.ndarray, axis: int, first: int, last: int) -> np.ndarray:
    """[last - first, K] of an array in memory or mapped, `axis` put last; only these rows are read."""
    k = array.shape[axis]
    if axis == array.ndim - 1:
        return array.reshape(-1, k)[first:last]
    # Axes before and after K: rows of one leading index lie next to each other along the axes after it.
    after = math.prod(array.shape[axis + 1 :])
    stack = array.reshape(-1, k, after)
    found = np.empty((last - first, k), array.dtype)
    at = first
    while at < last:
        lead, column = divmod(at, after)
        width = min(after - column, last - at)
        found[at - first : at - first + width] = stack[lead, :, column : column + width].T
        at += width
    return found


def placed(rows: np.ndarray, shape: tuple[int, ...], axis: int, first: int, out: np.ndarray) -> None:
    """Put rows of a weight into `out` [shape], `axis` moved back. first: number of the first of them."""
    k = shape[axis]
    if axis == len(shape) - 1:
        out.reshape(-1, k)[first : first + len(rows)] = rows
        return
    after = math.prod(shape[axis + 1 :])
    stack = out.reshape(-1, k, after)
    at = 0
    while at < len(rows):
        lead, column = divmod(first + at, after)
        width = min(after - column, len(rows) - at)
        stack[lead, :, column : column + width] = rows[at : at + width].T
        at += width
