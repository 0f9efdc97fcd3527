"""Given tensor scales, square tiles and own elements under E4M3 or FP16 scales, against rational arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from hwsim.formats import get_format
from tests.formats import reference
from tests.formats.hard_blocks import held
from tests.formats.test_reference import ROUNDINGS, check, rows_of

DTYPES = [np.float32, np.float64]
# name: (exponent bits, fraction bits), beside the elements of the reference
OWN = {"E3M0": (3, 0), "E4M2": (4, 2), "E2M2": (2, 2)}


def table(name: str) -> list[Fraction]:
    """Magnitudes of an element, ascending."""
    if name not in OWN:
        return reference.ELEMENTS[name][0]
    x, m = OWN[name]
    return reference.minifloat(x, m, 2 ** (x - 1) - 1, (1 << (x + m)) - 1)


def two_level(rows, values, block, s_t, rounding, seed, tile=1):
    """(codes, scales, decoded) under a tensor scale; `tile` rows share each block's E4M3 scale."""
    bits = 1 + (len(values) - 1).bit_length()
    dice = reference.randoms(rows, rounding, seed)
    parts = [reference.blocks(row, block) for row in rows]
    codes, scales, decoded = ([[] for _ in rows] for _ in range(3))
    for first, b in itertools.product(range(0, len(rows), tile), range(len(parts[0]))):
        together = range(first, min(first + tile, len(rows)))
        shared = [x for r in together for x in parts[r][b]]
        finite = all(map(np.isfinite, shared))
        top = max(abs(Fraction(x)) for x in shared) if finite else Fraction(0)
        s = reference.nearest_code(top / (values[-1] * s_t), reference.E4M3, "rne", 0) if finite else 0x7F
        d = reference.E4M3[s] * s_t if finite else Fraction(0)
        for r in together:
            random = [*dice[r], *[0] * block][b * block :]
            row = [
                reference.element_code(x, d, values, bits, False, rounding, n) if d else 0
                for x, n in zip(parts[r][b], random, strict=False)
            ]
            codes[r] += row
            scales[r].append(s)
            decoded[r] += [reference.signed(c, values, bits, False, d) if finite else float("nan") for c in row]
    k = len(rows[0])
    return [row[:k] for row in codes], scales, [row[:k] for row in decoded]


def own_scale(rows, values) -> Fraction:
    """The float32 tensor scale that takes the largest finite magnitude to 448 times the element's largest."""
    return reference.fl32(max(reference.finite_sizes(x for row in rows for x in row)) / (448 * values[-1])) or Fraction(
        1
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("s_t", [1.0, float(np.float32(0.0123)), 2.0**-100, float(np.float32(3e30))])
def test_nvfp4_under_a_given_scale(s_t, rounding, dtype):
    """One-level scales (1), one from calibration, and scales by which every block saturates or underflows."""
    form = get_format("nvfp4", tensor_scale=s_t, rounding=rounding, seed=5)
    plain = np.random.default_rng(1).standard_normal((3, 56)).astype(dtype)
    for x in (rows_of(f"given{s_t}{rounding}", dtype, 3, 56), plain):
        check(form.encode(x), x, *two_level(x.tolist(), table("E2M1"), 16, Fraction(s_t), rounding, 5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nvfp4_square_tiles(rounding, dtype):
    """Tiles cut at both edges; one tile holds Inf or NaN."""
    x = np.random.default_rng(2).standard_normal((37, 40)) * np.exp2(np.random.default_rng(3).integers(-9, 3, (37, 40)))
    x = x.astype(dtype)
    x[20, 3], x[21, 4] = np.inf, np.nan
    values = table("E2M1")
    s_t = own_scale(x.tolist(), values)
    got = get_format("nvfp4", tile=16, rounding=rounding, seed=5).encode(x)
    assert Fraction(float(got.tensor_scale)) == s_t
    check(got, x, *two_level(x.tolist(), values, 16, s_t, rounding, 5, tile=16))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    "element, block", [("E4M3", 32), ("E5M2", 16), ("E2M3", 8), ("E3M0", 16), ("E4M2", 24), ("E2M2", 5)]
)
def test_own_elements_under_e4m3_scales(element, block, rounding, dtype):
    values = table(element)
    form = get_format({"element": element, "block": block, "scale": "e4m3"}, rounding=rounding, seed=7)
    plain = np.random.default_rng(4).standard_normal((4, 75)).astype(dtype)
    for x in (rows_of(f"{element}{rounding}", dtype, 3, 75), plain):
        s_t = own_scale(x.tolist(), values)
        got = form.encode(x)
        assert Fraction(float(got.tensor_scale)) == s_t
        check(got, x, *two_level(x.tolist(), values, block, s_t, rounding, 7))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2"])
@pytest.mark.parametrize("scale", [1.0, float(np.float32(0.0123)), 2.0**-100])
def test_fp8_under_a_given_scale(scale, name, rounding, dtype):
    values = reference.ELEMENTS[name[4:].upper()][0]
    x = rows_of(f"{name}{rounding}{scale}", dtype, 3, 50, special=False)
    s, dice = Fraction(scale), reference.randoms(x.tolist(), rounding, 3)
    codes = [
        [reference.element_code(v, s, values, 8, False, rounding, n) for v, n in zip(row, numbers, strict=True)]
        for row, numbers in zip(x.tolist(), dice, strict=True)
    ]
    decoded = [[reference.signed(c, values, 8, False, s) for c in row] for row in codes]
    got = get_format(name, tensor_scale=scale, rounding=rounding, seed=3).encode(x)
    check(got, x, codes, None, decoded)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("block", [64, 20])
def test_own_groups_of_int4(block, rounding, dtype):
    """-8 to 7 under fl16(amax / 7)."""
    x = held(rows_of(f"q{block}{rounding}", dtype, 3, 150, special=False))
    values = [Fraction(i) for i in range(9)]
    dice = reference.randoms(x.tolist(), rounding, 3)
    codes, decoded, scales = [], [], []
    for row, numbers in zip(x.tolist(), dice, strict=True):
        row_codes, row_values = [], []
        for b, xs in enumerate(reference.blocks(row, block)):
            s = reference.fl16(max(abs(Fraction(v)) for v in xs) / 7) or Fraction(1)
            scales.append(s)
            for v, n in zip(xs, [*numbers, *[0] * block][b * block :], strict=False):
                most = values if reference.is_negative(v) else values[:8]
                code = reference.element_code(v, s, most, 4, True, rounding, n)
                row_codes.append(code)
                row_values.append(reference.signed(code, values, 4, True, s))
        codes.append(row_codes[:150])
        decoded.append(row_values[:150])
    got = get_format({"element": "INT4", "block": block, "scale": "fp16"}, rounding=rounding, seed=3).encode(x)
    check(got, x, codes, None, decoded)
    assert [Fraction(float(s)) for s in got.scales.view(np.float16).ravel()] == scales
