"""Dots that are exact, or rounded once a block, against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import Aligned, block_dot, get_format, matmul
from tests.formats import reference
from tests.formats.dots import FP8, MX, data, exact_values, fl32
from tests.formats.hard_blocks import hard_rows

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
