"""Studies: points equal single runs, keys change with every input of a result, a failure affects its point only."""

import concurrent.futures
import inspect
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hwsim
from hwsim.cli.serving import serve
from hwsim.errors import InputError
from hwsim.jobs.serving.file import FIELDS
from hwsim.jobs.serving.load import Load
from hwsim.study import load_study, run_study, study_names
from hwsim.study.record import Record, read_points
from hwsim.study.schema import SERVING, RunFile

ROOT = Path(__file__).parents[2]
BASE = {"name": "t", "machine": "m0", "model": "mamba2-130m", "run": {"weights": "int8", "context": 64}}
GRID = {"run.batch": [1, 3], "machine.dram.bandwidth": ["50 GB/s", "100 GB/s"]}


def study(tmp_path, grid=GRID, **changes):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(BASE | changes | {"grid": grid}, sort_keys=False))
    return load_study(path)


def lines(summary):
    return [json.loads(line) for line in Path(summary.file).read_text().splitlines()]


def die(study, point, compiled):
    os._exit(1)


def command(*args):
    done = subprocess.run(
        [sys.executable, "-m", "hwsim", *map(str, args)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return done.returncode, done.stdout, done.stderr


class TestPoints:
    def test_every_option_of_a_run_is_one_of_a_study(self):
        options = {*inspect.signature(hwsim.run).parameters, *inspect.signature(hwsim.train).parameters}
        # A study changes settings of the machine by its axes, and has no mixed steps; loads are those of the command.
        assert options - {"overrides", "chunk", "done"} == {"arch", "model", *RunFile.model_fields} - {*SERVING}
        command = inspect.signature(serve).parameters
        assert set(SERVING) <= {*command} and {*FIELDS} == {*inspect.signature(Load).parameters} - {"users"} | {
            "concurrency"
        }

    def test_a_point_equals_the_run_with_its_settings(self, tmp_path):
        asked = study(tmp_path)
        found = lines(run_study(asked, tmp_path / "out", workers=1))
        assert len(found) == 4
        for line in found:
            arch = hwsim.arch.load_arch("m0", [("dram.bandwidth", line["point"]["machine.dram.bandwidth"])])
            batch = line["point"]["run.batch"]
            alone = hwsim.run(arch, "mamba2-130m", batch=batch, context=64, weights="int8", engine="walk").to_dict()
            del alone["by_layer"]
            assert {k: line[k] for k in alone} == json.loads(json.dumps(alone))

    def test_two_workers_write_the_same_lines(self, tmp_path):
        asked = study(tmp_path)
        one = run_study(asked, tmp_path / "one", workers=1)
        two = run_study(asked, tmp_path / "two", workers=2)
        assert sorted(Path(one.file).read_text().splitlines()) == sorted(Path(two.file).read_text().splitlines())

    def test_any_executor_works(self, tmp_path):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            summary = run_study(study(tmp_path), tmp_path / "out", executor=pool)
        assert (summary.ran, summary.failed, len(lines(summary))) == (4, 0, 4)

    def test_finished_points_are_skipped_and_new_ones_added(self, tmp_path):
        first = run_study(study(tmp_path), tmp_path / "out", workers=1)
        assert (first.ran, first.kept) == (4, 0)
        before = Path(first.file).read_bytes()
        again = run_study(study(tmp_path), tmp_path / "out", workers=1)
        assert (again.ran, again.kept) == (0, 4) and Path(first.file).read_bytes() == before
        wider = run_study(study(tmp_path, GRID | {"run.batch": [1, 2, 3]}), tmp_path / "out", workers=1)
        assert (wider.points, wider.ran, wider.kept) == (6, 2, 4)
        assert Path(first.file).read_bytes().startswith(before)

    @pytest.mark.parametrize(
        "grid",
        [
            {"run.batch": [1], "run.context": [8, 9]},
            {"run.weights": ["int8", {"mamba_in": "int8", "default": "int8"}]},
            {"model.mamba2.chunk": [128, 256]},
            {"machine.dot.latency": ["128 cycles", "129 cycles"]},
            {"machine": ["m0", "h200-sxm"]},
            {"run.phase": ["decode", "prefill"]},
        ],
    )
    def test_each_axis_changes_the_key(self, tmp_path, grid):
        asked = study(tmp_path, grid)
        assert len({p.key for p in asked.points}) == len(asked.points) == 2

    def test_two_spellings_of_one_value_share_a_key_and_run_once(self, tmp_path):
        grid = {"run.weights": ["mxint8", {"default": "mxint8"}], "machine.dram.bandwidth": ["0.1 TB/s", "100 GB/s"]}
        asked = study(tmp_path, grid, machine="h200-sxm")
        assert len(asked.points) == 4 and len({p.key for p in asked.points}) == 1
        assert run_study(asked, tmp_path / "out", workers=1).ran == 1

    def test_the_key_depends_on_the_version_and_the_code(self, tmp_path, monkeypatch):
        key = study(tmp_path).points[0].key
        monkeypatch.setattr("hwsim.study.load.__version__", "9.9.9")
        other = study(tmp_path).points[0].key
        monkeypatch.setattr("hwsim.study.load.code_digest", lambda: "another")
        assert len({key, other, study(tmp_path).points[0].key}) == 3

    def test_a_part_of_a_format_map_can_be_an_axis(self, tmp_path):
        run = {"weights": {"mamba_in": "int8", "default": "int8"}}
        asked = study(tmp_path, {"run.weights.mamba_in": ["bf16", "fp16"]}, machine="h200-sxm", run=run)
        assert [p.options.formats.config()["weights"] for p in asked.points] == [
            {"mamba_in": "bf16", "default": "int8"},
            {"mamba_in": "fp16", "default": "int8"},
        ]

    def test_paths_in_the_file_are_relative_to_it(self, tmp_path):
        machine = (ROOT / "arch_configs" / "m0.yaml").read_text().replace("name: m0", "name: mine")
        (tmp_path / "mine.yaml").write_text(machine)
        asked = study(tmp_path, {"machine": ["m0", "mine.yaml"]})
        assert [p.arch.name for p in asked.points] == ["m0", "mine"]


class TestFailures:
    def test_a_failing_point_is_recorded_and_the_others_run(self, tmp_path):
        asked = study(tmp_path, {"run.weights": ["int8", "seedlm4"], "run.batch": [1, 2]})  # m0 has no regenerators
        summary = run_study(asked, tmp_path / "out", workers=2)
        assert (summary.ran, summary.failed) == (4, 2)
        failed = [line for line in lines(summary) if line["error"]]
        assert all("needs a `regenerate` server" in line["error"]["message"] for line in failed)
        assert {line["config"]["batch"] for line in failed} == {1, 2}
        assert failed[0]["config"]["machine"]["name"] == "m0"
        assert summary.errors[0][1] == 2
        assert run_study(asked, tmp_path / "out", workers=1).ran == 0  # the same input fails the same way

    def test_a_defect_is_recorded_too_and_tried_again(self, tmp_path, monkeypatch):
        def broken(*args, **options):
            raise ZeroDivisionError("ours")

        asked = study(tmp_path)
        monkeypatch.setattr("hwsim.study.work.run_job", broken)
        first = run_study(asked, tmp_path / "out", workers=1)
        assert (first.failed, first.errors) == (4, (("ours", 4),))
        assert {line["error"]["kind"] for line in lines(first)} == {"ZeroDivisionError"}
        monkeypatch.undo()
        second = run_study(asked, tmp_path / "out", workers=1)
        assert (second.ran, second.failed) == (4, 0)
        assert all(line["error"] is None for line in read_points(Path(second.file)).values())

    def test_a_dead_worker_is_an_input_error(self, tmp_path, monkeypatch):
        asked = study(tmp_path)
        dying = concurrent.futures.ProcessPoolExecutor(1)
        monkeypatch.setattr("hwsim.study.work.simulate_point", die)
        with dying, pytest.raises(InputError, match="a worker process died"):
            run_study(asked, tmp_path / "out", executor=dying)

    def test_one_writer_at_a_time(self, tmp_path):
        with Record(tmp_path / "points.jsonl"), pytest.raises(InputError, match="another run is writing this file"):
            Record(tmp_path / "points.jsonl")

    def test_a_full_disk_is_an_input_error(self, tmp_path):
        with Record(tmp_path / "p") as record:
            os.close(record._file)
            record._file = os.open("/dev/full", os.O_RDWR)
            with pytest.raises(InputError, match="No space left on device"):
                record.append("{}")


class TestRecord:
    def test_an_incomplete_line_of_any_length_is_removed(self, tmp_path):
        whole = b'{"key":"a","error":null}\n{"key":"b","error":null}\n'
        for size in range(len(whole) + 1):
            path = tmp_path / f"{size}.jsonl"
            path.write_bytes(whole[:size])
            keep = whole[:size].rfind(b"\n") + 1
            assert len(read_points(path)) == whole[:size].count(b"\n")
            with Record(path) as record:
                record.append('{"key":"c","error":null}')
            assert path.read_bytes() == whole[:keep] + b'{"key":"c","error":null}\n'

    def test_a_long_incomplete_line_is_removed(self, tmp_path):
        path = tmp_path / "p.jsonl"
        path.write_bytes(b'{"key":"a","error":null}\n' + b"x" * 200_000)
        with Record(path):
            pass
        assert list(read_points(path)) == ["a"] and path.read_bytes().endswith(b"}\n")

    def test_lines_that_are_no_points_are_skipped(self, tmp_path):
        path = tmp_path / "p.jsonl"
        path.write_bytes(b'\x00\xff\n[]\n{"key":3}\n{"key":"a","error":null}\n\n' + b"[" * 9999 + b"\n")
        assert list(read_points(path)) == ["a"]


class TestCommand:
    def test_shipped_studies_resolve(self):
        assert study_names() == ["chat-rates", "context", "nano-formats", "regenerators"]
        for name in study_names():
            asked = load_study(name)
            assert asked.name == name and all(p.error is None for p in asked.points)
        assert len({p.key for p in load_study("nano-formats").points}) == 1000

    def test_list_run_again_and_json(self, tmp_path):
        study(tmp_path)
        assert command("study")[1].count("\n") == 2 + len(study_names())
        code, out, err = command("study", tmp_path / "s.yaml", "--out", tmp_path / "o", "--workers", 2)
        assert (code, err) == (0, "")  # piped: no bar
        assert out.startswith("t: 4 points, 4 simulated now, 0 kept, 0 failed\n")
        code, out, _ = command("study", tmp_path / "s.yaml", "--out", tmp_path / "o", "--json")
        assert json.loads(out)["kept"] == 4

    def test_refused_before_anything_is_written(self, tmp_path):
        (tmp_path / "s.yaml").write_text("name: t\nmachine: m0\nmodel: mamba2-130m\ngrid:\n  run.bach: [1]\n")
        code, out, err = command("study", tmp_path / "s.yaml", "--out", tmp_path / "o")
        assert (code, out) == (2, "") and "did you mean run.batch?" in err
        assert not (tmp_path / "o").exists()

    def test_all_points_failing_is_exit_2(self, tmp_path):
        study(tmp_path, {"run.weights": ["seedlm4", "seedlm3"]})
        code, out, _ = command("study", tmp_path / "s.yaml", "--out", tmp_path / "o", "--workers", 1)
        assert code == 2 and "2 failed" in out

    def test_a_terminal_shows_a_bar_with_the_time_left(self, tmp_path):
        study(tmp_path)
        main, terminal = pty.openpty()
        args = [sys.executable, "-m", "hwsim", "study", tmp_path / "s.yaml", "--out", tmp_path / "o", "--workers", "1"]
        env = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        done = subprocess.Popen(args, stderr=terminal, stdout=subprocess.DEVNULL, cwd=ROOT, env=env)
        os.close(terminal)
        seen = b""
        try:
            while piece := os.read(main, 4096):
                seen += piece
        except OSError:  # the other end is closed
            pass
        assert done.wait() == 0
        assert b"4/4" in seen and b"0:00:0" in seen
