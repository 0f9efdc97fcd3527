"""What holds for every machine and workload: bounds, sums, monotone, conserved, same bytes out."""

import json
from fractions import Fraction

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hwsim.arch.compute import SystolicArray, TensorCores
from hwsim.errors import InputError
from hwsim.jobs.run import run
from hwsim.mapping.program import DRAM, SERVERS
from tests.sim.machines import IMPROVEMENTS, WEIGHTS_OF, archs, faster, job, op_lists

some = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
weights = st.sampled_from(WEIGHTS_OF)


def result_of(arch, ops, name):
    try:
        return job(arch, ops, name).result()
    except InputError:
        assume(False)


@some
@given(archs(), op_lists(), weights)
def test_never_faster_than_the_bound_and_every_cycle_has_one_cause(arch, ops, name):
    r = result_of(arch, ops, name)
    assert r.cycles >= r.bound_cycles
    assert sum(r.stalls.values()) == r.cycles
    assert all(n >= 0 for n in r.stalls.values())
    for rows in (r.by_op, r.by_layer):
        assert sum(row.cycles for row in rows) == r.cycles
        assert sum(row.bytes for row in rows) == sum(r.bytes.values())
        assert sum(row.macs for row in rows) == r.macs
    assert all(0 < u <= 1 for u in r.utilization.values())


@some
@given(archs(), op_lists(), weights)
def test_bytes_and_work_are_conserved(arch, ops, name):
    """What the tiles move is what the ops need, or more by what is read again; no work is lost."""
    run_ = job(arch, ops, name)
    try:
        tiled = run_.choice[1]
    except InputError:
        assume(False)  # no tile of the menu fits this machine's buffers
    for op, opd, one in zip(run_.ops, run_.operands, tiled, strict=True):
        macs, beats = Fraction(0), 0
        for tile in one.program.tiles():
            for step in (*tile.steps, tile.write):
                if step and SERVERS[step.server] == "dot":
                    macs += Fraction(step.interval, run_.pipeline.q) * opd.rate
            for step in (*tile.steps, tile.write):
                beats += bool(step and step.server == DRAM)
        padding = sum(ticks for server, cause, ticks in one.program.extra if cause == "padding")
        least = macs - Fraction(padding, run_.pipeline.q) * (opd.rate or 0)
        assert padding >= 0 and least >= op.dot_macs
        if not isinstance(arch.dot, SystolicArray | TensorCores):
            assert not padding and least == op.dot_macs
        assert sum(t.interval for tile in one.program.tiles() for t in tile.steps) >= 0
        payload = one.moved.total
        assert payload <= one.dram_bytes <= payload + 2 * beats * arch.dram.beat_bytes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    archs(refreshes=("none", "spread")),
    op_lists(),
    weights,
    st.sampled_from(IMPROVEMENTS),
    st.fractions(Fraction(1001, 1000), 100, max_denominator=1000),
)
def test_more_is_never_slower(arch, ops, name, what, factor):
    """Exactly, but for buffers: with more room a policy may win that moves less and is slower by its largest tiles."""
    better = faster(arch, what, factor)
    a, b = result_of(arch, ops, name), result_of(better, ops, name)
    slack = Fraction(1, 64) if what in ("weights", "activations", "outputs") else 0
    assert b.cycles <= a.cycles * (1 + slack), f"{what} x {float(factor)}: {a.tiling} -> {b.tiling}"


def test_same_input_same_bytes():
    args = ("h200-sxm", "nemotron3-nano-30b-a3b", "decode", 4, 1000, {"experts": "mxfp4", "default": "fp8"})
    texts = {json.dumps(run(*args).to_dict()) for _ in range(2)}
    assert len(texts) == 1
    walk = run(*args, engine="walk").to_dict()
    simpy = run(*args).to_dict()
    assert walk.pop("config") | {"engine": "simpy"} == simpy.pop("config")
    assert walk == simpy
