"""The width adapter and the skid buffer under test."""

from functools import partial

from hwsim.specs import Adapter, SkidBuffer
from tests.rtl.mutant import RESET, Mutant
from tests.rtl.mutation import Line
from tests.rtl.tested import Tested
from tests.verification.formal.packets import packets_model
from tests.verification.formal.proof import Proof

TO_BLOCKS = Tested("adapter_64_34", Adapter(64, 34))
TO_DMA = Tested("adapter_6_8", Adapter(6, 8))
SMALL_IN = Tested("adapter_3_2", Adapter(3, 2))
WIDE = Tested("adapter_4_12", Adapter(4, 12))
SKID = Tested("skid_buffer_3_tkeep", SkidBuffer(3, keep=True))

TOGETHER = [TO_BLOCKS, TO_DMA, Tested("skid_buffer_34", SkidBuffer(34))]
FULL = [Tested("adapter_34_64", Adapter(34, 64))]
SMALL = [SMALL_IN, WIDE, TO_DMA, SKID]

LAST_EARLY = Line("adapter", "taken.last.eq(gearbox.ended & (level <= per_out))", "taken.last.eq(gearbox.ended)")
NOT_HELD = Line("repack", "leaves.eq(taken.valid & taken.ready)", "leaves.eq(taken.valid)")
WORD_LATE = Line("repack", "(level >= per_out)", "(level > per_out)")

MUTANTS = [
    Mutant(SMALL_IN, "a packet comes in before the one before has left", "timing",
           Line("adapter", "leaving.eq(gearbox.ended & level.any())", "leaving.eq(0)")),
    Mutant(SMALL_IN, "one byte too many counts", "rounding",
           Line("adapter", "Cat((level > n).replicate(step)", "Cat((level >= n).replicate(step)")),
    Mutant(WIDE, "every word ends a packet that is in", "special", LAST_EARLY),
    Mutant(SMALL_IN, "a whole last word does not end its packet", "special",
           Line("adapter", "(level <= per_out)", "(level < per_out)")),
    Mutant(SMALL_IN, "takes a word while a packet leaves", "back-pressure",
           Line("adapter", "self.given.ready.eq(gearbox.given.ready & ~leaving)",
                "self.given.ready.eq(gearbox.given.ready)")),
    Mutant(SMALL_IN, "a short word counts as a whole one", "special",
           Line("adapter", "units.eq(_ones(given.keep[::step]))", "units.eq(self.spec.bytes_in // step)")),
    Mutant(SMALL_IN, "what is held survives a reset", "timing",
           Line("repack", 'Signal(range(depth + 1), name="level")',
                'Signal(range(depth + 1), name="level", reset_less=True)'), RESET),
    Mutant(SMALL_IN, "one packet has ended, so has the next", "special",
           Line("repack", "ended.eq(given.payload.last)", "ended.eq(ended | given.payload.last)")),
    Mutant(SMALL_IN, "what is left of a packet is less than nothing", "data",
           Line("repack", "Mux(level > per_out, level - per_out, 0)", "level - per_out")),

    Mutant(SKID, "a word is offered when the second is in", "timing", WORD_LATE),
    Mutant(SKID, "the words leave in the wrong order", "rounding",
           Line("repack", "taken.payload.eq(held[: per_out * bits])", "taken.payload.eq(held[-per_out * bits :])")),
    Mutant(SKID, "tlast lost", "special",
           Line("adapter", "words.given.payload.bits.eq(given)", "words.given.payload.bits.eq(given[:-1])")),
    Mutant(SKID, "takes a third word", "back-pressure",
           Line("repack", "given.ready.eq(level <= depth - per_in)", "given.ready.eq(1)")),
    Mutant(SKID, "a word leaves that is not taken", "back-pressure", NOT_HELD),
]  # fmt: skip


def packets(spec, broken: Line) -> Proof:
    """The handshake and the data of an adapter, packet after packet, or of a skid buffer."""
    name = type(spec).__name__
    sizes = f"{spec.bytes_in} bytes to {spec.bytes_out}" if name == "Adapter" else f"{spec.bytes_wide} bytes"
    claim = f"{name}Unit, {sizes}: offers held, every byte in its place, tkeep and tlast where packets end, none mixed"
    model = partial(packets_model, spec=spec)
    return Proof(f"packets_{name.lower()}_{sizes.replace(' ', '_')}", claim, model, "prove", 1, broken, 8)


PROOFS = [
    packets(Adapter(3, 2), LAST_EARLY),
    packets(Adapter(4, 12), WORD_LATE),
    packets(Adapter(6, 8), LAST_EARLY),
    packets(SkidBuffer(2, keep=True), NOT_HELD),
]
