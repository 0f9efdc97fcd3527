"""Sites: each forward op of a training step with its backward ops and what it keeps for them.

Y[T,N] = X[T,K] W[N,K]^T has three GEMMs of T N K multiply-adds each; blocks of a format run along the reduction:

    fprop  [T,N] = X [T,K] W [N,K]^T        blocks along K
    dgrad  [T,K] = dY [T,N] W^T [K,N]^T     blocks along N
    wgrad  [N,K] = dY^T [N,T] X^T [K,T]^T   blocks along T

An attention core has two GEMMs forward and five backward (Dao, arXiv 2307.08691, section 3): 3.5 times its forward
multiply-adds in all. A chunked scan keeps no states inside its chunks: backward is its gradients, twice the forward,
and once the forward again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from hwsim.workload import vector as passes
from hwsim.workload.op import Gemm, Op

#: Backward over forward multiply-adds of an attention core, and of a scan that is computed again.
CORE_BACKWARD, SCAN_BACKWARD = Fraction(5, 2), Fraction(3)
#: Passes of a backward function per pass of its forward one: its derivative, and the product with the gradient.
BACKWARD_PASSES = 2
#: Bytes per score that attention keeps where it is not fused: softmax, its dropout's mask, and what dropout leaves
#: (Korthikanti et al., arXiv 2205.05198, section 4.1).
SCORE_BYTES = 5
#: Elements of 16 bits that unfused attention moves per score, forward and backward: scores written, softmax and dropout
#: read and write them, the second GEMM reads them; backward the same with the gradients beside them.
SCORE_FORWARD, SCORE_BACKWARD = 7, 9

#: How the elements that are kept are stored: in 16 bits; in the format of a linear's input; that format's copy of
#: what is kept in 16 bits too; in 32 bits; in bytes.
WIDE, INPUT, COPY, SINGLE, BYTE = "wide", "input", "copy", "single", "byte"


class Saved(NamedTuple):
    """Elements that the forward pass keeps for the backward pass. stored: one of the words above."""

    elements: int
    stored: str = WIDE
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear or a convolution: its three GEMMs. part: the row of a table. weights: class of its weight.

    dgrad:  None where nothing that is trained made its input.
    turned: wgrad multiplies X^T dY, with X on the left: of a convolution, whose windows overlap there.
    """

    name: str
    part: str
    weights: str
    layer: int
    fprop: Op
    dgrad: Op | None
    wgrad: Op
    saved: tuple[Saved, ...] = ()
    turned: bool = False

    @classmethod
    def of(cls, op: Op, saved: tuple[Saved, ...]) -> Linear:
        """The linear whose forward op this is."""
        gemms = op.gemms
        bare = replace(op, kind="linear", vector=0, params=0, link="", others=0, distinct=None)
        sums = sum(g.count * g.m * g.n for g in gemms), sum(g.count * g.m * g.k for g in gemms)
        dgrad = tuple(Gemm(g.m, g.k, g.n, g.count) for g in gemms)
        wgrad = tuple(Gemm(g.n, g.k, g.m, g.count) for g in gemms)
        return cls(
            op.name,
            op.kind,
            op.weights,
            op.layer,
            replace(bare, inputs=sums[1], outputs=sums[0]),
            replace(bare, name=f"{op.name}_dgrad", gemms=dgrad, inputs=sums[0], outputs=sums[1]),
            replace(bare, name=f"{op.name}_wgrad", gemms=wgrad, inputs=sums[0], outputs=bare.weight_elements),
            saved,
        )

    @property
    def inputs(self) -> int:
        """Elements of X."""
        return self.fprop.inputs

    @property
    def gradients(self) -> int:
        """Elements of dY."""
        return self.fprop.outputs

    @property
    def matrices(self) -> int:
        """Elements of W."""
        return self.fprop.weight_elements


@dataclass(frozen=True, slots=True)
class Plain:
    """Any other op, and its backward op (None: nothing to do).

    share: what of both this chip computes (an attention core over the chips that share its positions).
    times: the backward op is so many times the forward one, where that is all that is known (0: it is `backward`).
    more:  further backward ops, in order.
    """

    part: str
    forward: Op
    backward: Op | None
    saved: tuple[Saved, ...] = ()
    share: Fraction = Fraction(1)
    times: Fraction = Fraction(0)
    more: tuple[Op, ...] = ()


Site = Linear | Plain


