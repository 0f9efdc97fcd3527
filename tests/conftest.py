"""For all tests: Hypothesis without a deadline (machines are shared), with its files in build/, equal examples in CI.

`make test` runs the tests in as many processes as there are processors (pytest-xdist). In each of them BLAS has one
thread, and Numba its own cache, which it writes without a lock.

At the end of the run, it prints what the benches of the RTL units counted and recorded.
"""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

BUILD = Path(__file__).parents[1] / "build"
set_hypothesis_home_dir(BUILD / "hypothesis")
settings.register_profile("hwsim", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("hwsim")

if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # before NumPy and Numba are imported, which read these once
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_CACHE_DIR", str(BUILD / "numba" / worker))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """The processors that this process may use, hyper-threads too; pytest-xdist's own count is that of the cores."""
    return len(os.sched_getaffinity(0))


COUNTED = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[COUNTED] = []


@pytest.fixture
def counted(request):
    """A list whose lines are printed when all tests have run."""
    return request.config.stash[COUNTED]


def lines(config):
    """What the benches that ran in this process counted and recorded."""
    simulator = sys.modules.get("tests.rtl.simulator")
    return [*config.stash[COUNTED], *(simulator.WAVEFORMS if simulator else ())]


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["lines"] = lines(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """A process of pytest-xdist has ended; one that crashed has no output."""
    node.config.stash[COUNTED] += getattr(node, "workeroutput", {}).get("lines", [])


def pytest_terminal_summary(terminalreporter):
    if found := lines(terminalreporter.config):
        terminalreporter.section("RTL units against values and cycle models")
        for line in found:
            terminalreporter.line(line)
