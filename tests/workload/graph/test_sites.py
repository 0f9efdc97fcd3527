"""Latent fixed data structures by value: order, rotation, what max and mean cannot see, formats that move nodes."""

import numpy as np
import pytest

import hwsim
from hwsim.workload import load_model, load_model_text
from hwsim.workload.graph.values import evaluate, random_weights

KINDS = ("loop", "sequence", "image", "graph")


def distributed(mode: str, x: np.ndarray, weights=None, sites: int = 8) -> np.ndarray:
    n, d = x.shape
    graph = load_model_text(
        f"name: one\ninputs: {{x: [{n}, {d}]}}\nops:\n"
        f"  - {{name: p, op: assign, in: [x], sites: {sites}, mode: {mode}}}\n"
        f"  - {{name: z, op: distribute, in: [x, p], sites: {sites}, mode: {mode}}}\n"
    )
    return evaluate(graph, {"x": x}, weights or random_weights(graph, 1))["z"]


def points(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize("mode", ["soft", "hard", "sort"])
@pytest.mark.parametrize("seed", range(5))
def test_distribution_does_not_depend_on_the_order_of_nodes(mode, seed):
    x = points(seed, 50, 6)
    order = np.random.default_rng(seed).permutation(50)
    assert np.abs(distributed(mode, x) - distributed(mode, x[order])).max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_networks_do_not_depend_on_the_order_of_nodes(kind):
    graph = load_model(f"lfds-{kind}", [("sizes.n", "200")])
    x, weights = points(3, 200, 3), random_weights(graph, 2)
    order = np.random.default_rng(4).permutation(200)
    one = evaluate(graph, {"points": x}, weights)["logits"]
    other = evaluate(graph, {"points": x[order]}, weights)["logits"]
    assert one.shape == (40,)
    assert np.abs(one - other).max() < 1e-6 * np.abs(one).max() + 1e-6


def test_definitions():
    x, w = points(0, 30, 6), points(1, 8, 6)
    scores = x.astype(float) @ w.T
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    soft = [sum(p[i, j] * x[i] for i in range(30)) / p[:, j].sum() for j in range(8)]
    np.testing.assert_allclose(distributed("soft", x, {"p.weight": w}), soft, atol=2e-6)
    best = [max(range(8), key=lambda j, row=row: (row[j], -j)) for row in scores]
    hard = [np.mean([x[i] for i in range(30) if best[i] == j] or [np.zeros(6)], 0) for j in range(8)]
    np.testing.assert_allclose(distributed("hard", x, {"p.weight": w}), hard, atol=2e-6)
    ranked = sorted(x.tolist(), key=lambda row: (row[-1], *row[:-1]))
    cut = [[row for r, row in enumerate(ranked) if r * 8 // 30 == j] for j in range(8)]
    np.testing.assert_allclose(distributed("sort", x), [np.mean(rows, 0) for rows in cut], atol=2e-6)


def test_one_site_is_the_mean():
    x = points(0, 30, 6)
    for mode in ("soft", "hard", "sort"):
        np.testing.assert_allclose(distributed(mode, x, sites=1)[0], x.mean(0, dtype=float), atol=1e-6)


def test_the_site_of_ties_is_the_lowest():
    w = np.zeros((8, 6), np.float32)
    found = distributed("hard", points(0, 5, 6), {"p.weight": w})
    assert np.array_equal(found[1:], np.zeros((7, 6)))


def test_sets_that_max_and_mean_cannot_tell_apart():
    """Equal multisets of each feature, paired otherwise."""
    x = points(0, 40, 6)
    y = x.copy()
    y[:, 3:] = y[np.random.default_rng(1).permutation(40), 3:]
    assert np.array_equal(x.max(0), y.max(0))
    assert np.abs(x.mean(0, dtype=float) - y.mean(0, dtype=float)).max() < 1e-12
    for mode in ("soft", "hard"):
        assert np.abs(distributed(mode, x) - distributed(mode, y)).max() > 0.05


def test_formats_move_nodes_to_other_sites():
    """Scores decide the site, so coarser formats move more nodes."""
    graph = load_model_text(
        "name: one\ninputs: {x: [2000, 64]}\nops:\n  - {name: p, op: assign, in: [x], sites: 64, mode: hard}\n"
    )
    x, weights = points(0, 2000, 64), random_weights(graph, 1)
    exact = evaluate(graph, {"x": x}, weights)["p"]
    moved = []
    for name in ("mx9", "mx6", "mxfp4"):
        form = hwsim.get_format(name)
        rounded = evaluate(graph, {"x": x}, weights, lambda a, what, f=form: a if what == "vector" else f.quantize(a))
        moved.append(np.mean(rounded["p"] != exact))
    assert 0 < moved[0] < moved[1] < moved[2] < 0.6
