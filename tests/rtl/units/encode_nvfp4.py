"""The NVFP4 encoder under test."""

from functools import partial

from hwsim.specs import Nvfp4Encoder
from tests.rtl.mutant import Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.pipeline_changes import NOT_HELD, STOPS_EMPTY
from tests.rtl.tested import Tested
from tests.verification.formal.encoding import every_number
from tests.verification.formal.proof import Enumeration, handshake

PUBLISHED = Tested("encoder_nvfp4_bf16", Nvfp4Encoder("bf16"))
FOUR = Tested("encode4_nvfp4", Nvfp4Encoder(block=4))

TOGETHER = [PUBLISHED]
FULL = [Tested("encoder_nvfp4_fp32", Nvfp4Encoder())]
FOUR_BF16 = Tested("encode4_nvfp4_bf16", Nvfp4Encoder("bf16", block=4))
SMALL = [FOUR, FOUR_BF16]

TIE_UP = Line("encode_nvfp4", "up = lost | (1 if code % 2 == 0 else 0)", "up = lost")

MUTANTS = [
    Mutant(FOUR, "a stage fewer", "timing", Without("product")),
    Mutant(FOUR, "scales' ties away from zero", "rounding",
           Line("encode_nvfp4", "left >= step if j % 2 else left > step", "left >= step")),
    Mutant(FOUR, "elements' ties away from zero", "rounding", TIE_UP),
    Mutant(FOUR_BF16, "what a threshold loses forgotten", "rounding",
           Line("encode_nvfp4", "lost = lost | down[bit] & kept[:by].any()", "lost = lost | 0")),
    Mutant(FOUR, "a scale beyond 448 is NaN", "special",
           Line("encode_nvfp4", "Mux(beyond.value | (code > 0x7E), 0x7E, code)", "Mux(beyond.value, 0x7E, code)")),
    Mutant(FOUR, "a subnormal scale is a binade too low", "special",
           Line("encode_nvfp4", "raised = (exponent + 10)", "raised = (exponent + 9)")),
    Mutant(FOUR, "codes under a scale of 0", "special",
           Line("encode_nvfp4", "pipe.carry(special.value | ~scale.value.any())", "pipe.carry(special.value)")),
    Mutant(FOUR, "a quotient below a quarter taken as one above", "data",
           Line("encode_nvfp4", "Mux(quarter, 2, 3)", "2")),
    Mutant(FOUR, "stops when empty", "back-pressure", STOPS_EMPTY),
]  # fmt: skip

PROOFS = [
    Enumeration(
        "numbers_nvfp4",
        "BF16 to NVFP4: the nearest scale, and the nearest value under it, every number beside four others",
        partial(every_number, spec=Nvfp4Encoder("bf16", block=2)),
        TIE_UP,
    ),
    handshake(PUBLISHED, NOT_HELD),
]
