"""fp8_block: E4M3 elements, a float32 scale per tile of 128 x 128 (weights) or of 1 x 128 (activations and KV caches).

source: the weights of DeepSeek-V3 and the GEMMs written for them (arXiv 2412.19437, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from hwsim.errors import InputError
from hwsim.formats.elements import E4M3
from hwsim.formats.explain import BlockStep, dice, element_steps, magnitudes, number, pieces
from hwsim.formats.format import (
    Encoded,
    Format,
    amax_scales,
    moved_shape,
    padded,
    present,
)
from hwsim.formats.layout import Layout
from hwsim.formats.mx import decode_elements, encode_elements, finite_maxima
from hwsim.formats.names import layout
from hwsim.formats.operand import Operand, element_operand
from hwsim.formats.packing import split_rows

_MOST = int(E4M3.max_normal)
_NAN = present(E4M3.nan_code)


@dataclass(frozen=True)
class TileFormat(Format):
    """q = x / s, rounded once from the exact quotient; s = fl32(amax / 448) of a tile, 1 where that is 0.

    amax is that of the tile's finite values; infinities saturate and NaN has its code. Tiles lie in the last two axes
    (the blocked one last), never cross matrices, and are cut off at the edges; a vector is a matrix of one row.

    tile: rows and columns of a tile: (128, 128), or (1, 128).
    """

    tile: tuple[int, int] = (128, 128)

    def check(self) -> None:
        """Refuse what cannot be. raises: InputError."""
        super().check()
        if self.tile not in ((128, 128), (1, 128)):
            raise InputError(f"tile: {self.tile!r}; write (128, 128) for weights, or (1, 128) for activations")

    def options(self) -> dict[str, str]:
        """With its tiles."""
        return super().options() | {"tile": "(1, 128): a scale per row and 128 values, of activations"}

    @cached_property
    def layout(self) -> Layout:
        """The packed form with these tiles."""
        found = self.given or self.own_layout()
        return found.by_rows() if self.tile[0] == 1 else found

    def own_layout(self) -> Layout:
        """The layout of fp8_block."""
        return layout("fp8_block")

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Codes and tile scales of an array of floats, tiles in the last other axis and `axis`."""
        k = rows.shape[1]
        _, stack, n, columns = self._grid(shape, axis)
        whole = padded(rows, self.tile[1])
        maxima = finite_maxima(whole, self.tile[1]).reshape(stack, n, columns)
        starts = np.arange(0, n, self.tile[0])
        tops = np.maximum.reduceat(maxima, starts, axis=1) if maxima.size else maxima[:, : len(starts)]
        scales = amax_scales(tops, _MOST, np.float32)
        codes = np.zeros(whole.shape, np.uint8)
        if whole.size:
            divisors = self._repeated(scales, n).reshape(len(rows), columns)
            encode_elements(self, whole, k, self.tile[1], divisors, E4M3, codes)
        codes = np.ascontiguousarray(codes[:, :k])
        codes[np.isnan(rows)] = _NAN
        return self._encoded(shape, axis, codes, scales)

    def _grid(self, shape: tuple[int, ...], axis: int) -> tuple[tuple[int, ...], int, int, int]:
        """(axes of the stack, matrices in it, rows of a matrix, tiles in a row) of an array."""
        *lead, n, k = (1, *moved_shape(shape, axis, shape[axis]))
        axes = tuple(lead[1:])
        return axes, int(np.prod(axes, dtype=np.int64)), n, -(-k // self.tile[1])

    def _repeated(self, scales: np.ndarray, n: int) -> np.ndarray:
        """float64[stack, n, columns]: the scale of each row's part of a tile. scales: float32[stack, tiles, columns]"""
        return np.repeat(scales.astype(np.float64), self.tile[0], axis=1)[:, :n]

    def _encoded(self, shape: tuple[int, ...], axis: int, codes: np.ndarray, scales: np.ndarray) -> Encoded:
        axes, _, n, columns = self._grid(shape, axis)
        return Encoded(
            self, shape, axis,
            codes.reshape(moved_shape(shape, axis, shape[axis])),
            scales.reshape(*axes, -(-n // self.tile[0]), columns),
        )  # fmt: skip

    def scales(self, encoded: Encoded) -> np.ndarray:
        """float64[rows, tiles in a row]: the factor of each row's part of a tile."""
        _, stack, n, columns = self._grid(encoded.shape, encoded.axis)
        tiles = present(encoded.scales).reshape(stack, -(-n // self.tile[0]), columns)
        return self._repeated(tiles, n).reshape(stack * n, columns)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape."""
        return decode_elements(encoded, np.array(E4M3.values), self.scales(encoded), self.tile[1])

    def pack(self, encoded: Encoded) -> bytes:
        """Codes row by row, then the scales in C order."""
        return encoded.codes.tobytes() + present(encoded.scales).astype("<f4").tobytes()

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, tail, shape, axis = split_rows(self.layout, data, shape, axis)
        return self._encoded(shape, axis, body.copy(), np.frombuffer(tail, "<f4").astype(np.float32))

    def operand(self, encoded: Encoded) -> Operand:
        """Elements under float32 scales; a dot block times both sides' scales is rounded to float32 by itself."""
        plain = element_operand(encoded, E4M3, self.tile[1], self.scales(encoded), scale_bits=24)
        return replace(plain, block_rounds=True)

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """Tile by tile, each of one row; there is no tensor scale."""
        table, blocks = magnitudes(E4M3), []
        finite = np.where(np.isfinite(row), np.abs(row), 0.0)
        cut = pieces(self.tile[1], row, encoded.codes, decoded, dice(self, len(row)), finite)
        for s, (xs, codes, back, rs, sizes) in zip(self.scales(encoded)[0].tolist(), cut, strict=True):
            largest = float(sizes.max())
            words = f"scale {number(s)}"
            if largest > 0:
                words += f" = float32(maximum / {_MOST})"
            steps = element_steps(self, xs, [Fraction(s)] * len(xs), table, E4M3.bits, codes, back, rs)
            blocks.append(BlockStep(largest, (words,), steps))
        return "", blocks
