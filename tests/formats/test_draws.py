"""Stochastic rounding: the bits by their definition, fair for any seed and from element to element."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import draws, get_format
from tests.formats import reference

SEEDS = [1, 2, 3, 0xFFFFFFFF, 0x80000000, 123456789]


def rounded_up(seed: int, count: int, fraction: float) -> np.ndarray:
    """bool[count]: which elements of the value 2 + fraction (scale 1, grid step 1) an MXFP4 tensor rounds up."""
    x = np.full((-(-count // 31), 32), 2 + fraction, np.float32)
    x[:, 31] = 4
    codes = get_format("mxfp4", rounding="stochastic", seed=seed).encode(x).codes[:, :31]
    return codes.ravel()[:count] == 5


@pytest.mark.parametrize("seed", SEEDS)
def test_bits_by_the_definition(seed):
    want = list(itertools.islice(reference.draws(seed), 300))
    assert draws.draws(seed, 300) == want and draws.draws(seed, 100, 200) == want[200:]


@pytest.mark.parametrize("form", ["mxfp4", "fp8_block", "int8", "mx6"])
def test_the_register_starts_again_after_an_epoch(monkeypatch, form):
    """With an epoch of 100 elements, element 100 is element 0 of the next seed; threads begin anywhere."""
    monkeypatch.setattr(draws, "EPOCH", 100)
    seed = draws.SEEDS  # the next one is 1, not 0
    want = [r for s in (seed, 1, 2) for r in itertools.islice(reference.draws(s), 100)]
    assert draws.draws(seed, 300) == want and draws.draws(seed, 90, 205) == want[205:295]
    x = np.random.default_rng(0).uniform(0.5, 1, (30, 10)).astype(np.float32)
    form = get_format(form, rounding="stochastic", seed=seed)
    row = form.encode(x.reshape(1, -1))
    steps = [e for b in form.explain(x.ravel()).blocks for e in b.elements]
    assert [e.code for e in steps] == row.codes.ravel().tolist()
    threads = get_format(form.name, rounding="stochastic", seed=seed, threads=3)
    monkeypatch.setattr("hwsim.formats.format._PARALLEL_VALUES", 1)
    np.testing.assert_array_equal(threads.encode(x).codes, form.encode(x).codes)


def test_one_element_in_a_later_epoch():
    """The first element of the second epoch is the first of the next seed; the last of the first precedes it."""
    assert draws.EPOCH == 2**29 - 1
    assert draws.draws(7, 3, draws.EPOCH) == draws.draws(8, 3)
    assert draws.draws(7, 2, draws.EPOCH - 1)[1:] == draws.draws(8, 1)
    state, left, _ = draws.start(7, draws.EPOCH)
    assert (state, left) == (draws.mix(8), draws.EPOCH)


def test_the_mixer_by_hand():
    """murmur3's finaliser of 1, as published with the algorithm; a bijection, which two equal words would end."""
    assert draws.mix(1) == 0x514E28B7
    seen = {draws.mix(seed) for seed in range(1, 1 << 16)}
    assert len(seen) == (1 << 16) - 1 and 0 not in seen


def test_neighbours_are_independent():
    """Seed 1, 2^22 elements: no correlation of a rounding with those up to eight elements later."""
    up = rounded_up(1, 1 << 22, 0.25).astype(np.float64)
    assert abs(up.mean() - 0.25) < 0.002
    up -= up.mean()
    for lag in range(1, 9):
        assert abs((up[lag:] * up[:-lag]).mean() / up.var()) < 0.005, lag


@pytest.mark.parametrize("fraction", [0.125, 0.25, 0.75, 0.875])
def test_sums_of_rows_spread_as_independent_ones(fraction):
    """131,072 rows of 32: the variance of their sums is that of 32 independent roundings within 2 %."""
    x = np.full((131072, 33), 2 + fraction, np.float32)
    x[:, 32] = 4
    form = get_format({"element": "E2M1", "block": 33, "scale": "e8m0"}, rounding="stochastic", seed=1)
    up = form.encode(x).codes[:, :32] == 5
    assert up.sum(axis=1).var() / (32 * fraction * (1 - fraction)) == pytest.approx(1, abs=0.02)


def test_small_seeds_are_fair_at_every_position():
    """Seeds 1 to 2,000, 512 positions: each mean within five standard errors of 0.6, all of them within 0.002."""
    x = np.full((16, 33), 2.6, np.float32)
    x[:, 32] = 4
    form = get_format({"element": "E2M1", "block": 33, "scale": "e8m0"}, rounding="stochastic")
    up = np.array([(form.encode(x, seed=s).codes[:, :32] == 5).ravel() for s in range(1, 2001)], np.float64)
    p = np.floor(0.6 * 256) / 256
    assert (np.abs(up.mean(axis=0) - p) < 5 * np.sqrt(p * (1 - p) / 2000)).all()
    assert abs(up.mean() - p) < 0.002


def test_a_seed_in_the_call():
    """The seed of `encode` and `quantize` is the format's for this call alone."""
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    form = get_format("nvfp4", rounding="stochastic", seed=3)
    other = get_format("nvfp4", rounding="stochastic", seed=9)
    assert form.encode(x, seed=9).to_bytes() == other.encode(x).to_bytes() != form.encode(x).to_bytes()
    np.testing.assert_array_equal(form.quantize(x, seed=np.int64(9)), other.quantize(x))


@pytest.mark.parametrize("seed", [0, -1, 2**32, 1.0, True, "1", None])
def test_seeds_that_cannot_be(seed):
    with pytest.raises(InputError, match="write an integer from 1 to 4294967295"):
        get_format("mxfp4", rounding="stochastic", seed=seed)
    if seed is not None:
        with pytest.raises(InputError, match="write an integer from 1"):
            get_format("mxfp4").encode(np.ones(32), seed=seed)
