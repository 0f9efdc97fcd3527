"""`hwsim report`: the results of a study as one Markdown page with figures."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from hwsim.errors import InputError
from hwsim.files.whole import write_whole
from hwsim.result import weakest
from hwsim.study import figures as draw
from hwsim.study.grid import Grid, Line, ends, read_grid

ENOUGH = 0.99


def write_page(folder: Path, out: Path | None = None) -> list[Path]:
    """Write the page NAME.md and its figures NAME_*.svg into `out` (None: `folder`); return the paths.

    raises: InputError if `folder` has no results or `out` cannot be written; MissingExtra without matplotlib.
    """
    grid, out = read_grid(folder), out or folder
    matplotlib = draw.canvas().matplotlib.__version__
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error
    into = "" if out == folder else f" -o {out}"
    commands = f"hwsim study {grid.source} --out {folder}", f"hwsim report {folder}{into}"
    written: list[Path] = []
    parts: list[str] = []

    def figure(name: str, caption: str, draw_it: Callable[..., None], *more: Any) -> None:
        path = out / f"{grid.name}_{name}.svg"
        draw_it(grid, path, " && ".join(commands), *more)
        written.append(path)
        parts.append(f"![{caption}]({path.name})\n\n{caption}")

    if grid.x:
        figure("tokens", f"Tokens per second by {_plain(grid.x.name)}.", draw.lines_figure)
    held = cache_rows(grid)
    if held:
        cross = {s: found for s, rows in held.items() if (found := crossing(rows))}
        figure("cache", "Bytes of KV cache and SSM state per sequence.", draw.cache_figure, held, cross)
        parts.append(crossing_table(grid, held, cross))
    figure("by_op", "Time of a step by op kind; kinds below 2 % in every bar are summed as other.", draw.by_op_figure)
    caption = "Roofline: lines are the machine's peak rates; each point is one whole simulated step."
    figure("roofline", caption, draw.roofline_figure)
    if len(draw.front(draw.choices(grid))) > 2:  # with fewer points there is no trade-off to show
        cost = draw.cost_of(grid)[0].partition(",")[0]
        figure(
            "pareto",
            f"Speed of one sequence against {cost}; the joined points are the Pareto front.",
            draw.pareto_figure,
        )
    page = [
        f"# {grid.name}: {grid.description}" if grid.description else f"# {grid.name}",
        f"    {commands[0]}\n    {commands[1]}\n    # hwsim {grid.version}, matplotlib {matplotlib}; no random numbers",
        _asked(grid),
        *parts[:1],
        _table(grid),
        *parts[1:],
        *_failures(grid),
    ]
    path = out / f"{grid.name}.md"
    write_whole(path, "\n\n".join(part for part in page if part) + "\n")
    return [path, *written]


def _plain(name: str) -> str:
    return name.partition(" (")[0]


def _asked(grid: Grid) -> str:
    """The grid in words, and the facts that hold for all points."""
    axes = [f"- {_plain(a.name)} (`{a.path}`): {'; '.join(a.label(v) for v in a.values)}" for a in grid.axes]
    some = next(iter(grid.lines.values()))
    total = len(grid.lines) + len(grid.failed) + grid.missing
    count = f"{total:,} points" + (f", {len(grid.failed):,} failed" if grid.failed else "")
    count += f", {grid.missing:,} not simulated yet" if grid.missing else ""
    hypothetical = any(line["hypothetical"] for line in grid.lines.values())
    note = " The machine is hypothetical." if hypothetical else ""
    step = f"{some['phase']} step" if len({line["phase"] for line in grid.lines.values()}) == 1 else "step"
    text = f"{count}; each simulates every layer of a {step} tile by tile, without framework time.{note}"
    return "\n".join([text, "", *axes])


def _table(grid: Grid) -> str:
    """Tokens per second: one row per series, one column for each of some x; and the smallest sufficient x.

    The last column says how the times of the row are known, at the weakest.
    """
    panels = grid.panels()
    if not grid.x:
        panels = panels[len(panels) // 2 :][:1]
    xs = ends(len(grid.x.values), 7) if grid.x else [0]
    numeric = grid.x is not None and grid.x.path.startswith("machine.")
    first = _plain(grid.series.name) if grid.series else ""
    head = [first, "tokens/s"]
    if grid.x:
        head = [f"{first}, by {_plain(grid.x.name)}", *(grid.x.label(grid.x.values[x]) for x in xs)]
    head += [f"{100 * ENOUGH:.0f} % of the maximum from"] if numeric else []
    regenerators = grid.x is not None and grid.x.path == "machine.regenerate.rate"
    head += ["per TB/s"] if regenerators else []
    head.append("kernels")
    out = []
    for panel in panels if numeric else panels[len(panels) // 2 :][:1]:
        rows: dict[int, dict[int, Line]] = {}
        for s, x, line in grid.at(panel):
            rows.setdefault(s, {})[x] = line
        title = grid.title(panel)
        rule = _row(["---"] + ["---:"] * (len(head) - 1))
        lines = [f"Tokens per second{f', {title}' if title else ''}:", "", _row(head), rule]
        for s, found in sorted(rows.items()):
            cells = [_speed(found.get(x)) for x in xs]
            if numeric:
                (axis, numbers), least = grid.along_x(), enough(grid, found)
                cells.append(axis.label(axis.values[least]))
                if regenerators:
                    bandwidth = draw.machine_roof(found[least])[0]
                    cells.append(f"{numbers[least] / bandwidth * 1e12:,.0f}")
            cells.append(weakest(*(line["provenance"] for line in found.values())))
            lines.append(_row([grid.series.label(grid.series.values[s]) if grid.series else "", *cells]))
        out.append("\n".join(lines))
    return "\n\n".join(out)


def _speed(line: Line | None) -> str:
    if line is None:
        return "-"
    return f"{line['tokens_per_second']:,.0f}" + ("" if draw.fits(line) else " (does not fit)")


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def enough(grid: Grid, found: dict[int, Line]) -> int:
    """Index of the smallest x that gives 99 % of the maximum tokens per second."""
    _, numbers = grid.along_x()
    most = max(line["tokens_per_second"] for line in found.values())
    good = [x for x, line in found.items() if line["tokens_per_second"] >= ENOUGH * most]
    return min(good, key=lambda x: numbers[x])


def cache_rows(grid: Grid) -> dict[int, list[tuple[int, int, int]]]:
    """Series -> (context, KV bytes, SSM state bytes) per sequence; empty unless the study varies the context."""
    if not grid.x or grid.x.path != "run.context":
        return {}
    panel = grid.panels()[len(grid.panels()) // 2]
    rows: dict[int, list[tuple[int, int, int]]] = {}
    for s, _, line in grid.at(panel):
        config, memory = line["config"], line["memory"]
        if memory and memory["kv"] and memory["state"]:
            state = (memory["state"] - conv_bytes(line)) // config["batch"]
            rows.setdefault(s, []).append((config["context"], memory["kv"] // config["batch"], state))
    return {s: sorted(some) for s, some in rows.items()}


def conv_bytes(line: Line) -> int:
    """Bytes of convolution state of a point: the last inputs of each channel, in bf16."""
    model, batch = line["config"]["model"], line["config"]["batch"]
    m = model["mamba2"]
    channels = m["heads"] * m["head_dim"] + 2 * m["groups"] * m["state"]
    return 2 * batch * model["layers"].count("M") * channels * (m["conv_kernel"] - 1)


def crossing(rows: list[tuple[int, int, int]]) -> tuple[float, float] | None:
    """(tokens, bytes) at which the KV cache becomes larger than the state, interpolated linearly between two points."""
    for (c0, kv0, s0), (c1, kv1, s1) in zip(rows, rows[1:], strict=False):
        if kv0 < s0 and kv1 >= s1:
            share = Fraction(s0 - kv0, (kv1 - kv0) - (s1 - s0))
            return float(c0 + share * (c1 - c0)), float(s0 + share * (s1 - s0))
    return None


def crossing_table(
    grid: Grid, held: dict[int, list[tuple[int, int, int]]], cross: dict[int, tuple[float, float]]
) -> str:
    """Context lengths at which KV cache and state are equal in memory, and equal in the traffic of a decode step.

    A decode step reads the cache once, and reads and writes the state.
    """
    lines = [_row(["model", "SSM state, MB", "KV, B per token", "equal in memory at", "equal in traffic per step at"])]
    lines.append(_row(["---"] + ["---:"] * 4))
    for s, rows in sorted(held.items()):
        (c0, kv0, _), (c1, kv1, state) = rows[0], rows[-1]
        moved = crossing([(c, kv, 2 * st) for c, kv, st in rows])
        at = [f"{found[0]:,.0f} tokens" if found else "-" for found in (cross.get(s), moved)]
        name = grid.series.label(grid.series.values[s]) if grid.series else "-"
        lines.append(_row([name, f"{state / 1e6:,.1f}", f"{(kv1 - kv0) / (c1 - c0):,.0f}", *at]))
    return "\n".join(lines)


def _failures(grid: Grid) -> list[str]:
    """The failed points, with each cause once."""
    causes: dict[str, list[Line]] = {}
    for line in grid.failed:
        causes.setdefault(line["error"]["message"], []).append(line)
    if not causes:
        return []
    rows = [f"- {len(some):,} x {message.replace(chr(10), '; ')}" for message, some in causes.items()]
    return ["\n".join([f"Failed: {len(grid.failed):,} points.", "", *rows])]
