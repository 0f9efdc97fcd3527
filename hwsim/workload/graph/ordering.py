"""Ops that put the data in order: sorting, the largest elements, the nearest and the farthest points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2
from typing import ClassVar, Literal

from pydantic import Field

from hwsim.workload.graph.irregular import Count
from hwsim.workload.graph.node import Node, OpFile, made
from hwsim.workload.graph.tensor import Given, Misfit, ranked, values
from hwsim.workload.op import Gemm, Op, Sorting


def compares(keys: int, most: int | None = None) -> int:
    """Comparisons of sorting `keys`, or of keeping the `most` largest in order: keys x log2, rounded up."""
    return keys * max(1, ceil(log2(min(keys, most or keys))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort(Node):
    """The first `keep` rows by falling last column; rows that tie in it by the other columns in order."""

    KIND: ClassVar[str] = "sort"

    def rows(self, batch: int = 1) -> int:
        """The rows that are kept."""
        return self.outputs(batch) // self.made.shape[-1]

    def inputs(self, batch: int = 1) -> int:
        """A key per row, and the rows that are kept."""
        return self.given[0].tensor.elements(batch) // self.made.shape[-1] + self.outputs(batch)

    def vector(self, batch: int = 1) -> int:
        """Comparisons."""
        return self.sorting(batch).passes

    def sorting(self, batch: int = 1) -> Sorting:
        """The keys of each sample, the last columns of its rows."""
        n, width = self.given[0].shape
        lists = self.given[0].tensor.elements(batch) // (n * width)
        return Sorting(lists, n, min(n, self.made.shape[0]), lists * compares(n))

    def op(self, batch: int, layer: int) -> Op:
        """With the keys that are sorted."""
        return replace(Node.op(self, batch, layer), sorting=self.sorting(batch))


class SortFile(OpFile):
    """Rows in the order of their last column, the largest first; missing rows are zeros."""

    op: Literal["sort"] = Field(description="Rows by their last column.", examples=["sort"])  # type: ignore[assignment]
    keep: Count = Field(description="Rows that are kept.", examples=[30])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        _, width = ranked(given[0], 2, "[rows, width]")
        return [Sort(name=name, given=given, made=made((self.keep, width), given))]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK(Node):
    """The indices of the `keep` largest elements along the last axis, the largest first."""

    KIND: ClassVar[str] = "topk"

    def vector(self, batch: int = 1) -> int:
        """Comparisons."""
        return self.sorting(batch).passes

    def sorting(self, batch: int = 1) -> Sorting:
        """The elements along the last axis."""
        n, keep = self.given[0].shape[-1], self.made.shape[-1]
        lists = self.inputs(batch) // n
        return Sorting(lists, n, keep, lists * compares(n, keep))

    def op(self, batch: int, layer: int) -> Op:
        """With the elements that are sorted."""
        return replace(Node.op(self, batch, layer), sorting=self.sorting(batch))


class TopKFile(OpFile):
    """Indices of the largest elements."""

    op: Literal["topk"] = Field(description="Indices of the largest elements.", examples=["topk"])  # type: ignore[assignment]
    keep: Count = Field(description="How many.", examples=[20])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        *rest, n = values(given[0]).shape
        if self.keep > n:
            raise Misfit("keep", f"is more than the {n} elements; write {n} or less")
        return [TopK(name=name, given=given, made=made((*rest, self.keep), given, n))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knn(Node):
    """Indices of the nearest points by squared distance, |x|^2 - 2 x y + |y|^2; of ties, the lowest index first."""

    KIND: ClassVar[str] = "knn"

    @property
    def queries(self) -> Given:
        """The points whose neighbours are sought: the last input."""
        return self.given[-1]

    def macs(self, batch: int = 1) -> int:
        """A product of each pair."""
        return self.queries.tensor.elements(batch) * self.given[0].shape[0]

    def products(self, batch: int = 1) -> tuple[Gemm, ...]:
        """Queries times points of each sample."""
        (n, width), (q, _) = self.given[0].shape, self.queries.shape
        return (Gemm(q, n, width, self.queries.tensor.elements(batch) // (q * width)),)

    def vector(self, batch: int = 1) -> int:
        """Two additions per pair, comparisons, and the squares."""
        n, found = self.given[0].shape[0], self.sorting(batch)
        return found.lists * 2 * n + found.passes + self.given[0].tensor.elements(batch)

    def sorting(self, batch: int = 1) -> Sorting:
        """The distances of each query."""
        n, keep = self.given[0].shape[0], self.made.shape[-1]
        lists = self.outputs(batch) // keep
        return Sorting(lists, n, keep, lists * compares(n, keep))

    def op(self, batch: int, layer: int) -> Op:
        """With the distances that are sorted."""
        return replace(Node.op(self, batch, layer), sorting=self.sorting(batch))


class KnnFile(OpFile):
    """Indices of the nearest points: [n, width] (and queries [q, width]) -> [q, neighbours]."""

    TAKES: ClassVar[tuple[int, int]] = (1, 2)

    op: Literal["knn"] = Field(description="Indices of the nearest points.", examples=["knn"])  # type: ignore[assignment]
    neighbours: Count = Field(description="How many.", examples=[20])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        n, width = ranked(given[0], 2, "[points, width]")
        q, other = ranked(given[-1], 2, "[points, width]")
        if width != other:
            raise Misfit("in", f"the widths {width} and {other} differ; make them equal")
        if self.neighbours > n:
            raise Misfit("neighbours", f"is more than the {n} points; write {n} or less")
        return [Knn(name=name, given=given, made=made((q, self.neighbours), given, n))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Farthest(Node):
    """Farthest point sampling: the first point, then again and again the one that is farthest from all chosen ones."""

    KIND: ClassVar[str] = "farthest"

    def vector(self, batch: int = 1) -> int:
        """Per chosen point: a difference, a square and a sum per coordinate, a minimum and a comparison per point."""
        n, width = self.given[0].shape
        return self.outputs(batch) * n * (3 * width + 2)


class FarthestFile(OpFile):
    """Indices of points that are far from one another: [n, width] -> [samples]."""

    op: Literal["farthest"] = Field(description="Farthest point sampling.", examples=["farthest"])  # type: ignore[assignment]
    samples: Count = Field(description="How many points.", examples=[512])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        n, _ = ranked(given[0], 2, "[points, width]")
        if self.samples > n:
            raise Misfit("samples", f"is more than the {n} points; write {n} or less")
        return [Farthest(name=name, given=given, made=made((self.samples,), given, n))]
