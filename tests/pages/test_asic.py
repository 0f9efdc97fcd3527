"""The page of standard-cell libraries, for rows defined here."""

from hwsim.pages.asic import both_table, goal_text, held_table, libraries, library_table, measured_rows, page_text

ROWS = {
    "a": {"netlist_sha256": "x", "per_cycle": 16, "gates": {"nand2": 110, "registers": 32, "by_transistors": 125}},
    "b": {"netlist_sha256": "y", "per_cycle": 1, "gates": {"nand2": 80, "registers": 0, "by_transistors": None}},
    "c": {"netlist_sha256": "z", "per_cycle": 1, "gates": None},
}
TOOLS = {"a-tool": "1.0"}


def unit(sha, area, ns=2.0, mw=8.0):
    sizes = {"area_um2": area, "register_um2": 0.3 * area, "fast_um2": 1.5 * area}
    return {"netlist_sha256": sha, **sizes, "delay_ns": ns, "mw": mw, "tools": TOOLS}


DATA = {
    "activity": 0.2,
    "libraries": {
        "L": {
            "source": "example.org", "volts": 1.1, "nand2": "ND2", "nand2_um2": 2.0,
            "units": {
                "a": unit("x", 200.0), "b": unit("y", 200.0, None, None), "c": unit("z", 1.0), "old": unit("x", 1.0),
            },
        },
    },
}  # fmt: skip


def test_a_unit_of_another_netlist_or_without_a_count_is_left_out():
    stale = {**ROWS, "a": {**ROWS["a"], "netlist_sha256": "w"}}
    assert [each.unit for each in libraries(ROWS, DATA)[0].units] == ["a", "b"]
    assert [each.unit for each in libraries(stale, DATA)[0].units] == ["b"]


def test_counts_areas_and_energy():
    """200 um2 of 2 um2 are 100 NAND2: 110 is 10 % too high, 80 is 20 % too low. 8 mW for 2 ns are 16 pJ for 16."""
    (library,) = libraries(ROWS, DATA)
    a, b = library.units
    assert (round(a.off, 9), round(b.off, 9)) == (0.1, -0.2) and a.pj == 1.0 and b.pj is None
    lines = [line.split() for line in library_table(library).splitlines()[2:]]
    assert lines[0] == ["a", "110", "200", "100", "+10%", "1.50", "2.00", "500", "8.0", "1.000"]
    assert lines[1] == ["b", "80", "200", "100", "-20%", "1.50", "-", "-", "-", "-"]
    assert both_table([library]).splitlines()[2].split() == ["a", "110", "200", "100"]


def test_page_names_sources_and_tools():
    text = page_text(ROWS, libraries(ROWS, DATA), DATA)
    assert "example.org; 1.1 V; its NAND2 is ND2, 2 um2" in text and "a-tool 1.0" in text
    assert "Of 2 units 1 are within 10 %, the worst is 20% off" in text and "0.2 times per cycle" in text


def test_how_near_the_count_is():
    """Library N has `a` alone, 10 % too high; there 6 registers of 5.33 take 60 um2, 30 NAND2. By transistors 25 %.

    With registers of 5 the count is 110 less 6 thirds, 108.
    """
    one = {**DATA["libraries"]["L"], "units": {"a": unit("x", 200.0)}}
    found = libraries(ROWS, {**DATA, "libraries": {**DATA["libraries"], "N": one}})
    lines = [line.split() for line in held_table(found).splitlines()[2:]]
    both = ["1", "of", "2", "-20.0%"]
    assert lines[0] == ["L", "5.00", *both, *both, *both, "0", "of", "1", "+25.0%"]
    near = ["1", "of", "1", "+10.0%"]
    with_its = ["1", "of", "1", "+8.0%"]
    assert lines[1] == ["N", "5.00", *near, *near, *with_its, "0", "of", "1", "+25.0%"]
    assert goal_text(found).endswith(
        "within 10% of mapped area in 3 libraries. It is in 1 of 2: N; of all 3 areas 2 are."
    )


def test_rows_hold_both_counts():
    rows = measured_rows()
    gates = rows["lfsr_block_seedlm4"]["gates"]
    # 40 registers of 16 transistors before; of 5.33 NAND2 now.
    assert gates["registers"] == 213 and gates["by_transistors"] >= 40 * 16 / 4 and gates["nand2"] > 213
