"""Models of a unit's handshake: what is offered is held, and nothing is lost, doubled or overtaken."""

from __future__ import annotations

from amaranth.hdl import Assert, Fragment, Module, Signal, Value
from amaranth.hdl._ast import AnySeq
from amaranth.lib import data

from rtl.catalog import UNITS

__all__ = ["handshake_model"]

TAG_BITS = 7  # more numbers than any unit holds inputs


class _Seen:
    """What the checker sees of one pipeline: per stage the valid bit, the tag, and the bit that ends a row."""

    def __init__(self, unit: str, source):
        self.unit, self.source, self.tag_in = unit, source, Signal(TAG_BITS)
        self.valid, self.tag, self.last = [], [], []


def _last_of(payload) -> Value | None:
    is_struct = isinstance(payload, data.View) and isinstance(payload.shape(), data.StructLayout)
    return Value.cast(payload.last) if is_struct and "last" in payload.shape().members else None


def _open(rtl, seen: list[_Seen], beside: list[Signal]) -> None:
    """Let every pipeline of these modules carry a tag beside its data, and make what data registers take free.

    The registers, their enables and the valid bits stay as the unit places them, so that only the data path's
    arithmetic is left out of the proof.
    """

    class Tagged(rtl.pipe.Pipe):
        def __init__(self, m, spec, source, sink):
            super().__init__(m, spec, source, sink)
            self.seen, self._last = _Seen(type(spec).__name__, source), None
            seen.append(self.seen)
            self._tag = self.carry(self.seen.tag_in)

        def carry(self, value, *then):
            carried = super().carry(value, *then)
            if repr(Value.cast(value)) == repr(_last_of(self.seen.source.payload)):
                self._last = carried
            return carried

        def registers(self, stage, values):
            after = super().registers(stage, values)
            self.seen.valid.append(self.valid)
            self.seen.tag.append(self._tag.value)
            self.seen.last.append(self._last.value if self._last else None)
            return after

        def register(self, value, name):
            return super().register(value if "_carry" in name else AnySeq(value.shape()), name)

    def recorded(m, value, enable, name, held=rtl.pipe.held):
        beside.append(held(m, value, enable, name))
        return beside[-1]

    for module in vars(rtl).values():
        if module is not rtl.pipe:
            for name, seen_through in (("Pipe", Tagged), ("held", recorded)):
                if hasattr(module, name):
                    setattr(module, name, seen_through)


def _pipelines(m: Module, seen: list[_Seen], beside: list[Signal]) -> list[tuple[_Seen, list[tuple]]]:
    """Each pipeline from source to sink with (valid, tag, last) of its stages.

    Of pipelines side by side the first stands for all: the others are asserted equal to it.
    """
    # Where the first pipelines do not carry `last`, it waits beside them.
    waiting = [held[-1] for held in beside]
    found = []
    for name in (row.spec.__name__ for row in UNITS):  # in the order of the data path
        first, *others = [each for each in seen if each.unit == name] or [None]
        for other in others:
            m.d.comb += other.tag_in.eq(first.tag_in)
            for valid, tag, valid0, tag0 in zip(other.valid, other.tag, first.valid, first.tag, strict=True):
                m.d.comb += [Assert(valid == valid0), Assert(~valid | (tag == tag0))]
        if first:
            last = [each if each is not None or not waiting else waiting.pop(0) for each in first.last]
            found.append((first, list(zip(first.valid, first.tag, last, strict=True))))
    return found


def handshake_model(rtl, component: str, spec) -> Module:
    """One unit between a source and a sink that do as they like, reset at any time.

    Offered and not taken: still offered in the next cycle, with the same payload. Inputs (where rows are summed: those
    that end a row) are numbered; the n-th output carries number n, and in each pipeline, from its sink back, the
    numbers follow one another up to the next input's: so none is lost, doubled or overtaken.
    """
    seen, beside = [], []
    _open(rtl, seen, beside)
    unit = next(vars(module)[component] for module in vars(rtl).values() if component in vars(module))(spec)
    source, sink = (getattr(unit, name) for name in unit.signature.members)
    m = Module()
    m.submodules.unit = Fragment.get(unit, None)
    given, offered = Value.cast(source.payload), Value.cast(sink.payload)
    m.d.comb += [source.valid.eq(AnySeq(1)), sink.ready.eq(AnySeq(1)), given.eq(AnySeq(given.shape()))]

    stalled, before = Signal(), Signal(offered.shape())
    m.d.sync += [stalled.eq(sink.valid & ~sink.ready), before.eq(offered)]
    with m.If(stalled):
        m.d.comb += [Assert(sink.valid), Assert(offered == before)]

    def counted(event: Value, name: str) -> Signal:
        count = Signal(TAG_BITS, name=name)
        with m.If(event):
            m.d.sync += count.eq(count + 1)
        return count

    sums_rows = any(each.unit == "Accumulator" for each in seen)
    counts = (lambda valid, last: valid & last) if sums_rows else (lambda valid, last: valid)
    pipelines = _pipelines(m, seen, beside)
    taken = counted(counts(source.valid & source.ready, _last_of(source.payload)), "taken")
    tag = taken
    for i, (pipeline, stages) in enumerate(pipelines):
        m.d.comb += pipeline.tag_in.eq(tag)
        valid, tag, last = stages[-1]
        if i + 1 < len(pipelines):
            onward = pipelines[i + 1][0].source
            passed = counted(counts(onward.valid & onward.ready, last), f"passed{i}")
        else:
            passed = counted(sink.valid & sink.ready, "delivered")
            m.d.comb += Assert(sink.valid == counts(valid, last))
        number = passed
        for n, (valid, stage_tag, last) in enumerate(reversed(stages)):
            m.d.comb += Assert(~counts(valid, last) | (stage_tag == number))
            after = Signal(TAG_BITS, name=f"number{i}_{n}")
            m.d.comb += after.eq(number + counts(valid, last))
            number = after
        m.d.comb += Assert(taken == number)
        taken = passed
    return m
