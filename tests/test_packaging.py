"""The wheel is complete: built without network, installed elsewhere, run from another folder."""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.docs.blocks import blocks

ROOT = Path(__file__).parents[1]
MACHINES = sorted(path.stem for path in (ROOT / "arch_configs").glob("*.yaml"))
STUDIES = sorted(path.stem for path in (ROOT / "arch_configs" / "studies").glob("*.yaml"))
MODELS = sorted(path.stem for path in (ROOT / "hwsim" / "workload" / "models").glob("*.yaml"))
GEMM = ["gemm", "m0", "--m", "1", "--n", "256", "--k", "256", "--weights", "int8", "--json"]


def outside(*command: str | Path, cwd: Path) -> str:
    """Output of a command that cannot import from the checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (built,) = folder.glob("hwsim-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment with the wheel; the dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    programs = folder / "venv" / "bin"
    python = programs / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(outside(python, "-c", ask, cwd=folder).strip())
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install"]
    outside(*pip, "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    found = outside(python, "-c", "import hwsim; print(hwsim.__file__)", cwd=folder).strip()
    assert Path(found).is_relative_to(packages)
    return programs


def test_wheel_holds_the_package_its_data_and_the_machines(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"hwsim/arch_configs/{name}.yaml" for name in MACHINES} <= names
    assert {f"hwsim/arch_configs/studies/{name}.yaml" for name in STUDIES} <= names
    assert {f"hwsim/workload/models/{name}.yaml" for name in MODELS} <= names
    files = [path for package in ("hwsim", "rtl") for path in (ROOT / package).rglob("*")]
    ours = {path.relative_to(ROOT).as_posix() for path in files if path.is_file() and "__pycache__" not in path.parts}
    assert ours <= names and "hwsim/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"hwsim", "rtl"}


def test_an_installed_run_reads_what_the_wheel_carries(wheel, installed, tmp_path):
    """Machines and models as data, once each; with them, no schema is loaded and nothing is kept in a cache folder."""
    carried = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("hwsim/prebuilt/")]
    assert sorted(Path(name).stem.rpartition("-")[0] for name in carried) == sorted([*MACHINES, *MODELS])
    code = (
        "import os, sys, hwsim; os.environ['XDG_CACHE_HOME'] = 'cache'\n"
        "hwsim.run('h200-sxm', 'nemotron3-nano-30b-a3b', context=64)\n"
        "print({'hwsim.workload.language.schema', 'hwsim.arch.kernel_library'} & set(sys.modules))"
    )
    assert outside(installed / "python", "-c", code, cwd=tmp_path).strip() == "set()"
    assert not (tmp_path / "cache").exists()


def test_wheel_says_what_it_needs(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = archive.read(name).decode()
    assert "Requires-Python: >=3.11" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    tools = {"arrays", "calibrate", "dask", "gguf", "html", "onnx", "report", "sample", "search", "table"}
    extras = {"rtl", "formal", "fpga", "scale", "dev", "docs"} | tools
    assert extras == {line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")}


def test_the_version_is_everywhere_the_same(wheel):
    import hwsim

    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1]
    changed = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert cited == changed == hwsim.__version__ == wheel.name.split("-")[1]


@pytest.mark.parametrize(("command", "names"), [("arch", MACHINES), ("model", MODELS), ("study", STUDIES)])
def test_installed_command_lists_what_is_shipped(installed, tmp_path, command, names):
    assert names
    shown = outside(installed / "hwsim", command, cwd=tmp_path)
    assert [name for name in names if name not in shown] == []


def test_installed_command_runs_and_agrees_with_the_checkout(installed, tmp_path):
    there = outside(installed / "python", "-m", "hwsim", *GEMM, cwd=tmp_path)
    here = subprocess.run([sys.executable, "-m", "hwsim", *GEMM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert there == here.stdout
    assert json.loads(there)["macs"] == 256 * 256


def test_an_installed_package_takes_an_extra_by_its_name(installed, tmp_path):
    """As `hwsim doctor` says it there: no package index has hwsim, and none is asked."""
    said = outside(installed / "python", "-c", "from hwsim.extras import install; print(install('rtl'))", cwd=tmp_path)
    assert said == "pip install 'hwsim[rtl]'\n"
    pip = [sys.executable, "-m", "pip", "--python", installed / "python", "--disable-pip-version-check", "install"]
    shown = outside(*pip, "--no-index", "--no-deps", *shlex.split(said)[2:], cwd=tmp_path)
    assert "Requirement already satisfied: hwsim[rtl]" in shown


def test_installed_command_simulates_a_model(installed, tmp_path):
    options = ["--model", "llama3-8b", "--context", "16", "--weights", "int8", "--engine", "walk", "--json"]
    result = json.loads(outside(installed / "hwsim", "run", "m0", *options, cwd=tmp_path))
    assert result["cycles"] >= result["bound_cycles"] > 0


def test_installed_command_runs_a_study_with_workers(installed, tmp_path):
    """The program's own script is imported again by each worker."""
    head = "name: t\nmachine: m0\nmodel: mamba2-130m\nrun: {weights: int8, context: 64}\n"
    (tmp_path / "s.yaml").write_text(head + "grid:\n  run.batch: [1, 2, 3]\n")
    shown = outside(installed / "hwsim", "study", "s.yaml", "--workers", "2", cwd=tmp_path)
    assert shown.startswith("t: 3 points, 3 simulated now, 0 kept, 0 failed\n")
    assert len((tmp_path / "build" / "studies" / "t" / "points.jsonl").read_text().splitlines()) == 3


