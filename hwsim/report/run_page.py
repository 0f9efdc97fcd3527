"""The page of one run: its numbers, its timeline by op and layer, and its time by op, layer and cause."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.files import html
from hwsim.files.figure import op_style
from hwsim.files.tables import bytes_text, seconds_text
from hwsim.files.whole import write_whole
from hwsim.jobs.trace import MACHINE, WALKED, trace_events
from hwsim.report.text import formats_text, unit_of
from hwsim.result import Result, Row, limits_text

if TYPE_CHECKING:
    from hwsim.jobs.tile import TileJob


def write_run_page(path: Path, job: TileJob, result: Result) -> str:
    """Write the page of `job`; what of the run its timeline does not show.

    raises: InputError if the file cannot be written; InputError without vl-convert.
    """
    trace = trace_events(job, WALKED)
    script = html.script(Path(__file__).with_name("run.js"))
    title = f"{result.name} on {result.machine}"
    write_whole(path, html.page(title, _intro(result), page_data(result, trace), script))
    return str(trace["note"])


def _intro(r: Result) -> str:
    words = formats_text(r.config["formats"]) + (". The machine is hypothetical." if r.hypothetical else ".")
    notes = "".join(f"<p>Note: {html.text(note)}</p>\n" for note in r.notes)
    return f"<p>{html.text(words)}</p>\n{notes}<p>hwsim {html.text(r.version)}</p>"


def page_data(result: Result, trace: dict[str, Any]) -> dict[str, Any]:
    """What the page's script reads. Times are in microseconds, those of the trace.

    spans: one per op and server that works on it: name, kind, layer (-1: outside), start, end, number of
    tiles, the time in which they occupy the server, and `waits`: the time in which it waits between them, by cause. A
    write that was deferred counts in the span that it falls into.
    """
    here = [e for e in trace["traceEvents"] if e["pid"] == MACHINE]
    servers = {e["tid"]: e["args"]["name"] for e in here if e["name"] == "thread_name"}
    spans: list[dict[str, Any]] = []
    last: dict[int, dict[str, Any]] = {}
    waited: dict[int, dict[str, float]] = {server: {} for server in servers}
    for e in here:
        if e["ph"] != "X":
            continue
        server, waits = e["tid"], waited[e["tid"]]
        if e["cat"] == "stall":
            waits[e["name"]] = waits.get(e["name"], 0.0) + e["dur"]
            continue
        layer, end, span = e["args"].get("layer", -1), e["ts"] + e["dur"], last.get(server)
        if span is None or ((span["name"], span["layer"]) != (e["name"], layer) and not e["args"].get("write")):
            span = {"server": servers[server], "name": e["name"], "kind": e["cat"], "layer": layer, "start": e["ts"],
                    "end": end, "occupied": 0.0, "tiles": 0, "waits": {}}  # fmt: skip
            last[server] = span
            spans.append(span)
        elif waits:  # before this stay, within the span
            for cause, us in waits.items():
                span["waits"][cause] = span["waits"].get(cause, 0.0) + us
        waited[server] = {}
        span["end"], span["occupied"], span["tiles"] = (
            max(span["end"], end),
            span["occupied"] + e["dur"],
            span["tiles"] + 1,
        )
    kinds = list(dict.fromkeys([row.name for row in result.by_op] + [span["kind"] for span in spans]))
    return {
        "numbers": _numbers(result),
        "seconds": result.seconds,
        "servers": list(servers.values()),
        "spans": spans,
        "truncated": trace["truncated"],
        "note": trace["note"],
        "kinds": [{"name": kind, "colour": op_style(kind)[0]} for kind in kinds],
        "by": {
            "op": _rows(result, result.by_op),
            "layer": _rows(result, result.by_layer),
            "cause": [{"name": c, "us": _us(result, n)} for c, n in result.stalls.items() if n],
        },
    }


def _us(r: Result, cycles: int) -> float:
    return 1e6 * cycles / r.cycles * r.seconds


def _rows(r: Result, rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": x.name,
            "us": _us(r, x.cycles),
            "limited": x.limited_by,
            "ops": x.ops,
            "bytes": x.bytes,
            "macs": x.macs,
        }
        for x in rows
    ]


def _numbers(r: Result) -> list[tuple[str, str | int | float | None]]:
    """(name, value) of the lines above the figures; numbers as in the JSON of the run."""
    memory = None
    if r.memory:
        verdict = "fits" if r.memory.fits else "does not fit"
        memory = f"{bytes_text(r.memory.total)} of {bytes_text(r.memory.capacity)}: {verdict}"
    return [
        ("time", seconds_text(r.seconds)),
        ("cycles", r.cycles),
        ("bound, cycles", r.bound_cycles),
        ("over bound", f"{100 * r.over_bound:.2f} %"),
        ("limited by", r.limited_by),
        ("ops limited by", limits_text(r.limits) if len(r.limits) > 1 else None),
        (f"{unit_of(r)}s/s", r.tokens_per_second),
        ("DRAM bytes", r.dram_bytes),
        ("MACs", r.macs),
        ("busy", ", ".join(f"{s} {100 * u:.1f} %" for s, u in r.utilization.items())),
        ("known as", ", ".join(f"{100 * share:.3g} % {mark}" for mark, share in r.provenance.items() if share)),
        ("memory", memory),
        ("tiling", r.tiling),
    ]
