"""Timelines of a run under load: a Perfetto trace of engines and requests; running, waiting and KV over time as CSV."""

from __future__ import annotations

from typing import Any

from hwsim.jobs.serving.load import Run
from hwsim.jobs.serving.replica import Passes
from hwsim.jobs.serving.requests import TICKS
from hwsim.jobs.serving.spans import spans

#: Entries of passes that a trace draws; a stretch of equal passes is one.
CAP = 20_000


def _name(p: Passes) -> str:
    parts = [f"{p.decodes} decode"] if p.decodes else []
    if p.chunks:
        parts.append(f"{sum(tokens for tokens, _ in p.chunks)} prefill")
    return " + ".join(parts) + (f", {p.count} passes" if p.count > 1 else "")


def _counters(p: Passes) -> tuple[tuple[str, int], ...]:
    waiting = p.waiting - p.preempted
    return ("running", p.running), ("waiting", waiting), ("preempted", p.preempted), ("KV blocks", p.used)


def perfetto(run: Run, cap: int = CAP) -> dict[str, Any]:
    """Chrome JSON in microseconds: a track per replica, one per request, counters. `truncated`: passes are left out."""

    def us(ticks: int) -> float:
        return round(ticks * 1e6 / TICKS, 3)

    events: list[dict[str, Any]] = []
    drawn = 0
    for i, one in enumerate(run.outcome.replicas):
        what = "prefill replica" if one.prefill else "replica"
        events.append({"name": "process_name", "ph": "M", "pid": 1 + i, "args": {"name": f"{what} {i}"}})
        for p in one.log.passes[: max(0, cap - drawn)]:
            drawn += 1
            events.append({"name": _name(p), "ph": "X", "pid": 1 + i, "tid": 0, "ts": us(p.start), "dur": us(p.ticks)})
            for name, value in _counters(p):
                events.append({"name": name, "ph": "C", "pid": 1 + i, "ts": us(p.start), "args": {name: value}})
    events.append({"name": "process_name", "ph": "M", "pid": 0, "args": {"name": "requests"}})
    for s in run.outcome.sequences[:cap]:
        for name, begin, end in spans(s):
            if end > begin:
                args = {"preemptions": s.preemptions, "input": s.prompt, "output": s.output}
                events.append(
                    {"name": name, "ph": "X", "pid": 0, "tid": 1 + s.request.number, "ts": us(begin),
                     "dur": us(end - begin), "args": args}
                )  # fmt: skip
    whole = sum(len(one.log.passes) for one in run.outcome.replicas)
    return {"traceEvents": events, "displayTimeUnit": "ms", "truncated": whole > cap}


def occupancy(run: Run) -> str:
    """CSV: at the start of each pass, or stretch of passes, what a replica runs, has waiting, and holds."""
    lines = ["replica,start_s,end_s,passes,decodes,prompt_tokens,running,waiting,preempted,kv_blocks,kv_blocks_end"]
    for i, one in enumerate(run.outcome.replicas):
        for p in one.log.passes:
            chunk = sum(tokens for tokens, _ in p.chunks)
            start, end = p.start / TICKS, (p.start + p.ticks) / TICKS
            queue = f"{p.running},{p.waiting - p.preempted},{p.preempted},{p.used},{p.used_last}"
            lines.append(f"{i},{start:.9f},{end:.9f},{p.count},{p.decodes},{chunk},{queue}")
    return "\n".join(lines) + "\n"
