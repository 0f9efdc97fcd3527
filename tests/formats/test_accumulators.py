"""Accumulators that align and cut, as those of tensor cores, against rational arithmetic."""

from __future__ import annotations

import re
from fractions import Fraction as F
from pathlib import Path

import numpy as np
import pytest

from hwsim.formats import Aligned, get_format, matmul, product
from tests.formats import reference
from tests.formats.dots import MX, data, exact_values, fl32


def parts(v: F, fraction_bits: int, emin: int) -> tuple[int, int]:
    """(significand, exponent) of a value as hardware reads it: subnormals keep the least exponent."""
    e = max(reference.floor_log2(abs(v)), emin)
    return int(v * F(2) ** (fraction_bits - e)), e


def cut(v: F, unit: F) -> F:
    return (abs(v) // unit) * unit * (1 if v >= 0 else -1)


def to_zero(v: F, bits: int) -> F:
    if not v:
        return v
    return cut(v, F(2) ** (max(reference.floor_log2(abs(v)), -126) - bits))


def aligned_reference(products, keep: int, k: int, out: int, promotion: int) -> F:
    """products: (exact product, its exponent) or None for zero, in order."""
    acc, y = F(0), F(0)
    for start in range(0, len(products), k):
        terms = [p for p in products[start : start + k] if p is not None]
        if acc:
            terms.append((acc, max(reference.floor_log2(abs(acc)), -126)))
        if terms:
            unit = F(2) ** (max(e for _, e in terms) - keep)
            acc = to_zero(sum((cut(v, unit) for v, _ in terms), F(0)), out)
        if promotion and (start + k) % promotion == 0:
            y, acc = fl32(y + acc), F(0)
    return fl32(y + acc) if promotion else acc


@pytest.mark.parametrize("how", [Aligned(25), Aligned(24, k=16), Aligned(13, output_bits=13)])
def test_aligned_sums_of_subnormals(how):
    """The sum is cut at 2^-149 and its exponent counts as -126 there."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal((40, 96)) * 2.0 ** (rng.integers(-147, -120, (40, 1)) - rng.integers(0, 9, (40, 96)))
    a, w = get_format("fp32").encode(x.astype(np.float32)), get_format("bf16").encode(np.ones((1, 96), np.float32))
    y = matmul(a, w, how)
    for row, values in enumerate(exact_values(a)):
        products = [(v, max(reference.floor_log2(abs(v)), -126)) if v else None for v in values]
        want = aligned_reference(products, how.fraction_bits, how.k, how.output_bits, 0)
        assert F(float(y[row, 0])) == want


@pytest.mark.parametrize(
    "how", [Aligned(25), Aligned(13, output_bits=13), Aligned(10, k=16, promotion=64), Aligned(35)]
)
@pytest.mark.parametrize("name, m, emin", [("mxfp8_e4m3", 3, -6), ("mxfp8_e5m2", 2, -14), ("mxfp4_e2m1", 1, 0)])
def test_aligned_by_its_definition(name, m, emin, how):
    x, w = data(name, 3, 200, 9, 5), data(name, 3, 200, 10, 5)
    y = matmul(x, w, how)
    values, bits, _, _ = reference.ELEMENTS[MX[name]]
    half = 1 << (bits - 1)

    def exponent(encoded, row, i):
        v = values[encoded.codes[row, i] % half]
        return parts(v, m, emin)[1] + int(encoded.scales[row, i // 32]) - 127

    xs, ws = exact_values(x), exact_values(w)
    for r in range(3):
        for n in range(3):
            products = [
                (xs[r][i] * ws[n][i], exponent(x, r, i) + exponent(w, n, i)) if xs[r][i] * ws[n][i] else None
                for i in range(200)
            ]
            products += [None] * (-200 % 64)
            want = aligned_reference(products, how.fraction_bits, how.k, how.output_bits, how.promotion)
            assert F(float(y[r, n])) == want


def test_fp4_groups_by_their_definition():
    x, w = data("nvfp4", 3, 192, 11), data("nvfp4", 3, 192, 12)
    for how in (Aligned(35, k=64, group=16), Aligned(6, k=64, group=16)):
        y = matmul(x, w, how, tensor_scale=False)
        xs, ws = exact_values(x), exact_values(w)
        for r in range(3):
            for n in range(3):
                sums = []
                for j in range(12):
                    e = sum(
                        reference.floor_log2(reference.E4M3[s]) for s in (x.scales[r, j], w.scales[n, j])
                    )  # normal scales here
                    part = slice(16 * j, 16 * j + 16)
                    sums.append((sum(p * q for p, q in zip(xs[r][part], ws[n][part], strict=True)), e))
                want = aligned_reference(sums, how.fraction_bits, 4, 23, 0)
                assert F(float(y[r, n])) == want


def one_dot_each(name, accumulate, n, k, addend):
    """n dots of k elements of N(0,1) and a float32 addend each; and their exact values."""
    rng = np.random.default_rng(0)
    x, w = (get_format(name).encode(rng.standard_normal((n, k)).astype(np.float32)) for _ in range(2))
    c = (addend * rng.standard_normal((n, n))).astype(np.float32)
    got = [float(v) for v in np.diagonal(matmul(x, w, accumulate, tensor_scale=False, begin=c))]
    sides = zip(exact_values(x), exact_values(w), np.diagonal(c).tolist(), strict=True)
    return got, [sum((p * q for p, q in zip(a, b, strict=True)), F(c)) for a, b, c in sides]


def test_share_of_blackwell_mx_dots_that_differ():
    """Facts, section 5 (MMA-Sim's adder): 139 of 300 MXFP8 dots differ from exact-then-nearest, +-15 %.

    A dot of N(0,1) and nothing else fits a float32 nearly always; what is cut off is the addend.
    """
    for addend, low, high in ((2.0**-4, 139 * 0.85, 139 * 1.15), (0.0, 0, 3)):
        got, exact = one_dot_each("mxfp8", "blackwell_mx", 300, 32, addend)
        assert low <= sum(F(g) != fl32(e) for g, e in zip(got, exact, strict=True)) <= high


def test_blackwell_fp4_is_exact_then_cut():
    for addend in (0.0, 1e4):
        got, exact = one_dot_each("nvfp4", "blackwell_fp4", 200, 64, addend)
        assert sum(F(g) != to_zero(e, 23) for g, e in zip(got, exact, strict=True)) == 0


TABLE = re.findall(r"^    (\w+) +k=(\d+) (\w+) +(\d.*%)$", Path(product.__file__).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name, k, accumulate, shares", TABLE, ids=lambda v: v.split("%")[0].strip())
def test_shares_of_the_presets(name, k, accumulate, shares):
    """The table of PRESETS, measured."""
    n, k = 200 if name == "nvfp4" else 300, int(k)
    rng = np.random.default_rng(0)
    x, w = (get_format(name).encode(rng.standard_normal((n, k)).astype(np.float32)) for _ in range(2))
    dots = [sum(map(F.__mul__, a, b), F(0)) for a, b in zip(exact_values(x), exact_values(w), strict=True)]
    deviation = np.std([float(d) for d in dots])
    got = []
    for part in (0, 1 / 90, 1 / 6, 1):
        addends = (part * deviation * rng.standard_normal(n)).astype(np.float32)
        begin = np.repeat(addends[:, None], n, axis=1)
        sums = np.diagonal(matmul(x, w, accumulate, tensor_scale=False, begin=begin)).tolist()
        exact = [d + F(c) for d, c in zip(dots, addends.tolist(), strict=True)]
        for rounded in (fl32, lambda e: to_zero(e, 23)):
            got.append(round(100 * sum(F(s) != rounded(e) for s, e in zip(sums, exact, strict=True)) / n))
    assert got == [int(v) for v in re.findall(r"\d+", shares)]


@pytest.mark.parametrize(
    "name, accumulate, share, rms",
    [
        ("mxfp8", "hopper_fp8", "100 %", "5.4e-04"),
        ("mxfp8", Aligned(13, output_bits=13, promotion=128), "100 %", "1.3e-04"),
        ("mxfp8", "blackwell_mx", "33 %", "6.6e-08"),
        ("mxfp8", "fp32", "20 %", "3.9e-08"),
        ("mxfp4", "blackwell_mx", "0 %", "0.0e+00"),
        ("nvfp4", "blackwell_fp4", "0 %", "0.0e+00"),
    ],
    ids=lambda v: v if isinstance(v, str) else f"F{v.fraction_bits}",
)
def test_rows_of_1024_against_exact(name, accumulate, share, rms):
    """The line below that table, measured."""
    rng = np.random.default_rng(0)
    x, w = (get_format(name).encode(rng.standard_normal((300, 1024)).astype(np.float32)) for _ in range(2))
    got, exact = (matmul(x, w, how, tensor_scale=False).astype(float) for how in (accumulate, "exact"))
    assert f"{100 * np.mean(got != exact):.0f} %" == share
    assert f"{np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact**2)):.1e}" == rms


def test_the_table_names_every_preset():
    assert {row[2] for row in TABLE} == {*product.PRESETS, "fp32"}
