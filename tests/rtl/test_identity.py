"""The hash of a measured row: names, order of ports and attributes do not count; logic does."""

import re

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from rtl.catalog import LEAF_UNITS, build
from rtl.emit import netlist
from rtl.identity import netlist_sha256

NAME = "accumulator_mxfp4_e2m1"
"""It has a memory, registers and Yosys's own cells of many types."""
TEXT = netlist(build(LEAF_UNITS[NAME]), NAME)


def changed(pattern: str, new: str, text: str = TEXT) -> str:
    """The text with the first match replaced."""
    result, count = re.subn(pattern, new, text, count=1, flags=re.M)
    assert count == 1, pattern
    return result


def test_other_names_are_the_same_netlist():
    """Every name of a wire gets another one; the module too; all comments and source attributes go or come."""
    other = netlist(build(LEAF_UNITS[NAME]), "somewhere_else")
    wires = set(re.findall(r"^  wire .*?(\\\w\S*)$", other, re.M))
    assert len(wires) > 300
    other = re.sub(r"\\(\S+)", lambda found: "\\" + "x_" * (found[0] in wires) + found[1], other)
    other = changed(
        r"^attribute \\generator .*$", r'# mine\nattribute \\generator "me"\nattribute \\src "a.py:1"', other
    )
    assert other != TEXT and netlist_sha256(other) == netlist_sha256(TEXT)


def test_order_of_ports_does_not_count():
    other = changed(r"input 0 ", "input 7 ", changed(r"output 6 ", "output 0 "))
    assert netlist_sha256(other) == netlist_sha256(TEXT)


@pytest.mark.parametrize(
    ("pattern", "new"),
    [
        (r"cell \$and ", r"cell $or "),
        (r"attribute \\init 3'000", r"attribute \\init 3'001"),
        (r"parameter \\A_WIDTH 24$", r"parameter \\A_WIDTH 23"),
        (r"size 13 \\sums", r"size 14 \\sums"),
        (r"case 1'1", r"case 1'0"),
        (r"(connect \\A \\\S+) \[1\]", r"\1 [0]"),
        (r"connect \\A (.*)\n    connect \\B (.*)$", r"connect \\A \2\n    connect \\B \1"),
        (r"wire width 1 input", r"wire width 1 output"),
    ],
)
def test_any_change_of_logic_counts(pattern, new):
    assert netlist_sha256(changed(pattern, new)) != netlist_sha256(TEXT)
