"""Dot products of encoded rows: exact inside a dot block, then an accumulator that has a name.

source: OCP MX v1.0, section 6 (Dot, DotGeneral); MMA-Sim (arXiv 2511.10909) for the aligned sums of tensor cores.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce

import numpy as np

from hwsim.errors import InputError, nearest
from hwsim.formats import _dot_kernels as kernels
from hwsim.formats.format import Encoded, in_threads
from hwsim.formats.operand import Operand, dot_block, operand, whole_rows


@dataclass(frozen=True)
class Aligned:
    """The accumulator of a tensor core: products and sum align to the largest exponent, are cut toward zero below
    `fraction_bits` and added; the sum is cut toward zero to float32.

    fraction_bits: F. k: elements per instruction. group: elements whose products are summed exactly before
    aligning (fixed-point formats); 1: each product is aligned by itself. output_bits: fraction bits of the result.
    promotion: elements after which the sum is added to a float32 one (nearest even) and starts again at 0; 0: never.
    """

    fraction_bits: int
    k: int = 32
    group: int = 1
    output_bits: int = 23
    promotion: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.fraction_bits <= 40 or self.k < 1 or self.group < 1 or self.k % self.group:
            raise InputError(f"{self}: write fraction_bits 1 to 40 and a group that divides k")
        if not 1 <= self.output_bits <= 23 or self.promotion < 0 or self.promotion % self.k:
            raise InputError(f"{self}: write output_bits 1 to 23 and a promotion that is a multiple of k")


PRESETS: dict[str, Aligned] = {
    "hopper_fp8": Aligned(13, output_bits=13),
    "blackwell_mx": Aligned(25),
    "blackwell_fp4": Aligned(35, k=64, group=16),
}
"""Tensor cores by name. source: MMA-Sim (arXiv 2511.10909), table of fraction bits and output roundings.

Share of dots of N(0,1) whose float32 differs from the exact dot rounded to nearest / cut toward zero, by the addend C
with which the sum begins: N(0,1) times a share of the dots' standard deviation (300 dots, NVFP4 200, seed 0;
`test_shares_of_the_presets` measures every figure). A dot alone fits a float32; what is cut off is the addend.

    formats, preset                       C = 0            1/90            1/6               1
    mxfp8 k=32 hopper_fp8           69 % / 69 %   100 % / 100 %   100 % / 100 %   100 % / 100 %
    mxfp8 k=32 blackwell_mx          0 % /  0 %    43 % /  12 %    31 % /   2 %    14 % /   1 %
    mxfp4 k=32 blackwell_mx          0 % /  0 %    41 % /  14 %    31 % /   4 %    15 % /   0 %
    nvfp4 k=64 blackwell_fp4         0 % /  0 %    48 % /   0 %    37 % /   0 %    20 % /   0 %
    mxfp8 k=32 fp32                  0 % /  0 %     0 % /  48 %     0 % /  31 %     0 % /  14 %

