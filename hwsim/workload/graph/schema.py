"""The graph file, field by field: allowed values and their meaning."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from hwsim.files.fields import FilePart
from hwsim.workload.graph.convolution import ConvFile, PoolFile
from hwsim.workload.graph.dense import AttentionFile, CrossFile, InteractFile, LinearFile, MatmulFile
from hwsim.workload.graph.elementwise import ActivationFile, ElementwiseFile, NormFile, ReduceFile, SoftmaxFile
from hwsim.workload.graph.irregular import EmbeddingBagFile, EmbeddingFile, GatherFile, ScatterFile, SegmentFile
from hwsim.workload.graph.layout import (
    ConcatFile,
    ExpandFile,
    PadFile,
    ReshapeFile,
    ResizeFile,
    SliceFile,
    TransposeFile,
)
from hwsim.workload.graph.node import NAME, EntryFile, NetworkName
from hwsim.workload.graph.ordering import FarthestFile, KnnFile, SortFile, TopKFile
from hwsim.workload.graph.recurrent import GruFile, LstmFile
from hwsim.workload.graph.sites import AssignFile, DistributeFile

Side = Annotated[int, Field(ge=1, le=10**10)]
Shape = Annotated[list[Side], Field(min_length=1, max_length=8)]
Label = Annotated[str, Field(pattern=NAME)]

#: Most times that a body is repeated.
MOST_TIMES = 1000
#: The name by which the ops of a repeated body take what enters it.
ENTERS = "input"


class RepeatFile(EntryFile):
    """Ops repeated: each pass takes the result of the last op of the pass before, under the name `input`."""

    TAKES: ClassVar[tuple[int, int]] = (1, 1)

    op: Literal["repeat"] = Field(description="Ops repeated.", examples=["repeat"])  # type: ignore[assignment]
    times: int = Field(ge=1, le=MOST_TIMES, description="How often.", examples=[12])
    ops: list[AnyOp] = Field(
        min_length=1,
        max_length=10**4,
        description="The body; the result of its last op is the result of the pass.",
        examples=[[{"name": "up", "op": "linear", "in": ["input"], "out": 64}]],
    )


AnyOp = Annotated[
    LinearFile
    | MatmulFile
    | ConvFile
    | PoolFile
    | NormFile
    | ActivationFile
    | SoftmaxFile
    | ElementwiseFile
    | ReduceFile
    | ConcatFile
    | ReshapeFile
    | TransposeFile
    | SliceFile
    | ExpandFile
    | PadFile
    | ResizeFile
    | AttentionFile
    | LstmFile
    | GruFile
    | EmbeddingBagFile
    | EmbeddingFile
    | GatherFile
    | ScatterFile
    | SegmentFile
    | SortFile
    | TopKFile
    | KnnFile
    | FarthestFile
    | AssignFile
    | DistributeFile
    | InteractFile
    | CrossFile
    | RepeatFile,
    Field(discriminator="op"),
]


class IndexFile(FilePart):
    """A tensor of indices."""

    shape: Shape = Field(description="Its shape, without the batch axis.", examples=[[26]])
    rows: Side = Field(description="The indices are below this.", examples=[30522])


AnyInput = Annotated[
    Annotated[Shape, Tag("list")] | Annotated[IndexFile, Tag("mapping")],
    Discriminator(lambda value: "mapping" if isinstance(value, dict) else "list"),
]


class PublishedGraphFile(FilePart):
    """Counts that the authors publish; they are compared with ours and never used."""

    parameters: float | None = Field(None, gt=0, description="Weights.", examples=[25.56e6])
    macs: float | None = Field(None, gt=0, description="Multiply-adds per sample.", examples=[4.09e9])
    source: str = Field("", description="Where.")


class GraphFile(FilePart):
    """A network as named tensors and ops."""

    name: NetworkName = Field(description="Name of the network.", examples=["resnet50"])
    description: str = Field("", description="Description in one line.", examples=["ResNet-50 on 224 x 224 images"])
    sizes: dict[Label, Side] = Field({}, description="Numbers with names, for shapes and ops.", examples=[{"n": 1024}])
    inputs: dict[Label, AnyInput] = Field(
        min_length=1,
        description="What a sample consists of: shapes without the batch axis; indices also say below what they are.",
        examples=[{"image": [3, 224, 224]}],
    )
    parameters: dict[Label, Shape] = Field({}, description="Weights that ops take as tensors.")
    ops: list[AnyOp] = Field(
        min_length=1,
        max_length=10**4,
        description="What is computed, in order.",
        examples=[[{"name": "logits", "op": "linear", "in": ["image"], "out": 10}]],
    )
    outputs: list[Label] | None = Field(
        None, min_length=1, description="The results; if left out, what no op takes.", examples=[["logits"]]
    )
    published: PublishedGraphFile = Field(PublishedGraphFile(), description="Counts published by the authors.")


RepeatFile.model_rebuild()
GraphFile.model_rebuild()

#: Fields in which the name of a size may stand for its number.
SIZED = frozenset(
    "out kernel stride pad dilation groups extra layers rows hot keep neighbours samples sites heads rank times hidden "
    "shape edges factors start stop step".split()
)


def named(value: Any, sizes: dict[str, int]) -> Any:
    """The value with names of sizes replaced by their numbers, lists included."""
    if isinstance(value, list):
        return [named(each, sizes) for each in value]
    return sizes.get(value, value) if isinstance(value, str) else value
