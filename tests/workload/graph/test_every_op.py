"""Every op that a graph file may hold has counts, a lowering and a value in any format: three views of one object."""

from typing import NamedTuple, get_args

import ml_dtypes
import numpy as np
import pytest

import hwsim
from hwsim.workload import StepOptions, load_model_text
from hwsim.workload.graph.schema import AnyOp
from hwsim.workload.graph.values import evaluate, random_weights


class Case(NamedTuple):
    """An op, its inputs, and by hand: multiply-adds, weights, rows at places that the data tell, per sample.

    exact: whether no operand is rounded to the format, as the op multiplies nothing with a reduction.
    """

    inputs: str
    op: str
    macs: int = 0
    weights: int = 0
    rows: int = 0
    exact: bool = True


X, I9 = "x: [9, 64]", "x: [9, 64], i: {shape: [9], rows: 4}"
CASES = {
    "linear": Case("x: [5, 64]", "in: [x], out: 8", 5 * 64 * 8, 64 * 8 + 8, exact=False),
    "matmul": Case("x: [5, 64], z: [64, 8]", "in: [x, z]", 5 * 64 * 8, exact=False),
    "conv": Case("x: [32, 6, 6]", "in: [x], out: 8, kernel: 3", 16 * 9 * 32 * 8, 9 * 32 * 8 + 8, exact=False),
    "pool": Case("x: [3, 8]", "in: [x], function: mean, kernel: 2, stride: 2"),
    "norm": Case(X, "in: [x], kind: layer", weights=128),
    "activation": Case(X, "in: [x], function: gelu"),
    "softmax": Case(X, "in: [x]"),
    "elementwise": Case("x: [9, 64], z: [64]", "in: [x, z], function: mul"),
    "reduce": Case(X, "in: [x], function: sum, axes: [0]"),
    "concat": Case(X, "in: [x, x]"),
    "reshape": Case(X, "in: [x], shape: [18, 32]"),
    "transpose": Case(X, "in: [x], order: [1, 0]"),
    "slice": Case(X, "in: [x], start: 2, stop: 7"),
    "expand": Case("x: [1, 64]", "in: [x], shape: [9, 64]"),
    "pad": Case(X, "in: [x], edges: [[1, 2], [0, 0]]"),
    "resize": Case(X, "in: [x], factors: [2, 1]"),
    "attention": Case("x: [5, 64], z: [9, 64]", "in: [x, z, z], heads: 2", 2 * 5 * 9 * 64, exact=False),
    "lstm": Case(X, "in: [x], hidden: 8", 9 * 32 * (64 + 8), 32 * (64 + 8) + 2 * 32, exact=False),
    "gru": Case(X, "in: [x], hidden: 8", 9 * 24 * (64 + 8), 24 * (64 + 8) + 2 * 24, exact=False),
    "embedding_bag": Case(
        "i: {shape: [6], rows: 5}", "in: [i], rows: [5, 3], hot: [4, 2], out: 64", 0, 8 * 64, 6, exact=False
    ),
    "embedding": Case("i: {shape: [5], rows: 9}", "in: [i], rows: 9, out: 64", 0, 9 * 64, 5, exact=False),
    "gather": Case("x: [9, 64], i: {shape: [5, 2], rows: 9}", "in: [x, i]", rows=10),
    "scatter": Case(I9, "in: [x, i], rows: 4, function: mean", rows=9),
    "segment": Case(I9, "in: [x, i], rows: 4, function: max"),
    "sort": Case(X, "in: [x], keep: 4", rows=4),
    "topk": Case(X, "in: [x], keep: 4"),
    "knn": Case("x: [20, 64], z: [6, 64]", "in: [x, z], neighbours: 5", 6 * 20 * 64, exact=False),
    "farthest": Case(X, "in: [x], samples: 4"),
    "assign": Case(X, "in: [x], sites: 8, mode: soft", 9 * 64 * 8, 64 * 8, exact=False),
    "distribute": Case("x: [96, 64], p: [96, 8]", "in: [x, p], sites: 8, mode: soft", 96 * 64 * 8, exact=False),
    "interact": Case("x: [64], z: [9, 64]", "in: [x, z]", 45 * 64, exact=False),
    "cross": Case("x: [64]", "in: [x], rank: 8, layers: 2", 4 * 64 * 8, 2 * (2 * 64 * 8 + 64), exact=False),
    "repeat": Case(
        X, "in: [x], times: 3, ops: [{name: s, op: linear, in: [input], out: 64}]", 3 * 9 * 4096, 3 * 4160, exact=False
    ),
}
#: Ops that move nothing; alone they are no graph, so that another one stands behind them.
FREE = ("reshape", "slice")
#: Ops whose results are indices.
INDICES = ("topk", "knn", "farthest")


