"""docs/adding.md, (a): a number format is one file and one row; without hardware, nothing else changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = '    Row(block_layout("mytable", "TABLE16", 4, 64, 32, activations="wide"), "mytable:TableFormat", {}),\n'
TABLE_BEGINS = "ROWS: dict[str, Row] = _table(\n"

VALUES = """
import json
import numpy as np
from hwsim import get_format
from hwsim.formats import matmul

form = get_format("mytable")
x = np.random.default_rng(4).standard_normal((3, 130)).astype(np.float32)
encoded = form.encode(x)
data = encoded.to_bytes()
again = form.from_bytes(data, x.shape)
other = get_format("bf16").encode(np.ones((2, 130), np.float32))
print(json.dumps({
    "x": x.tolist(), "codes": encoded.codes.tolist(), "decoded": encoded.decode().tolist(), "nbytes": len(data),
    "again": again.decode().tolist(), "y": matmul(encoded, other, accumulate="exact").tolist(),
    "zeros": form.quantize(np.zeros((1, 5))).tolist(), "bits": str(form.bits_per_value),
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project with the new format: the file and the row, nothing else."""
    folder = tmp_path_factory.mktemp("project")
    for part in ("hwsim", "arch_configs"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "tests/docs/mytable.py", folder / "hwsim/formats/mytable.py")
    names = folder / "hwsim/formats/names.py"
    before = names.read_text()
    assert before.count(TABLE_BEGINS) == 1
    names.write_text(before.replace(TABLE_BEGINS, TABLE_BEGINS + ROW))
    return folder


def run(folder: Path, *command: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def entries() -> list[Fraction]:
    """The toy's table, written once more."""
    return [Fraction(n, 64) for n in (-64, -46, -34, -25, -18, -12, -6, 0, 5, 10, 16, 22, 28, 36, 46, 64)]


def test_it_encodes_and_decodes(copy):
    got = json.loads(run(copy, "-c", VALUES))
    for row, codes, decoded in zip(got["x"], got["codes"], got["decoded"], strict=True):
        for at in range(0, len(row), 64):
            block = [Fraction(v) for v in row[at : at + 64]]
            scale = max(map(abs, block))
            for x, code, back in zip(block, codes[at : at + 64], decoded[at : at + 64], strict=True):
                nearest = min(abs(x - entry * scale) for entry in entries())
                assert abs(x - entries()[code] * scale) == nearest
                assert back == pytest.approx(float(entries()[code] * scale), rel=2**-24)
    assert got["again"] == got["decoded"] and got["zeros"] == [[0.0] * 5]
    assert got["bits"] == "9/2" and got["nbytes"] == 3 * 3 * (4 + 32)  # a row of 130 values is 3 blocks
    sums = [sum(Fraction(v) for v in row) for row in got["decoded"]]
    for row, want in zip(got["y"], sums, strict=True):
        assert row == pytest.approx([float(want)] * 2, rel=1e-6)


def test_it_is_listed_and_explained(copy):
    assert "mytable" in run(copy, "-m", "hwsim", "format")
    (line,) = run(copy, "-m", "hwsim", "format", "mytable").splitlines()[2:]
    assert line.split() == ["mytable", "block", "TABLE16", "64", "4.5", "288", f"{4096 * 4096 * 9 // 16:,}"]
    told = run(copy, "-m", "hwsim", "format", "mytable", "--explain", "2", "-1.1", "0")
    assert "scale 2: the largest magnitude" in told and "the nearest entry is -0.53125" in told


def test_it_runs_in_the_simulator(copy):
    size = ("--m", "1", "--n", "256", "--k", "256")
    told = run(copy, "-m", "hwsim", "gemm", "h200-sxm", *size, "--weights", "mytable", "--json")
    result = json.loads(told)
    assert result["bytes"]["weights"] == 256 * 4 * 36
    assert result["config"]["formats"]["weights"] == "mytable"
    assert result["config"]["formats"]["activations"] == "bf16"  # "wide" on this machine
    assert any("mytable x bf16 dequantised" in note for note in result["notes"])
