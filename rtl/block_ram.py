"""Block RAM behind AXI4, as wide as a beat, with a second way in for a host."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import InputError
from hwsim.specs import Accel

from . import axi4

__all__ = ["LATENCY", "BlockRam", "check_depth"]

LATENCY = 3
"""Cycles from the edge that takes an address to the edge that can take its first beat."""
DECODE_ERROR = 3


def check_depth(spec: Accel, depth: int) -> None:
    """raises: InputError for a memory that is not a power of two of whole pages below the addresses' end."""
    beat = spec.gemv.beat_bytes
    least, most = spec.PAGE_BYTES // beat, (1 << (spec.address_bits - 1)) // beat
    if not least <= depth <= most or depth & (depth - 1):
        raise InputError(f"depth {depth}: write a power of two from {least} to {most} beats of {beat} B")


class BlockRam(wiring.Component):
    """A memory for the master of `hwsim_accel`: bursts are INCR, of one ID, in order; a write is one beat.

    A burst is read at a beat per cycle, the next one without a pause. An address beyond the memory is answered DECERR,
    and nothing is written there. The host goes first; each of its words costs the unit at most a cycle.

    spec: whose bus it is. depth: beats, as `check_depth` has them.

    Ports:
    s_axi_...        the slave: the ports of `axi4.ports`, seen from the other side.
    at               in:      which word of 32 bits the host means; stands still until it is found.
    put, word        in:      the host writes `word`.
    get, taken       in, out: the host reads; its wish is taken.
    found, is_found  out:     what it reads, for the one cycle in which `is_found` is 1.
    """

    def __init__(self, spec: Accel, depth: int):
        self.spec, self._depth = spec, depth
        slave = {name.replace("m_axi", "s_axi"): port.flip() for name, port in axi4.ports(spec).items()}
        words = depth * spec.gemv.beat_bytes // 4
        super().__init__(slave | {
            "at": In(range(words)), "put": In(1), "word": In(32), "get": In(1), "taken": Out(1),
            "found": Out(32), "is_found": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        """One memory of a write port and a read port."""
        m = Module()
        m.submodules.beats = beats = memory.Memory(shape=self.spec.gemv.beat_bits, depth=self._depth, init=[])
        shift = (self.spec.gemv.beat_bytes - 1).bit_length()
        lane_bits, beat_bits = shift - 2, (self._depth - 1).bit_length()
        self._lane, self._row = self.at[:lane_bits], self.at[lane_bits:]
        self._inside = slice(shift, shift + beat_bits)
        self._outside = slice(shift + beat_bits, None)
        self._write(m, beats.write_port(granularity=8))
        self._read(m, beats.read_port())
        return m

    def _write(self, m: Module, port) -> None:
        """An address and its beat are taken together."""
        takes, outside = Signal(), self.s_axi_awaddr[self._outside].any()
        lanes = self.spec.gemv.beat_bytes // 4
        chosen = Cat((self._lane == lane).replicate(4) for lane in range(lanes))
        m.d.comb += [
            takes.eq(self.s_axi_awvalid & self.s_axi_wvalid & (~self.s_axi_bvalid | self.s_axi_bready) & ~self.put),
            self.s_axi_awready.eq(takes),
            self.s_axi_wready.eq(takes),
            port.addr.eq(Mux(self.put, self._row, self.s_axi_awaddr[self._inside])),
            port.data.eq(Mux(self.put, self.word.replicate(lanes), self.s_axi_wdata)),
            port.en.eq(Mux(self.put, chosen, Mux(takes & ~outside, self.s_axi_wstrb, 0))),
        ]
        with m.If(takes):
            m.d.sync += [self.s_axi_bvalid.eq(1), self.s_axi_bresp.eq(Mux(outside, DECODE_ERROR, axi4.OKAY))]
        with m.Elif(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)

    def _read(self, m: Module, port) -> None:
        """The burst in work; behind it the memory's register and one more, which move on when a beat can leave."""
        step = data.StructLayout({"host": 1, "beat": 1, "last": 1, "outside": 1})
        given, asked, ready = Signal(step), Signal(step), Signal(step)
        address, left, outside = Signal.like(port.addr), Signal(9), Signal()
        moves, takes, held = Signal(), Signal(), Signal.like(port.data, reset_less=True)
        m.d.comb += [
            moves.eq(~ready.beat | self.s_axi_rready),
            given.host.eq(self.get),
            given.beat.eq(left.any() & ~self.get),
            given.last.eq(left == 1),
            given.outside.eq(outside),
            self.taken.eq(moves),
            port.en.eq(moves),
            port.addr.eq(Mux(self.get, self._row, address)),
            self.s_axi_arready.eq(~left.any() | given.beat & given.last & moves),
            takes.eq(self.s_axi_arvalid & self.s_axi_arready),
            self.s_axi_rvalid.eq(ready.beat),
            self.s_axi_rdata.eq(held),
            self.s_axi_rlast.eq(ready.last),
            self.s_axi_rresp.eq(Mux(ready.outside, DECODE_ERROR, axi4.OKAY)),
            self.found.eq(held.word_select(self._lane, 32)),
            self.is_found.eq(ready.host),
        ]
        with m.If(moves):
            m.d.sync += [asked.eq(given), ready.eq(asked), held.eq(port.data)]
        with m.If(takes):
            m.d.sync += [
                address.eq(self.s_axi_araddr[self._inside]),
                left.eq(self.s_axi_arlen + 1),
                outside.eq(self.s_axi_araddr[self._outside].any()),
            ]
        with m.Elif(given.beat & moves):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
