"""QSNR against the figures of the paper and of the facts, and Theorem 1's bound on every block."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.quality import (
    bdr_bound,
    by_class,
    class_text,
    error_ratios,
    qsnr,
    qsnr_of_arrays,
    qsnr_table,
    qsnr_text,
    sample,
)

MSFP16 = {"name": "msfp16", "m": 7, "k1": 16, "d1": 8, "k2": 16, "d2": 0}
POINTS = {"mx9": "mx9", "mx6": "mx6", "mx4": "mx4", "msfp16": MSFP16}


@cache
def drawn(distribution: str):
    return sample(distribution)


def db(name, distribution="normal_scaled", **options) -> float:
    return qsnr(get_format(name, **options), drawn(distribution)).db


def mx9_with(k2: int, d2: int) -> float:
    form = get_format({"m": 7, "k1": 16, "d1": 8, "k2": k2, "d2": d2})
    return qsnr(form, drawn("normal_scaled")[:2000]).db


@pytest.mark.parametrize("name, want", [("mx9", 46.6), ("mx6", 28.4), ("mx4", 15.8)])
def test_bdr_on_the_distribution_of_the_paper(name, want):
    assert db(name) == pytest.approx(want, abs=0.3)


@pytest.mark.parametrize("name, want", [("nvfp4", 20.4), ("mxfp4", 18.8)])
def test_four_bits_on_normal_numbers(name, want):
    assert db(name, "normal") == pytest.approx(want, abs=0.1)


def test_the_six_comparisons_of_the_paper():
    """arXiv 2302.08007, its claims in dB; ours within 1 dB."""
    mx9, fp8 = db("mx9"), db("fp8")
    assert mx9 - fp8 == pytest.approx(16, abs=1)
    assert mx9 - db(MSFP16) == pytest.approx(3.6, abs=1)
    assert mx9 - mx9_with(8, 1) == pytest.approx(2, abs=1)
    assert mx9_with(1, 1) - mx9 == pytest.approx(0.7, abs=1)
    assert mx9_with(2, 2) - mx9 == pytest.approx(0.5, abs=1)
    assert db("mxfp8_e5m2", scale_rule="rceil") < db("mx6") < fp8


OCP = {  # facts, section 1: another implementation, 20000 blocks
    "mxfp8_e4m3": (30.62, 31.16, 31.53), "mxfp8_e5m2": (25.35, 25.54, 25.54),
    "mxfp6_e3m2": (25.35, 25.54, 25.54), "mxfp6_e2m3": (30.95, 31.00, 30.96),
    "mxfp4_e2m1": (18.79, 19.04, 18.77), "mxint8": (41.67, 41.65, 41.62),
}  # fmt: skip


@pytest.mark.parametrize("name", OCP)
def test_scale_rules_on_normal_numbers(name):
    x = sample("normal", 1000)
    got = [qsnr(get_format(name, scale_rule=rule), x).db for rule in ("floor", "even", "rceil")]
    assert got == pytest.approx(OCP[name], abs=0.06)


@pytest.mark.parametrize("point", ["mx9", "mx6", "mx4", MSFP16, {"m": 3, "k1": 32, "k2": 4, "d2": 2}])
def test_the_bound_holds_on_every_block(point):
    """Theorem 1, also for maxima just below a power of two and for sub-blocks far below the maximum."""
    form = get_format(point)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((40_000, form.k1))
    x[:20_000] *= np.exp2(rng.integers(-12, 1, (20_000, form.k1)))
    x[10_000:30_000, rng.integers(form.k1)] = rng.choice([1, 1 - 2.0**-20, 0.99, 8, 0.25 - 2.0**-20], 20_000)
    x[30_000:35_000] = rng.uniform(1.9, 2.0, (5_000, form.k1))
    ratios = error_ratios(x, form.quantize(x))
    worst = -10 * np.log10(ratios.max())
    assert worst >= bdr_bound(form)
    assert worst < bdr_bound(form) + 14  # not far off either: the bound is of the right size


def test_the_bound_is_nearly_met():
    """The maximum a power of two and every other value half its own step: 0.25 next to it, 0.125 elsewhere."""
    form = get_format("mx4")
    x = np.full((1, 16), 0.125)
    x[0, :2] = 1.0, 0.25
    worst = -10 * np.log10(error_ratios(x, form.quantize(x))[0])
    assert bdr_bound(form) <= worst < bdr_bound(form) + 2.5


def test_bounds_of_the_paper():
    """Facts, section 2, to two digits."""
    want = {"mx9": 34.74, "mx6": 16.68, "mx4": 4.64, "msfp16": 30.10}
    got = {name: bdr_bound(get_format(point)) for name, point in POINTS.items()}
    assert got == pytest.approx(want, abs=0.01)
    assert bdr_bound(get_format("mx9"), 4) > bdr_bound(get_format("mx9"))


def test_rows_are_vectors_and_zero_rows_do_not_count():
    """int8 by hand: 0.5 is a tie, to 0, so 0.25 over 127^2 + 0.25, and 0; the row of zeros is left out."""
    x = np.array([[127, 0.5], [0, 0], [127, 1]])
    got = qsnr(get_format("int8"), x)
    assert (got.vectors, got.length) == (2, 2)
    assert got.db == pytest.approx(-10 * np.log10(0.25 / (127**2 + 0.25) / 2))
    assert qsnr(get_format("fp32"), x).db == np.inf
    assert qsnr(get_format("int8"), x.T, axis=0).db == got.db
    with pytest.raises(InputError, match="every row is zero"):
        qsnr(get_format("mxfp4"), np.zeros((2, 8)))


def test_tiny_and_huge_rows_weigh_the_same():
    x = sample("normal", 50).astype(np.float64)
    for scale in (2.0**-500, 2.0**500):
        assert error_ratios(x * scale, x * (scale * 1.01)) == pytest.approx(np.full(50, 1e-4), rel=1e-4)


def test_table_and_text():
    table = qsnr_table(["mx6", get_format("mxfp4", scale_rule="rceil")], ["normal", "laplace"], vectors=20)
    assert [(r.format, r.data) for r in table] == [
        ("mx6", "normal"), ("mx6", "laplace"), ("mxfp4_e2m1 rceil", "normal"), ("mxfp4_e2m1 rceil", "laplace")
    ]  # fmt: skip
    text = qsnr_text(table).splitlines()
    assert text[0].split() == ["QSNR,", "dB", "N(0,1)", "Laplace", "bound"]
    assert text[1].endswith(">= 16.68") and len(text) == 3
    with pytest.raises(InputError, match="did you mean laplace"):
        sample("laplac")


def test_arrays_of_a_file():
    """The last result pools the rows of all; vectors and arrays of zeros do not count."""
    a, b = sample("normal", 30, 64), sample("laplace", 10, 32) * 100
    named = [("a", a), ("bias", a[0]), ("zero", np.zeros((3, 8))), ("b", b.reshape(2, 5, 32))]
    got = qsnr_of_arrays(["mxfp4", "mx6"], iter(named))
    assert [(r.format, r.data, r.vectors) for r in got[:3]] == [
        ("mxfp4_e2m1", "a", 30), ("mxfp4_e2m1", "b", 10), ("mxfp4_e2m1", "all", 40)
    ]  # fmt: skip
    form = get_format("mxfp4")
    ratios = np.concatenate([error_ratios(x, form.quantize(x)) for x in (a, b)])
    assert got[2].db == pytest.approx(-10 * np.log10(ratios.mean()))
    assert got[2].worst_db == pytest.approx(-10 * np.log10(ratios.max()))
    assert got[5].bound_db == pytest.approx(16.68, abs=0.01) and got[2].bound_db is None
    with pytest.raises(InputError, match="no matrix"):
        qsnr_of_arrays(["mxfp4"], [("bias", a[0])])


def test_many_tensors_become_rows():
    x = sample("normal", 4, 32)
    text = qsnr_text(qsnr_of_arrays(["mx6", "mxint8"], [(f"layer.{i}", x) for i in range(8)])).splitlines()
    assert text[0].split() == ["QSNR,", "dB", "mx6", "mxint8"] and len(text) == 1 + 8 + 1 + 1
    assert text[-2].split()[0] == "all" and text[-1].split() == ["bound", ">=", "16.68"]


@pytest.mark.slow
def test_seed_formats_see_fewer_vectors_and_say_so():
    table = qsnr_table(["mx4", "seedlm4"], ["normal"], vectors=500)
    assert [r.vectors for r in table] == [500, 400] and table[1].db == pytest.approx(18.25, abs=0.1)
    assert qsnr_text(table).endswith("seedlm4: the first 400 vectors")


def test_largest_error_and_cosine_by_hand():
    """int8 of (127, 0.5) is (127, 0), of (127, 1) exact: the largest error is 0.5 / 127."""
    got = qsnr(get_format("int8"), np.array([[127, 0.5], [127, 1]]))
    assert got.max_error == pytest.approx(0.5 / 127, rel=1e-12)
    assert got.cosine == pytest.approx((127 / np.hypot(127, 0.5) + 1) / 2, rel=1e-12)


def test_importance_weighs_squares():
    """Columns without weight do not count; equal weights change nothing; by the formula for others."""
    x = sample("normal", 20, 64)
    form = get_format("mxfp4")
    q, h = form.quantize(x).astype(np.float64), np.arange(64.0)
    want = np.mean((h * (x - q) ** 2).sum(axis=1) / (h * x.astype(np.float64) ** 2).sum(axis=1))
    assert qsnr(form, x, importance=h).db == pytest.approx(-10 * np.log10(want))
    assert qsnr(form, x, importance=np.full(64, 3.0)).db == pytest.approx(qsnr(form, x).db)
    for bad in (np.ones(63), -np.ones(64), np.zeros(64), np.full(64, np.nan), np.array(["a"] * 64)):
        with pytest.raises(InputError, match="64 finite numbers"):
            qsnr(form, x, importance=bad)
    got = qsnr_of_arrays([form], [("a", x)], {"a": h})
    assert got[0].db == got[1].db == qsnr(form, x, importance=h).db
    with pytest.raises(InputError, match="importance: b: no weight of this name"):
        qsnr_of_arrays([form], [("a", x)], {"b": h})


def test_classes_pool_layers():
    a, b, c = sample("normal", 5, 32), sample("laplace", 7, 32), sample("student_t", 3, 32)
    got = by_class(qsnr_of_arrays(["mxfp4"], [("l.0.q", a), ("l.11.q", b), ("head", c)]))
    assert [(r.data, r.vectors) for r in got] == [("l.*.q", 12), ("head", 3), ("all", 15)]
    form = get_format("mxfp4")
    ratios = np.concatenate([error_ratios(x, form.quantize(x)) for x in (a, b)])
    assert got[0].db == pytest.approx(-10 * np.log10(ratios.mean()))
    assert len(class_text(got).splitlines()) == 2 + 3
