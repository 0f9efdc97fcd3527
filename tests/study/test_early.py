"""What a study says before and after it runs: points that will fail, labels of axes, the cheapest of equal points."""

import json
from itertools import groupby

import pytest
import yaml
from typer.testing import CliRunner

from hwsim.arch.builtin import arch_folder
from hwsim.cli import app
from hwsim.study import load_study, run_study
from hwsim.study.early import failures
from hwsim.study.explore import _known as explore_known
from hwsim.study.grid import read_grid
from hwsim.study.text import short_paths, summary_text
from hwsim.study.work import Summary


@pytest.fixture
def mixed(tmp_path):
    """Seeds times fp8 have no rate on this machine; a third of the points."""
    study = {"name": "mixed", "machine": "edge-mx", "model": "mamba2-130m", "run": {"context": 64}}
    study["grid"] = {"run.weights": ["int8", "mxfp4", "seedlm4"], "run.batch": [1, 2]}
    path = tmp_path / "mixed.yaml"
    study["grid"]["run.activations"] = ["mxint8", "fp8"]
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def test_points_that_will_fail_are_said_before_any_is_run(mixed, tmp_path):
    asked = load_study(mixed)
    said = failures(asked)
    run_study(asked, tmp_path / "o", workers=1)
    lines = [json.loads(line) for line in (tmp_path / "o" / "points.jsonl").read_text().splitlines()]
    errors = sorted(line["error"]["message"] for line in lines if line["error"])
    assert errors and len(errors) < len(lines)
    assert sorted(said) == [(why, len(list(some))) for why, some in groupby(errors)]
    done = CliRunner().invoke(app, ["study", str(mixed), "--out", str(tmp_path / "p"), "--workers", "1"])
    first, *_ = done.stderr.splitlines()
    assert first.startswith(f"mixed: {said[0][1]} of {len(lines)} points will fail: edge-mx: ")


def test_a_seed_format_without_a_pair_names_itself_and_the_setting(mixed):
    (why,) = [why for why, _ in failures(load_study(mixed)) if "seedlm4" in why]
    assert "weights seedlm4 are regenerated to" in why and "`regenerate.feeds`" in why and "fp8_e4m3" in why


def test_labels_keep_as_much_of_the_path_as_tells_them_apart():
    paths = ["run.weights", "machine.buffers.weights", "machine.dot.rates.0.rate", "machine.regenerate.rate", "model"]
    assert short_paths(paths) == {
        "run.weights": "run.weights",
        "machine.buffers.weights": "buffers.weights",
        "machine.dot.rates.0.rate": "0.rate",
        "machine.regenerate.rate": "regenerate.rate",
        "model": "model",
    }
    assert short_paths(["machine.dram.bandwidth"]) == {"machine.dram.bandwidth": "bandwidth"}


def test_of_points_that_are_as_fast_the_one_with_the_least_memory_is_named(tmp_path):
    study = {"name": "t", "machine": "m0", "model": "mamba2-130m", "run": {"weights": "int8", "context": 64}}
    study["grid"] = {"machine.dram.capacity": ["32 GB", "16 GB"], "run.batch": [1, 2]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    summary = run_study(load_study(tmp_path / "s.yaml"), tmp_path / "o", workers=1)
    lines = [json.loads(line) for line in (tmp_path / "o" / "points.jsonl").read_text().splitlines()]
    speeds = sorted({line["tokens_per_second"] for line in lines}, reverse=True)
    assert [speed for speed, _ in summary.best] == speeds and summary.alike == (1, 1)
    assert "(and 1 more point as fast)" in summary_text(summary)


def test_an_ideal_machine_is_marked_beside_a_measured_one(tmp_path):
    """The marks are those of the lines; where all machines are ideal there is nothing to be careful about."""
    study = {"name": "t", "model": "mamba2-130m", "run": {"context": 64}, "grid": {"machine": ["h200-sxm", "h100-sxm"]}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    text = summary_text(run_study(load_study(tmp_path / "s.yaml"), tmp_path / "o", workers=1))
    lines = [json.loads(line) for line in (tmp_path / "o" / "points.jsonl").read_text().splitlines()]
    known = {line["machine"]: line["provenance"] for line in lines}
    (ideal, other) = (next(x for x in text.splitlines() if f"machine {m}" in x) for m in ("h200-sxm", "h100-sxm"))
    assert known["h200-sxm"]["ideal"] == 1 and "tokens/s (ideal): " in ideal
    assert f"{100 * known['h100-sxm']['measured']:.3g} % measured" in other
    assert "compare them with care" in text
    said = explore_known(read_grid(tmp_path / "o"))
    assert "ideal on h200-sxm" in said and "measured, " in said and "with care" in said
    study["grid"] = {"machine": ["h200-sxm", "m0"]}
    study["run"]["weights"] = "int8"
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    assert "with care" not in summary_text(run_study(load_study(tmp_path / "s.yaml"), tmp_path / "p", workers=1))
    assert explore_known(read_grid(tmp_path / "p")) == " Times are ideal on h200-sxm, m0."


def test_a_summary_of_an_earlier_version_has_no_count():
    assert "more point" not in summary_text(Summary("t", 1, 1, 0, 0, "o/points.jsonl", (), ((5.0, {"run.batch": 1}),)))


def test_the_list_of_machines_marks_those_that_cannot_be_bought():
    rows = CliRunner().invoke(app, ["arch"]).stdout.splitlines()[2:]
    marked = {row.split()[0] for row in rows if "(hypothetical)" in row}
    files = {path.stem for path in arch_folder().glob("*.yaml") if "\nhypothetical: true" in path.read_text()}
    assert marked == files and "h200-sxm-regen" in marked
