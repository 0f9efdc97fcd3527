"""The command line as a user sees it: exit codes, output and imports of whole processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def hwsim(*args, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "hwsim", *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )


def loaded_by(code):
    """Modules in sys.modules after a new process has run `code`."""
    tail = "\nimport sys; print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


class TestImports:
    def test_help_is_light(self):
        base = loaded_by("import typer\ntry:\n typer.Typer(rich_markup_mode=None)\nexcept SystemExit: pass")
        got = loaded_by(
            "import sys; sys.argv = ['hwsim', '--help']\nfrom hwsim.cli import app\n"
            "try:\n app()\nexcept SystemExit: pass"
        )
        assert not got & {"numpy", "numba", "simpy", "matplotlib"}
        assert "pydantic" not in got - base

    @pytest.mark.parametrize(
        "call",
        [
            "hwsim.run('h200-sxm', 'nemotron3-nano-30b-a3b', context=100, weights='nvfp4')",
            "hwsim.gemm('m0', 64, 64, 64, weights='int8')",
            "hwsim.gemm('h200-sxm-regen', 1, 64, 64, weights='seedlm3')",
        ],
    )
    def test_a_run_needs_no_arrays_compiler_or_plots(self, call):
        assert not loaded_by(f"import hwsim; {call}") & {"numpy", "numba", "matplotlib"}

    def test_importing_hwsim_loads_nothing_else(self):
        got = loaded_by("import hwsim, hwsim.arch, hwsim.workload, hwsim.formats")
        assert not got & {"numpy", "numba", "pydantic", "yaml", "simpy", "typer"}

    def test_public_names_are_complete(self):
        import hwsim

        assert hwsim.__all__ == sorted(hwsim.__all__)
        assert all(callable(getattr(hwsim, name)) for name in hwsim.__all__)


class TestResults:
    def test_json_has_the_public_fields(self):
        done = hwsim("run", "h200-sxm", "--model", "nemotron3-nano-30b-a3b", "--weights", "fp8", "--json")
        data = json.loads(done.stdout)
        for key in (
            "schema cycles seconds bound_cycles roofline_cycles limited_by tokens_per_second bytes dram_bytes "
            "macs utilization stalls by_op memory energy_joules config version"
        ).split():
            assert key in data, key
        assert data["schema"] == 2 and data["provenance"]["ideal"] == 1
        assert set(data["bytes"]) == {"weights", "kv", "state", "activations"}
        assert data["memory"]["fits"] is True
        assert sum(row["cycles"] for row in data["by_op"]) == data["cycles"] == sum(data["stalls"].values())

    def test_prefill_counts_prompt_tokens(self):
        args = "run h200-sxm --model llama3-8b --phase prefill --context 512 --batch 2 --json".split()
        data = json.loads(hwsim(*args).stdout)
        assert data["tokens_per_second"] == pytest.approx(1024 / data["seconds"])

    def test_a_run_that_does_not_fit_says_so(self):
        done = hwsim("run", "h200-sxm", "--model", "llama3-8b", "--batch", 256)
        assert done.returncode == 0
        assert "DOES NOT FIT" in done.stdout and "does not fit: " in done.stdout

    def test_set_changes_the_machine(self):
        base = json.loads(hwsim("gemm", "m0", "--m", 1, "--n", 4096, "--k", 4096, "--weights", "int8", "--json").stdout)
        fast = json.loads(
            hwsim(
                *"gemm m0 --m 1 --n 4096 --k 4096 --weights int8 --json --set".split(), "dram.bandwidth=200 GB/s"
            ).stdout
        )
        assert fast["bound_cycles"] == pytest.approx(base["bound_cycles"] / 2, abs=1)
        assert fast["config"]["machine"]["dram"]["bandwidth"] == "200 GB/s"

    def test_by_layer_sums(self):
        done = hwsim("run", "h200-sxm", "--model", "nemotron3-nano-30b-a3b", "--by", "layer")
        assert "outside layers" in done.stdout and done.stdout.rstrip().splitlines()[-1].startswith("total")

    def test_compare(self, tmp_path):
        for name, weights in (("a.json", "bf16"), ("b.json", "fp8")):
            out = hwsim("run", "h200-sxm", "--model", "llama3-8b", "--weights", weights, "--json").stdout
            (tmp_path / name).write_text(out)
        done = hwsim("compare", "a.json", "b.json", cwd=tmp_path)
        assert done.returncode == 0 and "formats.weights" in done.stdout
        (known,) = (line.split() for line in done.stdout.splitlines() if line.startswith("kernels"))
        assert known[-2:] == ["ideal", "ideal"]  # a machine without cores
        found = json.loads(hwsim("compare", "a.json", "b.json", "--json", cwd=tmp_path).stdout)
        assert [each["ideal"] for each in found["provenance"]] == [1.0, 1.0]
        (tmp_path / "c.json").write_text("{}")
        assert hwsim("compare", "a.json", "c.json", cwd=tmp_path).returncode == 2

    def test_trace_is_chrome_json_whose_spans_do_not_overlap(self, tmp_path):
        path = tmp_path / "t.json"
        done = hwsim(*"gemm m0 --m 300 --n 700 --k 900 --weights int8 --trace".split(), path, "--json")
        cycles = json.loads(done.stdout)["cycles"]
        events = [e for e in json.loads(path.read_text())["traceEvents"] if e["ph"] == "X"]
        end = max(e["ts"] + e["dur"] for e in events)
        assert end <= cycles / 1000 and end > 0.99 * cycles / 1000  # m0 runs at 1 GHz: 1000 cycles per us
        for track in {(e["pid"], e["tid"]) for e in events}:
            spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if (e["pid"], e["tid"]) == track)
            assert all(a[1] <= b[0] + 1e-6 for a, b in zip(spans, spans[1:], strict=False))

    def test_lists(self):
        for command, word in (("arch", "m0"), ("model", "llama3-8b"), ("format", "nvfp4")):
            assert word in hwsim(command).stdout
            assert json.loads(hwsim(command, "--json").stdout)["schema"] == 1
        shown = hwsim("arch", "m0").stdout
        assert "clock: 1 GHz" in shown

    def test_schema_is_the_one_shipped(self):
        shipped = json.loads((ROOT / "arch_configs" / "machine.schema.json").read_text())
        assert json.loads(hwsim("schema").stdout) == shipped
        models = ROOT / "hwsim" / "workload" / "models" / "model.schema.json"
        assert json.loads(hwsim("schema", "model").stdout) == json.loads(models.read_text())

    def test_several_chips_and_skew(self):
        line = "run h200-sxm --model nemotron3-super-120b-a12b --weights published-nvfp4 --batch 4 --engine walk --json"
        done = hwsim(*line.split(), "--chips", "2", "--parallel", "tensor+expert", "--skew", "zipf(0.8)")
        result = json.loads(done.stdout)
        assert (result["chips"], result["config"]["parallel"], result["config"]["skew"]) == (
            2,
            "tensor+expert",
            "zipf(0.8)",
        )
        assert 22 < result["distinct_experts"] < 82.5


MISTAKES = [
    ("run h200 --model llama3-8b", "did you mean", "h200-sxm"),
    ("run m0 --model llama3-8", "did you mean", "llama3-8b"),
    ("run m0 --model llama3-8b --weights fp7", "did you mean", "fp"),
    ("run m0 --model llama3-8b --weights int8 --phase training", "decode, prefill or mixed", ""),
    ("run m0 --model llama3-8b --weights int8 --batch 0", "batch", "positive"),
    ("run m0 --model llama3-8b --weights int8 --context -5", "context", "positive"),
    ("run m0 --model llama3-8b --weights int8 --engine verilog", "simpy or walk", ""),
    ("run m0 --model llama3-8b --weights int8 --by tile", "op or layer", ""),
    ("run m0 --model llama3-8b --weights seedlm4", "regenerate", "lacks"),
    ("run m0 --model llama3-8b --weights bf16", "no dot rate", "int8 x int8"),
    ("run m0 --model llama3-8b --weights expert=int8,default=int8", "did you mean experts", ""),
    ("run m0 --model llama3-8b --weights experts=int8", "default", ""),
    ("run m0 --model llama3-8b --weights int8 --kv seedlm4", "weight format", ""),
    ("run m0 --model llama3-8b --weights int8 --chips 2", "link", "lacks"),
    ("run h200-sxm --model llama3-8b --chips 3", "cannot share", "write one of 1, 2, 4"),
    ("run h200-sxm --model llama3-8b --parallel tensors", "tensor, tensor+expert or data+expert", ""),
    ("run h200-sxm --model mamba2-130m --state fp16_sr", "round", "lacks"),
    ("schema arch", "machine, model, graph, recipe or load", ""),
    ("run seedlm-virtex7 --model llama3-8b --weights fp16", "vector", "lacks"),
    ("gemm m0 --m 1 --n 1 --k 1 --weights int8 --set dram.bandwith=1", "did you mean", "bandwidth"),
    ("gemm m0 --m 1 --n 1 --k 1 --weights int8 --set dram.bandwidth", "PATH=VALUE", ""),
    ("gemm m0 --m 1 --n 1 --k 1 --weights int8 --trace /no/such/folder/t.json", "does not exist", ""),
    ("compare nothing.json nothing.json", "nothing.json", "read"),
    ("arch nothing.yaml", "nothing.yaml", ""),
    ("model nothing.yaml", "nothing.yaml", ""),
    ("format mxfp5", "did you mean", "mxfp"),
]


@pytest.mark.parametrize("line, first, second", MISTAKES)
def test_an_error_says_what_to_write(line, first, second):
    done = hwsim(*line.split())
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert first in done.stderr and second in done.stderr


@pytest.mark.parametrize("setting", ["dram.bandwith=9 TB/s", "dramm.bandwidth=9 TB/s", "dot.rate.0.rate=64 MAC/cycle"])
def test_what_the_error_on_a_setting_suggests_can_be_pasted(setting):
    line = "gemm m0 --m 1 --n 64 --k 64 --weights int8 --json --set".split()
    refused = hwsim(*line, setting)
    assert refused.returncode == 2
    path = refused.stderr.rpartition("did you mean ")[2].strip().removesuffix("?")
    done = hwsim(*line, f"{path}={setting.partition('=')[2]}")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)["config"]["machine"]
    for name in path.split("."):
        value = value[int(name) if name.isdecimal() else name]
    assert str(value) == setting.partition("=")[2]


def test_many_errors_at_once_with_places(tmp_path):
    text = (ROOT / "arch_configs" / "m0.yaml").read_text()
    text = text.replace("bandwidth: 100 GB/s", "bandwidth: 100 GB").replace("clock: 1 GHz", "clok: 1 GHz")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    done = hwsim("arch", path)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 2
    assert all(line.startswith("hwsim: ") and line.count(":") >= 4 for line in lines)
    assert "did you mean clock" in lines[0] and "GB/s" in lines[1]


class TestFormatValues:
    def test_explain_shows_each_step_of_the_encoding(self):
        """0.3 and -1.7 in MXFP4: amax 1.7, floor(log2) 0, minus emax 2: scale 2^-2; quotients 1.2 and -6.8."""
        done = hwsim("format", "mxfp4", "--explain", "0.3", "-1.7")
        assert done.returncode == 0, done.stderr
        assert "2^-2" in done.stdout and "1.2" in done.stdout and "-6.8" in done.stdout

    def test_values_without_explain_and_unknown_options_are_errors(self):
        for line in ("format mxfp4 1.5", "format mxfp4 --bogus", "format --explain"):
            done = hwsim(*line.split())
            assert done.returncode == 2 and "Traceback" not in done.stderr and "hwsim: format: " in done.stderr


class TestFiles:
    def test_compress_inspect_decompress(self, tmp_path):
        import numpy as np
        from safetensors.numpy import load_file, save_file

        weights = np.arange(-32, 32, dtype=np.float32).reshape(2, 32) / 4
        save_file({"layer.up.weight": weights, "norm.weight": np.ones(8, np.float32)}, tmp_path / "in.safetensors")
        done = hwsim("compress", "in.safetensors", "--format", "mxint8", "-o", "out.safetensors", cwd=tmp_path)
        assert done.returncode == 0 and "mxint8" in done.stdout, done.stderr
        assert "mxint8" in hwsim("inspect", "out.safetensors", cwd=tmp_path).stdout
        assert hwsim("decompress", "out.safetensors", "-o", "back.safetensors", cwd=tmp_path).returncode == 0
        back = load_file(tmp_path / "back.safetensors")
        assert (back["layer.up.weight"] == weights).all(), "quarters up to 8 are exact in MXINT8"
        measured = hwsim("format", "mxfp4", "in.safetensors", "--qsnr", cwd=tmp_path)
        assert measured.returncode == 0 and "layer.up.weight" in measured.stdout, measured.stderr

    def test_a_missing_file_is_an_error(self, tmp_path):
        done = hwsim("compress", "no.safetensors", "--format", "mxfp4", "-o", "out.safetensors", cwd=tmp_path)
        assert done.returncode == 2 and "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_serve_prints_text_and_json():
    args = "serve b200 --model nemotron3-nano-30b-a3b --weights published-fp8 --batch 8 --isl 1000 --osl 500".split()
    text = hwsim(*args)
    assert text.returncode == 0 and "tokens/s" in text.stdout and "batch       8 (memory allows" in text.stdout
    data = json.loads(hwsim(*args, "--json").stdout)
    assert data["batch"] == 8 and data["tokens_per_second_per_chip"] > data["tokens_per_second_per_user"] > 0
    bad = hwsim(*args[:-6], "--batch", "many")
    assert bad.returncode == 2 and "--batch 64" in bad.stderr


def test_calibrate_refuses_a_machine_without_cores(tmp_path):
    done = hwsim("calibrate", "m0", tmp_path / "x.csv", "-o", tmp_path / "y.yaml")
    assert done.returncode == 2 and "no `cores:`" in done.stderr and not (tmp_path / "y.yaml").exists()


def test_help_lists_every_command_once_and_cuts_nothing():
    from hwsim.cli import app
    from hwsim.cli.options import GROUPS

    listed = [name for names in GROUPS.values() for name in names]
    commands = {c.name or c.callback.__name__: c.callback for c in app.registered_commands}
    assert sorted(listed) == sorted(commands)
    text = hwsim("--help").stdout
    assert all(len(line) <= 80 for line in text.splitlines()) and "..." not in text.partition("Options:")[2]
    for callback in commands.values():
        first = callback.__doc__.splitlines()[0]
        assert len(first) <= 45 and first in text


def test_every_error_of_one_command_is_reported_at_once():
    done = hwsim("run", "h20", "--model", "nano", "--batch", "0", "--weights", "mxpf4", "--phase", "decod", "--by", "x")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    for part in ("unknown machine", "unknown model", "batch: 0", "weights: unknown format", "phase: ", "--by: "):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 6 and "did you mean mxfp4?" in done.stderr


def test_a_full_disk_behind_stdout_is_one_line():
    command = f"{sys.executable} -m hwsim arch > /dev/full"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "hwsim: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "POSIX"}]
)
def test_a_folder_with_letters_that_the_locale_lacks(tmp_path, locale):
    folder = tmp_path / "größe"
    folder.mkdir()
    study = (
        "name: grid\nmachine: m0\nmodel: mamba2-130m\nrun: {weights: int8, context: 64}\ngrid: {run.batch: [1, 2]}\n"
    )
    (folder / "grid.yaml").write_text(study)
    commands = ("study", "grid.yaml", "--out", "größe", "--workers", "1"), ("report", "größe")
    for command in commands:
        env = {**os.environ, "PYTHONPATH": str(ROOT), **locale}
        done = subprocess.run(
            [sys.executable, "-m", "hwsim", *command], cwd=folder, env=env, capture_output=True, check=False
        )
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    assert (folder / "größe" / "grid.md").exists()


def test_several_batches_point_to_studies():
    done = hwsim("run", "m0", "--model", "llama3-8b", "--batch", "1,8")
    assert done.returncode == 2 and "hwsim study" in done.stderr


def test_a_limit_on_memory_is_a_message_and_no_traceback(monkeypatch, capsys):
    """As under `ulimit -v`: whatever command meets the limit."""

    from hwsim.cli import main

    def full():
        raise MemoryError

    monkeypatch.setattr("hwsim.cli._asked", lambda words: full)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1 and capsys.readouterr().err.startswith("hwsim: out of memory; ")
