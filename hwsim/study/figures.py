"""Figures of a study as SVG; equal results give equal bytes. Colours can be told apart without red and green."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hwsim.files.figure import pyplot, save
from hwsim.study.grid import Grid, Line, ends, number

#: Okabe and Ito's eight colours (jfly.uni-koeln.de/color), without yellow; dashes mark their second use.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*<>hd"
DASHES = ("-", "--")
#: Paul Tol's muted scheme (personal.sron.nl/~pault) for the parts of a bar; hatches separate neighbours in print.
PARTS = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#BBBBBB")
SMALL_PART = 0.02


def canvas() -> Any:
    """pyplot with the settings of these figures. raises: MissingExtra."""
    settings: dict[str, Any] = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#DDDDDD",
        "grid.linewidth": 0.6,
        "hatch.linewidth": 0.4,
    }
    return pyplot(**settings)


def style(i: int) -> dict[str, Any]:
    """Colour, marker and dash of series i."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": DASHES[i // len(COLOURS) % len(DASHES)],
    }


def fits(line: Line) -> bool:
    """Whether the run fits in the machine's memory."""
    return not line["memory"] or line["memory"]["fits"]


def _panels(plt: Any, n: int, **size: Any) -> tuple[Any, list[Any]]:
    width = {1: 7.6, 2: 9.4}.get(n, 11.5)
    figure, axes = plt.subplots(1, n, figsize=(width, 3.8), sharey=True, squeeze=False, layout="constrained", **size)
    return figure, list(axes[0])


def _legend(figure: Any, handles: Iterable[Any], labels: Iterable[str], title: str | None = None) -> None:
    handles, labels = list(handles), list(labels)
    if labels:
        figure.legend(handles, labels, title=title, loc="outside right upper", frameon=False, fontsize=8)


def _axis_scale(ax: Any, grid: Grid) -> None:
    """Make the x axis logarithmic, with values of the study as ticks, few enough not to overlap."""
    from matplotlib.ticker import NullLocator

    numbers = sorted(grid.along_x()[1])
    if numbers[0] > 0 and numbers[-1] / numbers[0] >= 8:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_minor_locator(NullLocator())
        shown = [n for n in numbers if n in _apart(numbers)]
        ax.set_xticks(shown, [tick(n) for n in shown])


