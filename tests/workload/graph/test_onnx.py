"""ONNX files: their values as graphs against the library's reference evaluator, their counts, and broken files."""

import re
import subprocess
import sys

import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.workload import load_model, load_model_text
from hwsim.workload.graph.onnx.reading import read_onnx
from hwsim.workload.graph.values import evaluate

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx.reference")
helper, FLOAT, INT64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def net(nodes, inputs, constants=None, outputs=("y",), opset=17, kinds=None):
    """A model; inputs: {name: shape}, constants: {name: array}."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, (kinds or {}).get(name, FLOAT), s) for name, s in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def op(kind, given, made="y", **attributes):
    return helper.make_node(kind, given.split(), made.split(), **attributes)


def saved(folder, model):
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def both(folder, model, arrays, sizes=None):
    """[(ours, the reference evaluator's)] per result; ours through the printed YAML, which has to read."""
    found = read_onnx(saved(folder, model), sizes)
    graph = load_model_text(found.text())
    assert graph.counts() == found.graph().counts()
    given = {name: arrays[was] for name, (was, _) in found.inputs.items()}
    mine = evaluate(graph, {g.name: given[g.name].reshape(g.shape) for g in graph.inputs}, found.weights())
    wanted = onnx.reference.ReferenceEvaluator(model).run(None, arrays)
    return [(mine[name].reshape(w.shape), w) for name, w in zip(found.outputs, wanted, strict=True)]


C, H = 6, 8
IMAGE = (1, C, 9, 7)
W = {"w": normal(1, 4, C, 3, 3), "b": normal(2, 4)}
LSTM = {"w": normal(1, 1, 32, 5), "r": normal(2, 1, 32, 8), "b": normal(3, 1, 64)}
BOTH = {"w": normal(1, 2, 32, 5), "r": normal(2, 2, 32, 8), "b": normal(3, 2, 64)}
GRU = {"w": normal(1, 1, 24, 5), "r": normal(2, 1, 24, 8), "b": normal(3, 1, 48)}
STATE = {"h": normal(4, 1, 1, 8), "c": normal(5, 1, 1, 8)}
INTS = {"a": np.array([1, 2]), "z": np.array([5, -1]), "s": np.array([2, 1]), "axes": np.array([2, 3])}
BACK = {"a": np.array([-1]), "z": np.array([-9]), "s": np.array([-1]), "axes": np.array([2])}
REPEATED = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}

CASES = {
    "conv": (op("Conv", "x w b", pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]), IMAGE, W),
    "conv_same": (op("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 2]), IMAGE, {"w": normal(1, 4, C, 2, 2)}),
    "conv_groups": (op("Conv", "x w", group=2), IMAGE, {"w": normal(1, 4, C // 2, 3, 3)}),
    "conv_depthwise": (op("Conv", "x w b", group=C), IMAGE, {"w": normal(1, C, 1, 3, 3), "b": normal(2, C)}),
    "conv_1d": (op("Conv", "x w", strides=[2]), (1, C, 9), {"w": normal(1, 4, C, 3)}),
    "conv_transpose": (
        op("ConvTranspose", "x w b", strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 0]),
        IMAGE,
        {"w": normal(1, C, 4, 3, 3), "b": normal(2, 4)},
    ),
    "max_pool": (op("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]), IMAGE, {}),
    "max_pool_ceil": (op("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), IMAGE, {}),
    "average_pool": (op("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), IMAGE, {}),
    "average_pool_counted": (
        op("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), IMAGE, {},
    ),
    "global_pool": (op("GlobalAveragePool", "x"), IMAGE, {}),
    "batch_norm": (
        op("BatchNormalization", "x g b m v", epsilon=1e-3),
        IMAGE,
        {"g": normal(1, C), "b": normal(2, C), "m": normal(3, C), "v": normal(4, C) ** 2},
    ),
    "layer_norm": (op("LayerNormalization", "x g b"), (1, 5, H), {"g": normal(1, H), "b": normal(2, H)}),
    "instance_norm": (op("InstanceNormalization", "x g b"), IMAGE, {"g": normal(1, C), "b": normal(2, C)}),
    "gemm": (op("Gemm", "x w b", alpha=0.5, beta=2.0), (3, H), {"w": normal(1, H, 4), "b": normal(2, 4)}),
    "gemm_turned": (op("Gemm", "x w b", transA=1, transB=1), (H, 3), {"w": normal(1, 4, H), "b": normal(2, 3, 4)}),
    "matmul": (op("MatMul", "x w"), (1, 2, 5, H), {"w": normal(1, H, 4)}),
    "matmul_from_left": (op("MatMul", "w x"), (2, H, 5), {"w": normal(1, 3, H)}),
    "matmul_vector": (op("MatMul", "x w"), (1, H), {"w": normal(1, H)}),
    "softmax": (op("Softmax", "x", axis=1), IMAGE, {}),
    "log_softmax": (op("LogSoftmax", "x"), (1, 3, H), {}),
    "hard_sigmoid": (op("HardSigmoid", "x"), IMAGE, {}),
    "prelu": (op("PRelu", "x s"), IMAGE, {"s": normal(1, C, 1, 1)}),
    "elu": (op("Elu", "x", alpha=0.7), IMAGE, {}),
    "clip": (op("Clip", "x low"), IMAGE, {"low": np.float32(-0.3)}),
    "number_first": (op("Sub", "one x"), IMAGE, {"one": np.float32(1)}),
    "per_channel": (op("Mul", "x s"), IMAGE, {"s": normal(1, 1, C, 1, 1)}),
    "grows": (op("Add", "x s"), (1, 5), {"s": normal(1, 4, 1)}),
    "where": (op("Where", "k x s"), IMAGE, {"k": normal(1, 9, 1) > 0, "s": np.float32(2)}),
    "reduce_l2": (op("ReduceL2", "x", axes=[2, -1], keepdims=0), IMAGE, {}),
    "reduce_all": (op("ReduceMean", "x", keepdims=0), IMAGE, {}),
    "reduce_first": (op("ReduceSum", "x axes", keepdims=0), IMAGE, {"axes": np.array([0, 2])}),
    "transpose": (op("Transpose", "x", perm=[0, 2, 3, 1]), IMAGE, {}),
    "transpose_first": (op("Transpose", "x", perm=[1, 0, 3, 2]), IMAGE, {}),
    "reshape": (op("Reshape", "x s"), IMAGE, {"s": np.array([0, 2, -1])}),
    "concat_first": (op("Concat", "x x k", axis=0), (1, 3), {"k": normal(1, 2, 3)}),
    "concat": (op("Concat", "k x", axis=1), IMAGE, {"k": normal(1, 1, 2, 9, 7)}),
    "slice": (op("Slice", "x a z axes s"), IMAGE, INTS),
    "slice_back": (op("Slice", "x a z axes s"), IMAGE, BACK),
    "gather_places": (op("Gather", "x i", axis=2), IMAGE, {"i": np.array([4, 5, 0, -1])}),
    "gather_one": (op("Gather", "x i", axis=1), IMAGE, {"i": np.array(2)}),
    "expand": (op("Expand", "x s"), (1, C, 1, 7), {"s": np.array([1, C, 4, 7])}),
    "tile": (op("Tile", "x n"), IMAGE, {"n": np.array([1, 1, 2, 1])}),
    "pad": (op("Pad", "x p", mode="reflect"), IMAGE, {"p": np.array([0, 0, 2, 1, 0, 0, 0, 3])}),
    "resize": (op("Resize", "x n k", **REPEATED), IMAGE, {"n": np.zeros(0, np.float32), "k": np.float32([1, 1, 2, 3])}),
    "depth_to_space": (op("DepthToSpace", "x", blocksize=2), (1, 8, 3, 2), {}),
    "depth_to_space_crd": (op("DepthToSpace", "x", blocksize=2, mode="CRD"), (1, 8, 3, 2), {}),
    "space_to_depth": (op("SpaceToDepth", "x", blocksize=2), (1, 3, 4, 6), {}),
}  # fmt: skip
CASES["lstm"] = (op("LSTM", "x w r b", "y", hidden_size=8), (4, 1, 5), LSTM)
CASES["lstm_reverse"] = (op("LSTM", "x w r", "y", hidden_size=8, direction="reverse"), (4, 1, 5), LSTM)
CASES["gru"] = (op("GRU", "x w r b", "y", hidden_size=8), (4, 1, 5), GRU)
CASES["gru_before_reset"] = (op("GRU", "x w r b", "y", hidden_size=8, linear_before_reset=1), (4, 1, 5), GRU)
FUNCTIONS = [
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Erf",
    "Abs",
    "Neg",
    "Floor",
    "Ceil",
    "Softplus",
    "HardSwish",
    "LeakyRelu",
]


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_reference_evaluator(tmp_path, name):
    node, shape, constants = CASES[name]
    used = {key: a for key, a in constants.items() if key in node.input}
    # the absolute value beside it makes work of ops that only move
    model = net([node, op("Abs", "x", "beside")], {"x": shape}, used, ("y", "beside"))
    (mine, wanted), _ = both(tmp_path, model, {"x": normal(9, *shape)})
    np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(tmp_path, name):
    ((mine, wanted),) = both(tmp_path, net([op(name, "x")], {"x": (1, 3, 5)}), {"x": normal(9, 1, 3, 5)})
    np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=1e-6)


def test_grouped_transposed_convolution_is_one_per_group(tmp_path):
    """The reference evaluator cannot do groups: each group on its own."""
    w, x = normal(1, C, 2, 2, 2), normal(9, *IMAGE)
    found = read_onnx(saved(tmp_path, net([op("ConvTranspose", "x w", group=2)], {"x": IMAGE}, {"w": w})))
    mine = evaluate(found.graph(), {"x": x[0]}, found.weights())[found.outputs[0]]
    for i in range(2):
        part = net([op("ConvTranspose", "x w")], {"x": (1, 3, 9, 7)}, {"w": w[3 * i : 3 * i + 3]})
        (wanted,) = onnx.reference.ReferenceEvaluator(part).run(None, {"x": x[:, 3 * i : 3 * i + 3]})
        np.testing.assert_allclose(mine[2 * i : 2 * i + 2], wanted[0], atol=1e-5)


def test_local_response_normalization(tmp_path):
    """By the operator's definition; the reference evaluator sums over as many channels as there are samples."""
    found = read_onnx(saved(tmp_path, net([op("LRN", "x", size=4, alpha=0.3, beta=0.6, bias=1.5)], {"x": IMAGE})))
    x = normal(9, *IMAGE)[0]
    mine = evaluate(found.graph(), {"x": x}, found.weights())[found.outputs[0]]
    for c in range(C):
        squares = (x[max(0, c - 1) : c + 3] ** 2).sum(0)  # floor(3 / 2) before, ceil(3 / 2) after
        np.testing.assert_allclose(mine[c], x[c] / (1.5 + 0.3 / 4 * squares) ** 0.6, rtol=1e-5)


def test_an_lstm_with_states_gives_all_three_results(tmp_path):
    node = helper.make_node("LSTM", ["x", "w", "r", "b", "", "h", "c"], ["y", "last", "cell"], hidden_size=8)
    model = net([node], {"x": (4, 1, 5), "h": (1, 1, 8), "c": (1, 1, 8)}, LSTM, ("y", "last", "cell"))
    for mine, wanted in both(tmp_path, model, {"x": normal(9, 4, 1, 5)} | STATE):
        np.testing.assert_allclose(mine, wanted, atol=1e-5)


def test_an_lstm_in_both_directions_is_two_lstms(tmp_path):
    """The reference evaluator runs one direction only; the second is the reversed one, fed on its own."""
    node = op("LSTM", "x w r b", "y last", hidden_size=8, direction="bidirectional")
    path = saved(tmp_path, net([node], {"x": (4, 1, 5)}, BOTH, ("y", "last")))
    found = read_onnx(path)
    x = normal(9, 4, 1, 5)
    graph = found.graph()
    known = evaluate(graph, {"x": x}, found.weights())
    whole = known[found.outputs[0]].reshape(4, 2, 8)
    for i, turn in enumerate((1, -1)):
        one = {name: a[i : i + 1] for name, a in BOTH.items()}
        alone = net([op("LSTM", "x w r b", "y", hidden_size=8)], {"x": (4, 1, 5)}, one)
        (wanted,) = onnx.reference.ReferenceEvaluator(alone).run(None, {"x": x[::turn]})
        np.testing.assert_allclose(whole[:, i], wanted[::turn].reshape(4, 8), atol=1e-5)
        np.testing.assert_allclose(known[found.outputs[1]].reshape(2, 8)[i], wanted[-1].reshape(8), atol=1e-5)


def test_an_lstm_counts_what_its_matrices_multiply(tmp_path):
    found = read_onnx(saved(tmp_path, net([CASES["lstm"][0]], {"x": (4, 1, 5)}, LSTM))).graph()
    assert found.counts().macs == 4 * (32 * 5 + 32 * 8) and found.total == 32 * 5 + 32 * 8 + 64


# -- shapes and branches ---------------------------------------------------------------------------


def shape_chain():
    """x [n, 6, s] becomes [n, s, 6] by a Shape, Gather, Concat, Reshape chain, then a linear layer."""
    nodes = [
        op("Shape", "x", "shape"),
        op("Gather", "shape two", "s"),
        op("Unsqueeze", "s zero", "s1"),
        op("Concat", "first s1 six", "to", axis=0),
        op("Transpose", "x", "t", perm=[0, 2, 1]),
        op("Reshape", "t to", "r"),
        op("MatMul", "r w"),
    ]
    constants = {"two": np.array(2), "zero": np.array([0]), "first": np.array([0]), "six": np.array([6])}
    return net(nodes, {"x": ("n", 6, "s")}, constants | {"w": normal(1, 6, 4)})


def test_shapes_computed_from_shapes_are_folded(tmp_path):
    ((mine, wanted),) = both(tmp_path, shape_chain(), {"x": normal(9, 1, 6, 5)}, {"s": 5})
    np.testing.assert_allclose(mine, wanted, atol=1e-5)
    ops = read_onnx(saved(tmp_path, shape_chain()), {"s": 5}).data["ops"]
    assert [each["op"] for each in ops] == ["transpose", "linear"]


def test_axes_without_a_size_are_named_and_take_one(tmp_path):
    path = saved(tmp_path, shape_chain())
    with pytest.raises(InputError, match=r"input `x`: axis 2 has no size; write --size s=N"):
        read_onnx(path)
    assert read_onnx(path, {"s": 5}).graph().outputs == read_onnx(path, {"x.2": 5}).graph().outputs
    assert load_model(path, [("sizes.s", "7")]).counts().macs == 7 * 6 * 4
    with pytest.raises(InputError, match="--size t: no axis of .* has this name"):
        read_onnx(path, {"s": 5, "t": 1})
    with pytest.raises(InputError, match="is not a whole number"):
        load_model(path, [("sizes.s", "many")])
    with pytest.raises(InputError, match=r"write sizes\.NAME"):
        load_model(path, [("name", "other")])


def branching(condition):
    then = helper.make_graph([op("Relu", "x", "p")], "then", [], [helper.make_tensor_value_info("p", FLOAT, None)])
    other = helper.make_graph([op("MatMul", "x w", "q")], "else", [], [helper.make_tensor_value_info("q", FLOAT, None)])
    node = helper.make_node("If", ["c"], ["r"], then_branch=then, else_branch=other)
    return [condition, node, op("Mul", "r r")]


@pytest.mark.parametrize("rate", (8000, 16000))
def test_a_branch_that_a_whole_number_decides_takes_its_place(tmp_path, rate):
    model = net(
        branching(op("Equal", "sr k", "c")),
        {"x": (1, 4), "sr": ()},
        {"w": normal(1, 4, 4), "k": np.array(16000)},
        kinds={"sr": INT64},
    )
    ((mine, wanted),) = both(tmp_path, model, {"x": normal(9, 1, 4), "sr": np.array(rate)}, {"sr": rate})
    np.testing.assert_allclose(mine, wanted, atol=1e-5)
    (note,) = read_onnx(tmp_path / "net.onnx", {"sr": rate}).graph().notes
    assert ("then" if rate == 16000 else "else") in note
    with pytest.raises(InputError, match=r"condition is computed from the inputs; .* --size NAME=N"):
        read_onnx(tmp_path / "net.onnx")


def test_rows_of_a_constant_table_are_an_embedding(tmp_path):
    model = net([op("Gather", "t i")], {"i": (1, 5)}, {"t": normal(1, 30, 8)}, kinds={"i": INT64})
    found = read_onnx(saved(tmp_path, model))
    assert found.data["inputs"] == {"i": {"shape": [5], "rows": 30}}
    ((mine, wanted),) = both(tmp_path, model, {"i": np.array([[3, 0, 29, 7, 7]])})
    np.testing.assert_array_equal(mine, wanted)


def test_a_chain_of_many_kinds(tmp_path):
    """A small network whose tensors lose and gain axes on the way, with attention in it."""
    nodes = [
        op("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        op("HardSigmoid", "c", "a", alpha=1 / 6),
        op("Reshape", "a flat", "f"),
        op("Transpose", "f", "t", perm=[0, 2, 1]),
        op("MatMul", "t q", "queries"),
        op("MatMul", "queries f", "scores"),
        op("Softmax", "scores", "p"),
        op("MatMul", "p t", "mixed"),
        op("Split", "mixed", "one two", axis=2),
        op("Add", "one two", "sum"),
        op("ReduceMax", "sum", axes=[1], keepdims=0),
    ]
    constants = W | {"flat": np.array([1, 4, -1]), "q": normal(3, 4, 4)}
    ((mine, wanted),) = both(tmp_path, net(nodes, {"x": IMAGE}, constants), {"x": normal(9, *IMAGE)})
    np.testing.assert_allclose(mine, wanted, atol=1e-5)


# -- counts of published networks ------------------------------------------------------------------

PUBLISHED = {
    "resnet50": (4_089_184_256, 25_557_032),  # torchvision: 25,557,032 parameters, 4.09 GFLOPS as multiply-adds
    "vgg19": (19_632_062_464, 143_667_240),  # torchvision: 143,667,240 and 19.63
    "squeezenet": (349_151_936, 1_235_496),  # torchvision, SqueezeNet 1.1: 1,235,496 and 0.35
    "bvlc_alexnet": (None, 60_965_224),  # Krizhevsky et al. with two groups: 60,965,224
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_of_published_networks(name):
    """The light models in the `onnx` package: whole networks whose weights are filled by ConstantOfShape."""
    folder = onnx.__path__[0] + "/backend/test/data/light"
    macs, weights = PUBLISHED[name]
    graph = read_onnx(f"{folder}/light_{name}.onnx").graph()
    assert graph.total == weights and macs in (None, graph.counts().macs)
    assert name != "resnet50" or graph.total == load_model("resnet50").total


# -- broken files ----------------------------------------------------------------------------------


def test_unknown_operators_are_listed_at_once(tmp_path):
    nodes = [
        helper.make_node("Einsum", ["x", "x"], ["a"], name="pairs", equation="ij,ij->ij"),
        op("Relu", "a", "b"),
        helper.make_node("Fancy", ["b"], ["c"], domain="com.example"),
        *(op("Det", "x", f"d{i}") for i in range(20)),
        op("Add", "c b"),
    ]
    with pytest.raises(InputError) as error:
        read_onnx(saved(tmp_path, net(nodes, {"x": (3, 3)}, outputs=["y", *(f"d{i}" for i in range(20))])))
    lines = error.value.problems
    assert re.search(r"net\.onnx: node 0 `pairs` \(Einsum\): the operator Einsum is not supported", lines[0])
    assert "node 2 (Fancy): the operator com.example.Fancy" in lines[1]
    assert sum("Det is not supported" in line for line in lines) == 8 and "12 more nodes Det" in lines[-1]


def broken(folder, raw):
    path = folder / "net.onnx"
    path.write_bytes(raw)
    with pytest.raises(InputError) as error:
        read_onnx(path)
    return "\n".join(error.value.problems)


def test_broken_files_are_named(tmp_path):
    whole = net([op("Conv", "x w b")], {"x": IMAGE}, W).SerializeToString()
    assert "not a whole ONNX file" in broken(tmp_path, whole[: len(whole) // 2])
    assert "not a whole ONNX file" in broken(tmp_path, b"\x89PNG" * 1000)
    assert "holds no nodes" in broken(tmp_path, b"")
    assert "opset 6; hwsim reads 7 to" in broken(
        tmp_path, net([op("Relu", "x")], {"x": (1,)}, opset=6).SerializeToString()
    )
    missing = net([op("Add", "x z")], {"x": (1, 2)}).SerializeToString()
    assert "takes `z`, which no node before it makes" in broken(tmp_path, missing)
    misfit = net([op("MatMul", "x w")], {"x": (1, 5)}, {"w": normal(1, 4, 4)}).SerializeToString()
    assert "(MatMul): its shapes do not match" in broken(tmp_path, misfit)
    cyclic = net([op("Relu", "b", "a"), op("Relu", "a", "b")], {"x": (1, 2)}, outputs=["b"]).SerializeToString()
    assert "takes `b`, which no node before it makes" in broken(tmp_path, cyclic)
    misspelt = net([op("Relu", "xyzzy")], {"xyzzy": (1, 2)}).SerializeToString().replace(b"xyzzy", b"xy\xffzy")
    assert "names that are not UTF-8 text" in broken(tmp_path, misspelt)
    moves = net([op("Reshape", "x s")], {"x": (1, 6)}, {"s": np.array([1, 2, 3])}).SerializeToString()
    assert "its nodes move data and compute nothing" in broken(tmp_path, moves)
    twice = net([op("Relu", "x"), op("Abs", "x")], {"x": (1, 2)}).SerializeToString()
    assert "node 1 (Abs): makes `y`, which is there already" in broken(tmp_path, twice)
    again = net([op("Relu", "x", "x")], {"x": (1, 2)}, outputs=["x"]).SerializeToString()
    assert "makes `x`, which is there already" in broken(tmp_path, again)
    batch = net([op("Conv", "x w")], {"x": (2, C, 9, 7)}, W).SerializeToString()
    assert "its first axis is 2; make it 1 with --size" in broken(tmp_path, batch)
    huge = saved(
        tmp_path, net([op("ConstantOfShape", "n", "k"), op("Mul", "k x")], {"x": (1,)}, {"n": np.array([10**9])})
    )
    with pytest.raises(InputError, match="1,000,000,000 elements; at most"):
        read_onnx(huge).weights()
    huge = net([op("ConstantOfShape", "n", "k"), op("Mul", "k x")], {"x": (1,)}, {"n": np.array([10**10, 10**4])})
    with pytest.raises(InputError, match="100,000,000,000,000 elements; write at most"):
        read_onnx(saved(tmp_path, huge)).graph()
    with pytest.raises(InputError, match="cannot be read"):
        read_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("index, axis", [(7, 3), (-8, 3), (9, 2), (1, 0)])
def test_an_index_beyond_its_axis(tmp_path, index, axis):
    """Of 1 x 6 x 9 x 7; a last index that is there passes, and one more is an error, at both ends."""
    for i, error in ((index, True), (index - 1 if index > 0 else index + 1, False)):
        node = op("Gather", "x i", "z", axis=axis)
        model = net([node, op("Relu", "z")], {"x": IMAGE}, {"i": np.array([i])})
        if error:
            said = f"(Gather): index {i} is beyond the {IMAGE[axis]} places of axis {axis}"
            assert said in broken(tmp_path, model.SerializeToString())
        else:
            assert read_onnx(saved(tmp_path, model)).graph()


def test_a_slice_beyond_the_batch_leaves_nothing(tmp_path):
    ends = {"a": np.array([1]), "z": np.array([2]), "axes": np.array([0])}
    model = net([op("Slice", "x a z axes", "q"), op("Relu", "q")], {"x": IMAGE}, ends)
    assert "(Slice): leaves nothing" in broken(tmp_path, model.SerializeToString())


def test_weights_in_another_file_matter_only_where_they_are_read(tmp_path):
    model = net([op("Conv", "x w b")], {"x": IMAGE}, W)
    plain = read_onnx(saved(tmp_path, model)).graph()
    onnx.save_model(model, tmp_path / "far.onnx", save_as_external_data=True, location="far.bin", size_threshold=0)
    found = read_onnx(tmp_path / "far.onnx")
    assert found.graph().counts() == plain.counts()
    with pytest.raises(InputError, match="`w` is stored in another file; save the model as one file"):
        found.weights()


def test_a_file_of_100_mb(tmp_path):
    model = net([op("MatMul", "x w")], {"x": (1, 5000)}, {"w": np.zeros((5000, 5000), np.float32)})
    path = saved(tmp_path, model)
    assert path.stat().st_size > 100e6
    assert read_onnx(path).graph().total == 25_000_000


# -- commands --------------------------------------------------------------------------------------


def command(*words):
    return subprocess.run([sys.executable, "-m", "hwsim", *map(str, words)], capture_output=True, text=True)


def test_a_file_runs_as_its_yaml_does(tmp_path):
    path, out = saved(tmp_path, shape_chain()), tmp_path / "net.yaml"
    assert command("import", path, "--size", "s=5", "-o", out).returncode == 0
    direct, written = hwsim.run("tpu-v4i", load_model(path, [("sizes.s", "5")])), hwsim.run("tpu-v4i", str(out))
    assert direct.cycles == written.cycles and direct.macs == written.macs == 5 * 6 * 4
    printed = command("run", "tpu-v4i", "--model", path, "--size", "s=5", "--by", "op")
    assert printed.returncode == 0 and "linear" in printed.stdout
    wrong = command("run", "tpu-v4i", "--model", path, "--size", "s", "--weights", "nonsense")
    assert wrong.returncode == 2 and "write NAME=N" in wrong.stderr and "nonsense" in wrong.stderr


def test_sizes_of_a_graph_file_too(tmp_path):
    text = (
        "name: n\nsizes: {n: 4}\ninputs: {x: [n, 8]}\nops:\n  - {name: y, op: linear, in: [x], out: 8, bias: false}\n"
    )
    (tmp_path / "n.yaml").write_text(text)
    printed = command("run", "tpu-v4i", "--model", tmp_path / "n.yaml", "--size", "n=16", "--json")
    assert f'"macs": {16 * 8 * 8}' in printed.stdout


def test_a_csv_becomes_a_list_of_gemms(tmp_path):
    (tmp_path / "two.csv").write_text("layer,M,N,K\na,4,5,6\nb,7,8,9\n")
    out = tmp_path / "two.yaml"
    assert command("import", tmp_path / "two.csv", "-o", out).returncode == 0
    assert hwsim.run("tpu-v4i", str(out)).macs == 4 * 5 * 6 + 7 * 8 * 9
    assert "ends neither in .onnx nor in .csv" in command("import", tmp_path / "two.txt").stderr
