"""The turn buffer of `Gemv`: from blocks row by row to block by block, for seed formats whose blocks make several."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import Gemv

__all__ = ["TurnUnit"]


class TurnUnit(wiring.Component):
    """The blocks of `spec.interleave` rows, written row by row, read block by block; two banks.

    width: bits of a block.

    Ports:
    rows    in, stream:  of each dot unit the `spec.parts` blocks of a row.
    blocks  out, stream: of each dot unit one block.
    """

    def __init__(self, spec: Gemv, width: int):
        self.spec, self.width = spec, width
        row = spec.dot_units * spec.parts * width
        super().__init__({"rows": In(stream.Signature(row)), "blocks": Out(stream.Signature(spec.dot_units * width))})

    def elaborate(self, platform) -> Module:
        """A row may be read as soon as it is written; a bank is written again when it has been read to its end."""
        m = Module()
        spec, width, turn = self.spec, self.width, self.spec.interleave
        m.submodules.banks = banks = memory.Memory(shape=len(self.rows.payload), depth=2 * turn, init=[])
        write, read = banks.write_port(), banks.read_port(domain="comb")
        row_in, row_out, part = Signal(range(turn)), Signal(range(turn)), Signal(range(spec.parts))
        bank_in, bank_out, whole = Signal(), Signal(), Signal(range(3))
        enters, leaves, fills, empties = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.rows.ready.eq(whole != 2),
            self.blocks.valid.eq(whole.any() | (row_out < row_in)),
            enters.eq(self.rows.valid & self.rows.ready),
            leaves.eq(self.blocks.valid & self.blocks.ready),
            fills.eq(enters & (row_in == turn - 1)),
            empties.eq(leaves & (row_out == turn - 1) & (part == spec.parts - 1)),
            write.en.eq(enters),
            write.addr.eq(Mux(bank_in, turn, 0) + row_in),
            write.data.eq(self.rows.payload),
            read.addr.eq(Mux(bank_out, turn, 0) + row_out),
        ]
        m.d.sync += [whole.eq(whole + fills - empties), bank_in.eq(bank_in ^ fills), bank_out.eq(bank_out ^ empties)]
        with m.If(enters):
            m.d.sync += row_in.eq(Mux(row_in == turn - 1, 0, row_in + 1))
        with m.If(leaves):
            m.d.sync += row_out.eq(Mux(row_out == turn - 1, 0, row_out + 1))
        with m.If(leaves & (row_out == turn - 1)):
            m.d.sync += part.eq(Mux(part == spec.parts - 1, 0, part + 1))
        rows = (read.data.word_select(unit, spec.parts * width) for unit in range(spec.dot_units))
        m.d.comb += self.blocks.payload.eq(Cat(*(row.word_select(part, width) for row in rows)))
        return m
