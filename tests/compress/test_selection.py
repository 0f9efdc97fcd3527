"""Which weights are compressed by default, along which axis, and what options change."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.compress import compress, decompress, inspect
from hwsim.compress.orientation import k_axis
from hwsim.errors import InputError
from hwsim.formats import get_format


def columns(*shape, axis):
    """Weights whose magnitude changes by 2^12 from one index to the next across K: blocks along N are bad."""
    x = np.random.default_rng(1).standard_normal(shape)
    n = shape[-1 if axis != len(shape) - 1 else -2]
    scale = 2.0 ** (12 * (np.arange(n) % 2))
    return (x * (scale if axis != len(shape) - 1 else scale[:, None])).astype(np.float32)


LINEAR = [
    "model.layers.0.self_attn.q_proj.weight", "layers.0.attention.wq.weight", "layers.0.feed_forward.w1.weight",
    "transformer.h.0.mlp.dense_h_to_4h.weight", "encoder.layer.0.output.dense.weight", "layers.0.in_proj.weight",
    "model.layers.3.mlp.experts.7.down_proj.weight", "gpt_neox.layers.0.attention.dense.weight",
]  # fmt: skip
LEFT = [
    "lm_head.weight", "output.weight", "score.weight", "classifier.weight", "classifier.dense.weight", "head.weight",
    "model.embed_tokens.weight", "tok_embeddings.weight", "transformer.wte.weight", "transformer.wpe.weight",
    "embed_out.weight", "shared.weight", "bert.embeddings.position_embeddings.weight", "word_embeddings.weight",
    "token_embd.weight", "visual.cls_token", "visual.pos_embed", "model.layers.0.mlp.gate.weight",
    "model.layers.0.block_sparse_moe.gate.weight", "model.layers.0.mlp.router.weight", "model.mtp.0.enorm.weight",
    "backbone.layers.0.mixer.conv1d.weight", "backbone.layers.0.mixer.A_log", "vision.patch_embed.proj.weight",
    "x.relative_attention_bias.weight",
]  # fmt: skip


def test_default_choice(tmp_path):
    tensors = {name: np.ones((4, 32), np.float32) for name in LINEAR + LEFT}
    flat = {"a.cls": np.ones((1, 1, 64), np.float32), "a.vector": np.ones((64, 1), np.float32)}
    save_file(tensors | flat | {"a.four": np.ones((2, 2, 2, 32), np.float32)}, tmp_path / "in.safetensors")
    found = compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", "mxfp4")
    assert sorted(r.name for r in found.rows if r.error is not None) == sorted(LINEAR)


@pytest.mark.parametrize(
    "name, shapes, axis",
    [
        ("l.mlp.experts.gate_up_proj", {"l.mlp.experts.gate_up_proj": (2, 64, 96)}, 1),
        ("l.mlp.experts.down_proj", {"l.mlp.experts.down_proj": (2, 48, 64)}, 1),
        ("l.experts.gate_up_proj", {"l.experts.gate_up_proj": (2, 64, 96), "l.experts.gate_up_proj_bias": (2, 96)}, 1),
        ("l.experts.gate_up_proj", {"l.experts.gate_up_proj": (2, 96, 64), "l.experts.gate_up_proj_bias": (2, 96)}, 2),
        ("l.experts.gate_up_proj", {"l.experts.gate_up_proj": (2, 64, 96), "l.experts.down_proj": (2, 48, 64)}, 1),
        ("l.experts.down_proj", {"l.experts.gate_up_proj": (2, 96, 64), "l.experts.down_proj": (2, 64, 48)}, 2),
        ("h.0.mlp.c_fc.weight", {"h.0.mlp.c_fc.weight": (64, 256), "h.0.attn.c_attn.weight": (64, 192)}, 0),
        ("h.0.attn.c_proj.weight", {"h.0.attn.c_proj.weight": (64, 64), "h.0.attn.c_attn.weight": (64, 192)}, 0),
        ("h.0.attn.c_proj.weight", {"h.0.attn.c_proj.weight": (64, 64), "h.0.attn.c_attn.weight": (192, 64)}, 1),
        ("h.0.mlp.c_fc.weight", {"h.0.mlp.c_fc.weight": (64, 256)}, 1),
        ("x.experts.gate_up_proj.weight", {"x.experts.gate_up_proj.weight": (2, 8, 16)}, 2),
        ("q.weight", {"q.weight": (8, 16)}, 1),
    ],
)
def test_k_by_names_and_shapes(name, shapes, axis):
    assert k_axis(name, shapes) == axis


@pytest.mark.parametrize("form", ["mxfp4", "nvfp4", "fp8_block", "seedlm4", "int4_g128", "int8"])
def test_blocks_run_along_k(tmp_path, form, monkeypatch):
    """[E, K, N] is encoded along K, recorded and shown so, and comes back in its own order."""
    monkeypatch.setattr("hwsim.compress.parts.CHUNK", 5000)
    w = columns(2, 64, 150, axis=1)
    name = "l.mlp.experts.gate_up_proj"
    save_file({name: w}, tmp_path / "in.safetensors")
    out = tmp_path / "out.safetensors"
    (row,) = compress(tmp_path / "in.safetensors", out, form).rows
    want = get_format(form).encode(w, axis=1)
    assert row.axis == 1 and row.shape == (2, 64, 150) and load_file(out)[name].tobytes() == want.to_bytes()
    decompress(out, tmp_path / "back.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "back.safetensors")[name], want.decode())
    shown = CliRunner().invoke(app, ["inspect", str(out)])
    assert "2x64*x150" in shown.stdout and "* K, along which blocks run" in shown.stdout


def test_an_axis_by_option_and_by_map(tmp_path):
    w = columns(64, 96, axis=0)
    save_file({"a.weight": w, "b.weight": w}, tmp_path / "in.safetensors")
    source, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    rows = compress(source, out, "mxfp4", axes={"a*": 0}).rows
    assert [r.axis for r in rows] == [0, 1]
    stored, form = load_file(out), get_format("mxfp4")
    assert stored["a.weight"].tobytes() == form.encode(w, axis=0).to_bytes()
    assert stored["b.weight"].tobytes() == form.encode(w).to_bytes()
    (tmp_path / "map.yaml").write_text(
        '"a.weight": {format: mxfp4, axis: -2}\n"b*": {element: E2M1, block: 32, scale: e8m0}\n'
    )
    rows = compress(source, out, mapping=tmp_path / "map.yaml").rows
    assert [r.axis for r in rows] == [0, 1]
    call = ["compress", str(source), "--format", "mxfp4", "-o", str(out), "--axis", "*.weight=-2"]
    assert CliRunner().invoke(app, call).exit_code == 0
    assert [r.axis for r in inspect(out).rows] == [0, 0]


@pytest.mark.parametrize(
    "axes, message",
    [({"a*": 2}, "axis 2 of a weight of shape"), ({"c*": 0}, "axis: 'c\\*' matches no"), ({"a*": 1.5}, "axis 1.5")],
)
def test_axes_that_cannot_be(tmp_path, axes, message):
    save_file({"a.weight": np.ones((4, 32), np.float32)}, tmp_path / "in.safetensors")
    with pytest.raises(InputError, match=message):
        compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", "mxfp4", axes=axes)


@pytest.mark.parametrize("text", ["a", "a=x", "=1"])
def test_axis_options_that_cannot_be(tmp_path, text):
    call = ["compress", "in.safetensors", "-o", "x.safetensors", "--format", "mxfp4", "--axis", text]
    found = CliRunner().invoke(app, call)
    assert isinstance(found.exception, InputError) and "write GLOB=N" in str(found.exception)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"a*": {format: mxfp4, axis: x}', "format: NAME, axis: N"),
        ('"a*": {format: 3}', "format: NAME, axis: N"),
        ('"a*": {format: mxfp4, ax: 1}', "unknown option 'ax'"),
    ],
)
def test_maps_that_cannot_be(tmp_path, line, said):
    (tmp_path / "map.yaml").write_text(line + "\n")
    save_file({"a.weight": np.ones((4, 32), np.float32)}, tmp_path / "in.safetensors")
    with pytest.raises(InputError, match=f"map.yaml:1:7.*{said}"):
        compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", mapping=tmp_path / "map.yaml")


def test_stray_scales_are_never_weights(tmp_path):
    """Scales of a layout that is not known are copied bit for bit, also where a glob takes everything."""
    scale = np.random.default_rng(0).standard_normal((8, 32)).astype(np.float32)
    save_file(
        {"q.weight": np.ones((4, 32), np.float32), "k.weight_scale": scale, "v.absmax": scale},
        tmp_path / "i.safetensors",
    )
    compress(tmp_path / "i.safetensors", tmp_path / "o.safetensors", "mxfp4", include=["*"])
    got = load_file(tmp_path / "o.safetensors")
    assert got["k.weight_scale"].tobytes() == got["v.absmax"].tobytes() == scale.tobytes()
