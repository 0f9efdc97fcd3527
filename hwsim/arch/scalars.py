"""The types of a machine file's fields: text with a unit, a format's name, a tile. And numbers back to such text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, TypeGuard

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from hwsim.errors import InputError
from hwsim.files.fields import asked
from hwsim.files.yaml import short
from hwsim.formats.layout import Layout
from hwsim.formats.names import ALIASES, NAMES, layout
from hwsim.quantities import DURATION, Quantity, pattern, quantity, rate, write

TILE_PATTERN = r"^[1-9][0-9]{0,6}x[1-9][0-9]{0,6}x[1-9][0-9]{0,6}$"


class Read:
    """How a field reads its text.

    read:   the text's value; raises InputError, whose message becomes that of the field.
    schema: the JSON Schema that tells editors the same.
    """

    def __init__(self, read: Callable[[Any], Any], schema: dict[str, Any]):
        self.read, self.schema = read, schema

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """What pydantic validates the field with."""
        return core_schema.no_info_plain_validator_function(asked(self.read))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """What pydantic writes into the JSON Schema."""
        return dict(self.schema)


def _in(*dimensions: str, zero: bool = False) -> Read:
    """Reads a quantity of one of the dimensions."""
    schema = {"type": "string", "pattern": pattern(*dimensions)}
    return Read(lambda text: quantity(text, *dimensions, zero=zero), schema)


def _read_size(text: Any) -> int:
    value = quantity(text, "B").value
    if value.denominator != 1:
        raise InputError(f"`{short(text)}` is not a whole number of bytes; write for example `64 B`")
    return int(value)


def _read_format(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch("[a-z0-9_]{1,32}", name):
        raise InputError(f"`{short(name)}` is not the name of a format; write for example bf16, fp8_e4m3 or int8")
    return layout(name).name


def _read_layout(given: Any) -> Layout:
    if isinstance(given, Mapping):
        return layout(given)
    return layout(_read_format(given))


def is_file(given: object) -> TypeGuard[str]:
    """Whether what stands in the place of a format is the path of a file that defines one."""
    return isinstance(given, str) and given.endswith((".yaml", ".yml"))


def _read_state(name: Any) -> str:
    plain = name.removesuffix("_sr") if isinstance(name, str) else name
    return _read_format(plain) + ("_sr" if plain != name else "")


def _read_tile(text: Any) -> tuple[int, int, int]:
    if not isinstance(text, str) or not re.fullmatch(TILE_PATTERN, text):
        raise InputError(f"`{short(text)}` is not a tile; write MxNxK, for example `512x256x512`")
    m, n, k = map(int, text.split("x"))
    return m, n, k


_FORMATS = [*NAMES, *ALIASES]

Duration = Annotated[Quantity, _in(*DURATION)]
Latency = Annotated[Quantity, _in(*DURATION, zero=True)]
Frequency = Annotated[Quantity, _in("Hz")]
Power = Annotated[Quantity, _in("W")]
Energy = Annotated[Quantity, _in("J")]
ByteEnergy = Annotated[Quantity, _in("J/B")]
Area = Annotated[Quantity, _in("um2")]
ByteRate = Annotated[Quantity, _in(*rate("B"))]
MacRate = Annotated[Quantity, _in(*rate("MAC"))]
ElementRate = Annotated[Quantity, _in(*rate("element"))]
WeightRate = Annotated[Quantity, _in(*rate("weight"))]
BlockRate = Annotated[Quantity, _in(*rate("block"))]
Size = Annotated[int, Read(_read_size, {"type": "string", "pattern": pattern("B")})]
FormatName = Annotated[str, Read(_read_format, {"type": "string", "enum": _FORMATS})]
OwnFormat = Annotated[
    Layout,
    Read(
        _read_layout,
        {"anyOf": [{"enum": _FORMATS}, {"type": "string", "pattern": r"\.ya?ml$"}, {"type": "object"}]},
    ),
]
StateName = Annotated[
    str, Read(_read_state, {"type": "string", "enum": [f + s for s in ("", "_sr") for f in _FORMATS]})
]
Tile = Annotated[tuple[int, int, int], Read(_read_tile, {"type": "string", "pattern": TILE_PATTERN})]


def whole_cycles(duration: Quantity | None, clock: Fraction) -> int:
    """A duration in cycles of the clock, rounded up; None is 0."""
    return ceil(duration.cycles(clock)) if duration else 0


def cycles_text(cycles: int | Fraction) -> str:
    """`40 cycles`."""
    return write(cycles, "cycle")


def size_text(nbytes: int) -> str:
    """`64 B`, `1 MiB`, `141 GB`."""
    return write(nbytes, "B")


def tile_text(tile: tuple[int, int, int]) -> str:
    """`512x256x512`."""
    return "x".join(map(str, tile))


def byte_rate_text(per_cycle: Fraction, clock: Fraction) -> str:
    """A bandwidth per second, or per cycle where that is the shorter text."""
    return _shorter(write(per_cycle * clock, "B/s"), write(per_cycle, "B/cycle"))


def duration_text(cycles: Fraction, clock: Fraction) -> str:
    """A duration in seconds, or in cycles where that is the shorter text."""
    return _shorter(write(cycles / clock, "s"), write(cycles, "cycle"))


_LONG = 16


def _shorter(first: str, second: str) -> str:
    """The first text, unless it is long or holds a fraction and the second does not."""
    return min((first, second), key=lambda text: ("/" in text.split(" ")[0], len(text) > _LONG))
