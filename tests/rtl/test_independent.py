"""The second reference and bench, `tests/rtl/independent.py`: its imports, its units, and that it sees a broken one."""

import ast
import re
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl import independent
from tests.rtl.independent import KINDS, check, float32, states
from tests.rtl.simulator import icarus_version

QUICK = ("lfsr-block", "seed-decoder", "requantizer --target mxfp4_e2m1", "block-dot --format nvfp4",
         "accumulator --format mxfp4 --interleave 1", "mx-mac --format nvfp4")  # fmt: skip
icarus = pytest.mark.skipif(icarus_version() < 11, reason="the bench is for Icarus 11")


def test_imports_nothing_of_hwsim_and_rtl():
    tree = ast.parse(Path(independent.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in names if name.split(".")[0] in ("hwsim", "rtl", "tests", "amaranth", "numpy")}


def test_states_of_a_seed_by_hand():
    """0x0001: tap 0 is 1, so a 1 enters on top; 0x8000, 0x4000: no tap is 1; from 0x1000 on tap 12 is."""
    assert states(1, 5) == [0x8000, 0x4000, 0x2000, 0x1000, 0x8800] and set(states(0, 24)) == {0}


def test_float32_is_that_of_numpy():
    numpy = pytest.importorskip("numpy")
    from fractions import Fraction

    for value in (1 / 3, -2.5, 1e-45, 3.4e38, 1.1754942e-38, 2**-149):
        assert float32(Fraction(value)) == int(numpy.float32(value).view(numpy.uint32))
    assert float32(Fraction(2) ** 128) == 0x7F800000 and float32(Fraction(-1, 2**151)) == 0x80000000
    assert float32(Fraction(3, 2**150)) == 2 and float32(Fraction(2**25 + 2)) == float32(Fraction(2**25))


@icarus
@pytest.mark.simulator
@pytest.mark.parametrize("command", QUICK)
def test_units_answer_as_the_reference(command, tmp_path):
    (kind,) = (kind for kind in KINDS if kind.command == command)
    found = check(kind, 150, tmp_path)
    assert found.mismatches == 0 and found.outputs > 20, found


@icarus
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.simulator
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.command)
def test_units_answer_as_the_reference_at_length(kind, tmp_path):
    found = check(kind, 10_000, tmp_path)
    assert found.mismatches == 0 and found.outputs > 1_500, found


@icarus
@pytest.mark.simulator
def test_a_broken_unit_is_seen(tmp_path):
    """Bit 0 of the states stuck at 0: about every state with that bit is wrong, so nearly every word."""
    (kind,) = (kind for kind in KINDS if kind.command == "lfsr-block")

    def stuck(text: str) -> str:
        changed = re.sub(r"assign m_axis_states_tdata = (.*);", r"assign m_axis_states_tdata = \1 & ~384'h1;", text)
        assert changed != text
        return changed

    assert check(kind, 60, tmp_path, change=stuck).wrong > 10
