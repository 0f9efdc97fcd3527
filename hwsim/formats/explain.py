"""Why a value becomes its code: a block's maximum, its scale, each element's quotient, rounding and code.

Everything but the codes and scales, which are those of `encode`, is worked out in rational arithmetic.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwsim.errors import InputError
from hwsim.formats.bdr import BdrFormat
from hwsim.formats.dense import ScaledDenseFormat
from hwsim.formats.elements import E4M3
from hwsim.formats.format import Encoded, Format
from hwsim.formats.lfsr import Lfsr
from hwsim.formats.mx import BlockFormat
from hwsim.formats.nvfp4 import ScaledFormat


@dataclass(frozen=True)
class ElementStep:
    """One value's way to its code.

    value: as given. quotient: value / (all its scales), exact; None where there is none (NaN, Inf, seeds).
    rounding: what was done to the quotient, in words. code, bits: the stored code and its width.
    decoded: the float32 that comes back.
    """

    value: float
    quotient: Fraction | None
    rounding: str
    code: int
    bits: int
    decoded: float


@dataclass(frozen=True)
class BlockStep:
    """One block. maximum: the largest magnitude; scale: where its scale comes from, a line a step."""

    maximum: float
    scale: tuple[str, ...]
    elements: tuple[ElementStep, ...]


@dataclass(frozen=True)
class Explanation:
    """A row of values in one format. tensor: where the tensor's (or row's) scale comes from, "" if none."""

    format: str
    tensor: str
    blocks: tuple[BlockStep, ...]

    def text(self) -> str:
        """The same for a terminal."""
        lines = [self.format]
        if self.tensor:
            lines.append(f"  {self.tensor}")
        for number, block in enumerate(self.blocks):
            lines.append(f"  block {number}: largest magnitude {_number(block.maximum)}")
            lines += [f"    {line}" for line in block.scale]
            cells = [("value", "quotient", "code", "decoded", "error", "rounding")]
            for e in block.elements:
                cells.append((
                    _number(e.value), "-" if e.quotient is None else _number(float(e.quotient)),
                    f"{e.code:0{e.bits}b}" if e.bits <= 16 else f"{e.code:#0{e.bits // 4 + 2}x}",
                    _number(e.decoded), _number(e.decoded - e.value), e.rounding,
                ))  # fmt: skip
            widths = [max(len(row[i]) for row in cells) for i in range(5)]
            for row in cells:
                columns = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
                lines.append("    " + "  ".join([*columns, row[5]]).rstrip())
        return "\n".join(lines)


def explain(form: Format, values: Sequence[float]) -> Explanation:
    """How a row of values becomes codes, block by block; padding is not shown.

    values: floats[k], k >= 1, read as float64.
    raises: InputError where there are none, or the format cannot hold them.
    """
    from hwsim.formats.quality import label

    row = np.asarray(values, np.float64)
    if row.ndim != 1 or not row.size:
        raise InputError("explain takes one row of at least one value; write numbers after the format's name")
    encoded = form.encode(row)
    decoded = encoded.decode()
    if isinstance(form, BlockFormat):
        tensor, blocks = "", _mx(form, row, encoded, decoded)
    elif isinstance(form, ScaledFormat):
        tensor, blocks = _two_levels(form, row, encoded, decoded)
    elif isinstance(form, BdrFormat):
        tensor, blocks = "", _bdr(form, row, encoded, decoded)
    elif isinstance(form, ScaledDenseFormat):
        tensor, blocks = _dense(form, row, encoded, decoded)
    elif form.layout.kind == "seed":
        tensor, blocks = _seeds(form, row, encoded, decoded)
    else:
        tensor, blocks = "", _wide(form, row, encoded, decoded)
    return Explanation(label(form), tensor, tuple(blocks))


def _number(value: float) -> str:
    return f"{value:.7g}"


def _power(exponent: int) -> str:
    return f"2^{exponent}"


def _floor_log2(value: Fraction) -> int:
    e = value.numerator.bit_length() - value.denominator.bit_length()
    return e if value >= Fraction(2) ** e else e - 1


def _top(xs: np.ndarray) -> float:
    """Largest magnitude; NaN where a value is NaN or infinite."""
    top = float(np.abs(xs).max())
    return top if math.isfinite(top) else math.nan


def _dice(form: Format, count: int) -> list[int]:
    states = Lfsr(32).states(form.seed, count) if form.rounding == "stochastic" else [0] * count
    return [state & 255 for state in states]


def _rounding(form: Format, quotient: Fraction, table: Sequence[Fraction], r: int) -> str:
    """What the form's rounding does to |quotient| in an ascending table of magnitudes."""
    q = abs(quotient)
    if q > table[-1]:
        return f"beyond {_number(float(table[-1]))}: saturates"
    low = bisect.bisect_right(table, q) - 1
    if table[low] == q:
        return "exact"
    below, above = table[low], table[low + 1]
    part = (q - below) / (above - below)
    between = f"between {_number(float(below))} and {_number(float(above))}"
    if form.rounding == "zero":
        return f"{between}, toward zero: below"
    if form.rounding == "stochastic":
        seen = math.floor(part * 256)  # the hardware sees 8 bits below the last kept one
        total = f"({seen} + {r})/256"
        return f"{between}, {total} {'>= 1: above' if seen + r >= 256 else '< 1: below'}"
    if part == Fraction(1, 2):
        if form.rounding == "away":
            return f"{between}, a tie away from zero: above"
        return f"{between}, a tie: the even code is {'above' if low % 2 else 'below'}"
    return f"{between}: nearest is {'above' if part > Fraction(1, 2) else 'below'}"


