"""Node of a graph -> its sites: forward op, backward ops, and what is kept between them.

A backward op moves the gradient of the node's result and what the node kept, and writes a gradient per input that
needs one. Every GEMM has three passes; a product of two tensors has a backward product for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from hwsim.workload import vector as passes
from hwsim.workload.graph.convolution import Conv, Pool
from hwsim.workload.graph.dense import Attention, Interact, Matmul
from hwsim.workload.graph.dense import Linear as LinearNode
from hwsim.workload.graph.elementwise import Activate, Elementwise, Norm, Reduce, Softmax
from hwsim.workload.graph.irregular import Gather, Scatter, Table
from hwsim.workload.graph.layout import Copy
from hwsim.workload.graph.node import Node
from hwsim.workload.graph.ordering import Farthest, Knn, Sort, TopK
from hwsim.workload.graph.recurrent import GATES, Recurrent
from hwsim.workload.graph.sites import Assign, Distribute
from hwsim.workload.op import Gemm, Irregular, Op
from hwsim.workload.training import sites
from hwsim.workload.training.sites import BACKWARD_PASSES, BYTE, INPUT, SINGLE, WIDE, Linear, Plain, Site

#: Functions whose gradient follows from their result; of the others it follows from their input.
OF_RESULT = (
    "relu", "relu6", "leaky_relu", "elu", "sigmoid", "hard_sigmoid", "tanh", "exp", "sqrt", "reciprocal", "clip",
)  # fmt: skip
#: Elementwise functions that pass their gradient on as it is, and those that have none.
PASSED, FLAT = ("add", "sub"), ("equal", "less", "greater")
#: The result of a node, where the inputs are numbered from 0.
RESULT = -1


class Keeps(NamedTuple):
    """A tensor that a node keeps for its backward pass: an input by number, or RESULT. stored: as `sites.Saved`."""

    tensor: int
    stored: str = WIDE


def gives(node: Node) -> tuple[bool, ...]:
    """By input: whether a gradient of the node's result is one of that input, too; indices have none."""
    match node:
        case Knn() | Farthest() | TopK():
            found = [False] * len(node.given)
        case Assign(mode=mode) if mode != "soft":
            found = [False]
        case Reduce(function="argmax") | Activate(function="floor"):
            found = [False]
        case Elementwise(function=function) if function in FLAT:
            found = [False] * len(node.given)
        case Elementwise(function="where"):
            found = [False, True, True]
        case _:
            found = [True] * len(node.given)
    return tuple(ok and not each.tensor.rows for ok, each in zip(found, node.given, strict=True))


def known(node: Node) -> bool:
    """Whether this module knows the backward pass of a node of this kind."""
    dense = LinearNode, Conv, Recurrent, Matmul, Attention, Interact
    vector = Norm, Activate, Softmax, Elementwise, Reduce, Pool, Copy
    rows = Table, Gather, Scatter, Sort, Assign, Distribute, Knn, Farthest, TopK
    return node.FREE or isinstance(node, (*dense, *vector, *rows))


def keeps(node: Node) -> Iterator[Keeps]:
    """What a node whose result gets a gradient keeps."""
    match node:
        case LinearNode() | Recurrent():
            yield Keeps(0, INPUT)
        case Conv(depthwise=alone):
            yield Keeps(0, WIDE if alone else INPUT)
        case Assign(mode="soft"):
            yield from (Keeps(0, INPUT), Keeps(RESULT))
        case Norm():
            yield Keeps(0)
        case Activate(function=function):
            yield Keeps(RESULT if function in OF_RESULT else 0)
        case Softmax():
            yield Keeps(RESULT)
        case Elementwise(function=function) if function not in PASSED:
            yield from (Keeps(i) for i in range(len(node.given)))
        case Matmul() | Interact():
            yield from (Keeps(i) for i in range(len(node.given)))
        case Attention():
            yield from (*(Keeps(i) for i in range(3)), Keeps(RESULT))
        case Pool(function="max"):
            yield Keeps(RESULT, BYTE)
        case Reduce(function=function) if function in ("max", "min"):
            yield Keeps(RESULT, SINGLE)
        case Table():
            yield Keeps(0, SINGLE)
        case Gather():
            yield Keeps(1, SINGLE)
        case Scatter(function=function):
            yield Keeps(RESULT if function == "max" else 1, SINGLE)
        case Distribute(mode="soft"):
            yield from (Keeps(0), Keeps(1))
        case Distribute():
            yield Keeps(1, SINGLE)


