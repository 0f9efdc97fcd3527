"""Quantities with units, exact: `819 GB/s`, `64 B/cycle`, `7.8 us`, `1 MiB`, `64000/3 MAC/cycle`.

A unit is a prefix and a base unit, or two of them with `/` between; its dimension is the same without
prefixes (`GB/s` has dimension `B/s`). k M G T P are powers of ten, Ki Mi Gi Ti powers of two; `b` is bit and
`B` byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from hwsim.errors import InputError, nearest

_LARGE = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_SMALL = {"": Fraction(1)} | {p: Fraction(1, 1000 ** (i + 1)) for i, p in enumerate(["m", "u", "n", "p"])}
_SMALL |= {"µ": _SMALL["u"], "μ": _SMALL["u"]}  # micro sign, Greek mu
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

#: The prefixes of each base unit.
_PREFIXES: dict[str, dict[str, int] | dict[str, Fraction]] = {
    "s": _SMALL,
    "cycle": {"": 1},
    "cycles": {"": 1},
    "Hz": _LARGE,
    "B": _LARGE | _BINARY,
    "b": _LARGE | _BINARY,
    "MAC": _LARGE,
    "block": _LARGE,
    "element": _LARGE,
    "weight": _LARGE,
    "W": {"": 1},
    "J": _SMALL,
    "um2": {"": 1},
}

#: An example for each dimension that hwsim asks for; errors tell the user to write it.
EXAMPLES = {
    "Hz": "1.755 GHz",
    "s": "7.8 us",
    "cycle": "230 cycles",
    "B": "1 MiB",
    "B/s": "819 GB/s",
    "B/cycle": "64 B/cycle",
    "MAC/s": "495 TMAC/s",
    "MAC/cycle": "4096 MAC/cycle",
    "block/s": "3.2 Gblock/s",
    "block/cycle": "16 block/cycle",
    "element/s": "128 Gelement/s",
    "element/cycle": "128 element/cycle",
    "weight/s": "128 Gweight/s",
    "weight/cycle": "128 weight/cycle",
    "W": "55 W",
    "J": "0.2 pJ",
    "J/B": "1.75 pJ/B",
    "um2": "0.8 um2",
}

#: Either unit is accepted; the machine's clock turns one into the other.
DURATION = ("cycle", "s")

_NUMBER = r"(?:[0-9]{1,40}/0*[1-9][0-9]{0,39}|[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?)"
_TEXT = re.compile(rf"(?P<number>[+-]?{_NUMBER}) *(?P<unit>[^\s0-9+.,-][^\s]*)?")
_LIMIT = Fraction(10) ** 24
_LEAST = Fraction(1, 10**24)


def rate(base: str) -> tuple[str, str]:
    """The two dimensions of a rate of `base`: `("B/s", "B/cycle")`."""
    return f"{base}/s", f"{base}/cycle"


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact number of `dimension`, for example 4.8 * 10**12 of `B/s`."""

    value: Fraction
    dimension: str

    def cycles(self, clock_hz: Fraction) -> Fraction:
        """A duration in cycles of the clock, exact."""
        return self.value * clock_hz if self.dimension == "s" else self.value

    def per_cycle(self, clock_hz: Fraction) -> Fraction:
        """A rate per cycle of the clock, exact."""
        return self.value / clock_hz if self.dimension.endswith("/s") else self.value


def quantity(text: object, *dimensions: str, zero: bool = False, example: str = "") -> Quantity:
    """Read `text` as a quantity of one of `dimensions`.

    zero: whether 0 is allowed; negative never is.
    raises: InputError without a place, one line: what is wrong; what to write.
    """
    write = f"write {_asked(dimensions, example)}"
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise InputError(f"not a quantity; {write}")
    shown = f"`{_short(f'{text:g}' if isinstance(text, float) else str(text))}`"
    match = _TEXT.fullmatch(str(text).strip())
    if match is None:
        raise InputError(f"{shown} is not a number and a unit{_hint(str(text))}; {write}")
    if not match["unit"]:
        raise InputError(f"{shown} has no unit; {write}")
    try:
        factor, dimension = _unit(match["unit"])
    except InputError as error:
        raise InputError(f"{shown}: {error}; {write}") from None
    if dimension not in dimensions:
        raise InputError(f"{shown} is a quantity in {dimension}{_mixed_up(dimension, dimensions)}; {write}")
    value = Fraction(match["number"]) * factor
    if value < 0 or (value == 0 and not zero):
        raise InputError(f"{shown} is {'zero' if value == 0 else 'negative'}; {write}")
    if value and not _LEAST <= value <= _LIMIT:
        raise InputError(f"{shown} is too {'large' if value > 1 else 'small'} to be meant; {write}")
    return Quantity(value, dimension)


