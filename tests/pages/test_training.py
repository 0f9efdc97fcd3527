"""The model of `make training` against finite differences and formulas, and its page against its table of losses."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwsim.formats import get_format
from hwsim.formats.training import HIGH, LinearRecipe, ModelRecipe
from hwsim.pages import gpt, training
from hwsim.pages import training_page as page

REPORTS = Path(__file__).parents[2] / "reports"
SMALL = gpt.Shape(layers=2, width=16, heads=2, inner=32, context=8)


def alike(name: str) -> ModelRecipe:
    return ModelRecipe(LinearRecipe(*[get_format(name, threads=1)] * 3))


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, 9)).astype(np.uint8)


@pytest.mark.parametrize("name", gpt.Shape(layers=1).initial(np.random.default_rng(0)))
def test_gradients_of_the_model_are_finite_differences_in_float64(name, batch):
    """Central differences along a random direction: their error is of second order in 1e-5."""
    rng = np.random.default_rng(2)
    p = {key: value + 0.1 * rng.standard_normal(value.shape) for key, value in SMALL.initial(rng).items()}
    model = gpt.Gpt(SMALL, ModelRecipe(HIGH))
    loss, gradients = model.gradients(p, batch, 0)
    assert gradients.keys() == p.keys() and loss == model.loss(p, batch)
    way = rng.standard_normal(p[name].shape)
    ends = [model.loss({**p, name: p[name] + step * way}, batch) for step in (1e-5, -1e-5)]
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx((gradients[name] * way).sum(), rel=1e-5)


def test_fp32_as_a_format_is_high_precision_to_the_bit(batch):
    p = SMALL.initial(np.random.default_rng(3))
    one, two = (gpt.Gpt(SMALL, recipe).gradients(p, batch, 0) for recipe in (ModelRecipe(HIGH), alike("fp32")))
    assert one[0] == two[0]
    for name in p:
        np.testing.assert_array_equal(one[1][name], two[1][name])


def test_the_loss_of_an_even_guess_and_of_a_shifted_one():
    targets = np.array([[1, 0, 3]])
    loss, backward = gpt.cross_entropy(np.full((1, 3, 4), 7.0), targets)
    assert loss == pytest.approx(math.log(4)) and backward().sum() == pytest.approx(0, abs=1e-15)
    logits = np.random.default_rng(0).standard_normal((1, 3, 4))
    by_hand = -np.mean([math.log(math.exp(row[t]) / sum(map(math.exp, row)))
                        for row, t in zip(logits[0].tolist(), targets[0], strict=True)])  # fmt: skip
    assert gpt.cross_entropy(logits, targets)[0] == pytest.approx(by_hand, rel=1e-12)


def test_attention_sees_no_later_token():
    q, k, v = np.random.default_rng(4).standard_normal((3, 1, 2, 6, 8))
    before, _ = gpt.attention(q, k, v)
    k[:, :, 4:], v[:, :, 4:] = 9, 9
    after, _ = gpt.attention(q, k, v)
    np.testing.assert_array_equal(before[:, :, :4], after[:, :, :4])
    np.testing.assert_allclose(before[:, :, 0], v[:, :, 0])
    assert (before[:, :, 4:] != after[:, :, 4:]).all()


def test_adam_by_its_formulas():
    """Two steps against arithmetic with bias correction as the paper writes it (algorithm 1)."""
    adam, p = gpt.Adam(), {"a": np.array([1.0, -2.0])}
    m = v = np.zeros(2)
    wanted = p["a"].copy()
    for step, g in enumerate((np.array([0.5, -3.0]), np.array([-0.25, 1.0])), 1):
        adam.update(p, {"a": g}, 0.01)
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        wanted -= 0.01 * (m / (1 - 0.9**step)) / np.sqrt(v / (1 - 0.95**step))
        np.testing.assert_allclose(p["a"], wanted, rtol=1e-6)


def test_the_rate_rises_stays_and_falls():
    schedule = training.TRAINING
    rates = [schedule.at(step) for step in range(schedule.steps)]
    assert max(rates) == schedule.rate == 1e-3 and rates[0] == 1e-3 / schedule.warmup
    assert rates[schedule.warmup - 1 : schedule.steps - schedule.decay + 1] == [1e-3] * (
        schedule.steps - schedule.decay - schedule.warmup + 2
    )
    assert sorted(rates[-schedule.decay :], reverse=True) == rates[-schedule.decay :] and rates[-1] > 0


def test_held_out_text_is_not_trained_on_and_batches_are_paired():
    data = training.text()
    values, held = training.split(data)
    assert len(values) + held[:, :-1].size <= len(data) and len(values) == len(data) * 9 // 10
    joined = np.append(held[:, :-1].ravel(), held[-1, -1])
    assert data[len(values) :].startswith(joined.tobytes())
    one, two = (list(training.batches(values, 3, training.TUNING)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert (one[0] != next(training.batches(values, 4, training.TUNING))).any()


@pytest.fixture(scope="module")
def short() -> tuple[np.ndarray, np.ndarray, training.Schedule]:
    """Training text, 16 held-out sequences, and a schedule of 20 steps."""
    values, held = training.split(training.text())
    return values, held[:16], replace(training.TRAINING, steps=20, warmup=5, decay=5)


@pytest.mark.slow
@pytest.mark.parametrize("name", training.RECIPES)
def test_twenty_steps_in_each_recipe_learn(name, short):
    values, held, schedule = short
    model, p = gpt.Gpt(training.SHAPE, training.RECIPES[name]), training.SHAPE.initial(np.random.default_rng(1))
    losses = training.train(model, p, values, 1, schedule)
    assert losses[0] == pytest.approx(math.log(256), rel=0.1) and all(np.isfinite(losses))
    assert training.validation(model, p, held) < 4 < losses[0]


@pytest.mark.slow
def test_frozen_layers_stay_and_the_others_learn(monkeypatch, short):
    values, held, schedule = short
    model, p = gpt.Gpt(training.SHAPE, ModelRecipe(HIGH)), training.SHAPE.initial(np.random.default_rng(2))
    before = {name: value.copy() for name, value in p.items()}
    training.train(model, p, values, 2, schedule, frozenset(training.SHAPE.linears))
    changed = {name for name in p if (p[name] != before[name]).any()}
    assert changed == p.keys() - training.SHAPE.linears.keys()


def test_finished_runs_are_kept_until_something_changes(tmp_path, monkeypatch):
    made = []

    def pretrained(recipe, seed, data):
        made.append((recipe, seed))
        return training.Run(recipe, seed, [1.0], None, 2.0, 0.0), {}

    monkeypatch.setattr(training, "pretrained", pretrained)
    monkeypatch.setattr(training, "FROZEN_FORMATS", ())
    first = training.runs(tmp_path, lambda line: None)
    assert len(made) == len(training.RECIPES) * len(training.SEEDS) == len(list(tmp_path.iterdir()))
    assert training.runs(tmp_path, lambda line: None) == first and len(made) == len(first)
    (tmp_path / "mxfp8-2.json").unlink()  # as an interrupted run leaves it
    assert training.runs(tmp_path, lambda line: None) == first and made[-1] == ("mxfp8", 2)
    monkeypatch.setattr(training, "text", lambda: b"another text")
    training.runs(tmp_path, lambda line: None)
    assert len(made) == 2 * len(first) + 1
    assert json.loads((tmp_path / "mxfp8-2.json").read_text())["seed"] == 2


def test_operand_bytes_by_arithmetic():
    """Blocks of 32 divide every axis: n (4 or 1 + 1/32 or ...) bytes, twice per operand of each layer."""
    tokens = training.TRAINING.sequences * training.SHAPE.context
    sizes = training.SHAPE.linears
    values = {name: 2 * (n * k + tokens * k + tokens * n) for name, (n, k) in sizes.items()}
    assert page.operand_bytes("fp32") == 4 * sum(values.values())
    assert page.operand_bytes("mxfp8") == sum(values.values()) * 33 // 32
    assert page.operand_bytes("mxfp4") == sum(values.values()) * 17 // 32
    of_head, tensor_scales = values["head"], 6 * 4 * (len(sizes) - 1)
    high = 4 * of_head + (sum(values.values()) - of_head) * 9 // 16 + tensor_scales
    assert page.operand_bytes("nvfp4, head fp32") == high


def losses_of(**validation: list[float]) -> page.Losses:
    found = {}
    for name in [*training.RECIPES, *(training.FROZEN + form for form in training.FROZEN_FORMATS)]:
        values = validation.get(name.replace(" ", "_").replace(",", ""), [2.0, 2.1, 2.2, 2.3, 2.4])
        curve = [3.0] * (training.TRAINING.steps // page.MEAN_OF)
        found[name] = [training.Run(name, seed, curve, 2.5, value, 1.0) for seed, value in enumerate(values, 1)]
    return page.Losses(found, ("1.x", "3.x", "2.x", "00"))


def test_goals_follow_the_losses():
    """Spread of 2.0 to 2.4 in steps of 0.1: sqrt(0.025) = 0.1581."""
    equal = page.goals(losses_of())
    assert [row[2] for row in equal] == ["no", "yes", "yes"]
    assert equal[1][1] == "+0.0000 against 0.1581"
    won = losses_of(mxfp4=[2.1, 2.2, 2.3, 2.4, 2.5], mxfp8=[2.2, 2.3, 2.4, 2.5, 2.6])
    assert [row[2] for row in page.goals(won)] == ["yes", "no", "yes"]
    lost = losses_of(mxfp4=[2.1, 2.2, 2.3, 2.4, 2.3])
    assert page.goals(lost)[0][1:] == ["4 of 5 seeds", "no"]


def test_intervals_by_hand():
    assert page.interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == "+3.0000 ± 1.9629"  # 2.776 sqrt(2.5 / 5)


KEPT = REPORTS / "training.csv"


@pytest.fixture(scope="module")
def kept() -> page.Losses:
    return page.read(KEPT.read_text(encoding="utf-8"))


def test_the_table_holds_every_run_once(kept):
    wanted = {*training.RECIPES, *(training.FROZEN + form for form in training.FROZEN_FORMATS)}
    assert kept.runs.keys() == wanted
    for name, found in kept.runs.items():
        assert [run.seed for run in found] == list(training.SEEDS), name
    assert re.fullmatch("[0-9a-f]{64}", kept.made[3])


def test_the_page_is_that_of_the_table(kept):
    text = (REPORTS / "training.md").read_text(encoding="utf-8")
    assert text.startswith(page.page(kept) + "\n## Time and bytes per step\n")  # the rest is the simulator's
    assert kept.made[3] in text and f"Python {kept.made[1]}" in text


def test_what_the_runs_were_to_show(kept):
    """Four bits everywhere cost more than four bits in the weights; eight and six bits are within the spread."""
    with KEPT.open(encoding="utf-8") as file:
        loss = {(row["run"], row["seed"]): float(row["validation_loss"]) for row in csv.DictReader(file)}
    seeds = [str(seed) for seed in training.SEEDS]
    gap = {run: [loss[run, s] - loss["fp32", s] for s in seeds] for run in training.RECIPES}
    assert all(a > b for a, b in zip(gap["mxfp4"], gap["mxfp4 weights, mxfp6_e3m2"], strict=True))
    spread = np.std([loss["fp32", s] for s in seeds], ddof=1)
    assert np.mean(gap["mxfp8"]) < spread and np.mean(gap["mxfp6_e3m2"]) < spread


def test_the_text_is_the_one_that_was_trained_on_where_python_is_the_same(kept):
    import platform

    if kept.made[1] != platform.python_version():
        pytest.skip(f"the page was made with Python {kept.made[1]}; other releases have other help topics")
    assert hashlib.sha256(training.text()).hexdigest() == kept.made[3]


@pytest.mark.slow
def test_the_simulated_step_names_every_recipe():
    section = page.simulated()
    rows = re.findall(r"^\| (\w[^|]*) \| ([\d.]+) \| ([\d.]+) \| [\d,]+ \| [\d.]+ \|$", section, re.M)
    assert [row[0] for row in rows] == list(page.SIMULATED.values())
    bf16, *others = ((float(step), float(encode)) for _, step, encode in rows)
    assert bf16[1] == 0 and all(step < bf16[0] and 0 < encode < step for step, encode in others)


@pytest.mark.slow
def test_a_run_repeats_to_the_spread(kept):
    """fp32 of seed 1 again: the same up to the order of sums, unless Python's topics differ."""
    run, _ = training.pretrained("fp32", 1, training.text())
    assert run.validation == pytest.approx(kept.runs["fp32"][0].validation, abs=0.1)
