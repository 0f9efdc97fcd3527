"""Ops on the dot array: linear layers, products of tensors, attention, DLRM's interaction and cross network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from hwsim.workload import vector as passes
from hwsim.workload.graph.elementwise import Elementwise, followed
from hwsim.workload.graph.node import Activation, Node, NormKind, OpFile, Weight, WeightClass, made, one_or_list
from hwsim.workload.graph.tensor import Given, Misfit, broadcast, ranked, shown, values
from hwsim.workload.op import Gemm, Op

Width = Annotated[int, Field(ge=1, le=10**7)]
Widths = Annotated[
    Annotated[Width, Tag("one")] | Annotated[list[Width], Field(min_length=1, max_length=64), Tag("list")],
    Discriminator(one_or_list),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Node):
    """Y[..., N] = X[..., K] W[N, K]^T + b."""

    KIND: ClassVar[str] = "linear"

    bias: bool
    weight_class: str

    @property
    def weights(self) -> tuple[Weight, ...]:
        """W [N, K] and b [N]."""
        n, k = self.made.shape[-1], self.given[0].shape[-1]
        matrix = Weight("weight", (n, k), self.weight_class)
        return (matrix, Weight("bias", (n,), self.weight_class)) if self.bias else (matrix,)

    def gemm(self, batch: int = 1) -> Gemm:
        """The GEMM of a batch."""
        n, k = self.made.shape[-1], self.given[0].shape[-1]
        return Gemm(self.made.elements(batch) // n, n, k)

    def macs(self, batch: int = 1) -> int:
        """M N K."""
        return self.gemm(batch).macs

    def vector(self, batch: int = 1) -> int:
        """The bias."""
        return passes.BIAS * self.outputs(batch) if self.bias else 0

    def op(self, batch: int, layer: int) -> Op:
        """One GEMM."""
        return Op(
            self.name,
            "linear",
            layer,
            self.weight_class,
            (self.gemm(batch),),
            vector=self.vector(batch),
            params=self.made.shape[-1] if self.bias else 0,
            inputs=self.given[0].tensor.elements(batch),
            outputs=self.outputs(batch),
        )


class LinearFile(OpFile):
    """One or several linear layers, each with the same activation."""

    op: Literal["linear"] = Field(description="Linear layers on the last axis.", examples=["linear"])  # type: ignore[assignment]
    out: Widths = Field(description="Outputs; a list for several layers, one after the other.", examples=[1000])
    bias: bool | None = Field(None, description="Whether there is a bias; if left out, yes unless there is a `norm`.")
    norm: NormKind | None = Field(None, description="A norm of the result.", examples=["batch"])
    activation: Activation | None = Field(None, description="A function of the result.", examples=["relu"])
    class_: WeightClass = Field("linear", alias="class", description="Weight class, for formats.", examples=["head"])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """A node per layer, norm and activation."""
        widths = self.out if isinstance(self.out, list) else [self.out]
        bias = self.norm is None if self.bias is None else self.bias
        found: list[Node] = []
        for i, width in enumerate(widths):
            label = name if len(widths) == 1 else f"{name}.{i}"
            layer = linear(label, given[0], width, bias, self.class_)
            found += followed(layer, self.activation, self.norm)
            given = (Given(found[-1].name, found[-1].made),)
        return found


def linear(name: str, given: Given, width: int, bias: bool, weight_class: str = "linear") -> Linear:
    """One layer. raises: Misfit."""
    shape = (*values(given).shape[:-1], width)
    return Linear(name=name, given=(given,), made=made(shape, [given]), bias=bias, weight_class=weight_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matmul(Node):
    """Y[..., M, N] = A[..., M, K] B[..., K, N] of two tensors, either of them transposed."""

    KIND: ClassVar[str] = "matmul"

    transpose_a: bool
    transpose_b: bool

    def macs(self, batch: int = 1) -> int:
        """M N K of each pair of matrices."""
        k = self.given[0].shape[-2 if self.transpose_a else -1]
        return self.outputs(batch) * k

    def products(self, batch: int = 1) -> tuple[Gemm, ...]:
        """One per pair of matrices; pairs that share the second tensor, which is no batch's, are one GEMM."""
        *_, m, n = self.made.shape
        k = self.given[0].shape[-2 if self.transpose_a else -1]
        pairs = self.outputs(batch) // (m * n)
        shared = len(self.given[1].shape) == 2 and not self.given[1].tensor.batched and not self.transpose_a
        return (Gemm(m * pairs, n, k) if shared else Gemm(m, n, k, pairs),)