def pattern(*dimensions: str) -> str:
    """Regular expression of the texts that `quantity` accepts for `dimensions`, for an editor's JSON Schema."""
    units = []
    for dimension in dimensions:
        parts = [_part_pattern(base) for base in dimension.split("/")]
        units.append("/".join(parts))
    return rf"^{_NUMBER} *({'|'.join(units)})$"


def write(value: int | Fraction, dimension: str) -> str:
    """The exact text of a quantity: `64 B/cycle`, `4.8 TB/s`, `1 MiB`, `141 GB`.

    Rates per cycle have no prefix; the others have the largest that keeps the number at 1 or more, decimal or
    (sizes only) binary, whichever is shorter. A number without finite decimals is written as a fraction:
    `64000/3 MAC/cycle`. `quantity` reads it back.
    """
    base = dimension.split("/")[0]
    known = {p: f for p, f in _PREFIXES[base].items() if p.isascii() and not (p and dimension.endswith("cycle"))}
    unit = "cycles" if dimension == "cycle" else dimension
    texts = []
    for binary in (False, True) if dimension == "B" else (False,):
        fitting = [p for p in known if (p in _BINARY) == binary and value >= known[p]]
        prefix = max(fitting, key=known.__getitem__, default="")
        texts.append(f"{_decimal(Fraction(value) / known[prefix])} {prefix}{unit}")
    return min(texts, key=len)


def _decimal(value: Fraction) -> str:
    """A number of 0 or more with all its decimals, or as a fraction where the decimals never end."""
    rest = value.denominator
    twos = (rest & -rest).bit_length() - 1
    rest, fives = rest >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return str(value)
    places = max(twos, fives)
    digits = str(value.numerator * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


@lru_cache(maxsize=256)
def _unit(text: str) -> tuple[Fraction, str]:
    """Factor to the base units and the dimension of a unit; InputError says what is wrong with it."""
    over, slash, under = text.partition("/")
    factor, base = _part(over)
    if not slash:
        return factor, base
    down, per = _part(under)
    return factor / down, f"{base}/{per}"


def _part(text: str) -> tuple[Fraction, str]:
    for base in sorted(_PREFIXES, key=len, reverse=True):
        prefix = text.removesuffix(base)
        if text.endswith(base) and prefix in _PREFIXES[base]:
            return Fraction(_PREFIXES[base][prefix]), "cycle" if base == "cycles" else base
    if re.fullmatch("K[Bb]", text):
        raise InputError(f"{text} is ambiguous: kB is 1000 bytes, KiB is 1024")
    if re.fullmatch("[kMGTP]?(FLOP|FLOPS|flops|OP|OPS|op|ops)", text):
        raise InputError(f"1 MAC is 2 operations, so {text} must be halved and written as MAC")
    if text.lower().endswith(("bit", "bits", "byte", "bytes")):
        raise InputError(f"unknown unit {_short(text)}: b is bit, B is byte")
    if not text:
        raise InputError("a unit is missing")
    close = next((f"; did you mean {n}?" for n in _names() if n.lower() == text.lower()), "")
    if not close and len(text) < 12:
        close = nearest(text, _names())
    raise InputError(f"unknown unit {_short(text)}{close if 'did you mean' in close else ''}")


def _names() -> list[str]:
    return [prefix + base for base, prefixes in _PREFIXES.items() for prefix in prefixes]


def _part_pattern(base: str) -> str:
    spelled = "cycles?" if base == "cycle" else re.escape(base)
    prefixes = "|".join(p for p in _PREFIXES[base] if p)
    return f"({prefixes})?{spelled}" if prefixes else spelled


def _asked(dimensions: tuple[str, ...], example: str) -> str:
    units = " or ".join("cycles" if d == "cycle" else d for d in dimensions)
    return f"a quantity in {units}, for example `{example or EXAMPLES[dimensions[0]]}`"


def _hint(text: str) -> str:
    if re.match(r"[+-]?[0-9]+[,_ ][0-9]", text.strip()):
        return " (no separators between digits)"
    return ""


def _mixed_up(found: str, asked: tuple[str, ...]) -> str:
    if "b" in found.split("/") and found.replace("b", "B") in asked:
        return ": b is bit, B is byte"
    if any(d.split("/")[0] == found for d in asked if "/" in d):
        return ", an amount and not a rate"
    return ""


def _short(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text[:41])
    return line if len(line) <= 40 else line[:37] + "..."
