"""Studies of training steps: points, keys, refusals, the best plan that fits, and a report."""

from __future__ import annotations

import json

import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.study import load_study, run_study
from hwsim.study.text import summary_text

STUDY = """
name: plans
description: How to train Llama 3 70B on 64 chips
machine: gb200
model: llama3-70b
run: {phase: train, batch: 256, context: 8192}
grid:
  run.recipe: [bf16, mxfp8]
  run.recompute: [none, 20]
  run.parallel: ["dp=64", "dp=8,tp=2,pp=4,vp=5"]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "plans.yaml"
    path.write_text(STUDY)
    return path


def test_points_are_those_of_train(file, tmp_path):
    summary = run_study(load_study(file), tmp_path / "out", workers=1)
    assert (summary.points, summary.ran, summary.failed) == (8, 8, 0)
    lines = [json.loads(line) for line in (tmp_path / "out" / "points.jsonl").read_text().splitlines()]
    for line in lines:
        p = line["point"]
        found = hwsim.train(
            "gb200", "llama3-70b", 256, 8192, recipe=p["run.recipe"], recompute=p["run.recompute"],
            parallel=p["run.parallel"],
        )  # fmt: skip
        assert line["seconds"] == found.seconds
        assert line["tokens_per_second"] == pytest.approx(found.tokens_per_second)
        assert (line["chips"], line["phase"]) == (64, "train")
        assert line["memory"]["total"] == found.memory.total
        assert sum(row["cycles"] for row in line["by_op"]) == line["cycles"] == sum(line["stalls"].values())
        assert line["bound_cycles"] <= line["cycles"]
    # with a whole copy of the weights per chip nothing fits: 6 + 12/64 bytes of 70 billion; the best plan is another
    assert {line["memory"]["fits"] for line in lines if line["point"]["run.parallel"] == "dp=64"} == {False}
    fitting = [line for line in lines if line["memory"]["fits"]]
    best = max(fitting, key=lambda line: line["tokens_per_second"])
    assert summary.best[0] == (best["tokens_per_second"], best["point"])
    assert "fastest" in summary_text(summary)


def test_macs_of_a_step(file, tmp_path):
    """One stage holds all of a model that is not divided: three passes of every linear, and 3.5 of attention's core."""
    study = tmp_path / "one.yaml"
    study.write_text(
        "name: one\nmachine: gb200\nmodel: llama3-8b\nrun: {phase: train, batch: 2, context: 2048}\n"
        "grid:\n  run.recipe: [bf16]\n"
    )
    run_study(load_study(study), tmp_path / "out", workers=1)
    line = json.loads((tmp_path / "out" / "points.jsonl").read_text())
    h, f, v, layers, tokens = 4096, 14336, 128256, 32, 2 * 2048
    linear = 3 * tokens * (layers * (h * (h + 2 * 1024) + h * h + 3 * h * f) + v * h)
    core = 2 * layers * 2048 * 2049 // 2 * 2 * h
    assert line["macs"] == pytest.approx(linear + 3.5 * core, rel=1e-9)


def test_finished_points_are_kept(file, tmp_path):
    study = load_study(file)
    run_study(study, tmp_path / "out", workers=1)
    assert run_study(study, tmp_path / "out", workers=1).kept == 8


def test_options_of_a_run_do_not_change_a_training_point(file):
    """A point's key follows from what its result depends on."""
    other = file.with_name("other.yaml")
    other.write_text(STUDY.replace("phase: train", "phase: train, weights: fp8"))
    assert [p.key for p in load_study(file).points] == [p.key for p in load_study(other).points]


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("run.recompute: [none, 20]", "run.recompute: [none, 99]", "99 layers, but the model has 80"),
        ('["dp=64"', '["dp=63"', "256 sequences do not divide"),
        ('["dp=64"', '["dp=64,xp=2"', "unknown degree 'xp'"),
        ('["dp=64"', '["tensr"', "`tensr` is not known"),
        ("[bf16, mxfp8]", "[bf16, mxfp9]", "unknown mxfp9; did you mean mxfp8?"),
        ("phase: train", "phase: trian", "phase: `trian` is not known"),
        ("model: llama3-70b", "model: dlrm-v2", "tp: dlrm-v2 is a graph"),
    ],
)
def test_refused(file, old, new, words):
    assert old in STUDY
    file.write_text(STUDY.replace(old, new))
    with pytest.raises(InputError) as error:
        load_study(file)
    assert words in str(error.value)
