"""Hypothesis for all tests: no deadline (machines are shared), its files in build/, the same draws every time in CI."""

import os
from pathlib import Path

from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(__file__).parents[1] / "build" / "hypothesis")
settings.register_profile("hwsim", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("hwsim")
