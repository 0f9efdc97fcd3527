"""The specs under test and random cases for each, as (input payload, expected output payload)."""

import random
from dataclasses import dataclass

from cases_dot import accumulator_cases, dot_cases
from payload import pack

from hwsim.formats.elements import E2M1, E4M3, E5M2, ELEMENTS, INT8
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.specs import Accumulator, BlockDot, LfsrBlock, Operand, SeedDecoder
from rtl.accumulate import AccumulatorUnit
from rtl.dot import BlockDotUnit
from rtl.lfsr import LfsrBlockUnit
from rtl.seed import SeedDecoderUnit, weights_layout


@dataclass(frozen=True)
class Unit:
    """One unit under test: its spec, its component, the names of its ports, and its cases."""

    name: str
    spec: object
    component: type
    source: str
    sink: str
    cases: object

    def draw(self, n: int, seed: int = 0):
        """`n` cases: special ones first, then random ones; values from the spec."""
        yield from self.cases(self.spec, n, random.Random(seed))


def lfsr_cases(spec, n, draw):
    """Seeds: the extremes, 0 (which is none), then random."""
    for seed in [
        0,
        1,
        spec.codec.centre,
        spec.codec.lfsr.period,
        *(draw.randrange(1 << spec.codec.K) for _ in range(n - 4)),
    ]:
        yield seed, sum(state << spec.codec.K * i for i, state in enumerate(spec(seed)))


def seed_decoder_cases(spec, n, draw):
    """Records: extreme and zero coefficients with extreme exponents, then random words."""
    codec, layout = spec.codec, weights_layout(spec)
    for i in range(n):
        word = draw.getrandbits(codec.block_bits)
        if i < n // 4:
            q = [draw.choice([*codec.q_range, 0, -1]) for _ in range(codec.P)]
            seed = draw.choice([1, codec.centre, codec.lfsr.period, draw.randint(1, codec.lfsr.period)])
            word = codec.pack(seed, draw.choice(codec.exponent_range), q)
        exponent, weights = spec(word)
        if negate := spec.negate(word):
            weights = [-weight for weight in weights]
        yield word, pack(layout, {"exponent": exponent, "negate": negate, "weights": weights})


def lfsr(name, *args, **kwargs) -> Unit:
    """An LFSR block under test."""
    return Unit(name, LfsrBlock(*args, **kwargs), LfsrBlockUnit, "seed", "states", lfsr_cases)


def decoder(name, *args, **kwargs) -> Unit:
    """A seed decoder under test."""
    return Unit(name, SeedDecoder(*args, **kwargs), SeedDecoderUnit, "record", "weights", seed_decoder_cases)


def dot(name, *args, **kwargs) -> Unit:
    """A block dot product under test."""
    return Unit(name, BlockDot(*args, **kwargs), BlockDotUnit, "pair", "total", dot_cases)


def accumulator(name, *args, **kwargs) -> Unit:
    """An accumulator under test."""
    return Unit(name, Accumulator(*args, **kwargs), AccumulatorUnit, "total", "value", accumulator_cases)


def mx(element, scale="e8m0") -> Operand:
    """An element with a scale."""
    return Operand(element, scale)


def bdr(bits, sub_block=2, shift_bits=1) -> Operand:
    """A BDR operand."""
    return Operand(None, "e8m0", bits, sub_block, shift_bits)


TOGETHER = [
    lfsr("lfsr_seedlm4", SEEDLM4),
    decoder("decoder_seedlm4", SEEDLM4),
    dot("dot_e2m1", mx(E2M1), mx(E2M1)),
    dot("dot_nvfp4", mx(E2M1, "e4m3"), mx(E2M1, "e4m3"), lanes=16),
    dot("dot_mx4", bdr(2), bdr(2), lanes=16),
    *(dot(f"dot6_{name.lower()}", mx(element), mx(element), lanes=6) for name, element in ELEMENTS.items()),
    dot("dot6_e2m1_e4m3", mx(E2M1), mx(E4M3), lanes=6),
    dot("dot6_e2m1_int8", mx(E2M1), mx(INT8), lanes=6),
    dot("dot6_nvfp4_e4m3", mx(E2M1, "e4m3"), mx(E4M3), lanes=6),
    *(dot(f"dot6_mx{bits + 2}", bdr(bits), bdr(bits), lanes=6) for bits in (7, 4)),
    accumulator("acc_e2m1", BlockDot(mx(E2M1), mx(E2M1))),
    accumulator("acc_e4m3", BlockDot(mx(E4M3), mx(E4M3))),
    accumulator("acc_two_stages", BlockDot(mx(E2M1), mx(E2M1), lanes=1), stages=("norm", "round")),
]
"""Side by side in one cocotb build, at most a few seconds to write and to build."""

FULL = [
    decoder("decoder_seedlm3", SEEDLM3),
    *(dot(f"dot_{n.lower()}", mx(element), mx(element)) for n, element in ELEMENTS.items() if n != "E2M1"),
    dot("dot_e2m1_e4m3", mx(E2M1), mx(E4M3)),
    dot("dot_e2m1_int8", mx(E2M1), mx(INT8)),
    dot("dot_nvfp4_e4m3", mx(E2M1, "e4m3"), mx(E4M3), lanes=16),
    *(dot(f"dot_mx{bits + 2}", bdr(bits), bdr(bits), lanes=16) for bits in (7, 4)),
    accumulator("acc_e5m2", BlockDot(mx(E5M2), mx(E5M2))),
]
"""The published points whose Verilog takes longer: the slow tests."""

SMALL = [
    lfsr("lfsr_two_stages", SEEDLM4, stages=("seed", "states")),
    lfsr("lfsr_k5", SeedCodec(C=3, P=2, K=5)),
    decoder("decoder_small", SeedCodec(C=3, P=2, K=6)),
    decoder("decoder_one_coefficient", SeedCodec(C=2, P=1, K=4, coefficient_bits=2, exponent_bits=3)),
    decoder("decoder_wide_coefficients", SeedCodec(C=3, P=2, K=5, coefficient_bits=6), stages=("row0", "sum")),
    *(dot(f"dot3_{name.lower()}", mx(element), mx(element), lanes=3) for name, element in ELEMENTS.items()),
    dot("dot1_e2m1", mx(E2M1), mx(E2M1), lanes=1),
    dot("dot4_e5m2_e4m3", mx(E5M2), mx(E4M3), lanes=4),
    dot("dot4_int8_e4m3_unscaled", mx(INT8, "none"), mx(E4M3, "none"), lanes=4),
    dot("dot4_nvfp4_e5m2", mx(E2M1, "e4m3"), mx(E5M2), lanes=4),
    dot("dot5_mx9", bdr(7), bdr(7), lanes=5),
    dot("dot4_bdr_int8", bdr(7), mx(INT8), lanes=4),
    dot("dot4_bdr_deep_e4m3", bdr(4, 2, 2), mx(E4M3), lanes=4),
    accumulator("acc4_int8", BlockDot(mx(INT8), mx(INT8), lanes=4)),
    accumulator("acc4_e5m2_interleave_20", BlockDot(mx(E5M2), mx(E5M2), lanes=4), interleave=20),
]
"""Other points, small enough for Amaranth's simulator."""

BY_NAME = {unit.name: unit for unit in TOGETHER + FULL + SMALL}
