"""Timelines: every server's time is a stay or a named wait, and sums are those of the result."""

from itertools import pairwise

import pytest

from hwsim.jobs.run import checked_job, gemm_job
from hwsim.jobs.trace import LAYERS, MACHINE, OPS, STEP, trace_events
from hwsim.mapping.program import CAUSES, SERVERS

ALL_BANK = (("dram.refresh.kind", "all_bank"),)
FINE = (("dram.bandwidth", "4.7999 TB/s"),)  # in so fine ticks that their number has more than 64 bits
RUNS = {
    "seeds": lambda: checked_job("edge-mx", "mamba2-130m", context=64, weights="seedlm4"),
    "stops": lambda: checked_job("edge-mx", "mamba2-130m", ALL_BANK, context=64, weights="mxfp4", batch=4),
    "prompt": lambda: checked_job("tpu-v4i", "mamba2-130m", phase="prefill", context=300, weights="int8"),
    "kernels": lambda: checked_job("h100-sxm", "llama3-8b", context=512, weights="fp8"),
    "ticks": lambda: checked_job("h200-sxm", "llama3-8b", FINE, phase="prefill", context=512, weights="fp8", chips=2),
    "writes": lambda: gemm_job("m0", 700, 700, 500, weights="int8"),
}


class Traced:
    """A run and the slices of its timeline. us: of the whole run."""

    def __init__(self, name):
        self.job = RUNS[name]()
        self.result, self.trace = self.job.result(), trace_events(self.job)
        self.events = self.trace["traceEvents"]
        self.us = 1e6 * self.result.seconds

    def tracks(self, process):
        found = {e["tid"]: [] for e in self.events if e["ph"] == "X" and e["pid"] == process}
        for e in self.events:
            if e["ph"] == "X" and e["pid"] == process:
                found[e["tid"]].append(e)
        return found

    def name(self, process, thread):
        (said,) = (
            e for e in self.events if e["name"] == "thread_name" and (e["pid"], e.get("tid")) == (process, thread)
        )
        return said["args"]["name"]

    def counter(self, name):
        """(start, end, value) of each part of the time."""
        points = [(e["ts"], *e["args"].values()) for e in self.events if e["ph"] == "C" and e["name"] == name]
        ends = [*(ts for ts, _ in points[1:]), self.us] if points else []
        return [(ts, end, value) for (ts, value), end in zip(points, ends, strict=True)]


@pytest.fixture(scope="module", params=RUNS)
def traced(request):
    return Traced(request.param)


def test_each_server_is_at_work_or_waits_for_a_named_cause_all_the_time(traced):
    for server, slices in traced.tracks(MACHINE).items():
        assert traced.name(MACHINE, server) == SERVERS[server]
        ordered = sorted((e for e in slices if e["dur"]), key=lambda e: (e["ts"], e["dur"]))
        assert ordered[0]["ts"] == 0 and {e["name"] for e in slices if e["cat"] == "stall"} <= set(CAUSES)
        for one, after in pairwise(ordered):
            assert after["ts"] == pytest.approx(one["ts"] + one["dur"], abs=3e-6)
        assert ordered[-1]["ts"] + ordered[-1]["dur"] == pytest.approx(traced.us, rel=1e-5, abs=2e-3)


def test_stays_are_the_utilization_and_waits_the_causes_of_the_limiting_server(traced):
    result, per_cycle = traced.result, traced.us / traced.result.cycles
    for server, slices in traced.tracks(MACHINE).items():
        stays = [e for e in slices if e["cat"] != "stall"]
        stopped = sum(e["args"].get("refresh_us", 0) for e in stays)
        busy = sum(e["dur"] for e in stays) - stopped
        assert busy == pytest.approx(result.utilization.get(SERVERS[server], 0) * traced.us, rel=1e-4, abs=1e-2)
        if SERVERS[server] != result.limited_by or "memory" in result.stalls:  # kernels have causes of their own
            continue
        for cause in ("fill", "waiting_input", "output_blocked", "dependency", "latency", "drain", "launch"):
            waits = sum(e["dur"] for e in slices if e["cat"] == "stall" and e["name"] == cause)
            assert waits == pytest.approx(result.stalls[cause] * per_cycle, abs=2 * per_cycle), cause
        if traced.job.pipeline.period:
            assert stopped == pytest.approx(result.stalls["refresh"] * per_cycle, abs=2 * per_cycle) and stopped > 0


