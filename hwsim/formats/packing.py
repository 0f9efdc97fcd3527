"""Codes, scales and shifts to packed bytes and back, for every format whose record is scale, shifts, elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwsim.errors import InputError
from hwsim.formats import kernels
from hwsim.formats.format import moved_shape, padded, per_row
from hwsim.formats.layout import Layout


def _as_rows(a: np.ndarray | None, rows: int, dtype: npt.DTypeLike) -> np.ndarray:
    if a is None or not a.size:
        return np.zeros((rows, 0), dtype)
    return per_row(a, rows)


def pack_records(
    layout: Layout, codes: np.ndarray, scales: np.ndarray | None, shifts: np.ndarray | None, shift_bits: int, rows: int
) -> np.ndarray:
    """uint8[rows, row_nbytes without the row scale]: the records of each row."""
    k = codes.shape[-1]
    whole = padded(codes.reshape(rows, k), layout.block)
    out = np.zeros((rows, layout.row_nbytes(k) - layout.row_scale_bytes), np.uint8)
    shifts = _as_rows(shifts, rows, np.uint8)
    records = whole.shape[1] // layout.block
    sub_blocks = shifts.shape[1] // records if records else 0
    scale_bits = layout.scale_bits - sub_blocks * shift_bits
    scales = _as_rows(scales, rows, np.uint8)
    kernels.pack_rows(whole, layout.element_bits, scales, scale_bits, shifts, shift_bits, layout.block, sub_blocks, out)
    return out


def unpack_records(
    layout: Layout,
    data: np.ndarray,
    k: int,
    code_type: npt.DTypeLike,
    scale_type: npt.DTypeLike,
    sub_blocks: int,
    shift_bits: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes[rows, k], scales[rows, blocks], shifts[rows, blocks * sub_blocks]) of packed rows."""
    rows, records = data.shape[0], -(-k // layout.block)
    codes = np.zeros((rows, records * layout.block), code_type)
    scales = np.zeros((rows, records if layout.scale_bits else 0), scale_type)
    shifts = np.zeros((rows, records * sub_blocks), np.uint8)
    scale_bits = layout.scale_bits - sub_blocks * shift_bits
    kernels.unpack_rows(
        data, layout.element_bits, scales, scale_bits, shifts, shift_bits, layout.block, sub_blocks, codes
    )
    return np.ascontiguousarray(codes[:, :k]), scales, shifts


def split_rows(
    layout: Layout, data: bytes, shape: Sequence[int], axis: int
) -> tuple[np.ndarray, bytes, tuple[int, ...], int]:
    """(uint8[rows, bytes of a row], the bytes after the last row, shape, axis >= 0) of packed data.

    raises: InputError when the length does not fit the shape.
    """
    shape = tuple(int(n) for n in shape)
    if not shape or not -len(shape) <= axis < len(shape):
        raise InputError(f"axis {axis} does not exist in an array of shape {shape}")
    axis %= len(shape)
    k = shape[axis]
    rows = math.prod(moved_shape(shape, axis, 1))
    wanted = layout.array_nbytes(moved_shape(shape, axis, k))
    if len(data) != wanted:
        raise InputError(f"{layout.name}: {len(data)} bytes given, shape {shape} along axis {axis} needs {wanted}")
    row = layout.codes_nbytes(k)
    body = np.frombuffer(data, np.uint8, rows * row).reshape(rows, row)
    return body, bytes(data[body.size :]), shape, axis
