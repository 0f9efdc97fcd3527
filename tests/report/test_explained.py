"""The last rounding of an explanation, by rational arithmetic on codes and scales that knows no formats."""

from __future__ import annotations

import re
from fractions import Fraction as F

import numpy as np
import pytest

from hwsim.formats import get_format
from hwsim.report.explained import explained
from tests.formats.dots import exact_values, fl32
from tests.formats.hard_blocks import hard_rows

VALUES = [0.3, -1.7, 5.0, 0.0, 1e-3, 2.2]
FORMS = ["nvfp4", "fp8", "fp8_e5m2", "fp8_row", "int8", "int4_g128", "mxfp8", "mxfp4", "mx9", "bf16", "fp32"]


def products(form, row) -> list[F]:
    """Element x all scales of each value, exact."""
    encoded = form.encode(np.asarray([row], np.float64))
    inside = exact_values(encoded)[0]
    if form.name in ("nvfp4", "fp8_e4m3", "fp8_e5m2"):
        return [v * F(float(encoded.tensor_scale)) for v in inside]
    if form.name in ("fp8_row", "int8"):
        return [v * F(float(encoded.scales.view(np.float32).ravel()[0])) for v in inside]
    return inside


def said(step) -> tuple[F | None, F] | None:
    """(the element, the product) that the words of a step round last."""
    found = re.search(r"; decoded = float32\((?:(\S+) x scales = )?(\S+)\)$", step.rounding)
    return found and (F(found[1]) if found[1] else None, F(found[2]))


@pytest.mark.parametrize("name", FORMS)
def test_the_words_name_every_value_that_is_rounded_last_and_no_other(name):
    form = get_format(name)
    rows = [VALUES, *hard_rows(np.random.default_rng(4), 3, 40, np.float32, False).clip(-1e4, 1e4)]
    rounded = 0
    for row in rows:
        steps = [step for block in explained(form, row).blocks for step in block.elements]
        for step, exact in zip(steps, products(form, row), strict=True):
            assert F(step.decoded) == fl32(exact)  # what is shown is what `decode` gives
            told = said(step)
            assert (told is not None) == (F(step.decoded) != exact), step
            if told:
                rounded += 1
                assert abs(told[1] / exact - 1) < F(1, 10**8)
                assert told[1] != F(f"{step.decoded:.9g}")  # the digits tell it from the decoded value
    assert bool(rounded) == (name in ("nvfp4", "fp8", "fp8_e5m2", "fp8_row", "int8"))


@pytest.mark.parametrize(
    "options", [{"row_scaled": True}, {"recipe": "te"}, {"four_over_six": True}, {"tensor_scale": 0.001}]
)
def test_nvfp4_with_options(options):
    """The product that the words name rounds to what is decoded: no float32 lies between the two."""
    form = get_format("nvfp4", **options)
    steps = [step for block in explained(form, VALUES).blocks for step in block.elements]
    assert [step.decoded for step in steps] == form.encode(np.array([VALUES])).decode()[0].tolist()
    for step in filter(said, steps):
        half = abs(np.spacing(np.float32(step.decoded))) / 2
        assert abs(float(said(step)[1]) - step.decoded) <= half * 1.01


def test_nvfp4_by_hand():
    """s_t = fl32(5 / 2688) and s_b = 448: 6 s_b s_t is a little above 5, and its float32 is 5."""
    s_t = fl32(F(5, 2688))
    steps = explained(get_format("nvfp4"), [0.3, -1.7, 5.0]).blocks[0].elements
    for step, element in zip(steps, (F(1, 2), F(-2), F(6)), strict=True):
        shown, product = said(step)
        assert shown == element and product == F(f"{float(element * 448 * s_t):.9g}")
        assert F(step.decoded) == fl32(element * 448 * s_t) != element * 448 * s_t
    assert steps[2].decoded == 5.0 and steps[2].rounding.endswith("; decoded = float32(6 x scales = 5.00000001)")


def test_seeds_and_codebooks_say_it_too():
    """A seed's sum over 32767 has no float32; an entry of a codebook times a float32 scale seldom has."""
    told = explained(get_format("seedlm4"), VALUES)
    power, sums = int(re.search(r"exponent (-?\d+)\)", told.blocks[0].scale[1])[1]), []
    exponent = int(re.search(r"exponent (\d+),", told.blocks[0].scale[0])[1])
    for step in told.blocks[0].elements:
        sums.append(int(re.match(r"S = (-?\d+)", step.rounding)[1]))
        exact = F(sums[-1]) * F(2) ** (exponent + power) / 32767
        assert F(step.decoded) == fl32(exact) and abs(said(step)[1] / exact - 1) < F(1, 10**8)
    assert len(set(sums)) > 1
    own = get_format({"name": "levels", "codebook": [-1, -0.3, 0.3, 1], "block": 32})
    first, last = explained(own, [0.7, 1.9]).blocks[0].elements
    assert said(first)[1] == pytest.approx(F(0.3) * F(float(np.float32(1.9))), rel=1e-6) and said(last) is None


def test_infinite_and_nan_values_are_explained_as_before():
    for name in ("nvfp4", "mxfp8", "fp8_row"):
        form = get_format(name)
        for step, plain in zip(
            explained(form, [0.3, np.nan, np.inf]).blocks[0].elements,
            form.explain([0.3, np.nan, np.inf]).blocks[0].elements,
            strict=True,
        ):
            assert step.rounding.startswith(plain.rounding) and step.code == plain.code
