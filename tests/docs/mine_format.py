"""Elements that are entries of a table of 16 values, in blocks of 64 under an absmax scale.

This is the toy of `test_adding_format`, which adds it to a copy of the project as `hwsim/formats/mine.py`.
x = TABLE[code] * scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwsim.errors import InputError
from hwsim.formats.explain import BlockStep, ElementStep, number, pieces, top
from hwsim.formats.format import Encoded, Format, moved_shape, padded, per_row, present
from hwsim.formats.mx import decode_elements
from hwsim.formats.operand import Operand, float_operand
from hwsim.formats.packing import pack_records, split_rows, unpack_records

TABLE = np.array([-64, -46, -34, -25, -18, -12, -6, 0, 5, 10, 16, 22, 28, 36, 46, 64]) / 64
MIDPOINTS = (TABLE[1:] + TABLE[:-1]) / 2
BLOCK = 64


@dataclass(frozen=True)
class TableFormat(Format):
    """The nearest entry of `TABLE` for value / scale; the float32 scale is the largest magnitude of 64 values.

    A tie takes the lower entry. A block of zeros has scale 1.
    """

    def check(self) -> None:
        """Refuse options that cannot be. raises: InputError."""
        super().check()
        if self.rounding != "rne":
            raise InputError("rounding: a table takes its nearest entry; write rne")

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Codes and scales of an array of floats. raises: InputError for Inf, NaN or a value beyond float32."""
        if not (np.abs(rows) <= np.finfo(np.float32).max).all():
            raise InputError(f"{self.name}: the array holds NaN, Inf or a value beyond float32")
        whole = padded(rows, BLOCK)
        blocks = whole.reshape(len(rows), whole.shape[1] // BLOCK, BLOCK)
        scales = np.abs(blocks).max(axis=-1, initial=0.0).astype(np.float32)
        scales[scales == 0] = 1
        codes = np.searchsorted(MIDPOINTS, blocks / scales[..., None].astype(np.float64)).astype(np.uint8)
        return self._encoded(shape, axis, codes.reshape(whole.shape)[:, : rows.shape[1]], scales.view(np.uint32))

    def _encoded(self, shape: tuple[int, ...], axis: int, codes: np.ndarray, scales: np.ndarray) -> Encoded:
        return Encoded(
            self,
            shape,
            axis,
            np.ascontiguousarray(codes).reshape(moved_shape(shape, axis, shape[axis])),
            scales.reshape(moved_shape(shape, axis, scales.shape[1])),
        )

    def _scales(self, encoded: Encoded) -> np.ndarray:
        """float64[rows, blocks]."""
        return per_row(present(encoded.scales).view(np.float32).astype(np.float64), encoded.rows)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape."""
        return decode_elements(encoded, TABLE, self._scales(encoded), BLOCK)

    def pack(self, encoded: Encoded) -> bytes:
        """The packed bytes."""
        return pack_records(self.layout, encoded.codes, encoded.scales, None, 0, encoded.rows).tobytes()

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, _, sizes, axis = split_rows(self.layout, data, shape, axis)
        codes, scales, _ = unpack_records(self.layout, body, sizes[axis], np.uint8, np.uint32, 0, 0)
        return self._encoded(sizes, axis, codes, scales)

    def operand(self, encoded: Encoded) -> Operand:
        """Entries with 6 fraction bits, under float32 scales."""
        values = TABLE[encoded.codes]
        return float_operand(values, 6, block=BLOCK, scales=self._scales(encoded), scale_bits=24)

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """Block by block; there is no tensor scale."""
        blocks = []
        cut = pieces(BLOCK, row, encoded.codes, decoded)
        for scale, (xs, codes, back) in zip(self._scales(encoded)[0].tolist(), cut, strict=True):
            steps = []
            for x, code, y in zip(xs.tolist(), codes.tolist(), back.tolist(), strict=True):
                words = f"the nearest entry is {number(TABLE[code])}"
                steps.append(ElementStep(x, Fraction(x) / Fraction(scale), words, code, 4, y))
            blocks.append(BlockStep(top(xs), (f"scale {number(scale)}: the largest magnitude",), tuple(steps)))
        return "", blocks
