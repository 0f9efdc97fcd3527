"""NVFP4 with a float32 scale per row in place of the tensor's: each row (token, output) is a tensor of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwsim.formats import kernels
from hwsim.formats.format import Encoded, divide_rounded, moved_shape, padded, present
from hwsim.formats.mx import encode_elements, finite_maxima

if TYPE_CHECKING:
    from hwsim.formats.nvfp4 import ScaledFormat


def encode_by_rows(form: ScaledFormat, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
    """Codes, E4M3 scales and row scales of float32 or float64[rows, k]: what each row is as a tensor of its own."""
    k, count = rows.shape[1], len(rows)
    whole = padded(rows, form.block)
    records = whole.shape[1] // form.block
    tops = finite_maxima(whole, form.block).max(axis=1, initial=0.0)
    s_t = row_scales(form, tops)
    maxima = np.empty(whole.size // form.block)
    kernels.block_maxima(whole.reshape(-1), form.block, maxima)
    finite = np.isfinite(maxima)
    quotients = np.where(finite, maxima, 0.0).reshape(count, records)
    divisors = np.repeat(form.table.max_normal * s_t.astype(np.float64), records).reshape(count, records)
    scales = np.empty((count, records), np.uint8)
    start = np.zeros(4, np.uint64)
    kernels.encode_quotients(quotients, records, 1, divisors, 0, 3, -6, 126, 126, 8, kernels.RNE, start, scales)
    scales = np.where(finite.reshape(count, records), scales, 0x7F).astype(np.uint8)
    s_b = np.where(scales == 0x7F, 0.0, form.scale_values[scales])
    codes = np.empty(whole.shape, np.uint8)
    encode_elements(form, whole, k, form.block, s_b * s_t.astype(np.float64)[:, None], form.table, codes)
    lead = moved_shape(shape, axis, 1)[:-1]
    return Encoded(
        form, shape, axis,
        np.ascontiguousarray(codes[:, :k]).reshape(*lead, k), scales.reshape(*lead, records),
        row_scales=s_t.reshape(lead),
    )  # fmt: skip


def row_scales(form: ScaledFormat, tops: np.ndarray) -> np.ndarray:
    """float32[rows]: s_t of each row's largest finite magnitude; 1 where it is 0 or underflows."""
    reach = int(448 * form.table.max_normal)
    shift = max(0, reach.bit_length() - 12)
    scales = divide_rounded(tops / 2**shift, reach >> shift, np.float32)
    return np.where(scales > 0, scales, np.float32(1))


def row_numbers(encoded: Encoded) -> np.ndarray:
    """float64[rows]."""
    return present(encoded.row_scales).reshape(encoded.rows).astype(np.float64)
