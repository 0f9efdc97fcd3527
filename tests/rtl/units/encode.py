"""The MX encoder under test."""

from functools import partial

from hwsim.formats.elements import E2M1, E4M3, ELEMENTS, INT8, Element
from hwsim.specs import MxEncoder
from rtl.catalog import row
from tests.rtl.mutant import RESET, Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.pipeline_changes import NOT_HELD, VALID_LOST
from tests.rtl.tested import Tested
from tests.verification.formal.encoding import every_number
from tests.verification.formal.proof import Enumeration, handshake

ENCODERS = {name: Tested(name, spec) for name, spec in row(MxEncoder.of("mxfp4")).published.items()}
PUBLISHED = ENCODERS["encoder_mxfp4_e2m1_bf16"]
FOUR = {name: Tested(f"encode4_{name.lower()}", MxEncoder(e, "fp32", block=4)) for name, e in ELEMENTS.items()}
DRAWN = Tested("encode4_e2m1_stochastic", MxEncoder(E2M1, "fp32", "stochastic", 7, block=4))

TOGETHER = [PUBLISHED, ENCODERS["encoder_mxfp4_e2m1_bf16_stochastic1"]]
FULL = [unit for unit in ENCODERS.values() if unit not in TOGETHER]
SMALL = [
    *FOUR.values(),
    Tested("encode5_e4m3_bf16", MxEncoder(E4M3, "bf16", block=5)),
    Tested("encode4_int8_bf16", MxEncoder(INT8, "bf16", block=4)),
    DRAWN,
    Tested("encode4_int8_stochastic", MxEncoder(INT8, "bf16", "stochastic", 3, block=4)),
]

TIES_AWAY = Line("encode", "up = window[0] & (window[-1] | base[0])", "up = window[0]")
LOST = Line("encode", "lost = lost | (move[bit] & value[:by].any())", "lost = lost | 0")
WRAPS = Line("encode", "return Mux(code > e.max_code, e.max_code, code)[: e.bits]", "return code[: e.bits]")

MUTANTS = [
    Mutant(FOUR["E4M3"], "a stage fewer", "timing", Without("clamp")),
    Mutant(FOUR["E4M3"], "ties away from zero", "rounding", TIES_AWAY),
    Mutant(FOUR["E2M1"], "what a shift loses forgotten", "rounding", LOST),
    Mutant(FOUR["E4M3"], "codes beside a NaN", "special",
           Line("encode", "codes.append(code & ~special.value.replicate(e.bits))", "codes.append(code)")),
    Mutant(FOUR["E5M2"], "a scale below 0", "special",
           Line("encode", "Mux(top > e.emax, (top - e.emax)[:8], 0)[:8]", "(top - e.emax)[:8]")),
    Mutant(FOUR["INT8"], "beyond the largest code", "special", WRAPS),
    Mutant(FOUR["E3M2"], "subnormal numbers without their leading one", "special",
           Line("encode", "Mux(normal, Cat(fraction, Const(1, 1)), moved)", "Cat(fraction, normal)")),
    Mutant(FOUR["E4M3"], "registers move in a stall", "back-pressure", NOT_HELD),
    Mutant(DRAWN, "the register steps in a stall", "back-pressure",
           Line("encode", "with m.If(pipe.advance & pipe.valid):", "with m.If(pipe.valid):")),
    Mutant(DRAWN, "the register goes on with the next tensor", "data",
           Line("encode", "Mux(last.value, spec.state, bits[", "Mux(0, spec.state, bits[")),
    Mutant(DRAWN, "the register survives a reset", "timing",
           Line("encode", "Signal(32, init=spec.state)", "Signal(32, init=spec.state, reset_less=True)"), RESET),
    Mutant(DRAWN, "each lane draws what the one before it should", "data",
           Line("encode", "bits[8 * (lane + 1) :][:8]", "bits[8 * lane :][:8]")),
    Mutant(DRAWN, "what is drawn is rounded to nearest", "rounding",
           Line("encode", "up = (window[:8] + drawn)[8]", "up = window[7]")),
]  # fmt: skip


def every(element: Element, broken: Line) -> Enumeration:
    """Every BF16 number beside others of several magnitudes."""
    spec = MxEncoder(element, "bf16", block=2)
    claim = f"BF16 to {element.name}: the nearest value under the scale of the block, every number beside four others"
    return Enumeration(f"numbers_{element.name.lower()}", claim, partial(every_number, spec=spec), broken)


PROOFS = [every(E2M1, LOST), every(E4M3, TIES_AWAY), every(INT8, WRAPS), handshake(PUBLISHED, VALID_LOST)]
