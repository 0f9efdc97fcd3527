"""KV cache against SSM state over the context: the bytes of both, and where they are equal."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hwsim.files.tables import markdown, markdown_text
from hwsim.study.grid import Grid
from hwsim.study.metrics import Line
from hwsim.study.panels import canvas, plain_log, scale_x, style

Held = dict[int, list[tuple[int, int, int]]]


def cache_rows(grid: Grid) -> Held:
    """Series -> (context, KV bytes, SSM state bytes) per sequence; empty unless the study varies the context."""
    if not grid.x or grid.x.path != "run.context":
        return {}
    panel = grid.panels()[len(grid.panels()) // 2]
    rows: Held = {}
    for s, _, line in grid.at(panel):
        config, memory = line["config"], line["memory"]
        if memory and memory["kv"] and memory["state"]:
            state = (memory["state"] - conv_bytes(line)) // config["batch"]
            rows.setdefault(s, []).append((config["context"], memory["kv"] // config["batch"], state))
    return {s: sorted(some) for s, some in rows.items()}


def conv_bytes(line: Line) -> int:
    """Bytes of convolution state of a point: the last inputs of each channel, in bf16.

    0 for a model made of `parts:`, whose states of every kind count as one.
    """
    model, batch = line["config"]["model"], line["config"]["batch"]
    m = model.get("mamba2")
    if m is None:
        return 0
    channels = m["heads"] * m["head_dim"] + 2 * m["groups"] * m["state"]
    return 2 * batch * model["layers"].count("M") * channels * (m["conv_kernel"] - 1)


def crossing(rows: list[tuple[int, int, int]]) -> tuple[float, float] | None:
    """(tokens, bytes) at which the KV cache becomes larger than the state, interpolated linearly between two points."""
    for (c0, kv0, s0), (c1, kv1, s1) in zip(rows, rows[1:], strict=False):
        if kv0 < s0 and kv1 >= s1:
            share = Fraction(s0 - kv0, (kv1 - kv0) - (s1 - s0))
            return float(c0 + share * (c1 - c0)), float(s0 + share * (s1 - s0))
    return None


def crossing_table(grid: Grid, held: Held) -> str:
    """Context lengths at which KV cache and state are equal in memory, and equal in the traffic of a decode step.

    A decode step reads the cache once, and reads and writes the state.
    """
    header = ["model", "SSM state, MB", "KV, B per token", "equal in memory at", "equal in traffic per step at"]
    body = []
    for s, rows in sorted(held.items()):
        (c0, kv0, _), (c1, kv1, state) = rows[0], rows[-1]
        twice = crossing([(c, kv, 2 * st) for c, kv, st in rows])
        at = [f"{found[0]:,.0f} tokens" if found else "-" for found in (crossing(rows), twice)]
        name = markdown_text(grid.series.labels[s]) if grid.series else "-"
        body.append([name, f"{state / 1e6:,.1f}", f"{(kv1 - kv0) / (c1 - c0):,.0f}" if c1 > c0 else "-", *at])
    return markdown(header, body)


def cache_figure(grid: Grid, held: Held) -> Any:
    """Bytes of KV cache and SSM state per sequence over the context, and the points where they cross."""
    plt = canvas()
    figure, ax = plt.subplots(figsize=(8.4, 4.4), layout="constrained")
    for s, rows in sorted(held.items()):
        label = grid.series.labels[s] if grid.series else ""
        contexts = [c for c, _, _ in rows]
        look = style(s)
        ax.plot(contexts, [kv / 1e6 for _, kv, _ in rows], **look, markersize=4, label=f"{label}, KV cache".strip(", "))
        ax.plot(contexts, [st / 1e6 for _, _, st in rows], color=look["color"], linestyle=":", linewidth=1.6,
                label=f"{label}, SSM state".strip(", "))  # fmt: skip
        cross = crossing(rows)
        if cross:
            tokens, nbytes = cross
            ax.plot(tokens, nbytes / 1e6, "o", markersize=9, markerfacecolor="none", markeredgecolor="black")
            ax.annotate(f"{tokens:,.0f} tokens", (tokens, nbytes / 1e6), xytext=(9, -13), textcoords="offset points",
                        fontsize=8)  # fmt: skip
    ax.set_yscale("log")
    scale_x(ax, grid)
    ax.set_xlabel(grid.along_x()[0].name)
    ax.set_ylabel("MB per sequence")
    plain_log(ax.yaxis)
    ax.set_title(grid.heading(), fontsize=10)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
