"""The scale unit under test."""

from hwsim.specs import Scale
from tests.rtl.mutant import Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.pipeline_changes import ALWAYS_READY
from tests.rtl.tested import Tested
from tests.verification.formal.proof import handshake

SCALE = Tested("scale", Scale())

TOGETHER = [SCALE]
SMALL = [SCALE, Tested("scale_three_stages", Scale(stages=("norm", "product", "round")))]

MUTANTS = [
    Mutant(SCALE, "a stage fewer", "timing", Without("pairs")),
    Mutant(SCALE, "ties away from zero", "rounding", Line("scale", "up = kept[0] & (rest | kept[1])", "up = kept[0]")),
    Mutant(SCALE, "what a subnormal loses forgotten", "rounding",
           Line("scale", "rest = rest | down[bit] & kept[:by].any()", "rest = rest | 0")),
    Mutant(SCALE, "infinity times 0 is infinite", "special",
           Line("scale", "nans[0] | nans[1] | infs[0] & zeros[1] | infs[1] & zeros[0]", "nans[0] | nans[1]")),
    Mutant(SCALE, "overflow one binade late", "special", Line("scale", "field > 254", "field > 255")),
    Mutant(SCALE, "0 times a number is a number", "special",
           Line("scale", "rounded)[:31] & ~zero.replicate(31)", "rounded)[:31]")),
    Mutant(SCALE, "accepts in a stall", "back-pressure", ALWAYS_READY),
    Mutant(SCALE, "the value's sign alone", "data",
           Line("scale", "given.value[-1] ^ given.scale[-1]", "given.value[-1]")),
]  # fmt: skip

PROOFS = [handshake(SCALE, ALWAYS_READY)]
