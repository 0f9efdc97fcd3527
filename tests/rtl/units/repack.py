"""The gearbox under test: a part of `Gemv`, which is no unit of the catalogue."""

import random
from dataclasses import dataclass
from functools import partial

from hwsim.specs import Repacker
from rtl.pack import pack
from rtl.repack import RepackerUnit, word_layout
from tests.rtl.mutant import Mutant
from tests.rtl.mutation import Line
from tests.rtl.tested import Tested
from tests.verification.formal.gearbox import gearbox_model
from tests.verification.formal.proof import Proof


@dataclass(frozen=True)
class Gearbox(Tested):
    """A gearbox under test: an input completes any number of outputs."""

    component: type = RepackerUnit

    def draw(self, n: int, seed: int = 0):
        """`n` words, one in four of them short, the last one ending them; each with the words out that it completes."""
        draw, spec, layout = random.Random(seed), self.spec, word_layout(self.spec, 1)
        held = level = 0
        for i in range(n):
            units = draw.choice([spec.bits_in // spec.unit] * 3 + [draw.randint(1, spec.bits_in // spec.unit)])
            word, bits, last, out = draw.getrandbits(spec.bits_in), units * spec.unit, i == n - 1, []
            held, level = held | (word & (1 << bits) - 1) << level, level + bits
            while level >= spec.bits_out or last and level:
                taken = min(level, spec.bits_out)
                out.append((held & (1 << taken) - 1, (1 << taken) - 1))
                held, level = held >> taken, level - taken
            yield pack(layout, {"bits": word, "units": units, "last": last}), out, {"bits": bits, "last": last}


WIDE = Gearbox("gearbox_32_36", Repacker(32, 36, 4))
ODD = Gearbox("gearbox_3_4_spare", Repacker(3, 4, 1, 1))

SMALL = [WIDE, Gearbox("gearbox_36_8", Repacker(36, 8, 4)), ODD]

WORD_LATE = Line("repack", "Mux(below[unit],", "Mux(below[max(unit - 1, 0)],")

MUTANTS = [
    Mutant(WIDE, "a word is offered one unit late", "timing",
           Line("repack", "(level >= per_out)", "(level > per_out)")),
    Mutant(WIDE, "what is left begins one unit too high", "rounding",
           Line("repack", "held[per_out * bits :]", "held[(per_out + 1) * bits :]")),
    Mutant(WIDE, "a short word counts as a whole one", "special",
           Line("repack", "Mux(enters, given.payload.units, 0)", "Mux(enters, per_in, 0)")),
    Mutant(WIDE, "what is left after the last word stays", "special",
           Line("repack", " | ended & level.any()", "")),
    Mutant(WIDE, "takes a word without room", "back-pressure",
           Line("repack", "given.ready.eq(level <= depth - per_in)", "given.ready.eq(1)")),
    Mutant(ODD, "a word leaves that is not taken", "back-pressure",
           Line("repack", "leaves.eq(taken.valid & taken.ready)", "leaves.eq(taken.valid)")),
    Mutant(ODD, "the first unit of a word keeps what was there", "data", WORD_LATE),
]  # fmt: skip


def gearbox(claim: str, *widths: int, early: bool = False) -> Proof:
    """The handshake of one gearbox, and its data."""
    spec = Repacker(*widths)
    claim = f"RepackerUnit, {claim}: as above, its handshake from its ports alone, every unit of data in its place"
    model = partial(gearbox_model, spec=spec, early=early)
    return Proof(f"gearbox_{spec.bits_in}_{spec.bits_out}{'_early' * early}", claim, model, "prove", 1, WORD_LATE, 8)


PROOFS = [
    gearbox("32-bit beats to the records of seedlm3", 32, 36, 4),
    gearbox("an odd number of units", 3, 4, 1, 1),
    gearbox("32-bit beats to the records of seedlm3, with the level after a word in a register", 32, 36, 4, early=True),
    gearbox("an odd number of units, with the level after a word in a register", 3, 4, 1, 1, early=True),
]
