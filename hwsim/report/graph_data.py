"""Graphs of a file as text: nodes, edges, and how evenly their nodes fill the sites of a latent structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.files.tables import table
from hwsim.formats.format import Format
from hwsim.workload.graph.data import GraphData
from hwsim.workload.graph.sites import Assign
from hwsim.workload.graph.tensor import Given, Tensor


@dataclass(frozen=True, slots=True)
class Sites:
    """Sums over graphs. fullest: nodes of a graph's fullest site over the mean of its sites, averaged over graphs.

    empty: share of the sites without a node. moved: share of the nodes that a format sends to another site.
    """

    fullest: float
    empty: float
    moved: float | None


def sites(graphs: Sequence[GraphData], mode: str, count: int, form: Format | None = None, seed: int = 1) -> Sites:
    """Assignment of each graph's nodes to `count` sites. mode: hard, by N(0, 1/d) weights; or sort."""
    d = graphs[0].features.shape[1]
    weights = {"weight": (np.random.default_rng(seed).standard_normal((count, d)) / d**0.5).astype(np.float32)}
    fullest, empty, moved, nodes = 0.0, 0, 0, 0
    for graph in graphs:
        given = Given("x", Tensor(graph.features.shape))
        made = Tensor((graph.nodes,), count)
        node = Assign(name="site", given=(given,), made=made, mode=mode, sites=count)
        found = node.value([graph.features], weights)
        held = np.bincount(found, minlength=count)
        fullest += held.max() * count / graph.nodes
        empty += int((held == 0).sum())
        nodes += graph.nodes
        if form:
            rounded = node.value([graph.features], weights, lambda x, what: x if what == "vector" else form.quantize(x))
            moved += int((rounded != found).sum())
    n = len(graphs)
    return Sites(fullest / n, empty / (n * count), moved / nodes if form else None)


def data_text(name: str, graphs: Sequence[GraphData], found: Sites, mode: str, count: int, form: str | None) -> str:
    """The graphs of one file."""
    rows = []
    for what, values in (
        ("nodes", [g.nodes for g in graphs]),
        ("directed edges", [g.edges.shape[1] for g in graphs]),
        ("largest degree", [int(g.degrees.max(initial=0)) for g in graphs]),
    ):
        rows.append([what, f"{np.mean(values):,.1f}", f"{min(values):,}", f"{max(values):,}"])
    labels = len({g.label for g in graphs} - {None})
    head = f"{name}: {len(graphs):,} graphs, {graphs[0].features.shape[1]} features per node"
    head += f", {labels} classes" if labels else ""
    lines = [head, "", table(["per graph", "mean", "least", "most"], rows), ""]
    fullest, empty = f"{found.fullest:.2f}", f"{100 * found.empty:.1f}"
    lines.append(f"{count} sites, {mode}: the fullest holds {fullest} times the mean, {empty} % are empty")
    if found.moved is not None:
        lines.append(f"{form} sends {100 * found.moved:.2f} % of the nodes to another site than float32")
    return "\n".join(lines)
