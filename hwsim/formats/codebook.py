"""Codebooks: elements that are entries of a table, in blocks under a float32 scale; NF4 is one of them.

source: QLoRA (arXiv 2305.14314), appendix E: the table of NF4, blocks of 64 under their largest magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from hwsim.errors import InputError
from hwsim.formats import families
from hwsim.formats.explain import BlockStep, ElementStep, number, pieces, top
from hwsim.formats.format import Encoded, Format, moved_shape, padded, per_row, present
from hwsim.formats.layout import Layout
from hwsim.formats.mx import decode_elements
from hwsim.formats.operand import Operand, float_operand
from hwsim.formats.packing import pack_records, split_rows, unpack_records


@dataclass(frozen=True)
class CodebookFormat(Format):
    """The nearest entry for value / scale; the scale is the largest magnitude of a block, as a float32.

    codebook: 2 to 256 ascending numbers as text, separated by spaces; each is rounded to float32 once.
    A tie takes the lower entry. A block of zeros has scale 1. The quotient is compared exactly.
    """

    codebook: str = families.NF4
    block: int = 64

    def check(self) -> None:
        """Refuse what cannot be. raises: InputError with every problem."""
        super().check()
        problems = families.codebook_problems(self.codebook)
        if self.rounding != "rne":
            problems.append("rounding: a codebook takes its nearest entry; write rne")
        if not 1 <= self.block <= 4096:
            problems.append(f"block: {self.block}; write 1 to 4096 elements")
        if problems:
            raise InputError(*problems)

    def options(self) -> dict[str, str]:
        """None: the nearest entry is taken."""
        return {}

    def own_layout(self) -> Layout:
        """The layout of the table and block."""
        return families.codebook(self.codebook, self.block)

    @cached_property
    def table(self) -> np.ndarray:
        """float64[entries], each a float32."""
        return np.array([float(np.float32(float(v))) for v in self.codebook.split()])

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Codes and scales. raises: InputError for Inf, NaN or a value beyond float32."""
        if not (np.abs(rows) <= np.finfo(np.float32).max).all():
            raise InputError(f"{self.name}: the array holds NaN, Inf or a value beyond float32")
        whole = padded(rows, self.block)
        blocks = whole.reshape(len(rows), whole.shape[1] // self.block, self.block).astype(np.float64)
        scales = np.abs(blocks).max(axis=-1, initial=0.0).astype(np.float32)
        scales[scales == 0] = 1
        # A midpoint has at most 25 bits and a scale 24: their product is exact, and so is the comparison.
        middles = (self.table[1:] + self.table[:-1]) / 2
        codes = np.zeros(blocks.shape, np.uint8)
        wide = scales[..., None].astype(np.float64)
        for middle in middles:
            codes += blocks > middle * wide
        return self._encoded(shape, axis, codes.reshape(whole.shape)[:, : rows.shape[1]], scales.view(np.uint32))

    def _encoded(self, shape: tuple[int, ...], axis: int, codes: np.ndarray, scales: np.ndarray) -> Encoded:
        return Encoded(
            self, shape, axis,
            np.ascontiguousarray(codes).reshape(moved_shape(shape, axis, shape[axis])),
            scales.reshape(moved_shape(shape, axis, scales.shape[1])),
        )  # fmt: skip

    def _scales(self, encoded: Encoded) -> np.ndarray:
        """float64[rows, blocks]."""
        return per_row(present(encoded.scales).view(np.float32).astype(np.float64), encoded.rows)

    @cached_property
    def _values(self) -> np.ndarray:
        """The table, with NaN for codes that it lacks."""
        values = np.full(1 << self.layout.element_bits, np.nan)
        values[: len(self.table)] = self.table
        return values

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape."""
        return decode_elements(encoded, self._values, self._scales(encoded), self.block)

    def pack(self, encoded: Encoded) -> bytes:
        """The packed bytes."""
        return pack_records(self.layout, encoded.codes, encoded.scales, None, 0, encoded.rows).tobytes()

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, _, sizes, axis = split_rows(self.layout, data, shape, axis)
        codes, scales, _ = unpack_records(self.layout, body, sizes[axis], np.uint8, np.uint32, 0, 0)
        return self._encoded(sizes, axis, codes, scales)

    def operand(self, encoded: Encoded) -> Operand:
        """Entries as float32 values, under float32 scales."""
        values = self._values[encoded.codes]
        return float_operand(values, 23, block=self.block, scales=self._scales(encoded), scale_bits=24)

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """Block by block; there is no tensor scale."""
        blocks = []
        cut = pieces(self.block, row, encoded.codes, decoded)
        for scale, (xs, codes, back) in zip(self._scales(encoded)[0].tolist(), cut, strict=True):
            steps = []
            for x, code, y in zip(xs.tolist(), codes.tolist(), back.tolist(), strict=True):
                words = f"the nearest entry is {number(self.table[code])}"
                steps.append(ElementStep(x, Fraction(x) / Fraction(scale), words, code, self.layout.element_bits, y))
            words = f"scale {number(scale)}: the largest magnitude as a float32"
            blocks.append(BlockStep(top(xs), (words,), tuple(steps)))
        return "", blocks
