"""The units, one row each: spec, component, cases, command, work per cycle, and the published points.

`python -m rtl`, `make fpga`, the benches and the tables loop over these rows; nothing else lists the units.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from amaranth.lib import wiring

from hwsim.formats.elements import Element
from hwsim.formats.lfsr import CODECS, SEEDLM4
from hwsim.specs import (
    Accel,
    Accumulator,
    Adapter,
    BlockDot,
    Gemm,
    Gemv,
    LfsrBlock,
    MxEncoder,
    MxMac,
    Nvfp4Encoder,
    Operand,
    Requantizer,
    Scale,
    SeedDecoder,
    SeedMac,
    SkidBuffer,
    operand,
)

from .accel import AccelOptions, AccelUnit
from .accumulate import AccumulatorOptions, AccumulatorUnit, accumulator_cases
from .adapter import (
    AdapterOptions,
    AdapterUnit,
    SkidBufferOptions,
    SkidBufferUnit,
    adapter_cases,
    skid_cases,
)
from .axi import PLAIN, AxiStreamsUnit, AxiStreamUnit, Outside
from .dot import BlockDotOptions, BlockDotUnit
from .dot_cases import dot_cases
from .encode import EncoderOptions, MxEncoderUnit, mx_encoder_cases
from .encode_nvfp4 import Nvfp4EncoderOptions, Nvfp4EncoderUnit, nvfp4_encoder_cases
from .gemv import GemmOptions, GemvOptions, GemvUnit
from .lfsr import LfsrBlockOptions, LfsrBlockUnit, lfsr_cases
from .mac import MxMacOptions, MxMacUnit, SeedMacOptions, SeedMacUnit, mx_mac_cases, seed_mac_cases
from .options import UnitOptions
from .requantize import RequantizerOptions, RequantizerUnit, requantizer_cases
from .scale import ScaleOptions, ScaleUnit, scale_cases
from .seed import SeedDecoderOptions, SeedDecoderUnit, seed_decoder_cases

__all__ = [
    "COMPOSITE_UNITS", "DOTS", "DUAL", "LEAF_UNITS", "UNITS", "Unit", "build", "cases", "interleave", "module_name",
    "outside", "row",
]  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """One kind of unit.

    command:     its name on the command line.
    description: the first line of the command's help.
    spec:        the class of `hwsim.specs`; the component is built from an object of it.
    cases:       (spec, n, random.Random) to `n` pairs (payload, answer), special and random. The answer is None where
                 the input ends inside the unit (a block that does not end its row), (answer, mask) where some bits
                 mean nothing, or a list of all that the input completes; a third entry is what else the cycle model is
                 told. None: a unit of several streams, which has a bench of its own.
    options:     the command's options.
    per_cycle:   of a spec, what it does per cycle: states, weights, multiply-adds or sums.
    published:   the points that `make rtl` writes, by name; see `module_name`.
    composite:   whether it is wired from other units; only those that are not are measured.
    """

    command: str
    description: str
    spec: type
    component: type[wiring.Component]
    cases: Callable[[object, int, random.Random], Iterator[tuple]] | None
    options: type[UnitOptions]
    per_cycle: Callable[[object], int]
    published: Mapping[str, object] = field(default_factory=dict)
    composite: bool = False


TARGETS = ("mxint8", "mxfp4_e2m1")
MX = ("mxfp4_e2m1", "mxfp8_e4m3", "mxint8")
"""Formats whose encoders are published; the others differ in the element alone."""
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

UNITS = (
    Unit(
        "lfsr-block",
        "All LFSR states of a seed block in one cycle.",
        LfsrBlock,
        LfsrBlockUnit,
        lfsr_cases,
        LfsrBlockOptions,
        per_cycle=lambda spec: spec.states,
        published={f"lfsr_block_{name}": LfsrBlock(codec) for name, codec in CODECS.items()},
    ),
    Unit(
        "seed-decoder",
        "A seed record to its weights, exact integers.",
        SeedDecoder,
        SeedDecoderUnit,
        seed_decoder_cases,
        SeedDecoderOptions,
        per_cycle=lambda spec: spec.codec.C,
        published={f"seed_decoder_{name}": SeedDecoder(codec) for name, codec in CODECS.items()},
    ),
    Unit(
        "requantizer",
        "Decoded seed blocks to whole blocks of an MX format.",
        Requantizer,
        RequantizerUnit,
        requantizer_cases,
        RequantizerOptions,
        per_cycle=lambda spec: spec.seed_blocks * spec.codec.C,
        published={f"requantizer_{name}_{t}": Requantizer(codec, t) for name, codec in CODECS.items() for t in TARGETS},
    ),
    Unit(
        "block-dot",
        "The exact dot product of two blocks.",
        BlockDot,
        BlockDotUnit,
        dot_cases,
        BlockDotOptions,
        per_cycle=lambda spec: spec.lanes,
        published={**{f"block_dot_{name}": dot for name, dot in DOTS.items()}, "block_dot_fp8_dual_64": DUAL},
    ),
    Unit(
        "accumulator",
        "FP32 sums of the results of a block dot unit.",
        Accumulator,
        AccumulatorUnit,
        accumulator_cases,
        AccumulatorOptions,
        per_cycle=lambda spec: 1,
        published={
            **{f"accumulator_{name}": Accumulator(dot) for name, dot in DOTS.items()},
            "accumulator_fp8_dual_64": Accumulator(DUAL),
        },
    ),
    Unit(
        "mx-mac",
        "A block dot unit with its accumulator.",
        MxMac,
        MxMacUnit,
        mx_mac_cases,
        MxMacOptions,
        per_cycle=lambda spec: spec.dot.lanes,
        published={f"mx_mac_{name}": MxMac(Accumulator(dot)) for name, dot in DOTS.items()},
        composite=True,
    ),
    Unit(
        "seed-mac",
        "Seed records and blocks of activations to FP32 sums.",
        SeedMac,
        SeedMacUnit,
        seed_mac_cases,
        SeedMacOptions,
        per_cycle=lambda spec: spec.requantizer.block,
        published={f"seed_mac_seedlm4_{t}_{t}": SeedMac(Requantizer(SEEDLM4, t), operand(t)[0]) for t in TARGETS},
        composite=True,
    ),
    Unit(
        "gemv",
        "The GEMV unit y = W x, W read from memory.",
        Gemv,
        GemvUnit,
        None,
        GemvOptions,
        per_cycle=lambda spec: spec.dot_units * spec.dot.lanes,
        composite=True,
    ),
    Unit(
        "gemm",
        "The GEMM unit Y = X W^T, W read from memory, a tile of X held on chip.",
        Gemm,
        GemvUnit,
        None,
        GemmOptions,
        per_cycle=lambda spec: spec.dot_units * spec.tile * spec.dot.lanes,
        composite=True,
    ),
    Unit(
        "encoder",
        "Blocks of numbers, FP32 or BF16, to records of a format: MX, or NVFP4 under a given tensor scale.",
        MxEncoder,
        MxEncoderUnit,
        mx_encoder_cases,
        EncoderOptions,
        per_cycle=lambda spec: spec.block,
        published={
            **{f"encoder_{name}_{source}": MxEncoder.of(name, source) for name in MX for source in ("fp32", "bf16")},
            "encoder_mxfp4_e2m1_bf16_stochastic1": MxEncoder.of("mxfp4_e2m1", "bf16", "stochastic", 1),
        },
    ),
    Unit(
        "nvfp4-encoder",
        "Blocks of FP32 or BF16 numbers and a tensor scale to records of NVFP4.",
        Nvfp4Encoder,
        Nvfp4EncoderUnit,
        nvfp4_encoder_cases,
        Nvfp4EncoderOptions,
        per_cycle=lambda spec: spec.block,
        published={f"encoder_nvfp4_{source}": Nvfp4Encoder(source) for source in ("fp32", "bf16")},
    ),
    Unit(
        "scale",
        "FP32 results times the scale of their tensor or row.",
        Scale,
        ScaleUnit,
        scale_cases,
        ScaleOptions,
        per_cycle=lambda spec: 1,
        published={"scale_fp32": Scale()},
    ),
    Unit(
        "adapter",
        "Packets of words of one width to words of another, as between a DMA and a unit.",
        Adapter,
        AdapterUnit,
        adapter_cases,
        AdapterOptions,
        per_cycle=lambda spec: min(spec.bytes_in, spec.bytes_out),
        published={f"adapter_{i}_{o}": Adapter(i, o) for i, o in ((64, 34), (34, 64), (6, 8))},
    ),
    Unit(
        "skid-buffer",
        "Two words between two units: cuts the path of tready, loses no cycle.",
        SkidBuffer,
        SkidBufferUnit,
        skid_cases,
        SkidBufferOptions,
        per_cycle=lambda spec: 1,
        published={"skid_buffer_34": SkidBuffer(34)},
    ),
    Unit(
        "accel",
        "A GEMV or GEMM unit behind AXI4, with registers and counters.",
        Accel,
        AccelUnit,
        None,
        AccelOptions,
        per_cycle=lambda spec: spec.gemv.dot_units * spec.gemv.tile * spec.gemv.dot.lanes,
        composite=True,
    ),
)
"""In the order of the data path, which tables keep."""

LEAF_UNITS = {name: spec for unit in UNITS if not unit.composite for name, spec in unit.published.items()}
"""Published specs of units that hold no other: each is measured."""

COMPOSITE_UNITS = {name: spec for unit in UNITS if unit.composite for name, spec in unit.published.items()}
"""Published specs of units wired from those."""


def row(spec) -> Unit:
    """The row of a spec."""
    return next(unit for unit in UNITS if unit.spec is type(spec))


def build(spec) -> wiring.Component:
    """The component of a spec."""
    return row(spec).component(spec)


def outside(spec, how: Outside = PLAIN) -> AxiStreamUnit | AxiStreamsUnit | AccelUnit:
    """The component of a spec as it is written: its streams as AXI4-Stream; the unit that has buses has them already.

    raises: InputError where the unit does not have what `how` asks for.
    """
    if isinstance(spec, Accel):
        return AccelUnit(spec, how)
    unit = build(spec)
    return AxiStreamsUnit(unit, how) if len(unit.signature.members) > 2 else AxiStreamUnit(unit, how)


def cases(spec, n: int, seed: int = 0) -> Iterator[tuple]:
    """`n` cases of a spec, see `Unit.cases`: special ones first or among the others; the same ones for one seed."""
    return row(spec).cases(spec, n, random.Random(seed))


def interleave(spec) -> int | None:
    """Rows that a unit takes in turn; None of units that add nothing up."""
    for name in ("gemv", "accumulator", "mac"):
        spec = getattr(spec, name, spec)
        spec = getattr(spec, "accumulator", spec)
    return spec.interleave if isinstance(spec, Accumulator) else None


def module_name(name: str, spec) -> str:
    """The Verilog module of a published point: its name, and the rows in turn where it has them."""
    rows = interleave(spec)
    return name if rows is None else f"{name}_i{rows}"
