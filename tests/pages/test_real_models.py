"""The real ONNX models: FP32 values equal ONNX Runtime's, tasks score what they say, rounding is where it belongs."""

import importlib.util

import ml_dtypes
import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.names import NAMES
from hwsim.pages import accuracy, real_models, text_models
from hwsim.pages import onnx_models as models
from hwsim.pages.direct_cast import Cast, Running
from hwsim.workload import load_model_text
from hwsim.workload.graph.values import evaluate, random_weights

HERE = all(importlib.util.find_spec(package) for package, *_ in models.FILES.values())
needs_models = pytest.mark.skipif(not HERE, reason="make accuracy installs the models")


@needs_models
@pytest.mark.parametrize("name", models.FILES)
def test_fp32_values_are_those_of_onnx_runtime(name):
    runtime = pytest.importorskip("onnxruntime")
    found, draw = models.imported(name), np.random.default_rng(1)
    graph = found.graph()
    mine, theirs = {}, {}
    for given in graph.inputs:
        was, shape = found.inputs[given.name]
        x = draw.integers(257, size=shape) if was == "bytes" else draw.standard_normal(shape)
        mine[given.name], theirs[was] = x.reshape(given.shape).astype(np.float32), x.astype(np.float32)
    session = runtime.InferenceSession(models.model_path(name))
    for each in session.get_inputs():
        if each.name == "sr":
            theirs["sr"] = np.array(16000)
        elif each.type == "tensor(int32)":
            theirs[each.name] = theirs[each.name].astype(np.int32)
    known = evaluate(graph, mine, found.weights())
    for tensor, wanted in zip(found.outputs, session.run(None, theirs), strict=True):
        np.testing.assert_allclose(known[tensor].reshape(wanted.shape), wanted, atol=1e-4)


@needs_models
def test_silero_keeps_the_branch_of_its_rate():
    assert any("then branch" in note for note in models.imported("silero-vad").notes)


@needs_models
def test_speech_in_fp32_is_found_and_in_mx9_too():
    task = models.speech_task()
    exact, rounded = task.score(Cast("fp32")), task.score(Cast("mx9"))
    assert exact > 90 and abs(exact - rounded) <= 0.5


@needs_models
def test_the_imported_models_run_on_two_machines():
    table = real_models.simulated()
    assert len(table.splitlines()) == 2 + len(models.FILES) and "MIT" in table


def test_texts_of_classes_and_their_distance():
    assert text_models.spelled(np.array([0, 1, 1, 0, 1, 2, 2]), ["", "a", "b"]) == "aab"
    assert text_models.distance("kitten", "sitting") == 3 and text_models.distance("", "abc") == 3
    assert text_models.distance("same", "same") == 0


def test_files_are_of_many_types_and_the_same_each_time():
    first, again = models.files(), models.files()
    assert first == again and len({kind for kind, _ in first}) == 14
    x = models.features(b"  ab" + b" " * 5000)
    assert x.shape == (2048,) and list(x[:3]) == [97, 98, 32] and (x[1024:] == 256).all()


def test_rounding_is_where_the_page_says_it_is():
    """A linear layer and a norm: matrices and activations in the format, biases, gains and results in BF16."""
    graph = load_model_text(
        "name: n\ninputs: {x: [5, 64]}\nops:\n  - {name: y, op: linear, in: [x], out: 32}\n"
        "  - {name: z, op: norm, in: [y], kind: batch}\n"
    )
    draw = np.random.default_rng(2)
    weights = {name: draw.standard_normal(w.shape).astype(np.float32) for name, w in random_weights(graph, 1).items()}
    x = draw.standard_normal((5, 64)).astype(np.float32)
    form = hwsim.get_format("mxfp8")

    def bf16(a):
        return a.astype(ml_dtypes.bfloat16).astype(np.float32)

    known = Running(graph, Cast("mxfp8"), weights)(x=x)
    y = bf16(form.quantize(x) @ form.quantize(weights["y.weight"]).T + bf16(weights["y.bias"]))
    np.testing.assert_array_equal(known["y"], y)
    np.testing.assert_array_equal(known["z"], bf16(y * bf16(weights["z.gain"]) + bf16(weights["z.shift"])))
    alone = Running(graph, Cast("mxfp8", "fp32", alone=True), weights)(x=x)
    np.testing.assert_allclose(alone["y"], x @ form.quantize(weights["y.weight"]).T + weights["y.bias"], rtol=1e-5)
    exact = Running(graph, Cast("fp32"), weights)(x=x)
    np.testing.assert_array_equal(exact["z"], evaluate(graph, {"x": x}, weights)["z"])


