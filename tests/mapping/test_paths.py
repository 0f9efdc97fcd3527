"""What does not fit when a pair of formats is converted, as a sentence: its words against the formats' own numbers."""

import re
from fractions import Fraction

import pytest

import hwsim
from hwsim.formats.exactness import loss
from hwsim.formats.names import ROWS, layout
from hwsim.mapping.paths import lost_text

NAMES = tuple(ROWS)


def said(source, target):
    return lost_text(loss(layout(source), layout(target)), layout(source), layout(target))


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("fp8", "bf16", ""),
        ("mxfp8", "bf16", "below 2^-133"),  # the underflow that `path_of` knows stays as it is
        ("int4_g128", "fp16", "of 14 significant bits, 11 fit; numbers above 65504 do not fit"),
        ("mxfp8", "fp16", "numbers below 2^-24 or above 65504 do not fit"),
        ("mxfp4", "nvfp4", "scales below 2^-9 or above 448 do not fit"),
        ("fp8", "mxint8", "a block of mxint8 cannot hold both the least and the largest element of fp8_e4m3"),
        ("nvfp4", "mxint8", "blocks of nvfp4 have 16 values, those of mxint8 32"),
    ],
)
def test_what_is_lost(source, target, text):
    assert said(source, target) == text


@pytest.mark.parametrize("source", NAMES)
def test_no_bound_stands_without_what_it_bounds(source):
    """A reader sees `numbers above 448` or `scales above 448`, and of the elements of a block none."""
    for target in NAMES:
        text = said(source, target)
        for part in text.split("; ") if text not in ("below 2^-133", "below 2^-149") else ():
            if "above" in part or "below" in part:
                assert re.fullmatch(r"(numbers|scales) (above|below) \S+( or above \S+)? do not fit", part), part
                assert part.startswith("scales") or layout(target).block == 1


def test_a_block_cannot_hold_the_range_where_integers_say_so():
    """INT8 counts 127 steps; E4M3 spans 448 to 2^-9, 229,376 steps of its least; E2M1 12 of 0.5, which fit."""
    assert Fraction(448) / Fraction(1, 2**9) > 127 > 6 / 0.5
    assert "both the least and the largest" in said("mxfp8", "mxint8") and "largest" not in said("mxfp4", "mxint8")
    result = hwsim.gemm("edge-mx", 8, 512, 512, "fp8", "fp8_e5m2", engine="walk")
    assert any(said("fp8", "mxint8") in note for note in result.notes)
