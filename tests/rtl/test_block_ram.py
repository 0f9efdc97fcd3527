"""The block RAM behind AXI4: random bursts and writes against a list of bytes, every ready pausing at random."""

import random

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from amaranth.sim import Simulator

from hwsim.specs import Accel, Gemv
from rtl.block_ram import BlockRam

SPEC = Accel(Gemv("mxfp4_e2m1", "mxfp4_e2m1", 8, fifo=16, k_max=128))
BEAT, DEPTH = 8, 512
SIZE = BEAT * DEPTH
OKAY, DECODE_ERROR = 0, 3


def simulated(test) -> None:
    """Run `test(context, ram)` on a memory."""
    ram = BlockRam(SPEC, DEPTH)
    simulator = Simulator(ram)
    simulator.add_clock(1e-6)

    async def run(context):
        await test(context, ram)

    simulator.add_testbench(run)
    simulator.run()


async def put(context, ram, held: bytearray, draw) -> None:
    """The host fills the memory."""
    for at in range(SIZE // 4):
        word = draw.getrandbits(32)
        held[4 * at : 4 * at + 4] = word.to_bytes(4, "little")
        context.set(ram.at, at)
        context.set(ram.word, word)
        context.set(ram.put, 1)
        await context.tick()
    context.set(ram.put, 0)


async def write(context, ram, address: int, beat: int, strobe: int) -> int:
    """One beat by the bus; its response."""
    for port, value in (("awaddr", address), ("wdata", beat), ("wstrb", strobe), ("awvalid", 1), ("wvalid", 1)):
        context.set(getattr(ram, f"s_axi_{port}"), value)
    assert context.get(ram.s_axi_awready) and context.get(ram.s_axi_wready)
    await context.tick()
    assert context.get(ram.s_axi_bvalid) and not context.get(ram.s_axi_awready)  # the next waits for the response
    context.set(ram.s_axi_awvalid, 0)
    context.set(ram.s_axi_wvalid, 0)
    context.set(ram.s_axi_bready, 1)
    response = context.get(ram.s_axi_bresp)
    await context.tick()
    assert not context.get(ram.s_axi_bvalid)
    context.set(ram.s_axi_bready, 0)
    return response


@pytest.mark.parametrize("pauses", [False, True])
def test_random_bursts(pauses):
    """Every beat of every burst, in order, `last` with its last; without pauses no cycle is lost between bursts; with
    them, the host's reads in between are right too. Strobes and a write beyond the memory did what they say."""
    draw = random.Random(24)
    held, wanted, bursts = bytearray(SIZE), [], []
    for _ in range(60):
        begin, count = draw.randrange(2 * DEPTH), draw.choice([1, 1, 2, 3, 16])
        begin -= max(0, begin % DEPTH + count - DEPTH)
        bursts.append((begin, count))
    bursts.append((0, 16))  # with the beats that the bus wrote
    found, edges, reads = [], [], []

    async def test(context, ram):
        await put(context, ram, held, draw)
        beat = draw.getrandbits(64)
        assert await write(context, ram, 16, beat, 0b11110000) == OKAY
        held[20:24] = beat.to_bytes(8, "little")[4:]
        assert await write(context, ram, SIZE + 32, beat, 0xFF) == DECODE_ERROR
        asked, total = 0, sum(count for _, count in bursts)
        gets = 0  # 1: the host asks; 2: it waits
        for edge in range(10_000):
            context.set(ram.s_axi_rready, not pauses or draw.random() < 0.6)
            context.set(ram.s_axi_arvalid, asked < len(bursts))
            if asked < len(bursts):
                context.set(ram.s_axi_araddr, bursts[asked][0] * BEAT)
                context.set(ram.s_axi_arlen, bursts[asked][1] - 1)
            if pauses and not gets and draw.random() < 0.3:
                at, gets = draw.choice([5, draw.randrange(SIZE // 4)]), 1
                context.set(ram.at, at)
            context.set(ram.get, gets == 1)
            if context.get(ram.s_axi_rvalid) and context.get(ram.s_axi_rready):
                found.append(tuple(context.get(getattr(ram, f"s_axi_r{end}")) for end in ("data", "last", "resp")))
                edges.append(edge)
            if context.get(ram.is_found):
                assert gets == 2
                reads.append((at, context.get(ram.found)))
                gets = 0
            asked += context.get(ram.s_axi_arready) and asked < len(bursts)
            gets += gets == 1 and context.get(ram.taken)
            if len(found) == total:
                return
            await context.tick()

    simulated(test)
    for begin, count in bursts:
        for i in range(count):
            at = (begin + i) % DEPTH * BEAT
            data = int.from_bytes(held[at : at + BEAT], "little")
            wanted.append((data, int(i == count - 1), DECODE_ERROR if begin >= DEPTH else OKAY))
    assert found == wanted and {response for *_, response in wanted} == {OKAY, DECODE_ERROR}
    assert reads == [(at, int.from_bytes(held[4 * at : 4 * at + 4], "little")) for at, _ in reads]
    assert len(reads) > 30 if pauses else edges[-1] - edges[0] == len(edges) - 1
