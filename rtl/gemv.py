"""`Gemv` and `Gemm` as RTL, and the options of their commands."""

from dataclasses import dataclass
from typing import Annotated

import typer
from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import Gemm, Gemv

from .accumulate import AccumulatorUnit
from .dot import BlockDotUnit
from .lane import operand_layout
from .mac import join
from .options import Interleave, Target, UnitOptions, formats_name
from .repack import RepackerUnit
from .requantize import RequantizerUnit
from .seed import SeedDecoderUnit, weights_layout
from .share import place
from .turn import TurnUnit

__all__ = ["GemmOptions", "GemvOptions", "GemvUnit", "command", "command_layout", "x_layout"]

COUNT_BITS = 32


def command_layout(spec: Gemv) -> data.StructLayout:
    """One tile: rows of W; `spec.columns`; beats in all and of a group; units of `spec.unpack` that the last beat of a
    group holds; rows of x where a tile can have several."""
    fields = {
        "rows": 24,
        "columns": range(spec.columns_max + 1),
        "beats": COUNT_BITS,
        "group_beats": COUNT_BITS,
        "tail": range(spec.beat_bits // spec.unpack.unit + 1),
    }
    return data.StructLayout(fields | ({"m": range(spec.tile + 1)} if spec.tile > 1 else {}))


def command(spec: Gemv, rows: int, k: int, m: int = 1) -> dict[str, int]:
    """The command for a matrix of [rows, k] and `m` rows of x, at most a tile: the fields of `command_layout`."""
    shape = spec.shape(rows, k)
    fields = {
        "rows": rows,
        "columns": spec.columns(k),
        "beats": shape.groups * shape.group_beats,
        "group_beats": shape.group_beats,
        "tail": spec.tail_bits(k) // spec.unpack.unit,
    }
    return fields | ({"m": m} if spec.tile > 1 else {})


def x_layout(spec: Gemv) -> data.StructLayout:
    """A block of x as its format packs a record; which one of its row it is; of which row, where there are several."""
    fields = {"block": operand_layout(spec.dot.a, 32), "index": range(max(2, spec.x_words))}
    return data.StructLayout(fields | ({"row": range(spec.tile)} if spec.tile > 1 else {}))


class GemvUnit(wiring.Component):
    """Y = X W^T: W is read from memory, a tile of x is held on chip, y leaves as float32.

    spec: `hwsim.specs.Gemv`, with one row of x, or `Gemm`, with several.

    Interval of a step 1. Its cycles are those of `hwsim gemm` on a machine that holds the spec.

    Ports:
    x        in, stream:  `x_layout`; blocks of x, in any order, before the command that uses them.
    command  in, stream:  `command_layout`; taken when the previous tile is done.
    request  out, stream: the number of a beat of the engine stream, in order; its slot is free.
    beat     in, stream:  the beats asked for, in order; never refused.
    y        out, stream: `value` float32 bits, row of W by row of W, for each the rows of x; `last` with the last one.

    offered, issue, ends: for those who count, once it is elaborated: a block of each dot unit is there for the dot
    units; it enters them; it is the last block of its row.
    """

    def __init__(self, spec: Gemv):
        self.spec = spec
        result = data.StructLayout({"value": 32, "last": 1})
        super().__init__(
            {
                "x": In(stream.Signature(x_layout(spec))),
                "command": In(stream.Signature(command_layout(spec))),
                "request": Out(stream.Signature(COUNT_BITS)),
                "beat": In(stream.Signature(spec.beat_bits)),
                "y": Out(stream.Signature(result)),
            }
        )
        self.shared = self._shared(spec)
        self.offered, self.issue, self.ends = Signal(), Signal(), Signal()

    @staticmethod
    def _shared(spec: Gemv) -> dict[str, wiring.Component]:
        """What is placed, by the name of its module."""
        units = {"gemv_unpack": RepackerUnit(spec.unpack, early=True)}
        if spec.codec:
            requantizer = RequantizerUnit(spec.requantizer)
            units |= {"gemv_decoder": SeedDecoderUnit(spec.decoder), "gemv_requantizer": requantizer}
            if spec.gather:
                units["gemv_gather"] = RepackerUnit(spec.gather, weights_layout(spec.decoder).size)
            if spec.parts > 1:
                units["gemv_turn"] = TurnUnit(spec, len(Value.cast(requantizer.blocks.payload)) // spec.parts)
        return units | {"gemv_dot": BlockDotUnit(spec.dot), "gemv_accumulator": AccumulatorUnit(spec.accumulator)}

    def elaborate(self, platform) -> Module:
        """The command's counters; then along the stream."""
        m = Module()
        self._busy, self._begin = Signal(), Signal()
        self._held = Signal(command_layout(self.spec))
        self._finished, drained = Signal(), Signal()  # all of y has left; all beats have left the FIFO
        m.d.comb += [self.command.ready.eq(~self._busy), self._begin.eq(self.command.valid & self.command.ready)]
        with m.If(self._begin):
            m.d.sync += [self._held.eq(self.command.payload), self._busy.eq(1)]
        with m.Elif(self._finished & drained):
            m.d.sync += self._busy.eq(0)
        words = self._fetch(m, drained)
        if self.spec.codec:
            words = self._seeds(m, words)
        self._compute(m, *words)
        return m

    def _unit(self, m: Module, kind: str, number: int | str = ""):
        """The streams of one more of `shared`, empty when a command begins."""
        return place(m, f"gemv_{kind}", f"{kind}{number}", self.shared[f"gemv_{kind}"], self._begin)

    def _count(self, m: Module, counter: Signal, when: Value, to: Value | int | None = None) -> None:
        """Count up, from 0 when a command begins; at `to` the next is 0."""
        following = counter + 1 if to is None else Mux(counter == to, 0, counter + 1)
        with m.If(self._begin):
            m.d.sync += counter.eq(0)
        with m.Elif(when):
            m.d.sync += counter.eq(following)

    def _flag(self, m: Module, flag: Signal, at_once: Value, when: Value) -> None:
        """A register that is set once `when` holds, or with the command if `at_once`; comparing counters in it, rather
        than after them, keeps them off the paths that wait for it."""
        with m.If(self._begin):
            m.d.sync += flag.eq(at_once)
        with m.Elif(when):
            m.d.sync += flag.eq(1)

    def _fetch(self, m: Module, drained: Signal):
        """Requests, FIFO, unpacker: (valid, ready, bits) of what is taken in a cycle."""
        spec, command = self.spec, self._held
        queue = fifo.SyncFIFOBuffered(width=spec.beat_bits, depth=spec.fifo)
        m.submodules.fifo = ResetInserter(self._begin)(queue)
        unpack = self._unit(m, "unpack")
        asked, left, in_group = Signal(COUNT_BITS), Signal(COUNT_BITS), Signal(COUNT_BITS)
        flying = Signal(range(spec.fifo + 1))
        asks, leaves = Signal(), Signal()
        m.d.comb += [
            self.request.valid.eq(self._busy & (asked != command.beats) & (flying != spec.fifo)),
            self.request.payload.eq(asked),
            asks.eq(self.request.valid & self.request.ready),
            self.beat.ready.eq(1),
            queue.w_en.eq(self.beat.valid),
            queue.w_data.eq(self.beat.payload),
            unpack.given.valid.eq(queue.r_rdy),
            queue.r_en.eq(unpack.given.ready),
            leaves.eq(queue.r_rdy & unpack.given.ready),
        ]
        ends_group, last_beat = in_group == command.group_beats - 1, Signal()
        m.d.comb += last_beat.eq(left == command.beats - 1)
        self._flag(m, drained, self.command.payload.beats == 0, leaves & last_beat)
        self._count(m, asked, asks)
        self._count(m, left, leaves)
        self._count(m, in_group, leaves, command.group_beats - 1)
        with m.If(self._begin):
            m.d.sync += flying.eq(0)
        with m.Else():
            m.d.sync += flying.eq(flying + asks - leaves)
        whole = spec.beat_bits // spec.unpack.unit
        m.d.comb += [
            unpack.given.payload.bits.eq(queue.r_data),
            unpack.given.payload.units.eq(Mux(ends_group, command.tail, whole)),
            unpack.given.payload.last.eq(last_beat),
        ]
        return unpack.taken.valid, unpack.taken.ready, unpack.taken.payload

    def _seeds(self, m: Module, words):
        """Decoders side by side, the gather where their number is not what is taken, requantizers, the turn."""
        spec, (valid, ready, bits) = self.spec, words
        decoders = [self._unit(m, "decoder", i) for i in range(spec.decoders)]
        record = spec.layout.record_bits
        for i, decoder in enumerate(decoders):
            m.d.comb += [decoder.record.valid.eq(valid), decoder.record.payload.eq(bits.word_select(i, record))]
        m.d.comb += ready.eq(decoders[0].record.ready)
        decoded = Cat(*(Value.cast(decoder.weights.payload) for decoder in decoders))
        valid, ready = decoders[0].weights.valid, Signal()
        m.d.comb += [decoder.weights.ready.eq(ready) for decoder in decoders]
        if spec.gather:
            gather = self._unit(m, "gather")
            m.d.comb += [
                gather.given.valid.eq(valid),
                ready.eq(gather.given.ready),
                gather.given.payload.bits.eq(decoded),
                gather.given.payload.units.eq(spec.gather.bits_in // spec.gather.unit),
            ]
            valid, ready, decoded = gather.taken.valid, gather.taken.ready, gather.taken.payload
        units = [self._unit(m, "requantizer", i) for i in range(spec.dot_units)]
        taken = Signal()
        for i, unit in enumerate(units):
            weights = Value.cast(unit.weights.payload)
            m.d.comb += [
                unit.weights.valid.eq(valid),
                weights.eq(decoded.word_select(i, len(weights))),
                unit.blocks.ready.eq(taken),
            ]
        m.d.comb += ready.eq(units[0].weights.ready)
        blocks = Cat(*(Value.cast(unit.blocks.payload) for unit in units))
        if spec.parts == 1:
            return units[0].blocks.valid, taken, blocks
        turn = self._unit(m, "turn")
        m.d.comb += [
            turn.rows.valid.eq(units[0].blocks.valid),
            turn.rows.payload.eq(blocks),
            taken.eq(turn.rows.ready),
        ]
        return turn.blocks.valid, turn.blocks.ready, turn.blocks.payload

    def _compute(self, m: Module, valid: Value, ready: Value, blocks: Value) -> None:
        """Issue, dot units, accumulators, results."""
        spec, command = self.spec, self._held
        issue, room = Signal(), Signal()
        row, column = Signal(range(spec.interleave)), Signal.like(command.columns)
        last, turn = Signal(), row == spec.interleave - 1
        m.d.comb += last.eq(column == command.columns - 1)
        m.d.comb += [issue.eq(valid & (room | ~last)), ready.eq(room | ~last)]
        m.d.comb += [self.offered.eq(valid), self.issue.eq(issue), self.ends.eq(last)]
        self._count(m, row, issue, spec.interleave - 1)
        self._count(m, column, issue & turn, command.columns - 1)
        x = self._x(m, Mux(self._begin | issue & turn & last, 0, column + (issue & turn)), column)
        values = []
        for i in range(spec.dot_units * spec.tile):
            unit, row_of_x = divmod(i, spec.tile)
            dot, accumulator = self._unit(m, "dot", i), self._unit(m, "accumulator", i)
            block = blocks.word_select(unit, len(blocks) // spec.dot_units)
            m.d.comb += [
                dot.pair.valid.eq(issue),
                Value.cast(dot.pair.payload).eq(Cat(x[row_of_x], block, last)),
                accumulator.value.ready.eq(1),
            ]
            join(m, dot.total, accumulator.total)
            values.append(accumulator.value)
        self._results(m, issue & last, room, values)

    def _x(self, m: Module, following: Value, column: Value) -> list[Value]:
        """The blocks of all rows of x at `column`; `following` is the column of the next cycle."""
        m.d.comb += self.x.ready.eq(1)
        if self.spec.tile == 1:
            return [self._row_of_x(m, "x", self.x.valid, following, column)]
        rows = range(self.spec.tile)
        mine = [self.x.valid & (self.x.payload.row == row) for row in rows]
        return [self._row_of_x(m, f"x{row}", mine[row], following, column) for row in rows]

    def _row_of_x(self, m: Module, name: str, enters: Value, following: Value, column: Value) -> Value:
        """The block of a row of x at `column`, from a memory of its own."""
        spec = self.spec
        record = operand_layout(spec.dot.a, 32)
        m.submodules[name] = held = memory.Memory(shape=record.size, depth=spec.x_words, init=[])
        write, read = held.write_port(), held.read_port()
        m.d.comb += [
            write.en.eq(enters),
            write.addr.eq(self.x.payload.index),
            write.data.eq(Value.cast(self.x.payload.block)),
        ]
        shift = (spec.x_parts - 1).bit_length()
        m.d.comb += read.addr.eq(following[shift:])
        if not shift:
            return read.data
        block = Signal(record)
        m.d.comb += Value.cast(block).eq(read.data)
        part = Value.cast(block.codes).word_select(column[:shift], spec.dot.lanes * spec.dot.a.code_bits)
        return Cat(block.scale, part)

    def _results(self, m: Module, takes: Value, room: Value, values) -> None:
        """Slots for one result of every dot unit; they leave one by one, those of a row of W together."""
        spec, rows = self.spec, self._held.rows
        m.submodules.results = slots = memory.Memory(shape=32 * len(values), depth=spec.results, init=[])
        write, read = slots.write_port(), slots.read_port(domain="comb")
        head, tail, lane = Signal(range(spec.results)), Signal(range(spec.results)), Signal(range(spec.dot_units))
        promised, filled = Signal(range(spec.results + 1)), Signal(range(spec.results + 1))
        sent = Signal(len(rows))
        enters, leaves, frees = Signal(), Signal(), Signal()
        value, ends, row_leaves = read.data.word_select(lane, 32 * spec.tile), sent == rows - 1, leaves
        if spec.tile > 1:
            row_of_x, last_of_x = Signal(range(spec.tile)), self._held.m - 1
            self._count(m, row_of_x, leaves, last_of_x)
            value = value.word_select(row_of_x, 32)
            ends, row_leaves = ends & (row_of_x == last_of_x), leaves & (row_of_x == last_of_x)
        m.d.comb += [
            enters.eq(values[0].valid),
            write.en.eq(enters),
            write.addr.eq(tail),
            write.data.eq(Cat(*(value.payload for value in values))),
            read.addr.eq(head),
            self.y.valid.eq(self._busy & filled.any() & ~self._finished),
            self.y.payload.value.eq(value),
            self.y.payload.last.eq(ends),
            leaves.eq(self.y.valid & self.y.ready),
            frees.eq(row_leaves & (lane == spec.dot_units - 1)),
            # Rows of W that only fill the last group are dropped: once all others have left, no slot is needed.
            room.eq((promised != spec.results) | self._finished),
        ]
        self._count(m, tail, enters, spec.results - 1)
        self._count(m, head, frees, spec.results - 1)
        self._count(m, lane, row_leaves, spec.dot_units - 1)
        self._count(m, sent, row_leaves)
        self._flag(m, self._finished, self.command.payload.rows == 0, leaves & ends)
        with m.If(self._begin):
            m.d.sync += [promised.eq(0), filled.eq(0)]
        with m.Else():
            m.d.sync += [promised.eq(promised + takes - frees), filled.eq(filled + enters - frees)]


@dataclass(frozen=True)
class GemvOptions(UnitOptions):
    """Options of `gemv`."""

    format: Annotated[str, typer.Option("--format", help="Format of the weight stream.")] = "mxint8"
    activations: Annotated[str, typer.Option("--activations", help="MX format of x.")] = "mxint8"
    beat: Annotated[int, typer.Option("--beat", help="Bytes of a beat: 4, 8, 16, 32 or 64.")] = 64
    dot_units: Annotated[int, typer.Option("--dot-units", help="Blocks multiplied per cycle.")] = 1
    interleave: Interleave = None
    decoders: Annotated[int | None, typer.Option("--decoders", help="Seed blocks decoded per cycle.")] = None
    target: Target = "mxint8"
    fifo: Annotated[int, typer.Option("--fifo", help="Beats in flight or waiting, at most.")] = 64
    results: Annotated[int | None, typer.Option("--results", help="Slots for results of all dot units.")] = None
    k_max: Annotated[int, typer.Option("--k-max", help="Elements of the longest x.")] = 4096

    def unit(self) -> tuple[Gemv, str]:
        """The spec, and the name of the Verilog module."""
        spec = Gemv(*self._parameters)
        return spec, f"gemv_{self._name(spec)}"

    @property
    def _parameters(self) -> tuple:
        """Of the spec, in its order."""
        return (
            self.format, self.activations, self.beat, self.dot_units, self.interleave, self.decoders, self.target,
            self.fifo, self.results, self.k_max,
        )  # fmt: skip

    @staticmethod
    def _name(spec: Gemv) -> str:
        """All parameters of a spec, as the name of a module holds them."""
        seeds = f"_{formats_name(spec.target)}_s{spec.decoders}" if spec.codec else ""
        sizes = f"b{spec.beat_bytes}_d{spec.dot_units}_i{spec.interleave}"
        held = f"f{spec.fifo}_y{spec.results}_k{spec.k_max}"
        return f"{formats_name(spec.weights)}_{formats_name(spec.activations)}{seeds}_{sizes}_{held}"


@dataclass(frozen=True)
class GemmOptions(GemvOptions):
    """Options of `gemm`."""

    tile: Annotated[int, typer.Option("--tile", help="Rows of x held on chip: each meets every block.")] = 4

    def unit(self) -> tuple[Gemv, str]:
        """The spec, and the name of the Verilog module."""
        spec = Gemm(*self._parameters, self.tile)
        return spec, f"gemm_{self._name(spec)}_t{spec.tile}"
