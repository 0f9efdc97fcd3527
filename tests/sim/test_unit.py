"""The SimPy server of each unit equals its cycle model on random arrivals and stalls."""

import itertools

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.formats.elements import ELEMENTS
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4
from hwsim.sim.unit import RigidServer, unit_servers
from hwsim.specs import Accumulator, BlockDot, LfsrBlock, MxMac, Operand, Requantizer, SeedDecoder, SeedMac
from hwsim.timing import Rigid


class Depth:
    """A pipeline of some depth and nothing else."""

    def __init__(self, latency):
        self.latency = latency

    def cycle_model(self):
        return Rigid(self.latency)


MX = ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8", "nvfp4", "mx9", "mx6", "mx4"]
SPECS = {
    "lfsr_block": LfsrBlock(SEEDLM4),
    "lfsr_block_deep": LfsrBlock(SEEDLM3, stages=("seed", "states")),
    "seed_decoder_seedlm4": SeedDecoder(SEEDLM4),
    "seed_decoder_seedlm3": SeedDecoder(SEEDLM3),
    "requantizer_seedlm4": Requantizer(SEEDLM4),
    "requantizer_seedlm3": Requantizer(SEEDLM3, "mxfp4_e2m1"),
    **{f"block_dot_{name}": BlockDot.of(name, name) for name in MX},
    "block_dot_mixed": BlockDot.of("mxfp4_e2m1", "mxfp8_e4m3"),
    "accumulator": Accumulator(BlockDot.of("mxfp8_e4m3", "mxfp8_e4m3")),
    "accumulator_shallow": Accumulator(BlockDot.of("mxint8", "mxint8"), stages=("norm", "round")),
    "mx_mac": MxMac(Accumulator(BlockDot.of("mxfp4_e2m1", "mxfp4_e2m1"))),
    "mx_mac_nvfp4": MxMac(Accumulator(BlockDot.of("nvfp4", "nvfp4"))),
    "seed_mac": SeedMac(Requantizer(SEEDLM4), Operand(ELEMENTS["INT8"])),
    **{f"depth_{latency}": Depth(latency) for latency in range(1, 10)},
}


def cycle_by_cycle(unit, arrivals, ready):
    """Edges of acceptance, offer and departure, from the cycle model alone."""
    accepted, offered, left = [], [], []
    waiting, showing = list(arrivals), False
    outputs = sum(kept for _, kept in arrivals)
    for edge in itertools.count():
        if not waiting and len(left) == outputs:
            return accepted, offered, left
        out_ready = ready(edge)
        valid = bool(waiting) and edge >= waiting[0][0]
        keep = {} if not valid or waiting[0][1] else {"keep": False}
        seen = unit.step(valid, out_ready, **keep)
        if seen.out_valid and not showing:
            offered.append(edge)
        if seen.out_valid and out_ready:
            left.append(edge)
        showing = seen.out_valid and not out_ready
        if valid and seen.in_ready:
            accepted.append(edge)
            waiting.pop(0)


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=25)
@given(
    inputs=st.lists(st.tuples(st.sampled_from([0, 0, 1, 2, 6]), st.booleans()), min_size=1, max_size=40),
    stalls=st.lists(st.booleans(), max_size=120),
)
def test_simpy_server_equals_cycle_model(name, inputs, stalls):
    spec = SPECS[name]
    ends_rows = isinstance(spec, Accumulator | MxMac | SeedMac)
    edges = itertools.accumulate(gap for gap, _ in inputs)
    arrivals = [(edge, kept or not ends_rows) for edge, (_, kept) in zip(edges, inputs, strict=True)]

    def ready(edge):
        return edge >= len(stalls) or stalls[edge]

    env = simpy.Environment()
    servers = unit_servers(env, spec, lambda offer: next(edge for edge in itertools.count(offer) if ready(edge)))
    env.process(servers[0].feed(arrivals))
    env.run()
    simulated = servers[0].accepted, servers[-1].offered, servers[-1].left
    assert simulated == cycle_by_cycle(spec.cycle_model(), arrivals, ready)
    assert len(simulated[2]) == sum(kept for _, kept in arrivals)


def test_a_frozen_pipeline_accepts_nothing():
    env = simpy.Environment()
    server = RigidServer(env, 2, lambda t: max(t, 7))
    env.process(server.feed((t, True) for t in range(4)))
    env.run()
    assert server.accepted == [0, 1, 7, 8]
    assert server.left == [7, 8, 9, 10]


def test_an_empty_place_between_pipelines_is_filled_while_the_output_waits():
    """Two pipelines of 2 in a row: items that entered 3 edges apart leave 2 apart."""
    env = simpy.Environment()
    last = RigidServer(env, 2, lambda t: max(t, 20))
    first = RigidServer(env, 2, last)
    env.process(first.feed((t, True) for t in (0, 3, 4, 5, 6)))
    env.run()
    assert first.accepted == [0, 3, 4, 20, 21]
    assert last.left == [20, 22, 23, 24, 25]
