"""Codes and scales as separate arrays in the types of ml_dtypes, and block scales in the order of tensor cores.

    codes, scales, tensor_scale = typed(encoded)      # float4_e2m1fn[n, k], float8_e8m0fnu[n, k / 32], None
    encoded = from_typed(get_format("mxfp4"), codes, scales)
    data = swizzled(scales)                           # tiles of 128 x 4, 512 bytes each
    scales = unswizzled(data, rows, columns)

source: NVIDIA cuBLAS, "1D Block Scaling Factors Layout", for the order of scales.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.errors import InputError
from hwsim.extras import missing
from hwsim.formats.format import Encoded, Format

_CODES = {
    "E4M3": "float8_e4m3fn", "E5M2": "float8_e5m2", "E2M3": "float6_e2m3fn", "E3M2": "float6_e3m2fn",
    "E2M1": "float4_e2m1fn", "BF16": "bfloat16",
}  # fmt: skip
_NATIVE = {"FP32": np.float32, "FP16": np.float16, "INT8": np.int8}


class Typed(NamedTuple):
    """An encoded array as a framework holds it.

    codes: [..., k] in the type of the element, the blocked axis last; INT4 as ml_dtypes.int4.
    scales: [..., blocks] of E8M0, E4M3, float16 or float32, or None. tensor_scale: float32 or None.
    """

    codes: np.ndarray
    scales: np.ndarray | None
    tensor_scale: np.float32 | None


def typed(encoded: Encoded) -> Typed:
    """The arrays of an `Encoded` without a copy where the bits are the same.

    raises: InputError for BDR, seeds, codebooks and own elements, whose codes are no type; InputError without
        ml_dtypes.
    """
    layout = encoded.format.layout
    if encoded.shifts is not None or layout.kind == "seed" or encoded.row_scales is not None:
        raise InputError(f"{encoded.format.name}: its codes and scales are not two arrays; write to_bytes()")
    codes, element = encoded.codes, layout.element
    if element in _CODES:
        values = codes.view(_type(_CODES[element]))
    elif element in _NATIVE:
        values = codes.view(_NATIVE[element])
    elif element == "INT4":
        values = (codes.astype(np.int8) - ((codes & 8) << 1).astype(np.int8)).astype(_type("int4"))
    else:
        raise InputError(f"{encoded.format.name}: {element} is no type of ml_dtypes; write encoded.codes")
    tensor = None if encoded.tensor_scale is None else np.float32(encoded.tensor_scale)
    if encoded.scales is None:
        return Typed(values, None, tensor)
    name = {1: "float8_e8m0fnu" if tensor is None else "float8_e4m3fn"}.get(encoded.scales.dtype.itemsize)
    if name:
        return Typed(values, encoded.scales.view(_type(name)), tensor)
    return Typed(values, encoded.scales.view({2: np.float16, 4: np.float32}[encoded.scales.dtype.itemsize]), tensor)


def from_typed(
    form: Format,
    codes: np.ndarray,
    scales: np.ndarray | None = None,
    tensor_scale: float | None = None,
    axis: int = -1,
) -> Encoded:
    """The inverse of `typed`: an `Encoded` of arrays in ml_dtypes' types, or in unsigned integers of the same bits.

    codes: [..., k], the blocked axis last; axis: where it is in the array that `decode` returns.
    raises: InputError for arrays that are not those of the format.
    """
    lead = codes.shape[:-1]
    axis = axis % codes.ndim
    shape = (*lead[:axis], codes.shape[-1], *lead[axis:])
    stored = form.stored(shape, axis)
    bits = _bits(codes, stored.codes.kinds[0])
    kind = stored.scales.kinds[0] if stored.scales else ""
    scale_bits = None if scales is None or not kind else _bits(scales, kind)
    tensor = None if tensor_scale is None else np.float32(tensor_scale)
    return Encoded(form, shape, axis, bits, scale_bits, None, tensor)


def _bits(a: np.ndarray, kind: str) -> np.ndarray:
    """The array's bits in a type; 4-bit integers lose their sign extension."""
    if a.dtype.name == "int4":
        return a.astype(np.int8).view(np.uint8) & np.uint8(15)
    whole = np.ascontiguousarray(a)
    if whole.dtype.itemsize != np.dtype(kind).itemsize:
        raise InputError(f"array of {a.dtype}: write the type of the format's element, or {kind}")
    return whole.view(kind)


def _type(name: str) -> np.dtype[np.generic]:
    try:
        import ml_dtypes
    except ImportError:
        raise missing("arrays in small types", "ml_dtypes", "arrays") from None
    found: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
    return found


def swizzled(scales: np.ndarray) -> np.ndarray:
    """uint8[bytes]: block scales of a matrix in tiles of 128 rows x 4 columns, padded with zeros to whole tiles.

    scales: one byte each, [rows, blocks]. The scale (r, c) of a tile is its byte 16 (r mod 32) + 4 (r div 32) + c;
    tiles of the same rows follow one another.
    raises: InputError for an array that is no matrix of bytes.
    """
    if scales.ndim != 2 or scales.dtype.itemsize != 1:
        raise InputError(f"scales of shape {scales.shape} and type {scales.dtype}: write a matrix of one byte each")
    rows, columns = scales.shape
    padded = np.zeros((-(-rows // 128) * 128, -(-columns // 4) * 4), np.uint8)
    padded[:rows, :columns] = np.ascontiguousarray(scales).view(np.uint8)
    tiles = padded.reshape(-1, 4, 32, padded.shape[1] // 4, 4)  # [row group, r div 32, r mod 32, column group, c]
    return np.ascontiguousarray(tiles.transpose(0, 3, 2, 1, 4)).reshape(-1)


def unswizzled(data: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """uint8[rows, columns]: the inverse of `swizzled`. raises: InputError for another number of bytes."""
    groups, across = -(-rows // 128), -(-columns // 4)
    flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    if flat.size != 512 * groups * across:
        raise InputError(f"{flat.size} bytes: scales of {rows} x {columns} take {512 * groups * across} in tiles")
    tiles = flat.reshape(groups, across, 32, 4, 4).transpose(0, 3, 2, 1, 4)
    return np.ascontiguousarray(tiles.reshape(groups * 128, across * 4)[:rows, :columns])