def _plain_log(axis: Any) -> None:
    """Label a logarithmic axis with plain numbers: 1, 2, 5 of each decade if there are few decades, else 1."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _apart(numbers: list[float], least: float = 1.9) -> list[float]:
    """At most seven of the numbers, from the smallest, each at least a factor above the previous one."""
    while True:
        kept = [numbers[0]]
        for n in numbers[1:]:
            if n >= least * kept[-1]:
                kept.append(n)
        if len(kept) <= 7:
            return kept
        least *= 2


def tick(n: float) -> str:
    """`1.5 T`, `8 Ki`: powers of two from 1,024 have binary prefixes, other numbers decimal ones."""
    if n >= 1024 and n == int(n) and int(n) & (int(n) - 1) == 0:
        power = (int(n).bit_length() - 1) // 10
        return f"{int(n) >> 10 * power} {['', 'Ki', 'Mi', 'Gi', 'Ti'][power]}"
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if n >= size:
            scale = 1e3 if prefix == "k" else size
            return f"{n / scale:g} {prefix}"
    return f"{n:g}"


def lines_figure(grid: Grid, path: Path, command: str) -> None:
    """Tokens per second over x, one line per series, one panel for each of some choices on the other axes."""
    plt = canvas()
    axis, numbers = grid.along_x()
    panels = grid.panels()
    figure, axes = _panels(plt, len(panels))
    handles: dict[int, Any] = {}
    misfit = None
    for ax, panel in zip(axes, panels, strict=True):
        series: dict[int, list[tuple[float, Line]]] = {}
        for s, x, line in grid.at(panel):
            series.setdefault(s, []).append((numbers[x], line))
        for s, points in sorted(series.items()):
            points.sort(key=lambda p: p[0])
            xs, ys = [x for x, _ in points], [line["tokens_per_second"] for _, line in points]
            (handles[s],) = ax.plot(xs, ys, **style(s), markersize=4, linewidth=1.2)
            out = [(x, line["tokens_per_second"]) for x, line in points if not fits(line)]
            if out:
                ring = {"s": 70, "facecolors": "none", "edgecolors": "black", "linewidths": 0.8}
                misfit = ax.scatter(*zip(*out, strict=True), **ring)
        _axis_scale(ax, grid)
        ax.set_yscale("log")
        ax.set_xlabel(axis.name)
        ax.set_title(grid.title(panel), fontsize=9)
    axes[0].set_ylabel("tokens/s")
    _plain_log(axes[0].yaxis)
    labels = [grid.series.label(grid.series.values[s]) for s in sorted(handles)] if grid.series else []
    shown = [handles[s] for s in sorted(handles)]
    if misfit is not None:
        shown, labels = [*shown, misfit], [*labels, "does not fit in memory"]
    _legend(figure, shown if labels else [], labels, grid.series.name if grid.series else None)
    save(figure, path, command, bbox_inches="tight")


def by_op_figure(grid: Grid, path: Path, command: str) -> None:
    """Time of a step: one bar per series, stacked by op kind; one panel for each of some x."""
    plt = canvas()
    panel = grid.panels()[len(grid.panels()) // 2]
    cells = list(grid.at(panel))
    xs = ends(len(grid.x.values)) if grid.x else [0]
    cells = [(s, x, line) for s, x, line in cells if x in xs]
    time = {(s, x): _times(line) for s, x, line in cells}
    kinds = list(dict.fromkeys(kind for parts in time.values() for kind in parts))
    large = [k for k in kinds if any(t.get(k, 0) >= SMALL_PART * sum(t.values()) for t in time.values())]
    rows = sorted({s for s, _, _ in cells}, reverse=True)
    height = 1.3 + 0.32 * len(rows)
    figure, axes = plt.subplots(
        1, len(xs), figsize=(max(6.0, 3.4 * len(xs)), height), sharey=True, squeeze=False, layout="constrained"
    )
    longest = max(sum(t.values()) for t in time.values())
    unit, scale = next(((u, f) for u, f in (("s", 1), ("ms", 1e3)) if longest * f >= 1), ("us", 1e6))
    for ax, x in zip(axes[0], xs, strict=True):
        base = dict.fromkeys(rows, 0.0)
        for j, kind in enumerate([*large, "other"]):
            values = [_part(time.get((s, x), {}), kind, large) * scale for s in rows]
            colour = PARTS[j % (len(PARTS) - 1)] if kind != "other" else PARTS[-1]
            hatch = ("", "////", "", "....")[j % 4] if kind != "other" else ""
            label = kind.replace("_", " ") if ax is axes[0][0] else None
            lefts = [base[s] for s in rows]
            ax.barh(range(len(rows)), values, 0.74, left=lefts, color=colour, hatch=hatch, edgecolor="white",
                    linewidth=0.3, label=label)  # fmt: skip
            base = {s: base[s] + v for s, v in zip(rows, values, strict=True)}
        ax.set_xlabel(f"time of a step, {unit}")
        ax.grid(axis="y", visible=False)
        if grid.x:
            ax.set_title(f"{grid.x.name.partition(' (')[0]} {grid.x.label(grid.x.values[x])}", fontsize=9)
    if grid.series:
        axes[0][0].set_yticks(range(len(rows)), [grid.series.label(grid.series.values[s]) for s in rows])
    if grid.title(panel):
        figure.suptitle(grid.title(panel), fontsize=9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    _legend(figure, handles, labels)
    save(figure, path, command, bbox_inches="tight")


def _times(line: Line) -> dict[str, float]:
    """Seconds by op kind."""
    return {row["name"]: row["cycles"] / line["cycles"] * line["seconds"] for row in line["by_op"]}


def _part(times: dict[str, float], kind: str, large: list[str]) -> float:
    return sum(t for k, t in times.items() if k not in large) if kind == "other" else times.get(kind, 0.0)


def machine_roof(line: Line) -> tuple[float, dict[str, float]]:
    """(bytes per second of the memory, MACs per second by pair of formats) of a point's machine."""
    machine = line["config"]["machine"]
    clock, bandwidth = number(machine["clock"]), machine["dram"]["bandwidth"]
    assert clock is not None, "a machine that was loaded has a frequency as its clock"
    rate = (number(bandwidth) or 0.0) * (clock if "cycle" in bandwidth else 1)
    peaks: dict[str, float] = {}
    for r in machine["dot"]["rates"]:
        peak = (number(r["rate"]) or 0.0) * (clock if "cycle" in r["rate"] else 1)
        name = r["weights"] if r["weights"] == r["activations"] else f"{r['weights']} x {r['activations']}"
        peaks[name] = peak
    return rate, peaks


