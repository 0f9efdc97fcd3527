"""What an explanation says must be what `encode` did."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.names import NAMES
from tests.formats.hard_blocks import hard_rows, held

MX = ["mxfp8_e5m2", "mxfp8_e4m3", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8"]
SCALED = [*MX, "nvfp4", "mx9", "mx6", "mx4", "fp8", "fp8_e5m2", "fp8_row", "fp8_block", "int8", "int4_g128"]
SCALED += [{"m": 3, "k1": 8, "k2": 4, "d2": 2}]


def said(step) -> Fraction | None:
    """The magnitude, in scales, that the words lead to."""
    words, number = step.rounding, r"([-+.e\d]+)"
    if words == "exact":
        return abs(step.quotient)
    if found := re.match(rf"beyond {number}: saturates", words):
        return Fraction(found[1])
    found = re.match(rf"between {number} and {number}", words)
    assert words.endswith((" above", " below")), words
    return Fraction(found[1 if words.endswith("below") else 2])


def check(form, row):
    told = form.explain(row)
    encoded = form.encode(np.asarray(row, np.float64))
    steps = [e for block in told.blocks for e in block.elements]
    if form.layout.kind != "seed":
        assert [e.code for e in steps] == encoded.codes.ravel().tolist()
    np.testing.assert_array_equal([e.decoded for e in steps], encoded.decode())
    for e in steps:
        if e.quotient and form.name not in ("fp32", "bf16", "fp16"):
            scale = abs(Fraction(e.value) / e.quotient)
            back, want = abs(e.decoded), float(said(e) * scale)
            assert back == pytest.approx(want, rel=2e-6, abs=2**-149) or (math.isinf(back) and want > 3e38), e
    assert all(len(line) <= 160 for line in told.text().splitlines())
    return told


@pytest.mark.parametrize("rounding", ["rne", "away", "zero", "stochastic"])
@pytest.mark.parametrize("name", SCALED)
def test_the_words_lead_to_the_value(name, rounding):
    special = name not in ("int8", "int4_g128")
    for i, row in enumerate(hard_rows(np.random.default_rng(8), 6, 40, np.float32, special)):
        row = held(row) if name == "int4_g128" else row
        rule = {"scale_rule": ["floor", "even", "rceil", "ceil"][i % 4]} if name in MX else {}
        check(get_format(name, rounding=rounding, seed=5, **rule), row)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_explains_itself(name):
    told = check(get_format(name), [0.3, -1.7, 0.0, 2.5])
    assert len(told.blocks) == 1 and told.blocks[0].maximum == 2.5
    assert told.text().splitlines()[0] == get_format(name).name


@pytest.mark.parametrize("options", [{"recipe": "te"}, {"four_over_six": True}, {"recipe": "torchao"}])
def test_nvfp4_options(options):
    check(get_format("nvfp4", **options), np.random.default_rng(2).standard_normal(64))


def test_by_hand():
    """Microscaling's best-known question: 957 becomes 896, as floor leaves 957 / 2 beyond E4M3's 448."""
    (block,) = get_format("mxfp8").explain([957.0, 17.0, 19.0]).blocks
    assert block.scale == ("floor: floor(log2 maximum) = 9, less emax 8: 1; scale 2^1, code 128",)
    assert [(e.quotient, e.decoded, e.rounding) for e in block.elements] == [
        (Fraction(957, 2), 896, "beyond 448: saturates"),
        (Fraction(17, 2), 16, "between 8 and 9, a tie: the even code is below"),
        (Fraction(19, 2), 20, "between 9 and 10, a tie: the even code is above"),
    ]
    (block,) = get_format("mxfp4", scale_rule="even").explain([7.0, 1.0]).blocks
    assert "rounded to 1 fraction bits is 8" in block.scale[0]
    assert block.scale[0].endswith("scale 2^1, code 128")


def numbers(text):
    return [Fraction(found) for found in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])", text)]


@pytest.mark.parametrize("name", ["nvfp4", "int8", "fp8", "int4_g128"])
def test_the_printed_arithmetic_comes_out_by_hand(name):
    """value / scale is the quotient and decoded - value the error, with the numbers that stand in the text."""
    lines = get_format(name).explain([1.3, 0.7, -2.2]).text().splitlines()
    (scales,) = [line for line in lines if "scale 0." in line and "float" in line]
    scale = numbers(scales.split("scale ")[1])[0]
    if name == "nvfp4":
        (block,) = [line for line in lines if "as E4M3" in line]
        assert numbers(block)[1] == pytest.approx(float(Fraction("2.2") / (6 * scale)), rel=1e-8)
        scale *= 448
    start = next(i for i, line in enumerate(lines) if "quotient" in line) + 1
    for line in lines[start : start + 3]:
        value, quotient = numbers(line)[:2]
        assert float(value / scale) == pytest.approx(float(quotient), rel=1e-8)
        _, _, _, decoded, error = line.split()[:5]
        assert Fraction(decoded) - value == pytest.approx(Fraction(error), abs=6e-9)


def test_a_quotient_just_beyond_a_number_is_not_printed_as_it():
    lines = get_format("int8").explain([1.3, 0.7, -2.2]).text().splitlines()
    (line,) = [line for line in lines if "beyond 127" in line]
    assert Fraction(line.split()[1]) < -127


def test_errors():
    with pytest.raises(InputError, match="at least one value"):
        get_format("mxfp4").explain([])
