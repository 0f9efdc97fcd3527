"""What writes a page starts nothing long for an option that it does not know, or for `--help`."""

import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT

MODULES = sorted(
    path.relative_to(ROOT)
    for folder in ("hwsim/pages", "hwsim/measured")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text()
)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_arguments_are_parsed(path):
    program = (ROOT / path).read_text().split('if __name__ == "__main__":')[1]
    assert "parse_args()" in program


def test_an_unknown_option_is_an_error_and_help_writes_nothing(tmp_path):
    command = [sys.executable, "-m", "hwsim.pages.main_job"]
    shown = subprocess.run([*command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    wrong = subprocess.run([*command, "--pgae"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "--page" in shown.stdout and wrong.returncode == 2 and "--pgae" in wrong.stderr
    assert not any(tmp_path.iterdir())