def test_installed_names_load_on_first_use(installed, tmp_path):
    code = "import hwsim; print(hwsim.load_arch('m0').name, hwsim.gemm('m0', m=1, n=32, k=32, weights='int8').macs)"
    assert outside(installed / "python", "-c", code, cwd=tmp_path).split() == ["m0", "1024"]


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def bare(request, tmp_path_factory) -> Path:
    """The bin folder of an environment into which pip installed the distribution and what it needs."""
    folder = tmp_path_factory.mktemp(request.param)
    build = [sys.executable, "-m", "hatchling", "build", "-t", request.param, "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True)
    (built,) = folder.glob("hwsim-*")
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    programs = folder / "venv" / "bin"
    outside(programs / "python", "-m", "pip", "install", "--quiet", f"{built}[report,rtl]", cwd=folder)
    return programs


@pytest.mark.slow
def test_a_bare_environment_runs_the_examples_of_readme(bare, tmp_path):
    ran = 0
    for block in blocks("README.md"):
        if block.language == "python":
            outside(bare / "python", "-c", block.text, cwd=tmp_path)
            ran += 1
        for command in block.commands:
            words = shlex.split(command)
            if words[0] in ("hwsim", "python"):
                outside(bare / words[0], *words[1:], cwd=tmp_path)
                ran += 1
    assert ran >= 6 and list((tmp_path / "build" / "rtl").glob("*_tb.v"))


@pytest.mark.slow
def test_a_bare_environment_has_what_the_doctor_says(bare, tmp_path):
    said = json.loads(outside(bare / "hwsim", "doctor", "--json", cwd=tmp_path))
    assert Path(said["folder"]).is_relative_to(bare.parent) and all(each["version"] for each in said["core"])
    extras = {each["name"]: each for each in said["extras"]}
    assert extras["report"]["version"] and extras["search"]["missing"] == ["optuna"]


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_the_shell(bare, tmp_path, shell):
    """What the shell would call to complete `hwsim stu`."""
    assert "hwsim" in outside(bare / "hwsim", "--show-completion", shell, cwd=tmp_path)
    asked = {"_HWSIM_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "hwsim stu", "COMP_WORDS": "hwsim stu"}
    more = {"COMP_CWORD": "1", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run([bare / "hwsim"], env={**asked, **more}, capture_output=True, text=True, check=False)
    assert "study" in done.stdout and "serve" not in done.stdout
