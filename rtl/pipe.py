"""The rigid pipeline that every unit is built on: one enable for all stages, registers where the spec has a stage."""

from amaranth.hdl import Const, Module, Signal, Value

__all__ = ["Carried", "Pipe"]


class Carried:
    """A value that travels beside the data path: `value` is its copy at the present stage."""

    def __init__(self, value: Value):
        self.value = value


class Pipe:
    """Handshake and registers of a unit; `advance = out_ready or not out_valid`, `in_ready = advance`.

    The unit describes its data path once, in order, and calls `cut` at each place of `spec.CUTS`; a register
    appears where the spec has that stage. Data registers have no reset; the valid bits have.

    m:      the unit's module.
    spec:   has `stages`, `CUTS` and `timing`.
    source: input stream (`valid` in, `ready` out).
    sink:   output stream (`valid` out, `ready` in).

    advance: Signal, 1 in a cycle at whose edge every stage moves on.
    """

    def __init__(self, m: Module, spec, source, sink):
        self._m, self._spec, self._sink = m, spec, sink
        self._carried: list[Carried] = []
        self._cuts = list(spec.CUTS)
        self.depth = 0
        self.advance = Signal()
        self.valid: Value = source.valid
        m.d.comb += [self.advance.eq(sink.ready | ~sink.valid), source.ready.eq(self.advance)]

    def carry(self, value: Value) -> Carried:
        """Let `value` pass every cut from here on."""
        carried = Carried(value)
        self._carried.append(carried)
        return carried

    def register(self, value: Value, name: str) -> Signal:
        """A copy one stage later."""
        held = Signal(value.shape(), name=name, reset_less=True)
        with self._m.If(self.advance):
            self._m.d.sync += held.eq(value)
        return held

    def cut(self, stage: str, *values: Value) -> list[Value]:
        """The values after this place of the data path: registers when the spec has the stage."""
        if not self._cuts or self._cuts.pop(0) != stage:
            raise AssertionError(f"{type(self._spec).__name__}: cut {stage!r} is out of the order of CUTS")
        if stage not in self._spec.stages:
            return list(values)
        self.depth += 1
        for i, carried in enumerate(self._carried):
            if not isinstance(carried.value, Const):
                carried.value = self.register(carried.value, f"{stage}_carry{i}")
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
