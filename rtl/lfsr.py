"""`LfsrBlock` as RTL, its cases and the options of its command."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.formats.lfsr import Lfsr
from hwsim.specs import LfsrBlock

from .options import SeedOptions, StageOptions
from .pipe import Pipe

__all__ = ["LfsrBlockOptions", "LfsrBlockUnit", "lfsr_cases", "stream_bits"]


def stream_bits(lfsr: Lfsr, seed: Value, n: int) -> Value:
    """The seed and the next n bits of the LFSR's bit stream, each the parity of a fixed mask of seed bits."""
    return Cat(seed, *(Cat(seed[i] for i in range(lfsr.width) if mask >> i & 1).xor() for mask in lfsr.masks(n)))


class LfsrBlockUnit(wiring.Component):
    """All C x P states of a seed block, together.

    Latency `len(spec.stages)`, interval 1, rigid. The states are windows of one stream of K + C P bits, so only
    that stream is held; there is no state register.

    Ports:
    seed    in, stream:  K bits; 0 is no seed, which specs and formats refuse: the unit answers it with zeros.
    states  out, stream: C P words of K bits in the order of emission, the first in the least significant bits.

    meaning: of a port that is plain bits, the layout of what they hold.

    source: SeedLM (arXiv 2410.10714), Algorithm 1.
    """

    def __init__(self, spec: LfsrBlock):
        self.spec = spec
        width = spec.codec.K
        super().__init__(
            {
                "seed": In(stream.Signature(width)),
                "states": Out(stream.Signature(width * spec.states)),
            }
        )
        self.meaning = {"states": data.ArrayLayout(width, spec.states)}

    def elaborate(self, platform) -> Module:
        """The XOR trees between the cuts of `LfsrBlock.cuts`."""
        m = Module()
        spec, width = self.spec, self.spec.codec.K
        pipe = Pipe(m, spec, self.seed, self.states)
        (seed,) = pipe.cut("seed", self.seed.payload)
        (bits,) = pipe.cut("states", stream_bits(spec.codec.lfsr, seed, spec.states))
        # One assignment of the whole bus: lane by lane it is fifty times slower in Icarus.
        m.d.comb += self.states.payload.eq(Cat(bits[n : n + width] for n in range(1, spec.states + 1)))
        pipe.finish()
        return m


def lfsr_cases(spec, n, draw):
    """Seeds: the extremes, then random; 0 is none."""
    width, period = spec.codec.K, spec.codec.lfsr.period
    special = [1, spec.codec.centre, period]
    for seed in [*special, *(draw.randint(1, period) for _ in range(n - len(special)))][:n]:
        yield seed, sum(state << width * i for i, state in enumerate(spec(seed)))


@dataclass(frozen=True)
class LfsrBlockOptions(StageOptions, SeedOptions):
    """Options of `lfsr-block`."""

    def unit(self) -> tuple[LfsrBlock, str]:
        """The spec, and the name of the Verilog module."""
        return self.staged(LfsrBlock(self.codec), f"lfsr_block_{self.format}")
