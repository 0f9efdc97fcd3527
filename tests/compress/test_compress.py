"""Compressed models, written and read back, against the safetensors library and the formats."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hwsim.compress import compress, decompress, inspect, inspect_text
from hwsim.compress.checkpoint import narrow
from hwsim.formats import NAMES, get_format, seed

BF16 = ml_dtypes.bfloat16


def model(seed=0, dtype=np.float32):
    """Tensors with the names of a decoder model; the rows of one weight are not a multiple of any block."""
    rng = np.random.default_rng(seed)

    def weight(*shape):
        return (rng.standard_normal(shape) * 0.02).astype(dtype)

    return {
        "model.embed_tokens.weight": weight(40, 16),
        "model.layers.0.self_attn.q_proj.weight": weight(24, 64),
        "model.layers.0.mlp.down_proj.weight": weight(16, 50),
        "model.layers.0.mlp.experts.gate_up_proj": weight(3, 8, 48),
        "model.layers.0.mlp.gate.weight": weight(4, 16),
        "model.layers.0.mlp.experts.gate_up_proj_bias": weight(3, 8),
        "model.layers.0.input_layernorm.weight": np.ones(16, dtype),
        "model.layers.0.conv1d.weight": weight(8, 1, 4),
        "lm_head.weight": weight(40, 16),
        "model.positions": np.arange(5),
    }


CHOSEN = [
    "model.layers.0.mlp.down_proj.weight",
    "model.layers.0.mlp.experts.gate_up_proj",
    "model.layers.0.self_attn.q_proj.weight",
]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(model(), path, metadata={"format": "pt", "trained": "never"})
    return path


def relative_error(w, q):
    w, q = w.astype(np.float64), q.astype(np.float64)
    return np.linalg.norm(w - q) / np.linalg.norm(w)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_every_format(source, tmp_path, name):
    out, back = tmp_path / "out.safetensors", tmp_path / "back.safetensors"
    found = compress(source, out, name)
    before, stored, form = load_file(source), load_file(out), get_format(name)
    rows = {row.name: row for row in found.rows}
    decompress(out, back)
    after = load_file(back)
    assert sorted(stored) == sorted(before) == sorted(after) == sorted(rows)
    for tensor, w in before.items():
        if tensor in CHOSEN:
            encoded = form.encode(w)
            assert stored[tensor].dtype == np.uint8 and stored[tensor].tobytes() == encoded.to_bytes()
            assert after[tensor].dtype == w.dtype and (after[tensor] == encoded.decode()).all()
            assert rows[tensor].format == name and rows[tensor].shape == w.shape
            assert rows[tensor].bits == 8 * len(encoded.to_bytes()) / w.size
            assert rows[tensor].error == pytest.approx(relative_error(w, encoded.decode()), rel=1e-6, abs=1e-12)
        else:
            assert stored[tensor].tobytes() == w.tobytes() == after[tensor].tobytes()
            assert rows[tensor].error is None
    assert found.nbytes == sum(t.nbytes for t in stored.values())
    assert found.original_nbytes == sum(t.nbytes for t in before.values())
    assert found.file_bytes == out.stat().st_size
    with safe_open(out, "numpy") as f:
        metadata = f.metadata()
    assert metadata["trained"] == "never" and json.loads(metadata["hwsim"])["version"] == 2
    with safe_open(back, "numpy") as f:
        assert f.metadata() == {"format": "pt", "trained": "never"}


@pytest.mark.parametrize("name", ["fp8_block", "nvfp4"])
def test_a_stack_of_experts_keeps_its_matrices_apart(tmp_path, name):
    """No tile of 128 x 128 reaches into the next matrix: 130 rows have two rows of scales, in a stack of three six."""
    w = np.random.default_rng(5).standard_normal((3, 130, 200)).astype(np.float32)
    source, out, back = (tmp_path / f"{n}.safetensors" for n in ("in", "out", "back"))
    save_file({"experts.weight": w}, source)
    (row,) = compress(source, out, name).rows
    expected = {"fp8_block": 3 * (130 * 200 + 2 * 2 * 4), "nvfp4": 390 * 13 * 9 + 4}[name]
    assert row.nbytes == expected and inspect(out).rows == (row,)
    decompress(out, back)
    found = load_file(back)["experts.weight"]
    if name == "fp8_block":
        np.testing.assert_array_equal(found, np.stack([get_format(name).quantize(each) for each in w]))
    assert relative_error(w, found) < {"fp8_block": 0.03, "nvfp4": 0.1}[name]


def write_bf16(tensors, path):
    """A bfloat16 file. The library cannot write one from numpy, so write float16 and change the type in the header."""
    save_file({name: w.view(np.float16) for name, w in tensors.items()}, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(b'"F16"', b'"BF16"')
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


@pytest.mark.parametrize("dtype, name", [(np.float16, "F16"), (BF16, "BF16")])
@pytest.mark.parametrize("form", ["mxfp8", "seedlm3"])
def test_half_precision_in_and_out(tmp_path, dtype, name, form):
    tensors = {k: v for k, v in model(1, dtype).items() if v.dtype == dtype}
    path, out, back = (tmp_path / f"{n}.safetensors" for n in ("in", "out", "back"))
    (write_bf16 if dtype is BF16 else save_file)(tensors, path)
    compress(path, out, form)
    assert all(row.format == (get_format(form).name if row.name in CHOSEN else name) for row in inspect(out).rows)
    decompress(out, back)
    with safe_open(back, "numpy") as f:
        assert {f.get_slice(k).get_dtype() for k in f.keys()} == {name}  # noqa: SIM118 - not a mapping
    raw = back.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    data = raw[8 + int.from_bytes(raw[:8], "little") :]
    for tensor, w in tensors.items():
        start, end = header[tensor]["data_offsets"]
        got = np.frombuffer(data[start:end], np.uint16).reshape(w.shape)
        want = get_format(form).quantize(w.astype(np.float32)).astype(dtype) if tensor in CHOSEN else w
        assert (got == want.view(np.uint16)).all()
    wide = decompress(out, tmp_path / "wide.safetensors", dtype="F32")
    assert all(row.format == "F32" for row in wide.rows if row.name in CHOSEN)


@pytest.mark.parametrize("dtype, name", [(np.float16, "F16"), (BF16, "BF16")])
def test_narrowing_is_nearest_even_and_stays_finite(dtype, name):
    rng = np.random.default_rng(0)
    kept = {"F16": 13, "BF16": 16}[name]  # fraction bits dropped
    bits = rng.integers(0, 2**32, 4000, np.uint32)
    ties = bits >> kept << kept | np.uint32(1 << (kept - 1))
    edges = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-45,
        6e-8,
        3e-8,
        65504,
        65519,
        65520,
        1e5,
        -1e5,
        3.3961e38,
        -3.4e38,
    ]
    x = np.concatenate([bits.view(np.float32), ties.view(np.float32), np.array(edges, np.float32)])
    got = narrow(x, name).view(dtype).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        want = x.astype(dtype).astype(np.float32)
    top = np.float32(ml_dtypes.finfo(dtype).max)
    want = np.where(np.isinf(want) & np.isfinite(x), np.copysign(top, x), want)
    np.testing.assert_array_equal(got, want)


def test_a_map_of_formats(source, tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\nelement: E2M1\nblock: 16\nscale: e8m0\n")
    (tmp_path / "map.yaml").write_text(
        f'"*.q_proj.weight": mxfp8\n"*bias*": keep\n"*experts*": {tmp_path}/mine.yaml\n"*embed*": int8\n'
        '"*.mlp.down*": {m: 5, k1: 10, d1: 8, k2: 2, d2: 1, name: odd}\n"*q_proj*": int4_g128\n'
    )
    out = tmp_path / "out.safetensors"
    found = compress(source, out, mapping=tmp_path / "map.yaml")
    formats = {row.name: row.format for row in found.rows if row.error is not None}
    assert formats == {
        "model.layers.0.self_attn.q_proj.weight": "mxfp8_e4m3",
        "model.layers.0.mlp.experts.gate_up_proj": "mine",
        "model.embed_tokens.weight": "int8",
        "model.layers.0.mlp.down_proj.weight": "odd",
    }
    (tmp_path / "mine.yaml").unlink()  # the compressed file does not need it
    decompress(out, tmp_path / "back.safetensors")
    w = load_file(source)["model.layers.0.mlp.experts.gate_up_proj"]
    want = get_format({"name": "mine", "element": "E2M1", "block": 16, "scale": "e8m0"}).quantize(w)
    assert (load_file(tmp_path / "back.safetensors")["model.layers.0.mlp.experts.gate_up_proj"] == want).all()


def test_include_and_exclude(source, tmp_path):
    def chosen(**choice):
        found = compress(source, tmp_path / "out.safetensors", "mxfp4", **choice)
        return sorted(row.name for row in found.rows if row.error is not None)

    assert chosen() == CHOSEN
    assert chosen(exclude=["*experts*"]) == [CHOSEN[0], CHOSEN[2]]
    assert chosen(include=["lm_head*", "*q_proj*"]) == ["lm_head.weight", CHOSEN[2]]
    assert chosen(include=["*_proj.weight"], exclude=["*down*"]) == [CHOSEN[2]]


def test_shards_in_and_out(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    tensors, places = model(), {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        save_file({n: tensors[n] for n in names}, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    found = compress(folder, out, "nvfp4")
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in folder.iterdir())
    written = json.loads((out / index.name).read_text())
    assert written["weight_map"] == places and written["metadata"]["total_size"] == found.nbytes
    assert [row.name for row in found.rows if row.error is not None] == CHOSEN
    back = tmp_path / "back"
    decompress(out / index.name, back / index.name)
    merged = {k: v for p in back.glob("*.safetensors") for k, v in load_file(p).items()}
    for name, w in tensors.items():
        assert (merged[name] == (get_format("nvfp4").quantize(w) if name in CHOSEN else w)).all()
    assert inspect(back).rows == inspect(index).rows


def test_same_input_same_bytes_and_progress_to_the_end(source, tmp_path):
    seen = []
    compress(source, tmp_path / "a.safetensors", "seedlm4", threads=1, progress=seen.append)
    compress(source, tmp_path / "b.safetensors", "seedlm4", threads=2)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    values = sum(w.size for w in model().values())
    done = [p.done_values for p in seen]
    assert done == sorted(done) and done[-1] == values == seen[-1].values
    assert {p.tensor for p in seen} == {*model(), ""} and seen[-1].resumed_values == 0
    assert seen[-1].copied_values == values - sum(model()[name].size for name in CHOSEN)


def test_progress_moves_within_a_long_search(tmp_path, monkeypatch):
    monkeypatch.setattr(seed, "_CHUNK", 64)  # blocks per batch, so that a small tensor needs several batches
    path, seen = tmp_path / "in.safetensors", []
    w = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    save_file({"a.weight": w, "b.weight": w[:8]}, path)
    compress(path, tmp_path / "out.safetensors", "seedlm4", progress=seen.append)
    done = [p.done_values for p in seen]
    assert done == sorted(done) and done[-1] == 48 * 64
    assert [p.done_values for p in seen if p.tensor == "a.weight"] == [rows * 64 for rows in range(0, 41, 8)]


def test_an_output_is_replaced_as_a_whole(source, tmp_path):
    out = tmp_path / "out.safetensors"
    compress(source, out, "mxfp4")
    compress(source, out, "mxfp8")
    assert {row.format for row in inspect(out).rows if row.error is not None} == {"mxfp8_e4m3"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "out.safetensors"]


def test_zero_weights_and_the_table(tmp_path):
    path, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({"a.weight": np.zeros((4, 16), np.float32), "b.weight": np.eye(16, dtype=np.float32)}, path)
    found = compress(path, out, "seedlm4")
    assert found.rows[0].error == 0 and found.rows[0].bits == (4 * 8 + 1) / 8
    text = inspect_text(found)
    assert "a.weight  4x16   seedlm4  4.125  0.0000" in text
    assert "2 tensors, 162 B of 1.28 kB (12.7%)" in text
    plain = inspect(path)
    assert [(row.format, row.bits, row.error) for row in plain.rows] == [("F32", 32.0, None)] * 2


def test_tensors_are_aligned_for_their_type(source, tmp_path):
    compress(source, tmp_path / "out.safetensors", "mxfp6")
    raw = (tmp_path / "out.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name != "__metadata__":
            size = {"F32": 4, "I64": 8, "U8": 1}[entry["dtype"]]
            assert entry["data_offsets"][0] % size == 0
