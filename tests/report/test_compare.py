"""Results side by side: ratios by arithmetic of the test, causes and ops that sum to the time, every file named."""

import json
from fractions import Fraction

import pytest
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.errors import InputError
from hwsim.jobs.run import run
from hwsim.report.compare import compare_text, comparison, names, read_results


@pytest.fixture(scope="module")
def results():
    found = [run("edge-mx", "mamba2-130m", context=64, weights=w, engine="walk") for w in ("int8", "mxfp4", "seedlm4")]
    return [json.loads(json.dumps(r.to_dict())) for r in found]


def test_three_results_have_their_ratios_to_the_first(results):
    found = comparison(results)
    cycles = [r["cycles"] for r in results]
    assert found["figures"]["cycles"]["values"] == cycles
    assert found["figures"]["cycles"]["ratios"] == [float(Fraction(c, cycles[0])) for c in cycles]
    assert [r["name"] for r in found["results"]] == ["A", "B", "C"]


def test_causes_and_ops_sum_to_the_seconds_of_each(results):
    found = comparison(results)
    for part in ("stalls_seconds", "by_op_seconds"):
        for i, r in enumerate(results):
            total = sum(values[i] or 0 for values in found[part].values())
            assert total == pytest.approx(r["seconds"], rel=1e-12)


def test_settings_that_differ(results):
    found = comparison(results)["differ"]
    assert found["formats.weights"] == ["int8", "mxfp4_e2m1", "seedlm4"]
    assert not any(path.startswith("model.") for path in found)


def test_text_has_a_column_for_each(results):
    text = compare_text([*results, results[0]])
    assert "B/A" in text and "D/A" in text and "A/A" not in text
    assert "time by cause, us" in text and "time by op, us" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("cycles")]
    assert row[1:5] == [f"{r['cycles']:,}" for r in [*results, results[0]]] and row[-1] == "1"


def test_an_op_that_one_result_lacks_is_a_dash(results):
    less = results[0] | {"by_op": results[0]["by_op"][1:]}
    name = results[0]["by_op"][0]["name"]
    (row,) = [line.split() for line in compare_text([results[0], less]).splitlines() if line.startswith(name)]
    assert row[2:] == ["-", "-"]


def spent(result, **terms):
    """A result with terms of energy; None: a term without a figure."""
    energy = [{"name": name, "value": value, "source": "x"} for name, value in terms.items()]
    whole = None if None in terms.values() else sum(terms.values())
    return result | {"cost": {"energy": energy, "area": []}, "energy_joules": whole}


def test_energy_is_the_sum_of_the_terms_and_a_lower_bound_without_some(results):
    a, b = spent(results[0], dram=0.25, dot=0.5), spent(results[1], dram=0.125, dot=0.25)
    less, none = spent(results[0], dram=0.25, dot=None), spent(results[0], dram=None)
    found = comparison([a, b, less, none])["figures"]["energy_joules"]
    assert found["values"] == [0.75, 0.375, 0.25, None]
    assert found["ratios"] == [1.0, 0.5, None, None]
    assert found["lacking"] == [[], [], ["dot"], ["dram"]]
    assert comparison([less, spent(results[1], dram=0.5, dot=None)])["figures"]["energy_joules"]["ratios"] == [1.0, 2.0]


def test_the_text_says_which_energy_is_a_lower_bound_and_without_what(results):
    a, less = spent(results[0], dram=0.25, dot=0.5), spent(results[1], dram=0.125, dot=None, static=None)
    lines = compare_text([a, less]).splitlines()
    (row,) = [line.split() for line in lines if line.startswith("energy_joules ")]
    assert row == ["energy_joules", "0.75", ">=", "0.125", "-"]
    assert "energy_joules: B is a lower bound, without dot, static (no figure)" in lines
    assert "lower bound" not in compare_text([a, a])
    assert "energy" not in compare_text([spent(results[0], dram=None)] * 2)


def test_names_go_on_after_z(results):
    assert names(results * 9)[24:27] == ["Y", "Z", "27"]


def test_every_file_that_is_no_result_is_named(tmp_path, results):
    (tmp_path / "a.json").write_text(json.dumps(results[0]))
    (tmp_path / "b.json").write_text("no")
    (tmp_path / "c.json").write_text('{"schema": 1, "cycles": 3}')
    with pytest.raises(InputError) as found:
        read_results([tmp_path / name for name in ("a.json", "b.json", "c.json", "d.json")])
    assert [n in p for n, p in zip("bcd", found.value.problems, strict=True)] == [True] * 3
    with pytest.raises(InputError, match="one result; write at least two files"):
        read_results([tmp_path / "a.json"])


def write(tmp_path, name, *words):
    path = tmp_path / f"{name}.json"
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    path.write_text(done.stdout)
    return path


