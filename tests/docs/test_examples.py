"""docs/examples/: each script runs, and its answer agrees with arithmetic of another kind."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT
from tests.rtl.simulator import icarus_version

EXAMPLES = ROOT / "docs" / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A script's output and its folder; each runs once, from a folder of its own."""
    done = {}

    def ran(name):
        if name not in done:
            place = tmp_path_factory.mktemp(name)
            line = [sys.executable, EXAMPLES / f"{name}.py", "out"]
            env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
            found = subprocess.run(line, cwd=place, env=env, capture_output=True, text=True, check=False)
            assert found.returncode == 0, found.stderr
            done[name] = found.stdout, place / "out"
        return done[name]

    return ran


def test_the_page_lists_every_script():
    page = (EXAMPLES / "README.md").read_text()
    assert SCRIPTS and sorted(re.findall(r"\((\w+)\.py\)", page)) == SCRIPTS


@pytest.mark.slow
def test_the_bench_of_accel_finds_y_right_and_what_is_wrong(tmp_path):
    """The two commands of the page; then the same unit under x in another format of as many bytes."""
    pytest.importorskip("cocotb_tools", reason="pip install -e '.[rtl]'")
    if icarus_version() < 11:
        pytest.skip("the bench takes Icarus unless SIM names another simulator")
    page = (EXAMPLES / "README.md").read_text()
    write, bench = re.findall(r"^    python (.+)$", page.split("## accel")[1], re.M)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def ran(command):
        words = shlex.split(command.replace("build/rtl", str(tmp_path)))
        words = [str(next(tmp_path.glob(word.split("/")[-1]))) if "*" in word else word for word in words]
        return subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert ran(write).returncode == 0
    right = ran(bench)
    assert right.returncode == 0 and "50 x 200: 0 of 50 results are wrong" in right.stdout, right.stdout + right.stderr
    assert ran(f"{bench} --activations mxfp8").returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_and_writes_the_figures_that_it_names(name, run):
    if name == "own_format":
        pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
    out, folder = run(name)
    named = re.findall(r"^out/(\S+\.svg)$", out, re.M)
    assert named and all((folder / each).stat().st_size > 1000 for each in named)


@pytest.mark.slow
def test_formats_are_in_the_order_of_their_bytes(run):
    """At batch 1 the memory decides, and of 8, 4.25 and 4 bits per value the fewest are the fastest."""
    speeds = re.findall(r"^(\w+) +([\d.]+) tokens/s, limited by dram$", run("own_npu")[0], re.M)
    assert [name for name, _ in sorted(speeds, key=lambda row: float(row[1]))] == ["int8", "mxfp4", "seedlm4"]


@pytest.mark.slow
def test_regenerators_grow_with_the_bandwidth_as_the_rule_says(run):
    """99 % of the speed needs 99 % of the rule's blocks per cycle or somewhat less, and is found as a whole number."""
    rows = re.findall(r"^([\d.]+) TB/s: (\d+) regenerators, .*; (\d+) by", run("regenerators")[0], re.M)
    per = [int(found) / float(bandwidth) for bandwidth, found, _ in rows]
    assert len(rows) == 4 and max(per) < 1.02 * min(per)
    assert all(0.97 * int(rule) < int(found) <= int(rule) + 1 for _, found, rule in rows)


@pytest.mark.slow
def test_more_bits_are_a_smaller_error_of_the_graph(run):
    errors = {name: float(e) for name, e in re.findall(r"^(\w+) .*logits ([\d.]+)%$", run("lfds_graph")[0], re.M)}
    assert errors["mxint8"] < errors["mxfp8"] < errors["mxfp4"]


@pytest.mark.slow
def test_the_format_of_half_the_bytes_answers_sooner(run):
    out, folder = run("served_trace")
    met = {name: int(n) for name, n in re.findall(r"^(bf16|fp8): (\d+) of", out, re.M)}
    sent = len((folder / "requests.csv").read_text().splitlines()) - 1
    assert met["bf16"] <= met["fp8"] <= sent and f"of {sent} first tokens" in out


@pytest.mark.slow
def test_recipes_of_half_the_bits_gain_at_most_twice(run):
    speeds = dict(re.findall(r"^(\w+) +([\d,]+) tokens/s per chip", run("training_recipe")[0], re.M))
    bf16, *others = (int(value.replace(",", "")) for value in speeds.values())
    assert len(others) == 2 and all(bf16 < other < 2 * bf16 for other in others)
