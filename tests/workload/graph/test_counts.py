"""Counts of the shipped graphs equal those of a script that imports nothing of hwsim, and published totals."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from hwsim.workload import StepOptions, graph_names, load_model
from tests.verification import graph_counts
from tests.verification.graph_counts import COUNTS, DLRM_ROWS, PUBLISHED, aggregation

NAMES = graph_names()


def test_the_script_imports_nothing_of_hwsim():
    tree = ast.parse(Path(graph_counts.__file__).read_text())
    names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    assert set(names) == {"__future__", "math"}


def test_every_graph_has_counts():
    assert set(COUNTS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds(name):
    graph = load_model(name)
    assert (graph.total, graph.counts().macs) == COUNTS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name):
    parameters, macs, _ = PUBLISHED[name]
    assert COUNTS[name][0] == parameters == load_model(name).published_parameters
    if macs:
        assert COUNTS[name][1] == pytest.approx(macs, rel=0.005)
        assert load_model(name).published_macs == macs


def test_dlrm():
    assert sum(DLRM_ROWS) == 204_184_588
    assert sum(DLRM_ROWS) * 128 * 4 == pytest.approx(104.54e9, rel=1e-4)
    assert COUNTS["dlrm-v2"][1] == 16_030_464
    assert COUNTS["dlrm-v1"][1] == 170_496 + 44_928 + 2_194_688
    assert load_model("dlrm-v2").counts().rows == 214


#: Multiply-adds in millions by nodes, d = m = 64: sortpool, diffpool, loop soft, loop hard, image soft.
AGGREGATION = {
    39: (0.32, 0.26, 1.9, 1.7, 5.0),
    284: (0.32, 20.1, 3.9, 2.7, 7.0),
    5748: (0.32, 64.6e3, 48.7, 25.1, 51.8),
    1024: (0.32, 503, 10.0, 5.8, 13.1),
}


@pytest.mark.parametrize("n", AGGREGATION)
def test_aggregation_formulas(n):
    assert [x / 1e6 for x in aggregation(n).values()] == pytest.approx(list(AGGREGATION[n]), rel=0.03)


@pytest.mark.parametrize("n", [39, 284])
def test_aggregation_in_graphs(n):
    """The nodes of the shipped graphs that aggregate count what the formulas say."""
    formula = aggregation(n)
    sizes = [("sizes.n", str(n)), ("sizes.c", str(-(-n // 4)))]
    pool = {node.name: node.macs() for node in load_model("diffpool-dd", sizes).nodes}
    # per layer of the formula: A X of embed and pool, the assignment of each, S^T X, S^T A, (S^T A) S
    both = pool["embed_near2"] + pool["pool_near2"]
    assert both + 2 * pool["pooled"] + pool["half"] + pool["edges"] == formula["diffpool"]
    loop = {node.name: node.macs() for node in load_model("lfds-loop", [("sizes.n", str(n))]).nodes}
    assert loop["site"] + loop["latent.0"] + loop["latent.1"] == formula["loop hard"]
    sort = {node.name: node.macs() for node in load_model("sortpool-proteins").nodes}
    assert sort["conv"] + sort["hidden"] == formula["sortpool"]


@pytest.mark.parametrize("name", NAMES)
def test_ops_hold_what_nodes_count(name):
    """Joining ops loses no multiply-add, no pass and no weight; tensors between joined ops move nowhere."""
    graph, step = load_model(name), StepOptions(batch=3)
    ops, counts = graph.ops(step), graph.counts(3)
    assert sum(op.dot_macs + op.vector_macs for op in ops) == counts.macs == 3 * graph.counts().macs
    assert sum(op.vector for op in ops) == counts.vector
    assert sum(op.outputs for op in ops) <= counts.outputs
    assert sum(each.elements for each in graph.stored(step)) == graph.total
    assert graph.kept(step) == ()
    tables = sum(node.weight_elements for node in graph.nodes if node.KIND == "embedding")
    read = sum(op.weight_elements for op in ops if op.kind != "embedding")
    assert read == graph.total - tables


def test_layers_number_the_ops_with_weights():
    graph = load_model("resnet50")
    ops = graph.ops(StepOptions())
    assert [op.layer for op in ops if op.gemms] == list(range(54))
    assert replace(StepOptions(), batch=8).tokens == 8
