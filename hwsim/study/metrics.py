"""What is measured at a point of a study: each number with its name, unit and rule, for tables and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a point.

    name:   column of a table; the unit is part of it.
    label:  axis of a figure, with the unit.
    better: "high" or "low" if one direction is better, else "".
    of:     the number of a line of `points.jsonl`; None if the point has none.
    """

    name: str
    label: str
    better: str
    of: Callable[[Line], float | None]


def tokens(line: Line) -> float | None:
    """Tokens of one step of all sequences; None where the step makes none.

    A whole number is given as such, so that points with equal bytes have equal bytes per token to the last bit.
    """
    speed = line["tokens_per_second"]
    if not speed:
        return None
    made: float = speed * line["seconds"]
    return round(made) if abs(made - round(made)) <= 1e-9 * made else made


def step_unit(lines: Iterable[Line]) -> str:
    """What the points make one of per sequence: a token; a sample where all of them are steps of graphs."""
    units = {line["config"].get("unit", "token") for line in lines}
    return units.pop() if len(units) == 1 else "token"


def per_token(line: Line, amount: float | None) -> float | None:
    """`amount` of a step per token."""
    made = tokens(line)
    return amount / made if made and amount is not None else None


def fits(line: Line) -> bool:
    """Whether the run fits in the machine's memory."""
    return not line["memory"] or bool(line["memory"]["fits"])


def _per_sequence(line: Line) -> float | None:
    speed = line["tokens_per_second"]
    return speed / line["config"]["batch"] if speed else None


def _busy(server: str) -> Callable[[Line], float | None]:
    return lambda line: line["utilization"].get(server)


METRICS = (
    Metric("tokens_per_second", "tokens/s", "high", lambda line: line["tokens_per_second"]),
    Metric("tokens_per_second_per_sequence", "tokens/s per sequence", "high", _per_sequence),
    Metric("seconds", "time of a step, s", "low", lambda line: line["seconds"]),
    Metric("cycles", "cycles of a step", "low", lambda line: line["cycles"]),
    Metric("bound_seconds", "bound of a step, s", "low", lambda li: li["seconds"] * li["bound_cycles"] / li["cycles"]),
    Metric("over_bound", "time over bound - 1", "low", lambda line: line["cycles"] / line["bound_cycles"] - 1),
    Metric("dram_bytes", "DRAM bytes per step, B", "low", lambda line: line["dram_bytes"]),
    Metric("dram_bytes_per_token", "DRAM bytes per token, B", "low", lambda line: per_token(line, line["dram_bytes"])),
    Metric("macs", "MACs per step", "", lambda line: line["macs"]),
    Metric("macs_per_second", "MAC/s, whole step", "high", lambda line: line["macs"] / line["seconds"]),
    Metric(
        "macs_per_dram_byte",
        "MACs per DRAM byte",
        "",
        lambda line: line["macs"] / line["dram_bytes"] if line["dram_bytes"] else None,
    ),
    Metric("dram_busy", "DRAM busy, share of the time", "", _busy("dram")),
    Metric("dot_busy", "dot array busy, share of the time", "", _busy("dot")),
    Metric("memory_bytes", "memory held, B", "low", lambda line: line["memory"] and line["memory"]["total"]),
    Metric("energy_joules", "energy of a step, J", "low", lambda line: line["energy_joules"]),
    Metric(
        "energy_joules_per_token", "energy per token, J", "low", lambda line: per_token(line, line["energy_joules"])
    ),
    Metric("area_mm2", "area, mm2", "low", lambda line: line["area_mm2"]),
)
