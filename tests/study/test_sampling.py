"""Sampling on a product graph against definitions written out: inverses, `eigh` of the whole matrix, every subset."""

from functools import reduce
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.study.sampling import (
    basis,
    candidates,
    greedy,
    guarantee,
    latin_hypercube,
    mse,
    named_axis,
    ordered_axis,
    randomised_greedy,
)


def random_graph(seed: int, nodes: int, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """The smoothest modes of a random weighted graph's Laplacian, and variances that fall with the frequency."""
    generator = np.random.default_rng(seed)
    weights = np.triu(generator.random((nodes, nodes)) * (generator.random((nodes, nodes)) < 0.4), 1)
    weights += weights.T
    frequencies, vectors = np.linalg.eigh(np.diag(weights.sum(0)) - weights)
    return vectors[:, :modes], 1 / (0.1 + np.abs(frequencies[:modes]))


def trace(vectors: np.ndarray, variances: np.ndarray, chosen, noise: float) -> float:
    """The definition, by inverses."""
    information = np.diag(1 / variances)
    for i in chosen:
        information = information + np.outer(vectors[i], vectors[i]) / noise
    return float(np.trace(np.linalg.inv(information)))


def textbook(vectors: np.ndarray, variances: np.ndarray, points: int, noise: float) -> list[int]:
    """Greedy that computes the error of every node at every step."""
    chosen: list[int] = []
    for _ in range(points):
        rest = [i for i in range(len(vectors)) if i not in chosen]
        chosen.append(min(rest, key=lambda i: trace(vectors, variances, [*chosen, i], noise)))
    return chosen


@pytest.mark.parametrize("modes", [1, 7, 24])
def test_the_basis_of_a_grid_is_that_of_the_whole_matrix(modes):
    axes = [named_axis(4), ordered_axis([1, 2, 8]), ordered_axis([3.5, 1.25])]
    whole = reduce(np.kron, axes)
    vectors, variances = basis(axes, modes)
    assert np.allclose(variances, np.sort(np.linalg.eigvalsh(whole))[::-1][:modes], rtol=1e-12)
    assert np.allclose(vectors.T @ vectors, np.eye(modes), atol=1e-12)
    assert np.allclose(whole @ vectors, vectors * variances, atol=1e-12)


def test_all_modes_give_the_covariance_back():
    axes = [ordered_axis([1, 10, 100]), named_axis(3)]
    vectors, variances = basis(axes, 9)
    assert np.allclose((vectors * variances) @ vectors.T, np.kron(*axes), atol=1e-12)


def test_an_axis_correlates_near_values_more_and_takes_zero():
    logs = ordered_axis([1, 2, 1000])
    assert logs[0, 1] > logs[1, 2] > logs[0, 2] > 1
    assert np.allclose(logs, ordered_axis([7, 14, 7000]), rtol=1e-12)  # only ratios count
    assert np.allclose(ordered_axis([0, 5, 6]), ordered_axis([0, 1, 2]))  # ranks where a value has no logarithm
    assert np.allclose(ordered_axis([5]), 1.5)
    names = named_axis(5)
    assert len(set(np.round(names[~np.eye(5, dtype=bool)], 12))) == 1


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(3, 9), st.integers(1, 6), st.sampled_from([1e-3, 0.1, 2.0]))
def test_exact_greedy_is_the_textbooks(seed, nodes, modes, noise):
    modes, points = min(modes, nodes), min(nodes, modes + 1)
    vectors, variances = random_graph(seed, nodes, modes)
    ours, theirs = greedy(vectors, variances, points, noise), textbook(vectors, variances, points, noise)
    assert len(set(ours.tolist())) == points
    for i in range(1, points + 1):  # errors, not nodes: ties may be broken in either way
        here, there = (trace(vectors, variances, chosen[:i], noise) for chosen in (ours, theirs))
        assert here == pytest.approx(there, rel=1e-6)
        assert mse(vectors, variances, ours[:i], noise) == pytest.approx(here, rel=1e-8)


def test_the_first_choice_has_the_largest_gain_of_all():
    vectors, variances = random_graph(3, 30, 5)
    gains = [variances.sum() - trace(vectors, variances, [i], 0.05) for i in range(30)]
    assert greedy(vectors, variances, 1, 0.05)[0] == np.argmax(gains)


