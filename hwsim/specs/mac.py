"""`MxMac`, a dot unit with its accumulator, and `SeedMac`, the same with weights from seed records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hwsim.errors import InputError
from hwsim.formats.lfsr import SeedCodec
from hwsim.specs.accumulate import Accumulator
from hwsim.specs.dot import BlockDot, Operand, Side
from hwsim.specs.requantize import Requantizer
from hwsim.specs.seed import SeedDecoder
from hwsim.timing import Chain, Timing


@dataclass(frozen=True)
class MxMac:
    """A block dot unit wired to an accumulator: rows of block pairs to float32 sums.

    accumulator: holds the dot unit's spec.
    """

    accumulator: Accumulator

    @property
    def dot(self) -> BlockDot:
        """The dot unit."""
        return self.accumulator.dot

    @property
    def timing(self) -> Timing:
        """From a row's last pair to its sum; the accumulator sets the rate."""
        return Timing(self.dot.timing.latency + self.accumulator.timing.latency, self.accumulator.timing.interval)

    def cycle_model(self) -> Chain:
        """Two pipelines; bubbles close up between them."""
        return Chain([self.dot.cycle_model(), self.accumulator.cycle_model()])

    def __call__(self, pairs: Iterable[tuple[Side, Side]]) -> int:
        """The float32 bits of one row's sum."""
        return self.accumulator(self.dot(a, b) for a, b in pairs)


@dataclass(frozen=True)
class SeedMac:
    """Seed records and blocks of activations to float32 sums: decoders, requantizer, dot unit, accumulator.

    requantizer: the weights' path; its seed blocks make exactly one target block (C divides it).
    activations: how the other operand's blocks are coded.
    interleave:  see `Accumulator`.
    """

    requantizer: Requantizer
    activations: Operand
    interleave: int | None = None

    def __post_init__(self) -> None:
        if self.requantizer.blocks != 1:
            raise InputError(
                f"SeedMac: {self.requantizer.seed_blocks} seed blocks of {self.codec.C} weights make "
                f"{self.requantizer.blocks} target blocks; write a codec whose C divides {self.requantizer.block}"
            )

    @property
    def codec(self) -> SeedCodec:
        """The seed codec."""
        return self.requantizer.codec

    @property
    def decoder(self) -> SeedDecoder:
        """Each of the decoders."""
        return self.requantizer.decoder

    @property
    def mac(self) -> MxMac:
        """The dot unit and accumulator: activations are operand a, weights operand b."""
        dot = BlockDot(self.activations, self.requantizer.operand, self.requantizer.block)
        # None: the accumulator fills it.
        return MxMac(Accumulator(dot, self.interleave))  # type: ignore[arg-type]

    @property
    def timing(self) -> Timing:
        """From a row's last block to its sum; the accumulator sets the rate."""
        parts = (self.decoder, self.requantizer, self.mac)
        return Timing(sum(part.timing.latency for part in parts), self.mac.timing.interval)

    def cycle_model(self) -> Chain:
        """Four pipelines in a row."""
        return Chain([self.decoder.cycle_model(), self.requantizer.cycle_model(), *self.mac.cycle_model().units])

    def __call__(self, rows: Iterable[tuple[Side, Sequence[int]]]) -> int:
        """The float32 bits of one row's sum from (block of activations, seed records) pairs."""
        return self.mac((a, self.requantizer([self.decoder(word) for word in words])[0]) for a, words in rows)
