"""The page to explore a study: every point with its numbers, drawn in the browser as its reader asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwsim.errors import InputError
from hwsim.files import html
from hwsim.files.figure import op_style
from hwsim.result import KNOWN, known_text, limits_text
from hwsim.study.grid import Axis, Choice, Grid
from hwsim.study.metrics import METRICS, Line, fits, step_unit
from hwsim.study.roofs import cap, machine_roof

#: More points than this make a page that no browser draws with pleasure.
MOST = 20_000


def explore_page(grid: Grid, folder: Path) -> str:
    """The page as text. raises: InputError if the study has too many points; InputError without vl-convert."""
    count = len(grid.lines) + len(grid.failed) + len(grid.predicted)
    if count > MOST:
        raise InputError(
            f"{folder}: has {count:,} points, and a page holds at most {MOST:,}; "
            f"write `hwsim report {folder} --table points.parquet` and query that"
        )
    title = f"{grid.name}: {grid.description}" if grid.description else grid.name
    script = html.script(Path(__file__).with_name("explore.js"))
    return html.page(title, _intro(grid, folder), page_data(grid), script)


def _intro(grid: Grid, folder: Path) -> str:
    """What was simulated, how many points of which kind, and the commands."""
    asked = len(grid.lines) + len(grid.failed) if grid.searched else grid.size
    counts = [f"{asked:,} points" + (" chosen by a search" if grid.searched else ""), f"{len(grid.lines):,} simulated"]
    counts += [f"{len(grid.predicted):,} predicted, drawn hollow"] if grid.predicted else []
    counts += [f"{len(grid.failed):,} failed"] if grid.failed else []
    counts += [f"{grid.missing:,} not simulated yet"] if grid.missing else []
    words = f"{grid.heading()}. {', '.join(counts)}."
    words += grid.hypothetical() + _known(grid)
    words += "".join(f" Predicted: {one}." for one in grid.statements())
    commands = f"hwsim study {grid.source} --out {folder}\nhwsim report {folder} --html\n# hwsim {grid.version}"
    return f"<p>{html.text(words)}</p>\n<details><summary>Commands</summary><pre>{html.text(commands)}</pre></details>"


def _known(grid: Grid) -> str:
    """A sentence, after a space, on how the times of each machine are known; machines that are known alike together."""
    marks: dict[str, list[dict[str, float]]] = {}
    for line in grid.lines.values():
        marks.setdefault(line["machine"], []).append(line.get("provenance") or {})
    alike: dict[str, list[str]] = {}
    for machine, some in marks.items():
        alike.setdefault(known_text(*some), []).append(machine)
    said = "; ".join(f"{known} on {', '.join(machines)}" for known, machines in alike.items() if known != "-")
    careful = (
        " Compare ideal times, at a machine's peaks, with care: no software reaches them." if len(alike) > 1 else ""
    )
    return f" Times are {said}.{careful if 'ideal' in alike else ''}" if said else ""


def page_data(grid: Grid) -> dict[str, Any]:
    """What the page's script reads; numbers are those of `points.jsonl`, in base units."""
    kinds: dict[str, int] = {}
    notes: dict[str, int] = {}
    roofs: dict[str, int] = {}
    listed: list[dict[str, Any]] = []
    points = []
    every: dict[Choice, Line] = grid.lines | grid.failed
    made = step_unit(grid.lines.values())
    for choice in sorted([*every, *grid.predicted]):
        point: dict[str, Any] = {"at": list(choice)}
        line = every.get(choice)
        if line is None:
            values = grid.predicted[choice]
            point |= {"status": "predicted", "m": [values.get(m.name) for m in METRICS]}
        elif line["error"]:
            point |= {"status": "failed", "m": [None] * len(METRICS), "error": line["error"]["message"]}
        else:
            rate, peaks = machine_roof(line)
            name = repr((rate, peaks))
            if name not in roofs:
                roofs[name] = len(roofs)
                listed.append({"bandwidth": rate, "peaks": list(peaks.items())})
            point |= {
                "status": "simulated",
                "m": [m.of(line) for m in METRICS],
                "limit": line["limited_by"],
                "limits": limits_text(line.get("limits") or {}),
                "fits": fits(line),
                "ops": [[kinds.setdefault(k, len(kinds)), t] for k, t in op_seconds(line).items()],
                "stalls": {cause: n / line["cycles"] for cause, n in line["stalls"].items() if n},
                "busy": {server: share for server, share in line["utilization"].items() if share},
                "provenance": {mark: line["provenance"].get(mark) for mark in KNOWN if line["provenance"].get(mark)},
                "notes": [notes.setdefault(note, len(notes)) for note in line["notes"]],
                "formats": line["config"]["formats"],
                "machine": line["machine"],
                "name": line["name"],
                "roof": roofs[name],
                "cap": cap(line),
            }
        points.append(point)
    return {
        "axes": [_axis(a) for a in grid.axes],
        "metrics": [{"name": m.name, "label": m.label.replace("token", made), "better": m.better} for m in METRICS],
        "start": {
            "view": "pareto" if grid.searched else "lines",
            "x": grid.columns.path if grid.columns and not grid.searched else "",
            "series": grid.series.path if grid.series else "",
            "panel": ""
            if grid.searched
            else next((a.path for a in grid.others if a != grid.columns and 1 < len(a.values) <= 12), ""),
        },
        "kinds": [{"name": kind.replace("_", " "), "colour": op_style(kind)[0]} for kind in kinds],
        "notes": list(notes),
        "roofs": listed,
        "size": len(points) if grid.searched else grid.size,
        "points": points,
    }


def _axis(axis: Axis) -> dict[str, Any]:
    numbers = axis.numbers
    return {"path": axis.path, "name": axis.name, "labels": axis.labels, "numbers": numbers and list(numbers)}


def op_seconds(line: Line) -> dict[str, float]:
    """Seconds of a step by op kind."""
    return {row["name"]: row["cycles"] / line["cycles"] * line["seconds"] for row in line["by_op"]}
