"""Studies, and summaries of their runs, as text for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.files.tables import table
from hwsim.study.load import Study
from hwsim.study.work import Summary


def studies_text(studies: Sequence[Study]) -> str:
    """One line per study."""
    rows = [[s.name, f"{len(s.points):,}", s.description] for s in studies]
    widest = max(len(row[2]) for row in rows)
    return table(["study", "points", "question"], [[a, b, c.ljust(widest)] for a, b, c in rows])


def summary_text(summary: Summary) -> str:
    """Points simulated, kept and failed, with the errors, and the next command."""
    s = summary
    lines = [f"{s.study}: {s.points:,} points, {s.ran:,} simulated now, {s.kept:,} kept, {s.failed:,} failed"]
    for message, count in s.errors[:10]:
        lines.append(f"  failed      {count:,} x {message}")
    if len(s.errors) > 10:
        lines.append(f"  failed      ... and {len(s.errors) - 10} more kinds of error; the file has them all")
    folder = s.file.rpartition("/")[0]
    lines.append(f"  points      {s.file}  (JSON Lines, one line per point)")
    lines.append(f"  next        hwsim report {folder}")
    return "\n".join(lines)