Rows of 1024 against `exact` (300 x 300), share that differs and rms of the difference over rms of the result:
hopper_fp8 100 %, 5.4e-4 (promotion=128: 1.3e-4); blackwell_mx on MXFP8 33 %, 6.6e-8; fp32 on MXFP8 20 %, 3.9e-8; the
FP4 formats 0 % (`test_rows_of_1024_against_exact`).
"""


@dataclass(frozen=True)
class Narrow:
    """An accumulator of few bits: (sum + exact dot block) rounded once, nearest even, blocks in ascending k.

    fraction_bits, emin, top: of the float that holds the sum; beyond top it is infinite.
    chunk: dot blocks after which the sum is added to a float32 one (nearest even) and starts again at 0; 0: never.
    """

    fraction_bits: int
    emin: int
    top: float
    chunk: int = 0


_NARROW = {"fp16": Narrow(10, -14, 65504.0), "bf16": Narrow(7, -126, (2 - 2.0**-7) * 2.0**127)}
_CHUNKED = re.compile(r"fp16_chunk\((\d{1,6})\)")
_NAMED = ("fp32", "exact", "fp16", "bf16", "fp16_chunk(n)", *PRESETS)


def accumulator(name: str) -> str | Aligned | Narrow:
    """What an accumulator's name means: "fp32" and "exact" themselves, else its numbers.

    raises: InputError for an unknown name, with the nearest one.
    """
    if name in ("fp32", "exact"):
        return name
    if found := _CHUNKED.fullmatch(name):
        if int(found[1]) < 1:
            raise InputError(f"accumulate: {name!r}; write 1 block or more")
        return replace(_NARROW["fp16"], chunk=int(found[1]))
    known: dict[str, Aligned | Narrow] = {**PRESETS, **_NARROW}
    if name not in known:
        raise InputError(f"accumulate: {name!r}{nearest(name, _NAMED)}")
    return known[name]


def matmul(
    x: Encoded,
    w: Encoded,
    accumulate: str | Aligned = "fp32",
    tensor_scale: bool = True,
    begin: np.ndarray | None = None,
) -> np.ndarray:
    """Y = X W^T: float32[m, n] of x: [m, k] and w: [n, k], both encoded with blocks along k.

    accumulate: "fp32" (sum + exact dot block, rounded once, blocks in ascending k), "exact" (all blocks, rounded
        once), "fp16" and "bf16" (as "fp32", with a sum of that type), "fp16_chunk(n)" (FP16 for n dot blocks, these
        sums added in float32), "hopper_fp8", "blackwell_mx", "blackwell_fp4", or an `Aligned`.
    tensor_scale: multiply with the tensor's and rows' scales (one float32 multiplication, nearest even, by the
        float32 product of both sides' scales); False: equal to the GEMV machine's y (int8: 64 times its y).
    begin: float32[m, n], finite, the initial sums (C of D = A B + C); None: zeros.
    Where a side is fp8_block, "fp32" adds fl32(exact dot of the elements x fl32(s_x s_w)) for each block, "exact" sums
    those blocks before they are rounded, and other accumulators are refused.
    raises: InputError for shapes or blocks that do not fit, or fp8_block in a tensor core's sum.
    """
    how = accumulator(accumulate) if isinstance(accumulate, str) else accumulate
    if not isinstance(how, str | Aligned | Narrow):
        raise InputError(f"accumulate: {how!r}; write a name or an Aligned: {', '.join(_NAMED)}")
    a, b = operand(x), operand(w)  # they refuse what is not encoded
    if x.row_length != w.row_length:
        raise InputError(f"x has rows of {x.row_length} values, w of {w.row_length}")
    y = np.zeros((x.rows, w.rows), np.float32) if begin is None else np.array(begin, np.float32, order="C")
    if y.shape != (x.rows, w.rows) or not np.isfinite(y).all():
        raise InputError(f"begin: write finite values of shape {(x.rows, w.rows)}")
    if not y.size:  # no rows on a side: their blocks have no scales to look up
        return y
    if isinstance(how, str):
        y = _by_blocks(a, b, dot_block(a, b), how == "exact", y)
    elif a.block_rounds or b.block_rounds:
        what = "the float32 scales of fp8_block need a float32 sum"
        raise InputError(f"accumulate: {what}; write fp32 or exact")
    elif isinstance(how, Narrow):
        y = _by_blocks(a, b, dot_block(a, b), False, y, how)
    else:
        y = _aligned(a, b, dot_block(a, b), how, y)
    if tensor_scale:
        after = np.outer(a.after, b.after)  # float32 products, rounded once
        if (after != 1).any():
            with np.errstate(over="ignore", invalid="ignore"):
                y = y * after
    y[np.isnan(y)] = np.nan  # one NaN: 0x7FC00000
    return y


def block_dot(x: Encoded, w: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """(totals, exponents), int objects [rows, dot blocks]: the exact dot of each row of x with the same row of w is
    total * 2^exponent; E8M0 exponents are in the exponent, E4M3 and float16 significands in the total, and so is
    fl32(s_x s_w) of fp8_block.

    raises: InputError for shapes or blocks that do not fit, or Inf or NaN.
    """
    a, b = operand(x), operand(w)
    if x.shape != w.shape:
        raise InputError(f"x has shape {x.shape}, w {w.shape}")
    block = dot_block(a, b)
    count = -(-x.row_length // block)
    totals = np.empty((x.rows, count), object)
    exponents = np.empty((x.rows, count), object)
    scales = _scale_products(a, b, a.dot_scales(block, count), b.dot_scales(block, count))
    if not (np.isfinite(scales).all() and np.isfinite(a.elements).all() and np.isfinite(b.elements).all()):
        raise InputError("block_dot: a block holds Inf or NaN")
    for row in range(x.rows):
        for j in range(count):
            part = slice(j * block, (j + 1) * block)
            total = _exact_dot(a.elements[row, part], b.elements[row, part], scales[row, j])
            exponents[row, j] = -(total.denominator.bit_length() - 1)
            totals[row, j] = total.numerator
    return totals, exponents


def _scale_products(a: Operand, b: Operand, x_scales: np.ndarray, w_scales: np.ndarray) -> np.ndarray:
    """float64: the scales of both sides multiplied; rounded to float32 where a side says so."""
    products: np.ndarray = x_scales * w_scales
    if a.block_rounds or b.block_rounds:
        with np.errstate(over="ignore"):
            return products.astype(np.float32).astype(np.float64)
    return products


def _exact_dot(x: np.ndarray, w: np.ndarray, scale: float) -> Fraction:
    products = (Fraction(p) * Fraction(q) for p, q in zip(x.tolist(), w.tolist(), strict=True) if p and q)
    return sum(products, Fraction(0)) * Fraction(scale)


def _by_blocks(
    a: Operand, b: Operand, block: int, exact: bool, y: np.ndarray, narrow: Narrow | None = None
) -> np.ndarray:
    """Blocks in ascending k, each by a float64 matrix product whose rounding, where there is any, is bounded.

    narrow: the accumulator, if it is no float32.
    """
    whole = None  # float32 sum of the chunks before
    if narrow and narrow.chunk:
        whole, y = y, np.zeros_like(y)
    xs, ws = whole_rows(a.elements, block), whole_rows(b.elements, block)
    count = xs.shape[1] // block
    x_scales, w_scales = a.dot_scales(block, count).T.copy(), b.dot_scales(block, count).T.copy()
    shape = (len(xs), len(ws))
    rounds = a.block_rounds or b.block_rounds
    # Rounded blocks take their scales after the sum, in the kernel: all bits are for the elements.
    scale_bits = 2 if rounds else a.scale_bits + b.scale_bits
    room = 53 - scale_bits + 2 - (block - 1).bit_length()
    always = a.element_bits and b.element_bits and a.element_bits + b.element_bits <= room
    spans = None if always else (_spans(xs, block), _spans(ws, block))
    high, low, slop = y.astype(np.float64), np.zeros(shape), np.zeros(shape)
    doubt = np.zeros(shape, bool)
    slack = np.zeros((0, 0))
    for j in range(count):
        part = slice(j * block, (j + 1) * block)
        xb, wb = xs[:, part], ws[:, part]
        with np.errstate(invalid="ignore", over="ignore"):
            dots = xb @ wb.T
            if spans is not None:
                slack = np.abs(xb) @ np.abs(wb).T * (2.0**-53 * (block + 4))
                slack[np.add.outer(spans[0][:, j], spans[1][:, j]) <= room] = 0.0

        def add(p: int, q: int, d: np.ndarray = dots, s: np.ndarray = slack, j: int = j) -> None:
            scales = x_scales[j, p:q], w_scales[j]
            if exact and rounds:
                kernels.add_products(high[p:q], low[p:q], slop[p:q], d[p:q], *scales, s[p:q])
            elif rounds:
                kernels.add_rounded_blocks(y[p:q], d[p:q], *scales, s[p:q], doubt[p:q])
            elif narrow:
                kernels.add_blocks_narrow(
                    y[p:q], d[p:q], *scales, s[p:q], doubt[p:q], narrow.fraction_bits, narrow.emin, narrow.top
                )
            elif exact:
                kernels.add_exactly(high[p:q], low[p:q], slop[p:q], d[p:q], *scales, s[p:q])
            else:
                kernels.add_blocks(y[p:q], d[p:q], *scales, s[p:q], doubt[p:q])

        in_threads(len(xs), len(ws) * 8, None, add)
        if spans is not None and not exact:
            for m, n in np.argwhere(doubt):
                scale = _scale_products(a, b, x_scales[j, m], w_scales[j, n])
                total = _exact_dot(xb[m], wb[n], float(scale))
                total = Fraction(float(_float32(total))) if rounds else total
                total += Fraction(float(y[m, n]))
                y[m, n] = _float32(total) if narrow is None else _nearest(total, narrow)
            doubt[:] = False
        if whole is not None and narrow and ((j + 1) % narrow.chunk == 0 or j + 1 == count):
            with np.errstate(over="ignore", invalid="ignore"):
                whole = whole + y
            y[:] = 0
    if exact:
        first = y.copy()
        kernels.round_totals(high, low, slop, y, doubt)
        for m, n in np.argwhere(doubt):
            parts = [slice(j * block, (j + 1) * block) for j in range(count)]
            factors = _scale_products(a, b, x_scales[:, m], w_scales[:, n]).tolist()
            dots = (_exact_dot(xs[m, p], ws[n, p], scale) for p, scale in zip(parts, factors, strict=True))
            y[m, n] = _float32(sum(dots, Fraction(float(first[m, n]))))
    return y if whole is None else whole


def _spans(rows: np.ndarray, block: int) -> np.ndarray:
    """int64[rows, blocks]: bits from the last set bit of any element of a block to above the largest element."""
    finite = np.where(np.isfinite(rows), rows, 0.0).reshape(len(rows), rows.shape[1] // block, block)
    fraction, exponent = np.frexp(finite)
    whole = np.ldexp(fraction, 53).astype(np.int64)
    last = np.frexp((whole & -whole).astype(np.float64))[1] - 1 + exponent - 53
    some = finite != 0
    high = np.where(some, exponent, -(1 << 20)).max(axis=2, initial=-(1 << 20)).astype(np.int64)
    spans: np.ndarray = np.maximum(high - np.where(some, last, 1 << 20).min(axis=2, initial=1 << 20), 0)
    return spans


def _float32(exact: Fraction) -> np.float32:
    """A fraction rounded once to float32, nearest even; overflow is Inf."""
    if exact == 0:
        return np.float32(0)
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    step = Fraction(2) ** (max(exponent, -126) - 23)
    rounded = round(size / step) * step
    value = np.float32(np.inf) if rounded >= 2**128 else np.float32(float(rounded))
    return value if exact > 0 else -value


def _nearest(exact: Fraction, narrow: Narrow) -> np.float32:
    """A fraction rounded once to the accumulator's type; overflow is Inf."""
    if exact == 0:
        return np.float32(0)
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    step = Fraction(2) ** (max(exponent, narrow.emin) - narrow.fraction_bits)
    rounded = round(size / step) * step
    value = np.float32(np.inf) if rounded > Fraction(narrow.top) else np.float32(float(rounded))
    return value if exact > 0 else -value


def _aligned(a: Operand, b: Operand, block: int, how: Aligned, y: np.ndarray) -> np.ndarray:
    """The tensor core's sums; where an operand holds Inf or NaN, what IEEE products and sums give."""
    step = reduce(np.lcm, (block, how.k))
    if how.group > 1 and block % how.group:
        raise InputError(f"{how}: a group of {how.group} does not divide the dot block of {block}")
    (xs, xe, xf), (ws, we, wf) = (_folded(side, block, step, how) for side in (a, b))
    in_threads(
        len(xs), len(ws) * xs.shape[1], None,
        lambda p, q: kernels.aligned_rows(
            xs, xe, ws, we, xf + wf, how.fraction_bits, how.output_bits, how.k, how.group, how.promotion, y, p, q
        ),
    )  # fmt: skip
    scaled = [
        side.elements * np.repeat(side.scales, side.block, axis=1)[:, : side.elements.shape[1]]
        if side.block else side.elements
        for side in (a, b)
    ]  # fmt: skip
    if not all(np.isfinite(s).all() for s in scaled):
        with np.errstate(invalid="ignore", over="ignore"):
            plain = scaled[0] @ scaled[1].T
        y = np.where(np.isfinite(plain), y, plain).astype(np.float32)
    return y


_ZERO_EXPONENT = -(1 << 20)


def _folded(side: Operand, block: int, step: int, how: Aligned) -> tuple[np.ndarray, np.ndarray, int]:
    """(significands, exponents, fraction bits) of a side with its block scales multiplied in, as the kernel wants."""
    significands, exponents = whole_rows(side.significands, step), whole_rows(side.exponents, step)
    scales = side.dot_scales(block, -(-side.elements.shape[1] // block))
    missing = significands.shape[1] // block - scales.shape[1]
    scales = np.pad(np.where(np.isfinite(scales), scales, 0.0), ((0, 0), (0, missing)))
    mantissa, power = np.frexp(scales)
    fraction = side.fraction_bits + side.scale_bits - 1
    if how.group > 1:
        significands, low = _fixed_point(side, significands, exponents, how)
        fraction -= low
        exponents = np.zeros_like(exponents)
    significands = significands * np.repeat(np.ldexp(mantissa, side.scale_bits).astype(np.int64), block, axis=1)
    dead = np.repeat(scales == 0, block, axis=1) if how.group > 1 else significands == 0
    exponents = exponents + np.repeat((power - 1).astype(np.int32), block, axis=1)
    return significands, np.where(dead, np.int32(_ZERO_EXPONENT), exponents), fraction


def _fixed_point(
    side: Operand, significands: np.ndarray, exponents: np.ndarray, how: Aligned
) -> tuple[np.ndarray, int]:
    """Elements as integers of one unit, and the exponent at which its fraction bits count."""
    live = exponents[significands != 0]
    low = int(live.min()) if live.size else 0
    spread = int(live.max()) - low if live.size else 0
    if not side.element_bits or spread + side.fraction_bits > 9:
        raise InputError(f"{how}: a group is summed as integers; its elements span too many bits, write group=1")
    return significands << np.where(significands != 0, exponents - low, 0).astype(np.int64), low
