"""The seed decoder under test."""

from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.specs import SeedDecoder
from tests.rtl.mutant import Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.pipeline_changes import ALWAYS_READY, NOT_HELD
from tests.rtl.tested import Tested
from tests.verification.formal.proof import handshake

PUBLISHED = Tested("decoder_seedlm4", SeedDecoder(SEEDLM4))
FEW = Tested("decoder_small", SeedDecoder(SeedCodec(C=3, P=2, K=6)))

TOGETHER = [PUBLISHED]
FULL = [Tested("decoder_seedlm3", SeedDecoder(SEEDLM3))]
SMALL = [
    FEW,
    Tested("decoder_one_coefficient", SeedDecoder(SeedCodec(C=2, P=1, K=4, coefficient_bits=2, exponent_bits=3))),
    Tested(
        "decoder_wide_coefficients",
        SeedDecoder(SeedCodec(C=3, P=2, K=5, coefficient_bits=6), stages=("row0", "sum")),
    ),
]

MINUS_8 = Line("seed", "word_select(p, codec.coefficient_bits).as_signed()",
               "word_select(p, codec.coefficient_bits).as_signed()\n"
               "            q = (q + (q == codec.q_range[0]))[: codec.coefficient_bits].as_signed()")  # fmt: skip

MUTANTS = [
    Mutant(FEW, "a stage fewer", "timing", Without("stream")),
    Mutant(FEW, "sum one bit too narrow", "rounding",
           Line("seed", "add(low[2:].as_signed(), total, width - 2,", "add(low[2:].as_signed(), total, width - 3,")),
    Mutant(FEW, "coefficient -8 taken as -7", "special", MINUS_8),
    Mutant(FEW, "accepts in a stall", "back-pressure", ALWAYS_READY),
    Mutant(FEW, "carry of a negative row lost", "data",
           Line("seed", "signed_bits(bound), digit.value[2])", "signed_bits(bound), 0)")),
    Mutant(FEW, "states not centred", "data", Line("seed", "~state[-1]", "state[-1]")),
]  # fmt: skip

PROOFS = [handshake(PUBLISHED, NOT_HELD)]