class MatmulFile(OpFile):
    """A product of two tensors."""

    TAKES: ClassVar[tuple[int, int]] = (2, 2)

    op: Literal["matmul"] = Field(description="Product of two tensors' matrices.", examples=["matmul"])  # type: ignore[assignment]
    transpose_a: bool = Field(False, description="Whether the first tensor is transposed.")
    transpose_b: bool = Field(False, description="Whether the second tensor is transposed.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        sides = []
        for each, turned in zip(given, (self.transpose_a, self.transpose_b), strict=True):
            shape = values(each).shape
            if len(shape) < 2:
                raise Misfit("in", f"`{each.name}` has the shape {shown(shape)}; name a tensor of two or more axes")
            sides.append((shape[-1], shape[-2]) if turned else (shape[-2], shape[-1]))
        (m, k), (other, n) = sides
        if k != other:
            raise Misfit("in", f"the inner sides {k} and {other} differ; make them equal, or transpose one tensor")
        shape = (*broadcast([(1, *each.shape[:-2]) for each in given])[1:], m, n)
        flags = {"transpose_a": self.transpose_a, "transpose_b": self.transpose_b}
        return [Matmul(name=name, given=given, made=made(shape, given), **flags)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Node):
    """softmax(Q K^T / sqrt(head width)) V by head; causal: a query sees itself and earlier positions."""

    KIND: ClassVar[str] = "attention"

    heads: int
    causal: bool

    def pairs(self, batch: int = 1) -> int:
        """Pairs of query and key, per head."""
        new, kept = self.given[0].shape[0], self.given[1].shape[0]
        one = new * (new + 1) // 2 + new * (kept - new) if self.causal else new * kept
        return one * (batch if self.made.batched else 1)

    def macs(self, batch: int = 1) -> int:
        """Both products."""
        return self.pairs(batch) * (self.given[0].shape[1] + self.made.shape[1])

    def products(self, batch: int = 1) -> tuple[Gemm, ...]:
        """Q K^T and P V of each head and sample; causal: with the keys that a query sees in the mean."""
        new, width = self.given[0].shape
        samples = batch if self.made.batched else 1
        seen, wide = -(-self.pairs() // new), self.made.shape[1] // self.heads
        each = self.heads * samples
        return Gemm(new, seen, width // self.heads, each), Gemm(new, wide, seen, each)

    def vector(self, batch: int = 1) -> int:
        """The softmax."""
        return passes.SOFTMAX * self.pairs(batch) * self.heads


class AttentionFile(OpFile):
    """Multi-head attention on projected queries, keys and values, [positions, width] each."""

    TAKES: ClassVar[tuple[int, int]] = (3, 3)

    op: Literal["attention"] = Field(description="Multi-head attention.", examples=["attention"])  # type: ignore[assignment]
    heads: int = Field(ge=1, le=10**4, description="Heads that share the width.", examples=[12])
    causal: bool = Field(False, description="Whether a position sees only itself and earlier ones.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        q, k, v = (ranked(each, 2, "[positions, width]") for each in given)
        if k[0] != v[0] or q[1] != k[1]:
            raise Misfit("in", f"queries {shown(q)}, keys {shown(k)} and values {shown(v)} do not match")
        if q[1] % self.heads or v[1] % self.heads:
            raise Misfit("heads", f"`{self.heads}` does not divide the widths {q[1]} and {v[1]}; write one that does")
        if self.causal and k[0] < q[0]:
            raise Misfit("causal", f"{q[0]} queries see {k[0]} keys; name at least as many keys")
        return [Attention(name=name, given=given, made=made((q[0], v[1]), given), heads=self.heads, causal=self.causal)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interact(Node):
    """DLRM's dot interaction (Naumov et al., arXiv 1906.00091): the first input [D] beside the products of all pairs.

    The F vectors are the first input and the rows of the second; their F (F - 1) / 2 products follow row by row of the
    lower triangle.
    """

    KIND: ClassVar[str] = "interact"

    def macs(self, batch: int = 1) -> int:
        """F (F - 1) / 2 pairs of D."""
        d = self.given[0].shape[0]
        return (self.outputs(batch) // self.made.size) * (self.made.size - d) * d

    def products(self, batch: int = 1) -> tuple[Gemm, ...]:
        """The lower triangle of F x F of each sample, as F rows of its mean length."""
        d, f = self.given[0].shape[0], self.given[1].shape[0] + 1
        return (Gemm(f, f // 2, d, self.outputs(batch) // self.made.size),)


class InteractFile(OpFile):
    """The dot interaction of a recommendation model."""

    TAKES: ClassVar[tuple[int, int]] = (2, 2)

    op: Literal["interact"] = Field(description="DLRM's dot interaction.", examples=["interact"])  # type: ignore[assignment]

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        (d,), (f, width) = ranked(given[0], 1, "[width]"), ranked(given[1], 2, "[features, width]")
        if d != width:
            raise Misfit("in", f"the widths {d} and {width} differ; make them equal")
        shape = (d + f * (f + 1) // 2,)
        return [Interact(name=name, given=given, made=made(shape, given))]


class CrossFile(OpFile):
    """DCNv2's low-rank cross network (Wang et al., arXiv 2008.13535): x <- x0 * (V (U x) + b) + x, `layers` times."""

    op: Literal["cross"] = Field(description="DCNv2's cross network.", examples=["cross"])  # type: ignore[assignment]
    rank: Width = Field(description="Width between U and V.", examples=[512])
    layers: int = Field(1, ge=1, le=100, description="Layers.", examples=[3])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """Two linear layers, a product and a sum per layer."""
        (first,), last = given, given[0]
        (width,) = ranked(first, 1, "[width]")
        found: list[Node] = []
        for i in range(self.layers):
            down = linear(f"{name}.{i}.u", last, self.rank, False)
            up = linear(f"{name}.{i}.v", Given(down.name, down.made), width, True)
            times = _pair(f"{name}.{i}.mul", "mul", Given(up.name, up.made), first)
            plus = _pair(f"{name}.{i}.add", "add", Given(times.name, times.made), last)
            found += [down, up, times, plus]
            last = Given(plus.name, plus.made)
        return found


def _pair(name: str, function: str, one: Given, other: Given) -> Elementwise:
    return Elementwise(name=name, given=(one, other), made=one.tensor, function=function)
