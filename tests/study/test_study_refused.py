"""Errors in study files, each reported with its place before anything runs."""

import pytest

from hwsim.errors import InputError
from hwsim.study import load_study

HEAD = "name: t\nmachine: m0\nmodel: mamba2-130m\nrun: {weights: int8, context: 64}\n"


def refused(tmp_path, text):
    """The errors of a study file, without the folder in their paths."""
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_study(path)
    return [p.replace(f"{tmp_path}/", "") for p in caught.value.problems]


@pytest.mark.parametrize(
    ("grid", "problem"),
    [
        ("run.bach: [1]", "s.yaml:6:3: grid.run.bach: unknown; did you mean run.batch?"),
        ("batch: [1]", "s.yaml:6:3: grid.batch: is not a setting of machine, model or run; did you mean run.batch?"),
        ("run: [1]", "s.yaml:6:3: grid.run: is not a setting of machine, model or run"),
        ("dram.latency: [1 us]", "s.yaml:6:3: grid.dram.latency: is not a setting of machine, model or run; did you"),
        ("machine.dram.bandwith: [1 GB/s]", "s.yaml:6:3: dram.bandwith: unknown; did you mean bandwidth?"),
        ("machine.drum.bandwidth: [1 GB/s]", "s.yaml:6:3: drum: unknown; did you mean dram?"),
        ("machine.dram.bandwidth: [1 GB/s, 1 GB]", "s.yaml:6:36: dram.bandwidth: `1 GB` is a quantity in B"),
        ("machine.dot.rates.7.rate: [1 MAC/cycle]", "s.yaml:6:3: `7` is not an index of this list"),
        ("model.hiden: [64]", "s.yaml:6:3: hiden: unknown; did you mean hidden?"),
        ("model.hidden: [768, x]", "s.yaml:6:23: hidden: `x`; write a whole number"),
        ("run.batch: [1, 0]", "s.yaml:6:18: run.batch: `0`"),
        ("run.batch: [1, 1]", "s.yaml:6:18: grid.run.batch.1: is listed twice; remove one"),
        ("run.batch: []", "s.yaml:6:14: grid.run.batch: has 0 items; write at least 1"),
        ("run.batch: 1", "s.yaml:6:14: grid.run.batch: `1`; write a list"),
        (
            "run.phase: [decode, decod]",
            "s.yaml:6:23: run.phase: `decod` is not known; write decode, prefill, train or serve",
        ),
        ("run.weights: [int8, int9]", "s.yaml:6:23: run.weights: unknown format 'int9'; did you mean int8?"),
        ("run.weights: [{mlp: int8}]", "s.yaml:6:17: run.weights: weights: there is no `default`; write one"),
        ("run.weights: [{mpl: int8, default: int8}]", "s.yaml:6:17: run.weights: weights: unknown class 'mpl'"),
        ("run.weights: [int8, published-fp8]", "s.yaml:6:23: grid.run.weights.1: mamba2-130m has no presets"),
        ("run.kv: [seedlm4]", "s.yaml:6:12: run.kv: seedlm4 is a weight format"),
        ("machine: [m0, m9]", "s.yaml:6:17: grid.machine.1: `m9`: no such machine and no such file"),
        ("machine: [3]", "s.yaml:6:13: grid.machine.0: is a number; write the name or path of a machine"),
        ("model: [lama3-8b]", "s.yaml:6:11: grid.model.0: `lama3-8b`: no such model and no such file; did you mean"),
    ],
)
def test_an_axis_is_refused_at_its_place(tmp_path, grid, problem):
    problems = refused(tmp_path, f"{HEAD}grid:\n  {grid}\n")
    assert [p for p in problems if p.startswith(problem)], problems


def test_every_error_is_reported_at_once(tmp_path):
    grid = "grid:\n  run.batch: [0, 1]\n  machine.dram.latency: [1 TB, 5 cycles]\n  model.vocab: [x, 64]\n"
    problems = refused(tmp_path, HEAD + grid)
    assert [p.split(":")[1] for p in problems] == ["6", "7", "8"]


def test_no_machine_no_model(tmp_path):
    problems = refused(tmp_path, "name: t\ngrid: {run.batch: [1]}\n")
    assert [p.split(": ")[1] for p in problems] == ["machine", "model"]


def test_a_wrong_name_is_reported_with_the_other_errors(tmp_path):
    problems = refused(tmp_path, HEAD.replace("mamba2-130m", "mamba-130m") + "grid:\n  run.bach: [1]\n")
    assert problems[1] == "s.yaml:3:8: model: `mamba-130m`: no such model and no such file; did you mean mamba2-130m?"


def test_unknown_study():
    with pytest.raises(InputError, match="unknown study nano-format; did you mean nano-formats"):
        load_study("nano-format")


def test_errors_in_the_machine_file_keep_their_place(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\nclok: 1 GHz\n")
    problems = refused(tmp_path, HEAD.replace("m0", "mine.yaml") + "grid:\n  run.batch: [1]\n")
    assert "mine.yaml:2:1: clok: unknown; did you mean clock?" in problems


def test_too_many_points(tmp_path):
    many = ", ".join(map(str, range(1, 400)))
    problems = refused(tmp_path, f"{HEAD}grid:\n  run.batch: [{many}]\n  run.context: [{many}]\n")
    assert problems == ["s.yaml:5:1: grid: has 159,201 points; write a grid with at most 100,000"]


def test_values_that_contradict_one_another_are_points_with_an_error(tmp_path):
    """A buffer too small for one tile list and not for the other: each value works in another combination."""
    grid = "grid:\n  machine.buffers.weights: [1 MB, 4 KiB]\n  machine.tiles: [[512x256x512], [32x32x32]]\n"
    path = tmp_path / "s.yaml"
    path.write_text(HEAD + grid)
    points = load_study(path).points
    assert [p.error is None for p in points] == [True, True, False, True]
    assert "is too small for every tile listed" in points[2].error
    assert len({p.key for p in points}) == 4
