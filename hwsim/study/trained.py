"""What a training step of a study has beside a run: MFU, what communication and waiting stages add, memory."""

from __future__ import annotations

from hwsim.files.tables import bytes_text, markdown, markdown_text, seconds_text
from hwsim.study.grid import Grid, plain
from hwsim.study.metrics import Line, Metric, fits

#: Points that a page lists.
MOST_POINTS = 2_000


def _share(name: str) -> Metric:
    """Seconds of a step as a share of it."""
    label = f"{name}, share of the step"
    return Metric(f"{name}_share", label, "low", lambda li: share(li, f"{name}_seconds"))


def share(line: Line, name: str) -> float | None:
    """Seconds of a step as a share of it; None of a result by an earlier version."""
    return max(0.0, line[name]) / line["seconds"] if line.get(name) is not None else None


TRAIN_METRICS = (
    Metric("tokens_per_second_per_chip", "tokens/s per chip", "high", lambda li: li["tokens_per_second"] / li["chips"]),
    Metric("mfu", "model FLOP over the peak's", "high", lambda line: line.get("mfu")),
    _share("exposed"),
    _share("idle"),
    Metric("chips", "chips", "low", lambda line: line["chips"]),
)


def trained(grid: Grid) -> bool:
    """Whether the points of a study are training steps."""
    return all(line["phase"] == "train" for line in grid.lines.values())


def train_table(grid: Grid) -> str:
    """One row per point, the highest MFU first; points that do not fit come last."""
    axes = [axis for axis in grid.axes if len(axis.values) > 1] or list(grid.axes)
    order = sorted(grid.lines, key=lambda c: (not fits(grid.lines[c]), -(grid.lines[c].get("mfu") or 0.0), c))
    rows = []
    for choice in order[:MOST_POINTS]:
        line, place = grid.lines[choice], grid.place(choice)
        values = [metric.of(line) for metric in TRAIN_METRICS[1:4]]
        rows.append(
            [
                *(markdown_text(axis.labels[place[axis.path]]) for axis in axes),
                f"{line['chips']:,}",
                f"{line['tokens_per_second'] / line['chips']:,.0f}",
                seconds_text(line["seconds"]),
                *("-" if value is None else f"{100 * value:.1f} %" for value in values),
                f"{bytes_text(line['memory']['total'])}{'' if fits(line) else ' (does not fit)'}",
            ]
        )
    head = [*(markdown_text(plain(axis.name)) for axis in axes), "chips", "per second and chip", "step", "MFU"]
    text = markdown([*head, "exposed", "idle", "memory per chip"], rows).split("\n")
    text[1] = "|" + " --- |" * len(axes) + " ---: |" * 7
    less = f" {len(rows):,} of {len(order):,} points shown." if len(rows) < len(order) else ""
    said = (
        "The steps, the highest MFU first, those that do not fit in memory last. MFU: model FLOP over the dense peak; "
        "exposed: what communication adds to the step; idle: stages that wait for one another; memory: of one chip of "
        f"the stage that needs most.{less}"
    )
    return f"{said}\n\n" + "\n".join(text)
