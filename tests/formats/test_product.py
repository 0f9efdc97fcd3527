"""Dots and accumulators against rational arithmetic that knows nothing of matrices or float64."""

from __future__ import annotations

import re
from fractions import Fraction as F
from pathlib import Path

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import Aligned, block_dot, get_format, matmul, product
from tests.formats import reference
from tests.formats.hard_blocks import hard_rows

MX = {
    "mxfp8_e5m2": "E5M2", "mxfp8_e4m3": "E4M3", "mxfp6_e3m2": "E3M2", "mxfp6_e2m3": "E2M3", "mxfp4_e2m1": "E2M1",
    "mxint8": "INT8",
}  # fmt: skip
FP8 = {"fp8_e4m3": "E4M3", "fp8_row": "E4M3", "fp8_block": "E4M3", "fp8_e5m2": "E5M2"}
BDR = {"mx9": (7, 16, 8, 2, 1), "mx4": (2, 16, 8, 2, 1)}


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


PAIRS = [(a, b) for i, a in enumerate(MX) for b in list(MX)[i:]]
OTHERS = [
    ("nvfp4", "nvfp4"), ("nvfp4", "mxfp8_e4m3"), ("mx9", "mx9"), ("mx9", "mxint8"), ("mx4", "bf16"), ("bf16", "bf16"),
    ("fp8_e4m3", "fp8_e5m2"), ("fp8_row", "fp8_row"), ("fp8_row", "bf16"),
    ("fp32", "fp32"), ("fp16", "mxfp4_e2m1"), ("int8", "int8"), ("int8", "int4_g128"), ("int4_g128", "bf16"),
]  # fmt: skip
BLOCKS = {"nvfp4": 16, "mx9": 16, "mx4": 16, "int4_g128": 128, "int8": 0, "bf16": 0, "fp32": 0, "fp16": 0}
BLOCKS |= dict.fromkeys(FP8, 0)


def block_of(a, b):
    return min((s for s in (BLOCKS.get(a, 32), BLOCKS.get(b, 32)) if s), default=32)


@pytest.mark.parametrize("a, b", PAIRS + OTHERS)
def test_block_dot_is_exact(a, b):
    x, w = data(a, 3, 136, 1), data(b, 3, 136, 2)
    totals, exponents = block_dot(x, w)
    block = block_of(a, b)
    for row, (xs, ws) in enumerate(zip(exact_values(x), exact_values(w), strict=True)):
        for j in range(totals.shape[1]):
            part = slice(j * block, (j + 1) * block)
            want = sum((p * q for p, q in zip(xs[part], ws[part], strict=True)), F(0))
            assert totals[row, j] * F(2) ** int(exponents[row, j]) == want


@pytest.mark.parametrize("a, b", PAIRS + OTHERS)
def test_fp32_rounds_once_a_block(a, b):
    x, w = data(a, 3, 264, 3), data(b, 4, 264, 4)
    y = matmul(x, w, tensor_scale=False)
    total = matmul(x, w, "exact", tensor_scale=False)
    block, xs, ws = block_of(a, b), exact_values(x), exact_values(w)
    for m in range(3):
        for n in range(4):
            products = [p * q for p, q in zip(xs[m], ws[n], strict=True)]
            acc = F(0)
            for j in range(0, len(products), block):
                acc = fl32(acc + sum(products[j : j + block]))
            assert F(float(y[m, n])) == acc
            assert F(float(total[m, n])) == fl32(sum(products))


