"""Values of graph ops against sums written out place by place, on random shapes; formats through every op."""

from itertools import product
from math import erf, exp, sqrt

import ml_dtypes
import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.workload import load_model_text
from hwsim.workload.graph.values import evaluate, random_weights

SEEDS = range(6)


def graph_of(inputs: str, *ops: str, more: str = ""):
    lines = "\n".join(f"  - {{{op}}}" for op in ops)
    return load_model_text(f"name: one\ninputs: {{{inputs}}}\n{more}ops:\n{lines}\n")


def result(graph, arrays, weights=None, quantize=None):
    known = evaluate(graph, arrays, weights or random_weights(graph, 3), quantize)
    return known[graph.outputs[0]]


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(found, wanted):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


# -- convolution -----------------------------------------------------------------------------------


def conv(x, w, bias, stride, pad, dilation, groups, circular):
    """Every output place, channel, tap and input channel by itself; w is [n, taps, channels of a group]."""
    c, sides = x.shape[0], x.shape[1:]
    n, kernel = w.shape[0], w.shape[1:-1]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    out = [(s + sum(p) - span) // st + 1 for s, p, span, st in zip(sides, pad, spans, stride, strict=True)]
    y = np.zeros((n, *out))
    for place in product(*map(range, out)):
        for tap in product(*map(range, kernel)):
            at = [p * st + t * d - b for p, st, t, d, (b, _) in zip(place, stride, tap, dilation, pad, strict=True)]
            if circular:
                at = [a % s for a, s in zip(at, sides, strict=True)]
            if any(not 0 <= a < s for a, s in zip(at, sides, strict=True)):
                continue
            for j in range(n):
                first = j // (n // groups) * (c // groups)
                y[(j, *place)] += w[(j, *tap)].astype(float) @ x[(slice(first, first + c // groups), *at)]
    return y + bias.reshape(n, *(1,) * len(sides))


@pytest.mark.parametrize("seed", range(24))
def test_convolution(seed):
    draw = np.random.default_rng(seed)
    dims = 1 + seed % 3
    groups = int(draw.choice([1, 2, 4]))
    c, n = 4, int(draw.choice([4, 8]))
    sides = [int(draw.integers(5, 8)) for _ in range(dims)]
    kernel, stride, dilation = ([int(draw.integers(1, most)) for _ in range(dims)] for most in (4, 3, 3))
    circular = seed % 4 == 3
    pad = [[int(draw.integers(0, 3)), int(draw.integers(0, 3))] for _ in range(dims)]
    if circular:
        kernel, stride, dilation = [3] * dims, [1] * dims, [1] * dims
        pad = [[1, 1]] * dims
    last = seed % 2 == 1
    shape = [*sides, c] if last else [c, *sides]
    graph = graph_of(
        f"x: {shape}",
        f"name: y, op: conv, in: [x], out: {n}, kernel: {kernel}, stride: {stride}, dilation: {dilation}, "
        f"groups: {groups}, pad: {'circular' if circular else pad}, channels: {'last' if last else 'first'}",
    )
    x, weights = normal(seed, *shape), random_weights(graph, seed)
    weights["y.bias"] = normal(seed + 1, n)
    w = weights["y.weight"].reshape(n, *kernel, c // groups)
    first = np.moveaxis(x, -1, 0) if last else x
    wanted = conv(first, w, weights["y.bias"], stride, pad, dilation, groups, circular)
    close(result(graph, {"x": x}, weights), np.moveaxis(wanted, 0, -1) if last else wanted)


@pytest.mark.parametrize("seed", range(8))
def test_transposed_convolution(seed):
    """Its matrix is the transpose of the convolution's with the same window: <y, conv(x)> = <convT(y), x>."""
    draw = np.random.default_rng(seed)
    dims, groups = 1 + seed % 2, 1 + seed // 4
    side, c, n = int(draw.integers(6, 9)), 4, 6
    kernel, stride, dilation = int(draw.integers(1, 4)), int(draw.integers(1, 4)), int(draw.integers(1, 3))
    pad = int(draw.integers(0, 2))
    there = (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    extra = side - ((there - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1)
    options = f"kernel: {kernel}, stride: {stride}, dilation: {dilation}, groups: {groups}, pad: {pad}, bias: false"
    sides, small = [side] * dims, [there] * dims
    down = graph_of(f"x: {[c, *sides]}", f"name: y, op: conv, in: [x], out: {n}, {options}")
    up = graph_of(
        f"x: {[n, *small]}", f"name: y, op: conv, in: [x], out: {c}, transposed: true, extra: {extra}, {options}"
    )
    w = normal(seed, n, kernel**dims, c // groups)
    x, y = normal(seed + 1, c, *sides), normal(seed + 2, n, *small)
    # weights of the transposed one: [c, taps, n / groups], by group
    turned = w.reshape(groups, n // groups, -1, c // groups).transpose(0, 3, 2, 1).reshape(c, -1)
    one = (result(down, {"x": x}, {"y.weight": w.reshape(n, -1)}).astype(float) * y).sum()
    other = (result(up, {"x": y}, {"y.weight": turned}).astype(float) * x).sum()
    assert one == pytest.approx(other, rel=1e-4, abs=1e-4)


def test_a_convolution_on_a_ring_turns_with_it():
    graph = graph_of(
        "x: [12, 5]", "name: y, op: conv, in: [x], out: 7, kernel: 3, pad: circular, channels: last, layers: 2"
    )
    x, weights = normal(0, 12, 5), random_weights(graph, 1)
    turned = result(graph, {"x": np.roll(x, 4, 0)}, weights)
    assert np.array_equal(turned, np.roll(result(graph, {"x": x}, weights), 4, 0))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("function", ["max", "mean"])
def test_pool(seed, function):
    draw = np.random.default_rng(seed)
    side, kernel, stride = int(draw.integers(5, 9)), int(draw.integers(2, 4)), int(draw.integers(1, 4))
    pad, up, counted = int(draw.integers(0, 2)), bool(seed % 2), seed % 3 == 0
    if function == "max" or up:
        counted = False
    graph = graph_of(
        f"x: [3, {side}]",
        f"name: y, op: pool, in: [x], function: {function}, kernel: {kernel}, stride: {stride}, pad: {pad}, "
        f"ceil: {str(up).lower()}, counted: {str(counted).lower()}",
    )
    x = normal(seed, 3, side)
    found = result(graph, {"x": x})
    for i in range(found.shape[1]):
        at = [a for a in range(i * stride - pad, i * stride - pad + kernel) if -pad <= a < side + pad]
        inside = [x[:, a].astype(float) for a in at if 0 <= a < side]
        shown = np.max(inside, 0) if function == "max" else np.sum(inside, 0) / len(at if counted else inside)
        close(found[:, i], shown)


# -- the dot array ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_linear_and_matmul(seed):
    graph = graph_of("x: [5, 7]", "name: y, op: linear, in: [x], out: 3")
    weights = {"y.weight": normal(seed, 3, 7), "y.bias": normal(seed + 1, 3)}
    x = normal(seed + 2, 5, 7)
    close(result(graph, {"x": x}, weights), np.einsum("mk,nk->mn", x, weights["y.weight"]) + weights["y.bias"])
    a, b = bool(seed % 2), bool(seed // 2 % 2)
    shapes = ([2, 7, 5] if a else [2, 5, 7]), ([4, 7] if b else [7, 4])
    flags = f"transpose_a: {str(a).lower()}, transpose_b: {str(b).lower()}"
    graph = graph_of(f"x: {shapes[0]}, z: {shapes[1]}", f"name: y, op: matmul, in: [x, z], {flags}")
    x, z = normal(seed, *shapes[0]), normal(seed + 1, *shapes[1])
    text = f"{'bkm' if a else 'bmk'},{'nk' if b else 'kn'}->bmn"
    close(result(graph, {"x": x, "z": z}), np.einsum(text, x.astype(float), z))


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal):
    graph = graph_of(
        "q: [4, 6], k: [5, 6], v: [5, 8]",
        f"name: y, op: attention, in: [q, k, v], heads: 2, causal: {str(causal).lower()}",
    )
    q, k, v = normal(0, 4, 6), normal(1, 5, 6), normal(2, 5, 8)
    wanted = np.zeros((4, 8))
    for h, i in product(range(2), range(4)):
        seen = range(5 - 4 + i + 1 if causal else 5)
        scores = [exp(float(q[i, 3 * h : 3 * h + 3] @ k[j, 3 * h : 3 * h + 3]) / sqrt(3)) for j in seen]
        for score, j in zip(scores, seen, strict=True):
            wanted[i, 4 * h : 4 * h + 4] += score / sum(scores) * v[j, 4 * h : 4 * h + 4]
    close(result(graph, {"q": q, "k": k, "v": v}), wanted)


def test_interact_and_cross():
    graph = graph_of("d: [4], t: [3, 4]", "name: y, op: interact, in: [d, t]")
    d, t = normal(0, 4), normal(1, 3, 4)
    vectors = [d, *t]
    wanted = [*d, *(vectors[i] @ vectors[j] for i in range(4) for j in range(i))]
    close(result(graph, {"d": d, "t": t}), wanted)
    graph = graph_of("x: [6]", "name: y, op: cross, in: [x], rank: 2, layers: 3")
    weights, x = random_weights(graph, 4), normal(2, 6)
    state = x.astype(float)
    for i in range(3):
        weights[f"y.{i}.v.bias"] = normal(i, 6)
        u, v = weights[f"y.{i}.u.weight"].astype(float), weights[f"y.{i}.v.weight"].astype(float)
        state = x * (v @ (u @ state) + weights[f"y.{i}.v.bias"]) + state
    close(result(graph, {"x": x}, weights), state)


# -- the vector unit -------------------------------------------------------------------------------

FUNCTIONS = {
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else 0.01 * (exp(x) - 1),
    "sigmoid": lambda x: 1 / (1 + exp(-x)),
    "hard_sigmoid": lambda x: min(max(x / 6 + 0.5, 0), 1),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + exp(-x)),
    "hard_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "gelu": lambda x: x / 2 * (1 + erf(x / sqrt(2))),
    "softplus": lambda x: np.log(1 + exp(x)),
    "exp": exp,
    "erf": erf,
    "abs": abs,
    "neg": lambda x: -x,
    "reciprocal": lambda x: 1 / x,
    "floor": np.floor,
    "clip": lambda x: min(max(x, 0), 6),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    graph = graph_of("x: [64]", f"name: y, op: activation, in: [x], function: {name}")
    x = 4 * normal(0, 64)
    close(result(graph, {"x": x}), [FUNCTIONS[name](float(each)) for each in x])


@pytest.mark.parametrize("name, wanted", [("sqrt", np.sqrt), ("log", np.log)])
def test_functions_of_positive_numbers(name, wanted):
    graph = graph_of("x: [64]", f"name: y, op: activation, in: [x], function: {name}")
    x = np.abs(normal(0, 64)) + np.float32(0.1)
    close(result(graph, {"x": x}), wanted(x.astype(float)))


@pytest.mark.parametrize("kind", ["batch", "layer", "rms", "instance"])
def test_norms(kind):
    graph = graph_of("x: [3, 4, 5]", f"name: y, op: norm, in: [x], kind: {kind}, channels: first")
    x, gain, shift = normal(0, 3, 4, 5), normal(1, 3), normal(2, 3)
    wide, g, s = x.astype(float), gain[:, None, None], shift[:, None, None]
    axes = (1, 2) if kind == "instance" else (0,)
    mean = np.sum(wide, axes, keepdims=True) / np.prod([wide.shape[a] for a in axes])
    if kind == "batch":
        wanted = wide * g + s
    elif kind == "rms":
        wanted = wide / np.sqrt((wide**2).mean(0) + 1e-5) * g
    else:
        wanted = (wide - mean) / np.sqrt(((wide - mean) ** 2).mean(axes, keepdims=True) + 1e-5) * g + s
    close(result(graph, {"x": x}, {"y.gain": gain, "y.shift": shift}), wanted)


@pytest.mark.parametrize("function", ["add", "sub", "mul", "div", "max", "min", "pow"])
def test_arithmetic(function):
    graph = graph_of(
        "x: [3, 1, 4], z: [5, 1]", f"name: y, op: elementwise, in: [x, z], function: {function}, constant: 2"
    )
    x, z = np.abs(normal(0, 3, 1, 4)) + 1, np.abs(normal(1, 5, 1)) + 1
    sign = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}.get(function)
    for i, j, k in product(range(3), range(5), range(4)):
        a, b = float(x[i, 0, k]), float(z[j, 0])
        wanted = eval(f"(a {sign} b) {sign} 2.0") if sign else {"max": max, "min": min}[function](a, b, 2.0)
        assert result(graph, {"x": x, "z": z})[i, j, k] == pytest.approx(wanted, rel=1e-5)


def test_reductions_softmax_and_shapes():
    x = normal(0, 3, 4, 5)
    ops = {
        "reduce, in: [x], function: sum, axes: [0, 2]": x.sum((0, 2)),
        "reduce, in: [x], function: mean, axes: [1], keep: true": x.mean(1, keepdims=True),
        "reduce, in: [x], function: min": [x.min()],
        "softmax, in: [x], axis: 1": np.exp(x) / np.exp(x).sum(1, keepdims=True),
        "reshape, in: [x], shape: [-1, 6]": x.reshape(10, 6),
        "transpose, in: [x], order: [2, 0, 1]": np.einsum("abc->cab", x),
        "slice, in: [x], axis: 1, start: -3, step: 2": x[:, [1, 3]],
        "expand, in: [x], shape: [2, 3, 4, 5]": np.stack([x, x]),
        "concat, in: [x, x], axis: -1": np.dstack([x, x]),
        "pad, in: [x], edges: [[0, 0], [1, 0], [0, 2]]": np.pad(x, [(0, 0), (1, 0), (0, 2)]),
        "resize, in: [x], factors: [1, 2, 3]": np.kron(x, np.ones((1, 2, 3))),
    }
    for op, wanted in ops.items():
        if "reshape" in op or "slice" in op:  # move nothing, so a graph of them alone is refused
            graph = graph_of("x: [3, 4, 5]", f"name: z, op: {op}", "name: y, op: activation, in: [z], function: neg")
            close(-result(graph, {"x": x}), wanted)
        else:
            close(result(graph_of("x: [3, 4, 5]", f"name: y, op: {op}"), {"x": x}), wanted)


# -- addresses that the data tell ------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_tables_gather_scatter(seed):
    draw = np.random.default_rng(seed)
    graph = graph_of(
        "i: {shape: [6], rows: 5}", "name: y, op: embedding_bag, in: [i], rows: [5, 3, 4], hot: [1, 3, 2], out: 8"
    )
    table, index = normal(seed, 12, 8), np.array([draw.integers(0, r) for r in (5, 3, 3, 3, 4, 4)])
    wanted = [table[index[0]], sum(table[5 + i] for i in index[1:4]), sum(table[8 + i] for i in index[4:])]
    close(result(graph, {"i": index}, {"y.table": table}), wanted)
    x, index = normal(seed, 7, 4), draw.integers(0, 7, (5, 2))
    graph = graph_of("x: [7, 4], i: {shape: [5, 2], rows: 7}", "name: y, op: gather, in: [x, i]")
    close(result(graph, {"x": x, "i": index}), [[x[j] for j in row] for row in index])
    graph = graph_of("x: [5, 4], i: {shape: [5, 2], rows: 5}", "name: y, op: gather, in: [x, i], pairs: true")
    x, index = normal(seed, 5, 4), index % 5
    close(result(graph, {"x": x, "i": index}), [[[*x[r], *(x[j] - x[r])] for j in row] for r, row in enumerate(index)])
    x, index = normal(seed, 9, 4), draw.integers(0, 3, 9)
    for function, wanted in (
        ("sum", sum),
        ("mean", lambda rows: sum(rows) / len(rows)),
        ("max", lambda r: np.max(r, 0)),
    ):
        for op, order in (("scatter", np.arange(9)), ("segment", np.argsort(index, kind="stable"))):
            graph = graph_of(
                "x: [9, 4], i: {shape: [9], rows: 4}", f"name: y, op: {op}, in: [x, i], rows: 4, function: {function}"
            )
            groups = [[row for row, i in zip(x, index, strict=True) if i == j] for j in range(4)]
            rows = [wanted(group) if group else np.zeros(4) for group in groups]
            close(result(graph, {"x": x[order], "i": index[order]}), rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_sort_topk_knn_farthest(seed):
    x = normal(seed, 20, 3)
    x[:, 2] = np.round(x[:, 2])  # ties, told apart by the other columns
    ordered = sorted(map(tuple, x), key=lambda row: (row[2], row[0], row[1]), reverse=True)
    close(
        result(graph_of("x: [20, 3]", "name: y, op: sort, in: [x], keep: 25"), {"x": x}), [*ordered, *[(0, 0, 0)] * 5]
    )
    close(result(graph_of("x: [20, 3]", "name: y, op: sort, in: [x], keep: 4"), {"x": x}), ordered[:4])
    found = result(graph_of("x: [20, 3]", "name: y, op: topk, in: [x], keep: 2"), {"x": x})
    assert found.tolist() == [sorted(range(3), key=lambda i: (-row[i], i))[:2] for row in x]
    points, queries = normal(seed, 20, 3), normal(seed + 1, 6, 3)
    graph = graph_of("x: [20, 3], q: [6, 3]", "name: y, op: knn, in: [x, q], neighbours: 5")
    squares = [[sum((float(a) - float(b)) ** 2 for a, b in zip(p, q, strict=True)) for p in points] for q in queries]
    assert result(graph, {"x": points, "q": queries}).tolist() == [np.argsort(row)[:5].tolist() for row in squares]
    found = result(graph_of("x: [20, 3]", "name: y, op: farthest, in: [x], samples: 8"), {"x": points}).tolist()
    assert found[0] == 0
    for i in range(1, 8):
        near = [min(np.sum((p - points[j]) ** 2) for j in found[:i]) for p in points]
        assert found[i] == int(np.argmax(near))


def test_an_index_beyond_its_table():
    graph = graph_of(
        "i: {shape: [3], rows: 5}", "name: y, op: embedding_bag, in: [i], rows: [5, 2], hot: [1, 2], out: 8"
    )
    weights = random_weights(graph)
    with pytest.raises(InputError, match="i: index 5 is beyond the 5 rows"):
        evaluate(graph, {"i": np.array([5, 0, 0])}, weights)
    with pytest.raises(InputError, match="i: index -1 is"):
        evaluate(graph, {"i": np.array([-1, 0, 0])}, weights)
    with pytest.raises(InputError, match="y: index 3 is beyond the 2 rows"):
        evaluate(graph, {"i": np.array([4, 0, 3])}, weights)
    with pytest.raises(InputError, match="input i is missing; give an array of shape \\[3\\]"):
        evaluate(graph, {}, weights)


# -- formats ---------------------------------------------------------------------------------------

MULTIPLY = {
    "linear": ("x: [5, 64]", "name: y, op: linear, in: [x], out: 8"),
    "conv": ("x: [32, 6, 6]", "name: y, op: conv, in: [x], out: 8, kernel: 3"),
    "transposed": ("x: [32, 6]", "name: y, op: conv, in: [x], out: 8, kernel: 3, transposed: true"),
    "matmul": ("x: [5, 64], z: [64, 8]", "name: y, op: matmul, in: [x, z]"),
    "attention": ("x: [5, 64], z: [9, 64]", "name: y, op: attention, in: [x, z, z], heads: 2"),
    "interact": ("x: [64], z: [9, 64]", "name: y, op: interact, in: [x, z]"),
    "embedding": ("i: {shape: [5], rows: 9}", "name: y, op: embedding, in: [i], rows: 9, out: 64"),
    "assign": ("x: [9, 64]", "name: y, op: assign, in: [x], sites: 8, mode: soft"),
    "distribute": ("x: [96, 64], p: [96, 8]", "name: y, op: distribute, in: [x, p], sites: 8, mode: soft"),
}


def given(graph):
    return {
        g.name: np.arange(g.tensor.size).reshape(g.shape) % g.tensor.rows
        if g.tensor.rows
        else np.abs(normal(7, *g.shape))
        for g in graph.inputs
    }


@pytest.mark.parametrize("op", MULTIPLY)
@pytest.mark.parametrize("name", ["mxfp8", "mx6", "nvfp4", "int8"])
def test_formats_through_every_op_that_multiplies(op, name):
    """Operands are rounded once each, along the reduction: exactly the float32 value of rounded operands where the
    test can round them itself (linear), else near it, and never equal to it."""
    inputs, text = MULTIPLY[op]
    graph, form = graph_of(inputs, text), hwsim.get_format(name)
    arrays, weights = given(graph), random_weights(graph, 5)
    seen = []

    def quantize(x, what):
        seen.append((what, x.shape[-1]))
        return x if what == "vector" else form.quantize(x)

    exact, rounded = result(graph, arrays, weights), result(graph, arrays, weights, quantize)
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 0 < error < 0.35
    assert {what for what, _ in seen} <= {"weights", "activations", "vector"}
    if op == "linear":
        again = form.quantize(arrays["x"]) @ form.quantize(weights["y.weight"]).T
        close(rounded, again)
        assert seen == [("activations", 64), ("weights", 64), ("vector", 8)]


def test_depthwise_convolution_is_work_of_the_vector_unit():
    graph = graph_of("x: [8, 20]", "name: y, op: conv, in: [x], out: 16, kernel: 9, depthwise: true")
    arrays, weights, form = given(graph), random_weights(graph, 5), hwsim.get_format("mxfp4")
    same = result(graph, arrays, weights, lambda x, what: x if what == "vector" else form.quantize(x))
    close(same, result(graph, arrays, weights))
    coarse = result(graph, arrays, weights, lambda x, what: np.round(x, 1) if what == "vector" else x)
    rounded = {"y.weight": np.round(weights["y.weight"], 1), "y.bias": weights["y.bias"]}
    close(coarse, np.round(result(graph, {"x": np.round(arrays["x"], 1)}, rounded), 1))


def test_conv_is_rounded_along_taps_and_channels():
    graph, form = graph_of(*MULTIPLY["conv"]), hwsim.get_format("mxfp4")
    arrays, weights = given(graph), random_weights(graph, 5)
    x, rows = arrays["x"], []
    for i, j in product(range(4), range(4)):
        rows.append([x[c, i + a, j + b] for a in range(3) for b in range(3) for c in range(32)])
    wanted = form.quantize(np.array(rows, np.float32)) @ form.quantize(weights["y.weight"]).T
    found = result(graph, arrays, weights, lambda x, what: x if what == "vector" else form.quantize(x))
    close(found, wanted.T.reshape(8, 4, 4))


def test_results_of_the_vector_unit_can_be_rounded():
    def quantize(x, what):
        return x.astype(ml_dtypes.bfloat16).astype(np.float32) if what == "vector" else x

    graph = graph_of("x: [64]", "name: y, op: activation, in: [x], function: gelu")
    x = normal(0, 64)
    wanted = result(graph, {"x": x}).astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(result(graph, {"x": x}, None, quantize), wanted)
