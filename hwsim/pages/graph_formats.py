"""How number formats change LFDS: the sites that nodes are sent to, and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.files.tables import markdown
from hwsim.formats import get_format
from hwsim.workload import load_model
from hwsim.workload.graph.graph import Graph
from hwsim.workload.graph.sites import Assign
from hwsim.workload.graph.values import Quantize, evaluate, random_weights

FORMATS = (
    "bf16", "fp8_row", "int8", "mx9", "mxint8", "mxfp8_e4m3", "mxfp8_e5m2", "mx6", "mxfp6_e2m3", "nvfp4", "mxfp4_e2m1",
    "mx4",
)  # fmt: skip
NETS = ("lfds-loop", "lfds-sequence", "lfds-graph")
#: Clouds, each with weights of its own.
CLOUDS = 8
NODES = 1024

Array = np.ndarray[Any, np.dtype[Any]]


def cast(name: str) -> Quantize:
    """Weights and activations in the format along the reduction; results of the vector unit stay as they are."""
    form = get_format(name)
    return lambda x, what: x if what == "vector" else form.quantize(x)


def clouds(graph: Graph, seed: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Points on a sphere with noise, and random weights."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((NODES, 3))
    x = x / np.linalg.norm(x, axis=1, keepdims=True) + 0.1 * draw.standard_normal((NODES, 3))
    return {"points": x.astype(np.float32)}, random_weights(graph, seed)


@dataclass(frozen=True, slots=True)
class Change:
    """Of one format on one network: shares of the nodes that go to another site, and relative errors (RMS).

    own: the scores alone are rounded (None: there are none, or no site is chosen); moved: all that comes before them
    too (None: no site is chosen); near: share of those moved nodes that go to the next site or the one before.
    sites: of what the sites hold; logits: of the results.
    """

    own: float | None
    moved: float | None
    near: float
    sites: float
    logits: float


def change(net: str, name: str) -> Change:
    """Means over clouds."""
    graph = load_model(net)
    assert isinstance(graph, Graph), "the shipped LFDS files are graphs"
    graph = graph if graph.inputs[0].shape[0] == NODES else load_model(net, [("sizes.n", str(NODES))])
    site = next(node for node in graph.nodes if isinstance(node, Assign))
    quantize, found = cast(name), []
    for seed in range(CLOUDS):
        inputs, weights = clouds(graph, seed)
        exact, rounded = evaluate(graph, inputs, weights), evaluate(graph, inputs, weights, quantize)
        mine = {each.name: weights[f"{site.name}.{each.name}"] for each in site.weights}
        alone = site.value([exact[site.given[0].name]], mine, quantize)
        own, moved = (float(np.mean(one != exact[site.name])) for one in (alone, rounded[site.name]))
        steps = np.abs(rounded[site.name] - exact[site.name])
        near = float(np.mean(steps[steps > 0] == 1)) if moved and steps.any() else 0.0
        found.append((own, moved, near, error(exact["z"], rounded["z"]), error(exact["logits"], rounded["logits"])))
    own, moved, near, z, logits = (sum(column) / CLOUDS for column in zip(*found, strict=True))
    hard, soft = site.mode == "hard", site.mode == "soft"  # a sort multiplies nothing that could be rounded
    return Change(own if hard else None, None if soft else moved, near, z, logits)


def error(exact: Array, rounded: Array) -> float:
    """Root mean square of the differences over that of the exact values."""
    return float(np.linalg.norm(rounded - exact) / np.linalg.norm(exact))


def formats_table(found: dict[tuple[str, str], Change]) -> str:
    """A line per format; of each network its moved nodes and errors."""

    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    rows = []
    for name in FORMATS:
        cells = [name, f"{float(get_format(name).bits_per_value):.4g}"]
        for net in NETS:
            one = found[net, name]
            cells += [share(one.own)] if one.own is not None else []
            cells += [share(one.moved)] if one.moved is not None else []
            cells += [share(one.sites), share(one.logits)]
        rows.append(cells)
    head = ["format", "bits"]
    for net in NETS:
        one, short = found[net, FORMATS[0]], net.removeprefix("lfds-")
        head += [f"{short}: moved by the scores alone"] if one.own is not None else []
        head += [f"{short}: moved"] if one.moved is not None else []
        head += [f"{short}: error at the sites", f"{short}: of the logits"]
    return markdown(head, rows)
