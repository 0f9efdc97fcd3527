"""Scores: folds, stacks and tables against arithmetic of their own; the pages' parts fit together."""

import numpy as np
import pytest

from hwsim.arch import load_arch
from hwsim.files.tables import markdown as table
from hwsim.measured.page import ranges
from hwsim.measured.score import Score, plain_fit, score_left_out, shares, transferred
from hwsim.measured.serving import Point, fit_stack
from hwsim.measured.sets import fit_set, kernel_sets, read_rows, values_of


def test_the_yardstick_finds_its_own_numbers():
    """Times made by t0 + max(mnk/R, bytes/BW) are predicted on other rows."""
    arch = load_arch("h100-sxm")
    rng = np.random.default_rng(0)
    rows = np.column_stack([2.0 ** rng.integers(0, 14, (300, 3)), np.zeros(300)])
    m, n, k = rows[:, 0], rows[:, 1], rows[:, 2]
    rows[:, 3] = 4e-6 + np.maximum(m * n * k / 4e14, 2 * (n * k + m * k + m * n) / 2.5e12)
    errors = plain_fit(arch, arch.cores.named("bfloat16"), rows[::2], rows[1::2])
    assert errors.max() < 1e-3


def test_a_chip_by_its_own_shares_is_itself():
    arch = load_arch("b200")
    cores = transferred(arch, shares(arch))
    assert cores.bandwidth == pytest.approx(arch.cores.bandwidth)
    assert cores.families[0].macs_per_second == pytest.approx(arch.cores.named("bfloat16").macs_per_second)


def test_a_chip_left_out_is_predicted_worse_than_one_that_was_fitted():
    for score in score_left_out():
        assert 0.05 < score.errors.mean() < 0.4


@pytest.mark.parametrize("name", ["prefill_bf16", "conv_prefill", "all_reduce"])
def test_numbers_of_a_set_are_found_again(name):
    """Times made by a set's own kernel with the committed numbers lead back to those."""
    arch = load_arch("h100-sxm")
    (one,) = [s for s in kernel_sets("h100", arch.cores, 3.35e12, 4.95e14) if s.name == name]
    truth = values_of(arch.cores, name)
    rows = [{**r, "us": str(1e6 * one.predict(arch.cores, truth, r))} for r in one.rows[::7]]
    found, limits = fit_set(one, arch.cores, {}, rows, steps=40)
    assert not limits
    errors = np.abs(one.predicted(arch.cores, found, rows) / one.predicted(arch.cores, truth, rows) - 1)
    assert errors.mean() < 0.02


def test_at_most_three_numbers_a_set_and_a_copy_rate_of_the_chip():
    for chip, name in (("h100", "h100-sxm"), ("b200", "b200")):
        for one in kernel_sets(chip, load_arch(name).cores, 1e12, 1e14):
            assert len(one.ranges) <= 3 + (one.name == "prefill_bf16")
            assert len(one.rows) > 20


def test_a_stack_is_found_from_rates_that_it_made():
    points = []
    for batch in (1, 16, 64, 256):
        step, prefill = 4e-3 + 2e-5 * batch, 0.05
        rate = batch * 512 / (512 * (step + 1e-3 + 1e-5 * batch) + batch * prefill)
        row = {"osl": "512", "tokens_per_second": str(rate)}
        points.append(Point(row, ((batch, step, prefill),)))
    assert fit_stack(points) == pytest.approx((1e-3, 1e-5))
    assert abs(points[0].error(1e-3, 1e-5)) < 1e-9


def test_ranges_of_m():
    errors = np.array([0.1, 0.2, 0.3, 0.4])
    score = Score("x", "y", errors, np.array([1, 16, 512, 513]))
    assert ranges(score, errors) == ["15.0", "30.0", "40.0"]


def test_table_is_markdown():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_rows_of_the_ground_truth_are_sane():
    for name in ("a100_gemm.csv", "h100_moe.csv", "b200_conv.csv", "h100_allreduce.csv"):
        assert all(float(row["us"]) > 1 for row in read_rows(name))
    assert all(float(row["tokens_per_second"]) > 1 for row in read_rows("serving.csv"))
