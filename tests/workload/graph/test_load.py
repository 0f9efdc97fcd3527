"""Graph files that are refused, each with every problem at its place; and what a file becomes."""

import json

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.errors import InputError
from hwsim.files.yaml import read
from hwsim.report.text import result_text
from hwsim.workload import StepOptions, graph_names, graph_schema, load_model, load_model_text
from hwsim.workload.load import graph_folder
from hwsim.workload.op import KINDS, WEIGHT_CLASSES


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_model_text(text, "net.yaml")
    return list(caught.value.problems)


def ops(*lines: str, inputs: str = "x: [3, 8, 8], v: [6, 7], i: {shape: [4], rows: 10}") -> str:
    return f"name: net\ninputs: {{{inputs}}}\nops:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


REFUSED = {
    "name: b, op: conv, in: [y], out: 4, kernel: 3": "4:30: ops.0.in.0: `y` is no tensor",
    "name: a, op: conv, in: [x], out: 4, kernel: 3, stride: -1": "4:61: ops.0.stride: `-1`: input should be greater",
    "name: a, op: slice, in: [v], start: 0, stop: 6, step: -2": "ops.0.step: `-2`: input should be greater",
    "name: a, op: pool, in: [x], function: max, kernel: 2, stride: -2": "ops.0.stride: `-2`: input should be greater",
    "name: a, op: conv, in: [x], out: 4, kernel: 9": "4:50: ops.0.kernel: spans 9 of 8 places; write a smaller one",
    "name: a, op: conv, in: [x], out: 4, kernel: [3, 3, 3]": "ops.0.kernel: has 3 numbers for 2 dimensions",
    "name: a, op: conv, in: [x], out: 4, kernel: 3, groups: 2": "ops.0.groups: 3 input channels are no multiple",
    "name: a, op: conv, in: [i], out: 4, kernel: 1": "ops.0.in: `i` holds indices, not values",
    "name: a, op: matmul, in: [v, v]": "ops.0.in: the inner sides 7 and 6 differ",
    "name: a, op: matmul, in: [v]": "ops.0.in: names 1 tensors; write 2",
    "name: a, op: elementwise, in: [x, v], function: add": "ops.0.in: shapes [3, 8, 8] and [6, 7] do not match",
    "name: a, op: embedding, in: [i], rows: 9, out: 4": "ops.0.rows: `i` counts 10 rows; write as many or more",
    "name: a, op: gather, in: [v, i]": "ops.0.in: `i` counts 10 rows of a table of 6",
    "name: a, op: embedding_bag, in: [i], rows: [10, 9], hot: 1, out: 4": "the tables take [2] indices",
    "name: a, op: reshape, in: [v], shape: [5, -1]": "ops.0.shape: has 40 elements, `v` 42; write as many",
    "name: a, op: reduce, in: [v], function: max, axes: [2]": "ops.0.axes: `2` is no axis of [6, 7]; write -2 to 1",
    "name: x, op: softmax, in: [v]": "ops.0.name: `x` is the name of another tensor",
    "name: input, op: softmax, in: [v]": "`input` is what enters a repeated body",
    "name: a, op: linear, in: [v], outs: 3": "unknown; did you mean out?",
    "name: a, op: linearr, in: [v], out: 3": "`linearr` is not known; write linear, matmul,",
    "name: a, op: linear, in: [v], out: many": "4:41: ops.0.out: `many`; write a whole number",
    "name: a, op: sort, in: [x], keep: 3": "name a tensor of shape [rows, width]",
    "name: a, op: knn, in: [v], neighbours: 7": "ops.0.neighbours: is more than the 6 points",
    "name: a, op: attention, in: [v, v, v], heads: 2": "ops.0.heads: `2` does not divide the widths 7 and 7",
    "name: a, op: reshape, in: [v], shape: [42]": "ops: move and compute nothing; add an op that does",
    "name: a, op: expand, in: [v], shape: [1000000000, 1000000, 6, 7]": "elements; write at most 1,000,000,000,000",
    "name: a, op: distribute, in: [v, v], sites: 3, mode: soft": "`v` is no soft assignment [6, 3]",
}


@pytest.mark.parametrize("line", REFUSED)
def test_refused(line):
    found = problems(ops(line))
    assert len(found) == 1
    assert found[0].startswith("net.yaml:")
    assert REFUSED[line] in found[0]


def test_a_cycle_is_named():
    text = ops(
        "name: a, op: elementwise, in: [c, v], function: add",
        "name: b, op: softmax, in: [a]",
        "name: c, op: softmax, in: [b]",
        "name: d, op: softmax, in: [d]",
        "name: e, op: softmax, in: [f]",
        "name: f, op: softmax, in: [v]",
    )
    found = problems(text)
    assert found == [
        "net.yaml:4:37: ops.0.in.0: a cycle: a -> b -> c -> a; no op may take what is made from its own result",
        "net.yaml:7:33: ops.3.in.0: a cycle: d -> d; no op may take what is made from its own result",
        "net.yaml:8:33: ops.4.in.0: `f` is made by a later op; list the ops in the order in which they run",
    ]


