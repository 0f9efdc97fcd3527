"""Released layouts: recognised, decoded and written as an independent reader reads them, and converted."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

from hwsim.compress import compress, convert, decompress, inspect
from hwsim.errors import InputError
from hwsim.formats import get_format
from tests.compress import oracles
from tests.compress.oracles import E4M3, read, write

N, K = 40, 256


def rng():
    return np.random.default_rng(11)


def bytes_of(*shape):
    return rng().integers(0, 256, shape, np.uint8)


def block_scales(*shape):
    return rng().integers(1, 127, shape, np.uint8).view(E4M3)


def words(*shape):
    return rng().integers(-(2**31), 2**31, shape, np.int32)


def factors(*shape, dtype=np.float32):
    return rng().uniform(0.001, 0.1, shape).astype(dtype)


def cases():
    """Layout -> (tensors, name and values of the weight, format in words, bits per value)."""
    found = {}
    blocks, e = bytes_of(3, N, K // 32, 16), rng().integers(100, 140, (3, N, K // 32), np.uint8)
    found["gpt-oss"] = (
        {"x.experts.down_proj_blocks": blocks, "x.experts.down_proj_scales": e},
        "x.experts.down_proj", oracles.gpt_oss(blocks, e), "mxfp4_e2m1", 4.25,
    )  # fmt: skip
    codes, s = bytes_of(N, K // 2), block_scales(N, K // 16)
    g = np.float32(0.0123)
    found["modelopt nvfp4"] = (
        {"x.weight": codes, "x.weight_scale": s, "x.weight_scale_2": g, "x.input_scale": np.float32(2)},
        "x.weight", oracles.nvfp4(codes, s, factor=g), "nvfp4", 4.5,
    )  # fmt: skip
    found["compressed-tensors nvfp4"] = (
        {"x.weight_packed": codes, "x.weight_scale": s, "x.weight_global_scale": np.array([1234.5], np.float32)},
        "x.weight", oracles.nvfp4(codes, s, divisor=np.float32(1234.5)), "nvfp4", 4.5,
    )  # fmt: skip
    e = rng().integers(100, 140, (N, K // 32), np.uint8)
    found["compressed-tensors mxfp4"] = (
        {"x.weight_packed": codes, "x.weight_scale": e},
        "x.weight", oracles.mxfp4(codes, e), "mxfp4_e2m1", 4.25,
    )  # fmt: skip
    f8 = rng().standard_normal((200, 136)).astype(E4M3)
    inverse = factors(2, 2)
    found["deepseek"] = (
        {"x.weight": f8, "x.weight_scale_inv": inverse},
        "x.weight", oracles.tiles(f8, inverse), "fp8_block", 8 + 128 / (200 * 136),
    )  # fmt: skip
    powers = rng().integers(115, 125, (2, 2), np.uint8).view(ml_dtypes.float8_e8m0fnu)
    found["deepseek ue8m0"] = (
        {"x.weight": f8, "x.weight_scale_inv": powers},
        "x.weight", oracles.tiles(f8, powers), "fp8_block", 8 + 32 / (200 * 136),
    )  # fmt: skip
    found["modelopt fp8"] = (
        {"x.weight": f8, "x.weight_scale": np.float32(0.03)},
        "x.weight", (f8.astype(np.float64) * float(np.float32(0.03))).astype(np.float32), "fp8_e4m3", 8,
    )  # fmt: skip
    rows = factors(200, 1, dtype=ml_dtypes.bfloat16)
    found["compressed-tensors fp8_row"] = (
        {"x.weight": f8, "x.weight_scale": rows},
        "x.weight", (f8.astype(np.float64) * rows.astype(np.float64)).astype(np.float32), "fp8_row", 8 + 16 / 136,
    )  # fmt: skip
    found["compressed-tensors fp8_block"] = (
        {"x.weight": f8, "x.weight_scale": inverse},
        "x.weight", oracles.tiles(f8, inverse), "fp8_block", 8 + 128 / (200 * 136),
    )  # fmt: skip
    i8, per = bytes_of(N, K).view(np.int8), factors(N, 1)
    found["compressed-tensors int8"] = (
        {"x.weight": i8, "x.weight_scale": per},
        "x.weight", (i8.astype(np.float64) * per).astype(np.float32), "int8", 8 + 32 / K,
    )  # fmt: skip
    w, size = words(N, K // 8), np.array([N, K])
    for dtype, zero in ((np.float16, None), (ml_dtypes.bfloat16, None), (np.float16, words(N // 8, 2))):
        s = factors(N, 2, dtype=dtype)
        tensors = {"x.weight_packed": w, "x.weight_scale": s, "x.weight_shape": size}
        tensors |= {} if zero is None else {"x.weight_zero_point": zero}
        label = f"compressed-tensors int4 {np.dtype(dtype).name}{' zero' if zero is not None else ''}"
        extra = 8 * size.nbytes + (0 if zero is None else 8 * zero.nbytes)
        found[label] = (
            tensors, "x.weight", oracles.packed_ints(w, s, (N, K), 4, zero),
            "int4_g128" + (" asymmetric" if zero is not None else ""), 4 + 16 / 128 + extra / (N * K),
        )  # fmt: skip
    w8, s = words(N, K // 4), factors(N, 1, dtype=np.float16)
    found["compressed-tensors int8 packed"] = (
        {"x.weight_packed": w8, "x.weight_scale": s, "x.weight_shape": size},
        "x.weight", oracles.packed_ints(w8, s, (N, K), 8), "int8_g256", 8 + (16 * N + 128) / (N * K),
    )  # fmt: skip
    for bits in (2, 4, 8):
        q, z, s = words(K * bits // 32, 32), words(2, 32 * bits // 32), factors(2, 32, dtype=np.float16)
        order = rng().permutation(np.arange(K) % 2).astype(np.int32)
        found[f"gptq {bits}"] = (
            {"x.qweight": q, "x.qzeros": z, "x.scales": s, "x.g_idx": order},
            "x.weight", oracles.gptq(q, z, s, order, bits), f"int{bits}_g128 asymmetric",
            8 * (q.nbytes + z.nbytes + s.nbytes + order.nbytes) / (32 * K),
        )  # fmt: skip
    q, z, s = words(K, 4), words(2, 4), factors(2, 32, dtype=np.float16)
    found["awq"] = (
        {"x.qweight": q, "x.qzeros": z, "x.scales": s},
        "x.weight", oracles.awq(q, z, s), "int4_g128 asymmetric", 8 * (q.nbytes + z.nbytes + s.nbytes) / (32 * K),
    )  # fmt: skip
    return found


CASES = cases()


@pytest.fixture
def path(tmp_path):
    def make(case, more=None):
        where = tmp_path / "in.safetensors"
        write(where, {**CASES[case][0], **(more or {})})
        return where

    return make


@pytest.mark.parametrize("case", CASES)
def test_inspect_and_decompress(path, tmp_path, case, monkeypatch):
    monkeypatch.setattr("hwsim.compress.parts.CHUNK", 7 * 1024)  # many chunks
    _, name, want, form, bits = CASES[case]
    plain = np.ones((4, 8), np.float32)
    where, out = path(case, {"norm.weight": np.ones(8, np.float32), "y.weight": plain}), tmp_path / "out.safetensors"
    rows = {row.name: row for row in inspect(where).rows}
    row = rows[name]
    assert (row.layout, row.shape, row.format) == (case.split()[0], want.shape, form)
    assert row.bits == pytest.approx(bits, rel=1e-12) and set(row.tensors) <= set(CASES[case][0])
    decompress(where, out)
    got = read(out)
    np.testing.assert_array_equal(got[name], want)
    assert got[name].dtype == np.float32 and not set(row.tensors) - {name} & set(got)
    np.testing.assert_array_equal(got["y.weight"], plain)
    half = read_after(decompress, where, tmp_path / "half.safetensors", dtype="BF16")
    with np.errstate(over="ignore"):
        finite = want.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(half[name].view(np.uint16), finite.view(np.uint16))


def read_after(job, source, out, **options):
    job(source, out, **options)
    return read(out)


@pytest.mark.parametrize("case", CASES)
def test_a_quantised_checkpoint_is_refused_or_decoded(path, tmp_path, case):
    tensors, name, want, _, _ = CASES[case]
    other = rng().standard_normal((8, 64)).astype(np.float32)
    where, out = path(case, {"y.weight": other}), tmp_path / "out.safetensors"
    with pytest.raises(InputError, match=rf"is quantised already \(.* of {case.split()[0]}\): {name}.*--decode"):
        compress(where, out, "mxfp4")
    with pytest.raises(InputError, match="matches no weight"):
        compress(where, out, "mxfp4", include=[name + "*"])
    assert not out.exists()
    compress(where, out, "mxfp4", include=["y.weight"])
    kept = read(out)
    for part, value in tensors.items():
        assert kept[part].tobytes() == np.asarray(value).tobytes()
    compress(where, out, "mxint8", decode=True, include=[name])
    back = read_after(decompress, out, tmp_path / "back.safetensors")
    np.testing.assert_array_equal(back[name], get_format("mxint8").quantize(want))
    np.testing.assert_array_equal(back["y.weight"], other)


WRITTEN = [
    ("compressed-tensors", "nvfp4"), ("compressed-tensors", "mxfp4_e2m1"), ("compressed-tensors", "fp8_e4m3"),
    ("compressed-tensors", "fp8_row"), ("compressed-tensors", "fp8_block"), ("compressed-tensors", "int8"),
    ("compressed-tensors", "int4_g128"), ("modelopt", "nvfp4"), ("modelopt", "fp8_e4m3"), ("deepseek", "fp8_block"),
    ("gpt-oss", "mxfp4_e2m1"),
]  # fmt: skip


def independent(t, name, layout, form):
    """The values that a reader of the layout finds."""
    if layout == "gpt-oss":
        return oracles.gpt_oss(t[f"{name}_blocks"], t[f"{name}_scales"])
    if layout == "deepseek":
        return oracles.tiles(t[name], t[f"{name}_scale_inv"])
    s = t[f"{name}_scale"]
    if form == "nvfp4" and layout == "modelopt":
        return oracles.nvfp4(t[name], s, factor=t[f"{name}_scale_2"])
    if form == "nvfp4":
        return oracles.nvfp4(t[f"{name}_packed"], s, divisor=t[f"{name}_global_scale"][0])
    if form == "mxfp4_e2m1":
        return oracles.mxfp4(t[f"{name}_packed"], s)
    if form == "int4_g128":
        return oracles.packed_ints(t[f"{name}_packed"], s, tuple(t[f"{name}_shape"].tolist()), 4)
    if form == "fp8_block":
        return oracles.tiles(t[name], s)
    return (t[name].astype(np.float64) * s.astype(np.float64)).astype(np.float32)


@pytest.mark.parametrize("layout, form", WRITTEN)
def test_written_and_read_by_another_reader(tmp_path, layout, form, monkeypatch):
    monkeypatch.setattr("hwsim.compress.parts.CHUNK", 64 * 1024)
    stack = layout == "gpt-oss"
    name = "l.0.mlp.experts.down_proj" if stack else "l.0.q_proj.weight"
    w = rng().standard_normal((3, 32, 256) if stack else (300, 256)).astype(np.float32) * 0.02
    stored = np.ascontiguousarray(w.swapaxes(1, 2)) if stack else w  # gpt-oss stores plain experts [E, K, N]
    where, out = tmp_path / "in" / "model.safetensors", tmp_path / "out" / "model.safetensors"
    where.parent.mkdir()
    out.parent.mkdir()
    head = rng().standard_normal((8, 256)).astype(np.float32)
    write(where, {name: stored, "lm_head.weight": head, "n.norm.weight": np.ones(4, np.float32)})
    (where.parent / "config.json").write_text('{"model_type": "llama"}')
    found = compress(where, out, form, layout=layout)
    t, encoded = read(out), get_format(form).encode(w)
    got = independent(t, name, layout, form)
    if (layout, form) == ("compressed-tensors", "nvfp4"):
        np.testing.assert_allclose(got, encoded.decode(), rtol=2**-22, atol=0)  # the scale is stored as a divisor
    else:
        np.testing.assert_array_equal(got, encoded.decode())
    assert t["lm_head.weight"].tobytes() == head.tobytes()
    row = {r.name: r for r in found.rows}[name]
    assert (row.layout, row.format, row.shape) == (layout, get_format(form).name, w.shape)
    assert row.error == pytest.approx(np.linalg.norm(w - got) / np.linalg.norm(w), rel=1e-5)
    config = json.loads((out.parent / "config.json").read_text())
    assert config["model_type"] == "llama" and "lm_head" in json.dumps(config["quantization_config"])
    back = read_after(decompress, out, tmp_path / "back.safetensors")
    np.testing.assert_array_equal(back[name], got)


@pytest.mark.parametrize(
    "case, layout, how",
    [
        ("gpt-oss", "hwsim", "exact"),
        ("modelopt nvfp4", "hwsim", "exact"),
        ("modelopt nvfp4", "compressed-tensors", "exact codes, tensor scale rounded"),
        ("compressed-tensors nvfp4", "modelopt", "exact codes, tensor scale rounded"),
        ("compressed-tensors mxfp4", "hwsim", "exact"),
        ("compressed-tensors mxfp4", "modelopt", "re-encoded from mxfp4_e2m1"),
        ("deepseek", "compressed-tensors", "exact"),
        ("deepseek ue8m0", "deepseek", "exact"),
        ("compressed-tensors fp8_block", "deepseek", "exact"),
        ("compressed-tensors fp8_row", "hwsim", "exact"),
        ("compressed-tensors int8", "hwsim", "exact"),
        ("compressed-tensors int4 float16", "hwsim", "exact"),
        ("compressed-tensors int4 bfloat16", "hwsim", "re-encoded from int4_g128"),
        ("modelopt fp8", "compressed-tensors", "exact"),
        ("gptq 4", "compressed-tensors", "re-encoded from int4_g128 asymmetric"),
    ],
)
def test_convert_says_what_is_exact(path, tmp_path, case, layout, how):
    """A format that the layout does not store changes only where a fallback says into which."""
    _, name, want, _, _ = CASES[case]
    out = tmp_path / "out.safetensors"
    if how.startswith("re-encoded"):
        with pytest.raises(InputError, match=f"{name}: .*; write --fallback"):
            convert(path(case), out, layout)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.safetensors"]
    _, said = convert(path(case), out, layout, fallback="nvfp4")
    assert said == {name: how}
    got = read_after(decompress, out, tmp_path / "back.safetensors", dtype="F32")[name]
    if how == "exact":
        np.testing.assert_array_equal(got, want)
    elif how.startswith("exact codes"):
        np.testing.assert_allclose(got, want, rtol=2**-22)
        assert (got != want).any()
    else:
        assert 0 < np.linalg.norm(got - want) / np.linalg.norm(want) < 0.2


def test_a_divisor_that_is_a_power_of_two_converts_exactly(tmp_path):
    codes, s = bytes_of(8, 32), block_scales(8, 4)
    tensors = {"x.weight": codes, "x.weight_scale": s, "x.weight_scale_2": np.float32(2**-9)}
    write(tmp_path / "in.safetensors", tensors)
    out = tmp_path / "out.safetensors"
    _, said = convert(tmp_path / "in.safetensors", out, "compressed-tensors")
    t = read(out)
    assert said == {"x.weight": "exact"} and t["x.weight_global_scale"].tolist() == [512]
    assert t["x.weight_packed"].tobytes() == codes.tobytes() and t["x.weight_scale"].tobytes() == s.tobytes()


def test_parts_of_a_weight_in_two_shards(tmp_path):
    """Codes in one file, scales in another: one weight; its values go where its codes are."""
    tensors, name, want, _, _ = CASES["modelopt nvfp4"]
    folder = tmp_path / "in"
    folder.mkdir()
    halves = {"a.safetensors": ["x.weight"], "b.safetensors": sorted(set(tensors) - {"x.weight"})}
    for file, names in halves.items():
        write(folder / file, {n: tensors[n] for n in names})
    places = {n: file for file, names in halves.items() for n in names}
    (folder / "m.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    decompress(folder, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out" / "a.safetensors")[name], want)
    assert sorted(read(tmp_path / "out" / "b.safetensors")) == ["x.input_scale"]
    index = json.loads((tmp_path / "out" / "m.safetensors.index.json").read_text())["weight_map"]
    assert index == {"x.weight": "a.safetensors", "x.input_scale": "b.safetensors"}


def test_the_second_version_of_gptq_stores_its_zeros_as_they_are(path, tmp_path):
    t, name, _, _, _ = CASES["gptq 4"]
    where = path("gptq 4")
    config = {"quantization_config": {"quant_method": "gptq", "checkpoint_format": "gptq_v2"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    got = read_after(decompress, where, tmp_path / "out.safetensors")[name]
    want = oracles.gptq(t["x.qweight"], t["x.qzeros"], t["x.scales"], t["x.g_idx"], 4, shift=0)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"x_blocks": bytes_of(2, 3, 16), "x_scales": bytes_of(2, 4)}, "its weight needs"),
        ({"x.weight": bytes_of(8, 16), "x.weight_scale": block_scales(8, 3), "x.weight_scale_2": np.float32(1)},
         "its weight needs"),
        ({"x.weight": bytes_of(8, 16), "x.weight_scale": block_scales(8, 2), "x.weight_scale_2": np.float32(0)},
         "not one positive number"),
        ({"x.weight": bytes_of(8, 16).view(E4M3), "x.weight_scale_inv": factors(2, 1)}, "per tile of 128 x 128"),
        ({"x.weight": bytes_of(8, 16).view(E4M3), "x.weight_scale": factors(3)}, "per row"),
        ({"x.qweight": words(8, 8), "x.qzeros": words(1, 3), "x.scales": factors(1, 8)}, "GPTQ of"),
        ({"x.qweight": words(8, 8), "x.qzeros": words(1, 1), "x.scales": factors(1, 8),
          "x.g_idx": np.full(64, 7, np.int32)}, "names group 7 of 1"),
        ({"x.weight_packed": words(8, 3), "x.weight_scale": factors(8, 1), "x.weight_shape": np.array([8, 64])},
         "in 4 or 8 bits"),
    ],
)  # fmt: skip
def test_parts_that_contradict_one_another(tmp_path, tensors, message):
    where, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    write(where, tensors)
    with pytest.raises(InputError, match=message):
        decompress(where, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.safetensors"]


def test_fp8_without_a_scale_is_named(tmp_path):
    where = tmp_path / "in.safetensors"
    write(where, {"w.weight": bytes_of(32, 32).view(E4M3)})
    with pytest.raises(InputError, match="weights of F8_E4M3 without the scales"):
        compress(where, tmp_path / "out.safetensors", "mxfp4")


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(layout="modelopt", format="mxfp4"), "modelopt has no mxfp4_e2m1; it stores nvfp4, fp8_e4m3"),
        (dict(layout="gpt-oss", include=["*"]), r"2 axes; gpt-oss stores stacks of experts"),
        (dict(layout="compressed-tensors", include=["*"]), "3 axes; compressed-tensors stores matrices"),
        (dict(layout="modelopt", include=["q.weight"]), "K = 40 is no multiple of 16, the block of nvfp4,"),
        (dict(layout="modlopt"), "did you mean modelopt"),
        (dict(layout="modelopt", format={"element": "E2M1", "block": 32, "scale": "e8m0"}), "modelopt has no"),
    ],
)
def test_what_a_layout_cannot_hold(tmp_path, options, message):
    where = tmp_path / "in.safetensors"
    write(where, {"q.weight": np.ones((4, 40), np.float32), "e.experts.x": np.ones((2, 4, 32), np.float32)})
    with pytest.raises(InputError, match=message):
        compress(where, tmp_path / "out.safetensors", **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.safetensors"]


def test_one_reason_for_many_weights_is_one_error(tmp_path):
    shapes = {"a.weight": (4, 64), "b.weight": (4, 64), "c.weight": (8, 64), "d.weight": (4, 40), "e": (2, 4, 64)}
    write(tmp_path / "in.safetensors", {name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    with pytest.raises(InputError) as found:
        compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", layout="modelopt", format="seedlm4")
    stored, axes = found.value.problems
    assert stored.startswith(
        "a.weight, b.weight and 3 more weights: the layout modelopt has no seedlm4; it stores nvfp4"
    )
    assert axes.startswith("e: 3 axes; modelopt stores matrices")
    with pytest.raises(InputError) as found:
        compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", layout="modelopt", format="nvfp4")
    assert [p.partition(": ")[0] for p in found.value.problems] == ["d.weight", "e"]
    with pytest.raises(InputError) as found:
        given = {"*[a-c].weight": "nvfp4", "*": "mxfp4"}
        compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", mapping=given, layout="modelopt")
    assert found.value.problems[0].startswith("d.weight, e: the layout modelopt has no mxfp4_e2m1")


def test_an_output_is_replaced_by_the_new_one(tmp_path):
    """As by cp: in one move, when the new one is complete; an input is never an output (`test_refused.py`)."""
    write(tmp_path / "in.safetensors", {"q.weight": rng().standard_normal((4, 32)).astype(np.float32)})
    before = (tmp_path / "in.safetensors").read_bytes()
    out = tmp_path / "out.safetensors"
    assert [compress(tmp_path / "in.safetensors", out, form).rows[0].format for form in ("mxfp4", "mxfp8")] == [
        "mxfp4_e2m1", "mxfp8_e4m3",
    ]  # fmt: skip
    with pytest.raises(InputError, match="NaN"):
        write(tmp_path / "bad.safetensors", {"q.weight": np.full((4, 32), np.nan, np.float32)})
        compress(tmp_path / "bad.safetensors", out, "mxfp4")
    assert inspect(out).rows[0].format == "mxfp8_e4m3" and (tmp_path / "in.safetensors").read_bytes() == before


def test_the_config_of_another_model_beside_the_output_stays(tmp_path):
    """Nobody named it as an output; that of an earlier run on the same model is replaced."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    write(tmp_path / "in" / "m.safetensors", {"q.weight": np.ones((4, 32), np.float32)})
    (tmp_path / "in" / "config.json").write_text('{"model_type": "llama"}')
    config, out = tmp_path / "out" / "config.json", tmp_path / "out" / "m.safetensors"
    for other in ('{"model_type": "gpt2"}', "[]"):
        config.write_text(other)
        found = compress(tmp_path / "in" / "m.safetensors", out, layout="modelopt")
        assert config.read_text() == other and "another model's and stays as it is" in found.notes[0]
    config.unlink()
    for form in ("nvfp4", "fp8"):
        compress(tmp_path / "in" / "m.safetensors", out, form, layout="modelopt")
        assert json.loads(config.read_text())["quantization_config"]["quant_algo"] == form.upper()


def test_a_config_in_the_same_folder_stays(tmp_path):
    """The input's config.json is not changed; the note says what a server needs."""
    write(tmp_path / "in.safetensors", {"q.weight": np.ones((4, 32), np.float32)})
    (tmp_path / "config.json").write_text('{"a": 1}')
    found = compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", layout="modelopt")
    assert json.loads((tmp_path / "config.json").read_text()) == {"a": 1}
    assert "stays as it is" in found.notes[0] and '"quant_algo": "NVFP4"' in found.notes[0]
