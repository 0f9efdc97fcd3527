"""Formats without a block scale, and int4 groups: fp32 bf16 fp16, fp8_e4m3 fp8_e5m2 fp8_row, int8, int4_g128."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np

from hwsim.errors import InputError
from hwsim.formats import families, kernels
from hwsim.formats.elements import E4M3, E5M2, INT4, Element
from hwsim.formats.explain import BlockStep, ElementStep, dice, element_steps, magnitudes, number, pieces, top
from hwsim.formats.format import (
    Encoded,
    Format,
    amax_scales,
    in_threads,
    largest_finite,
    moved_shape,
    padded,
    present,
    restore,
    tensor_scale_problems,
)
from hwsim.formats.layout import Layout
from hwsim.formats.mx import decode_elements, encode_elements, finite_maxima
from hwsim.formats.names import layout
from hwsim.formats.operand import Operand, element_operand, float_operand
from hwsim.formats.packing import pack_records, split_rows, unpack_records

_WIDEST = float(np.finfo(np.float16).max)
_UNSIGNED = {32: np.uint32, 16: np.uint16}


@dataclass(frozen=True)
class WideFormat(Format):
    """fp32, bf16 or fp16: IEEE values, unscaled; overflow is Inf, rounding is to nearest even.

    source: IEEE 754; bfloat16 is the upper half of a binary32.
    """

    kind: Literal["fp32", "bf16", "fp16"] = "bf16"

    def check(self) -> None:
        """Refuse what cannot be. raises: InputError."""
        super().check()
        if self.rounding != "rne":
            raise InputError(f"rounding: {self.kind} rounds to nearest even only; write rne")

    def options(self) -> dict[str, str]:
        """None: they round to nearest even."""
        return {}

    def own_layout(self) -> Layout:
        """The layout of the kind."""
        return layout(self.kind)

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Bit patterns of an array of floats."""
        with np.errstate(over="ignore"):
            if self.kind == "fp16":
                codes = rows.astype(np.float16).view(np.uint16)
            elif self.kind == "fp32":
                codes = rows.astype(np.float32).view(np.uint32)
            else:
                codes = _bfloat16(rows)
        return Encoded(self, shape, axis, codes.reshape(moved_shape(shape, axis, rows.shape[1])))

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape."""
        codes = encoded.codes
        if self.kind == "bf16":
            values = (codes.astype(np.uint32) << np.uint32(16)).view(np.float32)
        else:
            values = codes.view(np.float16 if self.kind == "fp16" else np.float32).astype(np.float32)
        return restore(values, encoded.shape, encoded.axis)

    def pack(self, encoded: Encoded) -> bytes:
        """The packed bytes."""
        return encoded.codes.astype(encoded.codes.dtype.newbyteorder("<")).tobytes()

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, _, shape, axis = split_rows(self.layout, data, shape, axis)
        kind = np.dtype(_UNSIGNED[self.layout.element_bits])
        codes = np.frombuffer(body.tobytes(), kind.newbyteorder("<")).astype(kind)
        return Encoded(self, shape, axis, codes.reshape(moved_shape(shape, axis, shape[axis])))

    def operand(self, encoded: Encoded) -> Operand:
        """The values themselves, without scales."""
        fraction_bits = {"fp32": 23, "bf16": 7, "fp16": 10}[self.kind]
        emin = -14 if self.kind == "fp16" else -126
        return float_operand(self.decode(encoded).astype(np.float64), fraction_bits, emin)

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """The row as one block without a scale."""
        steps = []
        for x, code, back in zip(row.tolist(), encoded.codes.tolist(), decoded.tolist(), strict=True):
            words = "exact" if back == x or math.isnan(x) else "to the nearest, ties to even"
            if math.isinf(back) and not math.isinf(x):
                words = "beyond the largest value: infinite"
            quotient = Fraction(x) if math.isfinite(x) else None
            steps.append(ElementStep(x, quotient, words, code, self.layout.element_bits, back))
        return "", [BlockStep(top(row), ("no scale",), tuple(steps))]


def _bfloat16(rows: np.ndarray) -> np.ndarray:
    """uint16 patterns, rounded once: float64 passes through a float32 rounded to odd."""
    single = rows.astype(np.float32, copy=False)
    bits = single.view(np.uint32)
    if rows.dtype == np.float64:
        bits = np.where(np.isinf(single) & np.isfinite(rows), bits - np.uint32(1), bits)  # beyond float32
        back = bits.view(np.float32).astype(np.float64)
        too_far = (np.abs(back) > np.abs(rows)) & np.isfinite(rows)
        bits = np.where(too_far, bits - np.uint32(1), bits)  # one step toward zero
        inexact = (bits.view(np.float32).astype(np.float64) != rows) & np.isfinite(rows)
        bits = bits | inexact.astype(np.uint32)
    out = np.empty(bits.shape, np.uint16)
    flat, flat_out = bits.reshape(-1), out.reshape(-1)
    in_threads(flat.size, 1, None, lambda a, b: kernels.round_bfloat16(flat[a:b], flat_out[a:b]))
    return out


INT8_ROWS = Element("INT8", 8, 0, 0, 0)
"""int8's element: the two's complement integer itself, where MXINT8 counts in 2^-6."""

_TABLES = {"fp8_e4m3": E4M3, "fp8_e5m2": E5M2, "fp8_row": E4M3, "int8": INT8_ROWS, "int4_g128": INT4}


@dataclass(frozen=True)
class ScaledDenseFormat(Format):
    """q = value / scale, rounded once from the exact quotient; scale = amax / largest element.

    fp8_e4m3, fp8_e5m2: float32 scale per tensor, amax / 448 and amax / 57344. fp8_row, int8: float32 scale per row,
    amax / 448 and amax / 127. int4_g128: float16 scale per group of 128, amax / 7.
    tensor_scale: of fp8_e4m3 and fp8_e5m2, given as a positive float32; None: from the largest finite magnitude.
    A zero tensor, row or group, and one whose scale underflows, has scale 1 and zero codes. In FP8 amax is that of the
    finite values, infinities saturate and NaN has its code; int8 and int4 refuse both.
    """

    kind: Literal["fp8_e4m3", "fp8_e5m2", "fp8_row", "int8", "int4_g128"] = "int8"
    group: int = 128
    tensor_scale: float | None = None

    def check(self) -> None:
        """Refuse what cannot be. raises: InputError with every problem."""
        super().check()
        problems = tensor_scale_problems(self.tensor_scale)
        if self.tensor_scale is not None and not self._by_tensor:
            problems.append(f"tensor_scale: {self.kind} has no scale per tensor; leave it out")
        if problems:
            raise InputError(*problems)

    def fitted(self, parts: Iterable[np.ndarray]) -> ScaledDenseFormat:
        """With the tensor scale of the largest finite magnitude of all parts."""
        if not self._by_tensor or self.tensor_scale is not None:
            return self
        top = max(map(largest_finite, parts), default=0.0)
        scale = amax_scales(np.array([top]), int(self.table.max_normal), np.float32)
        return replace(self, tensor_scale=float(scale[0]))

    def own_layout(self) -> Layout:
        """The layout of the kind, and of the group where it is not 128."""
        if self.kind == "int4_g128" and self.group != 128:
            return families.int4_groups(self.group)
        return layout(self.kind)

    @property
    def table(self) -> Element:
        """The element whose integers are the codes' values; int8 counts in ones."""
        return _TABLES[self.kind]

    def options(self) -> dict[str, str]:
        """A tensor's scale can be given where there is one."""
        return {n: words for n, words in super().options().items() if n != "tensor_scale" or self._by_tensor}

    @property
    def _by_tensor(self) -> bool:
        """Whether the tensor has one scale."""
        return self.kind in ("fp8_e4m3", "fp8_e5m2")

    @property
    def _by_row(self) -> bool:
        """Whether each row has one scale of its own."""
        return self.kind in ("fp8_row", "int8")

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Codes and scales of an array of floats. raises: InputError for Inf or NaN in int8 and int4."""
        k = rows.shape[1]
        e, most = self.table, int(self.table.max_normal)
        if e.is_integer and not np.isfinite(rows).all():
            raise InputError(f"{self.name}: the array holds Inf or NaN, which {self.name} cannot store")
        if self.kind == "int4_g128":
            whole = padded(rows, self.group)
            maxima = finite_maxima(whole, self.group)
            scales = amax_scales(maxima, most, np.float16)
            if maxima.size and maxima.max() > _WIDEST * most:
                what = f"a group's largest magnitude is {maxima.max():.6g}, and {most} times float16's largest scale"
                raise InputError(f"{self.name}: {what} is {_WIDEST * most:.0f}; write another format, or divide by 2^n")
            codes = self._codes(whole, k, self.group, scales)
            return self._encoded(shape, axis, codes, scales.view(np.uint16), None)
        if self._by_row:
            tops = finite_maxima(rows, k)[:, 0] if k else np.zeros(len(rows))
            scales = amax_scales(tops, most, np.float32)
        else:
            if self.tensor_scale is None:
                scales = amax_scales(np.array([largest_finite(rows)]), most, np.float32)
            else:
                scales = np.array([self.tensor_scale], np.float32)
        codes = self._codes(rows, k, max(k, 1), np.broadcast_to(scales[:, None], (len(rows), 1)))
        if not e.is_integer:
            codes[np.isnan(rows)] = e.nan_code
        if self._by_row:
            return self._encoded(shape, axis, codes, scales.view(np.uint32)[:, None], None)
        return self._encoded(shape, axis, codes, None, scales[0])

    def _codes(self, whole: np.ndarray, k: int, block: int, scales: np.ndarray) -> np.ndarray:
        codes = np.zeros(whole.shape, np.uint8)
        if whole.size:
            encode_elements(self, whole, k, block, scales.astype(np.float64), self.table, codes)
        return np.ascontiguousarray(codes[:, :k])

    def _encoded(
        self,
        shape: tuple[int, ...],
        axis: int,
        codes: np.ndarray,
        scales: np.ndarray | None,
        tensor: np.float32 | None,
    ) -> Encoded:
        lead = moved_shape(shape, axis, 1)[:-1]
        scales = None if scales is None else scales.reshape(lead if self._by_row else (*lead, scales.shape[1]))
        return Encoded(self, shape, axis, codes.reshape(*lead, shape[axis]), scales, None, tensor)

    def scales(self, encoded: Encoded) -> np.ndarray:
        """float64[rows, scales per row]: the factors of the codes' values."""
        if encoded.scales is None:
            return np.full((encoded.rows, 1), encoded.tensor_number)
        kind = np.float32 if self._by_row else np.float16
        scales_per_row = 1 if self._by_row else -(-encoded.row_length // self.group)
        return present(encoded.scales).view(kind).astype(np.float64).reshape(encoded.rows, scales_per_row)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape."""
        block = self.group if self.kind == "int4_g128" else max(encoded.row_length, 1)
        return decode_elements(encoded, np.array(self.table.values), self.scales(encoded), block)

    def pack(self, encoded: Encoded) -> bytes:
        """The packed bytes."""
        rows = encoded.rows
        if self.kind == "int4_g128":
            return pack_records(self.layout, encoded.codes, encoded.scales, None, 0, rows).tobytes()
        codes = encoded.codes.reshape(rows, encoded.row_length)
        if self._by_row:
            heads = present(encoded.scales).astype("<u4").reshape(rows, 1).view(np.uint8)
            return np.concatenate([heads, codes], axis=1).tobytes()
        return codes.tobytes() + np.array(encoded.tensor_scale, "<f4").tobytes()

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, tail, shape, axis = split_rows(self.layout, data, shape, axis)
        k = shape[axis]
        if self.kind == "int4_g128":
            codes, scales, _ = unpack_records(self.layout, body, k, np.uint8, np.uint16, 0, 0)
            return self._encoded(shape, axis, codes, scales, None)
        if self._by_row:
            scales = np.ascontiguousarray(body[:, :4]).view("<u4").astype(np.uint32)
            return self._encoded(shape, axis, body[:, 4:].copy(), scales, None)
        return self._encoded(shape, axis, body.copy(), None, np.frombuffer(tail, "<f4")[0].astype(np.float32))

    def operand(self, encoded: Encoded) -> Operand:
        """Elements; a tensor's or row's scale comes after the last block, a group's is inside the dot."""
        scales = self.scales(encoded)
        if self.kind == "int4_g128":
            return element_operand(encoded, self.table, self.group, scales, scale_bits=11)  # float16 has 11 bits
        after = np.broadcast_to(scales[:, 0], encoded.rows).astype(np.float32)
        return element_operand(encoded, self.table, after=after)

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """One block per group, or the row as one block."""
        e, table = self.table, magnitudes(self.table)
        groups = self.kind == "int4_g128"
        negative = [*table, Fraction(8)] if groups else None  # the least integer has no positive counterpart
        scales = [Fraction(s) for s in self.scales(encoded)[0].tolist()]
        finite = np.where(np.isfinite(row), np.abs(row), 0.0)
        cut = pieces(self.group if groups else len(row), row, encoded.codes, decoded, dice(self, len(row)), finite)
        blocks = []
        for s, (xs, codes, back, rs, sizes) in zip(scales, cut, strict=True):
            largest = float(sizes.max())
            words = f"scale {number(float(s))}"
            if self.tensor_scale is not None:
                words += ", given"
            elif largest > 0:
                words += f" = float{16 if groups else 32}(maximum / {number(float(table[-1]))})"
            steps = element_steps(self, xs, [s] * len(xs), table, e.bits, codes, back, rs, negative)
            blocks.append(BlockStep(largest, (words,), steps))
        if groups:
            return "", blocks
        return f"one scale for the {'row' if self._by_row else 'tensor'}", blocks
