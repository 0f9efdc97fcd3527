"""Test vectors: what a unit is driven with and what it must answer, cycle by cycle, as hex files with a Verilog bench.

The answer is that of the spec: its values, and its cycle model for both handshake signals.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import NamedTuple

from amaranth.hdl import Shape

from .axi import AxiStreamUnit, keep_bits, tdata_bits
from .catalog import cases

__all__ = ["Cycle", "trace", "write_bench", "write_vectors"]


class Cycle(NamedTuple):
    """One cycle at a unit's streams. Inputs of the unit: reset, valid, payload, ready. Outputs: taken, offered, answer.

    mask: the bits of `answer` that mean something.
    """

    reset: bool
    valid: bool
    payload: int
    ready: bool
    taken: bool = False
    offered: bool = False
    answer: int = 0
    mask: int = 0


def trace(model, inputs: Iterable[tuple], p_valid=0.8, p_ready=0.8, seed=0, cycles=None) -> Iterator[Cycle]:
    """The cycles of a unit from a reset on, under random valid and ready.

    model:  a cycle model of `hwsim.timing`; it is reset.
    inputs: (payload, answer); the answer is None for an input that ends inside, (answer, mask), or a list of all that
            the input completes. A third entry: what else the cycle model is told of the input.
    cycles: stop after that many; None: when the last answer has left.
    """
    draw = random.Random(seed)
    chance = draw.random
    model.reset()
    yield Cycle(reset=True, valid=False, payload=0, ready=False)
    inputs, expected, valid, count = iter(inputs), deque(), False, 0
    case = next(inputs, None)
    while case is not None or expected:
        if count == cycles:
            return
        count += 1
        valid = valid or (case is not None and chance() < p_valid)
        ready = chance() < p_ready
        kept = not valid or case[1] is not None
        told = case[2] if valid and len(case) > 2 else {} if kept else {"keep": False}
        taken, offered = model.step(valid, ready, **told)
        if valid and taken and kept:
            answers = case[1] if isinstance(case[1], list) else [case[1]]
            expected.extend(each if isinstance(each, tuple) else (each, -1) for each in answers)
        answer, mask = expected[0] if offered else (0, 0)
        yield Cycle(False, valid, case[0] if valid else draw.getrandbits(16), ready, taken, offered, answer, mask)
        if offered and ready:
            expected.popleft()
        if valid and taken:
            case, valid = next(inputs, None), False


class Lines:
    """Cycles as the lines of the two hex files.

    Where a unit passes tlast through, it is the parity of the payload.
    """

    def __init__(self, unit: AxiStreamUnit):
        source, sink = unit.shapes
        self.in_bits, self.out_bits = (tdata_bits(shape) + keep_bits(shape) for shape in (source, sink))
        self._last_in, self._last_out = unit.last_at
        self._all = (1 << Shape.cast(sink).width) - 1
        self._in_digits, self._out_digits = self.in_bits // 4 + 1, self.out_bits // 4 + 1
        self._packet, self._sent = unit.outside.packet, 0
        self._inside: deque[int] = deque()  # tlast of the items inside a unit that passes it through

    @staticmethod
    def _split(word: int, at: int) -> tuple[int, int]:
        return word & ((1 << at) - 1), word >> at & 1

    def line(self, cycle: Cycle) -> tuple[str, str]:
        """{rst, tvalid, tlast, tready, tdata}, and {0, tready, tvalid, tlast, tdata} with its mask."""
        data, last = cycle.payload, cycle.payload.bit_count() & 1
        if self._last_in is not None:
            data, last = self._split(data, self._last_in)
        flags = cycle.reset << 3 | cycle.valid << 2 | last << 1 | cycle.ready
        driven = f"{flags << self.in_bits | data:0{self._in_digits}x}"
        if cycle.reset:
            self._inside.clear()
            self._sent = 0
            return driven, f"{0:0{self._out_digits}x} {0:0{self._out_digits}x}"
        answer, mask = cycle.answer & self._all, cycle.mask & self._all
        last, last_mask = int(cycle.offered and self._sent == self._packet - 1), int(cycle.offered)
        if self._last_out is not None:
            (answer, last), (mask, last_mask) = self._split(answer, self._last_out), self._split(mask, self._last_out)
        elif self._last_in is None:
            last = self._inside[0] if cycle.offered else 0
            if cycle.offered and cycle.ready:
                self._inside.popleft()
            if cycle.valid and cycle.taken:
                self._inside.append(cycle.payload.bit_count() & 1)
        if cycle.offered and cycle.ready:
            self._sent = (self._sent + 1) % self._packet
        answer |= (cycle.taken << 2 | cycle.offered << 1 | last) << self.out_bits
        mask |= (6 | last_mask) << self.out_bits
        return driven, f"{answer:0{self._out_digits}x} {mask:0{self._out_digits}x}"


def write_vectors(unit: AxiStreamUnit, name: str, folder: Path, phases: Iterable[Iterable[Cycle]], inputs: int):
    """Write `name`_stimulus.hex, `name`_expected.hex and the bench `name`_tb.v; return (outputs after the last
    reset, cycles).

    phases: runs from reset to reset, see `trace`. inputs: how many inputs they hold, for the bench's last line.
    """
    lines, outputs, count = Lines(unit), 0, 0
    with (
        (folder / f"{name}_stimulus.hex").open("w") as stimulus,
        (folder / f"{name}_expected.hex").open("w") as expected,
    ):
        for phase in phases:
            for cycle in phase:
                driven, answered = lines.line(cycle)
                stimulus.write(f"{driven}\n")
                expected.write(f"{answered}\n")
                outputs = 0 if cycle.reset else outputs + (cycle.offered and cycle.ready)
                count += 1
    bench = _Bench((Path(__file__).parent / "bench.v").read_text())
    text = bench.substitute(
        unit=name, cycles=count, inputs=inputs, outputs=outputs, in_bits=lines.in_bits, out_bits=lines.out_bits,
        s_axis=unit.s_axis, m_axis=unit.m_axis, reset=unit.outside.reset, in_tdata=lines.in_bits - unit.keep[0],
        out_tdata=lines.out_bits - unit.keep[1], reset_not="~" if unit.outside.active_low else "", tkeep=_tkeep(unit),
    )  # fmt: skip
    (folder / f"{name}_tb.v").write_text(text)
    return outputs, count


def write_bench(unit: AxiStreamUnit, name: str, folder: Path, n: int) -> tuple[int, int]:
    """`write_vectors` of `n` inputs after a reset in mid-stream; return (outputs, cycles)."""
    spec = unit.spec
    lost = 2 * spec.timing.latency + 8
    phases = [
        trace(spec.cycle_model(), cases(spec, lost, seed=1), 0.9, 0.9, seed=1, cycles=lost),
        trace(spec.cycle_model(), cases(spec, n), seed=2),
    ]
    return write_vectors(unit, name, folder, phases, n)


def _tkeep(unit: AxiStreamUnit) -> str:
    """Connections of tkeep, where the unit has it."""
    if unit.keep[0]:
        return (
            f"\n        .{unit.s_axis}_tkeep(drive[IN-1:IN_TDATA]), .{unit.m_axis}_tkeep(out_tdata[OUT-1:OUT_TDATA]),"
        )
    if not unit.outside.tkeep:
        return ""
    return f"\n        .{unit.s_axis}_tkeep({{IN/8{{1'b1}}}}), .{unit.m_axis}_tkeep(),"


class _Bench(Template):
    delimiter = "@"
