"""The specs under test and random cases for each, as (input payload, expected output payload)."""

import random
from dataclasses import dataclass

from hwsim.formats.elements import E2M1, E4M3, E5M2, ELEMENTS, INT8
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.specs import (
    Accumulator,
    BlockDot,
    LfsrBlock,
    MxMac,
    Operand,
    Repacker,
    Requantizer,
    SeedDecoder,
    SeedMac,
    operand,
)
from rtl.accumulate import AccumulatorUnit
from rtl.catalog import DOTS, DUAL
from rtl.dot import BlockDotUnit
from rtl.lfsr import LfsrBlockUnit
from rtl.mac import MxMacUnit, SeedMacUnit
from rtl.repack import RepackerUnit, word_layout
from rtl.requantize import RequantizerUnit
from rtl.seed import SeedDecoderUnit
from rtl.stimulus import cases
from rtl.stimulus.pack import pack


@dataclass(frozen=True)
class Unit:
    """One unit under test: its spec, its component and the names of its streams."""

    name: str
    spec: object
    component: type
    source: str
    sink: str

    def draw(self, n: int, seed: int = 0):
        """`n` cases, special and random ones; values from the spec."""
        return cases(self.spec, n, seed)


@dataclass(frozen=True)
class Gearbox(Unit):
    """A gearbox under test: an input completes any number of outputs."""

    def draw(self, n: int, seed: int = 0):
        """`n` words, one in four of them short, the last one ending them; each with the words out that it completes."""
        draw, spec, layout = random.Random(seed), self.spec, word_layout(self.spec, 1)
        held = level = 0
        for i in range(n):
            units = draw.choice([spec.bits_in // spec.unit] * 3 + [draw.randint(1, spec.bits_in // spec.unit)])
            word, bits, last, out = draw.getrandbits(spec.bits_in), units * spec.unit, i == n - 1, []
            held, level = held | (word & (1 << bits) - 1) << level, level + bits
            while level >= spec.bits_out or last and level:
                taken = min(level, spec.bits_out)
                out.append((held & (1 << taken) - 1, (1 << taken) - 1))
                held, level = held >> taken, level - taken
            yield pack(layout, {"bits": word, "units": units, "last": last}), out, {"bits": bits, "last": last}


def repacker(name, *args) -> Gearbox:
    """A gearbox under test."""
    return Gearbox(name, Repacker(*args), RepackerUnit, "given", "taken")


def lfsr(name, *args, **kwargs) -> Unit:
    """An LFSR block under test."""
    return Unit(name, LfsrBlock(*args, **kwargs), LfsrBlockUnit, "seed", "states")


def decoder(name, *args, **kwargs) -> Unit:
    """A seed decoder under test."""
    return Unit(name, SeedDecoder(*args, **kwargs), SeedDecoderUnit, "record", "weights")


def requantizer(name, *args, **kwargs) -> Unit:
    """A requantizer under test."""
    return Unit(name, Requantizer(*args, **kwargs), RequantizerUnit, "weights", "blocks")


def dot(name, *args, **kwargs) -> Unit:
    """A block dot product under test."""
    return Unit(name, BlockDot(*args, **kwargs), BlockDotUnit, "pair", "total")


def accumulator(name, *args, **kwargs) -> Unit:
    """An accumulator under test."""
    return Unit(name, Accumulator(*args, **kwargs), AccumulatorUnit, "total", "value")


def mx_mac(name, dot_spec, **kwargs) -> Unit:
    """A dot unit with accumulator under test."""
    return Unit(name, MxMac(Accumulator(dot_spec, **kwargs)), MxMacUnit, "pair", "value")


def seed_mac(name, codec, target, activations) -> Unit:
    """A seed path with dot unit and accumulator under test."""
    spec = SeedMac(Requantizer(codec, target), activations)
    return Unit(name, spec, SeedMacUnit, "records", "value")


def mx(element, scale="e8m0") -> Operand:
    """An element with a scale."""
    return Operand(element, scale)


def bdr(bits, sub_block=2, shift_bits=1) -> Operand:
    """A BDR operand."""
    return Operand(None, "e8m0", bits, sub_block, shift_bits)


TOGETHER = [
    lfsr("lfsr_seedlm4", SEEDLM4),
    decoder("decoder_seedlm4", SEEDLM4),
    requantizer("requantizer_c16", SeedCodec(C=16, P=2, K=6), "mxfp4_e2m1"),
    dot("dot_e2m1", mx(E2M1), mx(E2M1)),
    dot("dot_nvfp4", mx(E2M1, "e4m3"), mx(E2M1, "e4m3"), lanes=16),
    dot("dot_mx4", bdr(2), bdr(2), lanes=16),
    *(dot(f"dot4_{name.lower()}", mx(element), mx(element), lanes=4) for name, element in ELEMENTS.items()),
    dot("dot4_e2m1_e4m3", mx(E2M1), mx(E4M3), lanes=4),
    dot("dot4_e2m1_int8", mx(E2M1), mx(INT8), lanes=4),
    dot("dot4_nvfp4_e4m3", mx(E2M1, "e4m3"), mx(E4M3), lanes=4),
    *(dot(f"dot4_mx{bits + 2}", bdr(bits), bdr(bits), lanes=4) for bits in (7, 4)),
    seed_mac("seed_mac_c32", SeedCodec(C=32, P=1, K=5), "mxfp4_e2m1", mx(E2M1)),
    accumulator("acc_e2m1", BlockDot(mx(E2M1), mx(E2M1))),
    mx_mac("mac_mxfp4", BlockDot(mx(E2M1), mx(E2M1), lanes=8)),
    accumulator("acc_e4m3", BlockDot(mx(E4M3), mx(E4M3))),
    accumulator("acc_two_stages", BlockDot(mx(E2M1), mx(E2M1), lanes=1), stages=("norm", "round")),
]
"""Side by side in one cocotb build, at most a few seconds to write and to build."""

ACCUMULATED = ("mxfp4_e2m1", "mxfp8_e4m3", "mxfp8_e5m2")
FULL = [
    requantizer("requantizer_mxint8", SEEDLM4, "mxint8"),
    requantizer("requantizer_mxfp4", SEEDLM4, "mxfp4_e2m1"),
    seed_mac("seed_mac_mxint8", SEEDLM4, "mxint8", mx(INT8)),
    seed_mac("seed_mac_mxfp4_e4m3", SEEDLM4, "mxfp4_e2m1", mx(E4M3)),
    mx_mac("mac_mxfp8", BlockDot(mx(E4M3), mx(E4M3))),
    mx_mac("mac_nvfp4", BlockDot(mx(E2M1, "e4m3"), mx(E2M1, "e4m3"), lanes=16)),
    requantizer("requantizer_seedlm3_mxint8", SEEDLM3, "mxint8"),
    requantizer("requantizer_seedlm3_mxfp4", SEEDLM3, "mxfp4_e2m1"),
    decoder("decoder_seedlm3", SEEDLM3),
    *(dot(f"dot_{n.lower()}", mx(element), mx(element)) for n, element in ELEMENTS.items() if n != "E2M1"),
    dot("dot_e2m1_e4m3", mx(E2M1), mx(E4M3)),
    dot("dot_e2m1_int8", mx(E2M1), mx(INT8)),
    dot("dot_nvfp4_e4m3", mx(E2M1, "e4m3"), mx(E4M3), lanes=16),
    *(dot(f"dot_mx{bits + 2}", bdr(bits), bdr(bits), lanes=16) for bits in (7, 4)),
    accumulator("acc_e5m2", BlockDot(mx(E5M2), mx(E5M2))),
    lfsr("lfsr_seedlm3", SEEDLM3),
    dot("dot_fp8", mx(E4M3, "none"), mx(E4M3, "none")),
    dot("dot_int8_dense", operand("int8")[0], operand("int8")[0]),
    dot("dot_e4m3_e5m2", mx(E4M3), mx(E5M2)),
    dot("dot_fp8_dual_64", DUAL.a, DUAL.b, lanes=64),
    accumulator("acc_fp8_dual_64", DUAL),
    *(accumulator(f"acc_{name}", spec) for name, spec in DOTS.items() if name not in ACCUMULATED),
]
"""The published points whose Verilog takes longer: the slow tests."""

SMALL = [
    lfsr("lfsr_two_stages", SEEDLM4, stages=("seed", "states")),
    lfsr("lfsr_k5", SeedCodec(C=3, P=2, K=5)),
    decoder("decoder_small", SeedCodec(C=3, P=2, K=6)),
    decoder("decoder_one_coefficient", SeedCodec(C=2, P=1, K=4, coefficient_bits=2, exponent_bits=3)),
    decoder("decoder_wide_coefficients", SeedCodec(C=3, P=2, K=5, coefficient_bits=6), stages=("row0", "sum")),
    requantizer("requantizer_c32", SeedCodec(C=32, P=1, K=5), "mxint8"),
    requantizer("requantizer_c16_mxint8", SeedCodec(C=16, P=2, K=6), "mxint8"),
    *(dot(f"dot3_{name.lower()}", mx(element), mx(element), lanes=3) for name, element in ELEMENTS.items()),
    dot("dot1_e2m1", mx(E2M1), mx(E2M1), lanes=1),
    dot("dot1_e5m2_int8", mx(E5M2), mx(INT8), lanes=1),
    dot("dot4_e5m2_e4m3", mx(E5M2), mx(E4M3), lanes=4),
    dot("dot4_int8_e4m3_unscaled", mx(INT8, "none"), mx(E4M3, "none"), lanes=4),
    dot("dot4_nvfp4_e5m2", mx(E2M1, "e4m3"), mx(E5M2), lanes=4),
    dot("dot5_mx9", bdr(7), bdr(7), lanes=5),
    dot("dot4_bdr_int8", bdr(7), mx(INT8), lanes=4),
    dot("dot4_bdr_deep_e4m3", bdr(4, 2, 2), mx(E4M3), lanes=4),
    mx_mac("mac3_int8", BlockDot(mx(INT8), mx(INT8), lanes=3)),
    mx_mac("mac1_e5m2", BlockDot(mx(E5M2), mx(E5M2), lanes=1), interleave=17),
    seed_mac("seed_mac_small", SeedCodec(C=32, P=1, K=5), "mxfp4_e2m1", mx(E2M1)),
    repacker("gearbox_32_36", 32, 36, 4),
    repacker("gearbox_36_8", 36, 8, 4),
    repacker("gearbox_3_4_spare", 3, 4, 1, 1),
    accumulator("acc4_int8", BlockDot(mx(INT8), mx(INT8), lanes=4)),
    accumulator("acc4_e5m2_interleave_20", BlockDot(mx(E5M2), mx(E5M2), lanes=4), interleave=20),
]
"""Other points, small enough for Amaranth's simulator."""

BY_NAME = {unit.name: unit for unit in TOGETHER + FULL + SMALL}
