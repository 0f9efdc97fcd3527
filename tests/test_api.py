"""The public functions: what the commands answer, types that are checked, and results that can be read."""

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import hwsim
from hwsim.cli import app
from hwsim.errors import InputError
from hwsim.jobs import run as jobs

MODEL, CONTEXT = "mamba2-130m", 64


def command(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def result():
    return hwsim.run("edge-mx", MODEL, weights="mxfp4", context=CONTEXT)


def test_run_is_the_command(result):
    words = ["run", "edge-mx", "--model", MODEL, "--weights", "mxfp4", "--context", CONTEXT, "--json"]
    assert json.loads(json.dumps(result.to_dict())) == command(*words)


def test_overrides_are_the_settings_of_the_command():
    words = ["run", "edge-mx", "--model", MODEL, "--weights", "mxfp4", "--context", CONTEXT, "--json"]
    changed = {"dram.bandwidth": "0.2 TB/s", "dram.capacity": "16 GB"}
    settings = [word for path, value in changed.items() for word in ("--set", f"{path}={value}")]
    found = hwsim.run("edge-mx", MODEL, weights="mxfp4", context=CONTEXT, overrides=changed)
    assert json.loads(json.dumps(found.to_dict())) == command(*words, *settings)
    assert found.memory.capacity == 16 * 10**9


def test_none_removes_a_part():
    found = hwsim.gemm("h100-sxm", 64, 512, 512, weights="bf16", overrides={"cores": None})
    assert found.provenance["ideal"] == 1


def test_overrides_of_a_loaded_machine_are_refused():
    with pytest.raises(InputError, match="overrides: of a machine that is loaded already"):
        hwsim.gemm(hwsim.load_arch("m0"), 1, 64, 64, weights="int8", overrides={"clock": "2 GHz"})


def test_gemm_is_the_command():
    found = hwsim.gemm("m0", 4, 64, 64, weights="int8")
    words = ["gemm", "m0", "--m", 4, "--n", 64, "--k", 64, "--weights", "int8", "--json"]
    assert json.loads(json.dumps(found.to_dict())) == command(*words)


def test_serve_under_load_is_the_command():
    words = {"rate": "20/s", "requests": 30, "lengths": "128/16", "slo": "ttft=100ms", "max_seqs": 8, "seed": 3}
    found = hwsim.serve("h200-sxm", MODEL, weights="fp8", prefix_cache=False, find_rate=True, **words)
    options = [text for name, value in words.items() for text in (f"--{name.replace('_', '-')}", value)]
    asked = ["serve", "h200-sxm", "--model", MODEL, "--weights", "fp8", "--no-prefix-cache", "--find-rate", *options]
    assert json.loads(json.dumps(found.to_dict())) == command(*asked, "--json")
    assert found.capacity.rate <= found.capacity.saturated


def test_answers_are_shown_as_figures_by_name():
    load = hwsim.serve("h200-sxm", MODEL, rate="20/s", requests=20, lengths="128/16", slo="ttft=100ms")
    steady = hwsim.serve("h200-sxm", MODEL, isl=128, osl=64, batch=4)
    step = hwsim.train("h100-sxm", "llama3-8b", 8, 1024, parallel="dp=8")
    assert f"{100 * step.mfu:.1f} % of 989 TFLOP/s" in repr(step)
    assert f"{steady.tokens_per_second_per_chip:,.0f} per chip" in repr(steady)
    assert f"{load.good:.4g} requests/s meet ttft=100ms" in repr(load)
    for answer in (load, steady, step):
        assert all(len(line) < 160 for line in repr(answer).splitlines())
        assert "kernels" in repr(answer) and set(answer.notes) <= {x[14:] for x in repr(answer).splitlines()}


def test_serve_is_the_command():
    found = hwsim.serve("h200-sxm", MODEL, isl=128, osl=64, batch=4, weights="fp8")
    words = [
        "serve",
        "h200-sxm",
        "--model",
        MODEL,
        "--isl",
        128,
        "--osl",
        64,
        "--batch",
        4,
        "--weights",
        "fp8",
        "--json",
    ]
    assert json.loads(json.dumps(found.to_dict())) == command(*words)


def test_write_trace_is_the_command(tmp_path, result):
    found = hwsim.write_trace(tmp_path / "a.json", "edge-mx", MODEL, weights="mxfp4", context=CONTEXT)
    assert found == result
    words = ["run", "edge-mx", "--model", MODEL, "--weights", "mxfp4", "--context", CONTEXT, "--json"]
    command(*words, "--trace", tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_gemv_machine_has_no_trace(tmp_path):
    with pytest.raises(InputError, match="cannot run a model"):
        hwsim.write_trace(tmp_path / "t.json", "gemv-engine", MODEL, weights="seedlm4")


def test_compare_is_the_command(tmp_path, result):
    other = hwsim.run("edge-mx", MODEL, weights="mxint8", context=CONTEXT)
    for name, each in (("a", result), ("b", other)):
        (tmp_path / f"{name}.json").write_text(json.dumps(each.to_dict()))
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    found = hwsim.compare(result, other)
    assert repr(found) + "\n" == done.stdout
    assert found.to_dict()["figures"]["cycles"]["values"] == [result.cycles, other.cycles]
    assert repr(hwsim.compare(json.loads(json.dumps(result.to_dict())), other)) == repr(found)
    with pytest.raises(InputError, match="at least two"):
        hwsim.compare(result)
    with pytest.raises(TypeError, match=r"takes results of run, gemm, train and serve; argument 2 is an int$"):
        hwsim.compare(result, 3)


@pytest.mark.parametrize("kind", ["train", "serve", "load"])
def test_compare_takes_what_train_and_serve_return(tmp_path, kind):
    if kind == "train":
        results = [hwsim.train("h200-sxm", "llama3-8b", batch, 512) for batch in (1, 2)]
    elif kind == "serve":
        results = [hwsim.serve("h200-sxm", MODEL, 64, 16, batch) for batch in (1, 2)]
    else:
        results = [
            hwsim.serve("h200-sxm", MODEL, 64, 16, rate=rate, requests=20, slo="ttft=1s") for rate in ("5/s", "9/s")
        ]
        good = [each.good_requests / each.seconds for each in results]
        assert [each.goodput for each in results] == pytest.approx(good)
        assert hwsim.compare(*results).to_dict()["figures"]["goodput"]["values"] == pytest.approx(good)
        with pytest.raises(AttributeError, match="no attribute 'good_put'"):
            _ = results[0].good_put
    for name, each in zip("ab", results, strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(each.to_dict()))
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert repr(hwsim.compare(*results)) + "\n" == done.stdout


def test_compare_takes_results_of_one_kind(result):
    trained = hwsim.train("h200-sxm", "llama3-8b", 1, 512)
    with pytest.raises(InputError, match="compare: results of `run` and `train`; give those of one kind"):
        hwsim.compare(result, trained)
    with pytest.raises(InputError, match="argument 2 is no result"):
        hwsim.compare(result, {"schema": 1})


def test_a_path_is_read_wherever_a_name_is_taken(tmp_path, monkeypatch):
    """Also one that no suffix tells from a name."""
    words = json.dumps(hwsim.run("m0", MODEL, weights="int8", context=CONTEXT).to_dict())
    machine = tmp_path / "node.yaml"
    machine.write_text((hwsim.arch.builtin.arch_folder() / "m0.yaml").read_text())
    model = tmp_path / "model.yaml"
    model.write_text((hwsim.workload.load.model_folder() / f"{MODEL}.yaml").read_text())
    assert json.dumps(hwsim.run(machine, model, weights="int8", context=CONTEXT).to_dict()) == words
    monkeypatch.chdir(tmp_path)
    relative = Path("node.yaml")
    assert hwsim.gemm(relative, 1, 64, 64, "int8").cycles == hwsim.gemm("m0", 1, 64, 64, "int8").cycles
    (tmp_path / "h.yaml").write_text((hwsim.arch.builtin.arch_folder() / "h200-sxm.yaml").read_text())
    for path in (Path("h.yaml"), "h.yaml"):
        assert hwsim.serve(path, model, 64, 16, 1).step_seconds > 0
        assert hwsim.train(path, Path("model.yaml"), 1, 64).seconds > 0


@pytest.mark.parametrize("how", ["script", "stdin"])
def test_a_plain_script_runs_a_study_with_two_workers(tmp_path, how):
    """Workers do not run the user's module again: it writes one line, and needs no `if __name__ == "__main__"`."""
    points = {"name": "t", "machine": "m0", "model": MODEL, "run": {"weights": "int8", "context": 64}}
    (tmp_path / "s.yaml").write_text(json.dumps(points | {"grid": {"run.batch": [1, 2, 3]}}))
    text = "import hwsim\nprint(hwsim.run_study('s.yaml', 'out', workers=2).ran, __name__)\n"
    (tmp_path / "script.py").write_text(text)
    words, given = (["script.py"], "") if how == "script" else (["-"], text)
    environment = os.environ | {"PYTHONPATH": str(Path(hwsim.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, *words],
        input=given,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("3 __main__\n", "")


def test_qsnr_is_its_definition():
    x = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)
    one, two = hwsim.qsnr(["mxfp4", {"name": "own", "element": "E2M1", "block": 16, "scale": "e8m0"}], x)
    wrong = hwsim.get_format("mxfp4").quantize(x).astype(float) - x
    ratios = (wrong**2).sum(1) / (x.astype(float) ** 2).sum(1)
    assert one.db == pytest.approx(-10 * np.log10(ratios.mean()))
    assert (one.vectors, one.length, two.format) == (8, 64, "own")
    assert {each.data for each in hwsim.qsnr("mxfp4")} == {"normal", "normal_scaled", "laplace", "student_t"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hwsim.run("m0", MODEL, batch=[1, 8]), r"batch is a whole number, and \[1, 8\] is a list.*run_study"),
        (lambda: hwsim.run("m0", MODEL, batch=2.5), "batch is a whole number, and 2.5 is a float"),
        (lambda: hwsim.run("m0", MODEL, batch=True), "batch is a whole number, and True is a bool"),
        (lambda: hwsim.run("m0", MODEL, contxt=5), "run has no argument contxt; did you mean context?"),
        (lambda: hwsim.serve("m0", MODEL, foo=1, bar=2, sede=3), "foo, bar, sede; did you mean seed.; known: [^:]*$"),
        (lambda: hwsim.run("m0"), "run: missing a required argument: 'model'"),
        (lambda: hwsim.run(3, MODEL), "arch is a machine, a text or a path, and 3 is an int"),
        (lambda: hwsim.run("m0", 3), "model is a workload, a text or a path, and 3 is an int"),
        (lambda: hwsim.run("m0", MODEL, weights=8), "weights is a text or a mapping, and 8 is an int"),
        (lambda: hwsim.run("m0", MODEL, kv=8), "kv is a text or None, and 8 is an int"),
        (lambda: hwsim.gemm("m0", 1, 2, "3"), "gemm: k is a whole number, and '3' is a str"),
        (lambda: hwsim.serve("m0", MODEL, acceptance="0.9"), "acceptance is a list, and '0.9' is a str"),
        (lambda: hwsim.write_trace(3, "m0", MODEL), "path is a text or a path, and 3 is an int"),
        (lambda: hwsim.train("gb200", MODEL, "64"), "train: batch is a whole number, and '64' is a str"),
        (lambda: hwsim.train("gb200", MODEL, 64, recipe=3), "recipe is a Recipe, a text or a path, and 3 is an int"),
        (lambda: hwsim.run_study(3, "out"), "study is a Study, a text or a path, and 3 is an int"),
        (lambda: hwsim.run_study("s.yaml", "out", workers="2"), "workers is a whole number or None, and '2' is a str"),
        (lambda: hwsim.gemm("m0", 1, 2, hwsim.gemm("m0", 1, 64, 64, weights="int8")), r"\.\.\. is a Result$"),
        (lambda: hwsim.qsnr(3), "a format is a name, a path, a mapping or a Format, and 3 is an int"),
    ],
)  # fmt: skip
def test_a_wrong_type_names_the_argument(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_whole_numbers_of_numpy_are_whole_numbers(result):
    found = hwsim.run("edge-mx", MODEL, weights="mxfp4", context=np.int64(CONTEXT), batch=np.int32(1))
    assert json.dumps(found.to_dict()) == json.dumps(result.to_dict())


def test_run_takes_every_option_of_the_job():
    options = set(inspect.signature(jobs.run).parameters)
    assert set(inspect.signature(hwsim.run).parameters) == options | {"overrides"}
    traced = set(inspect.signature(hwsim.write_trace).parameters)
    assert traced == options | {"overrides", "path"}


def test_repr_is_short_and_says_what_matters(result):
    text = repr(result)
    assert len(text.splitlines()) == 1 + len(result.summary()) + len(result.notes) < 12
    assert f"{result.tokens_per_second:,.1f}" in text and result.limited_by in text and "ideal" in text
    assert all(note in text for note in result.notes)


def test_html_holds_every_op_and_escapes(result):
    html = dataclasses.replace(result, name="<b>")._repr_html_()
    assert "<b><b>" not in html and "&lt;b&gt;" in html
    assert all(f"<th>{row.name}</th>" in html and f"<td>{row.cycles:,}</td>" in html for row in result.by_op)


def test_rows_become_a_table(result):
    """As pandas and polars take dataclasses: a column per field."""
    rows = [dataclasses.asdict(row) for row in result.by_op]
    assert sum(row["cycles"] for row in rows) == result.cycles
    assert [*rows[0]] == ["name", "ops", "cycles", "bytes", "macs", "limited_by"]


def test_rows_become_a_pandas_frame(result):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(result.by_op)
    assert list(frame.columns) == ["name", "ops", "cycles", "bytes", "macs", "limited_by"]
    assert frame.cycles.sum() == result.cycles


def test_names_and_types_agree():
    stub = (Path(hwsim.__file__).parent / "__init__.pyi").read_text()
    assert {line.split(" as ")[1] for line in stub.splitlines() if " as " in line} == set(hwsim.__all__)
    assert all(callable(getattr(hwsim, name)) for name in hwsim.__all__)


def test_type_checkers_see_the_functions(tmp_path):
    (tmp_path / "use.py").write_text(
        'import hwsim\nreveal_type(hwsim.run("m0", "x").seconds)\nhwsim.run("m0", "x", batch="8")\nhwsim.nothing\n'
    )
    line = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "use.py"]
    root = str(Path(hwsim.__file__).parents[1])
    done = subprocess.run(line, cwd=tmp_path, env={"MYPYPATH": root}, capture_output=True, text=True, check=False)
    assert 'Revealed type is "float"' in done.stdout.replace("builtins.", "")
    assert 'use.py:3: error: Argument "batch"' in done.stdout and "use.py:4" in done.stdout


def test_a_format_object_alone_is_told_how_to_be_written():
    form = hwsim.get_format("int8")
    with pytest.raises(TypeError, match='write {"default": ...} around it'):
        hwsim.run("m0", "mamba2-130m", weights=form, context=64)
    assert hwsim.run("m0", "mamba2-130m", weights={"default": form}, context=64).cycles > 0
