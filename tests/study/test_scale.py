"""Large grids, shards and clusters: points are resolved when needed, and every way to run them gives the same lines."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path

import pytest
import yaml

from hwsim.errors import InputError
from hwsim.study import load_study, run_study
from hwsim.study.cluster import cluster, identity, refuse_unlike
from hwsim.study.grid import read_grid
from hwsim.study.load import MAX_POINTS
from hwsim.study.record import read_points
from hwsim.study.shards import merge, parse_shard
from hwsim.study.work import Session

ROOT = Path(__file__).parents[2]
BASE = {"name": "t", "machine": "m0", "model": "mamba2-130m", "run": {"weights": "int8", "context": 64}}
GRID = {"run.batch": [1, 2, 3], "machine.dram.bandwidth": ["50 GB/s", "100 GB/s"]}


def study(tmp_path, grid=None, **changes):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(BASE | changes | {"grid": grid or GRID}, sort_keys=False))
    return load_study(path)


class TestLargeGrids:
    GRID = {
        "run.batch": list(range(1, 101)),
        "machine.dram.bandwidth": [f"{i} GB/s" for i in range(20, 120)],
        "machine.dram.latency": [f"{10 * i} ns" for i in range(1, 11)],
    }

    def test_a_hundred_thousand_points_are_not_resolved_at_the_start(self, tmp_path):
        asked = study(tmp_path, self.GRID)
        assert len(asked.points) == MAX_POINTS
        assert len(asked.reader.known) < 400  # 210 values have a witness each; 100,000 points would have 1,101 parts
        with Session(asked, tmp_path / "out", 1) as session:
            done = next(iter(session.simulate(range(MAX_POINTS))))
        assert done.node == 0 and len(read_points(tmp_path / "out" / "points.jsonl")) == 1

    def test_resolved_parts_are_not_kept_without_end(self, tmp_path):
        asked = study(tmp_path, self.GRID)
        for node in range(0, MAX_POINTS, 97):
            assert asked.points[node].settings == asked.settings(node)
            assert asked.node(asked.settings(node)) == node
        assert len(asked.reader.known) <= 500

    def test_points_are_a_sequence_in_grid_order(self, tmp_path):
        asked = study(tmp_path)
        assert [list(p.settings.values()) for p in asked.points] == [
            [batch, bandwidth] for batch in GRID["run.batch"] for bandwidth in GRID["machine.dram.bandwidth"]
        ]
        assert asked.points[-1].key == asked.points[5].key == asked.points[4:][1].key
        with pytest.raises(IndexError):
            asked.points[6]
        assert asked.node({"run.batch": 9, "machine.dram.bandwidth": "50 GB/s"}) is None and asked.node({}) is None

    def test_a_study_travels_to_another_process(self, tmp_path):
        asked = study(tmp_path)
        there = pickle.loads(pickle.dumps(asked))
        assert there.digest == asked.digest and [p.key for p in there.points] == [p.key for p in asked.points]

    def test_a_value_that_works_with_one_other_value_only_is_kept(self, tmp_path):
        """A preset of one of two models: its witness is not the first combination."""
        grid = {"model": ["mamba2-130m", "gpt-oss-20b"], "run.weights": ["int8", "published-mxfp4"]}
        points = study(tmp_path, grid, machine="h100-sxm").points
        assert [p.error is None for p in points] == [True, False, True, True]

    def test_a_killed_runs_points_are_found_by_their_settings(self, tmp_path):
        asked = study(tmp_path)
        run_study(asked, tmp_path / "out", workers=1)
        whole = read_grid(tmp_path / "out")
        grid = tmp_path / "out" / "study.json"
        data = json.loads(grid.read_text())
        grid.write_text(json.dumps(data | {"keys": None}))
        assert read_grid(tmp_path / "out") == whole and len(whole.lines) == 6


class TestShards:
    @pytest.mark.parametrize("order", [*permutations((1, 2, 3)), (1, 1, 2, 3, 3, 2)])
    def test_shards_in_any_order_and_twice_over_merge_to_the_same_bytes(self, tmp_path, order):
        asked = study(tmp_path)
        run_study(asked, tmp_path / "whole", workers=1)
        for part in order:
            run_study(asked, tmp_path / "out", workers=1, shard=(part, 3))
        assert merge(asked, tmp_path / "out").found == 6
        merged = merge(asked, tmp_path / "out")  # again, over its own result
        assert (merged.found, merged.other, merged.files) == (6, 0, 3)
        for name in ("points.jsonl", "study.json"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_a_shard_simulates_its_points_alone(self, tmp_path):
        asked = study(tmp_path)
        summary = run_study(asked, tmp_path / "out", workers=1, shard=(2, 4))
        assert summary.ran == 2 and summary.file.endswith("points.2-of-4.jsonl")
        assert {
            asked.node(line["point"]) for line in read_points(tmp_path / "out" / "points.2-of-4.jsonl").values()
        } == {
            1,
            5,
        }
        assert merge(asked, tmp_path / "out").found == 2

    def test_two_lines_of_one_point_that_differ_are_an_error_and_nothing_is_lost(self, tmp_path):
        asked = study(tmp_path)
        for part in (1, 2):
            run_study(asked, tmp_path / "out", workers=1, shard=(part, 2))
        merge(asked, tmp_path / "out")
        shard = tmp_path / "out" / "points.1-of-2.jsonl"
        shard.write_text(shard.read_text().replace('"cycles":', '"cycles":1', 1))
        before = (tmp_path / "out" / "points.jsonl").read_bytes()
        with pytest.raises(InputError, match="differs from that in"):
            merge(asked, tmp_path / "out")
        assert (tmp_path / "out" / "points.jsonl").read_bytes() == before

    def test_lines_of_other_points_are_kept(self, tmp_path):
        wide = study(tmp_path)
        run_study(wide, tmp_path / "out", workers=1, shard=(1, 1))
        narrow = study(tmp_path, {"run.batch": [1], "machine.dram.bandwidth": ["50 GB/s"]})
        merged = merge(narrow, tmp_path / "out")
        assert (merged.found, merged.other) == (1, 5)
        assert len(read_points(tmp_path / "out" / "points.jsonl")) == 6

    @pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5"])
    def test_no_shard(self, text):
        with pytest.raises(InputError, match="write 1/8"):
            parse_shard(text)

    def test_nothing_to_merge(self, tmp_path):
        with pytest.raises(InputError, match="--shard 1/N"):
            merge(study(tmp_path), tmp_path)


class TestCluster:
    def test_an_unlike_worker_is_refused_with_every_difference(self):
        refuse_unlike(identity(), identity())
        other = identity() | {"hwsim code": "0123", "Python": "3.99"}
        with pytest.raises(InputError, match=r"hwsim code 0123 instead of .*Python 3.99 instead of"):
            refuse_unlike(identity(), other)

    @pytest.mark.slow  # the address is given ten seconds
    def test_nobody_answers(self):
        pytest.importorskip("distributed")
        with pytest.raises(InputError, match="no scheduler answers"), cluster(f"tcp://127.0.0.1:{free_port()}"):
            pass

    @pytest.mark.slow
    def test_two_workers_give_the_lines_of_one_process_also_when_the_client_or_one_of_them_dies(self, tmp_path):
        pytest.importorskip("distributed")
        asked = study(tmp_path, GRID | {"run.batch": list(range(1, 251))})  # 500 points
        run_study(asked, tmp_path / "alone", workers=1)
        points = tmp_path / "out" / "points.jsonl"
        address = f"tcp://127.0.0.1:{(port := free_port())}"
        scheduler = dask("scheduler", "--port", port)
        workers = [dask("worker", address, "--nthreads", "1") for _ in range(2)]
        try:
            wait_for(address, 2)
            command = [sys.executable, "-m", "hwsim", "study", tmp_path / "s.yaml", "--out", tmp_path / "out"]
            client = subprocess.Popen([*map(str, command), "--dask", address], cwd=ROOT, stdout=subprocess.DEVNULL)
            while client.poll() is None and (not points.exists() or points.stat().st_size < 200_000):
                time.sleep(0.01)
            client.kill()
            client.wait()
            before = len(read_points(points))
            assert 0 < before < 500
            with cluster(address) as executor:
                seen = []

                def kill(done, total):
                    seen.append(done)
                    if done == before + 20:
                        workers[0].kill()

                run_study(asked, tmp_path / "out", executor=executor, progress=kill)
            assert seen[-1] == 500
        finally:
            for process in (*workers, scheduler):
                process.kill()
        lines = points.read_bytes().splitlines()
        assert len(lines) == 500 and sorted(lines) == sorted(
            (tmp_path / "alone/points.jsonl").read_bytes().splitlines()
        )
        assert (tmp_path / "out" / "study.json").read_bytes() == (tmp_path / "alone" / "study.json").read_bytes()

    @pytest.mark.slow
    def test_a_worker_with_other_code_is_refused_when_it_is_there_and_with_each_result(self, tmp_path):
        pytest.importorskip("distributed")
        from hwsim.study.cluster import _OnCluster

        address = f"tcp://127.0.0.1:{(port := free_port())}"
        scheduler, worker = dask("scheduler", "--port", port), dask("worker", address, "--nthreads", "1")
        try:
            wait_for(address, 1)
            with cluster(address) as executor:
                assert isinstance(executor, _OnCluster)
                executor.refuse_joined()  # like this process; then it becomes another version's
                executor.expected = executor.expected | {"hwsim code": "another"}
                with pytest.raises(InputError, match="instead of another"):
                    run_study(study(tmp_path), tmp_path / "out", executor=executor)
        finally:
            worker.kill()
            scheduler.kill()

    @pytest.mark.slow
    def test_a_worker_with_other_code_that_joins_later_is_sent_away_and_the_study_ends(self, tmp_path, capsys):
        pytest.importorskip("distributed")
        asked = study(tmp_path, GRID | {"run.batch": list(range(1, 61))})
        other = tmp_path / "other"
        shutil.copytree(ROOT / "hwsim", other / "hwsim", ignore=shutil.ignore_patterns("__pycache__"))
        with (other / "hwsim" / "timing.py").open("a") as file:
            file.write("# another version\n")
        address = f"tcp://127.0.0.1:{(port := free_port())}"
        processes = [dask("scheduler", "--port", port), dask("worker", address, "--nthreads", "1")]
        try:
            wait_for(address, 1)
            with cluster(address) as executor:

                def join(done, total):
                    if done == 10:
                        processes.append(dask("worker", address, "--nthreads", "1", path=other))
                        wait_for(address, 2)
                        time.sleep(3)  # the client learns of it by the scheduler's next message

                run_study(asked, tmp_path / "out", executor=executor, progress=join)
        finally:
            for process in processes:
                process.kill()
        assert len(read_points(tmp_path / "out" / "points.jsonl")) == 120
        assert "hwsim code" in capsys.readouterr().err


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def dask(kind, *args, path=ROOT):
    """A process of the scheduler or of a worker, as the docs start it, with the hwsim of a folder."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, args), "--no-dashboard"]
    env = os.environ | {"PYTHONPATH": str(path)}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, cwd=path)


def wait_for(address, workers):
    from distributed import Client

    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            with Client(address, timeout=5, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=60)
                return
        except (OSError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError("the cluster did not start")
