"""Distinct experts and their rows, against published tables, rational arithmetic and a simulation of the routing."""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import InputError
from hwsim.workload import distinct_experts, expected_distinct, load_model
from hwsim.workload.language.routing import groups, spread
from tests.workload.language.shapes import lower

TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TABLE = {
    (32, 4): (4, 7.5, 13.2, 21.0, 28.2, 31.6, 32.0, 32, 32),
    (128, 6): (6, 11.7, 22.4, 40.8, 68.6, 100.5, 122.1, 127.7, 128),
    (128, 8): (8, 15.5, 29.1, 51.6, 82.4, 111.8, 125.9, 128, 128),
    (512, 22): (22, 43.1, 82.5, 151.7, 258.4, 386.4, 481.2, 510.1, 512),
}


@pytest.mark.parametrize("experts, top_k", TABLE)
def test_expected_distinct_experts(experts, top_k):
    for tokens, expected in zip(TOKENS, TABLE[experts, top_k], strict=True):
        assert expected_distinct(experts, top_k, tokens) == pytest.approx(expected, abs=0.051)
        assert distinct_experts(experts, top_k, tokens) == int(expected_distinct(experts, top_k, tokens) + 0.5)


def test_the_simulated_mean_agrees():
    rng, runs = random.Random(0), 2000
    mean = sum(len({e for _ in range(8) for e in rng.sample(range(128), 6)}) for _ in range(runs)) / runs
    assert expected_distinct(128, 6, 8) == pytest.approx(mean, abs=0.3)


def test_a_half_is_rounded_up():
    assert expected_distinct(8, 2, 2) == 3.5
    assert distinct_experts(8, 2, 2) == 4
    assert expected_distinct(18, 3, 2) == 5.5  # 1 - 3/18 is not a float: floating point would be slightly off
    assert distinct_experts(18, 3, 2) == 6


@given(st.integers(1, 600), st.data())
def test_exact_and_within_its_limits(experts, data):
    top_k = data.draw(st.integers(1, experts))
    tokens = data.draw(st.integers(1, 300))
    exact = experts * (1 - Fraction(experts - top_k, experts) ** tokens)
    assert expected_distinct(experts, top_k, tokens) == float(exact)
    assert distinct_experts(experts, top_k, tokens) == min(max((2 * exact + 1) // 2, top_k), experts)
    assert distinct_experts(experts, top_k, tokens) <= distinct_experts(experts, top_k, tokens + 1)


def test_distinct_experts_of_very_many_tokens():
    assert distinct_experts(512, 22, 2**20) == 512
    assert distinct_experts(10**5, 1, 10**5) == 63212  # nearly E (1 - 1/e)


@given(st.integers(1, 10**6), st.integers(1, 512))
def test_assignments_are_spread_evenly(assignments, experts):
    groups = spread(assignments, experts)
    assert 1 <= len(groups) <= 2
    assert sum(n * rows for n, rows in groups) == assignments
    assert max(rows for _, rows in groups) - min(rows for _, rows in groups) <= 1
    assert sum(n for n, _ in groups) == min(assignments, experts)


skews = st.sampled_from(["even", "zipf(0.5)", "zipf(1)", "zipf(1.75)", "zipf(10)"])


def popularity(experts, top_k, a):
    """min(1, c / i^a) that sum to top_k: c by bisection."""
    low, high = 0.0, float(experts) ** (a + 1) * top_k
    for _ in range(300):
        middle = (low + high) / 2
        total = sum(min(1.0, middle / i**a) for i in range(1, experts + 1))
        low, high = (middle, high) if total < top_k else (low, middle)
    return [min(1.0, low / i**a) for i in range(1, experts + 1)]


@pytest.mark.parametrize("a", [0.5, 1, 2])
@pytest.mark.parametrize("experts, top_k", TABLE)
def test_skewed_choice_touches_fewer_experts(experts, top_k, a):
    for tokens in TOKENS:
        expected = sum(1 - (1 - p) ** tokens for p in popularity(experts, top_k, a))
        assert expected_distinct(experts, top_k, tokens, f"zipf({a})") == pytest.approx(expected, rel=1e-9)
        assert expected <= expected_distinct(experts, top_k, tokens) + 1e-9


def test_no_skew_is_even():
    for tokens in TOKENS:
        for more in (0, 100):
            even = expected_distinct(128, 6, tokens + more)
            assert expected_distinct(128, 6, tokens + more, "zipf(0)") == even
            assert expected_distinct(128, 6, tokens + more, "zipf(0.000001)") == pytest.approx(even, rel=1e-5)


@given(st.integers(1, 200), st.integers(1, 300), skews, st.data())
def test_rows_of_a_step(experts, tokens, skew, data):
    top_k = data.draw(st.integers(1, experts))
    found = groups(experts, top_k, tokens, skew)
    assert sum(n * rows for n, rows in found) == tokens * top_k
    assert sum(n for n, _ in found) == distinct_experts(experts, top_k, tokens, skew)
    assert all(n >= 1 and 1 <= rows <= tokens for n, rows in found)
    assert [rows for _, rows in found] == sorted({rows for _, rows in found}, reverse=True)


def test_the_most_popular_experts_see_nearly_every_token():
    p = popularity(128, 6, 1)
    rows = [r for n, r in groups(128, 6, 10_000, "zipf(1)") for _ in range(n)]
    assert len(rows) == 128
    for ours, likely in zip(rows, p, strict=True):
        assert ours == pytest.approx(10_000 * likely, abs=3 + 0.01 * 10_000 * likely)


def test_a_skewed_step_does_the_same_work_on_fewer_weights():
    model = load_model("nemotron3-nano-30b-a3b")
    even, skewed = (lower(model, "decode", 64, 100, skew=skew) for skew in ("even", "zipf(1)"))
    for a, b in zip(even, skewed, strict=True):
        assert (a.name, a.dot_macs, a.vector) == (b.name, b.dot_macs, b.vector)
        assert (a == b) != (a.kind == "experts")
        assert b.weight_elements < a.weight_elements or a.kind != "experts"


@pytest.mark.parametrize("skew", ["", "zipf", "zipf()", "zipf(-1)", "zipf(11)", "zipf(1e2)", "ZIPF(1)", "x" * 999])
def test_unknown_skews(skew):
    with pytest.raises(InputError, match=r"write `even` or `zipf\(0.8\)`"):
        lower(load_model("llama2-7b"), "decode", 1, 1, skew=skew)
