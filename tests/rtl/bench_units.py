"""cocotb: all units side by side, each against its own value and its own cycle model in each cycle."""

import os
import random
import warnings

import cocotb
from amaranth.hdl import UnusedElaboratable
from cocotb.clock import Clock
from cocotbext.axi import AxiStreamBus, AxiStreamSink, AxiStreamSource

from tests.rtl.drive import Ports, reset, run
from tests.rtl.side_by_side import axi
from tests.rtl.trial import Trial
from tests.rtl.units import BY_NAME

warnings.simplefilter("ignore", UnusedElaboratable)  # units are made here for their ports' names
UNITS = [BY_NAME[name] for name in os.environ["HWSIM_BENCH_UNITS"].split(",")]
COUNT = int(os.environ.get("HWSIM_BENCH_COUNT", "200"))


@cocotb.test()
async def value_and_time(dut):
    """Random valid and ready of their own for every unit; a reset in mid-stream first."""
    ports = [Ports(dut, axi(unit), f"{unit.name}_") for unit in UNITS]
    await reset(*ports)
    trials = [Trial(unit.spec.cycle_model(), unit.draw(60, seed=1), 0.9, 0.8, seed=i) for i, unit in enumerate(UNITS)]
    await run(list(zip(ports, trials, strict=True)), limit=40)
    await reset(*ports)
    for trial, unit in zip(trials, UNITS, strict=True):
        trial.reset(unit.draw(COUNT, seed=2))
    await run(list(zip(ports, trials, strict=True)))
    cycles = sum(trial.cycles for trial in trials)
    items = sum(trial.accepted for trial in trials)
    print(f"{len(UNITS)} units, {items} inputs, {cycles} cycles: 0 mismatches in data, 0 in time")


class Packets:
    """One unit between a source and a sink of cocotbext-axi, both pausing at random."""

    def __init__(self, dut, unit, seed: int):
        self.unit, self.axi, self.draw = unit, axi(unit), random.Random(seed)
        prefix = f"{unit.name}_"
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, prefix + self.axi.s_axis), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, prefix + self.axi.m_axis), dut.clk, dut.rst)
        for end, share in ((self.source, 0.3), (self.sink, 0.4)):
            end.set_pause_generator(self._pauses(random.Random(self.draw.random()), share))

    @staticmethod
    def _pauses(draw, share):
        while True:
            yield draw.random() < share

    def send(self, n: int) -> None:
        """Queue the packets of `n` cases; `want` holds those that must come back: words of (data, mask)."""
        last_in, last_out = self.axi.last_at
        bytes_in, packet, back, self.want = len(self.source.bus.tdata) // 8, bytearray(), [], []
        if self.axi.keep[0]:
            self._send_bytes(n, bytes_in)
            return
        for payload, answer in self.unit.draw(n, seed=3):
            last = self.draw.random() < 0.3 if last_in is None else payload >> last_in & 1
            packet += (payload & ~(1 << (last_in or 4096))).to_bytes(bytes_in, "little")
            if answer is not None:
                word, mask = answer if isinstance(answer, tuple) else (answer, -1)
                top = (1 << (last_out or 4096)) - 1
                back.append((word & top, mask & top))
            if last_in is not None and last_out is None:
                self.want += [[word] for word in back]
                back = []
            if last:
                self.source.send_nowait(packet)
                self.want += [back] if back else []
                packet, back = bytearray(), []

    def _send_bytes(self, n: int, bytes_in: int) -> None:
        """Packets of any number of bytes, of which the unit changes none: what comes back are the same bytes."""
        packet = bytearray()
        for payload, *_ in self.unit.draw(n, seed=3):
            count = (payload >> 8 * bytes_in & (1 << bytes_in) - 1).bit_count()
            packet += payload.to_bytes(2 * bytes_in, "little")[:count]
            if payload >> 9 * bytes_in:
                self.source.send_nowait(packet)
                self.want.append(bytes(packet))
                packet = bytearray()

    async def receive(self) -> int:
        """Compare what comes back; the number of packets."""
        size = len(self.sink.bus.tdata) // 8
        if self.axi.keep[0]:
            for number, packet in enumerate(self.want):
                assert bytes((await self.sink.recv()).tdata) == packet, f"{self.unit.name}, packet {number}"
            return len(self.want)
        for number, words in enumerate(self.want):
            got = bytes((await self.sink.recv()).tdata)
            assert len(got) == size * len(words), f"{self.unit.name}, packet {number}: {len(got) // size} words"
            for i, (word, mask) in enumerate(words):
                found = int.from_bytes(got[i * size : (i + 1) * size], "little")
                assert not (found ^ word) & mask, f"{self.unit.name}, packet {number}, word {i}: {found:#x}, {word:#x}"
        return len(self.want)


@cocotb.test()
async def axi_stream_packets(dut):
    """Packets through sources and sinks that pause: none lost, cut or joined; data as the spec has it."""
    dut.rst.value = 1
    clock = Clock(dut.clk, 2, "ns")
    clock.start()
    ends = [Packets(dut, unit, seed) for seed, unit in enumerate(UNITS)]
    for each in ends:
        each.send(min(COUNT, 60))
    for _ in range(2):
        await cocotb.triggers.RisingEdge(dut.clk)
    dut.rst.value = 0
    packets = [await each.receive() for each in ends]
    assert all(packets) and all(each.sink.empty() for each in ends)
    clock.stop()
    print(f"{len(UNITS)} units, {sum(packets)} AXI4-Stream packets with pauses on both sides")
