"""Ops that read or write rows at addresses that the data tell: tables, gather, scatter, segments."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from hwsim.workload.graph.edges import Drawn, checked
from hwsim.workload.graph.node import Node, OpFile, Weight, made, one_or_list
from hwsim.workload.graph.tensor import Given, Misfit, Tensor, indices, ranked, shown
from hwsim.workload.op import Irregular, Op

Rows = Annotated[int, Field(ge=1, le=10**10)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Counts = Annotated[Annotated[Count, Tag("one")] | Annotated[list[Count], Tag("list")], Discriminator(one_or_list)]
Distribution = Annotated[str, Field(pattern=r"^(sequential|uniform|zipf\([0-9.]+\)|local\([0-9.]+\))$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Node):
    """Rows of tables by index. rows_of: rows by table; hot: indices by table; pooled: their sum (or mean) is taken.

    Tables are one matrix, one below the other. Of pooled tables the result has one row each, else one per index.
    """

    KIND: ClassVar[str] = "embedding"

    rows_of: tuple[int, ...]
    hot: tuple[int, ...]
    function: str
    distribution: str

    @property
    def weights(self) -> tuple[Weight, ...]:
        """All tables, one below the other."""
        return (Weight("table", (sum(self.rows_of), self.made.shape[-1]), "embedding"),)

    def rows(self, batch: int = 1) -> int:
        """A row per index."""
        return self.given[0].tensor.elements(batch)

    def vector(self, batch: int = 1) -> int:
        """Adding up the rows of a table."""
        return self.rows(batch) * self.made.shape[-1] if self.function else 0

    def op(self, batch: int, layer: int) -> Op:
        """The rows are read from the tables."""
        of = sum(self.rows_of)
        tables = tuple((rows, batch * hot) for rows, hot in zip(self.rows_of, self.hot, strict=True))
        return Op(
            self.name,
            "embedding",
            layer,
            "embedding",
            vector=self.vector(batch),
            outputs=self.outputs(batch),
            irregular=Irregular(self.rows(batch), self.made.shape[-1], True, self.distribution, of, tables=tables),
        )


class EmbeddingBagFile(OpFile):
    """Rows of several tables, added up per table: [all indices] -> [tables, out]."""

    op: Literal["embedding_bag"] = Field(description="Sums of rows of tables.", examples=["embedding_bag"])  # type: ignore[assignment]
    rows: list[Rows] = Field(min_length=1, max_length=10**4, description="Rows by table.", examples=[[1000, 200]])
    hot: Counts = Field(1, description="Indices by table; one number for all.", examples=[[3, 1]])
    out: Count = Field(description="Width of a row.", examples=[128])
    function: Literal["sum", "mean"] = Field("sum", description="What is made of a table's rows.")
    distribution: Distribution = Field("uniform", description="Of the indices.", examples=["zipf(1.05)"])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        hot = (self.hot,) * len(self.rows) if isinstance(self.hot, int) else tuple(self.hot)
        if len(hot) != len(self.rows):
            raise Misfit("hot", f"has {len(hot)} numbers for {len(self.rows)} tables; write one per table")
        shape = indices(given[0]).shape
        if shape != (sum(hot),):
            raise Misfit("in", f"`{given[0].name}` has the shape {shown(shape)}; the tables take [{sum(hot)}] indices")
        if given[0].tensor.rows > max(self.rows):
            raise Misfit(
                "rows", f"no table has the {given[0].tensor.rows:,} rows that `{given[0].name}` counts; write more"
            )
        return [
            Table(
                name=name,
                given=given,
                made=made((len(hot), self.out), given),
                rows_of=tuple(self.rows),
                hot=hot,
                function=self.function,
                distribution=self.distribution,
            )
        ]


class EmbeddingFile(OpFile):
    """A row of one table per index: [...] -> [..., out]."""

    op: Literal["embedding"] = Field(description="A row of a table per index.", examples=["embedding"])  # type: ignore[assignment]
    rows: Rows = Field(description="Rows of the table.", examples=[30522])
    out: Count = Field(description="Width of a row.", examples=[768])
    distribution: Distribution = Field("uniform", description="Of the indices.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        taken = indices(given[0])
        if taken.rows > self.rows:
            raise Misfit("rows", f"`{given[0].name}` counts {taken.rows:,} rows; write as many or more")
        return [
            Table(
                name=name,
                given=given,
                made=made((*taken.shape, self.out), given),
                rows_of=(self.rows,),
                hot=(taken.size,),
                function="",
                distribution=self.distribution,
            )
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather(Node):
    """Rows of a tensor by index. pairs: a row is [centre, neighbour - centre], of row i and of those that row i names
    (EdgeConv: Wang et al., arXiv 1801.07829)."""

    KIND: ClassVar[str] = "gather"

    pairs: bool
    distribution: str

    def rows(self, batch: int = 1) -> int:
        """A row per index."""
        return self.given[1].tensor.elements(batch)

    def inputs(self, batch: int = 1) -> int:
        """The gathered rows, each time they are; indices are counted with the rows."""
        return self.rows(batch) * self.given[0].shape[-1]

    def vector(self, batch: int = 1) -> int:
        """The differences; else a copy."""
        return self.outputs(batch) // 2 if self.pairs else self.outputs(batch)

    def op(self, batch: int, layer: int) -> Op:
        """The rows are read from where the tensor is."""
        n, width = self.given[0].shape
        rows = Irregular(self.rows(batch), width, False, self.distribution, n)
        return replace(Node.op(self, batch, layer), irregular=rows)


class GatherFile(OpFile):
    """Rows of a tensor by index: [n, width], [...] -> [..., width]."""

    TAKES: ClassVar[tuple[int, int]] = (2, 2)

    op: Literal["gather"] = Field(description="Rows of a tensor by index.", examples=["gather"])  # type: ignore[assignment]
    pairs: bool = Field(False, description="Whether a row is [centre, neighbour - centre], as EdgeConv takes.")
    distribution: Drawn = Field("uniform", description="Of the indices.", examples=["local(0.9)", "from(graph.npz)"])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        n, width = ranked(given[0], 2, "[rows, width]")
        taken = in_table(given[1], n)
        checked(self.distribution, n)
        if self.pairs and (len(taken.shape) != 2 or taken.shape[0] != n):
            raise Misfit("pairs", f"needs indices of shape [{n}, neighbours]; name such a tensor")
        shape = (*taken.shape, 2 * width if self.pairs else width)
        return [
            Gather(name=name, given=given, made=made(shape, given), pairs=self.pairs, distribution=self.distribution)
        ]


def in_table(given: Given, rows: int) -> Tensor:
    """The tensor of indices, all of them below `rows`. raises: Misfit."""
    taken = indices(given)
    if taken.rows > rows:
        raise Misfit("in", f"`{given.name}` counts {taken.rows:,} rows of a table of {rows:,}; make the table larger")
    return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter(Node):
    """Rows added (or compared) into the rows that their indices name; `mean` of none is 0.

    sorted: indices rise, so that a row of the result is complete before the next begins.
    """

    KIND: ClassVar[str] = "scatter"

    function: str
    sorted: bool
    distribution: str = "uniform"

    def rows(self, batch: int = 1) -> int:
        """A row per index; none where they are sorted."""
        return 0 if self.sorted else self.given[1].tensor.elements(batch)

    def vector(self, batch: int = 1) -> int:
        """One pass per element taken, one per element of a mean."""
        return self.given[0].tensor.elements(batch) + (self.outputs(batch) if self.function == "mean" else 0)

    def op(self, batch: int, layer: int) -> Op:
        """Each row is added to the one that its index names."""
        n, width = self.made.shape
        rows = Irregular(self.rows(batch), width, False, self.distribution, n, adds=True)
        return replace(Node.op(self, batch, layer), irregular=None if self.sorted else rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(Scatter):
    """A scatter of rows whose indices rise."""

    KIND: ClassVar[str] = "segment"


class _Grouped(OpFile):
    TAKES: ClassVar[tuple[int, int]] = (2, 2)

    rows: Rows = Field(description="Rows of the result.", examples=[64])
    function: Literal["sum", "mean", "max"] = Field("sum", description="What is made of the rows of one index.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        n, width = ranked(given[0], 2, "[rows, width]")
        taken = in_table(given[1], self.rows)
        if taken.shape != (n,):
            raise Misfit("in", f"`{given[1].name}` has the shape {shown(taken.shape)}; name [{n}] indices")
        return [self.node(name, given, made((self.rows, width), given))]

    @abstractmethod
    def node(self, name: str, given: tuple[Given, ...], result: Tensor) -> Node:
        """The op on tensors that fit."""


class ScatterFile(_Grouped):
    """Rows added into the rows that indices name, in any order."""

    op: Literal["scatter"] = Field(description="Rows added by index.", examples=["scatter"])  # type: ignore[assignment]
    distribution: Drawn = Field("uniform", description="Of the indices.", examples=["zipf(1.05)", "to(graph.npz)"])

    def node(self, name: str, given: tuple[Given, ...], result: Tensor) -> Node:
        """Rows in any order."""
        checked(self.distribution, self.rows)
        return Scatter(
            name=name,
            given=given,
            made=result,
            function=self.function,
            sorted=False,
            distribution=self.distribution,
        )


class SegmentFile(_Grouped):
    """Rows added up by index; the indices rise."""

    op: Literal["segment"] = Field(description="Rows added up by rising index.", examples=["segment"])  # type: ignore[assignment]

    def node(self, name: str, given: tuple[Given, ...], result: Tensor) -> Node:
        """Rows in order."""
        return Segment(name=name, given=given, made=result, function=self.function, sorted=True)
