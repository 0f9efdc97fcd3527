"""What a point under load has measured, and how the points of such a study fall into curves."""

from __future__ import annotations

from collections.abc import Iterable

from hwsim.jobs.serving.arrivals import read_rate
from hwsim.jobs.serving.capacity import ATTAINED
from hwsim.study.grid import Axis, Choice, Grid, plain
from hwsim.study.metrics import Line, Metric

#: Axes along which a deployment is loaded more and more; every other axis makes another deployment.
PRESSURE = ("run.rate", "run.concurrency")
#: Curves that a figure draws; the others are in the table.
MOST_CURVES = 14


def _spread(name: str, at: str, label: str) -> Metric:
    return Metric(f"{name}_{at}_seconds", label, "low", lambda line: line[name] and line[name][at])


#: The columns of a table of points under load.
LOAD_METRICS = (
    Metric("tokens_per_second", "output tokens/s", "high", lambda li: li["tokens_per_second"]),
    Metric("tokens_per_second_per_chip", "tokens/s per chip", "high", lambda li: li["tokens_per_second_per_chip"]),
    Metric("tokens_per_second_per_user", "tokens/s per user", "high", lambda li: li["tokens_per_second_per_user"]),
    Metric("goodput", "good requests/s", "high", lambda line: line["goodput"]),
    Metric("goodput_per_chip", "good requests/s per chip", "high", lambda line: line["goodput_per_chip"]),
    Metric("attained", "share of requests that meet all limits", "high", lambda line: line["attained"]),
    Metric("highest_rate", "highest rate that meets the limits, requests/s", "high", lambda li: li.get("highest_rate")),
    *(
        _spread(name, at, f"{label} {at}, s")
        for name, label in (("ttft", "TTFT"), ("tpot", "TPOT"), ("itl", "ITL"), ("e2e", "E2E"))
        for at in ("mean", "p50", "p90", "p99")
    ),
    Metric("seconds", "time of the run, s", "", lambda line: line["seconds"]),
    Metric("requests", "requests served", "", lambda line: line["requests"]),
    Metric("refused", "requests refused", "low", lambda line: len(line["refused"])),
    Metric("chips", "chips", "low", lambda line: line["chips"]),
    Metric("running_mean", "sequences that run, mean", "", lambda line: line["running"][0]),
    Metric("waiting_mean", "sequences that wait, mean", "low", lambda line: line["waiting"][0]),
    Metric("kv_mean", "share of the KV blocks held, mean", "", lambda line: line["kv"][0]),
    Metric("preemptions", "preemptions", "low", lambda line: line["preemptions"]),
    Metric("energy_joules_per_token", "energy per output token, J", "low", lambda li: li["energy_joules_per_token"]),
)


def under_load(grid: Grid) -> bool:
    """Whether the points of a study are loads; a study has no points of both kinds."""
    return any(line["phase"] == "serve" for line in grid.lines.values())


def pressure(line: Line) -> float | None:
    """How much a point is loaded: requests/s that arrive, or users; None for a trace."""
    load = line["config"]["load"]
    if "rate" in load:
        return read_rate(load["rate"])
    return load.get("users")


def by_users(grid: Grid) -> bool:
    """Whether the points are loaded by so many users, not by a rate."""
    return all("users" in line["config"]["load"] for line in grid.lines.values())


def deployments(grid: Grid) -> tuple[Axis, ...]:
    """The axes that make another deployment, one that is not served alike."""
    left = (*PRESSURE, *grid.idle)
    return tuple(axis for axis in grid.axes if axis.path not in left and len(axis.values) > 1)


def curves(grid: Grid) -> dict[str, list[Line]]:
    """The points of each deployment, the least loaded first, in grid order."""
    some = deployments(grid)
    found: dict[str, list[Line]] = {}
    for choice, line in sorted(grid.lines.items()):
        found.setdefault(_name(grid, some, choice), []).append(line)
    return {name: sorted(lines, key=lambda line: pressure(line) or 0.0) for name, lines in found.items()}


def _name(grid: Grid, axes: Iterable[Axis], choice: Choice) -> str:
    place = grid.place(choice)
    return ", ".join(f"{plain(axis.name)} {axis.labels[place[axis.path]]}" for axis in axes)


def speeds(line: Line) -> tuple[float, float] | None:
    """(tokens/s per user, output tokens/s per chip); None where no request has two tokens."""
    user = line["tokens_per_second_per_user"]
    return (user, line["tokens_per_second_per_chip"]) if user else None


def meets(line: Line) -> bool:
    """Whether 99 % of the requests meet the limits; without limits, all do."""
    return line["attained"] is None or line["attained"] >= ATTAINED


def pareto(lines: list[Line]) -> list[Line]:
    """The points that meet the limits and that no other such point beats in both speeds, by the speed of a user."""
    good = [(both, line) for line in lines if (both := speeds(line)) and meets(line)]
    best = [
        (both, line)
        for both, line in good
        if not any(a >= both[0] and b >= both[1] and (a, b) != both for (a, b), _ in good)
    ]
    return [line for _, line in sorted(best, key=lambda each: each[0])]
