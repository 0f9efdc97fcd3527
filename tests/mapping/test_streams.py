"""Ops without a weight matrix: what their tiles take of the buffers, they give back, once."""

from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import HealthCheck, assume, given, settings

from hwsim.arch.compute import DotArray, DotRate
from hwsim.arch.machine import TileMachine
from hwsim.arch.memory import Buffers, Dram
from hwsim.arch.servers import Round, Vector
from hwsim.errors import InputError
from hwsim.jobs.run import run
from hwsim.mapping.program import BUFFERS, SERVERS
from hwsim.workload.op import Cache, Op
from tests.sim.machines import archs, job, op_lists

SMALL = TileMachine(
    name="small",
    description="",
    clock_hz=Fraction(10**9),
    dram=Dram(bytes_per_cycle=Fraction(32), latency_cycles=10, beat_bytes=32, capacity_bytes=1 << 30),
    buffers=Buffers(1 << 12, 1 << 12, 1 << 12),
    dot=DotArray(4, (DotRate("bf16", "bf16", Fraction(64)),)),
    activations="on_chip",
    tiles=((8, 8, 16),),
    vector=Vector(Fraction(16), 3),
    round=Round(Fraction(16), 2),
)


def balance(tile):
    """Credits that a tile takes less those that it gives back, by buffer; those that are not zero."""
    total = Counter()
    for step in (*tile.steps, *((tile.write,) if tile.write else ())):
        for buffer, amount in step.takes:
            total[BUFFERS[buffer]] += amount
        for buffer, amount in step.gives:
            total[BUFFERS[buffer]] -= amount
    return {buffer: amount for buffer, amount in total.items() if amount}


@pytest.mark.parametrize("read, macs, vector, write", list(product([0, 5000], repeat=4)))
def test_each_credit_comes_back_once_whatever_the_servers(read, macs, vector, write):
    """A read that a dot array, a vector unit and a rounding unit follow is let go of by the first of them alone."""
    if not (read or macs or vector or write):
        return
    cache = Cache("ssm", 8, read, write)
    op = Op("scan", "ssm", weights="", macs=macs, vector=vector, cache=cache, inputs=8, outputs=8)
    (tiled,) = job(SMALL, (op,)).choice[1]
    servers = {SERVERS[step.server] for tile in tiled.program.tiles() for step in tile.steps}
    assert servers == {
        server for server, amount in {"dram": read, "dot": macs, "vector": vector, "round": write}.items() if amount
    }
    assert all(not balance(tile) for tile in tiled.program.tiles())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(archs(), op_lists())
def test_programs_give_back_what_they_take(arch, ops):
    """On any machine the buffers are as empty after an op as before it."""
    try:
        tiled = job(arch, ops).choice[1]
    except InputError:
        assume(False)
    for one in tiled:
        total = Counter()
        for tile in one.program.tiles():
            for buffer, amount in balance(tile).items():
                total[buffer] += amount
        assert not any(total.values())


@pytest.mark.parametrize("read, write", [(40_007, 90_019), (1_000_003, 0), (7, 77_777), (123_456, 123_457)])
def test_streams_of_any_size_are_cut_to_pieces_that_fit(read, write):
    """What does not divide by the number of pieces is spread over them, none larger than two chunks of 128 B."""
    cache = Cache("ssm", 1, read // 4, write // 4)
    op = Op("scan", "ssm", macs=read + 5, vector=write + 3, cache=cache)
    run = job(SMALL, (op,), state="fp32")
    (tiled,), q = run.choice[1], run.pipeline.q
    moved = Counter()
    for tile in tiled.program.tiles():
        for step in (*tile.steps, *((tile.write,) if tile.write else ())):
            amounts = [amount for _, amount in (*step.takes, *step.gives)]
            assert max(amounts, default=0) <= 2 * 128
            moved[SERVERS[step.server]] += Fraction(step.interval, q)
    assert tiled.moved.state == 4 * (read // 4 + write // 4)
    assert moved["dot"] * 64 == read + 5 and moved["vector"] * 16 == write + 3
    assert run.simulate("simpy").ticks == run.simulate("walk").ticks == run.simulate(reuse=False).ticks


@pytest.mark.parametrize("machine, batch", [("gemmini", 16), ("h200-sxm", 1_000_000), ("m0", 1_000_000)])
def test_a_batch_of_any_size_runs(machine, batch):
    """As many bytes as a batch needs, none of them too much for a buffer."""
    result = run(machine, "llama3-8b", batch=batch, weights="int8", engine="walk")
    assert result.cycles >= result.bound_cycles and result.bytes["kv"] > batch * 8192 * 65_536
