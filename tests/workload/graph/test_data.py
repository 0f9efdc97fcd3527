"""Graphs from files: what is read equals what was written, and every wrong file is refused with its place."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.errors import InputError
from hwsim.report.graph_data import sites
from hwsim.workload.graph.data import GraphData, read_graphs
from tests.workload.graph.generated import FOLDER, graphs, texts


def test_the_shipped_set_is_the_generated_one():
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == texts()


def test_text_files():
    found, written = read_graphs(FOLDER), graphs()
    assert len(found) == len(written)
    for graph, (places, labels, edges) in zip(found, written, strict=True):
        assert graph.nodes == len(places)
        assert np.array_equal(graph.features[:, :2], np.array(places, np.float32))
        assert np.array_equal(graph.features[:, 2:], np.eye(3, dtype=np.float32)[labels])
        assert sorted(map(tuple, graph.edges.T.tolist())) == sorted(edges)
        assert graph.label == len(places) % 2
        assert graph.degrees.tolist() == [sum(j == i for _, j in edges) for i in range(len(places))]


@pytest.mark.parametrize("turned", [False, True])
def test_npz(tmp_path, turned):
    edges, features = np.array([[0, 1], [1, 2], [2, 0]]), np.arange(6).reshape(3, 2)
    np.savez(tmp_path / "g.npz", edges=edges.T if turned else edges, features=features)
    (graph,) = read_graphs(tmp_path / "g.npz")
    assert np.array_equal(graph.edges, edges.T)
    assert graph.features.dtype == np.float32
    assert np.array_equal(graph.features, features)


def test_one_node_and_no_edges(tmp_path):
    np.savez(tmp_path / "g.npz", edges=np.zeros((0, 2), int), features=np.ones((1, 4)))
    (graph,) = read_graphs(tmp_path / "g.npz")
    assert (graph.nodes, graph.edges.shape, graph.degrees.tolist()) == (1, (2, 0), [0])
    assert sites([graph], "hard", 4).fullest == 4.0


ARRAYS = {
    "has no features": {"edges": np.zeros((2, 2), int)},
    "has no edges and no features (it has x)": {"x": np.zeros(3)},
    "features: has the shape [3]": {"edges": np.zeros((2, 2), int), "features": np.zeros(3)},
    "features: has the shape [0, 3]": {"edges": np.zeros((0, 2), int), "features": np.zeros((0, 3))},
    "edges: has the shape [2, 2] of float64": {"edges": np.zeros((2, 2)), "features": np.zeros((3, 3))},
    "edges: node 3 is beyond the 3 nodes": {"edges": np.array([[0, 3]]), "features": np.zeros((3, 3))},
    "edges: node -1 is beyond the 3 nodes": {"edges": np.array([[0, -1]]), "features": np.zeros((3, 3))},
}


@pytest.mark.parametrize("message", ARRAYS)
def test_refused_arrays(tmp_path, message):
    np.savez(tmp_path / "g.npz", **ARRAYS[message])
    with pytest.raises(InputError) as caught:
        read_graphs(tmp_path / "g.npz")
    assert message in str(caught.value)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "g.npz", edges=np.array([{}, {}], object), features=np.zeros((3, 3)))
    with pytest.raises(InputError, match="no NPZ file of plain arrays"):
        read_graphs(tmp_path / "g.npz")
    (tmp_path / "t.npz").write_bytes((tmp_path / "g.npz").read_bytes()[:200])
    with pytest.raises(InputError, match="no NPZ file of plain arrays"):
        read_graphs(tmp_path / "t.npz")


@pytest.mark.parametrize(
    "name, line, message",
    [
        ("A", "1, two", "NEAR_A.txt:1: `1, two` is not 2 whole numbers; write them"),
        ("A", "1, 2, 3", "NEAR_A.txt:1: `1, 2, 3` is not 2 whole numbers"),
        ("A", "0, 1", "NEAR_A.txt, nodes counted from 0: node -1 is beyond"),
        ("A", "1, 9999", "node 9998 is beyond"),
        ("graph_indicator", "7", "NEAR_graph_indicator.txt: the graphs are not in order"),
        ("node_attributes", "0.5", "NEAR_node_attributes.txt:2:"),
    ],
)
def test_refused_lines(tmp_path, name, line, message):
    shutil.copytree(FOLDER, tmp_path / "NEAR")
    path = tmp_path / "NEAR" / f"NEAR_{name}.txt"
    path.write_text("\n".join([line, *path.read_text().splitlines()[1:]]) + "\n")
    with pytest.raises(InputError) as caught:
        read_graphs(tmp_path / "NEAR")
    assert message in str(caught.value)


def test_refused_folders(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_graphs(tmp_path / "x.npz")
    with pytest.raises(InputError, match="has 0 files"):
        read_graphs(tmp_path)
    (tmp_path / "X_A.txt").write_text("1, 2\n")
    with pytest.raises(InputError, match="X_graph_indicator.txt: no such file; it is needed"):
        read_graphs(tmp_path)
    (tmp_path / "X_graph_indicator.txt").write_text("1\n2\n")
    with pytest.raises(InputError, match="an edge joins two graphs"):
        read_graphs(tmp_path)


def test_balance():
    """By rank, 40 nodes fill 8 sites with five each; equal nodes all share one site."""
    spread = GraphData(np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32), np.zeros((2, 0), int))
    same = GraphData(np.ones((40, 3), np.float32), np.zeros((2, 0), int))
    assert (sites([spread], "sort", 8).fullest, sites([spread], "sort", 8).empty) == (1.0, 0.0)
    assert (sites([same], "hard", 8).fullest, sites([same], "hard", 8).empty) == (8.0, 7 / 8)
    assert sites([spread, same], "hard", 8).fullest == (sites([spread], "hard", 8).fullest + 8.0) / 2


def test_the_command():
    found = CliRunner().invoke(app, ["graph", str(FOLDER), "--sites", "8", "--format", "mxfp4"])
    assert found.exit_code == 0, found.output
    assert "12 graphs, 5 features per node, 2 classes" in found.output
    assert "8 sites, hard: the fullest holds" in found.output
    assert "mxfp4 sends" in found.output
    data = json.loads(CliRunner().invoke(app, ["graph", str(FOLDER), "--json"]).output)
    assert (data["graphs"], data["nodes"]) == (12, sum(len(places) for places, _, _ in graphs()))
    assert data["edges"] == sum(len(edges) for _, _, edges in graphs())
