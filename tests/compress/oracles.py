"""Readers and writers of released layouts, from their definitions, with ml_dtypes; nothing of hwsim is imported."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

E4M3, E2M1 = ml_dtypes.float8_e4m3fn, ml_dtypes.float4_e2m1fn
TYPES = {
    "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "U8": np.uint8, "I8": np.int8, "I32": np.int32,
    "I64": np.int64, "F8_E4M3": E4M3, "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}  # fmt: skip


def write(path, tensors, metadata=None):
    """A safetensors file; arrays of ml_dtypes keep their type."""
    save_file({name: np.asarray(value) for name, value in tensors.items()}, path, metadata=metadata)


def read(path):
    """Name -> array in numpy's or ml_dtypes' type, by the definition of the file."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    data, found = raw[8 + length :], {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name != "__metadata__":
            a, b = entry["data_offsets"]
            found[name] = np.frombuffer(data[a:b], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def fp4(packed):
    """float64 of E2M1 codes, two per byte, the low half first. packed: uint8[..., n] -> [..., 2 n]."""
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)
    return halves.astype(np.uint8).view(E2M1).astype(np.float64)


def e8m0(codes):
    """float64 of E8M0 bytes."""
    return codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float64)


def gpt_oss(blocks, scales):
    """float32[..., K]."""
    values = fp4(blocks) * e8m0(scales)[..., None]
    return values.reshape(*blocks.shape[:-2], -1).astype(np.float32)


def nvfp4(packed, scales, factor=None, divisor=None):
    """float32: q s_b s_t, or q s_b / g, rounded once."""
    wide = np.repeat(scales.astype(np.float64), 16, axis=-1)
    values = fp4(packed) * wide
    values = values * np.float64(factor) if divisor is None else values / np.float64(divisor)
    return values.astype(np.float32)


def mxfp4(packed, scales):
    """float32 of blocks of 32."""
    return (fp4(packed) * np.repeat(e8m0(scales), 32, axis=-1)).astype(np.float32)


def tiles(codes, scales):
    """float32 of FP8 with a factor per 128 x 128."""
    n, k = codes.shape
    wide = np.repeat(np.repeat(scales.astype(np.float64), 128, axis=0), 128, axis=1)[:n, :k]
    return (codes.astype(np.float64) * wide).astype(np.float32)


def fields(words, bits):
    """int64[..., n 32 / bits]: the fields of 32-bit words, one by one."""
    flat = words.reshape(-1).astype(np.int64) & 0xFFFFFFFF
    out = [[int(w) >> at & ((1 << bits) - 1) for at in range(0, 32, bits)] for w in flat.tolist()]
    return np.array(out, np.int64).reshape(*words.shape[:-1], -1)


def packed_ints(words, scales, shape, bits, zero=None):
    """float32 of compressed-tensors' packed integers."""
    n, k = shape
    q = fields(words, bits)[:, :k] - (1 << (bits - 1))
    size = -(-k // scales.shape[1])
    if zero is not None:
        z = fields(np.ascontiguousarray(zero.T), bits)[:, :n].T - (1 << (bits - 1))
        q = q - np.repeat(z, size, axis=1)[:, :k]
    return (q * np.repeat(scales.astype(np.float64), size, axis=1)[:, :k]).astype(np.float32)


def gptq(qweight, qzeros, scales, g_idx, bits, shift=1):
    """float32[N, K] of GPTQ's words, value by value."""
    q = fields(np.ascontiguousarray(qweight.T), bits)  # [N, K]
    z = fields(qzeros, bits) + shift  # [G, N]
    out = np.empty(q.shape, np.float32)
    for n in range(q.shape[0]):
        for k in range(q.shape[1]):
            g = int(g_idx[k])
            out[n, k] = np.float32((int(q[n, k]) - int(z[g, n])) * float(scales[g, n]))
    return out


def awq(qweight, qzeros, scales):
    """float32[N, K] of AWQ's words: field i of a word is column (0 2 4 6 1 3 5 7)[i]."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def columns(words):
        found = fields(words, 4).reshape(words.shape[0], -1, 8)
        out = np.empty_like(found)
        for i, column in enumerate(order):
            out[..., column] = found[..., i]
        return out.reshape(words.shape[0], -1)

    q, z = columns(qweight), columns(qzeros)
    size = q.shape[0] // z.shape[0]
    wide_z, wide_s = np.repeat(z, size, axis=0), np.repeat(scales.astype(np.float64), size, axis=0)
    return ((q - wide_z) * wide_s).astype(np.float32).T
