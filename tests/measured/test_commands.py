"""The page's figures are what a user gets: commands of reports/validation.csv as processes, equal to the digit."""

import csv
import json
import random
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def sample(count):
    """Rows over all datasets in turn, drawn with a seed; those without a command have none that could be run."""
    with (ROOT / "reports" / "validation.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["command"]]
    names = list(dict.fromkeys(row["dataset"] for row in rows))
    rng = random.Random(0)
    pools = {name: rng.sample(mine, len(mine)) for name in names if (mine := [r for r in rows if r["dataset"] == name])}
    chosen = []
    while len(chosen) < count:
        chosen += [pools[name].pop() for name in names if pools[name]][: count - len(chosen)]
    return chosen


def seconds(row):
    words = shlex.split(row["command"])
    assert words[0] == "hwsim"
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, (row["command"], done.stderr)
    return json.loads(done.stdout)["seconds"]


def check(count):
    rows = sample(count)
    with ThreadPoolExecutor(2) as pool:
        for row, found in zip(rows, pool.map(seconds, rows), strict=True):
            assert found == float(row["predicted_seconds"]), row["command"]
    return {row["dataset"] for row in rows}


def test_commands_of_the_page_give_its_figures():
    assert len(check(12)) == 12


@pytest.mark.slow
def test_200_commands_of_the_page_give_its_figures():
    assert len(check(200)) > 30
