"""Figures of a study as SVG; equal results give equal bytes. Every title says machine, model and step."""

from __future__ import annotations

from collections.abc import Callable
from math import log10
from typing import Any

from hwsim.study.grid import Grid, Panel, ends, plain
from hwsim.study.metrics import Line, fits, per_token, step_unit
from hwsim.study.panels import (
    bottom_of,
    canvas,
    left_of,
    legend,
    panels_of,
    plain_log,
    scale_x,
    series_labels,
    series_title,
    style,
    titled,
)
from hwsim.study.roofs import cap, machine_roof


def speed_of(grid: Grid) -> tuple[str, Callable[[Line], float]]:
    """Speed of a point, as (label, function): tokens/s or samples/s, or steps/s if one of the points makes neither."""
    if all(line["tokens_per_second"] for line in grid.lines.values()):
        return f"{step_unit(grid.lines.values())}s/s", lambda line: line["tokens_per_second"]
    return "steps/s", lambda line: 1 / line["seconds"]


def lines_figure(grid: Grid, relative: bool = False) -> Any:
    """Speed over x, one line per series, one panel for each choice on the other axes.

    relative: as a multiple of the first series at the same x, on a linear axis, where small differences can be seen.
    """
    plt = canvas()
    axis, numbers = grid.along_x()
    name, speed = speed_of(grid)
    panels, labels = grid.panels(), series_labels(grid)
    figure, axes = panels_of(plt, grid, len(panels))
    handles: dict[int, Any] = {}
    misfit = None
    for ax, panel in zip(axes, panels, strict=True):
        cells = {(s, x): line for s, x, line in grid.at(panel)}
        for s in labels:
            found = [(x, cells[s, x]) for x in range(len(numbers)) if (s, x) in cells]
            found = [(x, line) for x, line in found if not relative or (0, x) in cells]
            points = [
                (numbers[x], speed(line) / (speed(cells[0, x]) if relative else 1), line)
                for x, line in sorted(found, key=lambda p: numbers[p[0]])
            ]
            xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
            (handles[s],) = ax.plot(xs, ys, **style(s), markersize=4, linewidth=1.2)
            out = [(x, y) for x, y, line in points if not fits(line)]
            if out:
                ring = {"s": 70, "facecolors": "none", "edgecolors": "black", "linewidths": 0.8}
                misfit = ax.scatter(*zip(*out, strict=True), **ring)
        scale_x(ax, grid)
        if not relative:
            ax.set_yscale("log")
        titled(ax, grid.title(panel))
    for ax in bottom_of(axes):
        ax.set_xlabel(axis.name)
    for ax in left_of(axes):
        first = grid.series.labels[0] if grid.series else ""
        ax.set_ylabel(f"{name}, as a multiple of {first}" if relative else name)
        if relative:
            ax.set_ylim(bottom=0)
        else:
            plain_log(ax.yaxis)
    shown, words = [handles[s] for s in labels], list(labels.values())
    if misfit is not None:
        shown, words = [*shown, misfit], [*words, "does not fit in memory"]
    legend(figure, shown, words, series_title(grid))
    return figure


