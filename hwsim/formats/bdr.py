"""Block data representation: a scale for k1 elements, a small shift for each k2, sign and magnitude.

source: With Shared Microexponents, A Little Shifting Goes a Long Way (arXiv 2302.08007), sections 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.errors import InputError
from hwsim.formats import kernels
from hwsim.formats.format import Encoded, Format, float_rows, in_threads, moved_shape, padded, per_row
from hwsim.formats.layout import Layout, bdr_layout
from hwsim.formats.mx import decode_elements, encode_rounded
from hwsim.formats.packing import pack_records, split_rows, unpack_records


@dataclass(frozen=True)
class BdrFormat(Format):
    """One point (m, k1, d1, k2, d2) of the BDR family: MX9 is (7, 16, 8, 2, 1).

    m: magnitude bits, no hidden one; a sign bit besides. k1: elements of a block. d1: bits of its scale.
    k2: elements of a sub-block. d2: bits of its shift; 0: no shifts (MSFP).
    label: name of the format; the default names the point.
    """

    m: int = 7
    k1: int = 16
    d1: int = 8
    k2: int = 2
    d2: int = 1
    label: str = ""

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

    @cached_property
    def layout(self) -> Layout:
        """How it lies in memory."""
        name = self.label or f"bdr_m{self.m}_k{self.k1}_d{self.d1}_k{self.k2}_d{self.d2}"
        return bdr_layout(name, self.m, self.k1, self.d1, self.k2, self.d2)

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
        """Stored shifts a block."""
        return self.k1 // self.k2 if self.d2 else 0

    @property
    def code_type(self):
        """Least unsigned type of sign and magnitude."""
        return np.uint8 if self.m <= 7 else np.uint16

    def encode(self, x, axis: int = -1) -> Encoded:
        """Codes, scales and sub-block shifts of an array of floats, blocks along `axis`."""
        rows, shape, axis = float_rows(x, axis)
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
        """(scales, shifts, float64 steps) a block, a sub-block, a sub-block; step 0 where every code is 0."""
        sub = np.empty(flat.size // self.k2)
        kernels.block_maxima(flat, self.k2, sub)
        sub = sub.reshape(blocks, self.k1 // self.k2)
        top = sub.max(axis=1, initial=0.0)
        finite, some = np.isfinite(top), top > 0
        e = np.frexp(np.where(finite, top, 1.0))[1].astype(np.int64) - 1
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
        e = encoded.scales.astype(np.int64) - self.bias
        step = np.where(encoded.scales == self.nan_scale, np.nan, np.ldexp(1.0, e - (self.m - 1)))
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
        return pack_records(
            self.layout, encoded.codes, encoded.scales, encoded.shifts, self.d2, encoded.rows
        ).tobytes()

    def from_bytes(self, data: bytes, shape, axis: int = -1) -> Encoded:
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
