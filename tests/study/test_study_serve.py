"""Studies and searches of loads: points are those of `hwsim serve`, errors have places, and a page is drawn."""

import json
from dataclasses import replace

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.errors import InputError
from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving.capacity import find_rate
from hwsim.jobs.serving.file import load_folder, load_names, load_of, load_schema, over, read_load
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.traffic import Traffic
from hwsim.study import load_study, run_study
from hwsim.study.loads import pareto
from hwsim.study.page import write_html, write_page
from hwsim.study.search import Goal, run_search
from hwsim.study.space import load_space

STUDY = """\
name: rates
description: Rates and batch limits
machine: h100-sxm
model: llama3-8b
run: {phase: serve, requests: 40, lengths: 256/24, slo: "ttft=100ms,tpot=20ms", rate: 20/s}
grid:
  run.max_seqs: [4, 64]
  run.rate: [10/s, 40/s, 160/s]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rates.yaml"
    path.write_text(STUDY)
    return path


def lines(folder):
    return [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]


def test_points_are_those_of_serve(file, tmp_path):
    summary = run_study(load_study(file), tmp_path / "out", workers=1)
    assert (summary.points, summary.ran, summary.failed) == (6, 6, 0)
    for line in lines(tmp_path / "out"):
        p = line["point"]
        load = Load(
            p["run.rate"], requests=40, lengths="256/24", max_seqs=p["run.max_seqs"], slo="ttft=100ms,tpot=20ms"
        )
        alone = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load).run().served.to_dict()
        del alone["load"]
        assert {name: line[name] for name in alone} == json.loads(json.dumps(alone))
        assert line["goodput"] == pytest.approx(line["good_requests"] / line["seconds"])
    assert run_study(load_study(file), tmp_path / "out", workers=1).kept == 6


def test_step_times_of_a_neighbour_change_nothing(file, tmp_path):
    """Points share step times in one process; two processes have other neighbours."""
    run_study(load_study(file), tmp_path / "one", workers=1)
    run_study(load_study(file), tmp_path / "two", workers=2)
    assert sorted(map(json.dumps, lines(tmp_path / "one"))) == sorted(map(json.dumps, lines(tmp_path / "two")))


def test_a_load_file_stands_below_the_options_of_the_study(file, tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\nconcurrency: 3\nrequests: 7\nlengths: t.csv\n")
    (tmp_path / "t.csv").write_text("input_tokens,output_tokens\n100,5\n200,6\n")
    file.write_text(
        "name: x\nmachine: h100-sxm\nmodel: llama3-8b\nrun: {phase: serve, load: mine.yaml}\ngrid: {run.seed: [1, 2]}\n"
    )
    point = load_study(file).points[0]
    assert point.options.load == Load(users=3, requests=7, lengths=str(tmp_path / "t.csv"), seed=1)
    before = point.key
    (tmp_path / "t.csv").write_text("input_tokens,output_tokens\n100,5\n200,7\n")
    assert load_study(file).points[0].key != before
    file.write_text(file.read_text().replace("mine.yaml}", "mine.yaml, rate: 5/s}"))
    assert load_study(file).points[0].options.load == Load("5/s", requests=7, lengths=str(tmp_path / "t.csv"), seed=1)


@pytest.mark.parametrize("name", load_names())
def test_every_shipped_load_follows_the_schema_and_is_served(name):
    shipped = json.loads((load_folder() / "load.schema.json").read_text())
    assert shipped == load_schema()
    text = (load_folder() / f"{name}.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=load.schema.json\n")
    jsonschema.Draft202012Validator(shipped).validate(yaml.safe_load(text))
    load = load_of(over(read_load(name), {"requests": 20}))
    assert Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load).run().served.requests == 20


def test_the_command_takes_a_load_and_goes_over_it():
    words = "serve h100-sxm --model llama3-8b --load chat --requests 12 --scheduler sglang --json".split()
    done = CliRunner().invoke(app, words)
    load = replace(load_of(read_load("chat")), requests=12, scheduler="sglang")
    assert json.loads(done.stdout)["load"] == json.loads(json.dumps({f: getattr(load, f) for f in load.__slots__}))


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("rate: 20/s}", "rate: 0/s}", "rates.yaml:5:87: run.rate: '0/s' is not a rate; write a number above 0"),
        ("256/24", "256/x", "rates.yaml:5:44: run.lengths: 'x' is not a length"),
        ("ttft=100ms,", "ttf=1s,", "rates.yaml:5:57: run.slo: unknown 'ttf=1s'"),
        ("[4, 64]", "[4, 0]", "rates.yaml:7:21: run.max_seqs: `0`"),
        ("run.max_seqs: [4, 64]", "run.scheduler: [vllm, vlm]", "rates.yaml:7:25: run.scheduler: `vlm` is not known"),
        ("run.max_seqs: [4, 64]", "run.disaggregate: [1:0]", "rates.yaml:7:22: run.disaggregate: '1:0' is not P:D"),
        ("run.max_seqs: [4, 64]", "run.batch: [4]", "rates.yaml:7:15: run.batch: under load there is no such option"),
        ("phase: serve", "phase: decode", "run.requests: is an option of a load, not of phase decode"),
        ("rate: 20/s}", "trace: no.csv}", "rates.yaml:5:88: run.trace: stands beside rate; write one of them"),
        ("rate: 20/s}", "load: chta}", "rates.yaml:5:87: run.load: unknown load chta; did you mean chat?"),
        ("run.rate: [10/s, 40/s, 160/s]", "run.concurrency: [1]", "run.concurrency: stands beside rate"),
        (", lengths: 256/24", "", "rates.yaml:5:6: run: lengths: missing; write, for example, `lengths: 1024/256`"),
        ("requests: 40", "find_rate: true", ""),
    ],
)
def test_refused_at_its_place(file, old, new, words):
    assert old in STUDY
    file.write_text(STUDY.replace(old, new))
    if not words:
        load_study(file)
        return
    with pytest.raises(InputError) as error:
        load_study(file)
    assert words in str(error.value), str(error.value)


def test_a_trace_that_cannot_be_read_is_refused_before_anything_runs(file, tmp_path):
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n-1,10,10\n")
    text = STUDY.replace("rate: 20/s}", "trace: t.csv}").replace("  run.rate: [10/s, 40/s, 160/s]\n", "")
    file.write_text(text)
    with pytest.raises(InputError, match=r"run.trace: .*t.csv:2: arrival_s: '-1' is not a time"):
        load_study(file)


def test_a_load_file_with_two_sources_is_refused_at_its_place(tmp_path):
    (tmp_path / "l.yaml").write_text("name: l\nrate: 1/s\nconcurrency: 4\n")
    with pytest.raises(InputError, match=r"l.yaml:3:1: concurrency: stands beside rate; write one of them"):
        read_load(tmp_path / "l.yaml")


def test_a_point_whose_requests_are_all_refused_is_an_error(file, tmp_path):
    file.write_text(STUDY.replace("256/24", "9000000/24").replace("[10/s, 40/s, 160/s]", "[10/s]"))
    assert run_study(load_study(file), tmp_path / "out", workers=1).failed == 2
    assert "every request is refused; request 0: 9,000,024 tokens" in lines(tmp_path / "out")[0]["error"]["message"]


def test_the_page_has_every_point_and_three_figures(file, tmp_path):
    pytest.importorskip("matplotlib")
    run_study(load_study(file), tmp_path / "out", workers=1)
    page, *figures = write_page(tmp_path / "out")
    assert [path.name for path in figures] == [f"rates_{name}.svg" for name in ("latency", "goodput", "users")]
    text = page.read_text()
    for line in lines(tmp_path / "out"):
        row = next(t for t in text.splitlines() if t.startswith(f"| {line['point']['run.max_seqs']} | ")
                   and f"| {line['point']['run.rate']} |" in t)  # fmt: skip
        assert f"{line['tokens_per_second_per_chip']:,.0f}" in row and f"{line['goodput']:.4g}" in row
    assert text.count("**") == 4 * len(pareto(lines(tmp_path / "out")))
    with pytest.raises(InputError, match="no steps to explore"):
        write_html(tmp_path / "out")


def test_the_front_of_hand_made_points():
    def line(user, chip, met=1.0):
        return {"tokens_per_second_per_user": user, "tokens_per_second_per_chip": chip, "attained": met}

    one, two, worse, late, alone = line(10, 5), line(5, 10), line(9, 4), line(50, 50, 0.9), line(None, 99)
    assert pareto([two, worse, one, late, alone]) == [two, one]


def test_a_search_finds_the_best_split_and_the_best_limit(file, tmp_path):
    pytest.importorskip("optuna")
    file.write_text(
        STUDY.replace("[10/s, 40/s, 160/s]", "[60/s]").replace("[4, 64]", "[2, 64]")
        + "  run.disaggregate: [none, 1:1]\n  run.chips: [1, 2]\n"
    )
    goal = Goal.of("goodput", "", ["chips <= 2"])
    found = run_search(load_space(file), tmp_path / "out", goal, 12, "random")
    every = [line for line in lines(tmp_path / "out") if not line["error"] and line["chips"] <= 2]
    assert found.front[0]["goodput"] == max(line["goodput"] for line in every)
    assert all(line["chips"] <= 2 for line in found.front)


def test_the_highest_rate_is_that_of_find_rate(file, tmp_path):
    file.write_text(STUDY.replace("rate: 20/s", "find_rate: true").replace("[10/s, 40/s, 160/s]", "[20/s]"))
    run_study(load_study(file), tmp_path / "out", workers=1)
    few, many = lines(tmp_path / "out")
    load = Load("20/s", requests=40, lengths="256/24", max_seqs=4, slo="ttft=100ms,tpot=20ms")
    assert few["highest_rate"] == find_rate(Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load)).rate
    assert many["highest_rate"] > few["highest_rate"]
