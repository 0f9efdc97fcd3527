"""cocotb: GEMMs on one GEMV or GEMM unit, one after the other; cycles and y of each go to a file."""

import json
import os
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
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

    def offer(self, given: tuple[str, int] | None) -> None:
        """Offer a transfer (port, payload) into x or command in this cycle, or none."""
        for port in ("x", "command"):
            getattr(self, f"{port}_valid").value = int(given is not None and given[0] == port)
        if given is not None:
            getattr(self, f"{given[0]}_payload").value = given[1]


def loads(case: Case) -> Iterator[list[tuple[str, int]]]:
    """Of each tile what goes into the unit before it begins, (port, payload): x, row by row, then the command."""
    spec, rows = case.arch.gemv, iter(data_of(case).x)
    for m in case.tiles:
        blocks = [(row, index, block) for row in range(m) for index, block in enumerate(next(rows))]
        fields = ({"block": block, "index": index, "row": row} for row, index, block in blocks)
        x = [("x", pack(x_layout(spec), {name: each[name] for name in x_layout(spec).members})) for each in fields]
        yield [*x, ("command", pack(command_layout(spec), command(spec, case.n, case.k, m)))]


async def gemm(engine: Engine, case: Case) -> dict:
    """Run one GEMM, a tile after the other: {cycles, rows (results), wrong, beats, beats_stored}."""
    first, *others = loads(case)
    for port, payload in first:
        await engine.send(port, payload)
    data = data_of(case)
    memory, ready, sink = Memory(case.arch.dram, data.beats * len(case.tiles), case.late, case.phase), None, case.sink()
    ends = list(accumulate(case.n * m for m in case.tiles))  # results up to the end of each tile
    sending: deque[tuple[str, int]] = deque()
    now = edge = last = -1  # now: cycles since the first command; edge: since the first request
    y, asked, quiet, busy = [], 0, 0, True
    shown, driven, offered = False, False, None
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
        given = sending[0] if sending else None
        if given != offered:
            offered = given
            engine.offer(given)
        await engine.low()
        requests = bool(engine.request_valid.value)
        edge += bool(asked or requests)
        quiet += 1
        if requests:
            assert int(engine.request_payload.value) == asked % len(data.beats), "beats are asked for in order"
            memory.request(edge, asked)
            asked, quiet = asked + 1, 0
        if beat is not None:
            assert engine.beat_ready.value, f"edge {edge}: a beat that was asked for is refused"
            memory.take()
            quiet = 0
        if given and getattr(engine, f"{given[0]}_ready").value:
            sending.popleft()
            quiet = 0
        if ready and engine.y_valid.value:
            word = int(engine.y_payload.value)
            y.append(word & 0xFFFFFFFF)
            assert word >> 32 == (len(y) in ends), f"result {len(y)}: last"
            last, quiet = edge, 0
            if len(y) in ends[:-1]:
                sending.extend(others.pop(0))
        busy = bool(given or sending or others) or not engine.command_ready.value
        await engine.edge()
        assert quiet < IDLE_LIMIT, (
            f"edge {edge}: nothing moves; {len(y)} of {ends[-1]} results, {asked} beats asked for"
        )
    engine.y_ready.value = engine.beat_valid.value = 0
    engine.offer(None)
    wrong = [at for at, (got, want) in enumerate(zip(y, data.y, strict=False)) if got != want]
    stored = len(data.beats) * len(case.tiles)
    return {"cycles": last + 1, "rows": len(y), "wrong": wrong, "beats": asked, "beats_stored": stored}


@cocotb.test()
async def gemms(dut):
    """The cases of HWSIM_GEMV_CASES, their results to HWSIM_GEMV_RESULTS."""
    cases = [Case(**plain) for plain in json.loads(Path(os.environ["HWSIM_GEMV_CASES"]).read_text())]
    engine, found = Engine(dut), []
    await engine.reset()
    for case in cases:
        found.append(await gemm(engine, case))
    Path(os.environ["HWSIM_GEMV_RESULTS"]).write_text(json.dumps(found))
