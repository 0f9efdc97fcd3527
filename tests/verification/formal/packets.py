"""Model of a width adapter or a skid buffer: packet after packet, every byte in its place."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Fragment, Module, Mux, Signal, Value
from amaranth.hdl._ast import AnySeq

from hwsim.specs import Adapter, Repacker, SkidBuffer

__all__ = ["packets_model"]


def packets_model(rtl, spec: Adapter | SkidBuffer) -> Module:
    """A unit between a source and a sink that do as they like, reset at any time, packet after packet.

    What comes in is a packet of whole words and a last one whose low bytes count. What is held and offered follows from
    what crossed the ports alone: how many bytes are inside, and whether a packet's last word is. So tkeep counts them
    and tlast stands at the last ones, and nothing enters while the rest of a packet leaves. One group of bytes, of any
    word at any place in it, is watched: as many leave before it as went in before it, and then it, unchanged. What is
    offered and not taken stays.
    """
    m = Module()
    unit = getattr(rtl.adapter, f"{type(spec).__name__}Unit")(spec)
    inner = unit.gearbox
    m.submodules.unit = Fragment.get(unit, None)
    if isinstance(spec, Adapter):
        box, step = spec.gearbox, spec.unit_bytes
    else:
        box, step = Repacker(1, 1), 0
    per_in, per_out, depth = (bits // box.unit for bits in (box.bits_in, box.bits_out, box.depth))
    given, taken = unit.given, unit.taken
    word_in, word_out = Value.cast(given.payload), Value.cast(taken.payload)
    group = 8 * step or len(word_in)

    units = Signal(range(per_in + 1))
    m.d.comb += [given.valid.eq(AnySeq(1)), taken.ready.eq(AnySeq(1)), units.eq(AnySeq(units.shape()))]
    m.d.comb += Assume((units > 0) & (units <= per_in))
    if step:
        m.d.comb += [
            given.payload.data.eq(AnySeq(8 * spec.bytes_in)),
            given.payload.keep.eq(Cat((units > n).replicate(step) for n in range(per_in))),
            given.payload.last.eq(AnySeq(1)),
            Assume((units == per_in) | given.payload.last),
        ]
    else:
        m.d.comb += word_in.eq(AnySeq(len(word_in)))
    enters, leaves = Signal(), Signal()
    m.d.comb += [enters.eq(given.valid & given.ready), leaves.eq(taken.valid & taken.ready)]

    inside, after, over = Signal(range(depth + 1)), Signal(range(depth + 1)), Signal()
    counted, leaving = Signal(range(per_out + 1)), Signal()
    m.d.comb += [
        counted.eq(Mux(inside < per_out, inside, per_out)),
        leaving.eq(over & inside.any()),
        after.eq(inside - Mux(leaves, counted, 0)),
        Assert(inside <= depth),
        Assert(inner.level == inside),
        Assert(given.ready == ((inside <= depth - per_in) & ~leaving)),
        Assert(taken.valid == ((inside >= per_out) | leaving)),
    ]
    m.d.sync += inside.eq(after + Mux(enters, units, 0))
    if step:
        with m.If(enters):
            m.d.sync += over.eq(given.payload.last)
        m.d.comb += Assert(inner.ended == over)
        with m.If(taken.valid):
            m.d.comb += [
                Assert(taken.payload.keep == Cat((counted > n).replicate(step) for n in range(per_out))),
                Assert(taken.payload.last == (over & (inside <= per_out))),
            ]

    body = taken.payload.data if step else word_out
    stalled, before, count_before = Signal(), Signal(word_out.shape()), Signal.like(counted)
    m.d.sync += [stalled.eq(taken.valid & ~taken.ready), before.eq(word_out), count_before.eq(counted)]
    with m.If(stalled):
        m.d.comb += [Assert(taken.valid), Assert(counted == count_before)]
        for i in range(per_out):
            here = slice(i * group, (i + 1) * group)
            m.d.comb += Assert((counted <= i) | (word_out[here] == before[here]))
        m.d.comb += Assert(word_out[len(body) :] == before[len(body) :])

    source = given.payload.data if step else word_in
    watched, ahead, value = Signal(), Signal(range(depth)), Signal(group)
    pick, place = Signal(), Signal(range(per_in))
    m.d.comb += [pick.eq(AnySeq(1)), place.eq(AnySeq(place.shape()))]
    with m.If(watched):
        m.d.comb += [Assert(ahead < inside), Assert(inner.held.word_select(ahead, group) == value)]
        with m.If(taken.valid & (ahead < per_out)):
            m.d.comb += Assert(body.word_select(ahead, group) == value)
        with m.If(leaves):
            m.d.sync += [watched.eq(ahead >= per_out), ahead.eq(ahead - per_out)]
    with m.Elif(pick & enters & (place < units)):
        m.d.sync += [watched.eq(1), ahead.eq(after + place), value.eq(source.word_select(place, group))]
    return m