def _elements(
    form: Format, xs: np.ndarray, divisors: Sequence[Fraction], table: Sequence[Fraction], bits: int,
    codes: np.ndarray, decoded: np.ndarray, dice: Sequence[int], negative: Sequence[Fraction] | None = None,
) -> tuple[ElementStep, ...]:  # fmt: skip
    steps = []
    lists = (xs.tolist(), divisors, codes.tolist(), decoded.tolist(), dice)
    for x, d, code, back, r in zip(*lists, strict=True):
        if not math.isfinite(x):
            word = "NaN has its code" if math.isnan(x) else "infinite: saturates"
            steps.append(ElementStep(x, None, word, code, bits, back))
        elif d == 0:
            steps.append(ElementStep(x, None, "the scale is zero: code 0", code, bits, back))
        else:
            quotient = Fraction(x) / d
            magnitudes = negative if negative and x < 0 else table
            words = _rounding(form, quotient, magnitudes, r)
            steps.append(ElementStep(x, quotient, words, code, bits, back))
    return tuple(steps)


def _spoiled(xs: np.ndarray, codes: np.ndarray, bits: int, scale: str) -> BlockStep:
    elements = tuple(
        ElementStep(x, None, "the block is NaN", int(code), bits, math.nan)
        for x, code in zip(xs.tolist(), codes.tolist(), strict=True)
    )
    return BlockStep(math.nan, (f"Inf or NaN in the block: scale {scale}, zero codes",), elements)


def _cut(size: int, *arrays: np.ndarray):
    """Pieces of `size` of several rows at once."""
    for at in range(0, len(arrays[0]), size):
        yield tuple(a[at : at + size] for a in arrays)


def _magnitudes(form) -> list[Fraction]:
    return [Fraction(v) for v in form.table.values[: form.table.max_code + 1]]


