"""Convolution and pooling in one, two or three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from hwsim.workload import vector as passes
from hwsim.workload.graph.elementwise import followed
from hwsim.workload.graph.node import Activation, Node, NormKind, OpFile, Weight, made, one_or_list
from hwsim.workload.graph.tensor import Given, Misfit, Shape, shown, values
from hwsim.workload.op import Gemm, Op

Step = Annotated[int, Field(ge=1, le=10**6)]
Edge = Annotated[int, Field(ge=0, le=10**6)]
#: One number for all dimensions, or one for each.
Steps = Annotated[Annotated[Step, Tag("one")] | Annotated[list[Step], Tag("list")], Discriminator(one_or_list)]
Edges = Annotated[Annotated[Edge, Tag("one")] | Annotated[list[Edge], Tag("list")], Discriminator(one_or_list)]
Pads = Annotated[
    Annotated[Edge, Tag("one")]
    | Annotated[list[Edges], Tag("list")]
    | Annotated[Literal["same", "circular"], Tag("text")],
    Discriminator(lambda value: "text" if isinstance(value, str) else one_or_list(value)),
]
Channels = Literal["first", "last"]


@dataclass(frozen=True, slots=True)
class Window:
    """What one output sees, by dimension: `pad` is (before, after); circular: the places form a ring."""

    kernel: Shape
    stride: Shape
    pad: tuple[tuple[int, int], ...]
    dilation: Shape
    circular: bool = False

    @property
    def taps(self) -> int:
        """Places that one output sees."""
        return prod(self.kernel)

    @property
    def spans(self) -> Shape:
        """Places from the first to the last that one output sees."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))

    def places(self, sides: Shape, up: bool = False) -> Shape:
        """Outputs by dimension; up: rounded up, so that the last window may go over the edge. raises: Misfit."""
        found = []
        for side, span, stride, (before, after) in zip(sides, self.spans, self.stride, self.pad, strict=True):
            room = side + before + after - span
            if room < 0:
                raise Misfit(
                    "kernel", f"spans {span} of {side + before + after} places; write a smaller one or more `pad`"
                )
            found.append((-(-room // stride) if up else room // stride) + 1)
            if up and (found[-1] - 1) * stride >= side + before:
                found[-1] -= 1
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Node):
    """Convolution: per output place and channel, the sum over the window and the channels of the group, plus a bias.

    Weights are [N, taps x channels of a group]: of a row, the channels change fastest.
    last: channels are the last axis, else the first. transposed: each input place adds its window to the output, from
    which `extra` places are added at the far edges.
    """

    KIND: ClassVar[str] = "conv"

    window: Window
    groups: int
    bias: bool
    last: bool
    transposed: bool
    extra: Shape
    weight_class: str

    @property
    def channels(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        axis = -1 if self.last else 0
        return self.given[0].shape[axis], self.made.shape[axis]

    @property
    def depthwise(self) -> bool:
        """Whether each group has one input channel: work of the vector unit, as no dot product is longer than taps."""
        return self.groups > 1 and self.groups == self.channels[0]

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Matrices of all groups, one below the other, and the bias."""
        c, n = self.channels
        name = "depthwise" if self.depthwise else self.weight_class
        matrix = Weight("weight", (n, self.window.taps * c // self.groups), name)
        return (matrix, Weight("bias", (n,), name)) if self.bias else (matrix,)

    def gemm(self, batch: int = 1) -> Gemm:
        """The GEMMs of a batch, one per group; transposed: a row per input place, its window's sums side by side."""
        c, n = self.channels
        if self.transposed:
            places = self.given[0].tensor.elements(batch) // c
            return Gemm(places, n // self.groups * self.window.taps, c // self.groups, self.groups)
        m, k = self.made.elements(batch) // n, self.window.taps * c // self.groups
        distinct = min(m * k, self.given[0].tensor.elements(batch) // self.groups)
        # places follow one another row by row: a tile shares `span - stride` rows with the one before
        rows = max(0, self.window.spans[0] - self.window.stride[0])
        sides = self.given[0].shape[:-1] if self.last else self.given[0].shape[1:]
        halo = rows * prod(sides[1:]) * c // self.groups
        return Gemm(m, n // self.groups, k, self.groups, *((distinct, halo) if distinct < m * k else ()))

    def macs(self, batch: int = 1) -> int:
        """Multiply-adds, those with padding included."""
        return self.gemm(batch).macs

    def inputs(self, batch: int = 1) -> int:
        """The feature map, or those of its elements that some window sees."""
        whole, gemm = self.given[0].tensor.elements(batch), self.gemm(batch)
        return whole if self.transposed else min(whole, gemm.count * gemm.m * gemm.k)

    def vector(self, batch: int = 1) -> int:
        """The bias; transposed: adding up windows that overlap."""
        biased = passes.BIAS * self.outputs(batch) if self.bias else 0
        if not self.transposed:
            return biased
        gemm = self.gemm(batch)
        return biased + max(0, gemm.m * gemm.n * gemm.count - self.outputs(batch))

    def op(self, batch: int, layer: int) -> Op:
        """A GEMM per group, its inputs counted once and not per window; depthwise: multiply-adds of the vector unit."""
        bias = self.channels[1] if self.bias else 0
        alone = self.depthwise
        return Op(
            self.name,
            "depthwise" if alone else "conv",
            layer,
            self.weights[0].weights,
            () if alone else (self.gemm(batch),),
            vector=self.vector(batch),
            vector_macs=self.macs(batch) if alone else 0,
            params=self.weight_elements if alone else bias,
            inputs=self.inputs(batch),
            outputs=self.outputs(batch),
        )


class ConvFile(OpFile):
    """A convolution on [channels, ...] (`channels: last`: on [..., channels]) with one, two or three dimensions."""

    op: Literal["conv"] = Field(description="Convolution.", examples=["conv"])  # type: ignore[assignment]
    out: Step = Field(description="Output channels.", examples=[64])
    kernel: Steps = Field(description="Sides of the window; one number for all.", examples=[3])
    stride: Steps = Field(1, description="Places between windows.", examples=[2])
    pad: Pads = Field(
        0,
        description="Zeros at each edge: a number, a list by dimension, pairs [before, after]; `same`: as many "
        "places as go in, divided by the stride; `circular`: the same on a ring.",
        examples=[1],
    )
    dilation: Steps = Field(1, description="Places between taps.")
    groups: Step = Field(1, description="Groups of channels that see one another.")
    depthwise: bool = Field(False, description="Whether each channel is a group.")
    transposed: bool = Field(False, description="Whether it is transposed: it enlarges by the stride.")
    extra: Edges = Field(0, description="Places added at the far edge of a transposed convolution's result.")
    bias: bool | None = Field(None, description="Whether there is a bias; if left out, yes unless there is a `norm`.")
    norm: NormKind | None = Field(None, description="A norm of the result.", examples=["batch"])
    activation: Activation | None = Field(None, description="A function of the result.", examples=["relu"])
    channels: Channels = Field("first", description="Which axis holds the channels.")
    layers: int = Field(1, ge=1, le=100, description="Equal layers, one after the other.")
    class_: Literal["convolution", "head"] = Field("convolution", alias="class", description="Weight class.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """A node per layer, norm and activation."""
        found: list[Node] = []
        for i in range(self.layers):
            label = name if self.layers == 1 else f"{name}.{i}"
            found += followed(self._conv(label, given[0]), self.activation, self.norm, self.channels)
            given = (Given(found[-1].name, found[-1].made),)
        return found

    def _conv(self, name: str, given: Given) -> Conv:
        c, sides = split(given, self.channels == "last")
        groups = c if self.depthwise else self.groups
        for key, side in (("groups", c), ("out", self.out)):
            if side % groups:
                what = "input" if key == "groups" else "output"
                raise Misfit(key, f"{side} {what} channels are no multiple of the {groups} groups; write one")
        window = windowed(self, sides, self.pad)
        extra = by_side(self.extra, len(sides), "extra")
        if self.transposed and window.circular:
            raise Misfit("pad", "a transposed convolution has no ring; write numbers")
        if self.transposed:
            places = tuple(
                (side - 1) * stride - before - after + span + more
                for side, stride, (before, after), span, more in zip(
                    sides, window.stride, window.pad, window.spans, extra, strict=True
                )
            )
            if min(places) < 1:
                raise Misfit("pad", f"leaves {shown(places)} places; write less")
        elif any(extra):
            raise Misfit("extra", "is for transposed convolutions; remove it or write `transposed: true`")
        else:
            places = window.places(sides)
        shape = (*places, self.out) if self.channels == "last" else (self.out, *places)
        return Conv(
            name=name,
            given=(given,),
            made=made(shape, [given]),
            window=window,
            groups=groups,
            bias=self.norm is None if self.bias is None else self.bias,
            last=self.channels == "last",
            transposed=self.transposed,
            extra=extra,
            weight_class=self.class_,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Node):
    """The maximum or mean of each window; zeros at the edges take no part in either, unless `counted`."""

    KIND: ClassVar[str] = "pool"

    function: str
    window: Window
    last: bool
    counted: bool

    def vector(self, batch: int = 1) -> int:
        """One pass per place of a window, one more for a mean."""
        return (self.window.taps + (self.function == "mean")) * self.outputs(batch)


class PoolFile(OpFile):
    """Pooling over windows; over all places, use `reduce`."""

    op: Literal["pool"] = Field(description="Maximum or mean of windows.", examples=["pool"])  # type: ignore[assignment]
    function: Literal["max", "mean"] = Field(description="What is computed.", examples=["max"])
    kernel: Steps = Field(description="Sides of the window.", examples=[3])
    stride: Steps | None = Field(None, description="Places between windows; if left out, the kernel.")
    pad: Pads = Field(0, description="Places added at each edge.")
    dilation: Steps = Field(1, description="Places between taps.")
    ceil: bool = Field(False, description="Whether a last window may go over the edge.")
    counted: bool = Field(False, description="Whether a mean counts the places added at the edges.")
    channels: Channels = Field("first", description="Which axis holds the channels.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        c, sides = split(given[0], self.channels == "last")
        if self.pad == "circular":
            raise Misfit("pad", "is for convolutions; write `same` or numbers")
        window = windowed(self, sides, self.pad)
        places = window.places(sides, self.ceil)
        last = self.channels == "last"
        shape = (*places, c) if last else (c, *places)
        return [
            Pool(
                name=name,
                given=given,
                made=made(shape, given),
                function=self.function,
                window=window,
                last=last,
                counted=self.counted,
            )
        ]


def split(given: Given, last: bool) -> tuple[int, Shape]:
    """(channels, sides) of a feature map. raises: Misfit."""
    shape = values(given).shape
    if not 2 <= len(shape) <= 4:
        axes = "[..., channels]" if last else "[channels, ...]"
        raise Misfit("in", f"`{given.name}` has the shape {shown(shape)}; name {axes} with one to three dimensions")
    return (shape[-1], shape[:-1]) if last else (shape[0], shape[1:])


def by_side(value: int | list[int], sides: int, key: str) -> Shape:
    """One number per dimension. raises: Misfit."""
    if isinstance(value, int):
        return (value,) * sides
    if len(value) != sides:
        raise Misfit(key, f"has {len(value)} numbers for {sides} dimensions; write one or {sides}")
    return tuple(value)


def windowed(file: ConvFile | PoolFile, sides: Shape, pad: int | list[int | list[int]] | str) -> Window:
    """The window of a file's op. raises: Misfit."""
    n = len(sides)
    kernel = by_side(file.kernel, n, "kernel")
    stride = kernel if file.stride is None else by_side(file.stride, n, "stride")
    dilation = by_side(file.dilation, n, "dilation")
    whole = Window(kernel, stride, ((0, 0),) * n, dilation, pad == "circular")
    if isinstance(pad, str):
        edges = []
        for side, span, step in zip(sides, whole.spans, stride, strict=True):
            if pad == "circular" and span > side:
                raise Misfit("kernel", f"spans {span} of a ring of {side} places; write a smaller one")
            more = max(0, (-(-side // step) - 1) * step + span - side)
            edges.append((more // 2, more - more // 2))
    else:
        by = [pad] * n if isinstance(pad, int) else pad
        if len(by) != n or any(isinstance(each, list) and len(each) != 2 for each in by):
            raise Misfit("pad", f"is not one number, {n} numbers or {n} pairs [before, after]; write one of them")
        edges = [(each, each) if isinstance(each, int) else (each[0], each[1]) for each in by]
    return Window(kernel, stride, tuple(edges), dilation, pad == "circular")
