"""Training steps of graphs: three passes of every GEMM, the way of gradients, what is kept; against sums by hand."""

from __future__ import annotations

import pytest

from hwsim.errors import InputError
from hwsim.workload import load_model, load_model_text
from hwsim.workload.graph.graph import Graph
from hwsim.workload.training.graphs import check_graph, graph_blocks, graph_flops, layer_count
from hwsim.workload.training.options import Degrees, TrainStep
from hwsim.workload.training.sites import Linear
from hwsim.workload.training.split import EMBEDDING, HEAD

TRAINED = (
    "bert-base", "dgcnn", "diffpool-dd", "dlrm-v1", "dlrm-v2", "lfds-graph", "lfds-sequence", "mobilenet-v2",
    "pointnet2", "resnet50", "sortpool-proteins", "vit-b16", "whisper-large-v3-encoder",
)  # fmt: skip


def graph(text: str) -> Graph:
    found = load_model_text(f"name: net\ndescription: x\n{text}", "net")
    assert isinstance(found, Graph)
    return found


def sites(net: Graph | str, batch: int = 1) -> list:
    one = load_model(net) if isinstance(net, str) else net
    return [s for b in graph_blocks(one, TrainStep(batch, 1, batch)).values() for s in b.sites]


def linears(net: Graph | str, batch: int = 1) -> dict[str, Linear]:
    return {s.name: s for s in sites(net, batch) if isinstance(s, Linear)}


def passes(net: Graph | str, batch: int = 1) -> tuple[int, int]:
    """(forward, all) multiply-adds on the dot array and of depthwise convolutions."""
    forward = every = 0
    for site in sites(net, batch):
        ops = [site.fprop, site.dgrad, site.wgrad] if isinstance(site, Linear) else [site.forward, site.backward]
        each = [op.dot_macs + op.vector_macs for op in ops if op is not None]
        forward, every = forward + each[0], every + sum(each)
    return forward, every


# -- multiply-adds ---------------------------------------------------------------------------------------


def trained_above(net: Graph) -> set[str]:
    """Names of what weights or parameters have made, by a walk of its own: indices hand nothing on."""
    found = {given.name for given in net.parameters}
    for node in net.nodes:
        if not node.made.rows and (node.weights or any(given.name in found for given in node.given)):
            found.add(node.name)
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_three_passes_of_every_gemm(name):
    """fprop, dgrad and wgrad multiply equally often; what takes only the network's inputs has no dgrad."""
    net, found = load_model(name), linears(name, 4)
    above = trained_above(net)
    takes = {node.name: {given.name for given in node.given} for node in net.nodes}
    assert found
    for one in found.values():
        assert one.fprop.dot_macs == one.wgrad.dot_macs > 0
        assert (one.dgrad is not None) == bool(takes[one.name] & above)
        assert one.dgrad is None or one.dgrad.dot_macs == one.fprop.dot_macs


