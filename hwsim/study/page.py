"""`hwsim report`: the results of a study as one Markdown page with figures, or as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsim.errors import InputError
from hwsim.files.figure import save
from hwsim.files.tables import markdown, markdown_text
from hwsim.files.whole import write_whole
from hwsim.result import known_text, limits_text
from hwsim.study import figures as draw
from hwsim.study.by_op import by_op_caption, by_op_figure
from hwsim.study.cache import cache_figure, cache_rows, crossing_table
from hwsim.study.found import Add, add_front, bounds, by_first, objective_cells, objectives
from hwsim.study.grid import Axis, Grid, Panel, plain, read_grid
from hwsim.study.loads import under_load
from hwsim.study.loads_page import add_parts
from hwsim.study.metrics import METRICS, Line, fits
from hwsim.study.notes import notes_list
from hwsim.study.panels import canvas, left_out
from hwsim.study.roofs import machine_roof
from hwsim.study.trained import train_table, trained

ENOUGH = 0.99

_COLUMNS = (
    "`limited by` names the server with the most work at its peak rate, and from where another one has more. "
    "`over bound` is the time above the lower bound, as a share of it; `op limits` are shares of the time by the "
    "server that limits each op, as in `hwsim run`. `kernels` says how the times of a row are known, as shares of the "
    "time of a step: measured on this chip, transferred from another chip or format, or ideal, at the machine's "
    "peaks. `a to b %` are the least and the largest share among the points of the row."
)

#: Columns of the list of a search that say how each point came about.
_ABOUT = ("fits", "limited by", "over bound", "op limits", "kernels")

_NOT_DRAWN = (
    " Points that do not fit in memory are not drawn; a panel with fewer than three others on its front is left out."
)
_ACCURACY = (
    "Speed and bytes only: what a format of weights costs in accuracy is measured, not simulated; `hwsim format NAME "
    "--qsnr` gives its error, and reports/accuracy.md of hwsim that of models at work."
)

#: The tables of a page have every point of a study up to this size.
MOST_POINTS = 2_000


def write_page(folder: Path, out: Path | None = None) -> list[Path]:
    """Write the page NAME.md and its figures NAME_*.svg into `out` (None: `folder`); return the paths.

    raises: InputError if `folder` has no results or `out` cannot be written; InputError without matplotlib.
    """
    grid, out = read_grid(folder), out or folder
    matplotlib = canvas().matplotlib.__version__
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error
    into = "" if out == folder else f" -o {out}"
    made = grid.asked["command"] if grid.asked else f"hwsim study {grid.source} --out {folder}"
    commands = made, f"hwsim report {folder}{into}"
    written: list[Path] = []
    parts: list[str] = []

    def figure(name: str, caption: str, drawn: Any) -> None:
        path = out / f"{grid.name}_{name}.svg"
        save(drawn, path, " && ".join(commands), bbox_inches="tight")
        written.append(path)
        said = markdown_text(caption)
        parts.append(f"![{said}]({path.name})\n\n{said}")

    random = [f"points are drawn by {grid.asked['sampler']} from seed {grid.asked['seed']}"] if grid.asked else []
    if under_load(grid):
        random.append("requests are drawn at random from the seed below")
        add_parts(grid, parts, figure)
    else:
        _add_steps(grid, folder, parts, figure)
    drawn = ", ".join(random) or "no random numbers"
    page = [
        markdown_text(f"# {grid.name}: {grid.description}" if grid.description else f"# {grid.name}"),
        f"    {commands[0]}\n    {commands[1]}\n    # hwsim {grid.version}, matplotlib {matplotlib}; {drawn}",
        _asked(grid),
        *parts,
        *_failures(grid),
    ]
    path = out / f"{grid.name}.md"
    write_whole(path, "\n\n".join(part for part in page if part) + "\n")
    return [path, *written]


def _add_steps(grid: Grid, folder: Path, parts: list[str], figure: Add) -> None:
    """The figures and tables of a study of steps, in order."""
    speed = draw.speed_of(grid)[0].replace("/s", " per second").capitalize()
    less = left_out(grid, grid.panels())
    if grid.x and not grid.searched:
        figure("tokens", f"{speed} by {plain(grid.x.name)}.{less}", draw.lines_figure(grid))
        if grid.series and grid.series.path.startswith("run.") and not grid.series.numbers:
            first = grid.series.labels[0]
            caption = f"{speed} as a multiple of {first}, by {plain(grid.x.name)}.{less}"
            figure("relative", caption, draw.lines_figure(grid, relative=True))
    parts.append(_tables(grid, folder))
    if any(axis.path == "run.weights" and len(axis.values) > 1 for axis in grid.axes):
        parts.append(_ACCURACY)
    if trained(grid):
        parts.append(train_table(grid))
    parts.append(notes_list(grid))
    held = {} if grid.searched else cache_rows(grid)
    if held:
        figure("cache", "Bytes of KV cache and SSM state per sequence.", cache_figure(grid, held))
        parts.append(crossing_table(grid, held))
    if not grid.searched:
        figure("by_op", by_op_caption(grid), by_op_figure(grid))
    if any(line["dram_bytes"] and line["macs"] for line in grid.lines.values()):
        caption = "Roofline: lines are the machine's peak rates; each mark is one whole simulated step."
        figure("roofline", caption + less, draw.roofline_figure(grid))
    if grid.asked:
        add_front(grid, figure)
    elif draw.traded(grid):  # elsewhere there is no trade-off to show
        cost = draw.cost_of(grid)[0].partition(",")[0]
        fewer = len(draw.traded(grid)), len(grid.panels())
        where = "" if fewer[0] == fewer[1] else _NOT_DRAWN
        caption = f"Speed of one sequence against {cost}; the joined marks are the Pareto front."
        figure("pareto", caption + less + where, draw.pareto_figure(grid))


def write_html(folder: Path, out: Path | None = None) -> Path:
    """Write the page to explore into `out`, a folder or a file that ends in .html (None: `folder`); return its path.

    raises: InputError if `folder` has no results or the file cannot be written; InputError without vl-convert.
    """
    from hwsim.study.explore import explore_page

    grid, out = read_grid(folder), out or folder
    if under_load(grid):
        raise InputError(
            f"{folder}: points under load have no steps to explore; write `hwsim report {folder}` for the figures, or "
            f"`hwsim report {folder} --table points.csv`"
        )
    path = out if out.suffix == ".html" else out / f"{grid.name}.html"
    page = explore_page(grid, folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written: {error.strerror}") from error
    write_whole(path, page)
    return path


def _asked(grid: Grid) -> str:
    """The grid in words, and the facts that hold for all points."""
    axes = [markdown_text(f"- {plain(a.name)} ({a.path}): {_values(grid, a)}") for a in grid.axes]
    asked = len(grid.lines) + len(grid.failed) if grid.searched else grid.size
    count = (
        f"{asked:,} points"
        + (", chosen by a search" if grid.searched else "")
        + (f", {len(grid.failed):,} failed" if grid.failed else "")
    )
    count += f", {len(grid.predicted):,} predicted and not simulated" if grid.predicted else ""
    count += f", {grid.missing:,} not simulated yet" if grid.missing else ""
    note = grid.hypothetical()
    phases = {line["phase"] for line in grid.lines.values()}
    step = f"{phases.pop()} step" if len(phases) == 1 else "step"
    text = f"{count}; each simulates every layer of a {step} tile by tile, without framework time.{note}"
    if under_load(grid):
        text = f"{count}; each serves requests that arrive over time, as `hwsim serve` does.{note}"
    said = [f"Predicted: {one}." for one in grid.statements()]
    return "\n".join([f"{markdown_text(grid.heading())}.", "", " ".join([text, *said]), "", *axes])


def _values(grid: Grid, axis: Axis) -> str:
    """The values of an axis; of the many numbers that a search tried, the ends."""
    if grid.searched and axis.numbers and len(axis.values) > 12:
        return f"{len(axis.values)} values from {axis.labels[0]} to {axis.labels[-1]}"
    return "; ".join(axis.labels)


def _tables(grid: Grid, folder: Path) -> str:
    """Every point in a table: one row per series, one column per x, one table per choice on the other axes."""
    if grid.searched:
        return _list(grid, folder)
    panels = grid.tables()
    parts = []
    if grid.size > MOST_POINTS:
        fewer = grid.panels()
        along = [a for a in grid.axes if a not in (grid.series, grid.columns)]
        kept = [{a.path: panel.get(a.path, 0) for a in along} for panel in fewer]
        panels = [panel for panel in panels if panel in kept] or panels[:1]
        shown = len(panels) * len(grid.series.values if grid.series else [0])
        shown *= len(grid.columns.values if grid.columns else [0])
        parts.append(
            f"{shown:,} of {grid.size:,} points shown; all are in `{folder / 'points.jsonl'}`, one row each in "
            f"`hwsim report {folder} --table points.parquet`."
        )
    marks: set[str] = set()
    parts += [_table(grid, panel, marks) for panel in panels]
    feet = {
        "*": "\\* does not fit in the machine's memory.",
        "~": "~ predicted, not simulated.",
        "-": "- not simulated yet.",
        "failed": "failed: see the end of the page.",
    }
    said = " ".join(text for mark, text in feet.items() if mark in marks)
    return "\n\n".join([*parts, " ".join(part for part in (said, _COLUMNS) if part)])


def _list(grid: Grid, folder: Path) -> str:
    """The points of a search, the best by its first objective first, one row each; the front in bold."""
    name, speed = draw.speed_of(grid)
    best = sorted(grid.lines, key=lambda choice: -speed(grid.lines[choice]))
    wanted = objectives(grid)
    if wanted:
        best = by_first(grid)
    head = [*(markdown_text(a.name) for a in grid.axes if a.path not in wanted), *wanted]
    head += [] if "tokens_per_second" in wanted else [name]
    head += [] if "seconds" in wanted else ["time of a step, s"]
    body = []
    for choice in best[:MOST_POINTS]:
        line = grid.lines[choice]
        cells = [markdown_text(a.labels[i]) for a, i in zip(grid.axes, choice, strict=True) if a.path not in wanted]
        cells += objective_cells(grid, line)
        cells += [] if "tokens_per_second" in wanted else [f"{speed(line):,.0f}"]
        cells += [] if "seconds" in wanted else [f"{line['seconds']:.4g}"]
        about = [
            "yes" if fits(line) else "no",
            str(line.get("limited_by") or "-"),
            *_above([line]),
            known_text(line["provenance"]),
        ]
        body.append([*cells, *about])
    less = f"{len(body):,} of {len(best):,} points shown; all are in `{folder / 'points.jsonl'}`.\n\n"
    bold = f"In bold: the front, points that no other one beats in every objective.{bounds(grid)}\n\n" if wanted else ""
    return (less if len(body) < len(best) else "") + bold + markdown([*head, *_ABOUT], body)


def _table(grid: Grid, panel: Panel, marks: set[str]) -> str:
    """Speed at one choice on the other axes; and the smallest sufficient x. marks: what the cells need explained."""
    columns = grid.columns
    at = [a.path for a in grid.axes]
    first = plain(grid.series.name) if grid.series else ""
    name, speed = draw.speed_of(grid)
    head = (
        [f"{first}, by {plain(columns.name)}" if first else plain(columns.name), *columns.labels]
        if columns
        else [first, name]
    )
    numeric = columns is not None and columns is grid.x and columns.path.startswith("machine.")
    head += [f"{100 * ENOUGH:.0f} % of the maximum from"] if numeric else []
    regenerators = numeric and columns is not None and columns.path == "machine.regenerate.rate"
    head += ["per TB/s"] if regenerators else []
    head = [*map(markdown_text, head), "limited by", "over bound", "op limits", "kernels"]
    body = []
    for s in range(len(grid.series.values) if grid.series else 1):
        found: dict[int, Line] = {}
        cells = []
        for x in range(len(columns.values) if columns else 1):
            place = panel | ({grid.series.path: s} if grid.series else {}) | ({columns.path: x} if columns else {})
            choice = tuple(place[path] for path in at)
            text, mark = _cell(grid, choice, speed)
            cells.append(text)
            marks.add(mark)
            if choice in grid.lines:
                found[x] = grid.lines[choice]
        if numeric and columns is not None:
            cells += _least(grid, found, regenerators)
        body.append(
            [
                markdown_text(grid.series.labels[s]) if grid.series else "",
                *cells,
                _limits(found, columns.labels if columns else [""]),
                *_above(list(found.values())),
                known_text(*(line["provenance"] for line in found.values())),
            ]
        )
    chosen = grid.title(panel, whole=True)
    caption = f"{name.replace('/s', ' per second').capitalize()}{f', {markdown_text(chosen)}' if chosen else ''}:"
    return f"{caption}\n\n{_right(markdown(head, body), len(head))}"


def _limits(found: dict[int, Line], labels: Sequence[str]) -> str:
    """The servers that limit the points of a row, each with the x from which it does. found: points by place."""
    said: list[str] = []
    last = ""
    for x in sorted(found):
        server = found[x]["limited_by"]
        if server != last:
            said.append(f"{server} from {labels[x]}" if last else server)
            last = server
    return markdown_text(", ".join(said)) if said else "-"


def _above(lines: Sequence[Line]) -> list[str]:
    """How far the points of a row are above their bounds, and what limits their ops; in the words of `hwsim run`."""
    over = [f"{100 * (line['cycles'] / line['bound_cycles'] - 1):.3g}" for line in lines if line.get("bound_cycles")]
    over.sort(key=float)
    apart = f"{over[0]} to {over[-1]} %" if over and over[0] != over[-1] else f"{over[0]} %" if over else "-"
    return [apart, markdown_text(limits_text(*(line.get("limits") or {} for line in lines)) or "-")]


def _right(text: str, columns: int) -> str:
    """A Markdown table with its numbers flush right."""
    lines = text.split("\n")
    lines[1] = "|" + " --- |" + " ---: |" * (columns - 1)
    return "\n".join(lines)


def _cell(grid: Grid, choice: tuple[int, ...], speed: Any) -> tuple[str, str]:
    """One point of a table, and the mark that the page must explain, or ""."""
    if choice in grid.lines:
        line = grid.lines[choice]
        return (f"{speed(line):,.0f}", "") if fits(line) else (f"{speed(line):,.0f}\\*", "*")
    if choice in grid.predicted:
        value = grid.predicted[choice].get(METRICS[0].name)
        return ("~" if value is None else f"~{value:,.0f}"), "~"
    return ("failed", "failed") if choice in grid.failed else ("-", "-")


def _least(grid: Grid, found: dict[int, Line], regenerators: bool) -> list[str]:
    """The smallest sufficient x of a row, and it per TB/s of memory bandwidth where x is a number of regenerators."""
    if not found:
        return ["-"] * (1 + regenerators)
    (axis, numbers), least = grid.along_x(), enough(grid, found)
    return [
        axis.labels[least],
        *([f"{numbers[least] / machine_roof(found[least])[0] * 1e12:,.0f}"] if regenerators else []),
    ]


def enough(grid: Grid, found: dict[int, Line]) -> int:
    """Index of the smallest x that gives 99 % of the maximum speed."""
    _, numbers = grid.along_x()
    speed = draw.speed_of(grid)[1]
    most = max(map(speed, found.values()))
    good = [x for x, line in found.items() if speed(line) >= ENOUGH * most]
    return min(good, key=lambda x: numbers[x])


def _failures(grid: Grid) -> list[str]:
    """The failed points, with each cause once."""
    causes: dict[str, list[Line]] = {}
    for line in grid.failed.values():
        causes.setdefault(line["error"]["message"], []).append(line)
    if not causes:
        return []
    rows = [f"- {len(some):,} x {markdown_text(message.replace(chr(10), '; '))}" for message, some in causes.items()]
    return ["\n".join([f"Failed: {len(grid.failed):,} points.", "", *rows])]