def test_every_problem_is_reported_once_and_none_that_follows_from_another():
    body = "name: r, op: repeat, in: [v], times: 3, ops: [{name: s, op: matmul, in: [input, input]}]"
    found = problems(ops("name: a, op: softmax, in: [nowhere]", "name: b, op: softmax, in: [a]", body))
    assert len(found) == 2
    assert "`nowhere` is no tensor" in found[0]
    assert "ops.2.ops.0.in: the inner sides 7 and 6 differ" in found[1]


def test_a_misspelt_key_hides_no_missing_tensor():
    inner = "name: r, op: repeat, in: [b], times: 2, ops: [{name: s, op: softmax, in: [inptu]}]"
    found = problems(ops("name: a, op: conv, in: [x], out: 4, kernl: 3", "name: b, op: softmax, in: [dww]", inner))
    assert [line.partition(": ")[2] for line in found] == [
        "ops.0.kernl: unknown; did you mean kernel?",
        "ops.1.in.0: `dww` is no tensor; " + found[1].partition("no tensor; ")[2],
        "ops.2.ops.0.in.0: `inptu` is no tensor; did you mean input?",
    ]


def test_a_misspelt_key_hides_no_shapes_that_do_not_match():
    """Of ops that are whole themselves; what takes the result of a broken op is not judged."""
    found = problems(
        ops(
            "name: a, op: conv, in: [x], out: 4, kernl: 3",
            "name: b, op: matmul, in: [v, v]",
            "name: c, op: matmul, in: [a, v]",
            "name: d, op: repeat, in: [v], times: 2, ops: [{name: e, op: sort, in: [x], keep: 3}]",
            "name: f, op: matmul, in: [broken, v]",
            inputs="x: [3, 8, 8], v: [6, 7], broken: [many]",
        )
    )
    assert [line.partition(": ")[2].partition(";")[0] for line in found] == [
        "inputs.broken.0: `many`",
        "ops.0.kernl: unknown",
        "ops.1.in: the inner sides 7 and 6 differ",
        "ops.3.ops.0.in: `x` has the shape [3, 8, 8]",
    ]


def test_a_name_with_other_letters_is_told_which_it_may_have():
    (found,) = problems(ops("name: a, op: softmax, in: [x]").replace("name: net", "name: Empfehlung-grün"))
    assert "`Empfehlung-grün`: write lower-case letters from a to z, digits, . _ -" in found
    assert "^" not in found and "name: resnet50" in found


@pytest.mark.parametrize(
    "text, message",
    [
        ("name: net\ninputs: {x: [3]}\nops: []\n", "ops: has 0 items; write at least 1"),
        ("name: net\ninputs: {}\nops:\n  - {name: a, op: softmax, in: [x]}\n", "inputs: has 0 items; write at least 1"),
        ("name: net\ninputs: {x: [0]}\nops:\n  - {name: a, op: softmax, in: [x]}\n", "inputs.x.0: `0`"),
        ("name: net\ninputs: {x: [3]}\nops:\n  - {name: a, op: softmax, in: [x]}\noutputs: [z]\n", "`z` is no tensor"),
        ("name: net\nsizes: {n: 3}\ninputs: {x: [m]}\nops:\n  - {name: a, op: softmax, in: [x]}\n", "inputs.x.0: `m`"),
    ],
)
def test_refused_files(text, message):
    found = problems(text)
    assert len(found) == 1
    assert message in found[0]


def test_one_node():
    graph = load_model_text(ops("name: a, op: linear, in: [v], out: 3"))
    (op,) = graph.ops(StepOptions(batch=5))
    assert (op.gemms[0].m, op.gemms[0].n, op.gemms[0].k) == (30, 3, 7)
    result = hwsim.run("tpu-v4i", graph, batch=5, weights="int8")
    assert result.macs == 5 * 6 * 3 * 7
    assert result.name == "batch 5, net"


def test_sizes_stand_for_numbers():
    text = "name: net\nsizes: {n: 6, k: 2}\ninputs: {x: [n, 3], n: [n]}\n"
    text += "ops:\n  - {name: a, op: knn, in: [x], neighbours: k}\n"
    assert load_model_text(text).nodes[0].made.shape == (6, 2)


def test_what_works_element_by_element_joins_its_maker():
    graph = load_model_text(
        ops(
            "name: a, op: linear, in: [v], out: 7, activation: relu",
            "name: b, op: linear, in: [a], out: 7",
            "name: c, op: elementwise, in: [b, a], function: add, activation: gelu",
            "name: d, op: softmax, in: [c]",
            "name: e, op: elementwise, in: [c, d], function: mul",
        )
    )
    found = graph.ops(StepOptions())
    assert [op.name for op in found] == ["a", "b", "d"]
    # `c` joins `b`, reads `a` once more, and stays apart from `e`, which joins the softmax
    assert (found[1].inputs, found[1].outputs) == (2 * 42, 42)
    assert found[1].vector == 42 * (1 + 1 + 5)
    assert (found[2].inputs, found[2].outputs) == (2 * 42, 42)
    # `a` is taken twice, so its tensor is written; its activation still joins
    assert found[0].vector == 42 * 2