@pytest.mark.parametrize(
    "name,forward,first",
    [
        # 13-512-256-128; three crosses of 2 x 3456 x 512; 3456-1024-1024-512-256-1 (facebookresearch/dlrm)
        ("dlrm-v2", 170_496 + 3 * 2 * 3456 * 512 + 5_243_136, 13 * 512),
        # 27 x 26 / 2 products of 128; 479-1024-1024-512-256-1
        ("dlrm-v1", 170_496 + 27 * 26 // 2 * 128 + 2_194_688, 13 * 512),
        # 4.09 G in all (torchvision); the stem: 112 x 112 places, 64 channels, 7 x 7 x 3 taps
        ("resnet50", 4_089_184_256, 112 * 112 * 64 * 7 * 7 * 3),
    ],
)
def test_multiply_adds_of_a_step(name, forward, first):
    """Three times the forward pass in all, less the gradient of the network's own inputs, which nobody needs."""
    assert passes(name) == (forward, 3 * forward - first)
    assert graph_flops(load_model(name)) == 6 * forward


def test_batch_multiplies():
    assert passes("resnet50", 8) == tuple(8 * n for n in passes("resnet50"))


def test_a_convolution_by_hand():
    """[8, 10, 10] -> 16 channels, 3 x 3, stride 2, pad 1: 25 places. dgrad's rows are places, wgrad's are taps."""
    net = graph(
        "inputs: {image: [8, 10, 10]}\nops:\n"
        "  - {name: one, op: conv, in: [image], out: 8, kernel: 1, bias: false}\n"
        "  - {name: two, op: conv, in: [one], out: 16, kernel: 3, stride: 2, pad: 1, bias: false}\n"
    )
    two = linears(net, 2)["two"]
    shapes = [(g.m, g.n, g.k) for op in (two.fprop, two.dgrad, two.wgrad) for g in op.gemms]
    assert shapes == [(50, 16, 72), (50, 72, 16), (72, 16, 50)]
    assert (two.dgrad.inputs, two.dgrad.outputs) == (2 * 16 * 25, 2 * 8 * 100)
    assert (two.wgrad.inputs, two.wgrad.outputs) == (2 * 8 * 100, 16 * 72)
    assert two.wgrad.weight_elements == 2 * 16 * 25 and two.turned  # dY on the right


def test_products_of_two_tensors():
    """dA = dY B^T and dB = A^T dY; where one of the two is an input of the network, only the other's."""
    text = (
        "inputs: {x: [6, 4], y: [4, 10]}\nops:\n"
        "  - {name: a, op: linear, in: [x], out: 4, bias: false}\n"
        "  - {name: both, op: matmul, in: [a, a], transpose_b: true}\n"
        "  - {name: one, op: matmul, in: [a, y]}\n"
    )
    backs = {s.forward.name: s.backward for s in sites(graph(text), 3) if not isinstance(s, Linear)}
    assert backs["both"].macs == 2 * 3 * 6 * 6 * 4
    assert backs["one"].macs == 3 * 6 * 10 * 4
    assert backs["one"].outputs == 3 * 24
    shapes = {name: [(g.m, g.n, g.k, g.count) for g in back.products] for name, back in backs.items() if back}
    assert shapes["both"] == [(6, 4, 6, 3), (4, 6, 6, 3)]
    assert shapes["one"] == [(6, 4, 10, 3)]


# -- where gradients go ----------------------------------------------------------------------------------


def test_choices_have_no_gradient():
    """DGCNN: the search of neighbours has no backward op; its features get gradients from the two ops that use them."""
    found = {s.forward.name: s for s in sites("dgcnn", 2) if not isinstance(s, Linear)}
    assert found["near1"].backward is None and found["near2"].backward is None
    x1 = found["x1"].backward  # read: the gradients of pairs2 and of both, and which neighbour was the largest
    assert x1.inputs == 2 * 1024 * 64 * (1 + 1 + 1)
    pairs2 = found["pairs2"].backward
    assert pairs2.irregular.adds and pairs2.irregular.rows == 2 * 1024 * 20
    assert found["pairs1"].backward is None  # of points, which are given


def test_no_loss_of_indices():
    """The best four of a layer's results are an output without gradient; the loss is of the results alone."""
    text = (
        "inputs: {x: [16]}\nops:\n"
        "  - {name: a, op: linear, in: [x], out: 32}\n"
        "  - {name: b, op: topk, in: [a], keep: 4}\n"
        "outputs: [a, b]\n"
    )
    found = sites(graph(text), 3)
    assert [s.forward.inputs for s in found if not isinstance(s, Linear) and s.part == "loss"] == [3 * 32]
    assert next(s for s in found if isinstance(s, Linear)).wgrad.vector == 0


def test_a_recurrent_layer():
    """Both GEMMs of all steps have three passes; gates are one tensor. A transposed convolution has three, too."""
    text = (
        "inputs: {x: [10, 16]}\nops:\n"
        "  - {name: up, op: linear, in: [x], out: 24}\n"
        "  - {name: a, op: lstm, in: [up], hidden: 32}\n"
        "  - {name: h, op: slice, in: [a], stop: 10}\n"
        "  - {name: t, op: conv, in: [h], out: 8, kernel: 4, stride: 2, transposed: true, channels: last}\n"
    )
    found = linears(graph(text), 2)
    a, t = found["a"], found["t"]
    macs = 2 * 10 * 4 * 32 * (24 + 32)
    assert [op.dot_macs for op in (a.fprop, a.dgrad, a.wgrad)] == [macs] * 3
    assert a.fprop.outputs == 2 * 10 * 4 * 32 and a.matrices == 4 * 32 * (24 + 32)
    assert [op.dot_macs for op in (t.fprop, t.dgrad, t.wgrad)] == [2 * 10 * 32 * 4 * 8] * 3


def test_a_residual_sums_gradients():
    text = (
        "inputs: {x: [100]}\nops:\n"
        "  - {name: a, op: linear, in: [x], out: 50, bias: false}\n"
        "  - {name: b, op: linear, in: [a], out: 50, bias: false}\n"
        "  - {name: c, op: elementwise, in: [a, b], function: add}\n"
    )
    found = linears(graph(text), 8)
    assert found["a"].wgrad.vector == 8 * 50 and found["b"].wgrad.vector == 0


def test_batch_norm_reads_its_tensor_twice():
    """Its statistics are those of the batch: a pass ahead, forward and backward."""
    text = (
        "inputs: {image: [4, 6, 6]}\nops:\n"
        "  - {name: a, op: conv, in: [image], out: 8, kernel: 3, pad: 1, norm: batch}\n"
    )
    norm = next(s for s in sites(graph(text), 2) if s.part == "norm")
    n = 2 * 8 * 36
    assert (norm.forward.inputs, norm.forward.outputs) == (2 * n, n)
    assert (norm.backward.inputs, norm.backward.outputs) == (4 * n, n)


def test_every_weight_is_held_once():
    for name in TRAINED:
        net = load_model(name)
        found = graph_blocks(net, TrainStep(1, 1, 1))
        rows = sum(sum(bag.rows) * bag.width for b in found.values() for bag in b.bags)
        assert sum(b.dense for b in found.values()) + rows == net.total
        assert set(found) == {EMBEDDING, HEAD, *range(layer_count(net))}


def test_kept_activations_by_hand():
    """x, and the result of relu for both its gradient and the next wgrad; the logits, where the loss leaves theirs."""
    net = graph(
        "inputs: {x: [100]}\nops:\n"
        "  - {name: a, op: linear, in: [x], out: 200, activation: relu}\n"
        "  - {name: b, op: linear, in: [a], out: 10}\n"
    )
    kept = [(s.elements, s.stored) for site in sites(net, 4) for s in site.saved]
    assert sorted(kept) == sorted([(400, "input"), (800, "wide"), (800, "copy"), (40, "wide")])


def test_tables_are_exchanged():
    """Pooled vectors of 26 tables forward and their gradients backward; nothing on one chip."""
    net = load_model("dlrm-v2")
    links = [c for b in graph_blocks(net, TrainStep(64, 1, 8, Degrees(dp=8, ep=8))).values() for c in b.collectives]
    assert [(c.kind, c.group, c.elements, c.forward) for c in links] == [
        ("all_to_all", "ep", 8 * 26 * 128, True),
        ("all_to_all", "ep", 8 * 26 * 128, False),
    ]
    assert not [c for b in graph_blocks(net, TrainStep(8, 1, 8)).values() for c in b.collectives]


# -- bad input -------------------------------------------------------------------------------------------


def test_all_that_is_wrong_at_once():
    step = TrainStep(33, 1, 32, Degrees(dp=2, tp=2, pp=2, ep=2), mtp=True)
    with pytest.raises(InputError) as error:
        check_graph(load_model("lfds-loop"), step)
    text = str(error.value)
    for words in (
        "batch: 33 samples do not divide",
        "parallel: tp: lfds-loop is a graph",
        "parallel: pp: lfds-loop is a graph",
        "ep: lfds-loop has no tables to divide; leave it out",
        "no multi-token-prediction block",
        "no gradient reaches the weights of site: a choice of indices has none; train a soft assignment",
    ):
        assert words in text
    assert "context" not in text


def test_tables_are_divided_over_all_chips():
    with pytest.raises(InputError, match="dlrm-v2 has tables, which are divided over the chips of dp 8; write ep=8"):
        check_graph(load_model("dlrm-v2"), TrainStep(64, 1, 8, Degrees(dp=8, ep=4)))
