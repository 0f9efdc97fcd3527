"""The accumulator under test."""

from hwsim.formats.elements import E2M1, E4M3, E5M2, INT8
from hwsim.specs import Accumulator, BlockDot
from rtl.catalog import DOTS, DUAL
from tests.rtl.mutant import AT_LENGTH, RESET, Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.tested import Tested, mx
from tests.verification.formal.proof import handshake

ELSEWHERE = ("mxfp4_e2m1", "mxfp8_e4m3", "mxfp8_e5m2")
PUBLISHED = Tested("acc_e4m3", Accumulator(BlockDot(mx(E4M3), mx(E4M3))))
SUM = Tested("acc4_e5m2_interleave_20", Accumulator(BlockDot(mx(E5M2), mx(E5M2), lanes=4), interleave=20))
SUM_INT8 = Tested("acc4_int8", Accumulator(BlockDot(mx(INT8), mx(INT8), lanes=4)))

TOGETHER = [
    Tested("acc_e2m1", Accumulator(BlockDot(mx(E2M1), mx(E2M1)))),
    PUBLISHED,
    Tested("acc_two_stages", Accumulator(BlockDot(mx(E2M1), mx(E2M1), lanes=1), stages=("norm", "round"))),
]
FULL = [
    Tested("acc_e5m2", Accumulator(BlockDot(mx(E5M2), mx(E5M2)))),
    Tested("acc_fp8_dual_64", Accumulator(DUAL)),
    *(Tested(f"acc_{name}", Accumulator(spec)) for name, spec in DOTS.items() if name not in ELSEWHERE),
]
ONE_ROW = Tested("acc4_int8_one_row", Accumulator(BlockDot(mx(INT8), mx(INT8), lanes=4), interleave=1))
SMALL = [SUM_INT8, SUM, ONE_ROW]

TIES_AWAY = Line("accumulate", "up = half & (rest | kept[0])", "up = half")
KEEPS_ALL = Line("accumulate", "pipe.finish(keep=last.value)", "pipe.finish()")

MUTANTS = [
    Mutant(SUM, "a stage fewer", "timing", Without("norm")),
    Mutant(SUM, "ties away from zero", "rounding", TIES_AWAY, AT_LENGTH),
    Mutant(SUM_INT8, "the lowest bit forgotten where a sum carries out", "rounding",
           Line("accumulate", "total[: drop - 1].any()", "total[1 : drop - 1].any()")),
    Mutant(SUM_INT8, "a sum that is NaN is added to", "special",
           Line("accumulate", "special_nan = nan.value | a_nan |", "special_nan = nan.value |")),
    Mutant(SUM_INT8, "-0 and 0 make +0", "special",
           Line("accumulate", "Mux(zero.value, acc_sign.value & empty.value, sign_of_sum.value)",
                "Mux(zero.value, 0, sign_of_sum.value)")),
    Mutant(SUM_INT8, "a reset forgets which rows begin", "timing",
           Line("accumulate", "Signal(depth, init=-1)", "Signal(depth, init=-1, reset_less=True)"), RESET),
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
    Mutant(ONE_ROW, "the next block comes before the sum", "timing",
           Line("pipe", "Mux(self.valid, interval - 1,", "Mux(self.valid, interval - 2,")),
    Mutant(SUM_INT8, "a row begins at the last row's sum", "data",
           Line("accumulate", "port.data & ~begins[0].replicate(32)", "port.data")),
]  # fmt: skip

PROOFS = [handshake(PUBLISHED, KEEPS_ALL)]
