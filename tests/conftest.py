"""For all tests: Hypothesis without a deadline (machines are shared), with its files in build/, equal examples in CI.

At the end of the run, it prints what the benches of the RTL units counted and recorded.
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