SERVE = ("serve", "a100-sxm", "--model", "llama3-8b")
KINDS = {
    "steady": [(*SERVE, "--isl", "64", "--osl", "16", "--batch", n) for n in ("2", "4")],
    "load": [(*SERVE, "--rate", n, "--requests", "9", "--lengths", "64/16") for n in ("2/s", "9/s")],
    "train": [
        ("train", "gb200", "--model", "llama3-8b", "--batch", n, "--context", "512", "--parallel", "dp=2")
        for n in ("2", "4")
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_results_of_serve_and_train_are_compared(tmp_path, kind):
    paths = [write(tmp_path, n, *words) for n, words in zip("ab", KINDS[kind], strict=True)]
    first, second = (json.loads(path.read_text()) for path in paths)
    found = comparison(read_results(paths))
    figures = found["figures"]["tokens_per_second_per_chip"]
    assert figures["values"] == [r["tokens_per_second_per_chip"] for r in (first, second)]
    assert figures["ratios"][1] == figures["values"][1] / figures["values"][0]
    assert found["differ"] and all(a != b for a, b in found["differ"].values())
    text = compare_text(read_results(paths))
    assert "B/A" in text and "differs in" in text
    assert found["provenance"] == [r["provenance"] for r in (first, second)]
    (known,) = [line for line in text.splitlines() if line.startswith("kernels, shares of the time")]
    share = max(first["provenance"].values())
    assert known.count(f"{100 * share:.3g} %") >= 1 and not [x for x in text.splitlines() if x.startswith("kernels: ")]
    if kind != "train":
        energy = found["figures"]["energy_joules_per_token"]
        assert energy["values"] == [sum(t["value"] or 0 for t in r["energy"]) for r in (first, second)]
        assert "static" in energy["lacking"][0] and "energy_joules_per_token: A, B are lower bounds" in text
    if kind == "load":
        assert found["differ"] == {"load.rate": ["2/s", "9/s"]}
        assert found["figures"]["ttft.p99"]["values"] == [first["ttft"]["p99"], second["ttft"]["p99"]]


def test_results_of_two_kinds_are_refused(tmp_path):
    one, two = write(tmp_path, "a", *KINDS["steady"][0]), write(tmp_path, "b", *KINDS["load"][0])
    with pytest.raises(
        InputError, match="b.json: is a result of `hwsim serve under load`, and .*a.json of `hwsim serve`"
    ):
        read_results([one, two])


def test_two_training_steps_have_memory_and_tables_and_no_noise(tmp_path):
    """Memory as in the results; parts and passes sum to the step; what rounding leaves is no figure and no setting."""
    results = [
        json.loads(write(tmp_path, n, *words).read_text()) for n, words in zip("ab", KINDS["train"], strict=True)
    ]
    found = comparison(results)
    assert found["figures"]["memory.total"]["values"] == [r["memory"]["total"] for r in results]
    assert found["fits"] == [True, True]
    for table in ("by_part_seconds", "by_pass_seconds"):
        for i, r in enumerate(results):
            assert sum(values[i] or 0 for values in found[table].values()) == pytest.approx(r["seconds"], rel=1e-6)
    noisy = results[0] | {"idle_seconds": 2**-60 * results[0]["seconds"]}
    noisy["config"] = noisy["config"] | {"skew": 0.1 + 0.2}
    plain = results[0] | {"idle_seconds": 0.0, "config": results[0]["config"] | {"skew": 0.3}}
    assert 0.1 + 0.2 != 0.3
    both = comparison([plain, noisy])
    assert both["figures"]["idle_seconds"] == {"values": [0.0, 0.0], "ratios": [None, None]}
    assert both["differ"] == {}
    text = compare_text([plain, noisy])
    assert "memory.optimiser" in text and "time by part, ms" in text and "fits in memory" in text


def test_an_ideal_machine_beside_another_is_said_plainly(tmp_path):
    """The H200 at its peaks, with kernels of a library, and with none of them by `--set`: which is which is known."""
    words = ("--model", "llama3-8b", "--rate", "9/s", "--requests", "9", "--lengths", "64/16")
    machines = [("h200-sxm",), ("h200-sxm-trtllm",), ("h200-sxm-trtllm", "--set", "cores=null")]
    ideal, library, without = (
        json.loads(write(tmp_path, str(i), "serve", *m, *words).read_text()) for i, m in enumerate(machines)
    )
    (said,) = [line for line in compare_text([library, ideal, without]).splitlines() if line.startswith("kernels: ")]
    assert "B, C are ideal, at the machine's peaks, and A has kernels" in said
    assert "kernels: " not in compare_text([ideal, without]) + compare_text([library, library])


def test_serving_on_an_ideal_machine_begins_with_that(tmp_path):
    """Of the same chip's files one has `cores:`; regenerators are no library."""
    words = ("--model", "llama3-8b", "--rate", "9/s", "--requests", "5", "--lengths", "64/8")
    said = {m: CliRunner().invoke(app, ["serve", m, *words]).stdout for m in ("h200-sxm", "h200-sxm-trtllm")}
    first = said["h200-sxm"].splitlines()[1]
    assert first.split()[:4] == ["machine", "h200-sxm", "is", "ideal"] and "h200-sxm-trtllm" in first
    assert "regen" not in first and "is ideal" not in said["h200-sxm-trtllm"]
    steady = CliRunner().invoke(
        app, ["serve", "edge-mx", "--model", "mamba2-130m", "--weights", "int8", "--isl", "64", "--osl", "8"]
    )
    assert "edge-mx is ideal here" in steady.stdout and "same chip" not in steady.stdout
