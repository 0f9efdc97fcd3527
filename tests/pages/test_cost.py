"""The page of `make cost`, for rows defined here."""

import pytest

from hwsim.pages.cost import bdr_table, composite_table, misses, page_text, point, seed_points, units_table

TOOLS = {"tools": {"a-tool": "1.0"}}
PATH = {"from": "here", "to": "there", "levels": 3, "logic_ns": 2.0, "routing_ns": 5.5}


def row(nand2, per_cycle=32, lut=100, mhz=200.0):
    return {
        "netlist_sha256": "x",
        "latency": 1,
        "per_cycle": per_cycle,
        "xc7": {"lut": lut, **TOOLS},
        "gates": nand2 and {"nand2": nand2, **TOOLS},
        "ecp5": {"lut4": 90, "fmax_mhz": mhz, "critical": PATH, **TOOLS},
        "ice40": None,
    }


ROWS = {
    "block_dot_mxint8": row(30_000, lut=1801),
    "accumulator_mxint8": row(10_000, 1),
    "block_dot_mx9": row(20_000, 16),
    "accumulator_mx9": row(5_000, 1),
    "block_dot_fp8_dual_64": row(130_000, 64),
    "accumulator_fp8_dual_64": row(30_000, 1),
    "seed_decoder_seedlm4": row(4_000, 8, mhz=179.9),
    "requantizer_seedlm4_mxint8": row(20_000, 32, lut=None),
}


def test_cost_of_64_elements_is_units_and_an_accumulator_for_each_block():
    assert point(ROWS, "mxint8").nand2 == 2 * 40_000
    assert point(ROWS, "mx9").nand2 == 4 * 25_000
    assert point(ROWS, "mx6").nand2 is None
    # 256 elements: MXINT8 264 bytes, MX9 288 and MX4 128 of transfers of 64.
    assert [point(ROWS, name).transfers for name in ("mxint8", "mx9", "mx4")] == [5, 5, 2]


def test_relative_to_the_dual_fp8_unit():
    lines = {line.split()[0]: line.split() for line in bdr_table(ROWS).splitlines()}
    # 100,000 gates over 160,000; 5 transfers over 4 (FP8 without scales: 256 bytes).
    assert lines["mx9"][1:6] == ["100,000", "5", "0.62", "1.25", "0.78"]
    assert lines["mx6"][1] == "-"


def test_seed_points_add_decoders_and_requantizers():
    mxint8, mxfp4 = seed_points(ROWS)
    assert mxint8.nand2 == 80_000 + 8 * 4_000 + 2 * 20_000
    assert mxfp4.nand2 is None


def test_misses_name_the_slowest_path():
    said = misses(ROWS | {"block_dot_mxfp8_e5m2": row(None) | {"ecp5": None}})
    assert said == [
        "- block_dot_mxint8: 1,801 LUT, target 1,800",
        "- block_dot_mxfp8_e5m2: MHz not measured, target 150",
        "- seed_decoder_seedlm4: 179.9 MHz, target 180; slowest path from here to there: 2.0 ns of logic in 3 levels, "
        "5.5 ns of routing",
    ]


@pytest.mark.parametrize("text", [units_table(ROWS), page_text(ROWS, [], 10)])
def test_what_was_not_measured_is_a_dash(text):
    (line,) = [each for each in text.splitlines() if each.startswith("requantizer_")]
    assert line.split()[2] == "-"


def test_macs_and_gemv_units_are_sums_of_their_parts():
    rows = ROWS | {"accumulator_mxint8": row(10_000, 1, lut=7, mhz=150.0)}
    for each in rows.values():
        each["xc7"] = each["xc7"] and each["xc7"] | {"ff": 11}
    lines = {line.split("  ")[0].strip(): line for line in composite_table(rows).splitlines()}
    assert lines["mx_mac_mxint8"].split()[1:] == ["1,808", "22", "40,000", "150.0"]
    assert lines["mx_mac_mx9"].split()[3] == "25,000"
    whole = lines["gemv, seedlm4 x mxint8, 16 decoders, 4 dot units"]
    # 16 x 4,000 + 4 x (20,000 + 30,000 + 10,000); a requantizer without LUTs leaves their sum open.
    assert "304,000" in whole and " - " in whole and "16 seed_decoder_seedlm4 + 4 requantizer" in whole