def roofline_figure(grid: Grid, path: Path, command: str) -> None:
    """MACs per second of each point over its MACs per DRAM byte, under the rooflines of its machine."""
    plt = canvas()
    figure, ax = plt.subplots(figsize=(7.6, 4.6), layout="constrained")
    panels = grid.panels()
    shown = [(i, s, line) for i, panel in enumerate(panels) for s, _, line in grid.at(panel) if line["dram_bytes"]]
    by_panel = len(panels) > 1
    intensity = [line["macs"] / line["dram_bytes"] for _, _, line in shown]
    left, right = min(intensity) / 2, max(intensity) * 4
    roofs = {machine_roof(line)[0]: machine_roof(line)[1] for _, _, line in shown}
    peaks: dict[float, list[str]] = {}
    for name, peak in {k: v for rates in roofs.values() for k, v in rates.items()}.items():
        if peak:
            peaks.setdefault(peak, []).append(name)
    top = max(peaks, default=1e12)
    right = max(right, 1.5 * top / min(r for r in roofs if r))
    for bandwidth in sorted(b for b in roofs if b):
        ridge = top / bandwidth
        ax.plot([left, ridge], [left * bandwidth / 1e12, top / 1e12], color="#777777", linewidth=1)
        ax.annotate(f"{bandwidth / 1e12:g} TB/s", (left, left * bandwidth / 1e12), xytext=(12, -2),
                    textcoords="offset points", fontsize=7.5, color="#555555", va="top")  # fmt: skip
    for peak, names in sorted(peaks.items()):
        ax.plot([peak / max(roofs), right], [peak / 1e12] * 2, color="#777777", linewidth=1, linestyle=":")
        listed = ", ".join(names) if len(names) <= 3 else ", ".join([*names[:3], "..."])
        ax.annotate(listed, (right, peak / 1e12), xytext=(-2, 3), textcoords="offset points", fontsize=7.5,
                    color="#555555", ha="right")  # fmt: skip
    handles = {}
    for (i, s, line), x in zip(shown, intensity, strict=True):
        key = i if by_panel else s
        look = style(key) | {"linestyle": "none"}
        (handles[key],) = ax.plot(x, line["macs"] / line["seconds"] / 1e12, **look, markersize=4, alpha=0.75)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(left, right)
    ax.set_xlabel("MACs per DRAM byte")
    ax.set_ylabel("TMAC/s, whole step")
    _plain_log(ax.xaxis)
    _plain_log(ax.yaxis)
    if by_panel:
        labels = [grid.title(panels[i]) for i in sorted(handles)]
    else:
        labels = [grid.series.label(grid.series.values[s]) for s in sorted(handles)] if grid.series else []
    if labels:
        marks = [handles[i] for i in sorted(handles)]
        ax.legend(marks, labels, fontsize=7.5, loc="lower right", frameon=True, framealpha=0.9)
    save(figure, path, command, bbox_inches="tight")


def front(points: list[tuple[float, float, Any]]) -> list[tuple[float, float, Any]]:
    """The Pareto front: points to which no other is at least as good in both the first (low) and second (high)."""
    kept: list[tuple[float, float, Any]] = []
    for point in sorted(points, key=lambda p: (p[0], -p[1])):
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept


