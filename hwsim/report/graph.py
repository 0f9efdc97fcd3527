"""Graph workloads as text: what they count, class by class."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.files.tables import table
from hwsim.workload.graph.graph import Graph
from hwsim.workload.op import StepOptions


def graph_table(graphs: Sequence[Graph]) -> str:
    """One line per graph; multiply-adds and rows are those of one sample."""
    rows = []
    for g in graphs:
        counts = g.counts()
        rows.append(
            [g.name, str(len(g.nodes)), f"{g.total / 1e6:,.3f}", f"{counts.macs / 1e6:,.3f}", f"{counts.rows:,}"]
        )
    return table(["graph", "nodes", "parameters, 1e6", "MACs per sample, 1e6", "irregular rows"], rows)


def graph_text(graph: Graph) -> str:
    """One graph: weights by class, and what one sample takes, beside what is published."""
    by_class: dict[str, int] = {}
    for each in graph.stored(StepOptions()):
        by_class[each.weights] = by_class.get(each.weights, 0) + each.elements
    rows = [[name, f"{count:,}"] for name, count in by_class.items()]
    rows.append(["total", f"{graph.total:,}"])
    if graph.published_parameters:
        rows.append(["published", f"{graph.published_parameters:,.0f}"])
    counts = graph.counts()
    sample = [["multiply-adds", f"{counts.macs:,}"]]
    if graph.published_macs:
        sample.append(["published", f"{graph.published_macs:,.0f}"])
    sample += [["vector passes", f"{counts.vector:,}"], ["irregular rows", f"{counts.rows:,}"]]
    sample += [["activations read", f"{counts.inputs:,}"], ["activations written", f"{counts.outputs:,}"]]
    head = f"{graph.name}: {graph.description or 'a graph'}, {len(graph.nodes)} nodes"
    return "\n\n".join((head, table(["weight class", "elements"], rows), table(["per sample", "count"], sample)))
