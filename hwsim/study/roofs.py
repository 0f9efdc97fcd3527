"""The limits of a point's machine: memory bandwidth, peak rates, and the server that limits the point itself."""

from __future__ import annotations

from hwsim.study.grid import number
from hwsim.study.metrics import Line


def machine_roof(line: Line) -> tuple[float, dict[str, float]]:
    """(bytes per second of the memory, MACs per second by pair of formats) of a point's machine."""
    machine = line["config"]["machine"]
    clock, bandwidth = number(machine["clock"]), machine["dram"]["bandwidth"]
    assert clock is not None, "a machine that was loaded has a frequency as its clock"
    rate = (number(bandwidth) or 0.0) * (clock if "cycle" in bandwidth else 1)
    peaks: dict[str, float] = {}
    for r in machine["dot"]["rates"]:
        peak = (number(r["rate"]) or 0.0) * (clock if "cycle" in r["rate"] else 1)
        name = r["weights"] if r["weights"] == r["activations"] else f"{r['weights']} x {r['activations']}"
        peaks[name] = peak
    return rate, peaks


def cap(line: Line) -> float | None:
    """MACs per second at which the server that limits a point would be busy all the time.

    None if the memory or the dot array is the limit: their roofs are lines for all points.
    """
    server, busy = line["limited_by"], line["utilization"]
    if server in ("dram", "dot") or not busy.get(server):
        return None
    rate: float = line["macs"] / line["seconds"] / busy[server]
    return rate
