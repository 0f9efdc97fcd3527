"""Lists of layers that do not feed one another: `gemms:` in YAML, and SCALE-Sim's topology files in CSV.

Each layer is an op of its own. A file of convolutions has, by column, layer, ifmap height and width, filter height and
width, channels, number of filters, and strides (one number, or one for each direction); a file of GEMMs has layer, M, N
and K (github.com/scalesim-project/SCALE-Sim, topologies). A comma at the end of a line, a remark behind it that begins
with `#`, and a column of sparsity that says `1:1`, dense, are allowed, as there.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from hwsim.errors import InputError
from hwsim.files.fields import FilePart, validate
from hwsim.files.yaml import Document, raise_problems, short
from hwsim.workload.graph.convolution import Conv, ConvFile
from hwsim.workload.graph.node import NetworkName
from hwsim.workload.graph.tensor import Given, Misfit, Tensor
from hwsim.workload.op import Gemm, Kept, Op, StepOptions, Stored

Side = Annotated[int, Field(ge=1, le=10**10)]

#: SCALE-Sim's sparsity of weights that has all of them; the files of its third version have a column for it.
DENSE = "1:1"
#: No CSV file is larger than this.
MOST_BYTES = 4 * 1024 * 1024


class GemmFile(FilePart):
    """One GEMM, Y[m,n] = X[m,k] W[n,k]^T, `count` times with other weights."""

    name: str = Field("", description="Name of the layer.", examples=["fc1"])
    m: Side = Field(description="Rows of X per sample.", examples=[196])
    n: Side = Field(description="Rows of W.", examples=[512])
    k: Side = Field(description="The reduction.", examples=[512])
    count: int = Field(1, ge=1, le=10**6, description="How many of them.")


class GemmsFile(FilePart):
    """A list of GEMMs."""

    name: NetworkName = Field(description="Name of the list.", examples=["vit-gemms"])
    description: str = Field("", description="Description in one line.")
    gemms: list[GemmFile] = Field(
        min_length=1, max_length=10**5, description="The GEMMs.", examples=[[{"m": 196, "n": 512, "k": 512}]]
    )


@dataclass(frozen=True)
class Layers:
    """A list of layers as a workload. file: what it was read from, as plain data that `load_model_text` can read."""

    name: str
    layers: tuple[Op, ...]
    file: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    max_context: None = field(default=None, init=False)
    unit: str = field(default="sample", init=False)

    def ops(self, step: StepOptions) -> tuple[Op, ...]:
        """The layers, each with M times the batch. raises: InputError for several chips and for phases."""
        if step.chips > 1 or step.phase != "decode" or step.new != 1:
            raise InputError(f"{self.name} is a list of layers: it has no chips, phase and tokens; leave them out")
        return tuple(_scaled(op, step.batch) for op in self.layers)

    def stored(self, step: StepOptions) -> tuple[Stored, ...]:
        """The matrices of each layer."""
        return tuple(Stored(op.weights, op.layer, op.weight_elements) for op in self.layers)

    def kept(self, step: StepOptions) -> tuple[Kept, ...]:
        """Nothing."""
        return ()

    def config(self) -> dict[str, Any]:
        """The layout of its file."""
        return self.file


def _scaled(op: Op, batch: int) -> Op:
    gemms = tuple(Gemm(g.m * batch, g.n, g.k, g.count, g.distinct * batch, g.halo) for g in op.gemms)
    return Op(op.name, op.kind, op.layer, op.weights, gemms, inputs=op.inputs * batch, outputs=op.outputs * batch)


def gemm_list(document: Document) -> Layers:
    """The list that a document describes. raises: InputError with every error found."""
    file = validate(document, GemmsFile)
    ops = [_gemm(each.name or f"gemm{i}", i, each.m, each.n, each.k, each.count) for i, each in enumerate(file.gemms)]
    return Layers(file.name, tuple(ops), document.data)


def _gemm(name: str, layer: int, m: int, n: int, k: int, count: int = 1) -> Op:
    inputs, outputs = count * m * k, count * m * n
    return Op(name, "linear", layer, "linear", (Gemm(m, n, k, count),), inputs=inputs, outputs=outputs)


#: Columns of a file of GEMMs, and of one of convolutions (the last may be two).
GEMM_COLUMNS = ("layer", "M", "N", "K")
CONV_COLUMNS = (
    "layer", "ifmap height", "ifmap width", "filter height", "filter width", "channels", "filters", "stride",
)  # fmt: skip


def read_csv(path: Path) -> Layers:
    """The layers of a CSV file. raises: InputError with every error found, each with its line."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{short(path, 200)}: cannot be read ({error.strerror}); write the path of a CSV file"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{short(path, 200)}: not UTF-8 text; write the path of a CSV file") from None
    if len(raw) > MOST_BYTES:
        raise InputError(f"{short(path, 200)}: larger than {MOST_BYTES // 1024**2} MiB; split it")
    problems: list[str] = []
    ops: list[Op] = []
    kept: list[dict[str, Any]] = []
    convolutions: bool | None = None
    for line, row in enumerate(csv.reader(text.splitlines()), 1):
        cells = [cell.strip() for cell in row]
        cells = list(takewhile(lambda cell: not cell.startswith("#"), cells))
        while cells and (not cells[-1] or cells[-1] == DENSE):
            cells.pop()
        if not cells:
            continue
        if convolutions is None:
            convolutions = len(cells) > len(GEMM_COLUMNS)
            if not any(cell.isdecimal() for cell in cells[1:]):
                continue  # the header
        columns = CONV_COLUMNS if convolutions else GEMM_COLUMNS
        where = f"{short(path, 200)}:{line}"
        if re.fullmatch(r"\d+:\d+", cells[-1]):
            problems.append(f"{where}: sparsity {cells[-1]} of weights is not read; write {DENSE} or leave it out")
            continue
        if not len(columns) <= len(cells) <= len(columns) + convolutions:
            problems.append(f"{where}: has {len(cells)} columns; write {', '.join(columns)}")
            continue
        bad = [
            f"{where}: {columns[min(i, len(columns) - 1)]}: `{short(cell)}` is not a positive whole number; write one"
            for i, cell in enumerate(cells[1:], 1)
            if not (cell.isascii() and cell.isdecimal() and 0 < int(cell[:20]) <= 10**10)
        ]
        problems += bad
        if bad:
            continue
        numbers = [int(cell) for cell in cells[1:]]
        try:
            ops.append(_conv(cells[0], len(ops), numbers) if convolutions else _gemm(cells[0], len(ops), *numbers))
        except Misfit as error:
            problems.append(f"{where}: {error.message}")
            continue
        gemm = ops[-1].gemms[0]
        kept.append({"name": cells[0], "m": gemm.m, "n": gemm.n, "k": gemm.k})
    if not ops and not problems:
        problems.append(f"{short(path, 200)}: has no layers; write lines of {', '.join(GEMM_COLUMNS)}")
    if problems:
        raise_problems(problems)
    name = "".join(c if c.isalnum() else "-" for c in path.stem.lower()).strip("-")[:60] or "layers"
    return Layers(name, tuple(ops), {"name": name, "gemms": kept})


def _conv(name: str, layer: int, numbers: list[int]) -> Op:
    """One convolution without padding, as an op. raises: Misfit."""
    height, width, rows, columns, c, n, *stride = numbers
    fields = {"name": "x", "op": "conv", "in": ["image"], "out": n, "kernel": [rows, columns], "bias": False}
    file = ConvFile.model_validate(fields | {"stride": [stride[0], stride[-1]]})
    (node,) = file.nodes(name, (Given("image", Tensor((c, height, width))),))
    assert isinstance(node, Conv)
    return node.op(1, layer)
