"""What a unit's streams hold, as the command describes it, and what a kind of unit is asked and answers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

Answers = tuple[tuple[int, object], ...]
"""What leaves the unit because of an input: (tlast, answer) of each word."""

Words = Iterator[tuple[int, int, Answers]]
"""(the word, tlast, what leaves because of it). A word is tdata; where a stream has tkeep, that stands above it."""


@dataclass(frozen=True)
class Ports:
    """The streams of a unit: prefix, bits of tdata and of tkeep (0 without one) of each; fields as (low, width).

    offset: what the command says to add to the field `exponent`.
    """

    module: str
    taken: str
    taken_bits: int
    taken_keep: int
    given: str
    given_bits: int
    given_keep: int
    fields: dict[str, dict[str, tuple[int, int]]] = field(repr=False)
    offset: int = 0

    @classmethod
    def of(cls, printed: str, verilog: str) -> Ports:
        """From what the command prints and the file it writes."""
        module = re.search(r"module (\w+),", printed)[1]
        streams = re.findall(r"^  ([sm]_axis_\w+)_tdata\[(\d+):0\]: (.*)$", printed, re.M)
        keep = {name: int(top or 0) + 1 for top, name in
                re.findall(r"^  (?:input|output) +(?:\[(\d+):0\] )?(\w+)_tkeep$", verilog, re.M)}  # fmt: skip
        fields = {}
        for prefix, _, said in streams:
            found = re.findall(r"([\w.\[\]]+) (\d+)(?::(\d+))?(?= signed| \(|,|;|$)", said)
            fields[prefix] = {name: (int(low or high), int(high) - int(low or high) + 1) for name, high, low in found}
        offset = re.search(r"2\^\(exponent ([+-]\d+)\)", printed)
        (taken, taken_top, _), (given, given_top, _) = streams
        return cls(
            module,
            taken, int(taken_top) + 1, keep.get(taken, 0),
            given, int(given_top) + 1, keep.get(given, 0),
            fields, int(offset[1]) if offset else 0,
        )  # fmt: skip

    def pack(self, **values: int) -> int:
        """An input word; its fields by name."""
        word = 0
        for name, value in values.items():
            low, width = self.fields[self.taken][name]
            assert -(1 << width - 1) <= value < 1 << width, (name, value, width)
            word |= (value & (1 << width) - 1) << low
        return word

    def cut(self, word: int, name: str, signed: bool = False) -> int:
        """A field of an output word."""
        low, width = self.fields[self.given][name]
        value = word >> low & (1 << width) - 1
        return value - (1 << width) if signed and value >> width - 1 else value


def joined(values: Iterable[int], width: int) -> int:
    """Values one above the other, the first lowest."""
    word = 0
    for i, value in enumerate(values):
        word |= (value & (1 << width) - 1) << width * i
    return word


def parted(word: int, width: int, count: int, signed: bool = False) -> list[int]:
    """The opposite of `joined`."""
    values = [word >> width * i & (1 << width) - 1 for i in range(count)]
    return [v - (1 << width) if signed and v >> width - 1 else v for v in values]


def plain(ports: Ports, word: int, answer: object) -> bool:
    """Whether a word is the answer, bit by bit."""
    return word == answer


@dataclass(frozen=True)
class Kind:
    """One unit.

    command: of `python -m rtl`.
    words:   (ports, draw, n) to `n` inputs and their answers.
    right:   whether a word that left is the answer; bytes whose tkeep is 0 are 0 in it.
    """

    command: str
    words: Callable[[Ports, random.Random, int], Words]
    right: Callable[[Ports, int, object], bool] = plain
