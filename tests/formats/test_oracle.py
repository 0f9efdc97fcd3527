"""Elements against ml_dtypes: every code, every midpoint, one ulp to either side; where it overflows ours saturates."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from hwsim.formats import get_format
from hwsim.formats.elements import E8M0_VALUES, element

ORACLE = {
    "mxfp8_e5m2": ml_dtypes.float8_e5m2, "mxfp8_e4m3": ml_dtypes.float8_e4m3fn,
    "mxfp6_e3m2": ml_dtypes.float6_e3m2fn, "mxfp6_e2m3": ml_dtypes.float6_e2m3fn,
    "mxfp4_e2m1": ml_dtypes.float4_e2m1fn,
}  # fmt: skip


def points(values, dtype):
    """Every value and midpoint of neighbours, values past the largest, and one ulp to either side of each."""
    values = np.unique([abs(v) for v in values if np.isfinite(v)])
    middles = (values[1:] + values[:-1]) / 2
    past = values[-1] + (values[-1] - values[-2]) * np.array([0.25, 0.5, 0.75, 1.0])
    p = np.concatenate([values, middles, past]).astype(dtype)
    p = np.concatenate([p, np.nextafter(p, dtype(0)), np.nextafter(p, dtype(1e30))])
    return np.concatenate([p, -p])


def encode_at_scale_one(name, p):
    """Codes of p under scale 2^0: each next to a value that fixes its block's scale."""
    form = get_format(name)
    blocks = np.zeros((len(p), 2), p.dtype)
    blocks[:, 0], blocks[:, 1] = p, 2.0**form.table.emax
    encoded = form.encode(blocks)
    assert (encoded.scales == 127).all()
    return encoded.codes[:, 0]


@pytest.mark.parametrize("name", ORACLE)
def test_float_elements(name):
    """float32 only: ml_dtypes rounds a float64 twice, through float32; the rational reference has that case."""
    e = element(get_format(name).element)
    p = points(e.values, np.float32)
    p = p[np.abs(p) < 2.0 ** (e.emax + 1)]  # beyond, the floor rule takes the next scale
    codes = encode_at_scale_one(name, p)
    with np.errstate(over="ignore"):
        oracle = p.astype(ORACLE[name])
    finite = np.isfinite(oracle.astype(np.float64))
    np.testing.assert_array_equal(codes[finite], oracle.view(np.uint8)[finite])
    saturated = np.where(np.signbit(p[~finite]), e.sign_bit, 0) | e.max_code
    np.testing.assert_array_equal(codes[~finite], saturated)
    assert (np.abs(p[~finite]) > e.max_normal).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mxint8(dtype):
    p = points(np.arange(128) / 64, dtype)
    p = p[np.abs(p) < 2]
    codes = encode_at_scale_one("mxint8", p)
    want = np.clip(np.rint(p.astype(np.float64) * 64), -127, 127).astype(np.int8).view(np.uint8)
    np.testing.assert_array_equal(codes, want)
    assert 0x80 not in codes


@pytest.mark.parametrize("name", ORACLE)
def test_every_code_decodes_and_encodes_to_itself(name):
    form = get_format(name)
    e = element(form.element)
    codes = np.array([c for c in range(1 << e.bits) if np.isfinite(e.values[c])], np.uint8)
    blocks = np.zeros((len(codes), 2), np.uint8)
    blocks[:, 0], blocks[:, 1] = codes, e.max_code
    for scale in (0, 1, 100, 127, 240 - e.emax, 254 - e.emax):
        body = np.concatenate([np.full((len(codes), 1), scale, np.uint8), pack(blocks, e.bits)], axis=1)
        encoded = form.from_bytes(body.tobytes(), (len(codes), 2))
        np.testing.assert_array_equal(encoded.codes, blocks)
        values = codes.view(ORACLE[name]).astype(np.float64) * E8M0_VALUES[scale]
        np.testing.assert_array_equal(encoded.decode()[:, 0], values.astype(np.float32))
        again = form.encode(encoded.decode())
        np.testing.assert_array_equal(again.codes, blocks)
        np.testing.assert_array_equal(again.scales, encoded.scales)


def pack(blocks: np.ndarray, bits: int) -> np.ndarray:
    """Rows of two codes and thirty zeros in whole bytes, least significant bit first."""
    word = blocks[:, 0].astype(np.uint32) | blocks[:, 1].astype(np.uint32) << np.uint32(bits)
    out = np.zeros((len(blocks), 32 * bits // 8), np.uint8)
    out[:, :2] = word.astype("<u2").view(np.uint8).reshape(-1, 2)
    return out


def test_every_e8m0_scale_is_reached():
    x = np.zeros((255, 32))
    x[:, 0] = np.ldexp(1.0, np.arange(255) - 127)
    encoded = get_format("mxint8").encode(x)
    np.testing.assert_array_equal(encoded.scales[:, 0], np.arange(255))
    oracle = np.arange(255, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    np.testing.assert_array_equal(encoded.decode()[:, 0], oracle.astype(np.float32))


@pytest.mark.parametrize("name", ["mxfp8", "mxint8", "nvfp4", "mx6", "int8", "int4_g128", "fp8", "bf16"])
def test_inputs_of_every_type(name):
    """float16 and bfloat16 encode as their float32 values do."""
    form, x = get_format(name), np.random.default_rng(2).standard_normal((3, 40))
    for half in (np.float16, ml_dtypes.bfloat16):
        narrow = x.astype(half)
        a, b = form.encode(narrow), form.encode(narrow.astype(np.float32))
        assert a.to_bytes() == b.to_bytes()
