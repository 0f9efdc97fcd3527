"""Which points of a grid to simulate: sampling of a bandlimited signal on a product graph.

The metric of a study is a signal on the graph of its grid, x = U z, with few modes: the columns of U (nodes x modes)
are orthonormal and z has the diagonal covariance P. A node is observed with independent noise of variance `noise`.
The points to simulate are those that leave the least mean squared error of z,

    mse(S) = trace of Sigma(S),   Sigma(S) = (P^-1 + sum over i in S of u_i u_i^T / noise)^-1,   u_i = row i of U,

which is the error on all nodes, since U is orthonormal. Each step of the greedy choice takes the node of largest gain
|Sigma u|^2 / (noise + u^T Sigma u); the randomised one looks only at a random few. Sources: arXiv:1711.00142 and
arXiv:1807.07222 (Hashemi, Shafipour, Vikalo, Mateos). Nothing here knows of studies: any graph's U and P will do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

INTERACTION, LENGTH = 0.5, 0.7
"""The prior of a grid before any point is simulated: the weight of an axis, and its length as a share of its span."""


def ordered_axis(values: Sequence[float], interaction: float = INTERACTION, length: float = LENGTH) -> Array:
    """Covariance of an axis of numbers, (values x values): a constant plus a Matern 3/2 kernel in the logarithm.

    values:      in any order; where one is not positive, their ranks stand in for their logarithms.
    interaction: weight of the axis beside the constant; the product over the axes then weighs main effects most, and
                 interactions of n axes by this to the power of n.
    length:      correlation length as a share of the axis' span.
    """
    numbers = np.asarray(values, dtype=np.float64)
    place = np.log(numbers) if (numbers > 0).all() else np.argsort(np.argsort(numbers)).astype(np.float64)
    span = float(np.ptp(place)) or 1.0
    distance = math.sqrt(3) * np.abs(place[:, None] - place[None, :]) / (length * span)
    return 1 + interaction * (1 + distance) * np.exp(-distance)


def named_axis(count: int, interaction: float = INTERACTION) -> Array:
    """Covariance of an axis of names, (count x count), any two equally far apart: a complete graph."""
    return 1 + interaction * (np.eye(count) - 1 / count)


def basis(axes: Sequence[Array], modes: int) -> tuple[Array, Array]:
    """The leading eigenvectors U, (nodes x modes), and eigenvalues P, falling, of the Kronecker product of `axes`.

    Nodes are in grid order, the last axis fastest. The eigenvectors of a product are products of the axes', so the
    matrix on all nodes is never built. raises: ValueError unless 1 <= modes <= nodes.
    """
    shape = [len(axis) for axis in axes]
    nodes = math.prod(shape)
    if not axes or not 1 <= modes <= nodes:
        raise ValueError(f"modes: {modes} is not between 1 and the number of nodes, {nodes}")
    pairs = [np.linalg.eigh(axis) for axis in axes]
    values = reduce(np.multiply.outer, [pair[0] for pair in pairs]).ravel()
    leading = np.argsort(-values, kind="stable")[:modes]
    vectors = np.ones((nodes, modes))
    places = zip(np.unravel_index(np.arange(nodes), shape), np.unravel_index(leading, shape), pairs, strict=True)
    for node, mode, (_, small) in places:
        vectors *= small[np.ix_(node, mode)]
    return vectors, values[leading]


def greedy(vectors: Array, variances: Array, points: int, noise: float) -> NDArray[np.intp]:
    """The nodes of largest gain, one after another, in the order chosen; exact, with 2 x modes x nodes MACs per point.

    The gains of all nodes are kept up to date by rank-one updates instead of being computed again:
    a = |Sigma u|^2 and b = u^T Sigma u per node.
    raises: ValueError unless 1 <= points <= nodes and noise is above 0.
    """
    _check(vectors, points, noise)
    sigma = np.diag(variances)
    spread = vectors * variances
    norm, energy = (spread**2).sum(1), (spread * vectors).sum(1)
    open_nodes = np.ones(len(vectors), bool)
    chosen = np.empty(points, np.intp)
    for step in range(points):
        chosen[step] = best = int(np.argmax(np.where(open_nodes, norm / (noise + energy), -np.inf)))
        open_nodes[best] = False
        column = sigma @ vectors[best]
        pivot = noise + vectors[best] @ column
        along = vectors @ column
        norm += along * (along * (column @ column) / pivot - 2 * (vectors @ (sigma @ column))) / pivot
        energy -= along**2 / pivot
        sigma -= np.outer(column, column / pivot)
    return chosen


def randomised_greedy(
    vectors: Array, variances: Array, points: int, noise: float, epsilon: float = 0.01, seed: int = 0
) -> NDArray[np.intp]:
    """As `greedy`, but each step looks at `candidates(nodes, points, epsilon)` random nodes that are not chosen yet.

    modes^2 x nodes x ln(1/epsilon) MACs in all. Equal seeds give equal nodes. The gains of the few are compared in
    single precision, which their differences bear; Sigma is kept in double.
    raises: ValueError as `greedy`, or unless epsilon is above 0 and below 1.
    """
    nodes = _check(vectors, points, noise)
    draw, generator = candidates(nodes, points, epsilon), np.random.default_rng(seed)
    sigma, single = np.diag(variances), vectors.astype(np.float32)
    order = np.arange(nodes)  # the first `step` entries are chosen, and the others are not
    for step in range(points):
        few = step + generator.choice(nodes - step, min(draw, nodes - step), replace=False)
        rows = single[order[few]]
        columns = rows @ sigma.astype(np.float32)
        gains = np.einsum("ij,ij->i", columns, columns) / (noise + np.einsum("ij,ij->i", columns, rows))
        best = few[np.argmax(gains)]
        row = vectors[order[best]]
        column = sigma @ row
        sigma -= np.outer(column, column / (noise + row @ column))
        order[[step, best]] = order[[best, step]]
    return order[:points].copy()


def candidates(nodes: int, points: int, epsilon: float) -> int:
    """How many nodes a step of `randomised_greedy` looks at: nodes / points x ln(1/epsilon), rounded up."""
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon: {epsilon} is not above 0 and below 1")
    return min(nodes, math.ceil(nodes / points * math.log(1 / epsilon)))


def mse(vectors: Array, variances: Array, chosen: Sequence[int] | NDArray[np.intp], noise: float) -> float:
    """Mean squared error summed over the nodes after `chosen` are observed: the trace of Sigma(chosen)."""
    rows = vectors[np.asarray(chosen, np.intp)] * np.sqrt(variances)
    seen = np.linalg.inv(np.eye(len(variances)) + rows.T @ rows / noise)
    return float(np.sum(np.diag(seen) * variances))


def guarantee(variances: Array, noise: float, nodes: int, points: int, epsilon: float | None = None) -> float:
    """The least share of the best set's error reduction that the choice is proven to reach, at least 0.

    The reduction of a set S is trace of P - mse(S). With c, the element-wise curvature or 1 if that is less, exact
    greedy reaches 1 - exp(-1/c) of the best; randomised greedy reaches, in the mean, 1 - exp(-1/c) - epsilon^b / c,
    b = 1 + max(0, s / (2 nodes) - 1 / (2 (nodes - s))) with s candidates per step (arXiv:1711.00142, theorem 2). c is
    bounded by (largest / least variance)^2 (1 + largest / noise)^3, which is loose: the choice does much better.
    """
    largest, least = float(np.max(variances)), float(np.min(variances))
    curvature = max(1.0, (largest / least) ** 2 * (1 + largest / noise) ** 3)
    share = -math.expm1(-1 / curvature)
    if epsilon is not None:
        few = candidates(nodes, points, epsilon)
        power = 1 + max(0.0, few / (2 * nodes) - (1 / (2 * (nodes - few)) if few < nodes else math.inf))
        share -= epsilon**power / curvature
    return max(0.0, share)


def latin_hypercube(shape: Sequence[int], points: int, seed: int = 0) -> NDArray[np.intp]:
    """Distinct nodes of a grid of that shape, spread evenly over each axis alone; for comparison.

    Nodes are numbered in grid order. Where two draws meet in one node, further draws fill the number up.
    """
    generator, found = np.random.default_rng(seed), dict[int, None]()
    while len(found) < points:
        axes = [generator.permutation(points) * size // points for size in shape]
        found |= dict.fromkeys(np.ravel_multi_index(axes, tuple(shape)).tolist())
    return np.array(list(found)[:points], np.intp)


def _check(vectors: Array, points: int, noise: float) -> int:
    nodes = len(vectors)
    if not 1 <= points <= nodes:
        raise ValueError(f"points: {points} is not between 1 and the number of nodes, {nodes}")
    if not noise > 0:
        raise ValueError(f"noise: {noise} is not above 0")
    return nodes
