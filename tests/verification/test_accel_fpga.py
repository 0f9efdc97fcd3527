"""The page of the accelerator, for counts defined here."""

import json

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.verification.accel_fpga import ACCELS, page


def test_page_sums_cells_and_describes_the_configurations(tmp_path):
    """60 LUT of logic, 5 shift registers and 2 RAM of 4 LUT: 73; a unit of 20 LUT that is there 3 times."""
    stat = tmp_path / "stat.json"
    uses = {"LUT2": 20, "LUT6": 40, "SRL16E": 5, "RAM32M": 2, "FDRE": 9, "CARRY4": 4, "RAMB36E1": 1, "dot": 3}
    modules = {"\\top": {"num_cells_by_type": {"LUT6": 7}}, "\\dot": {"num_cells_by_type": {"LUT2": 20}}}
    stat.write_text(json.dumps({"design": {"num_cells_by_type": uses}, "modules": modules}))
    text = page({"layer": stat}, {"a-tool": "1.0"})
    rows = {line.split("|")[1].strip(): [each.strip() for each in line.split("|")[2:-1]]
            for line in text.splitlines() if line.startswith("|")}  # fmt: skip
    assert rows["LUT"] == ["73"] and rows["FF"] == ["9"] and rows["block RAM of 18 Kib"] == ["2"]
    assert rows["`top`"] == ["7", "1"] and rows["`dot`"] == ["20", "3"]
    assert ", a-tool 1.0." in text
    assert "a tile of 3 rows, bursts of 16" in text and ACCELS["layer"].burst == 16
