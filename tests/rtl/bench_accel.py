"""cocotb: matrix-vector products on `hwsim_accel`, started and read through its registers.

`bench_memory`: behind the memory of the engine's bench, whose time the simulator knows; the clock is driven here.
`random_ram`: behind the AXI RAM of cocotbext-axi, every channel pausing at random, driven by `rtl/driver.py`.
`reset_and_failures`: a reset in the middle of a product, and memories that answer with errors.
"""

import json
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from rtl.c_header import c_header
from rtl.driver import Accel as Driver
from rtl.registers import COUNTERS, identity, registers, values
from tests.rtl.accel_run import Product
from tests.rtl.gemv_cases import Case, data_of
from tests.rtl.gemv_memory import Memory

RAM_BYTES = 1 << 22
X, W, Y = 0x1000, 0x100000, 0x80000000
LIMIT = 20_000
BUSY, DONE, READ_FAILED, WRITE_FAILED = (1 << bit for bit in range(4))


def products() -> list[Product]:
    """What is to be run."""
    plain = json.loads(Path(os.environ["HWSIM_ACCEL_PRODUCTS"]).read_text())
    return [Product(Case(**each["case"]), each["burst"]) for each in plain]


def beside(name: str) -> Path:
    """A file beside that of the products."""
    return Path(os.environ["HWSIM_ACCEL_PRODUCTS"]).with_name(name)


def stored(words: list[int], size: int) -> bytes:
    """Words of `size` bytes in memory."""
    return b"".join(word.to_bytes(size, "little") for word in words)


