"""Units that pass bytes on: packets of words of one width to words of another, and words as they come."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from tests.rtl.independent.unit import Answers, Kind, Ports, Words


def word_of(part: bytes, width: int, draw: random.Random) -> int:
    """A word of `width` bytes with tkeep above it; bytes that do not count hold anything."""
    spare = draw.getrandbits(8 * (width - len(part))) if len(part) < width else 0
    tdata = int.from_bytes(part, "little") | spare << 8 * len(part)
    return ((1 << len(part)) - 1) << 8 * width | tdata


def kept(part: bytes, width: int) -> int:
    """The same, and bytes that do not count are 0: what the bench shows."""
    return ((1 << len(part)) - 1) << 8 * width | int.from_bytes(part, "little")


def parts(packet: bytes, width: int) -> list[bytes]:
    """Words of a packet; the last one may be short."""
    return [packet[at : at + width] for at in range(0, len(packet), width)]


def adapter_words(bytes_in: int, bytes_out: int) -> Callable[[Ports, random.Random, int], Words]:
    """Packets of one word to some dozens; lengths are whole numbers of the bytes that both widths have in common."""
    unit = math.gcd(bytes_in, bytes_out)

    def words(ports: Ports, draw: random.Random, n: int) -> Words:
        left = n
        while left:
            most = min(left, draw.choice([1, 2, 3, 8, 40]))
            size = unit * draw.randint(1, most * bytes_in // unit)
            if draw.random() < 0.4:  # whole words on one side
                width = draw.choice([bytes_in, bytes_out])
                size = max(size // width, 1) * width
            packet = draw.randbytes(min(size, left * bytes_in))
            given, taken = parts(packet, bytes_in), parts(packet, bytes_out)
            answers: Answers = tuple((int(part is taken[-1]), kept(part, bytes_out)) for part in taken)
            for i, part in enumerate(given):
                last = i == len(given) - 1
                yield word_of(part, bytes_in, draw), int(last), answers if last else ()
            left -= len(given)

    return words


def skid_words(width: int, keep: bool) -> Callable[[Ports, random.Random, int], Words]:
    """Any words, with any tkeep where there is one."""

    def words(ports: Ports, draw: random.Random, n: int) -> Words:
        for _ in range(n):
            tdata, last = draw.getrandbits(8 * width), draw.getrandbits(1)
            count = draw.getrandbits(width) if keep else (1 << width) - 1
            counted = sum(0xFF << 8 * i for i in range(width) if count >> i & 1)
            above = count << 8 * width if keep else 0
            yield above | tdata, last, ((last, above | tdata & counted),)

    return words


KINDS = (
    *(Kind(f"adapter --bytes-in {i} --bytes-out {o}", adapter_words(i, o)) for i, o in ((64, 34), (34, 64), (6, 8))),
    Kind("skid-buffer --bytes 34", skid_words(34, keep=False)),
    Kind("skid-buffer --bytes 34 --tkeep", skid_words(34, keep=True)),
)