def test_losses_name_what_lost_more_than_half_a_point():
    tasks = [models.Task("m", kind, "right", 10, lambda cast: 0.0) for kind in ("bytes", "text")]
    rows = [
        real_models.Scored("fp32", (100.0, 90.0), (100.0, 90.0)),
        real_models.Scored("mx9", (99.6, 89.4), (99.4, 90.0)),
        real_models.Scored("nvfp4", (50.0, 50.0), (50.0, 50.0)),
    ]
    lines = real_models.losses(tasks, rows)
    assert (
        len(lines) == 2 and "mx9 on text, vector unit in BF16" in lines[0] and "bytes, vector unit in FP32" in lines[1]
    )


def test_one_table_has_rows_that_round_the_same_operands():
    """Weights-only rows stand under a title that says so, with FP32 in every table, and lose nothing of a drop-in."""
    task = models.Task("m", "bytes", "right", 10, lambda cast: 0.0)
    rows = [
        real_models.Scored("fp32", (100.0,), (100.0,)),
        real_models.Scored("mxfp8_e4m3", (91.0,), (92.0,)),
        real_models.Scored("int4_g128", (81.0,), (82.0,), alone=True),
        real_models.Scored("mxfp8_e4m3", (95.0,), (96.0,), alone=True),
    ]
    lines = [line for line in real_models.scores_text([task], rows).splitlines() if line]
    at = [i for i, line in enumerate(lines) if "vector unit" in line]
    tables = {lines[i]: [line.split() for line in lines[i + 3 : j]] for i, j in zip(at, [*at[1:], None], strict=True)}
    assert tables == {
        "weights and activations in the format, vector unit in BF16": [["fp32", "100.00"], ["mxfp8_e4m3", "91.00"]],
        "weights and activations in the format, vector unit in FP32": [["fp32", "100.00"], ["mxfp8_e4m3", "92.00"]],
        "weights in the format, activations and vector unit in BF16": [
            ["fp32", "100.00"], ["int4_g128", "81.00"], ["mxfp8_e4m3", "95.00"],
        ],
        "weights in the format, activations and vector unit in FP32": [
            ["fp32", "100.00"], ["int4_g128", "82.00"], ["mxfp8_e4m3", "96.00"],
        ],
    }  # fmt: skip
    lost = real_models.losses([task], rows)
    assert [line.rpartition(": ")[2] for line in lost] == ["91.00 against 100.00", "92.00 against 100.00"]
    both, alone = (real_models.scores_text([task], [rows[0], row]) for row in rows[1:3])
    assert both.count("vector unit") == both.count("weights and activations") == 2
    assert alone.count("vector unit") == alone.count("weights in the format, activations") == 2


def test_boxes_hold_the_ink_of_their_lines():
    x, boxes = text_models.page(("first line", "second", "and a third"))
    ink = x[0] < x[0].max() - 0.5
    held = np.zeros_like(ink)
    for top, bottom, left, right in boxes:
        assert ink[top:bottom, left:right].any()
        held[top:bottom, left:right] = True
    assert not (ink & ~held).any()


def test_a_line_is_found_by_its_middle_and_a_gap_is_empty():
    chances = np.zeros((text_models.SIDE, text_models.SIDE))
    boxes = [(10, 20, 0, 100), (40, 50, 0, 100)]
    assert text_models.decided(chances, boxes) == [False, False, True]
    chances[12:18, :60] = 0.9
    assert text_models.decided(chances, boxes) == [True, False, True]
    chances[:] = 0.9
    assert text_models.decided(chances, boxes) == [True, True, False]


