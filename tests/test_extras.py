"""The command that a message names for an extra is one that works where hwsim stands."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim import extras

ROOT = Path(__file__).parents[1]


def test_a_checkout_is_named_by_its_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert extras.install("rtl") == "pip install -e '.[rtl]'"
    assert extras.install() == "pip install -e ."
    monkeypatch.chdir(tmp_path)
    assert shlex.split(extras.install("calibrate", "report")) == ["pip", "install", "-e", f"{ROOT}[calibrate,report]"]


def test_an_installed_package_is_named_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "CHECKOUT", tmp_path)
    assert (extras.install("rtl"), extras.install()) == ("pip install 'hwsim[rtl]'", "pip install hwsim")


@pytest.mark.parametrize("inside", [True, False])
def test_pip_takes_the_command(monkeypatch, tmp_path, inside):
    """From the checkout and from elsewhere; pip only says what it would install, without network."""
    monkeypatch.chdir(ROOT if inside else tmp_path)
    words = shlex.split(extras.install("report"))
    options = ["--disable-pip-version-check", "--dry-run", "--no-deps", "--no-index", "--no-build-isolation"]
    line = [sys.executable, "-m", *words[:2], *options, *words[2:]]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Would install hwsim-" in done.stdout, done.stdout + done.stderr
    assert "does not provide" not in done.stderr
