"""One training step as text."""

from __future__ import annotations

from hwsim.files.tables import bytes_text, seconds_text, table
from hwsim.jobs.training.result import TrainResult
from hwsim.report.text import provenance_text

#: Columns of the table of times.
WHEN = ("forward", "backward", "encode", "recompute", "optimiser")


def trained_text(result: TrainResult) -> str:
    """A step: rate, time, bound, MFU, where the time goes, memory, notes."""
    r = result
    lines = [f"{r.name}, {r.machine}"]

    def say(key: str, value: str, rest: str = "") -> None:
        lines.append(f"  {key:<11} {value:<18} {rest}".rstrip())

    say(
        f"{r.unit}s/s",
        f"{r.tokens_per_second_per_chip:,.0f}",
        f"per chip; {r.tokens_per_second:,.0f} on {r.chips:,} chips" if r.chips > 1 else "on one chip",
    )
    say("step", seconds_text(r.seconds), f"{r.micro_batches:,} micro-batch{'es' * (r.micro_batches > 1)} per pipeline")
    say("bound", seconds_text(r.bound_seconds), f"{r.limited_by}, the busiest server of the busiest stage")
    counted = "6 per trained multiply-add"
    if r.unit == "token":
        counted = "6 per weight of a linear, attention by its causal half, and scans"
    model = f"{r.flops_per_token / 1e9:,.2f} GFLOP per {r.unit}: {counted}"
    say("MFU", f"{100 * r.mfu:.1f} %", f"of the {r.peak_flops / 1e12:,.0f} TFLOP/s of {r.mfu_pair}, dense; {model}")
    say("exposed", f"{100 * r.exposed_seconds / r.seconds:.1f} %", "of the step: what communication adds to it")
    say("idle", f"{max(0.0, 100 * r.idle_seconds / r.seconds):.1f} %", "of the step: stages waiting for one another")
    if r.provenance:
        say("kernels", f"{provenance_text(r.provenance)}: shares of their time, by how it is known")
    m = r.memory
    held = {k: getattr(m, k) for k in ("weights", "gradients", "optimiser", "activations", "buffers")}
    parts = ", ".join(f"{k} {bytes_text(n)}" for k, n in held.items() if n)
    verdict = "fits" if m.fits else "DOES NOT FIT"
    say("memory", bytes_text(m.total), f"of {bytes_text(m.capacity)}: {verdict} ({parts})")
    lines += [f"  note        {note}" for note in r.notes]
    return "\n".join([*lines, "", time_table(r)])


def time_table(result: TrainResult) -> str:
    """Seconds of an average chip by part and by when they are spent; the last column is the share of the step."""
    r = result
    cells: dict[str, dict[str, float]] = {}
    for part, when, seconds in r.spent:
        row = cells.setdefault(part, {})
        row[when] = row.get(when, 0.0) + seconds
    columns = [when for when in WHEN if any(when in row for row in cells.values())]

    def line(name: str, row: dict[str, float], whole: float) -> list[str]:
        shown = [seconds_text(row[c]) if row.get(c) else "" for c in columns]
        return [name, *shown, seconds_text(whole) if whole else "0 s", f"{100 * whole / r.seconds:.1f} %"]

    rows = [
        line(part, row, sum(row.values())) for part, row in sorted(cells.items(), key=lambda e: -sum(e[1].values()))
    ]
    rows.append(line("exposed communication", {}, r.exposed_seconds))
    rows.append(line("idle in the pipeline", {}, r.idle_seconds if r.idle_seconds > 1e-9 * r.seconds else 0.0))
    return table(["part", *columns, "total", "share"], rows)
