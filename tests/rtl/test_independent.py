"""The second reference and bench, `tests/rtl/independent`: its imports, its numbers, its units, and that it sees a
broken one."""

import ast
import random
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl import independent
from tests.rtl.independent.activations import Register, product
from tests.rtl.independent.bench import check
from tests.rtl.independent.kinds import KINDS
from tests.rtl.independent.numbers import MXFP4, MXFP8, MXINT8, float32, mx_block
from tests.rtl.independent.seeds import states
from tests.rtl.simulator import icarus_version

QUICK = ("lfsr-block", "seed-decoder", "requantizer --target mxfp4_e2m1", "accumulator --format mxfp4 --interleave 1",
         "mx-mac --format nvfp4", "scale", "adapter --bytes-in 6 --bytes-out 8")  # fmt: skip
icarus = pytest.mark.skipif(icarus_version() < 11, reason="the bench is for Icarus 11")


def test_imports_nothing_of_hwsim_and_rtl():
    """Only the standard library and itself."""
    names = set()
    for path in Path(independent.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names.add(node.module)
    mine = {name for name in names if name.startswith("tests.rtl.independent")}
    assert mine and not {name.split(".")[0] for name in names - mine} & {"hwsim", "rtl", "tests", "amaranth", "numpy"}


def test_answers_for_every_unit_that_turns_one_stream_into_another():
    """By the table of the catalogue: all but those that have no cases of one stream."""
    from rtl.catalog import UNITS

    nvfp4 = "encoder --format nvfp4"
    kinds = {"nvfp4-encoder" if kind.command.startswith(nvfp4) else kind.command.split()[0] for kind in KINDS}
    assert kinds == {unit.command for unit in UNITS if unit.cases is not None}


def test_states_of_a_seed_by_hand():
    """0x0001: tap 0 is 1, so a 1 enters on top; 0x8000, 0x4000: no tap is 1; from 0x1000 on tap 12 is."""
    assert states(1, 5) == [0x8000, 0x4000, 0x2000, 0x1000, 0x8800] and set(states(0, 24)) == {0}


def test_register_of_stochastic_rounding_by_its_recurrence():
    """Murmur3's finaliser of 1 is 0x514e28b7; the bytes one after the other are the bits of one stream, from bit 8."""
    register = Register(1)
    assert register.state == 0x514E28B7
    stream = 0x514E28B7 | int.from_bytes(bytes(register.bytes(0, 40)), "little") >> 24 << 32
    bit = [stream >> i & 1 for i in range(320)]
    assert all(bit[i + 32] == bit[i] ^ bit[i + 10] ^ bit[i + 30] ^ bit[i + 31] for i in range(280))


def test_float32_is_that_of_numpy():
    for value in (1 / 3, -2.5, 1e-45, 3.4e38, 1.1754942e-38, 2**-149):
        assert float32(Fraction(value)) == int(np.float32(value).view(np.uint32))
    assert float32(Fraction(2) ** 128) == 0x7F800000 and float32(Fraction(-1, 2**151)) == 0x80000000
    assert float32(Fraction(3, 2**150)) == 2 and float32(Fraction(2**25 + 2)) == float32(Fraction(2**25))


def test_products_are_those_of_numpy():
    """Any bits; a NaN, whichever, is 0x7fc00000."""
    draw = np.random.default_rng(0)
    a = draw.integers(0, 1 << 32, 20_000, dtype=np.uint32)
    b = (draw.integers(0, 1 << 32, 20_000, dtype=np.uint32) & 0x807FFFFF) | ((381 - (a >> 23 & 255)) % 255) << 23
    b[::2] = draw.integers(0, 1 << 32, 10_000, dtype=np.uint32)
    with np.errstate(all="ignore"):
        found = a.view(np.float32) * b.astype(np.uint32).view(np.float32)
    wanted = np.where(np.isnan(found), np.uint32(0x7FC00000), found.view(np.uint32)).tolist()
    assert [product(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)] == wanted


@pytest.mark.parametrize(("element", "name"), [(MXFP8, "float8_e4m3fn"), (MXFP4, "float4_e2m1fn")])
def test_elements_are_those_of_ml_dtypes(element, name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    draw, top = random.Random(0), element.largest * Fraction(2) ** element.unit
    for _ in range(2_000):
        value = float(np.float32(draw.choice([draw.uniform(0, float(top)), draw.randrange(2**12) / 2**11])))
        n, d = (Fraction(value) / Fraction(2) ** element.unit).as_integer_ratio()
        assert element.nearest(n, d) == int(np.array(value).astype(getattr(ml_dtypes, name)).view(np.uint8))


def test_blocks_by_hand():
    """Nearest: 2.5 is half way between 2 (code 4, even) and 3; 7.5 saturates at 6. 255/256 is 127.5 steps of INT8 under
    a scale of 1/2, which saturate; an integer's -0 is 0. Drawn: 2.5 + 127/256 gives 2, 2.5 + 128/256 gives 3."""
    assert mx_block([12, 5, 0, 15], [False, True, True, False], -1, MXFP4) == (127, [7, 12, 8, 7])
    assert mx_block([255, 0], [True, True], -8, MXINT8) == (126, [256 - 127, 0])
    assert mx_block([12, 5], [False] * 2, -1, MXFP4, [0, 127]) == (127, [7, 4])
    assert mx_block([12, 5], [False] * 2, -1, MXFP4, [0, 128]) == (127, [7, 5])


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
    """In Icarus; Verilator has 100,000 inputs, see `tests.verification.independent`."""
    found = check(kind, 2_000, tmp_path)
    assert found.mismatches == 0 and found.outputs > 300, found


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
