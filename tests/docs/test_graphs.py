"""docs/graphs.md: its file loads, its commands run, its Python runs, and its table names every op and field."""

import re
import shlex
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.workload import StepOptions, load_model_text
from hwsim.workload.graph.schema import AnyOp
from tests.workload.graph.generated import FOLDER

PAGE = Path("docs/graphs.md").read_text()
FILES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    hwsim ")]


def test_its_file_is_a_graph():
    graph = load_model_text(FILES[0])
    assert graph.outputs == ("logits",)
    assert graph.nodes[-1].made.shape == (10,)
    assert [op.gemms[0].count for op in load_model_text(FILES[1]).ops(StepOptions())] == [1, 2]


def onnx_files(folder):
    """net.onnx: a linear layer; speech.onnx: a convolution or a linear layer, by the rate."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper as h

    def info(name, shape=None, kind=onnx.TensorProto.FLOAT):
        return h.make_tensor_value_info(name, kind, shape)

    def named(name, *shape):
        return onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)

    layer = h.make_node("MatMul", ["x", "w"], ["y"])
    graph = h.make_graph([layer], "net", [info("x", ["n", 64])], [info("y")], [named("w", 64, 10)])
    onnx.save(h.make_model(graph), folder / "net.onnx")
    branches = [
        h.make_graph([h.make_node("Conv", ["x", name], [f"y{name}"])], name, [], [info(f"y{name}")])
        for name in ("fast", "slow")
    ]
    rate = onnx.numpy_helper.from_array(np.array(16000), "k")
    nodes = [
        h.make_node("Equal", ["rate", "k"], ["is"]),
        h.make_node("If", ["is"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    inputs = [info("x", ["n", 1, "samples"]), info("rate", [], onnx.TensorProto.INT64)]
    weights = [named("fast", 8, 1, 16), named("slow", 8, 1, 8), rate]
    onnx.save(h.make_model(h.make_graph(nodes, "speech", inputs, [info("y")], weights)), folder / "speech.onnx")


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_run(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-net.yaml").write_text(FILES[0])
    (tmp_path / "convs.csv").write_text("Layer, IH, IW, FH, FW, C, N, S,\nconv1, 58, 58, 3, 3, 64, 64, 1,\n")
    shutil.copytree(FOLDER, tmp_path / "NEAR")
    onnx_files(tmp_path)
    found = CliRunner().invoke(app, shlex.split(line)[1:])
    assert found.exit_code == 0, found.output


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        names: dict = {}
        exec(block, names)
        error = abs(names["rounded"] - names["exact"]).max() / abs(names["exact"]).max()
        assert 0 < error < 0.2


def test_its_table_names_every_op_and_field():
    rows = {
        re.match(r"\| `(\w+)` \|", line)[1]: line for line in PAGE.splitlines() if re.match(r"\| `\w+` \| [\d]", line)
    }
    kinds = get_args(get_args(AnyOp)[0])
    assert {get_args(kind.model_fields["op"].annotation)[0] for kind in kinds} == set(rows)
    for kind in kinds:
        row = rows[get_args(kind.model_fields["op"].annotation)[0]]
        fields = {f.alias or name: f for name, f in kind.model_fields.items() if name not in ("name", "op", "in_")}
        named = dict(re.findall(r"`(\w+)`(\*?)", row.split("|")[3]))
        assert named == {name: "" if f.is_required() else "*" for name, f in fields.items()}
