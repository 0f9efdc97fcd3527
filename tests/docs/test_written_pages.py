"""Pages that are written from the code are those that the code writes now."""

import re

import pytest

from docs.site import commands
from hwsim.cli import app
from tests.docs.blocks import ROOT, blocks, run_command


def test_the_page_of_commands_is_fresh():
    assert (ROOT / "docs/cli.md").read_text() == commands.page(), "write it again: python -m docs.site.commands"


def test_the_page_of_commands_has_every_option():
    """Compared with what the help of each command prints."""
    from typer.testing import CliRunner

    page = (ROOT / "docs/cli.md").read_text()
    for found in app.registered_commands:
        name = commands.name_of(found)
        help_text = CliRunner().invoke(app, [name, "--help"]).stdout
        options = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", help_text, re.M)) - {"--help"}
        part = page.split(f"### hwsim {name}\n")[1].split("\n### ")[0].split("\n## ")[0]
        assert options <= set(re.findall(r"--[a-z-]+", part)), name


def test_the_page_of_units_is_fresh():
    pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
    from docs.site import units

    assert (ROOT / "docs/rtl-units.md").read_text() == units.page(), "write it again: python -m docs.site.units"


@pytest.mark.slow
def test_the_commands_of_the_page_of_units_run(tmp_path, monkeypatch):
    pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
    from rtl.catalog import UNITS

    monkeypatch.chdir(tmp_path)
    found = [command for block in blocks("docs/rtl-units.md") for command in block.commands]
    assert {command.split()[3] for command in found} == {unit.command for unit in UNITS}
    for command in found:
        run_command(command)


STUDY = """\
name: {name}
machine: edge-mx
model: mamba2-130m
run: {{context: 64, weights: int8}}
grid:
  run.batch: {batches}
  machine.dram.bandwidth: [{bandwidths}]
"""


def onnx_file(path):
    """One linear layer on a sequence of any length."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    np = pytest.importorskip("numpy")
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "net",
        [tensor("x", TensorProto.FLOAT, ["sequence", 8])], [tensor("y", TensorProto.FLOAT, ["sequence", 16])],
        [numpy_helper.from_array(np.ones((8, 16), np.float32), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the examples of the commands name."""
    np = pytest.importorskip("numpy")
    save_file = pytest.importorskip("safetensors.numpy").save_file
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, size in (("my-study", 35), ("nano-formats", 4)):
        batches, bandwidths = list(range(1, size + 1)), ", ".join(f"{50 + 5 * n} GB/s" for n in range(size))
        (tmp_path / f"{name}.yaml").write_text(STUDY.format(name=name, batches=batches, bandwidths=bandwidths))
    run_command("hwsim study nano-formats.yaml --workers 1")  # instead of the shipped one of that name
    (tmp_path / "requests.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1024,16\n0.2,700,8\n")
    for weights in ("fp8", "nvfp4", "seedlm4"):
        run_command(f"hwsim gemm h200-sxm-regen --m 1 --n 64 --k 64 --weights {weights} --json > {weights}.json")
    plain = rng.standard_normal((32, 64)).astype(np.float32)
    fused = {
        "a.experts.down_proj_blocks": rng.integers(0, 256, (2, 8, 2, 16), np.uint8),
        "a.experts.down_proj_scales": rng.integers(120, 130, (2, 8, 2), np.uint8),
    }
    save_file({"a.q_proj.weight": plain}, "in.safetensors")
    save_file({"h.0.mlp.c_fc.weight": plain}, "gpt2.safetensors")
    for name, tensors in (("model", {"a.q_proj.weight": plain}), ("gpt-oss-20b", fused)):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    for name in ("served", "gpt-oss-20b-bf16", "nvfp4-of-modelopt"):
        (tmp_path / name).mkdir()
    run_command("hwsim compress model --layout modelopt --format nvfp4 -o nvfp4-of-modelopt")
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight", gguf.quantize(plain, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    onnx_file(tmp_path / "net.onnx")
    (tmp_path / "PROTEINS").mkdir()
    for name, lines in (
        ("A", "1, 2\n2, 1\n2, 3\n3, 2\n"),
        ("graph_indicator", "1\n1\n1\n"),
        ("node_labels", "0\n1\n2\n"),
    ):
        (tmp_path / "PROTEINS" / f"PROTEINS_{name}.txt").write_text(lines)
    return tmp_path


@pytest.mark.slow
def test_the_examples_of_the_commands_run(place):
    """All but the shipped study of 1,000 points, which `make study` runs."""
    commands = [command for block in blocks("docs/cli.md") for command in block.commands if "OPTIONS" not in command]
    assert len(commands) >= 26
    for command in commands:
        if command == "hwsim study nano-formats":
            continue
        if "out.safetensors" in command or "-o served/" in command:
            for old in place.glob("out.safetensors*"):
                old.unlink()
            for old in (place / "served").iterdir():
                old.unlink()
        run_command(command)
