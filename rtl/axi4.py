"""AXI4 masters: beats asked for one by one become read bursts, results become written beats."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import Accel

__all__ = ["READ", "WRITE", "ReadMaster", "WriteMaster", "ports"]

READ, WRITE = ("ar", "r"), ("aw", "w", "b")

OKAY = 0
INCREMENTING = 1
BUFFERABLE = 3  # normal memory, not cached: what a DMA asks for

OUTSTANDING_WRITES = 15


def ports(spec: Accel) -> dict[str, wiring.Member]:
    """The ports of the master, by name, channel by channel: write address, data, response; read address, data."""
    beat = spec.gemv.beat_bits
    address = {
        "id": Out(1), "addr": Out(spec.address_bits), "len": Out(8), "size": Out(3), "burst": Out(2), "cache": Out(4),
        "prot": Out(3), "valid": Out(1), "ready": In(1),
    }  # fmt: skip
    channels = {
        "aw": address,
        "w": {"data": Out(beat), "strb": Out(beat // 8), "last": Out(1), "valid": Out(1), "ready": In(1)},
        "b": {"id": In(1), "resp": In(2), "valid": In(1), "ready": Out(1)},
        "ar": address,
        "r": {"id": In(1), "data": In(beat), "resp": In(2), "last": In(1), "valid": In(1), "ready": Out(1)},
    }
    return {f"m_axi_{channel}{name}": port for channel, names in channels.items() for name, port in names.items()}


def constants(spec: Accel) -> dict[str, Const]:
    """What an address says of every burst."""
    size = spec.gemv.beat_bytes.bit_length() - 1
    return {
        "id": Const(0, 1), "size": Const(size, 3), "burst": Const(INCREMENTING, 2), "cache": Const(BUFFERABLE, 4),
        "prot": Const(0, 3),
    }  # fmt: skip


class ReadMaster(wiring.Component):
    """Beats asked for one by one, in order, to the addresses of bursts: when a burst's last beat is asked for, the next
    edge offers its address.

    Ports:
    begin, page    in:          the next beat is the first of that page; no address is waiting.
    beat     in, stream:  one more beat; `last`: none follows, the burst ends.
    burst    out, stream: `address` in bytes, `length` in beats less one.
    """

    def __init__(self, spec: Accel):
        self.spec = spec
        page_bits = spec.address_bits - 12
        burst = data.StructLayout({"address": spec.address_bits, "length": 8})
        super().__init__(
            {
                "begin": In(1),
                "page": In(page_bits),
                "beat": In(stream.Signature(data.StructLayout({"last": 1}))),
                "burst": Out(stream.Signature(burst)),
            }
        )

    def elaborate(self, platform) -> Module:
        """The burst's beats so far; its address, which waits in a register."""
        m = Module()
        spec, beat, burst = self.spec, self.beat, self.burst
        beats = Signal(range(max(2, spec.burst)))
        address = Signal(spec.address_bits)
        ends = Signal()
        m.d.comb += [
            ends.eq(beat.payload.last | (beats == spec.burst - 1)),
            beat.ready.eq(~ends | ~burst.valid | burst.ready),
        ]
        with m.If(burst.ready):
            m.d.sync += burst.valid.eq(0)
        with m.If(beat.valid & beat.ready):
            m.d.sync += beats.eq(Mux(ends, 0, beats + 1))
            with m.If(ends):
                m.d.sync += [
                    burst.valid.eq(1),
                    burst.payload.address.eq(address),
                    burst.payload.length.eq(beats),
                    address.eq(address + spec.burst * spec.gemv.beat_bytes),
                ]
        with m.If(self.begin):
            m.d.sync += address.eq(Cat(Const(0, 12), self.page))
        return m


class WriteMaster(wiring.Component):
    """Words of 32 bits, in order, to beats, each written by a burst of its own; up to `spec.WRITES` wait.

    Ports:
    begin, page    in:          the next word is the first of that page; nothing is waiting.
    word     in, stream:  `value`; `last`: none follows, the beat is written with the words that it has.
    address  out, stream: in bytes.
    beat     out, stream: `data`, and `strobe`, which bytes of it are written.
    response in, stream:  of AXI4; never refused.
    idle     out:         every beat is written, and its response is here.
    failed   out:         a response of this cycle says that a beat was not written.
    """

    def __init__(self, spec: Accel):
        self.spec = spec
        bits = spec.gemv.beat_bits
        super().__init__(
            {
                "begin": In(1),
                "page": In(spec.address_bits - 12),
                "word": In(stream.Signature(data.StructLayout({"value": 32, "last": 1}))),
                "address": Out(stream.Signature(spec.address_bits)),
                "beat": Out(stream.Signature(data.StructLayout({"data": bits, "strobe": bits // 8}))),
                "response": In(stream.Signature(2)),
                "idle": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """The beat that fills up, the queue of whole ones, and what of the oldest has been taken."""
        m = Module()
        spec, word = self.spec, self.word
        lanes = spec.gemv.beat_bits // 32
        lane, held = Signal(range(lanes)), Signal(spec.gemv.beat_bits, reset_less=True)
        m.submodules.queue = queue = fifo.SyncFIFO(width=len(held) + lanes, depth=spec.WRITES)
        filled, ends, enters = Signal.like(held), Signal(), Signal()
        m.d.comb += [
            filled.eq(held),
            filled.word_select(lane, 32).eq(word.payload.value),
            ends.eq(word.payload.last | (lane == lanes - 1)),
            word.ready.eq(queue.w_rdy),
            enters.eq(word.valid & word.ready),
            queue.w_en.eq(enters & ends),
            queue.w_data.eq(Cat(filled, Const(1, 1), *(lane >= i for i in range(1, lanes)))),
        ]
        with m.If(enters):
            m.d.sync += [held.eq(filled), lane.eq(Mux(ends, 0, lane + 1))]
        self._leave(m, queue)
        return m

    def _leave(self, m: Module, queue: fifo.SyncFIFO) -> None:
        """Address and data leave side by side, in either order."""
        spec, address, beat, response = self.spec, self.address, self.beat, self.response
        at, owed = Signal(spec.address_bits), Signal(range(OUTSTANDING_WRITES + 1))
        addressed, given, gone = Signal(), Signal(), Signal()
        offers = queue.r_rdy & (owed != OUTSTANDING_WRITES)
        strobes = queue.r_data[spec.gemv.beat_bits :]
        m.d.comb += [
            address.valid.eq(offers & ~addressed),
            address.payload.eq(at),
            beat.valid.eq(offers & ~given),
            beat.payload.data.eq(queue.r_data[: spec.gemv.beat_bits]),
            beat.payload.strobe.eq(Cat(strobe.replicate(4) for strobe in strobes)),
            gone.eq(offers & (addressed | address.ready) & (given | beat.ready)),
            queue.r_en.eq(gone),
            response.ready.eq(1),
            self.failed.eq(response.valid & (response.payload != OKAY)),
            self.idle.eq(~queue.r_rdy & (owed == 0)),
        ]
        m.d.sync += [
            addressed.eq(~gone & (addressed | address.valid & address.ready)),
            given.eq(~gone & (given | beat.valid & beat.ready)),
            owed.eq(owed + gone - (response.valid & owed.any())),  # none is owed for what a reset has forgotten
        ]
        with m.If(gone):
            m.d.sync += at.eq(at + spec.gemv.beat_bytes)
        with m.If(self.begin):
            m.d.sync += at.eq(Cat(Const(0, 12), self.page))