def of_node(
    node: Node, batch: int, layer: int, need: tuple[bool, ...], gradients: int, fused: bool = True
) -> list[Site]:
    """The sites of a node.

    need: by input, whether it gets a gradient. gradients: how many reach the node's result. fused: attention keeps no
    scores.
    """
    op = node.op(batch, layer)
    if isinstance(node, Norm) and node.kind == "batch":  # of the batch: its statistics are a pass ahead
        op = replace(op, vector=passes.LAYERNORM * op.outputs, inputs=2 * op.inputs)
    trained = bool(node.weights) and not (isinstance(node, Table) and node.function)
    if not gradients or not (trained or any(need)):
        return [Plain(op.kind, op, None)]
    more = (gradients - 1) * op.outputs  # gradients of its result by several ops are summed
    if isinstance(node, Attention):
        found: list[Site] = [_attention(node, op, batch, fused)]
    else:
        found = _products(node, op, need) or [_plain(node, op, batch, need)]
    return [_summed(found[0], more), *found[1:]]


def _summed(site: Site, more: int) -> Site:
    if not more:
        return site
    if isinstance(site, Linear):
        return replace(site, wgrad=replace(site.wgrad, inputs=site.wgrad.inputs + more, vector=more))
    op = site.forward
    back = site.backward or Op(f"{op.name}_gradients", site.part, op.layer, outputs=op.outputs)
    return replace(site, backward=replace(back, vector=back.vector + more, inputs=back.inputs + more))


# -- GEMMs --------------------------------------------------------------------------------------------


def _products(node: Node, op: Op, need: tuple[bool, ...]) -> list[Site]:
    """The sites of a node with GEMMs; none for another."""
    match node:
        case LinearNode():
            return [_trimmed(Linear.of(op, ()), need[0])]
        case Conv(depthwise=False):
            return [_convolution(node, op, need[0])]
        case Recurrent():
            made = Linear.of(op, ())
            gates = op.gemms[0].m * op.gemms[0].count * GATES[node.kind] * node.hidden
            fprop = replace(made.fprop, outputs=gates)  # both GEMMs add to the same gates
            back = made.dgrad and replace(made.dgrad, inputs=gates)
            site = replace(made, fprop=fprop, dgrad=back, wgrad=replace(made.wgrad, inputs=gates))
            cell = Op(f"{op.name}_gates", "activation", op.layer, vector=op.vector, inputs=gates, outputs=op.outputs)
            return [site, replace(sites.elementwise(cell, ()), part=op.kind)]
        case Assign():
            made = Linear.of(op, ())
            n = op.outputs
            soft = Op(f"{op.name}_softmax", "softmax", op.layer, vector=op.vector, inputs=n, outputs=n)
            return [_trimmed(made, need[0]), sites.elementwise(soft, ())]
    return []


def _trimmed(site: Linear, need: bool) -> Linear:
    return site if need else replace(site, dgrad=None)


def _convolution(node: Conv, op: Op, need: bool) -> Linear:
    """Three GEMMs of as many multiply-adds. Of wgrad the windows are on the left, where their overlap is counted."""
    bare = replace(op, vector=0, params=0)
    moved, made = op.inputs, op.outputs
    dgrad = tuple(Gemm(g.m, g.k, g.n, g.count) for g in op.gemms)
    if node.transposed:
        wgrad = tuple(Gemm(g.n, g.k, g.m, g.count) for g in op.gemms)
    else:
        wgrad = tuple(Gemm(g.k, g.n, g.m, g.count, g.distinct) for g in op.gemms)
    return Linear(
        op.name,
        op.kind,
        op.weights,
        op.layer,
        bare,
        replace(bare, name=f"{op.name}_dgrad", gemms=dgrad, inputs=made, outputs=moved) if need else None,
        replace(
            bare,
            name=f"{op.name}_wgrad",
            gemms=wgrad,
            inputs=made if node.transposed else moved,
            outputs=bare.weight_elements,
        ),
        turned=not node.transposed,
    )


