"""`Repacker` as RTL: the gearbox."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import Repacker

__all__ = ["RepackerUnit", "word_layout"]


def word_layout(spec: Repacker, width: int) -> data.StructLayout:
    """A word in: its bits, `width` for each of the spec's, how many units of it count, and whether it is the last."""
    units = spec.bits_in // spec.unit
    return data.StructLayout({"bits": spec.bits_in * width, "units": range(units + 1), "last": 1})


class RepackerUnit(wiring.Component):
    """Words of one width to words of another, in the order of their bits; `hwsim.timing.Gearbox` is its cycle model.

    A shift register filled from above: a word is rotated to where the register ends. Ready and valid come from
    registers, so the ready path is cut here.

    width: bits for each bit of the spec, where the spec counts things of several bits.

    early: a register keeps what a leaving word would leave, so that all that depends on the level is ready before
    `taken.ready` is: shorter paths and fewer 4-input lookup tables where that comes late, more 6-input ones.

    held, level, ended: its registers: the bits, how many units of them count, whether the last word is in; and left,
    where `early`: the units that a leaving word leaves.

    Ports:
    given  in, stream:  `word_layout`; units that do not count may hold anything.
    taken  out, stream: the bits of a word; after the last word in, one with what is left.
    """

    def __init__(self, spec: Repacker, width: int = 1, early: bool = False):
        self.spec, self.width = spec, width
        given, taken = word_layout(spec, width), spec.bits_out * width
        super().__init__({"given": In(stream.Signature(given)), "taken": Out(stream.Signature(taken))})
        depth = spec.depth // spec.unit
        self.held = Signal(depth * spec.unit * width, reset_less=True, name="held")
        self.level, self.ended = Signal(range(depth + 1), name="level"), Signal(name="ended")
        self.left = Signal.like(self.level, name="left") if early else None

    def elaborate(self, platform) -> Module:
        """Level, register, rotation."""
        m = Module()
        spec, given, taken = self.spec, self.given, self.taken
        bits = spec.unit * self.width
        per_in, per_out, depth = spec.bits_in // spec.unit, spec.bits_out // spec.unit, spec.depth // spec.unit
        held, level, ended = self.held, self.level, self.ended
        leaves, enters = Signal(), Signal()
        m.d.comb += [
            taken.valid.eq((level >= per_out) | ended & level.any()),
            given.ready.eq(level <= depth - per_in),
            leaves.eq(taken.valid & taken.ready),
            enters.eq(given.valid & given.ready),
            taken.payload.eq(held[: per_out * bits]),
        ]
        base, below = self._level(m, leaves, Mux(enters, given.payload.units, 0), per_out, depth)
        with m.If(enters):
            m.d.sync += ended.eq(given.payload.last)
        # What stands above the level means nothing, so a word may be written there in every cycle.
        kept = Cat(Mux(leaves, held[per_out * bits :], held), Const(0, depth * bits))[: depth * bits]
        word = self._placed(m, given.payload.bits, base, per_in, depth, bits)
        m.d.sync += held.eq(
            Cat(
                Mux(below[unit], kept[unit * bits : (unit + 1) * bits], word[unit * bits : (unit + 1) * bits])
                for unit in range(depth)
            )
        )
        return m

    def _level(self, m: Module, leaves: Value, units: Value, per_out: int, depth: int) -> tuple[Value, Sequence[Value]]:
        """Units held after a word has left, where the next one in begins; for each unit, whether it is below that."""
        level, left = self.level, self.left
        base = Signal.like(level)
        if left is None:
            m.d.comb += base.eq(Mux(leaves, Mux(level > per_out, level - per_out, 0), level))
            m.d.sync += level.eq(base + units)
            return base, [base > unit for unit in range(depth)]
        below, stays, goes = Signal(depth), Signal.like(level), Signal.like(level)
        m.d.comb += [
            base.eq(Mux(leaves, left, level)),
            below.eq(Mux(leaves, Cat(_ones(left, depth)), Cat(_ones(level, depth)))),
            stays.eq(level + units),
            goes.eq(left + units),
        ]
        after = [Mux(each > per_out, each - per_out, 0) for each in (goes, stays)]
        m.d.sync += [level.eq(Mux(leaves, goes, stays)), left.eq(Mux(leaves, *after))]
        return base, below

    @staticmethod
    def _placed(m: Module, word: Value, base: Value, units: int, depth: int, bits: int) -> Value:
        """`depth` units, in which the word begins at unit `base`; all else means nothing."""
        if units & (units - 1) == 0:  # a rotation does: every period of it holds the word at the right place
            for i in range((units - 1).bit_length()):
                by = (units - (1 << i)) * bits
                step = Signal(len(word), name=f"rotated{i}")
                m.d.comb += step.eq(Mux(base[i], Cat(word[by:], word[:by]), word))
                word = step
            return Cat(*[word] * -(-depth // units))[: depth * bits]
        word = Cat(word, Const(0, (depth - units) * bits))
        for i in range(len(base)):
            by = min((1 << i) * bits, depth * bits)
            step = Signal(len(word), name=f"moved{i}")
            m.d.comb += step.eq(Mux(base[i], Cat(Const(0, by), word)[: len(word)], word))
            word = step
        return word


def _ones(value: Value, n: int) -> list[Value]:
    """`n` bits, the lowest `value` of them set."""
    if len(value) == 1:
        return [value[0], Const(0, 1)][:n]
    high, low = value[-1], _ones(value[:-1], 1 << (len(value) - 1))
    return [*(high | each for each in low), *(high & each for each in low)][:n]
