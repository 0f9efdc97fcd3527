"""What the benches of the RTL units counted and recorded, printed at the end of the run."""

import sys

import pytest

COUNTED = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[COUNTED] = []


@pytest.fixture
def counted(request):
    """A list whose lines are printed when all tests have run."""
    return request.config.stash[COUNTED]


def pytest_terminal_summary(terminalreporter):
    simulator = sys.modules.get("simulator")
    lines = [*terminalreporter.config.stash[COUNTED], *(simulator.WAVEFORMS if simulator else ())]
    if lines:
        terminalreporter.section("RTL units against values and cycle models")
        for line in lines:
            terminalreporter.line(line)
