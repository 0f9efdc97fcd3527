"""Why a value becomes its code: a block's maximum, its scale, each element's quotient, rounding and code.

`Format.explain` gives an `Explanation`; each class of formats explains its own scales with these functions. Codes and
scales are those of `encode`; everything else is computed in rational arithmetic.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from hwsim.formats.draws import draws
from hwsim.formats.elements import Element
from hwsim.formats.format import Format


@dataclass(frozen=True)
class ElementStep:
    """How one value becomes its code.

    value: as given. quotient: value / (all its scales), exact; None where there is none (NaN, Inf, seeds).
    rounding: how the quotient was rounded, in words. code, bits: the stored code and its width.
    decoded: the float32 that `decode` returns.
    """

    value: float
    quotient: Fraction | None
    rounding: str
    code: int
    bits: int
    decoded: float


@dataclass(frozen=True)
class BlockStep:
    """One block. maximum: the largest magnitude; scale: where its scale comes from, one line per step."""

    maximum: float
    scale: tuple[str, ...]
    elements: tuple[ElementStep, ...]


@dataclass(frozen=True)
class Explanation:
    """A row of values in one format. tensor: where the tensor's (or row's) scale comes from, "" if none.

    options: those that change the format's values, and what each takes.
    """

    format: str
    tensor: str
    blocks: tuple[BlockStep, ...]
    options: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The same for a terminal."""
        lines = [self.format]
        if self.tensor:
            lines.append(f"  {self.tensor}")
        for at, block in enumerate(self.blocks):
            lines.append(f"  block {at}: largest magnitude {number(block.maximum)}")
            lines += [f"    {line}" for line in block.scale]
            cells = [("value", "quotient", "code", "decoded", "error", "rounding")]
            for e in block.elements:
                cells.append((
                    number(e.value), "-" if e.quotient is None else number(e.quotient),
                    f"{e.code:0{e.bits}b}" if e.bits <= 16 else f"{e.code:#0{e.bits // 4 + 2}x}",
                    number(e.decoded), number(e.decoded - e.value), e.rounding,
                ))  # fmt: skip
            widths = [max(len(row[i]) for row in cells) for i in range(5)]
            for row in cells:
                columns = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
                lines.append("    " + "  ".join([*columns, row[5]]).rstrip())
        if self.options:
            lines.append("  options of get_format:")
            lines += [f"    {name:13} {words}" for name, words in self.options.items()]
        return "\n".join(lines)


def number(value: float | Fraction) -> str:
    """A value as explanations print it, so that their arithmetic comes out when it is done again by hand.

    Nine digits tell all float32 numbers apart. A value that nine digits show rounder than it is has more of them: a
    quotient just beyond 127 must not be printed as 127. What float64 itself rounds away, as of 0.3, is not shown.
    """
    near = float(value)
    for digits in (9, 12, 15):
        text = f"{near:.{digits}g}"
        if abs(float(text) - near) <= 2**-50 * abs(near) or text != f"{near:.{digits - 3}g}":
            break
    return text


def power(exponent: int) -> str:
    """`2^-3`."""
    return f"2^{exponent}"


def floor_log2(value: Fraction) -> int:
    """floor(log2 value), exact. value: > 0."""
    e = value.numerator.bit_length() - value.denominator.bit_length()
    return e if value >= Fraction(2) ** e else e - 1


def top(xs: np.ndarray) -> float:
    """Largest magnitude; NaN where a value is NaN or infinite."""
    largest = float(np.abs(xs).max())
    return largest if math.isfinite(largest) else math.nan


def dice(form: Format, count: int) -> np.ndarray:
    """int64[count]: the eight random bits of each element; zeros unless the rounding is stochastic."""
    return np.array(draws(form.seed, count) if form.rounding == "stochastic" else [0] * count, np.int64)


def _rounding(form: Format, quotient: Fraction, table: Sequence[Fraction], r: int) -> str:
    """How the format rounds |quotient| in an ascending table of magnitudes. r: eight random bits."""
    q = abs(quotient)
    if q > table[-1]:
        return f"beyond {number(float(table[-1]))}: saturates"
    low = bisect.bisect_right(table, q) - 1
    if table[low] == q:
        return "exact"
    below, above = table[low], table[low + 1]
    part = (q - below) / (above - below)
    between = f"between {number(float(below))} and {number(float(above))}"
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


def element_steps(
    form: Format, xs: np.ndarray, divisors: Sequence[Fraction], table: Sequence[Fraction], bits: int,
    codes: np.ndarray, decoded: np.ndarray, dice: np.ndarray, negative: Sequence[Fraction] | None = None,
) -> tuple[ElementStep, ...]:  # fmt: skip
    """The elements of one block, every array with one entry per element.

    divisors: the scale of each. table: magnitudes in ascending order; negative: those of negative values, if others.
    """
    steps = []
    lists = (xs.tolist(), divisors, codes.tolist(), decoded.tolist(), dice.tolist())
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


def spoiled(xs: np.ndarray, codes: np.ndarray, bits: int, scale: str) -> BlockStep:
    """A block with Inf or NaN in it, in a format whose scale is then NaN."""
    elements = tuple(
        ElementStep(x, None, "the block is NaN", int(code), bits, math.nan)
        for x, code in zip(xs.tolist(), codes.tolist(), strict=True)
    )
    return BlockStep(math.nan, (f"Inf or NaN in the block: scale {scale}, zero codes",), elements)


def pieces(size: int, *rows: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """The next `size` entries of several rows at once, block by block."""
    for at in range(0, len(rows[0]), size):
        yield tuple(row[at : at + size] for row in rows)


def magnitudes(e: Element) -> list[Fraction]:
    """Every finite magnitude of an element format, ascending."""
    return [Fraction(v) for v in e.values[: e.max_code + 1]]
