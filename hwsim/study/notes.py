"""The notes of a study's points as a list for its page: each note once, with the points that have it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from hwsim.files.tables import markdown_text
from hwsim.study.grid import Choice, Grid, plain

#: A page lists at most so many notes; the file of points has them all.
MOST_NOTES = 40
_MOST_LABELS = 6
_FIGURES = re.compile(r"(?<![\w^-])\d[\d,.]*\b")  # a number by itself: not mxfp4, not 2^-133


def notes_list(grid: Grid, said: Collection[str] = ()) -> str:
    """Each note of the finished points with where it holds, in grid order; "" if no point has a note.

    said: notes that the page has elsewhere. Notes that differ only in their figures, such as the bytes that a cache
    needs, are one entry with the first figures.
    """
    found: dict[str, dict[Choice, str]] = {}
    for choice in sorted(grid.lines):
        for note in (each for each in grid.lines[choice]["notes"] if each not in said):
            found.setdefault(_FIGURES.sub("#", note), {})[choice] = note
    if not found:
        return ""
    rows = []
    for texts in list(found.values())[:MOST_NOTES]:
        first = next(iter(texts.values()))
        other = "; the figures of the first" if len(set(texts.values())) > 1 else ""
        rows.append(markdown_text(f"- {_where(grid, texts.keys())}{other}: {first}."))
    if len(found) > MOST_NOTES:
        rows.append(f"- {len(found) - MOST_NOTES:,} more notes are in the file of points.")
    return "\n".join(["Notes of the points:", "", *rows])


def _where(grid: Grid, choices: Iterable[Choice]) -> str:
    """The points that have a note: all of them; those with some values on an axis; or how many of the points there."""
    some = set(choices)
    if len(some) == len(grid.lines):
        return "All points"
    kept = [{choice[i] for choice in some} for i in range(len(grid.axes))]
    there = [choice for choice in grid.lines if all(i in values for i, values in zip(choice, kept, strict=True))]
    parts = []
    for i, (axis, values) in enumerate(zip(grid.axes, kept, strict=True)):
        if values != {choice[i] for choice in grid.lines}:
            labels = [axis.labels[value] for value in sorted(values)]
            few = labels if len(labels) <= _MOST_LABELS else [f"{len(labels)} values from {labels[0]} to {labels[-1]}"]
            parts.append(f"{plain(axis.name)} {'; '.join(few)}")
    where = ", ".join(parts)
    if len(there) == len(some):
        return where[0].upper() + where[1:]
    return f"{len(some):,} of {len(there):,} points" + (f" with {where}" if where else "")