def cost_of(grid: Grid) -> tuple[str, Callable[[Line], float]]:
    """Cost per token, as (axis label, function): energy if every point has it, else DRAM bytes."""

    def tokens(line: Line) -> float:
        return line["tokens_per_second"] * line["seconds"]

    if all(line["energy_joules"] is not None for line in grid.lines.values()):
        return "energy per token, mJ", lambda line: 1e3 * line["energy_joules"] / tokens(line)
    return "DRAM bytes per token, MB", lambda line: line["dram_bytes"] / tokens(line) / 1e6


def choices(grid: Grid) -> list[tuple[float, float, tuple[int, int]]]:
    """(cost per token, tokens/s per sequence, (series, x)) of the points of the middle panel that fit in memory."""
    cost, panel = cost_of(grid)[1], grid.panels()[len(grid.panels()) // 2]
    return [
        (cost(line), line["tokens_per_second"] / line["config"]["batch"], (s, x))
        for s, x, line in grid.at(panel)
        if fits(line)
    ]


def pareto_figure(grid: Grid, path: Path, command: str) -> None:
    """Tokens/s per sequence against cost per token; the points of the Pareto front are joined."""
    plt = canvas()
    figure, ax = plt.subplots(figsize=(7.6, 4.4), layout="constrained")
    name, panel, points = cost_of(grid)[0], grid.panels()[len(grid.panels()) // 2], choices(grid)
    handles = {}
    for c, speed, (s, _) in points:
        look = style(s) | {"linestyle": "none"}
        (handles[s],) = ax.plot(c, speed, **look, markersize=4.5, alpha=0.8)
    best = front(points)
    (edge,) = ax.plot(*zip(*[(c, speed) for c, speed, _ in best], strict=True), color="black", linewidth=0.9, zorder=1)
    axis = grid.x
    if axis:
        for i in ends(len(best), 4):
            c, speed, (_, x) = best[i]
            text = f"{axis.name.partition(' (')[0]} {axis.label(axis.values[x])}"
            ax.annotate(text, (c, speed), xytext=(-6, 5), textcoords="offset points", fontsize=7.5, ha="right")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.margins(x=0.16, y=0.1)
    ax.set_xlabel(name)
    ax.set_ylabel("tokens/s per sequence")
    _plain_log(ax.xaxis)
    _plain_log(ax.yaxis)
    if grid.title(panel):
        ax.set_title(grid.title(panel), fontsize=9)
    labels = [grid.series.label(grid.series.values[s]) for s in sorted(handles)] if grid.series else []
    _legend(figure, [*[handles[s] for s in sorted(handles)][: len(labels)], edge], [*labels, "Pareto front"])
    save(figure, path, command, bbox_inches="tight")


def cache_figure(
    grid: Grid,
    path: Path,
    command: str,
    held: dict[int, list[tuple[int, int, int]]],
    cross: dict[int, tuple[float, float]],
) -> None:
    """Bytes of KV cache and SSM state per sequence over the context, and the points where they cross."""
    plt = canvas()
    figure, ax = plt.subplots(figsize=(7.6, 4.2), layout="constrained")
    for s, rows in sorted(held.items()):
        label = grid.series.label(grid.series.values[s]) if grid.series else ""
        contexts = [c for c, _, _ in rows]
        look = style(s)
        ax.plot(contexts, [kv / 1e6 for _, kv, _ in rows], **look, markersize=4, label=f"{label}, KV cache".strip(", "))
        ax.plot(contexts, [st / 1e6 for _, _, st in rows], color=look["color"], linestyle=":", linewidth=1.6,
                label=f"{label}, SSM state".strip(", "))  # fmt: skip
        if s in cross:
            tokens, nbytes = cross[s]
            ax.plot(tokens, nbytes / 1e6, "o", markersize=9, markerfacecolor="none", markeredgecolor="black")
            ax.annotate(f"{tokens:,.0f} tokens", (tokens, nbytes / 1e6), xytext=(9, -13), textcoords="offset points",
                        fontsize=8)  # fmt: skip
    ax.set_yscale("log")
    _axis_scale(ax, grid)
    ax.set_xlabel(grid.along_x()[0].name)
    ax.set_ylabel("MB per sequence")
    _plain_log(ax.yaxis)
    ax.legend(fontsize=8, frameon=False)
    save(figure, path, command, bbox_inches="tight")
