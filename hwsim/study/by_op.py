"""The figure of a study that splits the time of its steps by op kind, with no more bars and kinds than can be read."""

from __future__ import annotations

from typing import Any

from hwsim.files.figure import op_style
from hwsim.study.grid import Grid, Panel, ends, plain
from hwsim.study.metrics import Line
from hwsim.study.panels import canvas, left_out, legend, series_labels, titled

#: Bars of a figure that can be read; panels are left out until there are no more.
MOST_BARS = 40
#: Kinds that a panel tells apart, and the part of a bar from which a kind is worth it.
MOST_KINDS, SMALL_PART = 5, 0.02
#: Panels along the other axes and along x, from the most that are drawn.
_SIZES = ((4, 3), (4, 2), (2, 2), (2, 1), (1, 1))


def by_op_places(grid: Grid) -> tuple[list[Panel], list[int]]:
    """The choices on the other axes, and the indices of x, that have panels: fewer the more series there are."""
    bars = len(series_labels(grid))
    for down, across in _SIZES:
        panels, xs = grid.panels(down), ends(len(grid.x.values), across) if grid.x else [0]
        if bars * len(panels) * len(xs) <= MOST_BARS:
            break
    return panels, xs


def by_op_caption(grid: Grid) -> str:
    """What the figure shows, and what it sums up or leaves out."""
    panels, xs = by_op_places(grid)
    rule = f"the {MOST_KINDS} kinds with the most time, of those with {100 * SMALL_PART:g} % of a bar or more"
    said = f"Time of a step by op kind. Each panel tells apart {rule}; all others are summed as other."
    return said + left_out(grid, panels, grid.x, len(xs))


def by_op_figure(grid: Grid) -> Any:
    """Time of a step by op kind: one bar per series, stacked; a row of panels per choice on the other axes, one panel
    for each of some x. The lengths are shares of the slowest bar of their panel; each bar ends in its time.
    """
    plt = canvas()
    panels, xs = by_op_places(grid)
    time = {(p, s, x): _times(line) for p, panel in enumerate(panels) for s, x, line in grid.at(panel) if x in xs}
    order = list(dict.fromkeys(kind for parts in time.values() for kind in parts))
    labels = series_labels(grid)
    bars = list(reversed(labels))
    size = max(8.4, 3.2 + 3.1 * len(xs)), 0.9 + len(panels) * (0.75 + 0.27 * len(bars))
    figure, axes = plt.subplots(
        len(panels), len(xs), figsize=size, sharey=True, sharex=True, squeeze=False, layout="constrained"
    )
    figure.suptitle(grid.heading(), fontsize=10, x=0.012, ha="left")
    drawn: dict[str, Any] = {}
    for (p, panel), (i, x) in ((a, b) for a in enumerate(panels) for b in enumerate(xs)):
        found = _bars(axes[p][i], {y: time.get((p, s, x), {}) for y, s in enumerate(bars)}, order)
        drawn = found | drawn
        at = f"{plain(grid.x.name)} {grid.x.labels[x]}" if grid.x else ""
        titled(axes[p][i], "\n".join(part for part in (grid.title(panel), at) if part))
    for ax in axes[-1]:
        ax.set_xlabel("time, % of the slowest")
    axes[0][0].set_yticks(range(len(bars)), [labels[s] for s in bars])
    kinds = [kind for kind in [*order, "other"] if kind in drawn]
    legend(figure, [drawn[kind] for kind in kinds], [kind.replace("_", " ") for kind in kinds])
    return figure


def _bars(ax: Any, some: dict[int, dict[str, float]], order: list[str]) -> dict[str, Any]:
    """Draw the bars of one panel; returns a handle of each kind. some: y -> seconds by kind."""
    slowest = max((sum(times.values()) for times in some.values()), default=0) or 1
    kept = _kept(list(some.values()))
    shown = {y: _summed(times, kept) for y, times in some.items() if times}
    base = dict.fromkeys(shown, 0.0)
    handles = {}
    for kind in [*order, "other"]:
        part = {y: 100 * times[kind] / slowest for y, times in shown.items() if times.get(kind)}
        if not part:
            continue
        colour, hatch = op_style(kind)
        hatch = hatch.replace("....", "..")  # the tile of four dots has a circle each, 250 kB of them
        handles[kind] = ax.barh(list(part), list(part.values()), 0.74, left=[base[y] for y in part], color=colour,
                                hatch=hatch, edgecolor="white", linewidth=0.3)  # fmt: skip
        base |= {y: base[y] + length for y, length in part.items()}
    for y, times in shown.items():
        ax.annotate(_short(sum(times.values())), (base[y], y), xytext=(3, 0), textcoords="offset points",
                    va="center", fontsize=7.5)  # fmt: skip
    ax.set_xlim(0, 134)
    ax.set_xticks([0, 50, 100])
    ax.grid(axis="y", visible=False)
    return handles


def _kept(some: list[dict[str, float]]) -> set[str]:
    """The kinds that a panel tells apart. some: seconds by kind of each bar."""
    total: dict[str, float] = {}
    for times in some:
        for kind, seconds in times.items():
            total[kind] = total.get(kind, 0.0) + seconds
    large = [k for k in total if any(times.get(k, 0) >= SMALL_PART * sum(times.values()) for times in some if times)]
    return set(sorted(large, key=lambda kind: -total[kind])[:MOST_KINDS])


def _summed(times: dict[str, float], kept: set[str]) -> dict[str, float]:
    """Seconds of a bar by the kinds that are told apart, and of all others."""
    return {kind: seconds for kind, seconds in times.items() if kind in kept} | {
        "other": sum(seconds for kind, seconds in times.items() if kind not in kept)
    }


def _short(seconds: float) -> str:
    for name, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds / 1e-9:.3g} ns"


def _times(line: Line) -> dict[str, float]:
    """Seconds by op kind."""
    return {row["name"]: row["cycles"] / line["cycles"] * line["seconds"] for row in line["by_op"]}
