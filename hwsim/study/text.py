"""Studies, and summaries of their runs, as text for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwsim.files.tables import table
from hwsim.study.points import Study
from hwsim.study.work import Summary

if TYPE_CHECKING:  # numpy is loaded for a sampled study alone
    from hwsim.study.sampled import Sampled
    from hwsim.study.search import Found, Goal
    from hwsim.study.shards import Merged


def studies_text(studies: Sequence[Study]) -> str:
    """One line per study."""
    rows = [[s.name, f"{len(s.points):,}", s.description] for s in studies]
    widest = max(len(row[2]) for row in rows)
    return table(["study", "points", "question"], [[a, b, c.ljust(widest)] for a, b, c in rows])


def summary_text(summary: Summary) -> str:
    """Points simulated, kept and failed, with the errors, and the next command."""
    s = summary
    lines = [f"{s.study}: {s.points:,} points, {s.ran:,} simulated now, {s.kept:,} kept, {s.failed:,} failed"]
    lines += failures(s.errors)
    for place, (speed, settings) in enumerate(s.best):
        names = short_paths(settings)
        chosen = ", ".join(f"{names[path]} {_value(value)}" for path, value in settings.items())
        alike = s.alike[place] if place < len(s.alike) else 0
        more = f" (and {alike:,} more point{'s' * (alike > 1)} as fast)" if alike else ""
        known = f" ({s.known[place]})" if place < len(s.known) and s.known[place] != "-" else ""
        lines.append(f"  {'then' if place else 'fastest':<11} {speed:,.0f} {s.unit}/s{known}: {chosen}{more}")
    ideal = [known == "ideal" for known in s.known]
    if any(ideal) and not all(ideal):
        lines.append(
            "  note        ideal times are at a machine's peaks, which no software reaches: compare them with care"
        )
    folder = s.file.rpartition("/")[0]
    lines.append(f"  points      {s.file}  (JSON Lines, one line per point)")
    lines.append(f"  next        hwsim report {folder}")
    return "\n".join(lines)


def short_paths(paths: Iterable[str]) -> dict[str, str]:
    """The end of each path that no other path has: `bandwidth`; `regenerate.rate` beside `dequantise.rate`."""
    parts = {path: path.split(".") for path in paths}
    found = {}
    for path, names in parts.items():
        ends = (names[-n:] for n in range(1, len(names) + 1))
        found[path] = next(
            ".".join(end)
            for end in ends
            if len(end) == len(names) or not any(other[-len(end) :] == end for at, other in parts.items() if at != path)
        )
    return found


def failures(errors: Sequence[tuple[str, int]]) -> list[str]:
    """Ten errors at most, each with how many points have it."""
    lines = [f"  failed      {count:,} x {message}" for message, count in errors[:10]]
    if len(errors) > 10:
        lines.append(f"  failed      ... and {len(errors) - 10} more kinds of error; the file has them all")
    return lines


def _value(value: object) -> str:
    """A value of an axis on one line."""
    return ", ".join(f"{name}={one}" for name, one in value.items()) if isinstance(value, dict) else str(value)


def _objective(line: Mapping[str, Any], name: str, value: float) -> str:
    """An objective; that of a setting as it is asked for, with its unit."""
    return _value(line["point"][name]) if name in line["point"] else f"{value:.4g}"


def found_text(found: Found, goal: Goal) -> str:
    """The front of a search, best first by its first objective; at most 20 points."""
    f = found
    name, more = goal.objectives[0]
    front = sorted(f.front, key=lambda line: goal.values(line)[0], reverse=more)
    lines = [f"{f.study}: {f.trials:,} trials, {f.ran:,} points simulated now, {f.failed:,} failed"]
    lines += failures(f.errors)
    if front:
        names = [metric for metric, _ in goal.objectives]
        paths = list(dict.fromkeys(path for line in front for path in line["point"] if path not in names))
        rows = [
            [_objective(line, *each) for each in zip(names, goal.values(line), strict=True)]
            + [_value(line["point"].get(path, "-")) for path in paths]
            for line in front[:20]
        ]
        lines += ["", table([*names, *paths], rows, left=0), ""]
    else:
        none = "no point keeps the limits; loosen one, or try more points"
        lines.append(f"  front       {'all points have failed' if f.failed == f.points else none}")
    for objective, terms in goal.lacking(front).items():
        lines.append(f"  note        {objective} is without {', '.join(terms)}, which have no figure: a lower bound")
    if len(front) > 20:
        lines.append(f"  front       20 of {len(front):,} points shown; --json has them all")
    folder = f.file.rpartition("/")[0]
    lines.append(f"  points      {f.file}  (JSON Lines, one line per point)")
    lines.append(
        f"  next        hwsim report {folder}; or the same command with more --trials, which goes on from here"
    )
    return "\n".join(lines)


def merged_text(merged: Merged) -> str:
    """What was joined, and what is still missing."""
    m = merged
    lines = [f"{m.study}: {m.found:,} of {m.points:,} points, from {m.files} shards"]
    if m.other:
        lines.append(f"  kept        {m.other:,} lines of points that the study does not have (any more)")
    lines.append(f"  points      {m.file}  (JSON Lines, in grid order)")
    folder = m.file.rpartition("/")[0]
    missing = (
        "" if m.found == m.points else f"; {m.points - m.found:,} points are missing: run their shards, or no shard"
    )
    lines.append(f"  next        hwsim report {folder}{missing}")
    return "\n".join(lines)


def sampled_text(name: str, summary: Sampled, folder: str) -> str:
    """What was simulated, what is said of the rest, and where both are."""
    s = summary
    lines = [
        f"{name}: {s.fitted + s.checked:,} of {s.nodes:,} points simulated: {s.fitted:,} fitted, {s.checked:,} to "
        f"check; {s.predicted:,} predicted, {s.failed:,} failed"
    ]
    for metric, stated in s.stated.items():
        lines.append(
            f"  stated      {metric}: with {stated.confidence:.0%} confidence, {stated.quantile:.0%} of the points "
            f"neither fitted nor checked are within {stated.relative_error:.1%} (mean of the checks "
            f"{stated.mean_error:.1%})"
        )
    if not s.reached:
        lines.append("  not reached the error asked for with --within; the study has no more points to simulate")
    lines.append(f"  points      {folder}/points.jsonl  (simulated points only)")
    lines.append(f"  predicted   {folder}/predicted.jsonl")
    lines.append(f"  next        hwsim report {folder}; or the same study without --sample, which goes on from here")
    return "\n".join(lines)
