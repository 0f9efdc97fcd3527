"""docs/adding.md (c): a stack of dense layers as a new kind of workload, run from its YAML file."""

import json

from tests.docs.addition import Copy, listed

MODEL = '''
"""Stack: `depth` square layers, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from hwsim.files.fields import FilePart, validate
from hwsim.files.yaml import Document
from hwsim.workload.mine.lower import lower
from hwsim.workload.op import Kept, Op, StepOptions, Stored


class SizesFile(FilePart):
    """Sizes of a stack."""

    width: int = Field(ge=1, description="Inputs and outputs of a layer.", examples=[256])
    depth: int = Field(ge=1, description="Layers.", examples=[4])


class StackFile(FilePart):
    """A stack."""

    name: str = Field(description="Its name.", examples=["mine"])
    stack: SizesFile = Field(description="Sizes.")


@dataclass(frozen=True)
class Stack:
    """A workload."""

    name: str
    width: int
    depth: int
    max_context: int | None = None
    unit: str = "sample"

    def ops(self, step: StepOptions) -> tuple[Op, ...]:
        """The layers."""
        return lower(self, step)

    def stored(self, step: StepOptions) -> tuple[Stored, ...]:
        """Their matrices."""
        return tuple(Stored("mlp", layer, self.width**2) for layer in range(self.depth))

    def kept(self, step: StepOptions) -> tuple[Kept, ...]:
        """Nothing."""
        return ()

    def config(self) -> dict[str, Any]:
        """The layout of its file."""
        return {"name": self.name, "stack": {"width": self.width, "depth": self.depth}}


def stack(document: Document) -> Stack:
    """The stack that a document describes."""
    file = validate(document, StackFile)
    return Stack(file.name, file.stack.width, file.stack.depth)
'''

LOWER = '''
"""Stack -> ops."""

from __future__ import annotations

from hwsim.workload.op import Gemm, Op, StepOptions


def lower(stack, step: StepOptions) -> tuple[Op, ...]:
    """One GEMM per layer."""
    m, n = step.tokens, stack.width
    return tuple(
        Op(f"stack{i}", "stack", i, "mlp", (Gemm(m, n, n),), inputs=m * n, outputs=m * n) for i in range(stack.depth)
    )
'''


def test_a_workload_is_four_files(tmp_path):
    copy = Copy(tmp_path)
    copy.new("hwsim/workload/mine/model.py", MODEL)
    copy.new("hwsim/workload/mine/lower.py", LOWER)
    after = "from hwsim.workload.language.model import"
    copy.row("hwsim/workload/load.py", after, "from hwsim.workload.mine.model import stack")
    copy.row("hwsim/workload/load.py", '"layers": _language,', '    "stack": stack,')
    copy.row("hwsim/workload/op.py", '    "gemm",', '    "stack",')
    assert copy.touched == listed("(c) A workload")
    (tmp_path / "mine.yaml").write_text("name: mine\nstack: {width: 256, depth: 4}\n")
    out = copy.run("-m", "hwsim", "run", "m0", "--model", "mine.yaml", "--batch", "3", "--weights", "int8", "--json")
    result = json.loads(out)
    assert result["macs"] == 3 * 4 * 256**2
    assert result["bytes"]["weights"] >= 4 * 256**2
    assert [(row["name"], row["ops"]) for row in result["by_op"]] == [("stack", 4)]
    assert result["memory"]["weights"] == 4 * 256**2
    assert result["config"]["model"] == {"name": "mine", "stack": {"width": 256, "depth": 4}}
    study = "name: grid\nmachine: m0\nmodel: mine.yaml\ngrid: {model.stack.depth: [1, 2], run.weights: [int8]}\n"
    (tmp_path / "grid.yaml").write_text(study)
    copy.run("-m", "hwsim", "study", "grid.yaml", "--out", "out", "--workers", "1")
    lines = [json.loads(line) for line in (tmp_path / "out" / "points.jsonl").read_text().splitlines()]
    assert [line["macs"] for line in lines] == [256**2, 2 * 256**2]
