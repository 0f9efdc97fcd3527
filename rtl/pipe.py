"""The rigid pipeline that every unit is built on: one enable for all stages, registers where the spec has a stage."""

from amaranth.hdl import Const, Module, Mux, Signal, Value

__all__ = ["Carried", "Pipe", "held"]


def held(m: Module, value: Value, enable: Value, name: str) -> Signal:
    """A copy of `value` one stage later: a register without reset that takes it at edges with `enable`."""
    copy = Signal(value.shape(), name=name, reset_less=True)
    with m.If(enable):
        m.d.sync += copy.eq(value)
    return copy


class Carried:
    """A value that travels beside the data path; `value` is its copy at the present stage.

    then: functions applied after the next cuts, one each; work that is not urgent is spread over stages so.
    """

    def __init__(self, value: Value, then=()):
        self._value, self._then = value, list(then)

    @property
    def value(self) -> Value:
        """The copy at this stage, everything in `then` done."""
        while self._then:
            self._value = self._then.pop(0)(self._value)
        return self._value


class Pipe:
    """Handshake and registers of a unit; `advance = out_ready or not out_valid`, `in_ready = advance`.

    The unit describes its data path once, in order, and calls `cut` at each place of `spec.cuts`; a register
    appears where the spec has that stage. Data registers have no reset; the valid bits have.

    m:      the unit's module.
    spec:   has `stages`, `cuts` and `timing`.
    source: input stream (`valid` in, `ready` out).
    sink:   output stream (`valid` out, `ready` in).

    advance: Signal, 1 in a cycle at whose edge every stage moves on.
    """

    def __init__(self, m: Module, spec, source, sink):
        self._m, self._spec, self._sink = m, spec, sink
        self._carried: list[Carried] = []
        self._cuts = list(spec.cuts)
        self.depth = self._wires = 0
        self.advance = Signal()
        self.valid: Value = source.valid
        m.d.comb += [self.advance.eq(sink.ready | ~sink.valid), source.ready.eq(self.advance)]
        if spec.timing.interval > 1:
            self._pace(spec.timing.interval, source)

    def _pace(self, interval: int, source) -> None:
        """Take an input only where the last one went in `interval` moves ago; `hwsim.timing.Paced` is its model."""
        m, wait = self._m, Signal(range(interval))
        m.d.comb += source.ready.eq(self.advance & ~wait.any())
        self.valid = source.valid & ~wait.any()
        with m.If(self.advance):
            m.d.sync += wait.eq(Mux(self.valid, interval - 1, Mux(wait.any(), wait - 1, 0)))

    def carry(self, value: Value, *then) -> Carried:
        """Let `value` pass every cut from here on; `then`: see `Carried`."""
        carried = Carried(value, then)
        self._carried.append(carried)
        return carried

    def drop(self, carried: list[Carried]) -> None:
        """Carry these no further: no later stage needs them."""
        self._carried = [each for each in self._carried if each not in carried]

    def wire(self, value: Value) -> Signal:
        """A name for a value that is used more than once: without it, its expression is written at each use."""
        named = Signal(Value.cast(value).shape(), name=f"wire{self._wires}")
        self._wires += 1
        self._m.d.comb += named.eq(value)
        return named

    def register(self, value: Value, name: str) -> Signal:
        """A copy one stage later."""
        return held(self._m, value, self.advance, name)

    def cut(self, stage: str, *values: Value) -> list[Value]:
        """The values after this place of the data path: registers when the spec has the stage."""
        if not self._cuts or self._cuts.pop(0) != stage:
            raise AssertionError(f"{type(self._spec).__name__}: cut {stage!r} is out of the order of `cuts`")
        if stage in self._spec.stages:
            self.depth += 1
            values = self.registers(stage, values)
        else:
            values = [self.wire(value) for value in values]
        for carried in self._carried:
            if carried._then:
                carried._value = carried._then.pop(0)(carried._value)
        return list(values)

    def registers(self, stage: str, values) -> list[Value]:
        """The values one stage later, and with them the valid bit and what is carried."""
        for i, carried in enumerate(self._carried):
            if not isinstance(carried._value, Const):
                carried._value = self.register(carried._value, f"{stage}_carry{i}")
        valid = Signal(name=f"{stage}_valid")
        with self._m.If(self.advance):
            self._m.d.sync += valid.eq(self.valid)
        self.valid = valid
        return [self.register(Value.cast(v), f"{stage}_{i}") for i, v in enumerate(values)]

    def finish(self, keep: Value | int = 1) -> None:
        """Offer the last stage; where `keep` is 0 it ends here. The registers placed are the spec's latency."""
        if self._cuts or self.depth != self._spec.timing.latency:
            raise AssertionError(f"{self._spec}: {self.depth} registers placed, cuts left: {self._cuts}")
        self._m.d.comb += self._sink.valid.eq(self.valid & keep)
