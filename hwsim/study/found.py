"""What a search found, for its page: the objectives of each point, its front, and a figure of the two."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hwsim.errors import InputError
from hwsim.files.figure import COLOURS
from hwsim.files.tables import markdown_text
from hwsim.study.grid import Choice, Grid
from hwsim.study.loads import LOAD_METRICS
from hwsim.study.metrics import METRICS, Line
from hwsim.study.panels import canvas, plain_log
from hwsim.study.search import Goal, metric

#: Adds a figure to the page: its name, its caption, what is drawn.
Add = Callable[[str, str, Any], None]


def objectives(grid: Grid) -> dict[str, bool]:
    """Of a search: whether more is better, by metric; {} of a study."""
    return {name: bool(more) for name, more in grid.asked["objectives"]} if grid.asked else {}


def value(line: Line, path: str) -> float | None:
    """A metric of a point as the search read it; None where the point has no such number."""
    with suppress(InputError):
        return float(metric(line, path))
    return None


def by_first(grid: Grid) -> list[Choice]:
    """The points of a search, the best by its first objective first."""
    name, more = next(iter(objectives(grid).items()))
    return sorted(grid.lines, key=lambda choice: (-1 if more else 1) * (value(grid.lines[choice], name) or 0.0))


def objective_cells(grid: Grid, line: Line) -> list[str]:
    """The objectives of a point; in bold if it is on the front."""
    cells = []
    for name in objectives(grid):
        amount = value(line, name)
        text = "-" if amount is None else f"{amount:,.0f}" if abs(amount) >= 1e4 else f"{amount:.5g}"
        if isinstance(setting := line["point"].get(name), str):  # as it was asked for, with its unit
            text = markdown_text(setting)
        cells.append(f"**{text}**" if grid.asked and line["key"] in grid.asked["front"] else text)
    return cells


def bounds(grid: Grid) -> str:
    """What the objectives that are sums lack, in sentences; "" where they lack nothing."""
    lacking = Goal(tuple(objectives(grid).items())).lacking(list(grid.lines.values()))
    return "".join(f" {name} is without {', '.join(terms)}: a lower bound." for name, terms in lacking.items())


def add_front(grid: Grid, figure: Add) -> None:
    """The figure of the first two objectives, with the front joined; a search of one objective has none."""
    names = list(objectives(grid))
    if len(names) > 1 and grid.asked:
        best = "; ".join(f"{'most' if more else 'least'} {name}" for name, more in objectives(grid).items())
        caption = f"The points of the search and its front ({best}), filled and joined."
        figure("front", caption, front_figure(grid, names[0], names[1]))


def front_figure(grid: Grid, up: str, along: str) -> Any:
    """`up` against `along`, a hollow mark per point; those of the front are filled and joined."""
    assert grid.asked is not None, "a search has a front"
    plt = canvas()
    figure, ax = plt.subplots(figsize=(8.4, 4.6), layout="constrained")
    figure.suptitle(grid.heading(), fontsize=10, x=0.012, ha="left")
    points = [(value(line, along), value(line, up), line["key"] in grid.asked["front"]) for line in grid.lines.values()]
    known = [(x, y, best) for x, y, best in points if x is not None and y is not None]
    rest, best = ([(x, y) for x, y, mark in known if mark is wanted] for wanted in (False, True))
    look = {"marker": "o", "markersize": 5, "color": COLOURS[0]}
    if rest:
        ax.plot(*zip(*rest, strict=True), **look, linestyle="", markerfacecolor="none", label="tried")
    if best:
        ax.plot(*zip(*sorted(best), strict=True), **look, linewidth=1.0, label="front")
    for axis, numbers in ((ax.xaxis, [x for x, _, _ in known]), (ax.yaxis, [y for _, y, _ in known])):
        if numbers and min(numbers) > 0 and max(numbers) / min(numbers) >= 8:
            (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
            plain_log(axis)
    ax.set_xlabel(_label(along))
    ax.set_ylabel(_label(up))
    if known:
        ax.legend(frameon=False, fontsize=8)
    return figure


def _label(path: str) -> str:
    """A metric with its unit where it is one of a table's."""
    return next((m.label for m in (*METRICS, *LOAD_METRICS) if m.name == path), path.replace("_", " "))
