"""The table of mutants: units with one line changed, and the test that must see each.

A mutant is its unit's gates alone: values and timing of the test are the true spec's. `kind` is timing, rounding (of
units that round nothing: the nearest, a sign, an offset or a width), special (a special value), back-pressure, data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace

from tests.rtl.cases import BY_NAME, Unit
from tests.verification.changes import (
    ALWAYS_READY,
    BESIDE_FREE,
    FROM_SEED,
    HALF_CARRY,
    JOIN_READY,
    LEAST_IS_ZERO,
    MINUS_8,
    NAN_UNSEEN,
    NODE_PENDING,
    NODE_WIDTH,
    NOT_HELD,
    ONES_TO_ZERO,
    STICKY_LOST,
    SUBNORMAL,
    TIES_AWAY,
    WORD_LATE,
)
from tests.verification.mutation import Line, fresh

AT_ONCE, AT_LENGTH, RESET = "test_value_and_time", "test_at_length", "test_reset_in_mid_stream_is_a_new_unit"


@dataclass(frozen=True)
class Without:
    """Gates built from the spec without one of its stages."""

    stage: str

    def __call__(self, spec):
        """The spec without the stage, wherever it is in it."""
        if self.stage in getattr(spec, "stages", ()):
            return replace(spec, stages=tuple(stage for stage in spec.stages if stage != self.stage))
        for field in fields(spec):
            inner = getattr(spec, field.name)
            if is_dataclass(inner) and (changed := self(inner)) is not inner:
                return replace(spec, **{field.name: changed})
        return spec

    def __str__(self) -> str:
        return f"spec: stages without {self.stage!r}"


@dataclass(frozen=True)
class Mutant:
    """One mutant: the unit under test by its name in `cases`, what is changed, and which test of test_units sees it."""

    unit: str
    name: str
    kind: str
    change: Line | Without
    killed_by: str = AT_ONCE

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.unit}-{self.name.replace(' ', '_')}"

    def build(self) -> Unit:
        """The unit under test with the mutant's gates.

        raises: LookupError when the change no longer applies to exactly one place.
        """
        unit = BY_NAME[self.unit]
        component: Callable = unit.component
        if isinstance(self.change, Line):
            rtl = fresh(self.change)
            component = getattr(getattr(rtl, unit.component.__module__.removeprefix("rtl.")), unit.component.__name__)
            return replace(unit, component=component)
        change = self.change
        if change(unit.spec) == unit.spec:
            raise LookupError(f"{self.unit} has no stage {change.stage!r}; mend the mutant")
        return replace(unit, component=lambda spec: component(change(spec)))


# Of the pipeline that all units are built on; those that proofs use too are in `changes`.
STOPS_EMPTY = Line("pipe", "self.advance.eq(sink.ready | ~sink.valid)", "self.advance.eq(sink.ready)")
VALID_STAYS = Line("pipe", 'valid = Signal(name=f"{stage}_valid")',
                   'valid = Signal(name=f"{stage}_valid", reset_less=True)')  # fmt: skip

LFSR = "lfsr_two_stages"
DECODER = "decoder_small"
TO_INT8, TO_FP4 = "requantizer_c16_mxint8", "requantizer_c16"
SUM, SUM_INT8 = "acc4_e5m2_interleave_20", "acc4_int8"
MAC, MAC_E5M2 = "mac3_int8", "mac1_e5m2"
SEED = "seed_mac_small"
GEARBOX, GEARBOX_3 = "gearbox_32_36", "gearbox_3_4_spare"

MUTANTS = [
    Mutant(LFSR, "a stage fewer", "timing", Without("seed")),
    Mutant(LFSR, "emission begins with the seed", "rounding", FROM_SEED),
    Mutant(LFSR, "seed 0 taken as 1", "special",
           Line("lfsr", "stream_bits(spec.codec.lfsr, seed,", "stream_bits(spec.codec.lfsr, seed | ~seed.any(),")),
    Mutant(LFSR, "seed of all ones taken as 0", "special", ONES_TO_ZERO),
    Mutant(LFSR, "registers move in a stall", "back-pressure", NOT_HELD),
    Mutant(LFSR, "one tap forgotten", "data", Line("lfsr", "if mask >> i & 1)", "if (mask & ~8) >> i & 1)")),
    Mutant(LFSR, "valid bits survive a reset", "timing", VALID_STAYS, RESET),

    Mutant(DECODER, "a stage fewer", "timing", Without("stream")),
    Mutant(DECODER, "sum one bit too narrow", "rounding",
           Line("seed", "add(low[2:].as_signed(), total, width - 2,", "add(low[2:].as_signed(), total, width - 3,")),
    Mutant(DECODER, "coefficient -8 taken as -7", "special", MINUS_8),
    Mutant(DECODER, "accepts in a stall", "back-pressure", ALWAYS_READY),
    Mutant(DECODER, "carry of a negative row lost", "data",
           Line("seed", "signed_bits(bound), digit.value[2])", "signed_bits(bound), 0)")),
    Mutant(DECODER, "states not centred", "data", Line("seed", "~state[-1]", "state[-1]")),

    Mutant(TO_INT8, "a stage fewer", "timing", Without("any")),
    Mutant(TO_INT8, "ties away from zero", "rounding",
           Line("requantize", "up = guard & (sticky | kept[0]) &", "up = guard &")),
    Mutant(TO_INT8, "ties to zero", "rounding",
           Line("requantize", "up = guard & (sticky | kept[0]) &", "up = guard & sticky &")),
    Mutant(TO_INT8, "127 rounded up", "special", Line("requantize", "& ~kept.all()", "")),
    Mutant(TO_INT8, "a part of zeros has an exponent", "special",
           Line("requantize", "tops.append(top & bits.any().replicate(TOP_BITS))", "tops.append(top)")),
    Mutant(TO_INT8, "registers move in a stall", "back-pressure", NOT_HELD),
    Mutant(TO_FP4, "sticky bit lost", "rounding", STICKY_LOST),
    Mutant(TO_FP4, "a negative weight loses its sign where only lost bits are left", "special",
           Line("requantize", "return window.any() | sticky", "return window.any()")),

    Mutant("dot3_e4m3", "a stage fewer", "timing", Without("tree1")),
    Mutant("dot3_e4m3", "subnormals one exponent too low", "rounding", SUBNORMAL),
    Mutant("dot3_e4m3", "NaN elements not seen", "special", NAN_UNSEEN),
    Mutant("dot3_e5m2", "infinities of both signs are infinite", "special",
           Line("dot", "nan = bits[0] | (bits[1] & bits[2])", "nan = bits[0]"), AT_LENGTH),
    Mutant("dot3_e5m2", "infinity times zero is infinite", "special",
           Line("dot", "nans.append(undefined)", "nans.append(undefined & a.inf & b.inf)"), AT_LENGTH),
    Mutant("dot1_e5m2_int8", "infinity times the least integer is undefined", "special", LEAST_IS_ZERO, AT_LENGTH),
    Mutant("dot3_e4m3", "stops when empty", "back-pressure", STOPS_EMPTY),
    Mutant("dot3_int8", "pending carry of a product lost", "data", NODE_PENDING),
    Mutant("dot3_e5m2", "carry between the halves of a sum lost", "data", HALF_CARRY),
    Mutant("dot3_e2m1", "last level one bit too narrow", "rounding", NODE_WIDTH),
    Mutant("dot4_nvfp4_e5m2", "sign of the scale ignored", "special",
           Line("dot", "scale_sign = scales[0][3] ^ scales[1][3]", "scale_sign = Const(0, 1)")),

    Mutant(SUM, "a stage fewer", "timing", Without("norm")),
    Mutant(SUM, "ties away from zero", "rounding", TIES_AWAY, AT_LENGTH),
    Mutant(SUM, "what falls out by the last shift forgotten", "rounding",
           Line("accumulate", "Cat(aligned[0] | low, aligned[1:])", "aligned"), AT_LENGTH),
    Mutant(SUM, "infinity minus infinity is infinite", "special",
           Line("accumulate", "| (inf.value & a_inf & (sign.value ^ a_sign))", ""), AT_LENGTH),
    Mutant(SUM, "exact cancellation keeps a sign", "special",
           Line("accumulate", "acc_sign.value & empty.value, sign_of_sum.value", "acc_sign.value, sign_of_sum.value"),
           AT_LENGTH),
    Mutant(SUM, "subnormals shifted one place too far", "special",
           Line("accumulate", "limited = frame.value < zeros", "limited = frame.value + 1 < zeros"), AT_LENGTH),
    Mutant(SUM, "a sum of 0 is added as if it were not", "special",
           Line("accumulate", "empty = ~magnitude.any()", "empty = Const(0, 1)"), AT_LENGTH),
    Mutant(SUM_INT8, "rows advance in a stall", "back-pressure",
           Line("accumulate", "with m.If(pipe.advance & pipe.valid):\n            m.d.sync += slot.eq(",
                "with m.If(pipe.valid):\n            m.d.sync += slot.eq(")),
    Mutant(SUM_INT8, "a row begins at the last row's sum", "data",
           Line("accumulate", "port.data & ~begins[0].replicate(32)", "port.data")),

    Mutant(MAC, "a stage fewer", "timing", Without("tree1")),
    Mutant(MAC, "ties away from zero", "rounding", TIES_AWAY, AT_LENGTH),
    Mutant(MAC, "NaN scale not seen", "special",
           Line("lane", "return None, code, code.all(), Const(0, 1)", "return None, code, Const(0, 1), Const(0, 1)"),
           AT_LENGTH),
    Mutant(MAC, "accepts between the units in a stall", "back-pressure", JOIN_READY),
    Mutant(MAC, "a row's end one stage early", "data",
           Line("dot", "            last.value,\n", "            pair.last,\n")),
    Mutant(MAC_E5M2, "overflow one binade late", "special",
           Line("accumulate", "overflow = (field.value >= 255)", "overflow = (field.value > 255)"), AT_LENGTH),

    Mutant(SEED, "a stage fewer", "timing", Without("clamp")),
    Mutant(SEED, "sticky bit of the requantizer lost", "rounding", STICKY_LOST),
    Mutant(SEED, "coefficient -8 taken as -7", "special", MINUS_8),
    Mutant(SEED, "activations move on with the source", "back-pressure", BESIDE_FREE),
    Mutant(SEED, "activations one stage early", "data",
           Line("mac", "for _ in range(unit.spec.timing.latency):",
                "for _ in range(unit.spec.timing.latency - (unit is requantizer)):")),

    Mutant(GEARBOX, "a word is offered one unit late", "timing",
           Line("repack", "(level >= per_out)", "(level > per_out)")),
    Mutant(GEARBOX, "what is left begins one unit too high", "rounding",
           Line("repack", "held[per_out * bits :]", "held[(per_out + 1) * bits :]")),
    Mutant(GEARBOX, "a short word counts as a whole one", "special",
           Line("repack", "Mux(enters, given.payload.units, 0)", "Mux(enters, per_in, 0)")),
    Mutant(GEARBOX, "what is left after the last word stays", "special",
           Line("repack", " | ended & level.any()", "")),
    Mutant(GEARBOX, "takes a word without room", "back-pressure",
           Line("repack", "given.ready.eq(level <= depth - per_in)", "given.ready.eq(1)")),
    Mutant(GEARBOX_3, "a word leaves that is not taken", "back-pressure",
           Line("repack", "leaves.eq(taken.valid & taken.ready)", "leaves.eq(taken.valid)")),
    Mutant(GEARBOX_3, "the first unit of a word keeps what was there", "data", WORD_LATE),
]  # fmt: skip
