"""Latent fixed data structures: nodes assigned to sites and distributed to them (arXiv 2108.07028, reconstructed).

soft: p = softmax over sites of x W^T;  Z_j = sum_i p_ij x_i / sum_i p_ij
hard: the site of the largest score, the lowest of equal ones;  Z_j = mean of its nodes, 0 of none
sort: nodes by rising last column, ties by the other columns in order; node of rank r to site floor(r m / n)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import Field

from hwsim.workload import vector as passes
from hwsim.workload.graph.edges import Drawn, checked
from hwsim.workload.graph.irregular import Count
from hwsim.workload.graph.node import Node, OpFile, Weight, made
from hwsim.workload.graph.ordering import compares
from hwsim.workload.graph.tensor import Given, Misfit, indices, ranked, shown, values
from hwsim.workload.op import Gemm, Irregular, Op, Sorting

Mode = Literal["soft", "hard", "sort"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign(Node):
    """Nodes [n, d] to sites: probabilities [n, m] (soft), or the site of each node [n] (hard, sort)."""

    KIND: ClassVar[str] = "assign"

    mode: str
    sites: int

    @property
    def weights(self) -> tuple[Weight, ...]:
        """W [m, d], except for sort."""
        d = self.given[0].shape[1]
        return () if self.mode == "sort" else (Weight("weight", (self.sites, d), "linear"),)

    def gemm(self, batch: int = 1) -> Gemm:
        """The scores of a batch."""
        n, d = self.given[0].shape
        return Gemm(self.given[0].tensor.elements(batch) // d, self.sites, d)

    def macs(self, batch: int = 1) -> int:
        """Of the scores."""
        return 0 if self.mode == "sort" else self.gemm(batch).macs

    def vector(self, batch: int = 1) -> int:
        """Softmax; comparisons of the scores; comparisons of a sort."""
        gemm, found = self.gemm(batch), self.sorting(batch)
        if found:
            return found.passes
        return (passes.SOFTMAX if self.mode == "soft" else 1) * gemm.m * gemm.n

    def sorting(self, batch: int = 1) -> Sorting | None:
        """The keys of each sample's nodes, where they are assigned by rank."""
        n = self.given[0].shape[0]
        lists = self.gemm(batch).m // n
        return Sorting(lists, n, n, lists * compares(n)) if self.mode == "sort" else None

    def inputs(self, batch: int = 1) -> int:
        """The nodes; a sort reads their keys."""
        every = self.given[0].tensor.elements(batch)
        return every // self.given[0].shape[1] if self.mode == "sort" else every

    def op(self, batch: int, layer: int) -> Op:
        """A GEMM, or a sort."""
        there = self.mode != "sort"
        return Op(
            self.name,
            "assign",
            layer,
            "linear" if there else "",
            (self.gemm(batch),) if there else (),
            vector=self.vector(batch),
            inputs=self.inputs(batch),
            outputs=self.outputs(batch),
            sorting=self.sorting(batch),
        )


class AssignFile(OpFile):
    """Nodes to sites."""

    op: Literal["assign"] = Field(description="Nodes to sites.", examples=["assign"])  # type: ignore[assignment]
    sites: Count = Field(description="How many sites.", examples=[64])
    mode: Mode = Field(description="soft: probabilities; hard: the largest; sort: by rank.", examples=["hard"])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        n, _ = ranked(given[0], 2, "[nodes, width]")
        soft = self.mode == "soft"
        result = made((n, self.sites) if soft else (n,), given, 0 if soft else self.sites)
        return [Assign(name=name, given=given, made=result, mode=self.mode, sites=self.sites)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribute(Node):
    """Nodes [n, d] and their assignment to sites [m, d]: the mean of what each site is given."""

    KIND: ClassVar[str] = "distribute"

    mode: str
    distribution: str

    def macs(self, batch: int = 1) -> int:
        """Soft: P^T X."""
        return self.outputs(batch) * self.given[0].shape[0] if self.mode == "soft" else 0

    def products(self, batch: int = 1) -> tuple[Gemm, ...]:
        """Soft: P^T X of each sample."""
        n, (sites, d) = self.given[0].shape[0], self.made.shape
        return (Gemm(sites, d, n, self.outputs(batch) // (sites * d)),) if self.mode == "soft" else ()

    def rows(self, batch: int = 1) -> int:
        """Hard and sort: each node's row is added to its site's."""
        return 0 if self.mode == "soft" else self.given[1].tensor.elements(batch)

    def vector(self, batch: int = 1) -> int:
        """Soft: the sums of probabilities; hard and sort: additions. Then a division each."""
        added = self.given[1] if self.mode == "soft" else self.given[0]
        return added.tensor.elements(batch) + self.outputs(batch)

    def op(self, batch: int, layer: int) -> Op:
        """Soft: a product; hard and sort: each row is added to its site's, and nodes of one rank follow each other."""
        sites, d = self.made.shape
        op = Node.op(self, batch, layer)
        if self.mode == "soft":
            return op
        return replace(op, irregular=Irregular(self.rows(batch), d, False, self.distribution, sites, adds=True))


class DistributeFile(OpFile):
    """Nodes and their assignment to sites."""

    TAKES: ClassVar[tuple[int, int]] = (2, 2)

    op: Literal["distribute"] = Field(description="The mean of each site's nodes.", examples=["distribute"])  # type: ignore[assignment]
    sites: Count = Field(description="How many sites.", examples=[64])
    mode: Mode = Field(description="As the assignment was made.", examples=["hard"])
    distribution: Drawn = Field("uniform", description="How even the sites are filled.", examples=["zipf(1.05)"])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        n, d = ranked(given[0], 2, "[nodes, width]")
        soft = self.mode == "soft"
        taken = values(given[1]) if soft else indices(given[1])
        if taken.shape != ((n, self.sites) if soft else (n,)) or taken.rows not in (0, self.sites):
            wanted = shown((n, self.sites)) if soft else f"{shown((n,))} of {self.sites} sites"
            raise Misfit("in", f"`{given[1].name}` is no {self.mode} assignment {wanted}; name one")
        return [
            Distribute(
                name=name,
                given=given,
                made=made((self.sites, d), given),
                mode=self.mode,
                distribution=checked(self.distribution, self.sites),
            )
        ]
