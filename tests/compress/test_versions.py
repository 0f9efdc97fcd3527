"""Files and unfinished jobs of older versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hwsim.compress import compress, decompress, inspect
from hwsim.errors import InputError

DATA = Path(__file__).parent / "data"


def test_a_file_of_version_1_reads_as_before(tmp_path):
    """`version1.safetensors` and its values were written by hwsim at 68d0ecb, before the axis was recorded."""
    rows = {row.name: row for row in inspect(DATA / "version1.safetensors").rows}
    assert {name: row.format for name, row in rows.items()} == {
        "a.block.weight": "fp8_block", "a.half.weight": "int8", "a.mine.weight": "mine", "a.mx.weight": "mxfp4_e2m1",
        "a.nv.weight": "nvfp4", "a.seed.weight": "seedlm4", "norm.weight": "F32",
    }  # fmt: skip
    assert rows["a.nv.weight"].shape == (3, 5, 32) and rows["a.nv.weight"].axis == 2
    decompress(DATA / "version1.safetensors", tmp_path / "out.safetensors")
    want, got = load_file(DATA / "version1_values.safetensors"), load_file(tmp_path / "out.safetensors")
    assert sorted(want) == sorted(got)
    for name, w in want.items():
        assert got[name].dtype == w.dtype
        np.testing.assert_array_equal(got[name], w)


def test_an_unfinished_job_of_version_1_is_named_and_left_alone(tmp_path):
    """Its journal begins with the digest alone. Nothing of it is read or removed."""
    save_file({"a.weight": np.ones((4, 32), np.float32)}, tmp_path / "in.safetensors")
    journal, part = tmp_path / "out.resume", tmp_path / "out.safetensors.part"
    journal.write_text("0" * 64 + '\n[0, "a.weight", "0.000000e+00", 1]\n')
    part.write_bytes(b"half")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"out.resume: an older hwsim began these files.*remove this file"):
        compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", "mxfp4")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