class Bench:
    """One edge at a time: the memory of a product on one side, registers on the other."""

    def __init__(self, dut, product: Product, failed: int = 0):
        self.failed = failed  # what STATUS must say of it
        self.dut, self.product, self.case = dut, product, product.case
        self.spec, self.data = product.spec, data_of(product.case)
        self.size, self.half = self.spec.gemv.beat_bytes, Timer(1, "ns")
        self.offsets = {each.name: each.offset for each in registers(self.spec)}
        x = stored(sum(self.data.x, []), self.spec.x_record_bytes)
        beats = [int.from_bytes(x[i : i + self.size], "little") for i in range(0, len(x), self.size)]
        self.x_memory = Memory(self.case.arch.dram, beats)
        self.w_memory = Memory(self.case.arch.dram, self.data.beats, self.case.late, self.case.phase)
        self.memory, self.now, self.edge = self.x_memory, 0, -1
        self.asked = 0
        self.written: dict[int, int] = {}
        self.addresses: list[int] = []
        self.words: list[tuple[int, int]] = []
        self.answers, self.holds_answers = 0, False
        self.sink = self.case.sink()
        for port in ("s_axil_awprot", "s_axil_arprot", "m_axi_bid", "m_axi_rid"):
            getattr(dut, port).value = 0
        dut.m_axi_rresp.value, dut.m_axi_bresp.value = 2 * (failed == READ_FAILED), 2 * (failed == WRITE_FAILED)
        dut.s_axil_wstrb.value = 15
        for port in ("s_axil_awvalid", "s_axil_wvalid", "s_axil_bready", "s_axil_arvalid", "s_axil_rready"):
            getattr(dut, port).value = 0
        dut.m_axi_rlast.value = 0

    async def cycle(self) -> None:
        """One edge with the memory on it; what the registers' ports show is sampled before it."""
        dut, memory = self.dut, self.memory
        weights = memory is self.w_memory
        at = (self.edge + 1) if weights else self.now
        beat = memory.offer(at) if self.asked else None
        dut.m_axi_rvalid.value = int(beat is not None)
        if beat is not None:
            dut.m_axi_rdata.value = beat
        ready = int(self.case.p_ready == 1 or self.edge < 0 or self.sink(at))
        dut.m_axi_arready.value = 1
        dut.m_axi_awready.value = dut.m_axi_wready.value = ready
        answers = self.answers > 0 and not self.holds_answers
        dut.m_axi_bvalid.value = int(answers)
        dut.clk.value = 0
        await self.half
        self.sampled = {
            port: bool(getattr(dut, f"s_axil_{port}").value)
            for port in ("awready", "wready", "bvalid", "rvalid", "arready")
        }
        self.read_data = int(dut.s_axil_rdata.value) if self.sampled["rvalid"] else None
        asks = bool(dut.m_axi_arvalid.value)
        if weights and (self.edge >= 0 or asks):
            self.edge += 1
        if asks:
            self._burst(self.edge if weights else self.now)
        if beat is not None:
            taken = bool(dut.m_axi_rready.value)
            assert taken or not weights, f"edge {self.edge}: a beat of W is refused"
            if taken:
                memory.take()
        if answers:
            assert dut.m_axi_bready.value
            self.answers -= 1
        if ready and dut.m_axi_awvalid.value:
            assert int(dut.m_axi_awlen.value) == 0
            self.addresses.append(int(dut.m_axi_awaddr.value))
        if ready and dut.m_axi_wvalid.value:
            assert dut.m_axi_wlast.value
            self.words.append((int(dut.m_axi_wdata.value), int(dut.m_axi_wstrb.value)))
            self.answers += 1
        dut.clk.value = 1
        await self.half
        self.now += 1
        assert self.now < LIMIT, "nothing ends"

    def _burst(self, edge: int) -> None:
        """An address of reads: the next beats of x or W."""
        address, length = int(self.dut.m_axi_araddr.value), int(self.dut.m_axi_arlen.value) + 1
        base, memory = (X, self.x_memory) if self.memory is self.x_memory else (W, self.w_memory)
        assert address == base + self.asked * self.size, f"{address:#x}: not the next beat"
        assert length == min(self.spec.burst, len(memory.beats) - self.asked), f"a burst of {length}"
        for number in range(self.asked, self.asked + length):
            memory.request(edge, number)
        self.asked += length

    async def write(self, name: str, value: int) -> None:
        """A register, by the host."""
        dut = self.dut
        dut.s_axil_awaddr.value, dut.s_axil_wdata.value = self.offsets[name], value
        dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = dut.s_axil_bready.value = 1
        await self.cycle()
        assert self.sampled["awready"] and self.sampled["wready"]
        dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = 0
        await self.cycle()
        assert self.sampled["bvalid"]

    async def read(self, name: str) -> int:
        """A register, by the host."""
        dut = self.dut
        dut.s_axil_araddr.value, dut.s_axil_arvalid.value, dut.s_axil_rready.value = self.offsets[name], 1, 1
        await self.cycle()
        assert self.sampled["arready"]
        dut.s_axil_arvalid.value = 0
        await self.cycle()
        assert self.sampled["rvalid"]
        return self.read_data

    async def reset(self) -> None:
        """The synchronous reset for one edge."""
        self.dut.rst.value = 1
        await self.cycle()
        self.dut.rst.value = 0

    async def start(self) -> None:
        """What the host writes; then until x is read."""
        case = self.case
        assert await self.read("ID") == identity(self.spec)
        wanted = {"X_LOW": X, "W_LOW": W, "Y_LOW": Y, **values(self.spec, case.n, case.k, case.m)}
        if self.spec.gemv.tile == 1:
            wanted["M"] = 0
        for name, value in wanted.items():
            await self.write(name, value)
        for name, value in wanted.items():
            assert await self.read(name) == value
        await self.write("CONTROL", 1)
        while self.x_memory.queue or self.asked < len(self.x_memory.beats):
            await self.cycle()
        self.memory, self.asked = self.w_memory, 0

    async def run(self) -> dict:
        """One product: counters, rows that are wrong."""
        case = self.case
        await self.start()
        await self.write("ROWS", 0)  # ignored: it is busy
        while (
            len(self.words) < self.spec.y_beats(case.n, case.m)
            or self.asked < len(self.data.beats)
            or self.w_memory.queue
        ):
            await self.cycle()
        while (status := await self.read("STATUS")) & BUSY:
            pass
        assert status == DONE | self.failed, f"STATUS {status}"
        counters = {name: await self.read(name) for name in COUNTERS}
        assert self.addresses == [Y + i * self.size for i in range(len(self.words))]
        return {"counters": counters, "wrong": self._wrong()}

    def _wrong(self) -> list[int]:
        memory = {}
        for number, (word, strobe) in enumerate(self.words):
            for byte, value in enumerate(word.to_bytes(self.size, "little")):
                if strobe >> byte & 1:
                    memory[number * self.size + byte] = value
        assert sorted(memory) == list(range(4 * self.case.n * self.case.m)), "bytes written"
        return [
            row
            for row, want in enumerate(self.data.y)
            if bytes(memory[4 * row + i] for i in range(4)) != want.to_bytes(4, "little")
        ]


@cocotb.test()
async def bench_memory(dut):
    """Cycles, counters and y of each product."""
    found = []
    for product in products():
        bench = Bench(dut, product)
        if not found:
            await bench.reset()
        found.append(await bench.run())
    beside("bench_memory.json").write_text(json.dumps(found))


@cocotb.test()
async def reset_and_failures(dut):
    """A reset while the answer to a write is owed and, where the product is long enough, beats are in flight; then
    memories that fail."""
    product = products()[0]
    bench = Bench(dut, product)
    await bench.reset()
    await bench.start()
    bench.holds_answers = True
    while not bench.words:
        await bench.cycle()
    beside("reset.json").write_text(json.dumps({"beats_in_flight": len(bench.w_memory.queue)}))
    await bench.reset()
    bench.holds_answers = False
    while bench.w_memory.queue or bench.answers:
        await bench.cycle()
    for failed in (0, READ_FAILED, WRITE_FAILED, 0):
        found = await Bench(dut, product, failed).run()
        assert not found["wrong"]


