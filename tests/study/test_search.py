"""Searches: a known front is found with a tenth of the points; nothing is lost, doubled or misread."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from hwsim.arch import arch_config, load_arch
from hwsim.cli import app
from hwsim.errors import InputError
from hwsim.study import load_study, run_study
from hwsim.study.page import write_page
from hwsim.study.record import Record, read_points
from hwsim.study.search import Goal, Limit, run_search
from hwsim.study.space import Range, load_space
from hwsim.study.text import found_text

pytest.importorskip("optuna")

ROOT = Path(__file__).parents[2]
BASE = {"name": "t", "machine": "edge-mx", "model": "mamba2-130m", "run": {"context": 64}}
GRID = {
    "run.weights": ["mxfp4", "mxint8", "mxfp6", "mx6"],
    "run.batch": {"range": "1 .. 64, log"},
    "machine.dram.bandwidth": {"range": "20 GB/s .. 200 GB/s, log"},
}
SPEED = Goal.of("tokens_per_second", "dram_bytes", ["memory.fits"])


def written(tmp_path, grid=GRID, **changes):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(BASE | changes | {"grid": grid}, sort_keys=False))
    return path


def space(tmp_path, grid=GRID, **changes):
    return load_space(written(tmp_path, grid, **changes))


class TestSpace:
    def test_ranges_and_their_values(self, tmp_path):
        weights, batch, bandwidth = space(tmp_path).axes
        assert weights.values == tuple(GRID["run.weights"])
        assert batch.values == Range(1, 64, "", True) and batch.values.whole and batch.values.value(12.6) == 13
        assert bandwidth.values == Range(20, 200, "GB/s", True)
        assert bandwidth.values.value(12.34567) == "12.35 GB/s" and bandwidth.values.value(200) == "200 GB/s"
        grid = {"machine.dram.latency": {"range": "100 .. 1,000 ns"}}
        assert space(tmp_path, grid).axes[0].values == Range(100, 1000, "ns", False)

    def test_conditions(self, tmp_path):
        grid = {"run.weights": ["mxfp4", "bf16"], "run.batch": {"values": [1, 2], "when": {"run.weights": ["mxfp4"]}}}
        found = run_search(space(tmp_path, grid), tmp_path / "out", SPEED, trials=12)
        for line in read_points(Path(found.file)).values():
            assert ("run.batch" in line["point"]) == (line["point"]["run.weights"] == "mxfp4")

    @pytest.mark.parametrize(
        ("grid", "words"),
        [
            ({"run.batch": {"range": "1 to 5"}}, "s.yaml:8:.* is not a range; write `1 TB/s .. 10 TB/s, log`"),
            ({"run.batch": {"range": "5 .. 1"}}, "5 is not below 1"),
            ({"run.batch": {"range": "0 .. 5, log"}}, "begins above 0"),
            ({"run.batch": {"range": "0 .. 5"}}, "s.yaml:.*run.batch"),
            ({"machine.dram.bandwidth": {"range": "1 GB/s .. 2 TB/s"}}, "write both in one"),
            ({"machine.dram.bandwidth": {"range": "1 m .. 2 m"}}, "s.yaml:.*machine.dram.bandwidth.*unknown unit"),
            ({"run.batch": {"ranges": "1 .. 2"}}, "ranges: write range or values"),
            ({"run.batch": {"range": "1 .. 2", "values": [1]}}, "write one of"),
            ({"run.batch": {"values": 3}}, "is not a list"),
            ({"run.batch": {"range": "1 .. 2", "when": {"run.weights": ["fp8"]}}}, "stands before this one"),
        ],
    )
    def test_bad_axes_are_named_with_their_place(self, tmp_path, grid, words):
        with pytest.raises(InputError, match=words):
            space(tmp_path, grid)


class TestGoal:
    def test_the_front_is_what_no_point_beats(self):
        lines = [
            {"error": None, "tokens_per_second": t, "dram_bytes": b, "memory": {"fits": fits}}
            for t, b, fits in [(5, 5, True), (4, 5, True), (6, 9, True), (9, 1, False), (5, 5, True), (1, 1, True)]
        ]
        front = SPEED.front([*lines, {"error": {"kind": "x"}}])
        assert front == [lines[0], lines[2], lines[4], lines[5]]

    def test_limits(self):
        line = {"seconds": 0.02, "memory": {"fits": False}, "machine": "m", "area_mm2": None}
        assert Limit.of("seconds <= 0.02").excess(line) == 0 == Limit.of("seconds>0.01").excess(line)
        assert Limit.of("seconds < 0.02").excess(line) > 0
        assert Limit.of("memory.fits").excess(line) == 1
        for text, words in (("area", "area_mm2 is not known on m"), ("sconds", "did you mean seconds")):
            with pytest.raises(InputError, match=words):
                Limit.of(text).excess(line)
        assert Limit.of("seconds <= 20 ms").bound == 0.02 == Limit.of("ttft.p99<20ms").bound
        assert Limit.of("memory.total <= 1.5 GB").bound == 1.5e9 and Limit.of("cycles < 2e6").bound == 2e6
        assert Limit.of("machine.dram.bandwidth >= 2 TB/s").bound == 2e12
        for text, words in (
            ("memry.fits", "did you mean memory.fits"),
            ("cycles <= 10 ms", "cycles has no unit here; write a plain number"),
            ("seconds <= 10 GB", "10 GB"),
        ):
            with pytest.raises(InputError, match=words):
                Limit.of(text).excess(line)
        for text in ("", "seconds ==  3", "seconds <= fast", "seconds <= 3 parsec"):
            with pytest.raises(InputError, match="--subject-to"):
                Limit.of(text)

    def test_sums_without_some_terms_are_bounds_and_name_them(self):
        """Energy and area: the sum of the known terms; not without what decides, which the message names."""

        def line(**terms):
            known = [{"name": name, "value": value, "source": f"why {name}"} for name, value in terms.items()]
            return {"machine": "m", "error": None, "point": {}, "area_mm2": None, "cost": {"area": known}}

        some, others = line(buffers=2.0, vector=None), line(buffers=1.5, sort=None)
        goal = Goal.of(minimize="area")
        assert goal.values(some) == [2.0] and goal.front([some, others]) == [others]
        assert goal.lacking([some, others]) == {"area_mm2": ["sort", "vector"]}
        assert goal.lacking([line(buffers=1.0)]) == {}
        decides = line(buffers=2.0, **{"dot bf16 x bf16": None})
        with pytest.raises(InputError, match="area_mm2 is not known on m; dot bf16 x bf16: why dot bf16 x bf16$"):
            goal.values(decides)

    def test_settings_are_metrics(self):
        machine = {"dram": {"bandwidth": "136.5 GB/s"}, "dot": {"rates": [{"rate": "64 MAC/cycle"}]}, "kv": "int8"}
        line = {"machine": "m", "config": {"machine": machine, "batch": 8}, "point": {"run.batch": 8}}
        goal = Goal.of(minimize="machine.dram.bandwidth,machine.dot.rates.0.rate,run.batch")
        assert goal.values(line) == [136.5e9, 64, 8]
        with pytest.raises(InputError, match="machine.kv is no number"):
            Goal.of(minimize="machine.kv").values(line)
        with pytest.raises(InputError, match="no metric machine.dram.bandwith; did you mean machine.dram.bandwidth"):
            Goal.of(minimize="machine.dram.bandwith").values(line | {"point": {"machine.dram.bandwidth": "1 GB/s"}})

    def test_nothing_asked(self):
        with pytest.raises(InputError, match="--maximize"):
            Goal.of()
        with pytest.raises(InputError, match="twice"):
            Goal.of("seconds", "time")


class TestSearch:
    def test_the_same_seed_gives_the_same_trials_and_a_longer_search_goes_on(self, tmp_path):
        asked = space(tmp_path)
        first, second = (run_search(asked, tmp_path / name, SPEED, trials=15) for name in "ab")
        assert first.ran == first.trials == 15 and first.front == second.front
        assert (tmp_path / "a/points.jsonl").read_bytes() == (tmp_path / "b/points.jsonl").read_bytes()
        again = run_search(asked, tmp_path / "a", SPEED, trials=15)
        assert (again.trials, again.ran, again.front) == (15, 0, first.front)
        more = run_search(asked, tmp_path / "a", SPEED, trials=20)
        assert more.trials == 20 and 0 < more.ran <= 5
        assert (tmp_path / "a/points.jsonl").read_bytes().startswith((tmp_path / "b/points.jsonl").read_bytes())

    def test_the_area_and_the_energy_of_a_machine_and_an_axis_as_a_cost(self, tmp_path):
        path = tmp_path / "npu.yaml"
        said = arch_config(load_arch("edge-mx", [("technology", "7nm"), ("dram.kind", "hbm2"), ("idle", "1 W")]))
        path.write_text(yaml.safe_dump(said, sort_keys=False))
        grid = {"machine.dram.bandwidth": ["50 GB/s", "100 GB/s"], "machine.buffers.weights": ["1 MiB", "2 MiB"]}
        asked = space(tmp_path, grid, machine=str(path), run={"context": 64, "weights": "mxfp4"})
        goal = Goal.of("tokens_per_second", "area, energy, machine.dram.bandwidth")
        found = run_search(asked, tmp_path / "out", goal, trials=12, sampler="random")
        lines = read_points(Path(found.file)).values()
        assert not found.failed and {goal.values(line)[3] for line in lines} == {50e9, 100e9}
        assert goal.lacking(found.front) == {"area_mm2": ["dequantise", "round", "vector"]}
        assert "area_mm2 is without dequantise, round, vector, which have no figure" in found_text(found, goal)
        for line in lines:
            _, area, joules, _ = goal.values(line)
            assert area == sum(t["value"] for t in line["cost"]["area"] if t["value"])
            assert joules == line["energy_joules"] > 0
        page = write_page(tmp_path / "out")[0].read_text()
        rows = [row for row in page.splitlines() if " GB/s** |" in row or " GB/s |" in row]
        assert "area_mm2 is without dequantise, round, vector: a lower bound." in page and len(rows) == len(lines)
        for row in rows:
            speed, area, joules, bandwidth = (cell.strip(" *") for cell in row.split("|")[2:6])
            assert bandwidth in ("50 GB/s", "100 GB/s") and min(map(float, (area, joules))) > 0
            assert row.count("GB/s") == 1  # an axis that is an objective is one column
        text = found_text(found, goal)
        assert text.count("machine.dram.bandwidth") == 1 and " GB/s" in text

    def test_points_that_all_fail_are_said_with_their_error(self, tmp_path):
        asked = space(tmp_path, {"run.batch": [1, 2]}, machine="m0", run={"context": 64, "weights": "seedlm4"})
        found = run_search(asked, tmp_path / "out", SPEED, trials=6, sampler="random")
        text = found_text(found, SPEED)
        assert found.failed == found.points == 2 and not found.front
        assert "all points have failed" in text and "keeps the limits" not in text
        assert "2 x m0: seedlm4 needs a `regenerate` server" in text

    @pytest.mark.parametrize("word", ["speed", "throughput", "latency"])
    def test_words_for_objectives_get_the_metric_that_is_meant(self, tmp_path, word):
        """What is suggested is accepted, and what identifies a line is not suggested."""
        folder = tmp_path / "out"
        with pytest.raises(InputError, match=f"no metric {word}; did you mean ") as refused:
            run_search(space(tmp_path), folder, Goal.of(word), trials=1)
        said = str(refused.value)
        meant = said.partition("did you mean ")[2].partition("?")[0]
        known = said.partition("known: ")[2].split(", ")
        assert meant == ("seconds" if word == "latency" else "tokens_per_second")
        assert {"seconds", "dram_bytes", "run.batch"} <= set(known) and not {"seed", "schema"} & set(known)
        (line,) = read_points(folder / "points.jsonl").values()
        assert all(Goal.of(name).values(line) for name in known)

    def test_objectives_of_an_option_that_is_repeated_add_up(self, tmp_path):
        asked = ["search", str(written(tmp_path, {"run.batch": [1, 2]})), "--out", str(tmp_path / "o"), "--trials", "2"]
        asked += ["--maximize", "tokens_per_second", "--minimize", "seconds", "--minimize", "dram_bytes", "--json"]
        done = CliRunner().invoke(app, asked)
        assert json.loads(done.stdout)["objectives"] == ["tokens_per_second", "seconds", "dram_bytes"]

    def test_another_goal_uses_the_points_that_are_there(self, tmp_path):
        asked = space(tmp_path, {"run.batch": [1, 2, 3]})
        run_search(asked, tmp_path / "out", SPEED, trials=20, sampler="random")
        other = run_search(asked, tmp_path / "out", Goal.of("", "seconds"), trials=20, sampler="random")
        assert other.ran == 0 and len(read_points(Path(other.file))) == 3
        assert [line["point"]["run.batch"] for line in other.front] == [1]

    def test_points_with_errors_are_failed_trials(self, tmp_path):
        asked = space(tmp_path, {"run.weights": ["int8", "bf16"], "run.batch": [1, 2, 3, 4]}, machine="m0")
        found = run_search(asked, tmp_path / "out", SPEED, trials=16, sampler="random")
        assert found.trials == 16 and found.failed > 0
        assert found.front and all(line["point"]["run.weights"] == "int8" for line in found.front)

    def test_two_searches_in_one_folder_are_refused(self, tmp_path):
        with Record(tmp_path / "out" / "points.jsonl"), pytest.raises(InputError, match="another run is writing"):
            run_search(space(tmp_path), tmp_path / "out", SPEED)

    def test_an_unknown_sampler(self, tmp_path):
        with pytest.raises(InputError, match="did you mean nsga2"):
            run_search(space(tmp_path), tmp_path / "out", SPEED, sampler="nsga3")

    @pytest.mark.slow
    def test_kills_lose_and_double_nothing(self, tmp_path):
        """The journal and the points agree after each kill; at the end every trial has its line, once."""
        path, out = written(tmp_path), tmp_path / "out"
        command = [sys.executable, "-m", "hwsim", "search", path, "--maximize", "tokens_per_second", "--out", out]
        command += ["--trials", "80", "--json"]
        for i in range(33):
            process = subprocess.Popen(
                list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(0.5 + 0.08 * i)
            process.kill()
            process.wait()
        done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        assert found["trials"] >= 80
        lines = (out / "points.jsonl").read_text().splitlines()
        assert len({json.loads(line)["key"] for line in lines}) == len(lines)

    @pytest.mark.slow
    def test_a_known_front_with_a_tenth_of_the_points(self, tmp_path):
        """Hypervolume of the front within 2 % of the exhaustive one, mean of ten seeds; random search beside it."""
        grid = {
            "run.weights": ["mxfp4", "mxint8", "mxfp6", "mx6"],
            "run.batch": [1, 2, 4, 8, 16, 32],
            "run.context": [64, 128, 256],
            "machine.dram.bandwidth": ["40 GB/s", "80 GB/s", "120 GB/s", "160 GB/s", "200 GB/s"],
            "machine.dram.latency": ["100 ns", "200 ns", "400 ns"],
        }
        whole = load_study(written(tmp_path, grid))
        run_study(whole, tmp_path / "all")
        lines = list(read_points(tmp_path / "all/points.jsonl").values())
        goal = Goal.of("tokens_per_second", "seconds")
        best = volume(goal.front(lines), lines)
        shares = {}
        for sampler in ("tpe", "random"):
            found = []
            for seed in range(10):
                out = tmp_path / f"{sampler}{seed}"
                out.mkdir()
                (out / "points.jsonl").write_bytes((tmp_path / "all/points.jsonl").read_bytes())
                front = run_search(load_space(tmp_path / "s.yaml"), out, goal, len(lines) // 10, sampler, seed).front
                found.append(volume(front, lines) / best)
            shares[sampler] = np.mean(found)
        print(shares)
        assert shares["tpe"] >= 0.98
        assert shares["tpe"] > shares["random"]


def volume(front, lines):
    """Hypervolume of tokens/s up and log seconds down, from the worst values of all points."""
    worst = max(np.log(line["seconds"]) for line in lines)
    area, seen = 0.0, 0.0
    for line in sorted(front, key=lambda one: one["seconds"]):
        gain = line["tokens_per_second"] - seen
        if gain > 0:
            area += gain * (worst - np.log(line["seconds"]))
            seen = line["tokens_per_second"]
    return area
