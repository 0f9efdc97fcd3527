"""Timeline of a run as Chrome JSON, one track per server; ui.perfetto.dev opens it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hwsim.files.whole import write_whole
from hwsim.jobs.tile import TileJob
from hwsim.mapping.program import SERVERS
from hwsim.result import Result

EVENT_CAP = 200_000


def trace_events(job: TileJob, cap: int = EVENT_CAP) -> dict[str, Any]:
    """One event per tile and server that it occupies, in microseconds of the machine's clock.

    cap: keep at most this many events, the earliest ones; `truncated` says whether some were dropped.
    """
    outcome = job.simulate(trace=True)
    tick_us = 1e6 / float(job.arch.clock_hz) / job.pipeline.q
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": job.arch.name}},
    ]
    used = sorted({span[0] for span in outcome.spans})
    for server in used:
        events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": server, "args": {"name": SERVERS[server]}})
    spans = sorted(outcome.spans, key=lambda s: s[1])
    for server, start, end, index in spans[:cap]:
        op = job.ops[index] if index < len(job.ops) else None
        events.append(
            {
                "name": op.name if op else "write",
                "cat": op.kind if op else "write",
                "ph": "X",
                "pid": 1,
                "tid": server,
                "ts": round(start * tick_us, 6),
                "dur": round((end - start) * tick_us, 6),
                "args": {"layer": op.layer} if op and op.layer >= 0 else {},
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ns", "truncated": len(spans) > cap}


def write_trace(path: Path, job: TileJob, result: Result) -> None:
    """Write the timeline of `job` to `path`, with the name of the run in its metadata."""
    data = trace_events(job) | {"otherData": {"run": result.name, "machine": result.machine}}
    write_whole(path, json.dumps(data, separators=(",", ":")))