def shrunk(op: Op, by: int) -> Op:
    """The op over one of `by` equal parts of its tokens, rounded up."""
    if by == 1:
        return op
    names = ("macs", "vector", "vector_macs", "inputs", "outputs")
    gemms = tuple(replace(g, m=-(-g.m // by)) for g in op.gemms)
    products = tuple(
        replace(g, count=-(-g.count // by)) if g.count > 1 else replace(g, m=-(-g.m // by)) for g in op.products
    )
    return replace(op, gemms=gemms, products=products, **{name: -(-getattr(op, name) // by) for name in names})


def elementwise(op: Op, saved: tuple[Saved, ...]) -> Plain:
    """A function of elements: backward reads what the forward pass read and the gradients of what it wrote."""
    back = replace(
        op,
        name=f"{op.name}_backward",
        vector=BACKWARD_PASSES * op.vector,
        vector_macs=2 * op.vector_macs,
        inputs=op.inputs + op.outputs,
        outputs=op.inputs,
        cache=None,
        channels=0,
    )
    return Plain(op.kind, op, back, saved)


def norm(op: Op, width: int) -> Plain:
    """A norm. width: elements of the hidden states; a residual that it adds passes its gradient through."""
    residual = op.inputs == op.outputs == 2 * width
    site = elementwise(op, (Saved(width if residual else op.inputs),))
    assert site.backward is not None
    if not residual:
        return site
    return replace(site, backward=replace(site.backward, inputs=3 * width, outputs=width))


def fused_core(op: Op, heads: int, tokens: int, share: Fraction) -> Plain:
    """An attention core that keeps Q, K, V, its results, and the logarithm of a sum per query and head."""
    t = share
    back = replace(
        op,
        name=f"{op.name}_backward",
        macs=int(op.macs * CORE_BACKWARD),
        vector=int(op.vector * CORE_BACKWARD),
        inputs=op.inputs + 2 * op.outputs,
        outputs=op.inputs,
        cache=None,
        core=None,
        products=(),
    )
    saved = (Saved(int((op.inputs + op.outputs) * t)), Saved(heads * tokens, SINGLE))
    return Plain(op.kind, op, back, saved, share, CORE_BACKWARD if op.core else Fraction(0))


def unfused_core(op: Op, scores: int, share: Fraction) -> Plain:
    """An attention core that writes its scores to memory: whole squares, nothing left out above the diagonal."""
    core = op.core
    macs = scores * 2 * core.head_dim if core else op.macs
    forward = replace(op, macs=macs, core=None, cache=None, inputs=op.inputs + SCORE_FORWARD * scores, vector=op.vector)
    back = replace(
        forward,
        name=f"{op.name}_backward",
        macs=2 * macs,
        vector=BACKWARD_PASSES * op.vector,
        inputs=op.inputs + op.outputs + SCORE_BACKWARD * scores,
        outputs=op.inputs,
        products=(),
    )
    saved = (Saved(int((op.inputs + op.outputs) * share)), Saved(int(SCORE_BYTES * scores * share), BYTE))
    return Plain(op.kind, forward, back, saved, share)


def scan(op: Op, states: int) -> Plain:
    """A chunked scan; it keeps its inputs, and its states at the start of every chunk."""
    back = replace(
        op,
        name=f"{op.name}_backward",
        macs=int(op.macs * SCAN_BACKWARD),
        vector=int(op.vector * SCAN_BACKWARD),
        vector_macs=int(op.vector_macs * SCAN_BACKWARD),
        inputs=2 * op.inputs + 2 * op.outputs,
        outputs=op.inputs,
        cache=None,
    )
    return Plain(op.kind, replace(op, cache=None), back, (Saved(op.inputs), Saved(states, SINGLE)))


def router(op: Op) -> Plain:
    """A router: three passes in FP32 on the vector unit, as forward."""
    back = replace(op, name=f"{op.name}_backward", vector_macs=2 * op.vector_macs, inputs=op.inputs + op.outputs)
    return Plain(op.kind, op, replace(back, outputs=op.inputs), (Saved(op.inputs),))


def moved(name: str, layer: int, read: int, written: int) -> Plain:
    """Rows that are gathered into another order; backward, their gradients are put back."""
    op = Op(name, "gather", layer, inputs=read, outputs=written)
    return Plain("permute", op, replace(op, name=f"{name}_backward", inputs=written, outputs=read))


def with_function(op: Op) -> Iterator[Op]:
    """The function of elements that an op with GEMMs computes on its results, if it is more than a bias."""
    results = sum(g.count * g.m * g.n for g in op.gemms)
    extra = op.vector - (passes.BIAS * results if op.params else 0)
    if extra > 0:
        yield Op(f"{op.name}_function", "activation", op.layer, vector=extra, inputs=results, outputs=op.outputs)
