"""Whole models: the fit of a stack, rows to commands, and the page's CSV against what those commands print."""

import csv
import json
import random
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.arch.stack import load_stack, stack_names
from hwsim.jobs.serve import Deployment
from hwsim.measured import served, stacks
from hwsim.measured.served import Measured, Point, Software, arguments, fit, left_out, predict, request
from hwsim.measured.sets import find

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "reports" / "serving.csv"


def made(kind, batch, step, sequence, model="m"):
    """A row measured under so much software, by arithmetic of its own; the device takes 4 ms and 20 us a sequence."""
    osl, device, prefill, prompts = 513, 4e-3 + 2e-5 * batch, 0.05, 2
    decode, prompt = device + step + sequence * batch, prefill + step / prompts
    waited = 512 * decode + (batch - 1) * prompt  # of one user, after the first token
    row = {"model": model, "chips": "1", "stack": "s"}
    if kind == "tpot":
        row["tpot_ms"] = str(1e3 * waited / 512)
    else:
        row["tokens_per_second"] = str(batch * 513 / (waited + prompt))
    return Measured("made", kind, row, batch, batch, 0.0, (Point(osl, batch, device, prefill, prompts),), "")


@pytest.mark.parametrize("kind", ["tpot", "serving"])
def test_a_stack_is_found_from_figures_that_it_made(kind):
    rows = [made(kind, batch, 1e-3, 1e-5) for batch in (1, 16, 64, 256)]
    assert fit(rows) == Software(pytest.approx(1e-3), pytest.approx(1e-5))
    assert max(abs(float(row.errors(1e-3, 1e-5))) for row in rows) < 1e-9
    assert min(float(abs(row.errors(0.0, 0.0))) for row in rows) > 0.05


def test_rows_of_one_batch_have_all_their_software_per_step():
    rows = [made("tpot", 1, 1e-3, 2e-5) for _ in range(3)]
    assert fit(rows) == Software(pytest.approx(1.02e-3), 0.0)


def test_a_model_left_out_is_predicted_by_the_others():
    """Model a has 1 ms per step, b none: each is missed by the other's number, and not in its own fit."""
    a = [made("tpot", batch, 1e-3, 0.0, "a") for batch in (1, 8, 64)]
    b = [made("tpot", batch, 0.0, 0.0, "b") for batch in (1, 8, 64)]
    found = {id(row): error for row, error in left_out([*a, *b])}
    assert all(found[id(row)] == pytest.approx(float(row.errors(0.0, 0.0))) and found[id(row)] < -0.05 for row in a)
    assert all(found[id(row)] == pytest.approx(float(row.errors(1e-3, 0.0))) and found[id(row)] > 0.05 for row in b)
    assert not list(left_out(a))


def test_the_closed_form_is_the_answer_of_the_command():
    """A row's prediction, and the same from its point without software with the stack's times added."""
    for name, machine in (("e2e_tpot", "b200"), ("serving", "a100-sxm")):
        dataset = find(name)[0]
        row = next(r for r in dataset.rows if r["machine"] == machine)
        (one,) = predict(dataset.kind, name, [row])
        stack = load_stack(row["stack"])
        assert float(one.errors(stack.step_seconds, stack.sequence_seconds)) == pytest.approx(one.error, rel=1e-9)
        figures = Deployment(row["machine"], request(row)).serve(int(row["batch"])).to_dict()
        assert one.predicted == figures[one.field]


def test_a_row_that_asks_for_more_than_fits_says_so():
    rows = [row for row in csv.DictReader(PAGE.open()) if row["note"]]
    assert rows and all(int(row["batch_served"]) < int(row["batch"]) for row in rows)


def test_every_row_names_a_stack_and_every_stack_has_rows():
    named = {row["stack"] for name in ("e2e_tpot", "serving", "serving_maxima") for row in find(name)[0].rows}
    assert named == set(stack_names()) - {"default", "none"}


def test_a_stack_s_file_is_rewritten_in_its_numbers_only():
    old = "name: x # hand\nstep: 0.3 ms # why\nsequence: 9 us\nsource: s\n"
    new = stacks.rewritten(old, Software(2.6e-4, 4e-6), "{rows: 3, models: 2, in_fit: 1.0}")
    assert new == (
        "name: x # hand\nstep: 0.26 ms # why\nsequence: 4 us\nfit: {rows: 3, models: 2, in_fit: 1.0}\nsource: s\n"
    )
    assert stacks.rewritten(new, Software(2.6e-4, 4e-6), "{rows: 3, models: 2, in_fit: 1.0}") == new


def test_the_shipped_fits_count_the_rows_of_their_datasets():
    rows = {}
    for name in ("e2e_tpot", "serving"):
        for row in find(name)[0].rows:
            if name == "e2e_tpot" or row["stack"] == stacks.FITTED_TO_RATES:
                rows.setdefault(row["stack"], []).append(row["model"])
    for name, models in rows.items():
        shipped = load_stack(name).fit
        assert (shipped.rows, shipped.models) == (len(models), len(set(models)))
    assert load_stack("default").fit.rows == len(find("e2e_tpot")[0].rows)


def test_the_page_s_csv_holds_every_row_in_order():
    wanted = [r for name in ("e2e_tpot", "families_tpot", "serving_maxima", "serving") for r in find(name)[0].rows]
    page = list(csv.DictReader(PAGE.open()))
    names = ("stack", "machine", "model", "weights", "activations", "kv", "chips", "isl", "osl", "batch")
    assert [[row[n] for n in names] for row in page] == [[row[n] for n in names] for row in wanted]


def _sample(count):
    rows = list(csv.DictReader(PAGE.open()))
    return random.Random(16).sample(rows, count)


def _answer(row):
    words = shlex.split(row["command"])
    assert words[0] == "hwsim"
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout)[row["field"]]


@pytest.mark.parametrize("row", _sample(8), ids=lambda row: f"{row['stack']}-{row['model']}-{row['batch']}")
def test_a_printed_command_answers_with_the_page_s_figure(row):
    assert repr(_answer(row)) == row["predicted"]


@pytest.mark.slow
def test_a_hundred_printed_commands_answer_with_the_page_s_figures():
    for row in _sample(100):
        assert repr(_answer(row)) == row["predicted"], row["command"]


def test_commands_leave_out_what_is_default():
    row = {"machine": "b200", "model": "m", "weights": "bf16", "activations": "", "kv": "", "isl": "1", "osl": "2"}
    row |= {"batch": "max", "chips": "1", "stack": "none"}
    words = ["b200", "--model", "m", "--weights", "bf16", "--isl", "1", "--osl", "2", "--batch", "7", "--stack", "none"]
    assert arguments(row, 7) == words
    assert arguments({**row, "chips": "2"}, 7)[-5:] == ["2", "--parallel", "tensor", "--stack", "none"]
    assert served.formats("head=bf16,default=fp8") == {"head": "bf16", "default": "fp8"}