def _attention(node: Attention, op: Op, batch: int, fused: bool) -> Plain:
    if not fused:
        return sites.unfused_core(op, node.pairs(batch) * node.heads, Fraction(1))
    return sites.fused_core(op, node.heads, batch * node.given[0].shape[0], Fraction(1))


# -- all others ---------------------------------------------------------------------------------------


def _plain(node: Node, op: Op, batch: int, need: tuple[bool, ...]) -> Plain:
    taken = [each.tensor.elements(batch) for each in node.given]
    wanted = sum(n for n, ok in zip(taken, need, strict=True) if ok)
    made, name = op.outputs, f"{op.name}_backward"

    def back(inputs: int, outputs: int, vector: int, macs: int = 0, rows: Irregular | None = None) -> Plain:
        one = Op(name, op.kind, op.layer, macs=macs, vector=vector, inputs=inputs, outputs=outputs, irregular=rows)
        return Plain(op.kind, op, one)

    match node:
        case Table():
            return Plain(op.kind, op, None) if node.function else back(3 * made, 2 * made, made)
        case Conv():  # depthwise: both gradients on the vector unit
            one = back(sum(taken) + made, wanted, op.vector)
            assert one.backward is not None
            twice = (1 + any(need)) * op.vector_macs
            weights = replace(one.backward, weights=op.weights, params=op.params, vector_macs=twice)
            return replace(one, backward=weights)
        case Matmul():
            both = sum(need)
            beside = sum(n for n, ok in zip(taken, reversed(need), strict=True) if ok)
            one = back(both * made + beside, wanted, 0, both * op.macs)
            assert one.backward is not None
            shapes = [replace(g, n=g.k, k=g.n) for g in op.products if need[0]]  # gradients times the other operand
            shapes += [replace(g, m=g.k, k=g.m) for g in op.products if need[1]]
            return replace(one, backward=replace(one.backward, products=tuple(shapes)))
        case Interact():
            return back(sum(taken) + made, wanted, 0, 2 * op.macs)
        case Norm():  # sums of the gradients are a pass ahead, as the statistics are
            twice = 2 if node.kind == "batch" else 1
            return back(2 * twice * made, wanted, BACKWARD_PASSES * op.vector)
        case Elementwise(function=function) if function in PASSED:
            folded = sum(n for n, ok in zip(taken, need, strict=True) if ok and n < made)
            times = sum(1 for n, ok in zip(taken, need, strict=True) if ok and n < made)
            return back(times * made, folded, times * made) if folded else Plain(op.kind, op, None)
        case Elementwise() | Activate() | Softmax():
            return back(sum(taken) + made, wanted, BACKWARD_PASSES * op.vector)
        case Reduce() | Pool():
            index = made if node.function in ("max", "min") else 0
            return back(made + index, wanted, max(wanted, op.vector if isinstance(node, Pool) else 0))
        case Gather():
            n, width = node.given[0].shape
            rows = Irregular(node.rows(batch), width, False, node.distribution, n, adds=True)
            return back(made, wanted, made, rows=rows)
        case Scatter():
            n, width = node.made.shape
            spread = Irregular(taken[1], width, False, node.distribution, n)
            return back(taken[0], taken[0], taken[0], rows=None if node.sorted else spread)
        case Sort():
            n, width = node.given[0].shape
            return back(made, wanted, made, rows=Irregular(node.rows(batch), width, False, "uniform", n, adds=True))
        case Distribute(mode="soft"):
            return back(2 * made + sum(taken), wanted, BACKWARD_PASSES * op.vector, 2 * op.macs)
        case Distribute():
            m, d = node.made.shape
            return back(taken[0], taken[0], taken[0], rows=Irregular(node.rows(batch), d, False, node.distribution, m))
        case _:  # rows and columns put back where they came from
            return back(made, wanted, max(made, wanted))
