"""An answer of `hwsim serve` under load as text."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from hwsim.files.tables import bytes_text, seconds_text, table
from hwsim.jobs.serving.capacity import ATTAINED, SPAN
from hwsim.report.ideal import ideal_text
from hwsim.report.serving import energy_lines, stack_line
from hwsim.report.text import formats_text, provenance_text

if TYPE_CHECKING:
    from hwsim.jobs.serving.capacity import Capacity
    from hwsim.jobs.serving.figures import Spread
    from hwsim.jobs.serving.load import Load, Run, Served


def traffic_text(s: Served, energy: bool = False) -> str:
    """The engine and what is assumed, then the figures. energy: also each term of the energy, with its source."""
    prefix = "with a prefix cache" if s.load.prefix_cache and s.load.scheduler != "static" else "without a prefix cache"
    lim = s.limits
    drafts = f", {lim.drafts} draft tokens" if lim.drafts else ""
    joules = energy_lines(s, energy)
    kv = s.formats["kv"]
    ideal = ideal_text(s.machine, s.provenance)
    rows = [
        *([("machine", ideal)] if ideal else []),
        ("formats", f"{formats_text(s.formats)}, KV cache {kv}"),
        ("engine", f"{s.engine}: {lim.budget:,} tokens and {lim.seats:,} sequences a pass at most{drafts}; {prefix}"),
        *([("software", s.software)] if s.software else []),
        ("KV room", f"{_room(s)}: {s.room.said}"),
        (
            "step times",
            f"simulated parts between knots, within {100 * (s.step_error or 0):.2g} % of whole simulated passes",
        ),
        ("kernels", f"{provenance_text(s.provenance)}: shares of the device's time, by how it is known"),
        ("stack", stack_line(s.stack)),
        *(("assumed", note) for note in s.notes),
        (
            "requests",
            f"{s.requests:,} in {seconds_text(s.seconds)}: {s.input_tokens:,} tokens in, {s.output_tokens:,} out",
        ),
        *(("refused", f"request {number}: {why}") for number, why in s.refused[:5]),
        *([("refused", f"and {len(s.refused) - 5:,} more")] if len(s.refused) > 5 else []),
        ("tokens/s", _rates(s)),
    ]
    if s.good is not None:
        worst = ", ".join(f"{name} by {n:,}" for name, n in sorted(s.missed.items(), key=lambda x: -x[1])) or "none"
        rows.append(
            (
                "goodput",
                f"{s.good:.4g} requests/s: {s.good_requests:,} of {s.requests:,} ({100 * s.attained:.1f} %) meet "
                f"{s.load.slo}, over the {seconds_text(s.seconds)} to the last token; missed: {worst}",
            )
        )
    rows += [
        ("running", f"{_many(s.running)}: {_doing(s, 'prefill', 'decode')}"),
        ("waiting", f"{_many(s.waiting)}: {_doing(s, 'waiting', 'preempted', 'transfer')}"),
        ("first token", ", ".join(f"{_WORDS[kind]} {seconds_text(x)}" for kind, x in s.first_token.items()) or "-"),
        ("KV in use", f"{100 * s.kv[0]:.1f} % mean, {100 * s.kv[1]:.1f} % most"),
        ("preempted", f"{s.preemptions:,} times, {s.recomputed_tokens:,} tokens computed again"),
        (
            "prefix hits",
            f"{s.cached_tokens:,} tokens ({100 * s.cached_tokens / max(1, s.input_tokens):.1f} % of the prompts')",
        ),
        ("passes", f"{s.passes:,}, {100 * s.busy:.1f} % of the time"),
        ("energy", joules[0]),
        *(("", line) for line in joules[1:]),
    ]
    at = "serve, at the capacity that --find-rate found" if s.capacity else "serve"
    head = f"{at}, {_load(s.load)}, {s.model}, {s.machine}{_fleet(s)}"
    lines = [head, *(f"  {name:<12}{text}" for name, text in rows), ""]
    spreads = (("TTFT", s.ttft), ("TPOT", s.tpot), ("ITL", s.itl), ("E2E", s.e2e))
    return "\n".join([*lines, table(["", "mean", "p50", "p90", "p99"], [[name, *_cells(x)] for name, x in spreads])])


#: What a reader calls each of `spans.KINDS`.
_WORDS = {
    "waiting": "for admission",
    "prefill": "prefill",
    "transfer": "transfer",
    "decode": "decode",
    "preempted": "preempted",
}


def _many(found: tuple[float, int]) -> str:
    return f"{found[0]:.1f} mean, {found[1]:,} most"


def _doing(s: Served, *kinds: str) -> str:
    """Mean and most of each kind; of a transfer only where there is one."""
    shown = [kind for kind in kinds if kind != "transfer" or s.prefills]
    return "; ".join(f"{_WORDS[kind]} {_many(s.doing[kind])}" for kind in shown)


def _load(load: Load) -> str:
    if load.trace:
        return f"arrivals of {load.trace}"
    if load.users:
        return f"{load.users:,} users at all times"
    return f"{load.rate}, {load.arrivals} arrivals, seed {load.seed}"


def _fleet(s: Served) -> str:
    each = s.chips // (s.replicas + s.prefills)
    chips = f", {each} chips each" if each > 1 else ""
    if s.prefills:
        return f", {s.prefills} prefill and {s.replicas} decode replicas{chips}"
    if s.replicas > 1:
        return f", {s.replicas} replicas{chips}, {s.load.router}"
    return f", {each} chips" if each > 1 else ""


def _room(s: Served) -> str:
    room = s.room
    if not room.paged:
        return f"states of {room.blocks:,} sequences"
    each = bytes_text(int(room.token_bytes))
    return f"{room.tokens:,} tokens, {room.blocks:,} blocks of {room.size} ({each} per token on each chip)"


def _rates(s: Served) -> str:
    out = s.tokens_per_second
    user = f", {1 / s.tpot.mean:,.1f} per user" if s.tpot and s.tpot.mean else ""
    both = (s.input_tokens + s.output_tokens) / s.seconds / s.chips if s.seconds else 0.0
    return f"{out:,.0f} out, {out / s.chips:,.0f} per chip{user}; {both:,.0f} per chip with prompts"


def _cells(spread: Spread | None) -> list[str]:
    if spread is None:
        return ["-"] * 4
    return [seconds_text(x) if x else "0 s" for x in (spread.mean, spread.p50, spread.p90, spread.p99)]


def capacity_text(found: Capacity, slo: str | None) -> str:
    """The rate, its confidence, how far the seeds are apart, what it rests on, and how it differs from the goodput."""
    low, high = min(found.rates), max(found.rates)
    sure = "" if found.margin is None else f", +-{found.margin:.2g} at 95 % confidence"
    tried = [run.rate for run in found.runs]
    rows = (
        (
            "capacity",
            f"{found.rate:.4g} requests/s can arrive, and {100 * ATTAINED:g} % of them meet {slo}: mean of "
            f"{len(found.rates)} seeds, {low:.4g} to {high:.4g}{sure}",
        ),
        (
            "trials",
            f"{len(found.runs)}, each of one rate ({min(tried):.4g} to {max(tried):.4g} requests/s) and one seed; "
            f"arrivals last {SPAN} times the p99 of E2E or longer, here up to {found.requests:,} requests",
        ),
        (
            "ceiling",
            f"{found.saturated:.4g} requests/s are served of a backlog that never ends: no capacity exceeds it",
        ),
        (
            "figures",
            "those above are of one run in which requests arrive at the capacity; its goodput also counts the time "
            "from the last arrival to the last token",
        ),
    )
    return "\n".join(f"  {name:<12}{text}" for name, text in rows)


#: Columns of a request's row.
COLUMNS = (
    "request", "arrival_s", "input_tokens", "output_tokens", "queued_s", "scheduled_s", "first_token_s", "last_token_s",
    "ttft_s", "tpot_s", "e2e_s", "cached_tokens", "preemptions", "recomputed_tokens",
)  # fmt: skip


def request_rows(run: Run) -> list[dict[str, Any]]:
    """One row per request that was served, and one per refused one, with its reason."""
    from hwsim.jobs.serving import figures
    from hwsim.jobs.serving.requests import TICKS

    rows: list[dict[str, Any]] = []
    for s in run.outcome.sequences:
        at = [s.request.arrival, s.queued, s.scheduled, s.first, s.last]
        arrival, queued, scheduled, first, last = (round((x or 0) / TICKS, 9) for x in at)
        values = (
            s.request.number, arrival, s.prompt, s.output, queued, scheduled, first, last, round(figures.ttft(s), 9),
            figures.tpot(s), round(figures.e2e(s), 9), s.hits, s.preemptions, s.recomputed,
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)) | {"refused": ""})
    for request, why in run.outcome.refused:
        known = (request.number, round(request.arrival / TICKS, 9), request.input_tokens, request.output_tokens)
        rows.append(dict(zip(COLUMNS, known, strict=False)) | {"refused": why})
    return sorted(rows, key=lambda row: row["request"])


def requests_text(run: Run, lines: bool) -> str:
    """CSV, or JSON Lines."""
    rows = request_rows(run)
    if lines:
        return "".join(json.dumps(row) + "\n" for row in rows)
    out = io.StringIO()
    write = csv.DictWriter(out, [*COLUMNS, "refused"], lineterminator="\n", restval="")
    write.writeheader()
    write.writerows(rows)
    return out.getvalue()
