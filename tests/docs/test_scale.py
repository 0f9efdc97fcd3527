"""docs/scale.md: its commands, the job array and the Kubernetes job run as they stand, with a loop for the cluster."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.docs.addition import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = re.findall(r"^    hwsim (.*)$", PAGE, re.M)
STUDY = """
name: small
machine: m0
model: mamba2-130m
run: {context: 64, weights: int8}
grid:
  run.batch: [1, 2, 3, 4]
  machine.dram.bandwidth: [50 GB/s, 100 GB/s, 200 GB/s]
"""


def block(kind, word):
    """The code block of a kind that holds a word."""
    (found,) = [text for name, text in BLOCKS if name == kind and word in text]
    return found


@pytest.fixture
def place(tmp_path):
    """A folder with a study, and an environment in which `hwsim` is this checkout's."""
    (tmp_path / "study.yaml").write_text(STUDY)
    command = tmp_path / "bin" / "hwsim"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hwsim "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    return tmp_path, os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "STUDY": "study.yaml", "OUT": "results"}


def run(text, folder, env):
    done = subprocess.run(["bash", "-c", text], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def whole(folder, env):
    run("hwsim study study.yaml --out whole --workers 1", folder, env)
    return (folder / "whole/points.jsonl").read_bytes()


def test_the_job_array(place):
    folder, env = place
    for task in (3, 1, 2, 8, 4, 5, 6, 7, 3):
        run(block("bash", "#SBATCH"), folder, env | {"SLURM_ARRAY_TASK_ID": str(task)})
    run(block("bash", "--merge"), folder, env)
    assert (folder / "results/points.jsonl").read_bytes() == whole(folder, env)


def test_the_kubernetes_job(place):
    folder, env = place
    job = yaml.safe_load(block("yaml", "batch/v1"))
    shell, option, command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert (shell, option) == ("sh", "-c") and job["spec"]["completionMode"] == "Indexed"
    for index in range(job["spec"]["completions"]):
        run(command.replace("/data/", ""), folder, env | {"JOB_COMPLETION_INDEX": str(index)})
    run("hwsim study study.yaml --out results --merge", folder, env)
    assert (folder / "results/points.jsonl").read_bytes() == whole(folder, env)


def test_the_search(place):
    pytest.importorskip("optuna")
    folder, env = place
    (folder / "best-edge.yaml").write_text(block("yaml", "best-edge"))
    (command,) = [line for line in COMMANDS if line.startswith("search")]
    assert "20 trials" in run(f"hwsim {command}", folder, env)
    assert "best-edge" in run("hwsim report found", folder, env)


@pytest.mark.slow
def test_the_sample(place):
    pytest.importorskip("sklearn")
    folder, env = place
    (command,) = [line for line in COMMANDS if "--sample" in line]
    out = run(f"hwsim {command}", folder, env)
    assert "159 of 1,000 points simulated" in out and "with 95% confidence" in out


def test_the_scheduler_is_asked_for_where_nobody_answers(place):
    pytest.importorskip("distributed")
    folder, env = place
    done = subprocess.run(
        ["hwsim", "study", "study.yaml", "--dask", "tcp://127.0.0.1:1"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "no scheduler answers" in done.stderr
