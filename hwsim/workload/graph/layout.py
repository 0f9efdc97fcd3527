"""Ops that move data and compute nothing: shapes, slices, concatenation, enlarging."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hwsim.workload.graph.node import Node, OpFile, made
from hwsim.workload.graph.tensor import Given, Misfit, Shape, axis_of, broadcast, shown

Side = Annotated[int, Field(ge=-1, le=10**9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Node):
    """Data moved from place to place: one pass per element."""

    def vector(self, batch: int = 1) -> int:
        """One pass per element of the result."""
        return self.outputs(batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Copy):
    """Tensors side by side along one axis."""

    KIND: ClassVar[str] = "concat"

    axis: int


class ConcatFile(OpFile):
    """Concatenation."""

    TAKES: ClassVar[tuple[int, int]] = (1, 256)

    op: Literal["concat"] = Field(description="Tensors side by side.", examples=["concat"])  # type: ignore[assignment]
    axis: int = Field(0, description="The axis that grows.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        shapes = [each.shape for each in given]
        axis = axis_of(self.axis, shapes[0])
        rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
        if len(rests) > 1 or len({len(shape) for shape in shapes}) > 1:
            raise Misfit("in", f"shapes {' and '.join(map(shown, shapes))} differ beside axis {axis}; make them equal")
        shape = (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
        rows = max(each.tensor.rows for each in given)
        if any(bool(each.tensor.rows) != bool(rows) for each in given):
            raise Misfit("in", "some tensors hold indices and some values; name tensors of one kind")
        return [Concat(name=name, given=given, made=made(shape, given, rows), axis=axis)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Node):
    """The same elements in another shape."""

    KIND: ClassVar[str] = "reshape"
    FREE: ClassVar[bool] = True


class ReshapeFile(OpFile):
    """Another shape."""

    op: Literal["reshape"] = Field(description="The same elements in another shape.", examples=["reshape"])  # type: ignore[assignment]
    shape: list[Side] = Field(
        min_length=1, max_length=8, description="The shape; one side may be -1: what is left.", examples=[[-1]]
    )

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        size, known = given[0].tensor.size, prod(side for side in self.shape if side != -1)
        if self.shape.count(-1) > 1 or 0 in self.shape:
            raise Misfit("shape", "has more than one -1, or a 0; write one side as -1 at most")
        shape = tuple(size // known if side == -1 else side for side in self.shape)
        if prod(shape) != size:
            raise Misfit("shape", f"has {prod(shape):,} elements, `{given[0].name}` {size:,}; write as many")
        return [Reshape(name=name, given=given, made=made(shape, given, given[0].tensor.rows))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Copy):
    """The axes in another order."""

    KIND: ClassVar[str] = "transpose"

    order: Shape


class TransposeFile(OpFile):
    """Another order of axes."""

    op: Literal["transpose"] = Field(description="The axes in another order.", examples=["transpose"])  # type: ignore[assignment]
    order: list[int] = Field(description="The old number of each new axis.", examples=[[1, 0]])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        shape = given[0].shape
        order = tuple(axis_of(axis, shape, "order") for axis in self.order)
        if sorted(order) != list(range(len(shape))):
            raise Misfit("order", f"does not name each axis of {shown(shape)} once; write all of them")
        result = made([shape[axis] for axis in order], given, given[0].tensor.rows)
        return [Transpose(name=name, given=given, made=result, order=order)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Node):
    """Part of a tensor: start, start + step, ... below stop along one axis."""

    KIND: ClassVar[str] = "slice"
    FREE: ClassVar[bool] = True

    axis: int
    start: int
    stop: int
    step: int


class SliceFile(OpFile):
    """Part of a tensor along one axis."""

    op: Literal["slice"] = Field(description="Part of a tensor along one axis.", examples=["slice"])  # type: ignore[assignment]
    axis: int = Field(0, description="The axis.")
    start: int = Field(0, description="The first element; negative ones count from the end.")
    stop: int | None = Field(None, description="The first that is left out; if left out, all to the end.")
    step: int = Field(1, ge=1, description="From one element to the next.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        shape = given[0].shape
        axis = axis_of(self.axis, shape)
        start, stop, step = slice(self.start, self.stop, self.step).indices(shape[axis])
        length = len(range(start, stop, step))
        if not length:
            raise Misfit("stop", f"leaves nothing of axis {axis} of {shown(shape)}; write another range")
        result = made((*shape[:axis], length, *shape[axis + 1 :]), given, given[0].tensor.rows)
        return [Slice(name=name, given=given, made=result, axis=axis, start=start, stop=stop, step=step)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand(Copy):
    """Sides of 1 repeated."""

    KIND: ClassVar[str] = "expand"


class ExpandFile(OpFile):
    """Sides of 1 repeated."""

    op: Literal["expand"] = Field(description="Sides of 1 repeated.", examples=["expand"])  # type: ignore[assignment]
    shape: list[Annotated[int, Field(ge=1, le=10**9)]] = Field(
        min_length=1, max_length=8, description="The shape of the result.", examples=[[20, 64]]
    )

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        shape = broadcast([given[0].shape, tuple(self.shape)])
        if shape != tuple(self.shape):
            raise Misfit("shape", f"{shown(self.shape)} is no enlargement of {shown(given[0].shape)}; write one")
        return [Expand(name=name, given=given, made=made(shape, given, given[0].tensor.rows))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Copy):
    """Zeros, or copies of the edges, around a tensor: (before, after) by axis."""

    KIND: ClassVar[str] = "pad"

    edges: tuple[tuple[int, int], ...]
    mode: str


class PadFile(OpFile):
    """Elements added around a tensor."""

    op: Literal["pad"] = Field(description="Elements added around a tensor.", examples=["pad"])  # type: ignore[assignment]
    edges: list[Annotated[list[Annotated[int, Field(ge=0, le=10**6)]], Field(min_length=2, max_length=2)]] = Field(
        description="[before, after] by axis.", examples=[[[0, 0], [1, 1]]]
    )
    mode: Literal["constant", "edge", "reflect"] = Field("constant", description="Zeros, the edge, or its reflection.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        shape = given[0].shape
        if len(self.edges) != len(shape):
            raise Misfit("edges", f"has {len(self.edges)} pairs for {len(shape)} axes; write one per axis")
        edges = tuple((before, after) for before, after in self.edges)
        if self.mode == "reflect" and any(max(pair) >= side for pair, side in zip(edges, shape, strict=True)):
            raise Misfit("edges", f"a reflection of {shown(shape)} has fewer elements; write less")
        result = made([side + sum(pair) for side, pair in zip(shape, edges, strict=True)], given, given[0].tensor.rows)
        return [Pad(name=name, given=given, made=result, edges=edges, mode=self.mode)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Copy):
    """A feature map [channels, ...] enlarged by whole factors, each element repeated."""

    KIND: ClassVar[str] = "resize"

    factors: Shape


class ResizeFile(OpFile):
    """A feature map enlarged by whole factors."""

    op: Literal["resize"] = Field(description="Each element repeated.", examples=["resize"])  # type: ignore[assignment]
    factors: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        description="Factor by axis, channels included.", examples=[[1, 2, 2]]
    )

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        shape = given[0].shape
        if len(self.factors) != len(shape):
            raise Misfit("factors", f"has {len(self.factors)} numbers for {len(shape)} axes; write one per axis")
        result = made([side * by for side, by in zip(shape, self.factors, strict=True)], given)
        return [Resize(name=name, given=given, made=result, factors=tuple(self.factors))]
