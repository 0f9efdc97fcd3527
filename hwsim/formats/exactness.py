"""Whether one format holds every value of another, so that converting from the second to the first loses nothing.

A value is an element times its block's scale, exact. Scales of rows and tensors are left out, as they multiply y after
the dot. Values of 2^128 and more do not count, as they decode to infinity, nor does the most negative code of 8-bit
integers, which no encoder writes. Standard library only.

Every set of values here is described by its `Grid`: whether a float or fixed-point target holds it is then decided by
three comparisons, each of which some value of the source attains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from hwsim.formats.elements import INT4, element
from hwsim.formats.layout import Layout
from hwsim.formats.lfsr import SeedCodec
from hwsim.formats.names import row

_BEYOND = Fraction(2) ** 128  # decoding gives infinity


@dataclass(frozen=True)
class Grid:
    """Numbers m 2^e with integers |m| <= most_odd, m odd or 0, e >= low, of magnitude at most `top`.

    As a source: the largest odd part, the least power of two and the largest magnitude among a format's values.
    As a target: all such numbers are values (of one block, up to its scale).
    """

    most_odd: int
    low: int
    top: Fraction

    def times(self, scale: Grid) -> Grid:
        """The products of any element and any scale."""
        return Grid(self.most_odd * scale.most_odd, self.low + scale.low, self.top * scale.top)

    def shifted(self, places: int) -> Grid:
        """Every number times 2^places."""
        return Grid(self.most_odd, self.low + places, self.top * Fraction(2) ** places)


_ONE = Grid(1, 0, Fraction(1))


def _float(mantissa_bits: int, emin: int, top: Fraction) -> Grid:
    return Grid((2 << mantissa_bits) - 1, emin - mantissa_bits, top)


def _integer(bits: int, unit: int = 0) -> Grid:
    """Magnitudes of `bits` bits in steps of 2^unit."""
    most = (1 << bits) - 1
    return Grid(most, unit, most * Fraction(2) ** unit)


_FLOATS = {
    "FP32": _float(23, -126, _BEYOND - Fraction(2) ** 104),
    "BF16": _float(7, -126, _BEYOND - Fraction(2) ** 120),
    "FP16": _float(10, -14, Fraction(65504)),
}
_E4M3 = _float(3, -6, Fraction(448))


@dataclass(frozen=True)
class _Values:
    """Of a format: its elements as a source and as a target, its scales as both, and the elements that share one."""

    source: Grid
    target: Grid | None
    scale: Grid
    block: int


def exact_in(source: Layout, target: Layout) -> bool:
    """Whether every finite value of `source` is a value of `target`.

    A target with block scales must hold whole blocks: its blocks, or tiles, lie in the source's, and its scales include
    the source's times one power of two. For such targets True is certain; False may be wrong for custom formats whose
    scales are of another kind than the target's. Formats that this module does not know give False.
    """
    return not loss(source, target)


def loss(source: Layout, target: Layout) -> str:
    """What of `source` is no value of `target`, for a note: "" where nothing is lost."""
    if source == target:
        return ""
    of, to = _values(source), _values(target)
    if of is None or to is None or to.target is None:
        return f"whether {target.name} holds every value of {source.name} is not known"
    if to.block == 1:
        values = of.source.times(of.scale)
        if to.target.top >= _BEYOND / 2:  # finite values above its top have more significant bits than it
            values = replace(values, top=min(values.top, to.target.top))
        return _outside(values, to.target)
    if of.block > 1 and of.block % to.block:
        return f"blocks of {source.name} have {of.block} values, those of {target.name} {to.block}"
    if of.block > 1 and max(source.tile_rows, 1) % max(target.tile_rows, 1):
        return f"{target.tile_rows} rows of {target.name} share their scales"
    # The one shift that can work without wasting range puts the least steps of both elements together; smaller
    # shifts leave room below, down to where the largest elements meet.
    most, reasons = of.source.low - to.target.low, []
    for shift in range(most, most - 300, -1):
        reason = _outside(of.source, to.target.shifted(shift)) or _outside(of.scale.shifted(shift), to.scale, "scales ")
        if not reason:
            return ""
        reasons.append(reason)
        if of.source.top > to.target.top * Fraction(2) ** shift:
            break
    return reasons[0]


def _outside(source: Grid, target: Grid, what: str = "") -> str:
    """Why some number of `source` is none of `target`; "" where all are."""
    problems = []
    bits, room = source.most_odd.bit_length(), target.most_odd.bit_length()
    if source.most_odd > target.most_odd:
        problems.append(f"{what}of {bits} significant bits, {room} fit")
    if source.low < target.low:
        problems.append(f"{what}below 2^{target.low}")
    if source.top > target.top:
        problems.append(f"{what}above {float(target.top):.7g}")
    return " and ".join(problems)


def _values(found: Layout) -> _Values | None:
    """The values of a format, from its row; None for a class of formats that is not known here."""
    listed = row(found)
    point = {key: value for key, value in listed.options.items() if isinstance(value, int)}
    name, block = found.element, found.block
    match listed.made_by:
        case "dense:WideFormat":
            return _Values(_FLOATS[name], _FLOATS[name], _ONE, 1)
        case "dense:ScaledDenseFormat" if name == INT4.name:
            source = Grid(7, 0, Fraction(8))  # -8 is 1 x 2^3
            return _Values(source, _integer(3), _FLOATS["FP16"], block)
        case "dense:ScaledDenseFormat":
            element = _integer(7) if name == "INT8" else _element(name)
            return _Values(element, element, _ONE, 1)
        case "mx:BlockFormat":
            return _Values(_element(name), _element(name), _powers(8), block)
        case "nvfp4:ScaledFormat":
            return _Values(_element(name), _element(name), _E4M3, block)
        case "fp8_block:TileFormat":
            return _Values(_element(name), _element(name), _FLOATS["FP32"], block)
        case "bdr:BdrFormat":
            plain = _integer(point["m"], 1 - point["m"])
            deepest = (1 << point["d2"]) - 1
            return _Values(Grid(plain.most_odd, plain.low - deepest, plain.top), plain, _powers(point["d1"]), block)
        case "seed:SeedFormat":
            return _Values(_seeds(listed.options["codec"]), None, _ONE, 1)
    return None


def _element(name: str) -> Grid:
    """An element format, of OCP MX or an own one."""
    e = element(name)
    if e.is_integer:
        return _integer(e.bits - 1, -e.mantissa_bits)
    return _float(e.mantissa_bits, e.emin, Fraction(e.max_normal))


def _powers(bits: int) -> Grid:
    """Powers of two with a biased exponent of `bits` bits."""
    bias = (1 << (bits - 1)) - 1
    return Grid(1, -bias, Fraction(2) ** bias)


def _seeds(codec: object) -> Grid:
    """The integers S 2^e of a seed format; the bound of S has the bits of one that occurs, or more."""
    assert isinstance(codec, SeedCodec)
    most = codec.P * ((1 << (codec.K - 1)) - 1) << (codec.coefficient_bits - 1)
    least = -(1 << (codec.exponent_bits - 1))
    return Grid(most, least, most * Fraction(2) ** (-least - 1))
