"""GGUF: the values of the package `gguf`, which llama.cpp's authors write, and of blocks by hand."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from hwsim.compress import compress, convert, decompress, inspect
from hwsim.errors import InputError
from tests.compress import oracles
from tests.compress.oracles import read

SIZES = {"Q8_0": (32, 34), "Q4_0": (32, 18), "MXFP4": (32, 17), "NVFP4": (64, 36)}


def blocks(kind, rows, count, seed=0):
    """uint8[rows, bytes]: any codes under ordinary scales."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (rows, count, SIZES[kind][1]), np.uint8)
    if kind in ("Q8_0", "Q4_0"):
        data[..., :2] = rng.uniform(-1, 1, (rows, count, 1)).astype(np.float16).view(np.uint8)
    elif kind == "MXFP4":
        data[..., 0] = rng.integers(100, 140, (rows, count))
    else:
        data[..., :4] = rng.integers(0, 0x7F, (rows, count, 4))
    return data.reshape(rows, -1)


def write(path, tensors):
    """name -> (array, type or None)."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.gguf"
    tensors = {f"blk.0.{kind}.weight": (blocks(kind, 6, 5), Kind[kind]) for kind in SIZES}
    tensors["norm.weight"] = (np.arange(8, dtype=np.float32), None)
    tensors["half.weight"] = (np.full((2, 4), 1.5, np.float16), None)
    write(path, tensors)
    return path, tensors


def test_values_are_those_of_the_package(model, tmp_path, monkeypatch):
    monkeypatch.setattr("hwsim.compress.parts.CHUNK", 300)
    path, tensors = model
    rows = {row.name: row for row in inspect(path).rows}
    decompress(path, tmp_path / "out.safetensors")
    got = read(tmp_path / "out.safetensors")
    for kind, (values, size) in SIZES.items():
        name = f"blk.0.{kind}.weight"
        want = gguf.dequantize(tensors[name][0], Kind[kind])
        np.testing.assert_array_equal(got[name], want)
        assert rows[name].shape == (6, 5 * values) == want.shape
        assert rows[name].bits == 8 * size / values and rows[name].layout == "gguf"
    assert got["norm.weight"].tolist() == list(range(8)) and got["half.weight"].dtype == np.float16
    assert {rows[f"blk.0.{k}.weight"].format for k in SIZES} == {"q8_0", "q4_0", "mxfp4_e2m1", "nvfp4"}
    assert "GGUF" in inspect(path).notes[0]


def test_a_block_by_hand(tmp_path):
    """MXFP4 under 2^0: byte 0x2F has element 0 = -6 low and element 16 = 1 high."""
    data = bytes([127, 0x2F]) + bytes(15)
    write(tmp_path / "m.gguf", {"a.weight": (np.frombuffer(data, np.uint8).reshape(1, 17), Kind.MXFP4)})
    decompress(tmp_path / "m.gguf", tmp_path / "out.safetensors")
    got = read(tmp_path / "out.safetensors")["a.weight"][0]
    assert got[[0, 16]].tolist() == [-6, 1] and np.count_nonzero(got) == 2


def test_a_scale_beside_nvfp4_is_its_tensor_scale(tmp_path):
    data = blocks("NVFP4", 4, 2)
    write(tmp_path / "m.gguf", {
        "a.weight": (data, Kind.NVFP4), "a.scale": (np.array([0.375], np.float32), None),
        "b.weight": (data, Kind.NVFP4),
    })  # fmt: skip
    decompress(tmp_path / "m.gguf", tmp_path / "out.safetensors")
    got = read(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(got["a.weight"], got["b.weight"] * np.float32(0.375))
    assert "a.scale" not in got


def test_codes_move_to_other_layouts_exactly(model, tmp_path):
    path, tensors = model
    only = tmp_path / "only.gguf"
    write(only, {"a.weight": tensors["blk.0.MXFP4.weight"], "n.weight": tensors["blk.0.NVFP4.weight"]})
    _, how = convert(only, tmp_path / "out.safetensors", "compressed-tensors")
    assert how == {"a.weight": "exact", "n.weight": "exact"}
    t = read(tmp_path / "out.safetensors")
    want = gguf.dequantize(tensors["blk.0.MXFP4.weight"][0], Kind.MXFP4)
    np.testing.assert_array_equal(oracles.mxfp4(t["a.weight_packed"], t["a.weight_scale"]), want)
    want = gguf.dequantize(tensors["blk.0.NVFP4.weight"][0], Kind.NVFP4)
    got = oracles.nvfp4(t["n.weight_packed"], t["n.weight_scale"], divisor=t["n.weight_global_scale"][0])
    np.testing.assert_array_equal(got, want)
    with pytest.raises(InputError, match="is quantised already"):
        compress(only, tmp_path / "x.safetensors", "mxint8")


def test_a_fallback_is_for_the_weights_that_need_one(model, tmp_path):
    """Q8_0 and Q4_0 are refused until a fallback says their format; MXFP4 and NVFP4 keep their codes beside them."""
    path, tensors = model
    out = tmp_path / "out.safetensors"
    with pytest.raises(InputError) as raised:
        convert(path, out, "compressed-tensors")
    assert len(raised.value.problems) == 2 and not out.exists()
    for problem, kind in zip(raised.value.problems, ("Q4_0", "Q8_0"), strict=True):
        assert f"blk.0.{kind}.weight: {kind.lower()} of gguf is not exactly a format of hwsim" in problem
        assert "write --fallback nvfp4, or another format" in problem
    _, how = convert(path, out, "compressed-tensors", fallback="fp8_row")
    assert how == {
        "blk.0.Q8_0.weight": "re-encoded from q8_0", "blk.0.Q4_0.weight": "re-encoded from q4_0",
        "blk.0.MXFP4.weight": "exact", "blk.0.NVFP4.weight": "exact",
    }  # fmt: skip
    t = read(out)
    mxfp4 = oracles.mxfp4(t["blk.0.MXFP4.weight_packed"], t["blk.0.MXFP4.weight_scale"])
    np.testing.assert_array_equal(mxfp4, gguf.dequantize(tensors["blk.0.MXFP4.weight"][0], Kind.MXFP4))
    want = gguf.dequantize(tensors["blk.0.Q8_0.weight"][0], Kind.Q8_0)
    got = t["blk.0.Q8_0.weight"].astype(np.float32) * t["blk.0.Q8_0.weight_scale"]
    assert (np.abs(got - want) <= np.abs(want).max(1, keepdims=True) / 16).all() and (got != want).any()
    with pytest.raises(InputError, match="convert: both are given"):
        convert(path, out, "compressed-tensors", "nvfp4", fallback="nvfp4")


def test_types_that_are_not_read(tmp_path):
    data = np.random.default_rng(0).integers(0, 256, (2, 144), np.uint8)
    write(tmp_path / "m.gguf", {"k.weight": (data, Kind.Q4_K), "m.weight": (blocks("MXFP4", 2, 1), Kind.MXFP4)})
    assert {row.format for row in inspect(tmp_path / "m.gguf").rows} == {"GGUF Q4_K", "mxfp4_e2m1"}
    with pytest.raises(InputError, match=r"k.weight: GGUF Q4_K is not read; Q8_0"):
        decompress(tmp_path / "m.gguf", tmp_path / "out.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.gguf"]


@pytest.mark.parametrize("cut", [0, 3, 4, 20, 60, 200, 400])
def test_cut_files(model, tmp_path, cut):
    path, _ = model
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="GGUF"):
        inspect(bad)


def test_a_gguf_file_of_another_name(model, tmp_path):
    other = tmp_path / "model.safetensors"
    other.write_bytes(model[0].read_bytes())
    with pytest.raises(InputError, match="is a GGUF file; .* under a name in .gguf"):
        inspect(other)