class Registers:
    """The words of the registers, by a master of AXI4-Lite; for the driver, which does not await."""

    def __init__(self, master: AxiLiteMaster):
        self.read, self.write = resume(master.read_dword), resume(master.write_dword)

    def __getitem__(self, word: int) -> int:
        return self.read(4 * word)

    def __setitem__(self, word: int, value: int) -> None:
        self.write(4 * word, value)


def pauses(seed: str, share: float):
    """Whether a channel pauses, edge by edge, in spells of up to eight."""
    draw = random.Random(seed)
    while True:
        yield from [draw.random() < share] * draw.randint(1, 8)


def pause(ram: AxiRam, host: AxiLiteMaster, seed: int) -> None:
    """Pauses of their own on every channel of both ports."""
    for port, ends in (("ram", ram), ("host", host)):
        for side in (ends.read_if, ends.write_if):
            for name in ("ar", "r", "aw", "w", "b"):
                if channel := getattr(side, f"{name}_channel", None):
                    share = random.Random(f"{port} {name} {seed}").choice([0, 0.2, 0.5, 0.8])
                    channel.set_pause_generator(pauses(f"{port} {name} {seed}", share))


async def watch(dut, spec, seen: dict[str, int]) -> None:
    """AXI4's rules for what the unit offers: it stays as it is until it is taken, no burst crosses a page or is longer
    than the unit's, and a write burst has the beats that its address says."""
    channels = {
        "m_axi_ar": ("addr", "len", "size", "burst"), "m_axi_aw": ("addr", "len", "size", "burst"),
        "m_axi_w": ("data", "strb", "last"), "s_axil_b": ("resp",), "s_axil_r": ("data", "resp"),
    }  # fmt: skip
    offered: dict[str, tuple] = {}
    while True:
        await RisingEdge(dut.clk)
        for channel, names in channels.items():
            shown = None
            if getattr(dut, f"{channel}valid").value:
                shown = tuple(int(getattr(dut, f"{channel}{name}").value) for name in names)
            if channel in offered:
                assert shown == offered[channel], f"{channel}: was withdrawn or changed"
            offered.pop(channel, None)
            if shown is None:
                continue
            if not getattr(dut, f"{channel}ready").value:
                offered[channel] = shown
                seen["waits"] = seen.get("waits", 0) + 1
                continue
            seen[channel] = seen.get(channel, 0) + 1
            if channel in ("m_axi_ar", "m_axi_aw"):
                address, beats, size, burst = shown[0], shown[1] + 1, 1 << shown[2], shown[3]
                assert (size, burst) == (spec.gemv.beat_bytes, 1) and beats <= spec.burst and address % size == 0
                assert address // 4096 == (address + beats * size - 1) // 4096, f"{address:#x}: crosses a page"
                assert channel == "m_axi_ar" or beats == 1
            if channel == "m_axi_w":
                assert shown[2]


async def reset_on_bus(dut) -> tuple[AxiLiteMaster, AxiRam]:
    """Start the clock and reset the unit: the host at its registers, and a RAM of `RAM_BYTES` as its memory."""
    Clock(dut.clk, 2, "ns").start()
    dut.rst.value = 1
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=RAM_BYTES)
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return host, ram


@cocotb.test()
async def random_ram(dut):
    """y and counts of beats of each product; addresses and data under pauses of every channel."""
    found, all_products = [], products()
    spec = all_products[0].spec
    header = beside("hwsim_accel.h")
    header.write_text(c_header(spec, "hwsim_accel"))
    host, ram = await reset_on_bus(dut)
    seen: dict[str, int] = {}
    watching = cocotb.start_soon(watch(dut, spec, seen))

    @bridge
    def multiply(product: Product):
        data, case = data_of(product.case), product.case
        driver = Driver(str(header), Registers(host), ram.mem, 0)
        x, w = stored(sum(data.x, []), spec.x_record_bytes), stored(data.beats, spec.gemv.beat_bytes)
        return driver.multiply(x, w, case.n, case.k, case.m), data.y

    for number, product in enumerate(all_products):
        pause(ram, host, number)
        (y, counters), want = await multiply(product)
        got = [int(bits) for bits in np.array(y, np.float32).view(np.uint32)]
        wrong = [row for row, (one, other) in enumerate(zip(got, want, strict=True)) if one != other]
        found.append({"counters": counters, "wrong": wrong})
    watching.cancel()
    assert seen["waits"] and seen["m_axi_ar"] and seen["m_axi_w"], seen
    beside("random_ram.json").write_text(json.dumps(found))
