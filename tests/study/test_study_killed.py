"""A study killed at any moment loses nothing that was finished, and the next run ends as if uninterrupted."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hwsim.study import load_study, run_study
from hwsim.study.record import read_points

ROOT = Path(__file__).parents[2]
STUDY = {
    "name": "t",
    "machine": "m0",
    "model": "mamba2-130m",
    "run": {"weights": "int8", "context": 64},
    "grid": {"run.batch": list(range(1, 101)), "machine.dram.bandwidth": [f"{i} GB/s" for i in (50, 70, 100, 140)]},
}
POINTS = 400  # so many that the first kill comes before the end on a fast machine too


def start(folder, workers):
    """The command in a session of its own, no other process of which may survive."""
    args = [sys.executable, "-m", "hwsim", "study", folder / "s.yaml", "--out", folder / "o", "--workers", workers]
    return subprocess.Popen(list(map(str, args)), stdout=subprocess.DEVNULL, cwd=ROOT, start_new_session=True)


def in_session(sid):
    """Processes of a session that are still running."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == sid and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def kill_until_done(folder, workers, kills):
    """Kill at `kills` random moments after the first line, then let it end; return the lines at each kill."""
    (folder / "s.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    whole = run_study(load_study(folder / "s.yaml"), folder / "whole", workers=1)
    expected = sorted(Path(whole.file).read_bytes().splitlines())
    points, seen, rng = folder / "o" / "points.jsonl", [], random.Random(6)
    for _ in range(kills):
        before = points.stat().st_size if points.exists() else 0
        child, begin = start(folder, workers), time.monotonic()
        while child.poll() is None and time.monotonic() - begin < 60:
            if points.exists() and points.stat().st_size != before:
                time.sleep(rng.uniform(0, 0.1))
                break
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = read_points(points)
        assert set(seen[-1] if seen else ()) <= set(kept)  # nothing finished is lost
        seen.append(kept)
        begin = time.monotonic()
        while in_session(child.pid) and time.monotonic() - begin < 20:
            time.sleep(0.02)
        assert in_session(child.pid) == []  # no worker is left
    last = start(folder, workers)
    assert last.wait(120) == 0
    assert sorted(points.read_bytes().splitlines()) == expected
    return [len(kept) for kept in seen]


def test_kill_one_process(tmp_path):
    done = kill_until_done(tmp_path, workers=1, kills=2)
    assert any(0 < n < POINTS for n in done)


def test_kill_with_workers(tmp_path):
    done = kill_until_done(tmp_path, workers=2, kills=1)
    assert any(0 < n < POINTS for n in done)


@pytest.mark.slow
def test_kill_often(tmp_path):
    done = kill_until_done(tmp_path, workers=2, kills=34)
    assert len({n for n in done if 0 < n < POINTS}) >= 3


def test_a_kill_within_a_line(tmp_path):
    """The file as a kill leaves it, cut at random places: the next run ends with the same points."""
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(STUDY | {"grid": {"run.batch": [1, 2, 3]}}))
    asked, rng = load_study(tmp_path / "s.yaml"), random.Random(1)
    whole = Path(run_study(asked, tmp_path / "o", workers=1).file)
    lines = whole.read_bytes()
    for _ in range(8):
        os.truncate(whole, rng.randrange(len(lines)))
        run_study(asked, tmp_path / "o", workers=1)
        assert whole.read_bytes() == lines


@pytest.mark.slow
def test_kill_a_sample_often(tmp_path):
    """The same points and predictions, nothing twice; then the full study goes on."""
    pytest.importorskip("sklearn")
    grid = {"run.batch": list(range(1, 21)), "machine.dram.bandwidth": [f"{i} GB/s" for i in range(50, 150, 5)]}
    path, rng = tmp_path / "s.yaml", random.Random(7)
    path.write_text(yaml.safe_dump(STUDY | {"grid": grid}, sort_keys=False))

    def command(out, *more):
        args = [sys.executable, "-m", "hwsim", "study", path, "--out", tmp_path / out, "--workers", 1, *more]
        return subprocess.Popen(list(map(str, args)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)

    sample = ("--sample", "150", "--seed", "3")
    assert command("whole", *sample).wait() == 0
    for _ in range(33):
        child = command("o", *sample)
        time.sleep(rng.uniform(0.3, 3))
        child.kill()
        child.wait()
    assert command("o", *sample).wait() == 0
    for name in ("points.jsonl", "predicted.jsonl", "study.json"):
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len((tmp_path / "o/points.jsonl").read_text().splitlines()) == 150 + 59
    assert command("o").wait() == 0
    lines = (tmp_path / "o/points.jsonl").read_text().splitlines()
    assert len(lines) == len(read_points(tmp_path / "o/points.jsonl")) == 400
