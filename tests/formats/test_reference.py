"""All formats, scale rules and roundings against the rational reference, on hard blocks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import get_format
from tests.formats import reference
from tests.formats.hard_blocks import hard_rows, held, maxima

MX = {
    "mxfp8_e5m2": "E5M2", "mxfp8_e4m3": "E4M3", "mxfp6_e3m2": "E3M2", "mxfp6_e2m3": "E2M3", "mxfp4_e2m1": "E2M1",
    "mxint8": "INT8",
}  # fmt: skip
RULES = ["floor", "even", "rceil", "ceil"]
ROUNDINGS = ["rne", "away", "zero", "stochastic"]
POINTS = {"mx9": (7, 16, 8, 2, 1), "mx6": (4, 16, 8, 2, 1), "mx4": (2, 16, 8, 2, 1)}
OTHER_POINTS = [(3, 32, 8, 4, 2), (7, 16, 8, 16, 0), (5, 8, 5, 1, 3), (11, 16, 8, 2, 1), (1, 16, 8, 2, 4)]


def rows_of(key: str, dtype, rows: int = 3, k: int = 72, special: bool = True) -> np.ndarray:
    return hard_rows(np.random.default_rng(abs(hash_of(key))), rows, k, dtype, special)


def hash_of(key: str) -> int:
    return int.from_bytes(key.encode()[-6:], "little")


def check(encoded, x, codes, scales, decoded, shifts=None):
    np.testing.assert_array_equal(encoded.codes, np.array(codes))
    if scales is not None:
        np.testing.assert_array_equal(encoded.scales, np.array(scales))
    if shifts is not None:
        np.testing.assert_array_equal(encoded.shifts, np.array(shifts))
    got, want = encoded.decode(), np.array(decoded, np.float32)
    assert got.dtype == np.float32 and got.shape == x.shape
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got)[~np.isnan(got)], np.signbit(want)[~np.isnan(want)])
    data = encoded.to_bytes()
    assert len(data) == encoded.nbytes
    again = encoded.format.from_bytes(data, encoded.shape, encoded.axis)
    np.testing.assert_array_equal(again.codes, encoded.codes)
    np.testing.assert_array_equal(again.decode(), got)
    assert again.to_bytes() == data


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MX)
def test_mx(name, rule, rounding, dtype):
    x = rows_of(f"{name}{rule}{rounding}", dtype)
    want = reference.mx(x.tolist(), MX[name], 32, rule, rounding, seed=9)
    check(get_format(name, scale_rule=rule, rounding=rounding, seed=9).encode(x), x, *want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MX)
def test_mx_maxima(name, rule, dtype):
    x = maxima(dtype)[:: 1 if dtype == np.float32 else 5]
    check(get_format(name, scale_rule=rule).encode(x), x, *reference.mx(x.tolist(), MX[name], 32, rule, "rne"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MX)
def test_mx_at_length(name, rule, dtype):
    for i in range(8):
        x = rows_of(f"{i}{name}{rule}{i}", dtype, 16, 160)
        check(get_format(name, scale_rule=rule).encode(x), x, *reference.mx(x.tolist(), MX[name], 32, rule, "rne"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("four_over_six", [False, True])
def test_nvfp4(rounding, dtype, four_over_six):
    if four_over_six and rounding != "rne":
        return
    form = get_format("nvfp4", rounding=rounding, seed=5, four_over_six=four_over_six)
    for i in range(12):
        x = rows_of(f"nv{i}{rounding}", dtype, 3, 40)
        if i % 2:  # scales of one tensor near each other, so that most blocks have codes
            y = np.random.default_rng(i).standard_normal(x.shape)
            x = np.where(np.isfinite(x), y * 2.0 ** np.random.default_rng(i).integers(-6, 1, (3, 1)), x).astype(dtype)
        reach = 1536 if four_over_six else 2688
        codes, scales, s_t, decoded = reference.nvfp4(x.tolist(), rounding, 5, reach, four_over_six)
        got = form.encode(x)
        assert Fraction(float(got.tensor_scale)) == s_t
        check(got, x, codes, scales, decoded)


def test_nvfp4_ties_are_exact():
    """x = midpoint * s_b * s_t exactly, and one ulp to either side."""
    s_t, form = 2.0**-9 * 3, get_format("nvfp4")
    x = np.zeros((8, 16), np.float32)
    x[0, 0] = 2688 * s_t  # fixes s_t
    for row, s_b in enumerate([448.0, 1.125, 0.25, 2.0**-9, 1.875, 13.0, 208.0, 0.0625]):
        middles = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], np.float32) * np.float32(s_b * s_t)
        x[row, 1:8], x[row, 8] = middles, 6 * s_b * s_t
        x[row, 9:12] = np.nextafter(middles[:3], np.float32(9e9))
        x[row, 12:15] = -np.nextafter(middles[4:], np.float32(0))
    codes, scales, tensor, decoded = reference.nvfp4(x.tolist())
    assert tensor == Fraction(s_t)
    check(form.encode(x), x, codes, scales, decoded)
    check(form.encode(x.astype(np.float64)), x, codes, scales, decoded)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", ["nvfp4", "fp8_e4m3", "fp8_row", "int8"])
def test_float64_one_ulp_beside_every_turn(name, rounding):
    """A float64 quotient can land on a midpoint or a value that the exact quotient misses."""
    for top in (1.0, 1.7, 1.9375):
        s = {"nvfp4": np.float32(top / 6 / 448) * 448.0, "int8": float(np.float32(top / 127))}.get(
            name, float(np.float32(top / 448))
        )
        steps = np.arange(1, 64 if name == "int8" else 48) / (2.0 if name == "int8" else 8.0)
        exact = steps * float(s)
        turns = np.concatenate([np.nextafter(exact, 0), exact, np.nextafter(exact, 9e9)])
        x = np.resize(turns, (12, 16)) if name == "nvfp4" else turns[None, :]
        x = np.where(x < top, x, -x / 2**9)
        x[:, 0] = top
        if name == "nvfp4":
            codes, scales, _, decoded = reference.nvfp4(x.tolist(), rounding, 3)
        else:
            codes, _, decoded = reference.scaled(x.tolist(), name, rounding, 3)
            scales = None
        check(get_format(name, rounding=rounding, seed=3).encode(x), x, codes, scales, decoded)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("point", [*POINTS.values(), *OTHER_POINTS])
def test_bdr(point, rounding, dtype):
    m, k1, d1, k2, d2 = point
    named = {p: n for n, p in POINTS.items()}
    form = get_format(named.get(point, {"m": m, "k1": k1, "d1": d1, "k2": k2, "d2": d2}), rounding=rounding, seed=77)
    x = rows_of(f"bdr{point}{rounding}", dtype, 4, 88)
    codes, scales, shifts, decoded = reference.bdr(x.tolist(), *point, rounding, 77)
    check(form.encode(x), x, codes, scales, decoded, shifts if d2 else None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "fp8_row", "int8", "int4_g128"])
def test_scaled_dense(name, rounding, dtype):
    kind = {"int8": np.float32, "fp8_row": np.float32, "int4_g128": np.float16}.get(name)
    for i in range(3):
        x = rows_of(f"{i}{name}{rounding}{i}", dtype, 3, 150, special=name.startswith("fp8"))
        if i == 1:
            x = (np.random.default_rng(3).standard_normal(x.shape) * 2.0 ** -np.arange(3)[:, None]).astype(dtype)
        x = held(x) if name == "int4_g128" else x
        codes, scales, decoded = reference.scaled(x.tolist(), name, rounding, 3)
        got = get_format(name, rounding=rounding, seed=3).encode(x)
        check(got, x, codes, None, decoded)
        if kind is None:
            assert Fraction(float(got.tensor_scale)) == scales[0][0]
        else:
            stored = [Fraction(float(s)) for s in got.scales.view(kind).ravel()]
            assert stored == [s for row in scales for s in row]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("tile", [128, 1])
@pytest.mark.parametrize("n, k", [(130, 150), (3, 128), (1, 1), (128, 7)])
def test_fp8_block(n, k, tile, rounding, dtype):
    """Edges that cut tiles off; a tile of zeros, and one of tiny values among others; Inf and NaN."""
    x = rows_of(f"{n}{k}{tile}{rounding}", dtype, n, k)
    if n > 128:
        x[:128, 128:], x[128:] = 0, np.random.default_rng(n).standard_normal((n - 128, k))
        x[129, 3], x[0, 0], x[1, 1] = np.nan, np.inf, -np.inf
    codes, scales, decoded = reference.tiled(x.tolist(), tile, rounding, 3)
    got = get_format("fp8_block", tile=(tile, 128), rounding=rounding, seed=3).encode(x)
    check(got, x, codes, None, decoded)
    assert got.scales.dtype == np.float32 and got.scales.shape == (-(-n // tile), -(-k // 128))
    assert [[Fraction(float(s)) for s in row] for row in got.scales] == scales


@pytest.mark.parametrize("name, bits, emin", [("bf16", 7, -126), ("fp16", 10, -14), ("fp32", 23, -126)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wide(name, bits, emin, dtype):
    x = rows_of(f"wide{name}", dtype, 8, 160)
    most = {"bf16": 2.0**128 - 2.0**120, "fp16": 65504.0, "fp32": 2.0**128 - 2.0**104}[name]
    got = get_format(name).quantize(x)
    for v, g in zip(x.ravel().tolist(), got.ravel().tolist(), strict=True):
        if v != v:
            assert g != g
            continue
        rounded = None
        if abs(v) != float("inf"):
            rounded = reference.to_float(abs(Fraction(v)), bits, emin, Fraction(most), False)
        assert abs(g) == (float("inf") if rounded is None else float(rounded)) and (g < 0) <= (v < 0)


def test_float64_is_rounded_once():
    """Just above a bf16 tie by less than float32 sees: through float32 it would fall to the tie."""
    x = np.array([[1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8 - 2.0**-40, 1 + 3 * 2.0**-8 - 2.0**-40]])
    assert get_format("bf16").quantize(x).tolist() == [[1 + 2.0**-7, 1.0, 1 + 2.0**-7]]
    x = np.array([[448.0, 17 + 2.0**-45, 17 - 2.0**-45]])
    assert get_format("mxfp8").quantize(x).tolist() == [[448.0, 18.0, 16.0]]


@pytest.mark.parametrize("name", ["int8", "int4_g128"])
def test_integers_refuse_what_they_cannot_hold(name):
    with pytest.raises(InputError, match="Inf or NaN"):
        get_format(name).encode(np.array([1.0, np.inf]))


def test_an_int4_group_beyond_float16_is_refused():
    """65504 is the largest scale: 7 x 65504 = 458528 is stored, and the next float32 is an error."""
    most = np.float32(458528)
    assert get_format("int4_g128").quantize(np.array([most, -most])).tolist() == [most, -most]
    with pytest.raises(InputError, match="458528; write another format"):
        get_format("int4_g128").encode(np.array([np.nextafter(most, np.float32(1e9))]))
