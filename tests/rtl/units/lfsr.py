"""The LFSR block under test."""

from functools import partial

from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.specs import LfsrBlock
from tests.rtl.mutant import RESET, Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.pipeline_changes import ALWAYS_READY, NOT_HELD, VALID_STAYS
from tests.rtl.tested import Tested
from tests.verification.formal.blocks import lfsr_never_zero, lfsr_steps
from tests.verification.formal.enumeration import every_seed
from tests.verification.formal.proof import Enumeration, Proof, handshake

PUBLISHED = Tested("lfsr_seedlm4", LfsrBlock(SEEDLM4))
TWO_STAGES = Tested("lfsr_two_stages", LfsrBlock(SEEDLM4, stages=("seed", "states")))

TOGETHER = [PUBLISHED]
FULL = [Tested("lfsr_seedlm3", LfsrBlock(SEEDLM3))]
SMALL = [TWO_STAGES, Tested("lfsr_k5", LfsrBlock(SeedCodec(C=3, P=2, K=5)))]

FROM_SEED = Line("lfsr", "range(1, spec.states + 1)", "range(spec.states)")
ONES_TO_ZERO = Line("lfsr", "stream_bits(spec.codec.lfsr, seed,",
                    "stream_bits(spec.codec.lfsr, seed & ~seed.all().replicate(len(seed)),")  # fmt: skip

MUTANTS = [
    Mutant(TWO_STAGES, "a stage fewer", "timing", Without("seed")),
    Mutant(TWO_STAGES, "emission begins with the seed", "rounding", FROM_SEED),
    Mutant(TWO_STAGES, "seed of all ones taken as 0", "special", ONES_TO_ZERO),
    Mutant(TWO_STAGES, "registers move in a stall", "back-pressure", NOT_HELD),
    Mutant(TWO_STAGES, "one tap forgotten", "data", Line("lfsr", "if mask >> i & 1)", "if (mask & ~8) >> i & 1)")),
    Mutant(TWO_STAGES, "valid bits survive a reset", "timing", VALID_STAYS, RESET),
]  # fmt: skip


def induction(name: str, claim: str, model, codec, broken: Line) -> Proof:
    """A proof by induction; the unit has one stage, so four cycles show any error."""
    return Proof(name, claim, partial(model, spec=LfsrBlock(codec)), "prove", 1, broken, 4)


PROOFS = [
    induction("lfsr_steps_seedlm4", "seedlm4: the 24 states are 24 single steps from the seed", lfsr_steps, SEEDLM4,
              FROM_SEED),
    *(induction(f"lfsr_never_zero_{name}", f"{name}: from a seed that is not 0 no state is 0", lfsr_never_zero, codec,
                ONES_TO_ZERO)
      for name, codec in (("seedlm4", SEEDLM4), ("seedlm3", SEEDLM3))),
    Enumeration("seeds_seedlm3", "seedlm3: the 48 states are 48 single steps from the seed, none 0, all 65,535 seeds",
                partial(every_seed, spec=LfsrBlock(SEEDLM3)),
                FROM_SEED),
    handshake(PUBLISHED, ALWAYS_READY),
]  # fmt: skip