def roofline_figure(grid: Grid) -> Any:
    """MACs per second of each point over its MACs per DRAM byte, under the roofs of its machine.

    A short bar above a point is the roof of the server that limits it, where that is neither memory nor dot array.
    """
    plt = canvas()
    labels = series_labels(grid)
    drawn = [
        (p, [(s, line) for s, _, line in grid.at(p) if line["dram_bytes"] and line["macs"]]) for p in grid.panels()
    ]
    drawn = [(panel, some) for panel, some in drawn if some]
    figure, axes = panels_of(plt, grid, len(drawn))
    every = [line for _, some in drawn for _, line in some]
    xs = [line["macs"] / line["dram_bytes"] for line in every]
    roofs = [machine_roof(line) for line in every]
    peaks = [peak for _, rates in roofs for peak in rates.values() if peak]
    ridges = [max(rates.values()) / bandwidth for bandwidth, rates in roofs if bandwidth and rates]
    left, right = min(xs) / 2, max([2 * max(xs), *(8 * ridge for ridge in ridges)])  # room for the names of the roofs
    speeds = [_macs(line) for line in every]
    bottom, top = min(speeds) / 2, max([*speeds, *peaks])
    handles: dict[int, Any] = {}
    bar = None
    for ax, (panel, some) in zip(axes, drawn, strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(left, right)
        ax.set_ylim(bottom / 1e12, 2.2 * top / 1e12)
        _roofs(ax, [line for _, line in some], left, right, bottom, top)
        for s, line in some:
            x, look = line["macs"] / line["dram_bytes"], style(s) | {"linestyle": "none"}
            limit = cap(line)
            if limit:
                (bar,) = ax.plot(x, limit / 1e12, marker="_", markersize=9, color="black", linestyle="none", zorder=1.9)
            (handles[s],) = ax.plot(x, _macs(line) / 1e12, **look, markersize=4, alpha=0.75)
        titled(ax, grid.title(panel))
        plain_log(ax.xaxis)
        plain_log(ax.yaxis)
    for ax in bottom_of(axes):
        ax.set_xlabel("MACs per DRAM byte")
    for ax in left_of(axes):
        ax.set_ylabel("TMAC/s, whole step")
    shown = [handles[s] for s in labels if s in handles]
    words = [labels[s] for s in labels if s in handles]
    if bar is not None:
        servers = dict.fromkeys(line["limited_by"] for line in every if cap(line))
        shown, words = [*shown, bar], [*words, f"roof of {', '.join(servers)}"]
    legend(figure, shown, words, series_title(grid))
    return figure


def _macs(line: Line) -> float:
    speed: float = line["macs"] / line["seconds"]
    return speed


def _roofs(ax: Any, lines: list[Line], left: float, right: float, bottom: float, top: float) -> None:
    """The memory and dot roofs of the machines of some points, each with its name unless it would touch another."""
    found = [machine_roof(line) for line in lines]
    bandwidths = sorted({bandwidth for bandwidth, _ in found if bandwidth})
    peaks: dict[float, list[str]] = {}
    for name, peak in {item: None for _, rates in found for item in rates.items()}:
        if peak:
            peaks.setdefault(peak, []).append(name)
    highest = max(peaks, default=top)
    for i, bandwidth in enumerate(bandwidths):
        start, end = max(left, bottom / bandwidth), min(right, highest / bandwidth)
        ax.plot([start, end], [start * bandwidth / 1e12, end * bandwidth / 1e12], color="#777777", linewidth=1)
        if len(bandwidths) == 1 or i == len(bandwidths) - 1:
            at = (start * end) ** 0.5
            low = "" if len(bandwidths) == 1 else f"{bandwidths[0] / 1e12:g} to "
            ax.annotate(f"{low}{bandwidth / 1e12:g} TB/s", (at, at * bandwidth / 1e12), xytext=(-7, 4),
                        textcoords="offset points", fontsize=7.5, color="#555555", ha="right")  # fmt: skip
    above = float("inf")
    for peak, names in sorted(peaks.items(), reverse=True):
        ax.plot([peak / bandwidths[-1] if bandwidths else left, right], [peak / 1e12] * 2, color="#777777",
                linewidth=1, linestyle=":")  # fmt: skip
        if log10(above / peak) < 0.07 * log10(2.2 * top / bottom):
            continue
        above = peak
        more = f" + {len(names) - 1} more" if len(names) > 1 else ""
        ax.annotate(names[0] + more, (right, peak / 1e12), xytext=(-2, 2), textcoords="offset points", fontsize=7.5,
                    color="#555555", ha="right")  # fmt: skip


def front(points: list[tuple[float, float, Any]]) -> list[tuple[float, float, Any]]:
    """The Pareto front: points to which no other is at least as good in both the first (low) and second (high)."""
    kept: list[tuple[float, float, Any]] = []
    for point in sorted(points, key=lambda p: (p[0], -p[1])):
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept


def cost_of(grid: Grid) -> tuple[str, Callable[[Line], float]]:
    """Cost per token (or sample), as (axis label, function): energy if every point has it, else DRAM bytes."""
    one = step_unit(grid.lines.values())
    if all(per_token(line, line["energy_joules"]) is not None for line in grid.lines.values()):
        return f"energy per {one}, mJ", lambda line: 1e3 * (per_token(line, line["energy_joules"]) or 0.0)
    return f"DRAM bytes per {one}, MB", lambda line: (per_token(line, line["dram_bytes"]) or 0.0) / 1e6


def choices(grid: Grid, panel: Panel) -> list[tuple[float, float, tuple[int, int]]]:
    """(cost per token, tokens/s per sequence, (series, x)) of the points of a panel that fit in memory."""
    cost = cost_of(grid)[1]
    return [
        (cost(line), line["tokens_per_second"] / line["config"]["batch"], (s, x))
        for s, x, line in grid.at(panel)
        if fits(line) and line["tokens_per_second"]
    ]


def traded(grid: Grid) -> list[Panel]:
    """The panels in which speed and cost are a trade-off: more than two points on the front."""
    return [panel for panel in grid.panels() if len(front(choices(grid, panel))) > 2]


def pareto_figure(grid: Grid) -> Any:
    """Tokens/s per sequence against cost per token; the points of each panel's own Pareto front are joined."""
    plt = canvas()
    panels, labels, name = traded(grid), series_labels(grid), cost_of(grid)[0]
    figure, axes = panels_of(plt, grid, len(panels), height=3.7)
    handles: dict[int, Any] = {}
    edge = None
    for ax, panel in zip(axes, panels, strict=True):
        points = choices(grid, panel)
        for c, speed, (s, _) in points:
            (handles[s],) = ax.plot(c, speed, **(style(s) | {"linestyle": "none"}), markersize=4.5, alpha=0.8)
        best = front(points)
        (edge,) = ax.plot(*zip(*[(c, v) for c, v, _ in best], strict=True), color="black", linewidth=0.9, zorder=1)
        if grid.x:
            for i in ends(len(best), 3):
                c, speed, (_, x) = best[i]
                ax.annotate(f"{plain(grid.x.name)} {grid.x.labels[x]}", (c, speed), xytext=(-7, 4),
                            textcoords="offset points", fontsize=7.5, ha="right")  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.margins(x=0.42, y=0.12)
        titled(ax, grid.title(panel))
    for ax in axes:
        plain_log(ax.xaxis)
        plain_log(ax.yaxis)
    for ax in bottom_of(axes):
        ax.set_xlabel(name)
    for ax in left_of(axes):
        ax.set_ylabel(f"{step_unit(grid.lines.values())}s/s per sequence")
    shown = [s for s in labels if s in handles]
    legend(figure, [*[handles[s] for s in shown], edge], [*[labels[s] for s in shown], "Pareto front"],
            series_title(grid))  # fmt: skip
    return figure
