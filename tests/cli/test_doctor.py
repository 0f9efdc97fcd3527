"""hwsim doctor: its lists are those of pyproject.toml, and what is absent is said to be absent."""

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwsim.cli import app, doctor

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def packages(requirements):
    import re

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

    monkeypatch.setattr(doctor.metadata, "version", without)
    monkeypatch.setattr(doctor.shutil, "which", lambda name, path=None: None)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    extras = {each["name"]: each for each in json.loads(done.stdout)["extras"]}
    assert extras["report"]["version"] == "" and extras["report"]["missing"] == ["matplotlib"]
    assert extras["rtl"]["missing"] == ["amaranth"]
    text = CliRunner().invoke(app, ["doctor"]).stdout
    assert "absent: pip install 'hwsim[report]'" in text and "iverilog   not found" in text


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
