"""How fast weights become seeds, beside brute force in numpy and compiled, in the same run.

    python tests/bench/bench_seed.py

Weights N(0,1), seed 0, already at the tensor scale. Weights per CPU second: user + system of all threads
together, first call excluded (it compiles, and fills the tables, whose time is a line of its own). Brute force
fits every seed of every block in float64; its seeds must be those of the search, or the run fails. "small":
2,048 blocks alone, of which few are alike.
"""

import os
import time
from functools import partial

import numba
import numpy as np

from hwsim.formats import seed
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4
from hwsim.formats.seed import SeedFormat, search

LINES = {"seedlm4": 130_000, "seedlm3": 100_000}  # weights per CPU second asked for; the goal beyond is 1,000,000
RIVAL = {"seedlm4": 100}  # times compiled brute force
BLOCKS = {"seedlm4": 524_288, "seedlm3": 349_525}  # 4 M weights
ROUNDS = 3


def matrices(codec):
    """(float64[seeds, C, P] U, its pseudo-inverse), from the register alone."""
    state, flat = np.arange(1, 1 << codec.K), []
    for _ in range(codec.C * codec.P):
        fed = sum(state >> tap & 1 for tap in (0, 1, 3, 12)) % 2
        state = state >> 1 | fed << (codec.K - 1)
        flat.append(state - codec.centre)
    u = np.stack(flat, axis=1).reshape(-1, codec.C, codec.P) / codec.denominator
    return u, np.linalg.pinv(u)


def brute_numpy(u, inverse, w):
    """Best seed of every block: numpy, all seeds at once, BLAS for the products."""
    best = []
    for block in w:
        t = inverse.reshape(-1, len(block)) @ block
        t = t.reshape(len(u), -1)
        e = np.clip(np.frexp(np.abs(t).max(axis=1))[1] - 3, -8, 7)
        q = np.clip(np.rint(np.ldexp(t, -e[:, None])), -8, 7)
        miss = block - np.matmul(u, np.ldexp(q, e[:, None])[..., None])[..., 0]
        best.append(np.einsum("si,si->s", miss, miss).argmin() + 1)
    return np.array(best)


@numba.njit(nogil=True)
def brute_compiled(u, inverse, w):
    """Best seed of every block: the same loop, compiled."""
    best = np.zeros(len(w), np.int64)
    c, p = u.shape[1:]
    t, q = np.zeros(p), np.zeros(p)
    for n in range(len(w)):
        least = np.inf
        for s in range(len(u)):
            top = 0.0
            for k in range(p):
                t[k] = 0.0
                for i in range(c):
                    t[k] += inverse[s, k, i] * w[n, i]
                top = max(top, abs(t[k]))
            e = min(max(np.floor(np.log2(top)) - 2 if top > 0 else -8.0, -8.0), 7.0)
            scale = 2.0**e
            for k in range(p):
                q[k] = min(max(np.rint(t[k] / scale), -8.0), 7.0) * scale
            error = 0.0
            for i in range(c):
                miss = w[n, i]
                for k in range(p):
                    miss -= u[s, i, k] * q[k]
                error += miss * miss
            if error < least:
                least, best[n] = error, s + 1
    return best


def rate(work, weights, rounds=ROUNDS):
    """(best weights per CPU second, best per second of the clock, last result)."""
    cpu = wall = float("inf")
    for _ in range(rounds):
        start, clock = time.process_time(), time.perf_counter()
        result = work()
        cpu, wall = min(cpu, time.process_time() - start), min(wall, time.perf_counter() - clock)
    return weights / cpu, weights / wall, result


def sigma_lines():
    """Relative error through the whole format, and blocks whose exponent is at an end, for weights of any size."""
    x = np.random.default_rng(1).standard_normal((96, 2040))
    for form in (SeedFormat(SEEDLM4), SeedFormat(SEEDLM3)):
        for sigma in (1e-6, 1e-2, 1.0, 1e3):
            w = (x * sigma).astype(np.float32)
            encoded = form.encode(w)
            error = np.linalg.norm(w - encoded.decode()) / np.linalg.norm(w)
            ends = np.isin(encoded.scales, (7, 8)).mean()  # exponent codes of 7 and -8
            print(f"{form.name} sigma {sigma:g}: relative error {error:.4f}, exponent at an end {ends:.2%}")


def main():
    failed = []
    processors = len(os.sched_getaffinity(0))
    print(f"weights per CPU second, best of {ROUNDS}; all {processors} processors unless it says 1 thread")
    for name, codec in (("seedlm4", SEEDLM4), ("seedlm3", SEEDLM3)):
        w = np.random.default_rng(0).standard_normal((BLOCKS[name], codec.C)) * 8
        u, inverse = matrices(codec)
        few, fewer = w[:32], w[:8]
        brute_compiled(u, inverse, w[:1])
        slow, _, seeds = rate(partial(brute_compiled, u, inverse, few), few.size)
        plain, _, rows = rate(partial(brute_numpy, u, inverse, fewer), fewer.size)
        search(codec, w)
        seed._values.cache_clear()
        seed._tables.cache_clear()
        tables = rate(partial(seed._tables, codec, codec.C), 1, 1)[0]
        fast, wall, found = rate(partial(search, codec, w), w.size)
        alone, _, _ = rate(partial(search, codec, w, threads=1), w.size)
        small, _, direct = rate(partial(search, codec, w[:2048], threads=1), 2048 * codec.C)
        mask = np.uint64((1 << codec.K) - 1)
        same = (found.words[:32] & mask == seeds).all() and (found.words[:8] & mask == rows).all()
        same = same and (found.words[:2048] == direct.words).all()
        ratio = fast / slow
        per_block, bounds = found.evaluated / len(w), found.bounded / len(w)
        share = codec.lfsr.period
        print(f"{name}: {w.size} weights")
        print(f"  search              {fast:>12,.0f}   (wall {wall:,.0f}; line {LINES[name]:,}; goal 1,000,000)")
        print(f"  one-time tables     {1 / tables:>12.3f} s (line 0.3)")
        print(f"  search, 1 thread    {alone:>12,.0f}")
        print(f"  small, 1 thread     {small:>12,.0f}   ({direct.evaluated / 2048:.1f} seeds evaluated a block)")
        print(f"  brute force, numba  {slow:>12,.0f}   search is {ratio:.0f} x")
        print(f"  brute force, numpy  {plain:>12,.0f}   search is {fast / plain:.0f} x")
        print(f"  seeds a block: evaluated {per_block:.2f} ({per_block / share:.2e} of {share}), "
              f"bounded {bounds:,.0f} ({bounds / share:.1%})")  # fmt: skip
        print(f"  relative error {np.sqrt(found.errors.sum() / (w * w).sum()):.4f}; seeds equal to brute force: {same}")
        if 1 / tables > 0.3:
            failed.append(f"{name}: tables take {1 / tables:.2f} s")
        if fast < LINES[name] or ratio < RIVAL.get(name, 0):
            failed.append(f"{name}: below its line")
        if not same:
            failed.append(f"{name}: not the seeds of brute force")
    sigma_lines()
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
