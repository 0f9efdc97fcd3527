"""docs/adding.md, (a): a number format is one file and one row; without hardware, nothing else changes."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from tests.docs.addition import Copy, listed

SOURCE = Path(__file__).with_name("mine_format.py").read_text()
ROW = '    Row(block_layout("mytable", "TABLE16", 4, 64, 32, activations="wide"), "mine:TableFormat", {}),'

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
def copy(tmp_path_factory) -> Copy:
    """The project with the new format: the file and the row, nothing else."""
    copy = Copy(tmp_path_factory.mktemp("project"))
    copy.new("hwsim/formats/mine.py", SOURCE)
    copy.row("hwsim/formats/names.py", "ROWS: dict[str, Row] = _table(", ROW)
    assert copy.touched == listed("(a)")
    return copy


def entries() -> list[Fraction]:
    """The toy's table, written once more."""
    return [Fraction(n, 64) for n in (-64, -46, -34, -25, -18, -12, -6, 0, 5, 10, 16, 22, 28, 36, 46, 64)]


def test_it_encodes_and_decodes(copy):
    got = json.loads(copy.run("-c", VALUES))
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
    assert "mytable" in copy.run("-m", "hwsim", "format")
    (line,) = copy.run("-m", "hwsim", "format", "mytable").splitlines()[2:]
    assert line.split() == ["mytable", "block", "TABLE16", "64", "4.5", "288", f"{4096 * 4096 * 9 // 16:,}"]
    told = copy.run("-m", "hwsim", "format", "mytable", "--explain", "2", "-1.1", "0")
    assert "scale 2: the largest magnitude" in told and "the nearest entry is -0.53125" in told


def test_it_runs_in_the_simulator(copy):
    size = ("--m", "1", "--n", "256", "--k", "256")
    told = copy.run("-m", "hwsim", "gemm", "h200-sxm", *size, "--weights", "mytable", "--json")
    result = json.loads(told)
    assert result["bytes"]["weights"] == 256 * 4 * 36
    assert result["config"]["formats"]["weights"] == "mytable"
    assert result["config"]["formats"]["activations"] == "bf16"  # "wide" on this machine
    assert any("mytable x bf16 dequantised" in note for note in result["notes"])