def test_a_line_turned_twice_is_the_line():
    x = text_models.rendered("upright", 48, 192)
    assert not np.array_equal(text_models.turned(x), x)
    np.testing.assert_array_equal(text_models.turned(text_models.turned(x)), x)


@needs_models
def test_pages_in_fp32_and_mx9_are_found():
    task = text_models.finding_task()
    assert task.score(Cast("fp32")) == task.score(Cast("mx9")) == 100


def test_intervals_are_those_of_the_score_test():
    """A bound of Wilson's interval is the share whose own deviation, z sqrt(p (1 - p) / n), reaches what was found."""
    for points, n in ((94.52, 73), (100.0, 21), (0.0, 24), (79.17, 24)):
        for bound in real_models.wilson(points, n):
            p = bound / 100
            assert (points / 100 - p) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / n, abs=1e-12)


def test_a_task_says_what_one_of_its_decisions_is():
    tasks = [models.Task("m", "turning", "right", 24, lambda cast: 0.0)]
    tasks.append(models.Task("m", "text", real_models.COSINE, 40, lambda cast: 0.0))
    text = real_models.steps_text(tasks, real_models.Scored("fp32", (83.33, 100.0), (79.17, 100.0)))
    assert "4.17" in text and "text" not in text


def test_own_formats_are_named_and_cast_as_what_they_are(tmp_path):
    """A codebook is of weights alone, an MX point of both; the row has the format's name and not its file's."""
    codebook, block = tmp_path / "c.yaml", tmp_path / "b.yaml"
    codebook.write_text("{name: levels, codebook: [-1, -0.3, 0.3, 1], block: 32}")
    block.write_text("{name: mine, element: E2M1, block: 16, scale: e8m0}")
    seen = []
    task = models.Task("m", "bytes", "right", 10, lambda cast: seen.append(cast.quantize(X, "activation")) or 0.0)
    found = [real_models.scored(str(f), [task]) for f in (codebook, block)]
    assert [(row.format, row.alone) for row in found] == [("levels", True), ("mine", False)]
    assert np.array_equal(seen[0], get_format("bf16").quantize(X)) and np.array_equal(seen[1], X)
    assert np.array_equal(seen[2], get_format(str(block)).quantize(X))


def test_the_tables_of_one_format_alone(tmp_path, monkeypatch):
    """`python -m hwsim.pages.accuracy mine.yaml`: FP32 and that format; what is no format is an error."""
    own = tmp_path / "b.yaml"
    own.write_text("{name: mine, element: E2M1, block: 16, scale: e8m0}")
    monkeypatch.setattr(real_models, "tasks", lambda _: [models.Task("m", "bytes", "right", 25, lambda cast: 50.0)])
    monkeypatch.setattr(accuracy, "accuracy", lambda names, progress: [])
    rows = [line.split() for line in accuracy.of_formats([str(own)]).splitlines()]
    assert [row[0] for row in rows if row[1:] == ["50.00"]] == ["fp32", "mine"] * 2
    assert ["bytes", "25", "4.00", "50.00"] in [row[:4] for row in rows]
    with pytest.raises(InputError, match="no such file"):
        accuracy.of_formats([str(tmp_path / "none.yaml")])


def test_the_section_of_the_page_has_every_format_in_the_tables_of_what_it_rounds(monkeypatch):
    monkeypatch.setattr(real_models, "tasks", lambda _: [models.Task("m", "bytes", "right", 25, lambda cast: 50.0)])
    monkeypatch.setattr(real_models, "simulated", lambda: "")
    section = accuracy.at_work()
    tables = section[section.index("```") : section.index("Two formats whose points")].split("vector unit in ")
    named = [[line.split()[0] for line in part.splitlines() if line.endswith(" 50.00")] for part in tables[1:]]
    alone = {"int4_g128", "seedlm4", "seedlm3"}
    assert named[0] == named[1] and set(named[0]) == set(NAMES) - alone
    assert named[2] == named[3] and set(named[2]) == alone | {"fp32", "mxfp8_e4m3"}


X = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
