"""Operands of dots and their exact values, by rational arithmetic that knows nothing of matrices or float64."""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np

from hwsim.formats import get_format
from tests.formats import reference

MX = {
    "mxfp8_e5m2": "E5M2", "mxfp8_e4m3": "E4M3", "mxfp6_e3m2": "E3M2", "mxfp6_e2m3": "E2M3", "mxfp4_e2m1": "E2M1",
    "mxint8": "INT8",
}  # fmt: skip
FP8 = {"fp8_e4m3": "E4M3", "fp8_row": "E4M3", "fp8_block": "E4M3", "fp8_e5m2": "E5M2"}


def exact_values(encoded) -> list[list[F]]:
    """The values inside the dot: codes by the reference's tables times block scales, without tensor and row scales."""
    name, k = encoded.format.name, encoded.row_length
    codes = encoded.codes.reshape(-1, k).tolist()
    if name in MX or name == "nvfp4":
        values, bits, _, _ = reference.ELEMENTS[MX.get(name, "E2M1")]
        half = 1 << (bits - 1)
        size = 16 if name == "nvfp4" else 32

        def value(c: int) -> F:
            if name == "mxint8":
                return F(c - 256 if c >= 128 else c, 64)
            return -values[c - half] if c >= half else values[c]

        def scale(s: int) -> F:
            return reference.E4M3[s] if name == "nvfp4" else F(2) ** (s - 127)

        scales = encoded.scales.reshape(len(codes), -1).tolist()
        return [[value(c) * scale(s[i // size]) for i, c in enumerate(r)] for r, s in zip(codes, scales, strict=True)]
    if name in FP8:
        values = reference.ELEMENTS[FP8[name]][0]
        return [[-values[c - 128] if c >= 128 else values[c] for c in r] for r in codes]
    if name == "int8":
        return [[F(c - 256 if c >= 128 else c) for c in r] for r in codes]
    if name == "int4_g128":
        scales = encoded.scales.view(np.float16).reshape(len(codes), -1).tolist()
        return [
            [(c - 16 if c >= 8 else c) * F(s[i // 128]) for i, c in enumerate(r)]
            for r, s in zip(codes, scales, strict=True)
        ]
    return [[F(v) for v in row] for row in encoded.decode().tolist()]  # BDR and wide formats decode exactly


def fl32(v: F) -> F:
    r = reference.fl32(abs(v), saturate=False)
    assert r is not None
    return r if v >= 0 else -r


def data(name, rows, k, seed, spread=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, k)) * 2.0 ** rng.integers(-spread, spread + 1, (rows, k // 8)).repeat(8, axis=1)
    return get_format(name).encode(x.astype(np.float32))