def test_randomised_greedy_that_looks_at_all_nodes_is_exact_greedy():
    vectors, variances = random_graph(1, 30, 12)  # without ties, which may be broken in either way
    chosen = randomised_greedy(vectors, variances, 12, 1e-2, epsilon=1e-6, seed=5)
    assert candidates(30, 12, 1e-6) == 30
    exact = greedy(vectors, variances, 12, 1e-2)
    assert mse(vectors, variances, chosen, 1e-2) == pytest.approx(mse(vectors, variances, exact, 1e-2), rel=1e-3)


def test_randomised_greedy_is_repeatable_and_close():
    vectors, variances = basis([named_axis(10), ordered_axis(range(1, 11)), ordered_axis(range(1, 51))], 100)
    exact = mse(vectors, variances, greedy(vectors, variances, 200, 1e-3), 1e-3)
    chosen = [randomised_greedy(vectors, variances, 200, 1e-3, seed=seed) for seed in (0, 0, 1)]
    assert (chosen[0] == chosen[1]).all() and (chosen[0] != chosen[2]).any()
    assert all(len(set(nodes.tolist())) == 200 for nodes in chosen)
    assert exact * 0.999 <= mse(vectors, variances, chosen[0], 1e-3) <= 1.2 * exact
    random = np.random.default_rng(0).choice(5000, 200, replace=False)
    assert mse(vectors, variances, random, 1e-3) > 1.5 * exact


def test_greedy_is_close_to_the_best_of_all_sets():
    shares = []
    for seed in range(25):
        vectors, variances = random_graph(seed, 12, 4)
        variances = np.ones(4)
        sets = combinations(range(12), 4)
        best = max(variances.sum() - trace(vectors, variances, chosen, 0.1) for chosen in sets)
        reached = variances.sum() - mse(vectors, variances, greedy(vectors, variances, 4, 0.1), 0.1)
        shares.append(reached / best)
        assert guarantee(variances, 0.1, 12, 4) <= shares[-1] <= 1 + 1e-9
    assert np.mean(shares) > 0.95


def test_the_guarantee_is_that_of_the_theorem():
    one = np.ones(4)
    curvature = (1 + 1 / 2.0) ** 3
    assert guarantee(one, 2.0, 100, 10) == pytest.approx(1 - np.exp(-1 / curvature))
    few = int(np.ceil(100 / 10 * np.log(1 / 0.01)))
    power = 1 + max(0, few / 200 - 1 / (2 * (100 - few)))
    expected = 1 - np.exp(-1 / curvature) - 0.01**power / curvature
    assert guarantee(one, 2.0, 100, 10, epsilon=0.01) == pytest.approx(expected)
    assert guarantee(np.array([1.0, 1e-9]), 1e-3, 100, 10) < 1e-12


def test_a_latin_hypercube_takes_every_value_equally_often():
    nodes = latin_hypercube([5, 10], 10, seed=2)
    first, second = np.unravel_index(nodes, (5, 10))
    assert len(set(nodes.tolist())) == 10
    if len(set(zip(first.tolist(), second.tolist(), strict=True))) == 10:
        assert sorted(second.tolist()) == list(range(10))
    assert len(set(latin_hypercube([2, 3], 6).tolist())) == 6


@pytest.mark.parametrize("points", [0, 7])
def test_more_points_than_nodes_are_refused(points):
    vectors, variances = random_graph(0, 6, 2)
    with pytest.raises(ValueError, match="points"):
        greedy(vectors, variances, points, 0.1)
    with pytest.raises(ValueError, match="points"):
        randomised_greedy(vectors, variances, points, 0.1)


def test_bad_numbers_are_refused():
    vectors, variances = random_graph(0, 6, 2)
    with pytest.raises(ValueError, match="noise"):
        greedy(vectors, variances, 2, 0.0)
    with pytest.raises(ValueError, match="epsilon"):
        randomised_greedy(vectors, variances, 2, 0.1, epsilon=1.0)
    with pytest.raises(ValueError, match="modes"):
        basis([named_axis(2)], 3)
    with pytest.raises(ValueError, match="modes"):
        basis([], 1)
