"""docs/studies.md: its commands run as they stand, and its queries give what the points say."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from hwsim.study import metrics, tidy
from hwsim.study.grid import read_grid
from tests.docs.addition import ROOT

PAGE = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    hwsim (.*)$", PAGE, re.M)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)


def block(kind, word):
    """The code block of a kind that holds a word."""
    (found,) = [text for name, text in BLOCKS if name == kind and word in text]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the page's commands have run in order, except those whose extras are not installed."""
    out = tmp_path_factory.mktemp("studies")
    (out / "edge.yaml").write_text(block("yaml", "grid:"))
    for command in COMMANDS:
        needed = {"--html": "vl_convert", "points.parquet": "pyarrow"}
        if any(word in command and not installed(package) for word, package in needed.items()):
            continue
        line = [sys.executable, "-m", "hwsim", *shlex.split(command)]
        done = subprocess.run(line, cwd=out, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
        assert done.returncode == 0, done.stderr
    return out


def installed(package):
    from importlib.util import find_spec

    return find_spec(package) is not None


@pytest.fixture(scope="module")
def lines(folder):
    return [json.loads(line) for line in (folder / "results/points.jsonl").open()]


def test_the_commands_write_what_the_page_names(folder):
    assert len(COMMANDS) == 6
    assert {"edge.md", "edge_tokens.svg"} <= {path.name for path in (folder / "results").iterdir()}
    assert not installed("vl_convert") or ((folder / "results/edge.html").exists() and (folder / "run.html").exists())


def test_every_column_is_in_the_page(folder):
    row = next(tidy.rows(read_grid(folder / "results")))
    axes = {"run_weights", "run_batch", "machine_dram_bandwidth_bytes_per_second"}
    named = set(re.findall(r"`([a-z0-9_]+)`", PAGE))
    assert set(row) - axes <= named and "machine_dram_bandwidth_bytes_per_second" in named
    assert all(m.name in named for m in metrics.METRICS)


def test_the_csv_query(folder, lines, monkeypatch):
    monkeypatch.chdir(folder)
    found = {}
    exec(block("python", "import csv"), found)  # noqa: S102
    assert found["answer"] == max(lines, key=lambda line: line["tokens_per_second"])["point"]["run.weights"]


def test_the_duckdb_query(folder, lines, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(folder)
    best = {}
    for line in lines:
        batch = line["point"]["run.batch"]
        best[batch] = max(best.get(batch, (0, "")), (line["tokens_per_second"], line["point"]["run.weights"]))
    expected = [(batch, name, speed) for batch, (speed, name) in sorted(best.items())]
    assert duckdb.sql(block("sql", "points.parquet")).fetchall() == expected


def test_the_same_query_in_sqlite(folder, lines):
    """Where DuckDB is not installed, sqlite checks its query: its max() takes the other columns along."""
    import csv
    import sqlite3

    rows = list(csv.DictReader((folder / "points.csv").open()))
    base = sqlite3.connect(":memory:")
    base.execute(f"create table points ({', '.join(rows[0])})")
    base.executemany(f"insert into points values ({', '.join('?' * len(rows[0]))})", [list(r.values()) for r in rows])
    query = (
        block("sql", "points.parquet").replace("'points.parquet'", "points").replace("and fits", "and fits = 'true'")
    )
    query = query.replace("arg_max(run_weights, tokens_per_second)", "run_weights").replace(
        "max(tokens_per_second)", "max(cast(tokens_per_second as real))"
    )
    found = {int(batch): (name, speed) for batch, name, speed in base.execute(query)}
    for batch, (name, speed) in found.items():
        some = [line for line in lines if line["point"]["run.batch"] == batch]
        best = max(some, key=lambda line: line["tokens_per_second"])
        assert (name, speed) == (best["point"]["run.weights"], best["tokens_per_second"])
    assert sorted(found) == [1, 8, 64]


def test_the_pandas_query(folder, lines, monkeypatch):
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(folder)
    found = {}
    exec(block("python", "import pandas"), found)  # noqa: S102
    speeds = {tuple(line["point"].values()): line["tokens_per_second"] for line in lines}
    for (weights, batch), ratio in found["answer"].items():
        assert ratio == round(speeds[weights, batch, "0.1 TB/s"] / speeds[weights, batch, "50 GB/s"], 2)
    assert len(found["answer"]) == 9


def test_the_polars_query(folder, lines, monkeypatch):
    pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(folder)
    found = {}
    exec(block("python", "import polars"), found)  # noqa: S102
    points = {}
    for line in lines:
        batch = line["config"]["batch"]
        points[line["key"]] = line["dram_bytes"] / batch, line["tokens_per_second"] / batch
    best = {
        key
        for key, (cost, speed) in points.items()
        if not any(c <= cost and s >= speed and (c, s) != (cost, speed) for c, s in points.values())
    }
    chosen = set(found["answer"]["key"])
    assert {points[k] for k in chosen} == {points[k] for k in best}