def _mx(form: BlockFormat, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> list[BlockStep]:
    e, table = form.table, _magnitudes(form)
    dice = np.array(_dice(form, len(row)))
    blocks = []
    pieces = _cut(form.block, row, encoded.codes, decoded, dice)
    for scale, (xs, codes, back, rs) in zip(encoded.scales.tolist(), pieces, strict=True):
        if scale == 255:
            blocks.append(_spoiled(xs, codes, e.bits, "0xFF (NaN)"))
            continue
        top = _top(xs)
        words = _e8m0_words(form, Fraction(top), scale)
        d = [Fraction(2) ** (scale - 127)] * len(xs)
        elements = _elements(form, xs, d, table, e.bits, codes, back, rs.tolist())
        blocks.append(BlockStep(top, (words,), elements))
    return blocks


def _e8m0_words(form: BlockFormat, top: Fraction, code: int) -> str:
    stored = f"scale {_power(code - 127)}, code {code}"
    if top == 0:
        return f"all zero: {stored}"
    e = form.table
    if form.scale_rule == "rceil":
        exponent = _floor_log2(top / Fraction(e.max_normal))
        exponent += top > Fraction(e.max_normal) * Fraction(2) ** exponent
        words = f"rceil: the least e with maximum <= {_number(e.max_normal)} 2^e is {exponent}"
    else:
        words, rounded = "floor: ", top
        if form.scale_rule == "even":
            unit = Fraction(2) ** (_floor_log2(top) - e.mantissa_bits)
            rounded = math.floor(top / unit + Fraction(1, 2)) * unit
            words = f"even: maximum rounded to {e.mantissa_bits} fraction bits is {_number(float(rounded))}; "
        binade = _floor_log2(rounded)
        exponent = binade - e.emax
        words += f"floor(log2 maximum) = {binade}, less emax {e.emax}: {exponent}"
    if exponent != code - 127:
        words += f", clamped to {code - 127}"
    return f"{words}; {stored}"


def _two_levels(form: ScaledFormat, row, encoded: Encoded, decoded) -> tuple[str, list[BlockStep]]:
    e, table, s_t = form.table, _magnitudes(form), Fraction(float(encoded.tensor_scale))
    finite = np.abs(row[np.isfinite(row)])
    top = float(finite.max()) if finite.size else 0.0
    reach = 1536 if form.four_over_six else int(448 * e.max_normal)
    tensor = f"tensor scale {_number(float(s_t))}"
    if top > 0 and form.recipe == "exact":
        tensor += f" = float32({_number(top)} / {reach})"
    if form.recipe != "exact":
        tensor += f"; recipe {form.recipe}: float32 arithmetic of that library, quotients shown are exact"
    dice = np.array(_dice(form, len(row)))
    blocks = []
    pieces = _cut(form.block, row, encoded.codes, decoded, dice)
    for scale, (xs, codes, back, rs) in zip(encoded.scales.tolist(), pieces, strict=True):
        if scale == 0x7F:
            blocks.append(_spoiled(xs, codes, e.bits, "0x7F (NaN)"))
            continue
        top, s_b = _top(xs), Fraction(E4M3.values[scale])
        words = f"scale {_number(float(s_b))}, code {scale:#04x}"
        if form.recipe == "exact":
            lands = Fraction(e.max_normal)
            if form.four_over_six:
                lands = Fraction(min((6, 4), key=lambda n: abs(Fraction(top) / (n * s_t) - s_b)))
                words = f"the lower squared error puts the maximum at {lands}: {words}"
            quotient = _number(float(Fraction(top) / (lands * s_t)))
            words = f"maximum / ({_number(float(lands))} x tensor scale) = {quotient}; as E4M3: {words}"
        elements = _elements(form, xs, [s_b * s_t] * len(xs), table, e.bits, codes, back, rs.tolist())
        blocks.append(BlockStep(top, (words,), elements))
    return tensor, blocks


def _bdr(form: BdrFormat, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> list[BlockStep]:
    table = [Fraction(n) for n in range(1 << form.m)]
    dice = np.array(_dice(form, len(row)))
    blocks = []
    pieces = _cut(form.k1, row, encoded.codes, decoded, dice)
    for b, (xs, codes, back, rs) in enumerate(pieces):
        scale = int(encoded.scales[b])
        if scale == form.nan_scale:
            blocks.append(_spoiled(xs, codes, form.m + 1, f"{scale:#04x} (NaN)"))
            continue
        top, e = _top(xs), scale - form.bias
        if top == 0:
            words = ["all zero: every bit 0"]
        else:
            binade = _floor_log2(Fraction(top))
            clamped = "" if binade == e else f", clamped to {e}"
            words = [f"E = floor(log2 maximum) = {binade}{clamped}, code {scale}"]
        shifts = [0] * len(xs)
        if encoded.shifts is not None:
            stored = encoded.shifts[b * form.sub_blocks : (b + 1) * form.sub_blocks].tolist()
            shifts = [stored[i // form.k2] for i in range(len(xs))]
            shown = " ".join(str(stored[i]) for i in range(-(-len(xs) // form.k2)))
            words.append(f"sub-blocks of {form.k2}: shift min(E - E_sub, {(1 << form.d2) - 1}) = {shown}")
        words.append(f"step 2^(E - shift - {form.m - 1}), at most {(1 << form.m) - 1} steps")
        d = [Fraction(2) ** (e - t - (form.m - 1)) if top else Fraction(0) for t in shifts]
        elements = _elements(form, xs, d, table, form.m + 1, codes, back, rs.tolist())
        blocks.append(BlockStep(top, tuple(words), elements))
    return blocks


def _dense(form: ScaledDenseFormat, row, encoded: Encoded, decoded) -> tuple[str, list[BlockStep]]:
    e, table = form.table, _magnitudes(form)
    negative = [*table, Fraction(8)] if form.kind == "int4_g128" else None
    scales = [Fraction(s) for s in form.scales(encoded)[0].tolist()]
    size = form.group if form.kind == "int4_g128" else len(row)
    stored = {"fp8_e4m3": "float32", "int8": "float32", "int4_g128": "float16"}[form.kind]
    dice = np.array(_dice(form, len(row)))
    finite = np.where(np.isfinite(row), np.abs(row), 0.0)
    blocks = []
    pieces = _cut(size, row, encoded.codes, decoded, dice, finite)
    for s, (xs, codes, back, rs, magnitudes) in zip(scales, pieces, strict=True):
        top = float(magnitudes.max())
        words = f"scale {_number(float(s))}"
        if top > 0:
            words += f" = {stored}(maximum / {_number(float(table[-1]))})"
        elements = _elements(form, xs, [s] * len(xs), table, e.bits, codes, back, rs.tolist(), negative)
        blocks.append(BlockStep(top, (words,), elements))
    holder = {"fp8_e4m3": "one scale for the tensor", "int8": "one scale for the row"}.get(form.kind, "")
    return holder, blocks


def _seeds(form, row, encoded: Encoded, decoded) -> tuple[str, list[BlockStep]]:
    codec, s = form.codec, int(encoded.tensor_scale)
    sums, exponents = form.integers(encoded)
    blocks = []
    for b, (xs, back) in enumerate(_cut(codec.C, row, decoded)):
        record = codec.unpack(int(encoded.codes[b]))
        words = (
            f"seed {record.seed}, exponent {record.exponent}, coefficients {' '.join(map(str, record.q))}",
            f"value = S 2^(exponent {s:+d}) / {codec.denominator}, S the sum of state x coefficient",
        )
        elements = tuple(
            ElementStep(x, None, f"S = {total}", int(encoded.codes[b]), codec.block_bits, y)
            for x, y, total in zip(xs.tolist(), back.tolist(), sums[b].tolist(), strict=False)
        )
        blocks.append(BlockStep(_top(xs), words, elements))
    return f"tensor scale {_power(s)}: the largest block norm lands in [32, 64)", blocks


def _wide(form: Format, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> list[BlockStep]:
    elements = []
    for x, code, back in zip(row.tolist(), encoded.codes.tolist(), decoded.tolist(), strict=True):
        words = "exact" if back == x or math.isnan(x) else "to the nearest, ties to even"
        if math.isinf(back) and not math.isinf(x):
            words = "beyond the largest value: infinite"
        quotient = Fraction(x) if math.isfinite(x) else None
        elements.append(ElementStep(x, quotient, words, code, form.layout.element_bits, back))
    return [BlockStep(_top(row), ("no scale",), tuple(elements))]
