"""Block data representation: a scale per k1 elements, a small shift per k2, sign and magnitude.

source: With Shared Microexponents, A Little Shifting Goes a Long Way (arXiv 2302.08007), sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from hwsim.errors import InputError
from hwsim.formats import families, kernels
from hwsim.formats.explain import BlockStep, dice, element_steps, floor_log2, pieces, spoiled, top
from hwsim.formats.format import Encoded, Format, in_threads, moved_shape, padded, per_row, present
from hwsim.formats.layout import Layout
from hwsim.formats.mx import decode_elements, encode_rounded
from hwsim.formats.operand import Operand, no_factor
from hwsim.formats.packing import pack_records, split_rows, unpack_records
from hwsim.formats.stored import Field, Stored


@dataclass(frozen=True)
class BdrFormat(Format):
    """One point (m, k1, d1, k2, d2) of the BDR family: MX9 is (7, 16, 8, 2, 1).

    m: magnitude bits, without a hidden one; the sign bit is extra. k1: elements of a block. d1: bits of its scale.
    k2: elements of a sub-block. d2: bits of its shift; 0: no shifts (MSFP).
    """

    m: int = 7
    k1: int = 16
    d1: int = 8
    k2: int = 2
    d2: int = 1

    def check(self) -> None:
        """Refuse what cannot be. raises: InputError with every problem."""
        super().check()
        ranges = {"m": (1, 15), "k1": (1, 4096), "d1": (2, 8), "k2": (1, 4096), "d2": (0, 4)}
        problems = [
            f"{name}: {getattr(self, name)}; write {low} to {high}"
            for name, (low, high) in ranges.items()
            if not low <= getattr(self, name) <= high
        ]
        if not problems and self.k1 % self.k2:
            problems.append(f"k2: {self.k2} does not divide k1 = {self.k1}")
        if problems:
            raise InputError(*problems)

    def stored(self, shape: tuple[int, ...], axis: int) -> Stored:
        """With the shifts of the sub-blocks; a scale may have less than eight bits."""
        plain = super().stored(shape, axis)
        lead, records = moved_shape(shape, axis, 1)[:-1], -(-shape[axis] // self.k1)
        scales = Field((*lead, records), ("uint8",), self.d1)
        shifts = Field((*lead, records * self.sub_blocks), ("uint8",), self.d2) if self.d2 else None
        return replace(plain, scales=scales, shifts=shifts)

    def own_layout(self) -> Layout:
        """The layout of the point."""
        return families.bdr(self.m, self.k1, self.d1, self.k2, self.d2)

    @property
    def bias(self) -> int:
        """Stored scale minus exponent; 127 for d1 = 8, so the all-ones code stays free for NaN."""
        return (1 << (self.d1 - 1)) - 1

    @property
    def nan_scale(self) -> int:
        """The scale's code of a block with Inf or NaN."""
        return (1 << self.d1) - 1

    @property
    def sub_blocks(self) -> int:
        """Stored shifts per block."""
        return self.k1 // self.k2 if self.d2 else 0

    @property
    def code_type(self) -> type[np.uint8 | np.uint16]:
        """Least unsigned type of sign and magnitude."""
        return np.uint8 if self.m <= 7 else np.uint16

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Codes, scales and sub-block shifts of an array of floats, blocks along `axis`."""
        k = rows.shape[1]
        whole = padded(rows, self.k1)
        blocks = whole.size // self.k1
        flat = whole.reshape(-1)
        codes = np.empty(whole.shape, self.code_type)
        point = (self.k1, self.d1, self.k2, self.d2)
        if rows.dtype == np.float32 and self.rounding == "rne" and point == (16, 8, 2, 1) and self.m <= 7:
            bits, pairs, out = flat.view(np.int32), flat.view(np.int64), codes.reshape(-1)
            scales, shifts = np.empty(blocks, np.uint8), np.empty(blocks * 8, np.uint8)

            def fused(a: int, b: int) -> None:
                kernels.encode_bdr(
                    flat[a * 16 : b * 16], bits[a * 16 : b * 16], pairs[a * 8 : b * 8], self.m, kernels.INVERSE_POWERS,
                    out[a * 16 : b * 16], scales[a:b], shifts[a * 8 : b * 8],
                )  # fmt: skip

            in_threads(blocks, 16, self.threads, fused)
        else:
            scales, shifts, steps = self._scales(flat, blocks)
            element = (2, 0, 0, (1 << self.m) - 1, (1 << self.m) - 1, self.m + 1)
            encode_rounded(self, whole, k, self.k2, per_row(steps, len(rows)), element, codes)
        records = whole.shape[1] // self.k1
        return Encoded(
            self, shape, axis,
            np.ascontiguousarray(codes[:, :k]).reshape(moved_shape(shape, axis, k)),
            scales.reshape(moved_shape(shape, axis, records)),
            shifts.reshape(moved_shape(shape, axis, records * self.sub_blocks)) if self.d2 else None,
        )  # fmt: skip

    def _scales(self, flat: np.ndarray, blocks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(scales per block, shifts and float64 steps per sub-block); step 0 where every code is 0."""
        maxima = np.empty(flat.size // self.k2)
        kernels.block_maxima(flat, self.k2, maxima)
        sub = maxima.reshape(blocks, self.k1 // self.k2)
        largest = sub.max(axis=1, initial=0.0)
        finite, some = np.isfinite(largest), largest > 0
        e = np.frexp(np.where(finite, largest, 1.0))[1].astype(np.int64) - 1
        e = np.clip(e, -self.bias, self.bias)
        e_sub = np.frexp(np.where(np.isfinite(sub), sub, 1.0))[1].astype(np.int64) - 1
        most = (1 << self.d2) - 1
        shifts = np.where(sub > 0, np.clip(e[:, None] - e_sub, 0, most), most)
        steps = np.ldexp(1.0, e[:, None] - shifts - (self.m - 1))
        live = (finite & some)[:, None]
        scales = np.where(finite, np.where(some, e + self.bias, 0), self.nan_scale).astype(np.uint8)
        return scales, np.where(live, shifts, 0).astype(np.uint8), np.where(live, steps, 0.0)

    def steps(self, encoded: Encoded) -> np.ndarray:
        """float64[..., sub-blocks]: value of one unit of magnitude; NaN where the block is."""
        scales = present(encoded.scales)
        e = scales.astype(np.int64) - self.bias
        step = np.where(scales == self.nan_scale, np.nan, np.ldexp(1.0, e - (self.m - 1)))
        if encoded.shifts is None:
            return step
        return np.repeat(step, self.sub_blocks, axis=-1) * np.ldexp(1.0, -encoded.shifts.astype(np.int64))

    @cached_property
    def values(self) -> np.ndarray:
        """float64[2^(m+1)]: signed magnitude of every code."""
        magnitudes = np.arange(1 << self.m, dtype=np.float64)
        return np.concatenate([magnitudes, -magnitudes])

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape."""
        return decode_elements(encoded, self.values, self.steps(encoded), self.k2 if self.d2 else self.k1)

    def pack(self, encoded: Encoded) -> bytes:
        """The packed bytes."""
        return pack_records(self.layout, encoded.codes, encoded.scales, encoded.shifts, self.d2, encoded.rows).tobytes()

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, _, shape, axis = split_rows(self.layout, data, shape, axis)
        codes, scales, shifts = unpack_records(
            self.layout, body, shape[axis], self.code_type, np.uint8, self.sub_blocks, self.d2
        )
        return Encoded(
            self, shape, axis,
            codes.reshape(moved_shape(shape, axis, shape[axis])),
            scales.reshape(moved_shape(shape, axis, scales.shape[1])),
            shifts.reshape(moved_shape(shape, axis, shifts.shape[1])) if self.d2 else None,
        )  # fmt: skip

    def operand(self, encoded: Encoded) -> Operand:
        """Magnitudes and their sub-blocks' shifts, under powers of two."""
        k, rows = encoded.row_length, encoded.rows
        significands = self.values[encoded.codes].astype(np.int64)
        exponents = np.zeros((rows, k), np.int32)
        if encoded.shifts is not None:
            exponents -= np.repeat(per_row(encoded.shifts, rows).astype(np.int32), self.k2, axis=1)[:, :k]
        codes = per_row(present(encoded.scales), rows)
        scales = np.ldexp(1.0, codes.astype(np.int64) - self.bias)
        scales[codes == self.nan_scale] = np.nan
        elements = np.ldexp(significands.astype(np.float64), exponents - (self.m - 1))
        element_bits = self.m + (1 << self.d2) - 1
        return Operand(elements, significands, exponents, self.m - 1, self.k1, scales, 1, no_factor(rows), element_bits)

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """Block by block; there is no tensor scale."""
        table = [Fraction(n) for n in range(1 << self.m)]
        blocks = []
        cut = pieces(self.k1, row, encoded.codes, decoded, dice(self, len(row)))
        for b, (xs, codes, back, rs) in enumerate(cut):
            scale = int(present(encoded.scales)[b])
            if scale == self.nan_scale:
                blocks.append(spoiled(xs, codes, self.m + 1, f"{scale:#04x} (NaN)"))
                continue
            largest, e = top(xs), scale - self.bias
            if largest == 0:
                words = ["all zero: every bit 0"]
            else:
                binade = floor_log2(Fraction(largest))
                clamped = "" if binade == e else f", clamped to {e}"
                words = [f"E = floor(log2 maximum) = {binade}{clamped}, code {scale}"]
            shifts = [0] * len(xs)
            if encoded.shifts is not None:
                stored = encoded.shifts[b * self.sub_blocks : (b + 1) * self.sub_blocks].tolist()
                shifts = [stored[i // self.k2] for i in range(len(xs))]
                shown = " ".join(str(stored[i]) for i in range(-(-len(xs) // self.k2)))
                words.append(f"sub-blocks of {self.k2}: shift min(E - E_sub, {(1 << self.d2) - 1}) = {shown}")
            words.append(f"step 2^(E - shift - {self.m - 1}), at most {(1 << self.m) - 1} steps")
            d = [Fraction(2) ** (e - t - (self.m - 1)) if largest else Fraction(0) for t in shifts]
            steps = element_steps(self, xs, d, table, self.m + 1, codes, back, rs)
            blocks.append(BlockStep(largest, tuple(words), steps))
        return "", blocks
