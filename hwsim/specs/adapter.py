"""`Adapter`, AXI4-Stream words of one width to words of another, and `SkidBuffer`, which cuts the ready path."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hwsim.errors import InputError
from hwsim.specs.gemv import Repacker
from hwsim.timing import Gearbox, Timing

BYTES_MAX = 256
"""Bytes of the widest word, twice what AXI DMAs have."""


def _width(of: str, size: int) -> Iterator[str]:
    if not 1 <= size <= BYTES_MAX:
        yield f"{of}: {size} bytes; write 1 to {BYTES_MAX}"


@dataclass(frozen=True)
class Adapter:
    """Packets of words of one width to packets of words of another, byte by byte in their order.

    bytes_in, bytes_out: widths. The last word of a packet may hold fewer bytes, the low ones, as `tkeep` says; the
    length of a packet is a multiple of `unit_bytes`, which it is where one side's words are whole.

    A packet begins in a new word, and is not let in before the one before has left.
    """

    bytes_in: int
    bytes_out: int

    def __post_init__(self) -> None:
        problems = [*_width("Adapter: a word in", self.bytes_in), *_width("Adapter: a word out", self.bytes_out)]
        if self.bytes_in == self.bytes_out:
            problems.append(f"Adapter: {self.bytes_in} bytes in and out; write two widths, or take a skid buffer")
        if problems:
            raise InputError(*problems)

    @property
    def unit_bytes(self) -> int:
        """Bytes that move together: the greatest common divisor of both widths."""
        return math.gcd(self.bytes_in, self.bytes_out)

    @property
    def gearbox(self) -> Repacker:
        """What holds the bytes."""
        return Repacker(8 * self.bytes_in, 8 * self.bytes_out, 8 * self.unit_bytes)

    @property
    def timing(self) -> Timing:
        """From the word that completes a word out to its offer."""
        return Timing(1)

    def cycle_model(self) -> Gearbox:
        """The handshake, cycle by cycle."""
        spec = self.gearbox
        return Gearbox(spec.bits_in, spec.bits_out, spec.depth, packets=True)

    def __call__(self, packet: bytes) -> list[bytes]:
        """The words that a packet leaves in; the last one may be short.

        raises: InputError for a length that is no multiple of `unit_bytes`.
        """
        if not packet or len(packet) % self.unit_bytes:
            raise InputError(f"Adapter: a packet of {len(packet)} bytes; write a multiple of {self.unit_bytes}")
        return [packet[at : at + self.bytes_out] for at in range(0, len(packet), self.bytes_out)]


@dataclass(frozen=True)
class SkidBuffer:
    """Two words between two units: `tready` and `tvalid` come from registers, and no cycle is lost.

    bytes_wide: of tdata. keep: whether tkeep passes through with its word, as tlast does.
    """

    bytes_wide: int
    keep: bool = False

    def __post_init__(self) -> None:
        if problems := list(_width("SkidBuffer: a word", self.bytes_wide)):
            raise InputError(*problems)

    @property
    def timing(self) -> Timing:
        """A word is offered in the cycle after it came."""
        return Timing(1)

    def cycle_model(self) -> Gearbox:
        """The handshake, cycle by cycle: whole words, two of them."""
        return Gearbox(1, 1, 2)

    def __call__(self, word: int) -> int:
        """The same word."""
        return word
