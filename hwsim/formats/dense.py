"""Formats without a block scale, and int4 groups: fp32 bf16 fp16, fp8_e4m3, int8, int4_g128."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from hwsim.errors import InputError
from hwsim.formats import kernels
from hwsim.formats.elements import E4M3, INT4, Element
from hwsim.formats.format import (
    Encoded,
    Format,
    divide_rounded,
    float_rows,
    in_threads,
    largest_finite,
    moved_shape,
    padded,
    restore,
)
from hwsim.formats.layout import Layout, block_layout, dense_layout
from hwsim.formats.layout import layout as layout_of
from hwsim.formats.mx import decode_elements, encode_elements
from hwsim.formats.packing import pack_records, split_rows, unpack_records

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

    @cached_property
    def layout(self) -> Layout:
        """How it lies in memory."""
        return layout_of(self.kind)

    def encode(self, x, axis: int = -1) -> Encoded:
        """Bit patterns of an array of floats."""
        rows, shape, axis = float_rows(x, axis)
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

    def from_bytes(self, data: bytes, shape, axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, _, shape, axis = split_rows(self.layout, data, shape, axis)
        kind = np.dtype(_UNSIGNED[self.layout.element_bits])
        codes = np.frombuffer(body.tobytes(), kind.newbyteorder("<")).astype(kind)
        return Encoded(self, shape, axis, codes.reshape(moved_shape(shape, axis, shape[axis])))


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


@dataclass(frozen=True)
class ScaledDenseFormat(Format):
    """fp8_e4m3 (float32 scale amax / 448 a tensor), int8 (float32 scale amax / 127 a row) or int4_g128
    (float16 scale amax / 7 a group of 128): q = value / scale, rounded once from the exact quotient.

    A zero tensor, row or group, and one whose scale underflows, has scale 1 and zero codes.
    """

    kind: Literal["fp8_e4m3", "int8", "int4_g128"] = "int8"
    group: int = 128
    label: str = ""

    @cached_property
    def layout(self) -> Layout:
        """How it lies in memory."""
        if self.kind == "fp8_e4m3":
            return dense_layout(self.kind, "E4M3", 8, tensor=4)
        if self.kind == "int8":
            return dense_layout(self.kind, "INT8", 8, row=4)
        return block_layout(self.label or f"int4_g{self.group}", "INT4", 4, self.group, 16)

    @property
    def table(self) -> Element:
        """The element whose integers are the codes' values; int8 counts in ones."""
        return {"fp8_e4m3": E4M3, "int8": INT8_ROWS, "int4_g128": INT4}[self.kind]

    def encode(self, x, axis: int = -1) -> Encoded:
        """Codes and scales of an array of floats. raises: InputError for Inf or NaN in int8 and int4."""
        rows, shape, axis = float_rows(x, axis)
        k = rows.shape[1]
        if self.kind != "fp8_e4m3" and not np.isfinite(rows).all():
            raise InputError(f"{self.name}: the array holds Inf or NaN, which {self.name} cannot store")
        if self.kind == "int4_g128":
            whole = padded(rows, self.group)
            top = np.abs(whole.reshape(len(rows), whole.shape[1] // self.group, self.group)).max(axis=-1, initial=0.0)
            scales = _scale(top, 7, np.float16)
            codes = self._codes(whole, k, self.group, scales)
            return self._encoded(shape, axis, codes, scales.view(np.uint16), None)
        if self.kind == "int8":
            scales = _scale(np.abs(rows).max(axis=1, initial=0.0), 127, np.float32)
            codes = self._codes(rows, k, max(k, 1), scales[:, None])
            return self._encoded(shape, axis, codes, scales.view(np.uint32)[:, None], None)
        scale = _scale(np.array([largest_finite(rows)]), 448, np.float32)
        codes = self._codes(rows, k, max(k, 1), np.broadcast_to(scale, (len(rows), 1)))
        codes[np.isnan(rows)] = E4M3.nan_code
        return self._encoded(shape, axis, codes, None, scale[0])

    def _codes(self, whole: np.ndarray, k: int, block: int, scales: np.ndarray) -> np.ndarray:
        codes = np.zeros(whole.shape, np.uint8)
        if whole.size:
            encode_elements(self, whole, k, block, scales.astype(np.float64), self.table, codes)
        return np.ascontiguousarray(codes[:, :k])

    def _encoded(self, shape, axis: int, codes, scales, tensor) -> Encoded:
        lead = moved_shape(shape, axis, 1)[:-1]
        scales = None if scales is None else scales.reshape(lead if self.kind == "int8" else (*lead, scales.shape[1]))
        return Encoded(self, shape, axis, codes.reshape(*lead, shape[axis]), scales, None, tensor)

    def scales(self, encoded: Encoded) -> np.ndarray:
        """float64[rows, scales of a row]: what the codes' values are multiplied with."""
        if self.kind == "fp8_e4m3":
            return np.full((encoded.rows, 1), float(encoded.tensor_scale))
        kind = np.float32 if self.kind == "int8" else np.float16
        scales_a_row = 1 if self.kind == "int8" else -(-encoded.row_length // self.group)
        return encoded.scales.view(kind).astype(np.float64).reshape(encoded.rows, scales_a_row)

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
        if self.kind == "int8":
            heads = encoded.scales.astype("<u4").reshape(rows, 1).view(np.uint8)
            return np.concatenate([heads, codes], axis=1).tobytes()
        return codes.tobytes() + np.float32(encoded.tensor_scale).astype("<f4").tobytes()

    def from_bytes(self, data: bytes, shape, axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, tail, shape, axis = split_rows(self.layout, data, shape, axis)
        k = shape[axis]
        if self.kind == "int4_g128":
            codes, scales, _ = unpack_records(self.layout, body, k, np.uint8, np.uint16, 0, 0)
            return self._encoded(shape, axis, codes, scales, None)
        if self.kind == "int8":
            scales = np.ascontiguousarray(body[:, :4]).view("<u4").astype(np.uint32)
            return self._encoded(shape, axis, body[:, 4:].copy(), scales, None)
        return self._encoded(shape, axis, body.copy(), None, np.frombuffer(tail, "<f4")[0].astype(np.float32))


INT8_ROWS = Element("INT8", 8, 0, 0, 0)
"""int8's element: the two's complement integer itself, where MXINT8 counts in 2^-6."""


def _scale(top: np.ndarray, n: int, dtype) -> np.ndarray:
    scale = divide_rounded(top, n, dtype)
    return np.where(scale > 0, scale, dtype(1))
