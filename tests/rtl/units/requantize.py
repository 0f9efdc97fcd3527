"""The requantizer under test."""

from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.specs import Requantizer
from tests.rtl.mutant import Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.pipeline_changes import NOT_HELD, VALID_LOST
from tests.rtl.tested import Tested
from tests.verification.formal.proof import handshake

TO_INT8 = Tested("requantizer_c16_mxint8", Requantizer(SeedCodec(C=16, P=2, K=6), "mxint8"))
TO_FP4 = Tested("requantizer_c16", Requantizer(SeedCodec(C=16, P=2, K=6), "mxfp4_e2m1"))
PUBLISHED = Tested("requantizer_mxint8", Requantizer(SEEDLM4, "mxint8"))

TOGETHER = [TO_FP4]
FULL = [
    PUBLISHED,
    Tested("requantizer_mxfp4", Requantizer(SEEDLM4, "mxfp4_e2m1")),
    Tested("requantizer_seedlm3_mxint8", Requantizer(SEEDLM3, "mxint8")),
    Tested("requantizer_seedlm3_mxfp4", Requantizer(SEEDLM3, "mxfp4_e2m1")),
]
FAR = Tested("requantizer_c16k16", Requantizer(SeedCodec(C=16, P=2, K=16), "mxint8"))
SMALL = [Tested("requantizer_c32", Requantizer(SeedCodec(C=32, P=1, K=5), "mxint8")), TO_INT8, FAR]

STICKY_LOST = Line("requantize", "index = Cat(sticky, window)", "index = Cat(Const(0, 1), window)")

MUTANTS = [
    Mutant(TO_INT8, "a stage fewer", "timing", Without("any")),
    Mutant(TO_INT8, "ties away from zero", "rounding",
           Line("requantize", "up = guard & (sticky | kept[0]) &", "up = guard &")),
    Mutant(TO_INT8, "ties to zero", "rounding",
           Line("requantize", "up = guard & (sticky | kept[0]) &", "up = guard & sticky &")),
    Mutant(TO_INT8, "127 rounded up", "special", Line("requantize", "& ~kept.all()", "")),
    Mutant(TO_INT8, "a part of zeros has an exponent", "special",
           Line("requantize", "tops.append(top & bits.any().replicate(TOP_BITS))", "tops.append(top)")),
    Mutant(FAR, "a part 32 places below the largest is taken as near", "special",
           Line("requantize", "Mux(d[5:].any(), 31, d[:5])", "d[:5]")),
    Mutant(TO_INT8, "registers move in a stall", "back-pressure", NOT_HELD),
    Mutant(TO_FP4, "sticky bit lost", "rounding", STICKY_LOST),
    Mutant(TO_FP4, "a negative weight loses its sign where only lost bits are left", "special",
           Line("requantize", "return window.any() | sticky", "return window.any()")),
]  # fmt: skip

PROOFS = [handshake(PUBLISHED, VALID_LOST)]
