"""cocotb: matrix-vector products on one GEMV unit, one after the other; cycles and y of each go to a file."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.triggers import Timer

from rtl.gemv import command, command_layout, x_layout
from rtl.pack import pack
from tests.rtl.gemv_cases import Case, data_of
from tests.rtl.gemv_memory import Memory

IDLE_LIMIT = 20_000


class Engine:
    """The ports of the unit; `edge` takes one."""

    def __init__(self, dut):
        self.dut = dut
        for name in ("x", "command", "beat"):
            for end in ("valid", "ready", "payload"):
                setattr(self, f"{name}_{end}", getattr(dut, f"{name}__{end}"))
        self.request_valid, self.request_payload = dut.request__valid, dut.request__payload
        self.y_valid, self.y_payload, self.y_ready = dut.y__valid, dut.y__payload, dut.y__ready
        self.half = Timer(1, "ns")

    async def low(self) -> None:
        """The first half of a cycle: what was driven settles."""
        self.dut.clk.value = 0
        await self.half

    async def edge(self) -> None:
        """The clock's edge."""
        self.dut.clk.value = 1
        await self.half

    async def reset(self) -> None:
        """Everything idle, the synchronous reset for one edge."""
        for signal in (self.x_valid, self.command_valid, self.beat_valid, self.y_ready):
            signal.value = 0
        self.dut.request__ready.value = 1
        self.dut.rst.value = 1
        await self.low()
        await self.edge()
        self.dut.rst.value = 0

    async def send(self, port: str, payload: int) -> None:
        """One transfer into `port`, nothing else moving."""
        valid, ready, bits = (getattr(self, f"{port}_{end}") for end in ("valid", "ready", "payload"))
        valid.value, bits.value = 1, payload
        taken = False
        while not taken:
            await self.low()
            taken = bool(ready.value)
            await self.edge()
        valid.value = 0


async def product(engine: Engine, case: Case) -> dict:
    """Run one matrix-vector product: {cycles, y, beats}."""
    spec, data = case.arch.gemv, data_of(case)
    for index, record in enumerate(data.x):
        await engine.send("x", pack(x_layout(spec), {"block": record, "index": index}))
    await engine.send("command", pack(command_layout(spec), command(spec, case.n, case.k)))

    memory, ready, sink = Memory(case.arch.dram, data.beats, case.late, case.phase), None, case.sink()
    now = edge = last = -1  # now: cycles since the command; edge: since the first request
    y, asked, quiet, busy = [], 0, 0, True
    shown = driven = False
    while busy:
        now += 1
        beat = memory.offer(edge + 1) if asked else None
        if (beat is not None) != shown:
            shown = beat is not None
            engine.beat_valid.value = int(shown)
        if beat is not None:
            engine.beat_payload.value = beat
        ready = case.p_ready == 1 or not asked or sink(edge + 1)
        if ready != driven:
            driven = ready
            engine.y_ready.value = int(ready)
        await engine.low()
        requests = bool(engine.request_valid.value)
        edge += bool(asked or requests)
        quiet += 1
        if requests:
            assert int(engine.request_payload.value) == asked, "beats are asked for in order"
            memory.request(edge, asked)
            asked, quiet = asked + 1, 0
        if beat is not None:
            assert engine.beat_ready.value, f"edge {edge}: a beat that was asked for is refused"
            memory.take()
            quiet = 0
        if ready and engine.y_valid.value:
            word = int(engine.y_payload.value)
            y.append(word & 0xFFFFFFFF)
            assert word >> 32 == (len(y) == case.n), f"row {len(y)}: last"
            last, quiet = edge, 0
        busy = not engine.command_ready.value
        await engine.edge()
        assert quiet < IDLE_LIMIT, f"edge {edge}: nothing moves; {len(y)} of {case.n} rows, {asked} beats asked for"
    engine.y_ready.value = engine.beat_valid.value = 0
    wrong = [row for row, (got, want) in enumerate(zip(y, data.y, strict=False)) if got != want]
    return {"cycles": last + 1, "rows": len(y), "wrong": wrong, "beats": asked, "beats_stored": len(data.beats)}


@cocotb.test()
async def matrix_vector_products(dut):
    """The cases of HWSIM_GEMV_CASES, their results to HWSIM_GEMV_RESULTS."""
    cases = [Case(**plain) for plain in json.loads(Path(os.environ["HWSIM_GEMV_CASES"]).read_text())]
    engine, found = Engine(dut), []
    await engine.reset()
    for case in cases:
        found.append(await product(engine, case))
    Path(os.environ["HWSIM_GEMV_RESULTS"]).write_text(json.dumps(found))
