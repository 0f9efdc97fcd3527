"""Model of the gearbox: its handshake follows from what crossed its ports, and each unit leaves in its place."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Fragment, Module, Mux, Signal
from amaranth.hdl._ast import AnySeq

from hwsim.specs import Repacker

__all__ = ["gearbox_model"]


def gearbox_model(rtl, spec: Repacker, early: bool = False) -> Module:
    """A gearbox between a source and a sink that do as they like, reset at any time; nothing follows the last word.

    Ready and valid are those of `hwsim.timing.Gearbox`, from the units that went in and out alone. One unit, of any
    word at any place in it, is watched: as many units leave before it as went in before it, and then it, unchanged.
    What is offered and not taken stays, with the units of the payload that count.
    """
    m, unit = Module(), rtl.repack.RepackerUnit(spec, early=early)
    m.submodules.unit = Fragment.get(unit, None)
    held, level, ended = unit.held, unit.level, unit.ended
    given, taken, bits = unit.given, unit.taken, spec.unit
    per_in, per_out, depth = spec.bits_in // bits, spec.bits_out // bits, spec.depth // bits

    over, word = Signal(), given.payload
    m.d.comb += [
        given.valid.eq(AnySeq(1) & ~over),
        taken.ready.eq(AnySeq(1)),
        word.bits.eq(AnySeq(spec.bits_in)),
        word.units.eq(AnySeq(word.units.shape())),
        word.last.eq(AnySeq(1)),
        Assume(word.units <= per_in),
    ]
    enters, leaves = Signal(), Signal()
    m.d.comb += [enters.eq(given.valid & given.ready), leaves.eq(taken.valid & taken.ready)]
    with m.If(enters):
        m.d.sync += over.eq(word.last)

    inside, after = Signal(range(depth + 1)), Signal(range(depth + 1))
    counted = Signal(range(per_out + 1))
    m.d.comb += [
        counted.eq(Mux(inside < per_out, inside, per_out)),
        after.eq(inside - Mux(leaves, counted, 0)),
        Assert(inside <= depth),
        Assert(level == inside),
        Assert(ended == over),
        Assert(given.ready == (inside <= depth - per_in)),
        Assert(taken.valid == ((inside >= per_out) | (over & inside.any()))),
    ]
    if early:
        m.d.comb += Assert(unit.left == Mux(inside < per_out, 0, inside - per_out))
    m.d.sync += inside.eq(after + Mux(enters, word.units, 0))

    stalled, before, count_before = Signal(), Signal(spec.bits_out), Signal.like(counted)
    m.d.sync += [stalled.eq(taken.valid & ~taken.ready), before.eq(taken.payload), count_before.eq(counted)]
    with m.If(stalled):
        m.d.comb += [Assert(taken.valid), Assert(counted == count_before)]
        for i in range(per_out):
            here = slice(i * bits, (i + 1) * bits)
            m.d.comb += Assert((counted <= i) | (taken.payload[here] == before[here]))

    watched, ahead, value = Signal(), Signal(range(depth)), Signal(bits)
    pick, place = Signal(), Signal(range(per_in))
    m.d.comb += [pick.eq(AnySeq(1)), place.eq(AnySeq(place.shape()))]
    with m.If(watched):
        m.d.comb += [Assert(ahead < inside), Assert(held.word_select(ahead, bits) == value)]
        with m.If(taken.valid & (ahead < per_out)):
            m.d.comb += Assert(taken.payload.word_select(ahead, bits) == value)
        with m.If(leaves):
            m.d.sync += [watched.eq(ahead >= per_out), ahead.eq(ahead - per_out)]
    with m.Elif(pick & enters & (place < word.units)):
        m.d.sync += [watched.eq(1), ahead.eq(after + place), value.eq(word.bits.word_select(place, bits))]
    return m
