"""The published units by name: what `make rtl` writes and `make fpga` measures."""

from amaranth.lib import wiring

from hwsim.formats.elements import Element
from hwsim.formats.lfsr import CODECS, SEEDLM4
from hwsim.specs import (
    Accumulator,
    BlockDot,
    Gemv,
    LfsrBlock,
    MxMac,
    Operand,
    Requantizer,
    SeedDecoder,
    SeedMac,
    operand,
)

from .accumulate import AccumulatorUnit
from .dot import BlockDotUnit
from .gemv import GemvUnit
from .lfsr import LfsrBlockUnit
from .mac import MxMacUnit, SeedMacUnit
from .requantize import RequantizerUnit
from .seed import SeedDecoderUnit

__all__ = ["ALONE", "DOTS", "WHOLE", "build"]

TARGETS = ("mxint8", "mxfp4_e2m1")
FORMATS = (
    "mxfp4_e2m1", "mxfp6_e2m3", "mxfp6_e3m2", "mxint8", "mxfp8_e4m3", "mxfp8_e5m2", "nvfp4", "mx9", "mx6", "mx4",
    "fp8_e4m3", "int8",
)  # fmt: skip
PAIRS = (
    *((name, name) for name in FORMATS),
    ("mxfp4_e2m1", "mxfp8_e4m3"),
    ("mxfp4_e2m1", "mxint8"),
    ("mxfp8_e4m3", "mxfp8_e5m2"),
    ("nvfp4", "mxfp8_e4m3"),
)
DOTS = {"_".join(dict.fromkeys(pair)): BlockDot.of(*pair) for pair in PAIRS}

E5M3 = Element("E5M3", 9, 5, 3, 15, specials=8)
"""Holds every E4M3 and E5M2 value: the inside of an FP8 unit for both, without the multiplexers at its input."""
DUAL = BlockDot(Operand(E5M3, "none"), Operand(E5M3, "none"), 64)

ALONE = {
    **{f"lfsr_block_{name}": LfsrBlock(codec) for name, codec in CODECS.items()},
    **{f"seed_decoder_{name}": SeedDecoder(codec) for name, codec in CODECS.items()},
    **{f"block_dot_{name}": dot for name, dot in DOTS.items()},
    **{f"accumulator_{name}": Accumulator(dot) for name, dot in DOTS.items()},
    "block_dot_fp8_dual_64": DUAL,
    "accumulator_fp8_dual_64": Accumulator(DUAL),
    **{f"requantizer_{name}_{t}": Requantizer(codec, t) for name, codec in CODECS.items() for t in TARGETS},
}
"""Specs of units that hold no other: each is measured."""

WHOLE = {
    **{f"mx_mac_{name}": MxMac(Accumulator(dot)) for name, dot in DOTS.items()},
    **{f"seed_mac_seedlm4_{t}_{t}": SeedMac(Requantizer(SEEDLM4, t), operand(t)[0]) for t in TARGETS},
}
"""Specs of units wired from those."""

_COMPONENTS = {
    LfsrBlock: LfsrBlockUnit,
    SeedDecoder: SeedDecoderUnit,
    BlockDot: BlockDotUnit,
    Accumulator: AccumulatorUnit,
    Requantizer: RequantizerUnit,
    MxMac: MxMacUnit,
    SeedMac: SeedMacUnit,
    Gemv: GemvUnit,
}


def build(spec) -> wiring.Component:
    """The component of a spec."""
    return _COMPONENTS[type(spec)](spec)