@pytest.mark.parametrize("name", graph_names())
def test_shipped_files(name):
    path = graph_folder() / f"{name}.yaml"
    data = read(path).data
    jsonschema.validate(_sized(data), graph_schema())
    graph = load_model(name)
    assert graph.name == name == data["name"]
    again = load_model_text(yaml.safe_dump(graph.config()))
    assert again.nodes == graph.nodes
    json.dumps(graph.config())
    assert {op.kind for op in graph.ops(StepOptions())} <= {*KINDS}


def _sized(value, sizes=None):
    """The names of sizes replaced by their numbers, as the reader does before it checks the fields."""
    sizes = value.get("sizes", {}) if sizes is None else sizes
    if isinstance(value, dict):
        return {k: v if k in ("name", "in") else _sized(v, sizes) for k, v in value.items()}
    if isinstance(value, list):
        return [_sized(each, sizes) for each in value]
    return sizes.get(value, value)


@pytest.mark.parametrize("step", [{"chips": 2}, {"phase": "prefill"}, {"phase": "draft"}, {"new": 2}])
def test_a_graph_has_no_phases_and_one_chip(step):
    with pytest.raises(InputError, match="resnet50 is a graph"):
        load_model("resnet50").ops(StepOptions(**step))


def test_formats_by_class_and_layer():
    weights = {"convolution@0": "bf16", "head": "mxfp8", "default": "mxfp4"}
    result = hwsim.run("h100-sxm", "resnet50", batch=2, weights=weights)
    rest = 25_557_032 - 9408 - 53_120 - 2_049_000
    assert result.memory.weights == pytest.approx(
        2 * 9408 + 2 * 53_120 + 2_049_000 * 8.25 / 8 + rest * 4.25 / 8, abs=100
    )
    with pytest.raises(InputError, match="resnet50 has no experts; its classes: head, convolution"):
        hwsim.run("h100-sxm", "resnet50", weights={"experts": "mxfp4", "default": "bf16"})
    assert {"linear", "convolution"} <= {*WEIGHT_CLASSES}


@pytest.mark.parametrize("name", ["resnet50", "lfds-loop", "dlrm-v2", "dgcnn"])
@pytest.mark.parametrize("arch", ["tpu-v4i", "m0"])
def test_both_drivers_agree(name, arch):
    one, other = (hwsim.run(arch, name, batch=2, weights="int8", engine=engine) for engine in ("simpy", "walk"))
    assert one.cycles == other.cycles >= one.bound_cycles
    assert sum(row.cycles for row in one.by_op) == one.cycles
    assert sum(row.cycles for row in one.by_layer) == one.cycles


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="{}[]:,-0123456789 abcdefghijklmnopqrstuvwxyz\n", max_size=200))
def test_no_text_breaks_the_reader(text):
    try:
        load_model_text("name: net\ninputs: {x: [3]}\nops:\n" + text)
    except InputError as error:
        assert error.problems


def test_a_note_says_that_samples_are_not_moved():
    """One linear alone, by hand: 64 samples of 1,024 features in and out, and 2^20 weights, all of 2 bytes."""
    one = load_model_text(ops("name: a, op: linear, in: [v], out: 1024", inputs="v: [1024]"))
    for activations, moved in (("on_chip", 0), ("dram", 64 * 2 * 1024 * 2)):
        result = hwsim.run(
            "h200-sxm", one, batch=64, weights="bf16", overrides={"activations": activations, "cores": None}
        )
        assert result.bytes["activations"] == moved
        assert any("inputs and outputs of the network are not moved" in n for n in result.notes) == (moved == 0)
    words = hwsim.run("h200-sxm", "mamba2-130m", weights="bf16").notes
    assert not any("network" in note for note in words)


def test_a_note_says_that_steps_of_a_recurrent_op_wait_for_none():
    for steps, noted in ((1, False), (40, True)):
        graph = load_model_text(ops("name: a, op: lstm, in: [v], hidden: 8", inputs=f"v: [{steps}, 16]"))
        notes = hwsim.run("tpu-v4i", graph, weights="int8").notes
        assert any("lstm a: its 40 steps are computed together" in note for note in notes) == noted


def test_a_graph_that_moves_nothing_says_so():
    """One activation function on samples that stay on chip; with activations in DRAM it is 2 x 42 values of 2 bytes."""
    graph = load_model_text(ops("name: a, op: activation, in: [v], function: relu"))
    assert "nothing crosses the memory" in result_text(hwsim.run("tpu-v4i", graph, weights="bf16"))
    moved = result_text(hwsim.run("tpu-v4i", graph, weights="bf16", overrides={"activations": "dram"}))
    assert "activations 168 B; " in moved
