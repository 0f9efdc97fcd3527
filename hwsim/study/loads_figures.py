"""Figures of a study under load: latency against throughput, goodput against rate, and the Pareto front of users."""

from __future__ import annotations

from textwrap import fill
from typing import Any

from hwsim.jobs.serving.figures import Slo
from hwsim.study.grid import Grid
from hwsim.study.loads import MOST_CURVES, by_users, curves, meets, pareto, pressure, speeds
from hwsim.study.metrics import Line
from hwsim.study.panels import canvas, plain_log, style

#: Characters of a line in a legend.
LABEL = 44


def drawn(grid: Grid) -> dict[str, list[Line]]:
    """The curves that the figures draw: of all, or of the first ones where there are many."""
    return dict(list(curves(grid).items())[:MOST_CURVES])


def left_out(grid: Grid) -> str:
    """A sentence, after a space, if a figure does not draw every curve; else ""."""
    there = len(curves(grid))
    return f" The first {MOST_CURVES} of {there} deployments are drawn." if there > MOST_CURVES else ""


def _figure(grid: Grid, across: int, title: str) -> tuple[Any, list[Any]]:
    figure, axes = canvas().subplots(1, across, figsize=(5.2 * across + 2.4, 4.0), squeeze=False, layout="constrained")
    # Above the figure, not in it: beside a legend as wide as these there is no room for a title.
    figure.suptitle(f"{title}: {grid.heading()}", fontsize=10, x=0.012, y=1.0, ha="left", va="bottom")
    return figure, list(axes.flat)


def _legend(figure: Any, ax: Any) -> None:
    handles, labels = ax.get_legend_handles_labels()
    shown = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label]
    if shown:
        shown = [(handle, fill(label, LABEL)) for handle, label in shown]
        figure.legend(*zip(*shown, strict=True), loc="outside right upper", frameon=False, fontsize=8)


def limits(grid: Grid) -> dict[str, float]:
    """The limits in seconds, if all points have the same."""
    texts = {line["config"]["load"].get("slo") for line in grid.lines.values()}
    return dict(Slo.of(texts.pop()).limits) if len(texts) == 1 else {}


def latency_figure(grid: Grid) -> Any:
    """TTFT and TPOT, p50 dotted and p99 whole, against output tokens/s per chip; from left to right the load grows."""
    figure, axes = _figure(grid, 2, "Latency against throughput")
    held = limits(grid)
    for ax, name, label in zip(axes, ("ttft", "tpot"), ("TTFT, s", "TPOT, s"), strict=True):
        for i, (series, lines) in enumerate(drawn(grid).items()):
            some = [line for line in lines if line[name]]
            x = [line["tokens_per_second_per_chip"] for line in some]
            look = style(i) | {"markersize": 4}
            ax.plot(x, [line[name]["p99"] for line in some], label=series, **look)
            ax.plot(
                x, [line[name]["p50"] for line in some], **(look | {"linestyle": ":", "linewidth": 1, "marker": ""})
            )
        if name in held:
            ax.axhline(held[name], color="#777777", linestyle="--", linewidth=1)
            ax.annotate(
                "limit", (1, held[name]), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="bottom"
            )
        ax.set_yscale("log")
        plain_log(ax.yaxis)
        ax.set_xlim(left=0)
        ax.set_xlabel("output tokens/s per chip")
        ax.set_ylabel(f"{label}: p99, and p50 dotted")
    _legend(figure, axes[0])
    return figure


def goodput_figure(grid: Grid) -> Any:
    """Good requests/s against what is offered; on the grey line every request is good."""
    figure, (ax,) = _figure(grid, 1, "Goodput against load")
    users, most = by_users(grid), 0.0
    for i, (series, lines) in enumerate(drawn(grid).items()):
        some = [(pressure(line), line["goodput"]) for line in lines if line["goodput"] is not None]
        x = [load for load, _ in some if load is not None]
        most = max([most, *x])
        ax.plot(x, [good for load, good in some if load is not None], label=series, **(style(i) | {"markersize": 4}))
    if not users:
        ax.plot([0, most], [0, most], color="#777777", linestyle="--", linewidth=1)
    best = max((line["goodput"] or 0.0 for lines in drawn(grid).values() for line in lines), default=0.0)
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.1 * best or 1.0)
    ax.set_xlabel("users" if users else "requests/s that arrive")
    ax.set_ylabel("requests/s that meet all limits")
    _legend(figure, ax)
    return figure


def users_figure(grid: Grid) -> Any:
    """Tokens/s per user against output tokens/s per chip; hollow: limits are missed; joined: the Pareto front."""
    figure, (ax,) = _figure(grid, 1, "Speed of a user against that of a chip")
    for i, (series, lines) in enumerate(drawn(grid).items()):
        look = style(i) | {"markersize": 5, "linestyle": ""}
        named = False
        for filled in (True, False):
            points = [both for line in lines if (both := speeds(line)) and meets(line) == filled]
            if points:
                face = {} if filled else {"markerfacecolor": "none"}
                ax.plot(*zip(*points, strict=True), label="" if named else series, **look, **face)
                named = True
    best = pareto(list(grid.lines.values()))
    if best:
        ax.plot(*zip(*map(speeds, best), strict=True), color="#777777", linewidth=1, zorder=0)
    found = [both for lines in drawn(grid).values() for line in lines if (both := speeds(line))]
    ax.set_xlim(0, 1.06 * max(user for user, _ in found))
    ax.set_ylim(0, 1.06 * max(chip for _, chip in found))
    ax.set_xlabel("tokens/s per user (1 / mean TPOT)")
    ax.set_ylabel("output tokens/s per chip")
    _legend(figure, ax)
    return figure