@pytest.mark.parametrize("name", ["mxfp8_e5m2", "bf16", "fp32", "nvfp4"])
def test_cancellation_and_ties(name):
    """Rows whose sums cancel or fall on midpoints, where a float64 sum alone would go wrong."""
    rng = np.random.default_rng(5)
    big = rng.choice([1.0, 1.5, 3.0, 2.0**12, 2.0**24, 2.0**24 + 2], (6, 64)) * rng.choice([1, -1], (6, 64))
    big[:, 1::2] = -big[:, ::2] * (1 + rng.choice([0, 0, 2.0**-7], (6, 32)))
    tiny = rng.choice([0.0, 2.0**-30, 1.0, 2.0**-60], (6, 64))
    x = get_format(name).encode((big + tiny).astype(np.float32))
    w = get_format(name).encode(rng.choice([1.0, 2.0, 2.0**-13], (6, 64)).astype(np.float32))
    y, total = matmul(x, w, tensor_scale=False), matmul(x, w, "exact", tensor_scale=False)
    block, xs, ws = block_of(name, name), exact_values(x), exact_values(w)
    for m in range(6):
        for n in range(6):
            products = [p * q for p, q in zip(xs[m], ws[n], strict=True)]
            acc = F(0)
            for j in range(0, 64, block):
                acc = fl32(acc + sum(products[j : j + block]))
            assert F(float(y[m, n])) == acc
            assert F(float(total[m, n])) == fl32(sum(products))


@pytest.mark.parametrize("unit", [1.0, 2.0**-100, 2.0**-126, 2.0**100])
def test_sums_a_hair_from_midpoints(unit):
    """Half a float32 step and then a term far below what float64 keeps, in one block and in the next ones."""
    rng = np.random.default_rng(7)
    form, n = get_format("fp32"), 400
    x = np.zeros((n, 96))
    x[:, 0] = (1 + 2.0**-23 * rng.integers(0, 4, n)) * rng.choice([1, -1], n)
    half, third = rng.integers(1, 96, n), rng.integers(1, 96, n)
    x[np.arange(n), half] = 2.0**-24 * rng.choice([1, -1], n)
    tiny = 2.0 ** -rng.integers(26, 149, n) * rng.choice([1, -1, 0], n)
    x[np.arange(n), third] += np.where(third == half, 0, tiny)
    x[:, 95] += np.where(rng.random(n) < 0.3, -x[:, 0], 0)
    a, w = form.encode((x * unit).astype(np.float32)), form.encode(np.ones((1, 96), np.float32))
    y, total = matmul(a, w), matmul(a, w, "exact")
    for row, values in enumerate(exact_values(a)):
        acc = F(0)
        for j in range(0, 96, 32):
            acc = fl32(acc + sum(values[j : j + 32]))
        assert F(float(y[row, 0])) == acc
        assert F(float(total[row, 0])) == fl32(sum(values))


def test_exact_keeps_what_two_float64_lose():
    """2^-140 decides a tie after 2^-70 came and went: 140 bits apart, in blocks of their own."""
    x = np.zeros((2, 192), np.float32)
    x[:, [0, 32, 64, 96, 128]] = 1, 2.0**-24, 2.0**-70, 2.0**-140, -(2.0**-70)
    x[1, 96] = -(2.0**-140)
    form = get_format("fp32")
    y = matmul(form.encode(x), form.encode(np.ones((1, 192), np.float32)), "exact")
    assert y[:, 0].tolist() == [1 + 2.0**-23, 1.0]


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


def test_hard_rows_anywhere_in_the_range():
    """Exponents from end to end: overflow to Inf, subnormal sums, NaN blocks."""
    rng = np.random.default_rng(6)
    for name in ("mxfp8_e5m2", "mxint8", "mx9"):
        x = get_format(name).encode(hard_rows(rng, 4, 64, np.float32))
        w = get_format(name).encode(hard_rows(rng, 4, 64, np.float32))
        y = matmul(x, w)
        xs, ws = x.decode(), w.decode()
        block = block_of(name, name)
        for m in range(4):
            for n in range(4):
                acc = 0.0
                for j in range(0, 64, block):
                    part = slice(j, j + block)
                    if not np.isfinite(xs[m, part]).all() or not np.isfinite(ws[n, part]).all():
                        acc = np.nan
                    elif np.isfinite(acc):
                        pairs = zip(xs[m, part].tolist(), ws[n, part].tolist(), strict=True)
                        exact = F(acc) + sum(F(p) * F(q) for p, q in pairs)
                        acc = reference.float32_of(abs(exact), exact < 0)
                np.testing.assert_array_equal(y[m, n], np.float32(acc))


