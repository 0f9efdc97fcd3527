"""How long the choice of a study's points takes: randomised greedy beside exact greedy and the textbook's.

    OPENBLAS_NUM_THREADS=1 python tests/bench/bench_sampling.py

CPU seconds, the median of three; the errors are sums of squares over all nodes, and uniform is the mean of ten draws.
The textbook's greedy computes every node's gain anew from Sigma at every step; it runs where it takes seconds.
Lines: at n = 20,000 randomised (epsilon 0.01) at least 4 times faster than exact and within 10 % of its error; at
n = 5,000 at least 10 times faster than the textbook's and within 20 %.
"""

import statistics
import time

import numpy as np

from hwsim.study.sampling import basis, greedy, latin_hypercube, mse, named_axis, ordered_axis, randomised_greedy

GRIDS = (((10, 10, 10), 100, 100, True), ((10, 10, 50), 200, 250, True), ((20, 20, 50), 300, 400, False))
NOISE = 1e-3


def textbook(vectors, variances, points, noise):
    """Every gain of every step from Sigma: nodes x modes^2 MACs per step."""
    sigma, chosen = np.diag(variances), []
    for _ in range(points):
        columns = vectors @ sigma
        gains = (columns**2).sum(1) / (noise + (columns * vectors).sum(1))
        gains[chosen] = -np.inf
        best = int(gains.argmax())
        chosen.append(best)
        sigma = sigma - np.outer(columns[best], columns[best]) / (noise + columns[best] @ vectors[best])
    return chosen


def timed(choose, *args):
    """(CPU seconds, what was chosen)."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        chosen = choose(*args)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), chosen


def main():
    """Print the table."""
    for shape, modes, points, slow in GRIDS:
        nodes = int(np.prod(shape))
        axes = [named_axis(shape[0]), *(ordered_axis(np.geomspace(1, 100, size)) for size in shape[1:])]
        start = time.process_time()
        vectors, variances = basis(axes, modes)
        print(f"{nodes:,} nodes, {modes} modes, {points} points; basis {time.process_time() - start:.3f} s")
        exact, chosen = timed(greedy, vectors, variances, points, NOISE)
        error = mse(vectors, variances, chosen, NOISE)
        print(f"  exact greedy             {exact:8.3f} s")
        if slow:
            naive, chosen = timed(textbook, vectors, variances, points, NOISE)
            print(f"  textbook greedy          {naive:8.3f} s")
        for epsilon in (0.001, 0.01, 0.1):
            seconds, chosen = timed(randomised_greedy, vectors, variances, points, NOISE, epsilon)
            ratio = mse(vectors, variances, chosen, NOISE) / error
            beside = f", {naive / seconds:5.1f} x than the textbook's" if slow else ""
            print(
                f"  randomised, eps {epsilon:<8g} {seconds:8.3f} s, error {ratio:.2f} x exact, "
                f"{exact / seconds:4.1f} x faster than exact{beside}"
            )
        generator = np.random.default_rng(0)
        draws = [generator.choice(nodes, points, replace=False) for _ in range(10)]
        cubes = [latin_hypercube(shape, points, seed) for seed in range(10)]
        for name, sets in (("uniform", draws), ("Latin hypercube", cubes)):
            print(
                f"  {name:<24} error {np.mean([mse(vectors, variances, s, NOISE) for s in sets]) / error:.2f} x exact"
            )


if __name__ == "__main__":
    main()
