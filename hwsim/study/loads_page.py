"""`hwsim report` of a study under load: every point in a table, and three figures."""

from __future__ import annotations

from typing import Any

from hwsim.files.tables import markdown, markdown_text, seconds_text
from hwsim.result import known_text
from hwsim.study import loads_figures as draw
from hwsim.study.found import Add, add_front, by_first, objective_cells, objectives
from hwsim.study.grid import Choice, Grid, plain
from hwsim.study.loads import curves, pareto, pressure
from hwsim.study.metrics import Line
from hwsim.study.notes import notes_list

#: Points that a page lists.
MOST_POINTS = 2_000
COLUMNS = (
    "tokens/s per chip", "tokens/s per user", "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99", "good requests/s", "met",
    "J per token", "kernels",
)  # fmt: skip


def add_parts(grid: Grid, parts: list[str], figure: Add) -> None:
    """The figures and the table of a page, in order."""
    lines, less = list(grid.lines.values()), draw.left_out(grid)
    loaded = any(len(some) > 1 for some in curves(grid).values()) and not grid.searched
    parts.append(_said(grid))
    if loaded and all(pressure(line) is not None for line in lines):
        figure("latency", _LATENCY + less, draw.latency_figure(grid))
        if all(line["goodput"] is not None for line in lines):
            figure("goodput", _GOODPUT + less, draw.goodput_figure(grid))
    if any(line["tokens_per_second_per_user"] for line in lines):
        figure("users", _USERS + less, draw.users_figure(grid))
    if grid.asked:
        add_front(grid, figure)
    parts += [_table(grid), notes_list(grid, _shared(grid))]


_LATENCY = (
    "Times to first token and per output token against throughput, as the load grows. Behind the bend, requests queue: "
    "the times are then those of a run of this length."
)
_GOODPUT = (
    "Requests per second that meet all limits, against the load. The grey line is what arrives; a run also counts the "
    "time after the last arrival, so that a short one stays below it even where every request is good."
)
_USERS = (
    "What a user sees against what a chip yields. Hollow: fewer than 99 % of the requests meet the limits. Joined: the "
    "Pareto front of the others."
)


_KERNELS = (
    "`kernels`: how the times of the passes are known, as shares of the device's time: measured on this chip, "
    "transferred from another chip or format, or ideal, at the machine's peaks."
)


def _said(grid: Grid) -> str:
    """Engines, limits and assumptions that all points share; in the words of the command."""
    lines = list(grid.lines.values())
    engines = dict.fromkeys(line["engine"] for line in lines)
    slo = dict.fromkeys(line["config"]["load"].get("slo") or "none" for line in lines)
    errors = [line["step_error"] for line in lines if line["step_error"] is not None]
    rows = [
        f"Engine: {'; '.join(engines)}.",
        f"Limits of a good request: {'; '.join(slo)}.",
        f"Requests: {', '.join(dict.fromkeys(_requests(line) for line in lines))}.",
        *(f"Software: {text}." for text in dict.fromkeys(_software(line) for line in lines if "stack" in line)),
        f"Step times: parts between knots, within {100 * max(errors, default=0.0):.2g} % of whole simulated passes.",
        *(f"Assumed: {note}." for note in _shared(grid)),
    ]
    return "\n".join(f"- {markdown_text(row)}" for row in rows)


def _software(line: Line) -> str:
    """The stack's times, which are in every figure."""
    stack = line["stack"]
    times = (
        (stack["step_seconds"], "step"),
        (stack["sequence_seconds"], "sequence"),
        (stack["layer_seconds"], "layer"),
    )
    parts = [f"{seconds_text(seconds)} per {what}" for seconds, what in times if seconds] or ["no time"]
    return f"stack {stack['name']}, {', '.join(parts)}"


def _shared(grid: Grid) -> list[str]:
    """The notes that all points have."""
    first, *rest = grid.lines.values()
    return [note for note in first["notes"] if all(note in line["notes"] for line in rest)]


def _requests(line: Line) -> str:
    load = line["config"]["load"]
    lengths = load.get("lengths") or load.get("trace")
    return f"{line['requests']:,} of {lengths}, {load['arrivals']} arrivals, seed {load['seed']}"


def _table(grid: Grid) -> str:
    """One row per point; in bold those of the Pareto front of users and chips."""
    axes = [axis for axis in grid.axes if len(axis.values) > 1] or list(grid.axes)
    order = sorted(grid.lines)
    if grid.searched:
        order.sort(key=lambda choice: -(grid.lines[choice]["goodput"] or grid.lines[choice]["tokens_per_second"]))
    best = {line["key"] for line in pareto(list(grid.lines.values()))}
    wanted = objectives(grid)
    if wanted:
        order = by_first(grid)
    rate = any("highest_rate" in line for line in grid.lines.values())
    rows = [_row(grid, axes, choice, grid.lines[choice]["key"] in best, rate) for choice in order[:MOST_POINTS]]
    rows = [
        [*row[: len(axes)], *objective_cells(grid, grid.lines[choice]), *row[len(axes) :]]
        for choice, row in zip(order, rows, strict=False)
    ]
    head = [
        *(markdown_text(plain(axis.name)) for axis in axes),
        *wanted,
        "chips",
        *COLUMNS,
        *(["highest rate"] if rate else []),
    ]
    text = markdown(head, rows).split("\n")
    text[1] = "|" + " --- |" * len(axes) + " ---: |" * (len(head) - len(axes))
    less = f"{len(rows):,} of {len(order):,} points shown.\n\n" if len(rows) < len(order) else ""
    found = " and, of the objectives, that of the search" if wanted else ""
    return f"{less}In bold: the Pareto front of users and chips{found}. {_KERNELS}\n\n" + "\n".join(text)


def _row(grid: Grid, axes: list[Any], choice: Choice, best: bool, rate: bool) -> list[str]:
    line, place = grid.lines[choice], grid.place(choice)
    user, good, joules = line["tokens_per_second_per_user"], line["goodput"], line["energy_joules_per_token"]
    cells = [
        f"{line['tokens_per_second_per_chip']:,.0f}",
        f"{user:,.1f}" if user else "-",
        *(_time(line[name], at) for name in ("ttft", "tpot") for at in ("p50", "p99")),
        "-" if good is None else f"{good:.4g}",
        "-" if good is None else f"{100 * line['attained']:.1f} %",
        "-" if joules is None else f"{joules:.3g}",
        known_text(line["provenance"]),
    ]
    if best:
        cells[:2] = [f"**{cell}**" for cell in cells[:2]]
    cells += [f"{line['highest_rate']:.4g}/s" if "highest_rate" in line else "-"] if rate else []
    return [*(markdown_text(axis.labels[place[axis.path]]) for axis in axes), f"{line['chips']:,}", *cells]


def _time(spread: dict[str, float] | None, at: str) -> str:
    return "-" if spread is None else seconds_text(spread[at]) if spread[at] else "0 s"
