"""The specs' values against rational arithmetic, and against `formats.matmul`, which the engine must equal."""

import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from hwsim import formats
from hwsim.formats.catalog import get_format
from hwsim.formats.elements import E2M1, E4M3, E5M2, ELEMENTS, INT8
from hwsim.specs import FP32_INF, FP32_NAN, Accumulator, BlockDot, BlockSum, Operand, Side, add_fp32


def as_float(bits: int) -> np.float32:
    return np.array(bits, np.uint32).view(np.float32)[()]


def nearest_even(exact: Fraction) -> int:
    """Bits of the float32 nearest to `exact`, found by bisection over all floats: no rounding arithmetic in it."""
    sign, target = int(exact < 0) << 31, abs(exact)
    if target >= Fraction(2) ** 128 - Fraction(2) ** 103:
        return sign | FP32_INF
    low, high = 0, FP32_INF
    while high - low > 1:
        middle = (low + high) // 2
        value = Fraction(float(as_float(middle)))
        low, high = (middle, high) if value <= target else (low, middle)
    below = Fraction(float(as_float(low)))
    above = Fraction(2) ** 128 if high == FP32_INF else Fraction(float(as_float(high)))
    gap = (target - below) - (above - target)
    return sign | (low if gap < 0 or (gap == 0 and low % 2 == 0) else high)


def test_add_is_exact_then_rounded_once():
    draw = random.Random(1)
    for _ in range(6000):
        field = draw.choice([0, 1, 2, 100, 127, 253, 254])
        acc = draw.getrandbits(1) << 31 | field << 23 | draw.choice([0, 1, 0x7FFFFF, draw.getrandbits(23)])
        total = draw.choice([1, -1]) * draw.getrandbits(draw.randint(1, 70))
        exponent = field - 150 + draw.choice([0, 1, -1, -24, -25, draw.randint(-70, 40)])
        exact = Fraction(float(as_float(acc))) + Fraction(total) * Fraction(2) ** exponent
        got = add_fp32(acc, BlockSum(total, exponent))
        if total == 0:
            assert got == acc
        else:
            assert got == (nearest_even(exact) if exact else 0), (hex(acc), total, exponent)


@pytest.mark.parametrize(
    ("acc", "block", "want"),
    [
        (0x80000000, BlockSum(0, 0), 0x80000000),
        (0, BlockSum(-1, -400), 0x80000000),
        (0x3F800000, BlockSum(-1, 0), 0),
        (0xBF800000, BlockSum(1, 0), 0),
        (FP32_INF, BlockSum(5, 0), FP32_INF),
        (FP32_INF, BlockSum(0, 0, inf=-1), FP32_NAN),
        (0x80000000 | FP32_INF, BlockSum(0, 0, inf=-1), 0x80000000 | FP32_INF),
        (FP32_NAN, BlockSum(1, 0), FP32_NAN),
        (0xFFC12345, BlockSum(1, 0), FP32_NAN),
        (1, BlockSum(0, 0, nan=True), FP32_NAN),
        (0x7F7FFFFF, BlockSum(1, 103), FP32_INF),
        (0x7F7FFFFF, BlockSum(1, 102), 0x7F7FFFFF),
        (0, BlockSum(3, -150), 2),
        (0, BlockSum(1, -150), 0),
    ],
)
def test_special_sums(acc, block, want):
    assert add_fp32(acc, block) == want


def mx(element, scale="e8m0") -> Operand:
    return Operand(element, scale)


FORMATS = {
    "mxfp8_e4m3": mx(E4M3),
    "mxfp8_e5m2": mx(E5M2),
    "mxfp6_e3m2": mx(ELEMENTS["E3M2"]),
    "mxfp6_e2m3": mx(ELEMENTS["E2M3"]),
    "mxfp4_e2m1": mx(E2M1),
    "mxint8": mx(INT8),
    "nvfp4": mx(E2M1, "e4m3"),
    "mx9": Operand(None, "e8m0", 7, 2, 1),
    "mx6": Operand(None, "e8m0", 4, 2, 1),
    "mx4": Operand(None, "e8m0", 2, 2, 1),
}


def encode(name: str, values):
    return get_format(name).encode(values.astype(np.float32))


def blocks(encoded, row: int, operand: Operand, lanes: int):
    """The row's blocks of `lanes` elements as the spec takes them."""
    form, size = encoded.format, encoded.shape[1]
    codes = np.asarray(encoded.codes).reshape(encoded.shape[0], -1)[row]
    scales = np.asarray(encoded.scales).reshape(encoded.shape[0], -1)[row]
    block = form.layout.block
    for start in range(0, size, lanes):
        shifts = ()
        if operand.sub_block:
            all_shifts = np.asarray(encoded.shifts).reshape(encoded.shape[0], -1)[row]
            shifts = [int(s) for s in all_shifts[start // operand.sub_block : (start + lanes) // operand.sub_block]]
        yield Side([int(c) for c in codes[start : start + lanes]], int(scales[start // block]), shifts)


@pytest.mark.parametrize(
    ("x_name", "w_name"),
    [*((name, name) for name in FORMATS), ("mxfp8_e4m3", "mxfp4_e2m1"), ("mxint8", "mx9"), ("nvfp4", "mxfp8_e5m2")],
)
def test_dot_and_sum_equal_matmul(x_name, w_name):
    """Rows of mixed magnitude, zeros, overflow and NaN: bit for bit what `formats.matmul` gives."""
    draw = np.random.default_rng(3)
    x = draw.normal(size=(4, 128)) * 2.0 ** draw.integers(-12, 12, (4, 128))
    w = draw.normal(size=(5, 128)) * 2.0 ** draw.integers(-12, 12, (5, 128))
    x[1, 32:64], x[2] = 0, x[2] * 1e30
    w[1] *= 1e15
    w[4, 100] = np.nan
    x, w = encode(x_name, x), encode(w_name, w)
    lanes = min(x.format.layout.block, w.format.layout.block)
    a, b = FORMATS[x_name], FORMATS[w_name]
    spec = Accumulator(BlockDot(a, b, lanes))
    want = formats.matmul(x, w, tensor_scale=False)
    for i in range(4):
        for j in range(5):
            pairs = zip(blocks(x, i, a, lanes), blocks(w, j, b, lanes), strict=True)
            got = as_float(spec(spec.dot(*pair) for pair in pairs))
            assert np.array_equal(got, want[i, j], equal_nan=True), (i, j, got, want[i, j])


def test_bit_7_of_an_nvfp4_scale_is_ignored():
    """As `formats` decodes it: the byte is an E4M3 number without a sign, 0x7F and 0xFF are NaN."""
    draw = np.random.default_rng(4)
    operand, lanes = FORMATS["nvfp4"], 16
    dot = BlockDot(operand, operand, lanes)
    plain = encode("nvfp4", draw.normal(size=(1, 128 * lanes)))
    (codes,), scales = plain.codes.reshape(1, -1), np.arange(128, dtype=np.uint8).reshape(1, -1)
    one = Side([2, *[0] * (lanes - 1)], 0x38)  # a single 1 under the scale 1
    for bit in (0, 0x80):
        encoded = replace(plain, scales=scales | bit, tensor_scale=np.float32(1))
        decoded = encoded.format.decode(encoded).reshape(-1, lanes)[:, 0]
        for scale, code, want in zip(scales[0].tolist(), codes[::lanes].tolist(), decoded.tolist(), strict=True):
            got = dot(Side([code, *[0] * (lanes - 1)], scale | bit), one)
            assert got.nan if scale == 0x7F else Fraction(got.total) * Fraction(2) ** got.exponent == Fraction(want)
