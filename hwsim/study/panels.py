"""How figures of a study are laid out: panels, the look and the names of series, scales, ticks, legends."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, prod
from textwrap import fill
from typing import Any

from hwsim.files.figure import COLOURS, pyplot
from hwsim.result import weakest
from hwsim.study.grid import ALIKE, Axis, Grid, Panel, plain
from hwsim.study.metrics import Line

MARKERS = "osD^vPX*<>hd"
DASHES = ("-", "--", "-.", ":")
#: Characters of a panel's title per inch of the figure: a legend takes a part of its width.
PER_INCH = 10


def canvas() -> Any:
    """pyplot with the settings of these figures. raises: InputError."""
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


def series_labels(grid: Grid) -> dict[int, str]:
    """Label of each series that has points, with the weakest provenance of its times where the series differ in it."""
    lines: dict[int, list[Line]] = {}
    at = grid.axes.index(grid.series) if grid.series else None
    for choice, line in grid.lines.items():
        lines.setdefault(choice[at] if at is not None else 0, []).append(line)
    marks = {s: weakest(*(line["provenance"] for line in some)) for s, some in lines.items()}
    many = len(set(marks.values())) > 1
    names = {s: grid.series.labels[s] if grid.series else "" for s in sorted(lines)}
    return {s: f"{name} ({marks[s]})" if many else name for s, name in names.items()}


def series_title(grid: Grid) -> str | None:
    """The heading of the legend: the name of the series, and how their times are known if all alike."""
    marks = {weakest(line["provenance"]) for line in grid.lines.values()}
    alike = f" (kernels: {marks.copy().pop()})" if len(marks) == 1 and "-" not in marks else ""
    return plain(grid.series.name) + alike if grid.series else None


def panels_of(plt: Any, grid: Grid, n: int, height: float = 3.4, **share: Any) -> tuple[Any, list[Any]]:
    """A figure with `n` panels in one or two rows, and its title; unused places stay empty."""
    rows = 1 if n <= 3 else 2
    across = ceil(n / rows)
    size = {1: 8.4, 2: 10.4}.get(across, 12.6), 0.7 + height * rows
    options = {"sharex": True, "sharey": True} | share
    figure, axes = plt.subplots(rows, across, figsize=size, squeeze=False, layout="constrained", **options)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    figure.suptitle(grid.heading(), fontsize=10, x=0.012, ha="left")
    for ax in axes.flat[:n]:
        ax.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes.flat[:n])


def titled(ax: Any, title: str) -> None:
    """A panel's title, in as many lines as it takes to stay above its panel."""
    width = ax.figure.get_size_inches()[0] / ax.get_subplotspec().get_gridspec().ncols
    most = max(24, int(PER_INCH * width))
    ax.set_title("\n".join(fill(line, most) for line in title.split("\n")), fontsize=9)


def legend(figure: Any, handles: Iterable[Any], labels: Iterable[str], title: str | None = None) -> None:
    """The legend of a figure, right of its panels; none where no label says anything."""
    handles, labels = list(handles), list(labels)
    if any(labels):
        figure.legend(handles, labels, title=title, loc="outside right upper", frameon=False, fontsize=8)


def scale_x(ax: Any, grid: Grid) -> None:
    """Make the x axis logarithmic where its values span much, with values of the study as ticks, few enough to read."""
    from matplotlib.ticker import NullLocator

    numbers = sorted(grid.along_x()[1])
    if numbers[0] > 0 and numbers[-1] / numbers[0] >= 8:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_minor_locator(NullLocator())
        width = ax.figure.get_size_inches()[0] / max(1, ax.get_subplotspec().get_gridspec().ncols)
        shown = [n for n in numbers if n in apart(numbers, most=max(3, int(width * 1.4)))]
        ax.set_xticks(shown, [tick(n) for n in shown])


def plain_log(axis: Any) -> None:
    """Label a logarithmic axis with plain numbers: 1, 2, 5 of each decade if there are few decades, else 1."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,g}"))
    axis.set_minor_formatter(NullFormatter())


def apart(numbers: list[float], least: float = 1.3, most: int = 7) -> list[float]:
    """At most `most` of the numbers, from the smallest, as evenly spread by powers as they allow."""
    least = max(least, (numbers[-1] / numbers[0]) ** (0.8 / most))
    while True:
        kept = [numbers[0]]
        for n in numbers[1:]:
            if n >= least * kept[-1]:
                kept.append(n)
        if len(kept) <= most:
            return kept
        least *= 1.3


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


def left_of(axes: list[Any]) -> list[Any]:
    """The first panel of each row."""
    return [ax for ax in axes if ax.get_subplotspec().is_first_col()]


def bottom_of(axes: list[Any]) -> list[Any]:
    """The lowest panel of each column."""
    lowest = {ax.get_subplotspec().colspan.start: ax for ax in axes}
    return list(lowest.values())


def left_out(grid: Grid, panels: list[Panel], axis: Axis | None = None, drawn: int = 0) -> str:
    """What a figure does not draw: some of the panels, some values of `axis`, predicted points; "" if it draws all.

    drawn: of the values of `axis`, how many are drawn.
    """
    others = [a for a in grid.others if a.path not in grid.idle]
    total, said = 1 if grid.searched else prod(len(a.values) for a in others), []
    if len(panels) < total:
        said.append(f"{len(panels)} of {total} choices of {', '.join(plain(a.name) for a in others)}")
    if axis and drawn < len(axis.values):
        said.append(f"{drawn} of {len(axis.values)} values of {plain(axis.name)}")
    if grid.predicted:
        said.append(f"{len(grid.lines):,} simulated points, none of the {len(grid.predicted):,} predicted ones")
    idle = [plain(a.name) for a in grid.others if a.path in grid.idle]
    same = f" No figure changes by {ALIKE:.1%} with {', '.join(idle)}." if idle and not grid.searched else ""
    return same + (f" Drawn: {'; '.join(said)}; the tables have every point." if said else "")