def net(kind):
    more = "  - {name: z2, op: activation, in: [y], function: neg}\n" if kind in FREE else ""
    case = CASES[kind]
    return load_model_text(
        f"name: net\ninputs: {{{case.inputs}}}\nops:\n  - {{name: y, op: {kind}, {case.op}}}\n{more}"
    )


def given(graph):
    draw = np.random.default_rng(1)
    arrays = {}
    for each in graph.inputs:
        rows = each.tensor.rows
        some = np.sort(draw.integers(0, min(rows, 3), each.shape)) if rows else np.abs(draw.standard_normal(each.shape))
        arrays[each.name] = some if rows else some.astype(np.float32)
    return arrays


def test_the_cases_are_all_ops():
    assert [*CASES] == [op.model_fields["op"].annotation.__args__[0] for op in get_args(get_args(AnyOp)[0])]


@pytest.mark.parametrize("kind", CASES)
def test_counts_and_lowering(kind):
    """By hand; of a batch all but the weights grow with it, and ops compute what nodes count."""
    graph, case = net(kind), CASES[kind]
    one, five = graph.counts(), graph.counts(5)
    assert (one.macs, one.weights, one.rows) == (case.macs, case.weights, case.rows)
    assert graph.total == case.weights
    assert (five.macs, five.rows, five.vector) == (5 * one.macs, 5 * one.rows, 5 * one.vector)
    assert five.weights == one.weights and five.outputs == 5 * one.outputs
    ops = graph.ops(StepOptions(batch=5))
    assert sum(op.dot_macs + op.vector_macs for op in ops) == five.macs
    assert sum(op.vector for op in ops) == five.vector
    assert sum(op.irregular.rows for op in ops if op.irregular) == five.rows - 5 * (4 if kind == "sort" else 0)
    assert one.macs + one.vector + one.rows + one.outputs > 0


@pytest.mark.parametrize("kind", CASES)
def test_value_in_a_format(kind):
    """Operands with a reduction are rounded to the format, results of the vector unit to BF16; nothing else changes."""
    graph, form = net(kind), hwsim.get_format("mxfp4")
    arrays, weights, seen = given(graph), random_weights(graph, 2), set()

    def quantize(x, what):
        seen.add(what)
        return x.astype(ml_dtypes.bfloat16).astype(np.float32) if what == "vector" else form.quantize(x)

    name, shape = graph.outputs[0], graph.nodes[-1].made.shape
    exact, rounded = (evaluate(graph, arrays, weights, q)[name] for q in (None, quantize))
    assert exact.shape == rounded.shape == shape
    assert np.isfinite(exact).all()
    assert ("activations" in seen or "weights" in seen) != CASES[kind].exact
    if kind in INDICES:
        assert exact.dtype == rounded.dtype == np.int64
        assert rounded.min() >= 0 and rounded.max() < graph.nodes[-1].given[0].shape[-1 if kind == "topk" else 0]
        return
    assert exact.dtype == rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, rounded.astype(ml_dtypes.bfloat16).astype(np.float32))
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert error < 0.01 if CASES[kind].exact else 0.01 < error < 0.6


@pytest.mark.parametrize("machine, form", [("tpu-v4i", "int8"), ("edge-mx", "mxint8"), ("h100-sxm", "bf16")])
@pytest.mark.parametrize("kind", CASES)
def test_time_on_machines_of_three_kinds(kind, machine, form):
    graph = net(kind)
    few, many = (hwsim.run(machine, graph, batch=batch, weights=form) for batch in (1, 4096))
    assert many.macs == 4096 * CASES[kind].macs
    assert many.cycles >= many.bound_cycles and many.cycles > few.cycles