TILED = [("fp8_block", "fp8_block"), ("bf16", "fp8_block"), ("fp32", "fp8_block"), ("mxfp8_e4m3", "fp8_block"),
         ("nvfp4", "fp8_block"), ("fp8_block", "fp8_row")]  # fmt: skip


def block_values(encoded, block: int) -> list[list[tuple[list[F], F]]]:
    """[row][dot block]: (elements without scales, the scale of the block) by the codes."""
    name, k = encoded.format.name, encoded.row_length
    values = exact_values(encoded)
    if name == "fp8_block":
        tile = encoded.format.tile[0]
        tiles = encoded.scales.tolist()
        scales = [[F(tiles[r // tile][j // 128]) for j in range(0, k, block)] for r in range(len(values))]
    elif name in ("nvfp4", *MX):  # those values hold their scales: take them out again
        size = BLOCKS.get(name, 32)
        codes = encoded.scales.tolist()
        scales = [
            [reference.E4M3[row[j // size]] if name == "nvfp4" else F(2) ** (row[j // size] - 127)
             for j in range(0, k, block)] for row in codes
        ]  # fmt: skip
        values = [[v / scales[r][i // block] for i, v in enumerate(row)] for r, row in enumerate(values)]
    else:
        scales = [[F(1)] * -(-k // block) for _ in values]
    return [
        [(row[j * block : (j + 1) * block], s) for j, s in enumerate(each)]
        for row, each in zip(values, scales, strict=True)
    ]


@pytest.mark.parametrize("hard", [False, True], ids=["plain", "cancelling"])
@pytest.mark.parametrize("a, b", TILED)
def test_fp8_block_rounds_each_block(a, b, hard):
    """acc = fl32(acc + fl32(exact integer sum x fl32(s_w s_x))), blocks in ascending k; scales of any 24 bits."""
    rng = np.random.default_rng(11)
    x, w = rng.standard_normal((4, 300)), rng.standard_normal((131, 300))
    if hard:  # sums that cancel but for their last bits, next to elements far below
        x[:, 1::2] = -x[:, ::2] * (1 + rng.choice([0, 2.0**-7, 2.0**-20], (4, 150)))
        w[:, 1::2] = w[:, ::2]
        w *= 2.0 ** rng.integers(-9, 3, w.shape)
    left = get_format(a, tile=(1, 128)) if a == "fp8_block" else get_format(a)
    x, w = left.encode(x.astype(np.float32)), get_format(b).encode(w.astype(np.float32))
    block = min(BLOCKS.get(a, 32) or 128, 128)
    xs, ws = block_values(x, block), block_values(w, block)
    y, total = matmul(x, w, tensor_scale=False), matmul(x, w, "exact", tensor_scale=False)
    for m in range(4):
        for n in (0, 1, 64, 127, 128, 130):
            sums = [
                sum(map(F.__mul__, p, q), F(0)) * fl32(s * t)
                for (p, s), (q, t) in zip(xs[m], ws[n], strict=True)
            ]  # fmt: skip
            acc = F(0)
            for each in sums:
                acc = fl32(acc + fl32(each))
            assert F(float(y[m, n])) == acc
            assert F(float(total[m, n])) == fl32(sum(sums))
    one = get_format(b).encode(w.decode()[:4])
    totals, exponents = block_dot(x, one)
    for m, (left, right) in enumerate(zip(block_values(x, block), block_values(one, block), strict=True)):
        for j, ((p, s), (q, t)) in enumerate(zip(left, right, strict=True)):
            assert totals[m, j] * F(2) ** int(exponents[m, j]) == sum(map(F.__mul__, p, q), F(0)) * fl32(s * t)


def test_fp8_block_rounds_halves_to_even():
    """A block's product with its scale on a float32 midpoint, and one bit to either side of it."""
    w = np.zeros((3, 128), np.float32)
    form = get_format("fp8_block", tile=(1, 128))
    sides = [form.encode(np.tile([[448.0] + [0.0] * 127], (1, 1)))]
    for s in (1 + 2.0**-23, 1 + 3 * 2.0**-23, 1 + 5 * 2.0**-23):
        w[:, 0], w[:, 1], w[:, 2] = 448, 3, [0, 1, 2]
        codes = get_format("fp8_block").encode(w)
        scaled = codes.format.from_bytes(codes.to_bytes()[:-4] + np.float32(s).tobytes(), w.shape)
        (x,) = sides
        y = matmul(form.from_bytes(b"\x38" * 128 + np.float32(1).tobytes(), (1, 128)), scaled)
        for n in range(3):
            assert F(float(y[0, n])) == fl32((448 + 3 + n) * F(s))
        assert F(float(matmul(x, scaled)[0, 0])) == fl32(F(448 * 448) * F(s))


def test_fp8_block_beyond_float32_and_nan():
    form = get_format("fp8_block", tile=(1, 128))
    x = form.encode(np.array([[3e38, 1.0], [1.0, np.nan], [448.0, 7.0]], np.float32))
    y = matmul(x, form.encode(np.array([[3e38, 1.0], [448.0, 2.0]], np.float32)))
    assert y[0, 0] == np.inf and np.isnan(y[1]).all() and y[2, 1] == 448 * 448 + 7 * 2
    with pytest.raises(InputError, match="write fp32 or exact"):
        matmul(x, x, "hopper_fp8")


def test_infinite_elements():
    one = get_format("fp16")
    x = one.encode(np.array([[np.inf, 1.0], [np.inf, -np.inf], [0.0, 1.0]], np.float32))
    w = one.encode(np.array([[1.0, 1.0], [0.0, 1.0]], np.float32))
    for accumulate in ("fp32", "exact", Aligned(25)):
        y = matmul(x, w, accumulate)
        np.testing.assert_array_equal(y, np.array([[np.inf, np.nan], [np.nan, np.nan], [1, 1]], np.float32))
        assert (y.view(np.uint32)[np.isnan(y)] == 0x7FC00000).all()


def test_scales_after_the_last_block():
    x, w = data("nvfp4", 3, 64, 7), data("int8", 4, 64, 8)
    y, bare = matmul(x, w), matmul(x, w, tensor_scale=False)
    after = np.float32(x.tensor_scale) * w.scales.view(np.float32)
    np.testing.assert_array_equal(y, bare * after[None, :])
    plain = x.decode().astype(np.float64) @ w.decode().astype(np.float64).T
    np.testing.assert_allclose(y, plain, rtol=1e-4)


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


def test_sums_begin_where_asked():
    x, w = data("mxfp4_e2m1", 3, 96, 13), data("mxfp4_e2m1", 4, 96, 14)
    c = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    got, total = matmul(x, w, begin=c), matmul(x, w, "exact", begin=c)
    xs, ws = exact_values(x), exact_values(w)
    for m in range(3):
        for n in range(4):
            products = [p * q for p, q in zip(xs[m], ws[n], strict=True)]
            acc = F(float(c[m, n]))
            assert F(float(total[m, n])) == fl32(acc + sum(products))
            for j in range(0, 96, 32):
                acc = fl32(acc + sum(products[j : j + 32]))
            assert F(float(got[m, n])) == acc


@pytest.mark.parametrize(
    "x, w, options, message",
    [
        ((2, 32), (2, 64), {}, "rows of 32"),
        ((2, 2, 32), (2, 32), {}, "write a matrix"),
        ((2, 32), (2, 32), {"accumulate": "fp31"}, "did you mean fp32"),
        ((2, 32), (2, 32), {"accumulate": Aligned(25, k=64, group=64)}, "does not divide"),
    ],
)
def test_errors(x, w, options, message):
    with pytest.raises(InputError, match=message):
        matmul(get_format("mxfp8").encode(np.ones(x)), get_format("mxfp8").encode(np.ones(w)), **options)


def test_blocks_that_do_not_nest():
    a = get_format({"element": "E2M1", "block": 24, "scale": "e8m0"}).encode(np.ones((1, 96)))
    with pytest.raises(InputError, match="do not nest"):
        matmul(a, get_format("mxfp8").encode(np.ones((1, 96))))
    for bad in ({"fraction_bits": 0}, {"fraction_bits": 25, "group": 5}, {"fraction_bits": 25, "promotion": 33}):
        with pytest.raises(InputError):
            Aligned(**bad)
