"""Notes of a study's points: each note once, with the points that have it and no others."""

import json

import pytest

from hwsim.study.grid import Axis, Grid, read_grid
from hwsim.study.notes import MOST_NOTES, notes_list
from hwsim.study.page import write_page
from tests.study.test_study_report import small

WEIGHTS, BATCH = Axis("run.weights", ("int8", "mxfp4", "mxfp6")), Axis("run.batch", (1, 2))


def grid_of(notes, axes=(WEIGHTS, BATCH)):
    """A grid of points that have nothing but notes. notes: of a choice."""
    lines = {(a, b): {"notes": notes(a, b)} for a in range(len(axes[0].values)) for b in range(len(axes[1].values))}
    return Grid("t", "", "t", "0", tuple(axes), lines, {}, 0)


def rows(grid, said=()):
    return [line for line in notes_list(grid, said).splitlines() if line.startswith("- ")]


@pytest.mark.parametrize(
    ("has", "where"),
    [
        (lambda a, b: True, "All points"),
        (lambda a, b: a > 0, "Weights mxfp4; mxfp6"),
        (lambda a, b: b == 1, "Batch 2"),
        (lambda a, b: a == 1 and b == 0, "Weights mxfp4, batch 1"),
        (lambda a, b: (a, b) in ((0, 0), (1, 0), (1, 1)), "3 of 4 points with weights int8; mxfp4"),
        (lambda a, b: (a, b) in ((0, 0), (1, 1), (2, 0)), "3 of 6 points"),
    ],
)
def test_where_a_note_holds(has, where):
    assert rows(grid_of(lambda a, b: ["slow"] if has(a, b) else [])) == [f"- {where}: slow."]


def test_notes_that_differ_in_figures_are_one_and_formats_are_no_figures():
    grid = grid_of(lambda a, b: [f"{WEIGHTS.values[a]} is converted", f"needs {a}{b}.5 MB of 2^-133"])
    assert rows(grid) == [
        "- Weights int8: int8 is converted.",
        "- All points; the figures of the first: needs 00.5 MB of 2^-133.",
        "- Weights mxfp4: mxfp4 is converted.",
        "- Weights mxfp6: mxfp6 is converted.",
    ]


def test_notes_that_the_page_has_elsewhere_are_left_out_and_none_is_no_list():
    grid = grid_of(lambda a, b: ["both"] + ["one"] * (a == 0))
    assert rows(grid, ["both"]) == ["- Weights int8: one."]
    assert notes_list(grid, ["both", "one"]) == "" == notes_list(grid_of(lambda a, b: []))


def test_more_notes_than_a_page_lists_are_counted():
    letters = [chr(ord("a") + i // 26) + chr(ord("a") + i % 26) for i in range(MOST_NOTES + 3)]
    found = rows(grid_of(lambda a, b: letters))
    assert len(found) == MOST_NOTES + 1 and found[-1] == "- 3 more notes are in the file of points."


def test_the_page_has_every_note_of_its_points(tmp_path):
    out = small(tmp_path, {"run.weights": ["int8", "mxfp4"], "run.batch": [1, 2]}, machine="b200")
    write_page(out)
    page = (out / "t.md").read_text()
    points = [json.loads(line) for line in (out / "points.jsonl").read_text().splitlines()]
    assert all(point["notes"] for point in points)
    found = rows(read_grid(out))
    assert found and all(row.replace("\\", "") in page.replace("\\", "") for row in found)
