"""The SimPy server of a unit equals its cycle model on random arrivals and stalls."""

import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.sim.unit import RigidServer
from hwsim.timing import Rigid


def cycle_by_cycle(latency, arrivals, ready):
    """Edges of acceptance, offer and departure, from the cycle model alone."""
    unit, accepted, offered, left = Rigid(latency), [], [], []
    waiting, showing = list(arrivals), False
    for edge, out_ready in enumerate(ready):
        valid = bool(waiting) and edge >= waiting[0]
        seen = unit.step(valid, out_ready)
        if seen.out_valid and not showing:
            offered.append(edge)
        if seen.out_valid and out_ready:
            left.append(edge)
        showing = seen.out_valid and not out_ready
        if valid and seen.in_ready:
            accepted.append(edge)
            waiting.pop(0)
    return accepted, offered, left


@settings(max_examples=300, deadline=None)
@given(
    latency=st.integers(1, 9),
    gaps=st.lists(st.integers(0, 6), min_size=1, max_size=25),
    stalls=st.lists(st.booleans(), max_size=150),
)
def test_simpy_server_equals_cycle_model(latency, gaps, stalls):
    arrivals, edge = [], 0
    for gap in gaps:
        edge += gap
        arrivals.append(edge)
    ready = stalls + [True] * (edge + 40 * (latency + len(gaps)))
    env = simpy.Environment()
    server = RigidServer(env, latency, arrivals, lambda t: next(i for i in range(t, len(ready)) if ready[i]))
    env.run()
    assert (server.accepted, server.offered, server.left) == cycle_by_cycle(latency, arrivals, ready)


def test_a_frozen_pipeline_accepts_nothing():
    env = simpy.Environment()
    server = RigidServer(env, 2, [0, 1, 2, 3], lambda t: max(t, 7))
    env.run()
    assert server.accepted == [0, 1, 7, 8]
    assert server.left == [7, 8, 9, 10]
