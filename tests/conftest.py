"""For all tests: Hypothesis without a deadline (machines are shared), its files in build/, the same draws in CI.

What the benches of the RTL units counted and recorded is printed at the end of the run.
"""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(__file__).parents[1] / "build" / "hypothesis")
settings.register_profile("hwsim", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("hwsim")

COUNTED = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[COUNTED] = []


@pytest.fixture
def counted(request):
    """A list whose lines are printed when all tests have run."""
    return request.config.stash[COUNTED]


def pytest_terminal_summary(terminalreporter):
    simulator = sys.modules.get("tests.rtl.simulator")
    lines = [*terminalreporter.config.stash[COUNTED], *(simulator.WAVEFORMS if simulator else ())]
    if lines:
        terminalreporter.section("RTL units against values and cycle models")
        for line in lines:
            terminalreporter.line(line)