def test_ops_and_layers_share_the_time_as_the_rows_do(traced):
    ops, layers = traced.tracks(STEP)[OPS], traced.tracks(STEP)[LAYERS]
    assert (traced.name(STEP, OPS), traced.name(STEP, LAYERS)) == ("ops", "layers")
    for slices in (ops, layers):
        assert slices[0]["ts"] == 0
        for one, after in pairwise(slices):
            assert after["ts"] == pytest.approx(one["ts"] + one["dur"], abs=3e-6)
    per_cycle = traced.us / traced.result.cycles
    for row in traced.result.by_op:
        assert sum(e["dur"] for e in ops if e["cat"] == row.name) == pytest.approx(row.cycles * per_cycle, abs=1e-2)
    assert sum(e["args"]["macs"] for e in ops) == traced.result.macs
    assert sum(e["dur"] for e in layers) == pytest.approx(traced.us, rel=1e-5, abs=2e-3)
    for row in traced.result.by_layer:
        name = row.name if row.name == "outside layers" else f"layer {row.name}"
        spent = sum(e["dur"] for e in layers if e["name"] == name.split(" gemm")[0])
        assert spent == pytest.approx(row.cycles * per_cycle, abs=1e-2)


def test_the_memory_counter_adds_up_to_its_bytes_and_keeps_below_its_rate(traced):
    rate = float(traced.job.arch.dram.bytes_per_cycle * traced.job.arch.clock_hz) / 1e9
    parts = traced.counter("memory, GB/s")
    assert sum((end - start) * value * 1e3 for start, end, value in parts) == pytest.approx(
        traced.result.dram_bytes, rel=2e-3
    )
    assert 0 < max(value for _, _, value in parts) <= rate * 1.001
    stays = [e for e in traced.tracks(MACHINE)[0] if e["cat"] != "stall"]
    assert sum(e["args"]["bytes"] for e in stays) == pytest.approx(traced.result.dram_bytes, rel=1e-3)


def test_buffers_hold_at_most_what_they_can(traced):
    held = traced.job.arch.buffers
    seen = False
    for name, capacity in (("weights", held.weights), ("activations", held.activations), ("outputs", held.outputs)):
        values = [value for _, _, value in traced.counter(f"{name} buffer, bytes")]
        assert all(0 <= value <= capacity for value in values)
        seen = seen or any(values)
    assert seen or traced.job.arch.cores  # a library's kernels manage their own


def test_writes_belong_to_the_op_that_made_them():
    found = Traced("writes")
    writes = [e for e in found.tracks(MACHINE)[0] if e["args"].get("write")]
    assert writes and {e["name"] for e in writes} == {"gemm"}
    assert sum(e["args"]["bytes"] for e in writes) > 0


def test_tiles_end_at_the_cap_and_ops_and_counters_do_not():
    job = RUNS["prompt"]()
    whole, cut = trace_events(job), trace_events(job, cap=20)

    def some(trace, process, phase="X"):
        return [e for e in trace["traceEvents"] if e["ph"] == phase and e["pid"] == process and e.get("cat") != "stall"]

    assert (whole["truncated"], cut["truncated"]) == (False, True)
    assert len(some(cut, MACHINE)) == 20 < len(some(whole, MACHINE))
    assert some(cut, STEP) == some(whole, STEP) and some(cut, MACHINE, "C") == some(whole, MACHINE, "C")


@pytest.mark.parametrize("name", ["prompt", "kernels", "writes"])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_run_with_more_stays_than_are_walked_has_whole_ops_and_bytes_and_says_so(name, share):
    """Ops and layers are those of the whole walk; bytes add up to the result's; before the cut nothing differs."""
    job = RUNS[name]()
    whole = trace_events(job)
    result = job.result()

    def some(trace, process, phase="X"):
        return [e for e in trace["traceEvents"] if e["ph"] == phase and e["pid"] == process and e.get("cat") != "stall"]

    stays = len(some(whole, MACHINE))
    most = int(share * stays)
    cut = trace_events(job, most=most)
    drawn = some(cut, MACHINE)
    assert whole["note"] == "" and not whole["truncated"] and cut["truncated"]
    assert f"the first {most:,} of {stays:,} stays" in cut["note"]
    assert abs(len(drawn) - most) <= 2 * len(SERVERS)  # to the end of a tile; its writes may not have their place yet
    assert [e for e in some(whole, MACHINE) if e in drawn][: most // 2] == drawn[: most // 2]
    spans = [{(e["name"], e["ts"]): e["dur"] for e in some(trace, STEP)} for trace in (whole, cut)]
    assert spans[0].keys() == spans[1].keys()
    assert list(spans[1].values()) == pytest.approx(list(spans[0].values()), abs=2e-6)
    memory = [e for e in some(cut, MACHINE, "C") if e["name"] == "memory, GB/s"]
    ends = [*(e["ts"] for e in memory[1:]), 1e6 * result.seconds]
    moved = sum((end - e["ts"]) * e["args"]["GB/s"] * 1e3 for e, end in zip(memory, ends, strict=True))
    assert moved == pytest.approx(result.dram_bytes, rel=5e-3)
