"""`hwsim train`: bytes, memory, schedule and collectives of a step against formulas; recipes and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import jsonschema
import pytest
import yaml

import hwsim
from hwsim.arch import load_arch
from hwsim.errors import InputError
from hwsim.jobs.train import checked_train
from hwsim.jobs.training.job import TrainJob
from hwsim.jobs.training.links import Fabric
from hwsim.jobs.training.memory import activation_bytes, states
from hwsim.jobs.training.options import OPTIMISERS
from hwsim.jobs.training.pipeline import ItemTimes, Plan
from hwsim.jobs.training.recipe import Tensor, load_recipe, recipe_folder, recipe_names, recipe_schema
from hwsim.jobs.training.work import accumulate, encode, optimiser
from hwsim.report.training import trained_text
from hwsim.workload import load_model
from hwsim.workload.training.lowering import blocks
from hwsim.workload.training.options import Degrees, TrainStep
from hwsim.workload.training.sites import Linear

ARGUMENTS = {
    "batch": 16,
    "context": 8192,
    "micro_batch": 1,
    "recipe": "bf16",
    "recompute": "none",
    "parallel": "dp=8",
    "optimizer": "adam-fp32",
    "shard": 1,
    "skew": "even",
}


def job(arch="h100-sxm", model="llama3-8b", **changes) -> TrainJob:
    return checked_train(arch, model, **(ARGUMENTS | changes))


# -- bytes of an encode ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,b", [("mxfp8_e4m3", 1 + 1 / 32), ("mxfp6_e3m2", 0.78125), ("mxfp4_e2m1", 0.53125), ("nvfp4", 0.5625)]
)
def test_encode_bytes(name, b):
    """n elements in 16 bits are read once; two encodings are written in one pass, one where a tile serves both."""
    form, n = hwsim.get_format(name).layout, 131072 * 7168
    assert Tensor(form).encode_bytes(n) == n * (2 + 2 * b)
    assert Tensor(form, tile=32).encode_bytes(n) == n * (2 + b)
    assert Tensor(hwsim.get_format("bf16").layout).encode_bytes(n) == 0


def test_encode_moves_its_bytes():
    """What the simulated op moves, in elements of 16 bits; with `amax` a pass ahead that reads the tensor."""
    recipe, arch = load_recipe("nvfp4"), load_arch("edge-mx")
    one = next(s for s in blocks(load_model("llama3-8b"), TrainStep(1, 2048, 1))[0].sites if isinstance(s, Linear))
    n = one.inputs
    amax, made = encode(one, recipe.every.activations, n, "input", arch)
    assert (amax.op.inputs, amax.op.outputs) == (n, 0)
    assert 2 * (made.op.inputs + made.op.outputs) == n * Fraction(25, 8)
    assert made.op.macs == 16 * n  # the Hadamard transform of 16 points, on the copy for wgrad
    assert list(encode(one, load_recipe("bf16").every.weights, n, "weight", arch)) == []


def test_stochastic_rounding_is_the_round_server():
    """Its passes are those without it, and the time of the server that rounds both copies."""
    arch = load_arch("edge-mx")
    recipe = load_recipe("nvfp4")
    one = next(s for s in blocks(load_model("llama3-8b"), TrainStep(1, 2048, 1))[0].sites if isinstance(s, Linear))
    plain, rounded = (
        list(encode(one, tensor, 10**6, "gradient", arch))[-1].op.vector
        for tensor in (recipe.every.activations, recipe.every.gradients)
    )
    rate = Fraction(arch.vector.elements_per_cycle) / arch.round.elements_per_cycle
    assert rounded - plain == 2 * 10**6 * rate


@pytest.mark.parametrize("m", [1, 2, 64])
def test_main_gradients(m):
    """FP32: 8 bytes per weight and micro-batch but 4 for the first."""
    one = next(s for s in blocks(load_model("llama3-8b"), TrainStep(m, 2048, 1))[0].sites if isinstance(s, Linear))
    op = accumulate(one, m)
    assert 2 * (op.inputs + op.outputs) == pytest.approx(one.matrices * (8 * m - 4) / m, abs=4)


@pytest.mark.parametrize("name,nbytes", [("adam-fp32", 30), ("adam-bf16", 22)])
def test_optimiser_bytes(name, nbytes):
    """Read 16 (10), write 12 (8), and 2 for the weight; gradients in FP32."""
    op = optimiser(10**6, OPTIMISERS[name][0]).op
    assert 2 * (op.inputs + op.outputs) == nbytes * 10**6


# -- memory ---------------------------------------------------------------------------------------------


def test_activations_of_llama3_8b():
    """B per token and layer: 8h + 2(nq + 2 nkv) dh + 2 nq dh + 4 nq + 6f = 139,392 in 16 bits with fused attention."""
    h, nq, nkv, dh, f = 4096, 32, 8, 128, 14336
    formula = 8 * h + 2 * (nq + 2 * nkv) * dh + 2 * nq * dh + 4 * nq + 6 * f
    found = blocks(load_model("llama3-8b"), TrainStep(1, 8192, 1))
    recipe = load_recipe("bf16")
    assert formula == 139_392
    assert {activation_bytes(found[i], recipe, 32) for i in range(32)} == {8192 * formula}


def test_encoded_inputs_are_kept_in_their_format():
    """MXFP8: results of norms and of the MLP's gate take 33/32 B in place of 2; those of attention one copy more."""
    h, nq, nkv, dh, f, b = 4096, 32, 8, 128, 14336, Fraction(33, 32)
    formula = 4 * h + 2 * b * h + 2 * (nq + 2 * nkv) * dh + (2 + b) * nq * dh + 4 * nq + 4 * f + b * f
    found = blocks(load_model("llama3-8b"), TrainStep(1, 8192, 1))
    assert activation_bytes(found[1], load_recipe("mxfp8"), 32) == 8192 * formula


def test_unfused_attention_keeps_its_scores():
    """5 a s^2 more (Korthikanti et al., arXiv 2205.05198, section 4.1); selective recompute drops them."""
    model, recipe = load_model("llama3-8b"), load_recipe("bf16")
    fused, unfused = (blocks(model, TrainStep(1, 2048, 1, fused=f))[1] for f in (True, False))
    more = activation_bytes(unfused, recipe, 32) - activation_bytes(fused, recipe, 32)
    assert more == 5 * 32 * 2048**2 - 4 * 32 * 2048  # no sums of a softmax to keep
    assert activation_bytes(unfused, recipe, 32, selective=True) == activation_bytes(fused, recipe, 32) - 4 * 32 * 2048


@pytest.mark.parametrize("d", [1, 8, 64])
def test_bytes_per_parameter(d):
    """18, 6 + 12/d and 18/d; with moments in BF16 four less of the optimiser's twelve."""
    n = 64 * 10**6
    found = {shard: states(n, 0, TrainStep(d, 8, 1, Degrees(dp=d), shard=shard), 12) for shard in (0, 1, 3)}
    assert sum(found[0]) == 18 * n
    assert sum(found[1]) == (6 + Fraction(12, d)) * n
    assert sum(found[3]) == Fraction(18, d) * n
    assert sum(states(n, 0, TrainStep(d, 8, 1, Degrees(dp=d), shard=0), OPTIMISERS["adam-bf16"][1])) == 14 * n


def test_gradients_summed_in_16_bits():
    """Two bytes fewer per weight in memory; Adam reads 28 bytes; of m sums the first only writes."""
    n, step = 64 * 10**6, TrainStep(8, 8, 1, Degrees(dp=8))
    assert sum(states(n, 0, step, 12)) - sum(states(n, 0, step, 12, 2)) == 2 * n
    op = optimiser(n, OPTIMISERS["adam-fp32"][0], 2).op
    assert 2 * (op.inputs + op.outputs) == 28 * n
    one = next(s for s in blocks(load_model("llama3-8b"), TrainStep(4, 2048, 1))[0].sites if isinstance(s, Linear))
    sums = accumulate(one, 4, 2)
    assert 2 * (sums.inputs + sums.outputs) == pytest.approx(one.matrices * (4 * 4 - 2) / 4, abs=4)


def own(tmp_path, name: str, text: str):
    path = tmp_path / f"{name}.yaml"
    linears = "".join(f"{each}: {{format: mxfp8}}\n" for each in ("weights", "activations", "gradients"))
    path.write_text(f"name: {name}\ndescription: x\n{linears}keep: {{classes: [head]}}\n{text}")
    return path


def test_a_recipe_says_what_is_kept(tmp_path):
    """Llama 3 8B on eight chips: 16-bit sums save 2 bytes per weight, encoded weights alone 2 per weight of a linear
    but the head. The step has another reduction and optimiser, so the time differs too.
    """
    plain, sums, encoded = (
        job("b200", recipe=own(tmp_path, name, text)).memory()
        for name, text in (("a", ""), ("b", "reduction: bf16\n"), ("c", "weights_kept: encoded\n"))
    )
    h, f, vocab, layers = 4096, 14336, 128256, 32
    linears = layers * (h * (h + 2 * 1024) + h * h + 3 * h * f)
    everything = linears + 2 * vocab * h + (2 * layers + 1) * h
    assert plain.total - sums.total == plain.gradients - sums.gradients == 2 * everything
    assert plain.total - encoded.total == plain.weights - encoded.weights == 2 * linears
    assert encoded.buffers == plain.buffers == 2 * linears * 33 // 32


def test_encoded_weights_of_fsdp_are_divided(tmp_path):
    plain, encoded = (
        job("b200", recipe=own(tmp_path, name, text), shard=3).memory()
        for name, text in (("a", ""), ("c", "weights_kept: encoded\n"))
    )
    assert 0 < 8 * encoded.weights < 8 * plain.weights < 2.01 * 8.1e9


def test_context_parallel_divides_the_optimiser():
    assert sum(states(640, 0, TrainStep(4, 8, 1, Degrees(dp=2, cp=4)), 12)) == (6 + Fraction(12, 8)) * 640


def test_memory_of_a_pipeline_by_hand():
    """1F1B on two stages: the first holds two micro-batches of its half of the layers, the last one and the logits."""
    found = job(parallel="pp=2", batch=8).memory()
    layer, tokens = 139_392, 8192
    norm, logits = 2 * 4096, 2 * 128256
    last = tokens * (16 * layer + 2 * 4096 + norm + logits)
    assert found.activations in (2 * 16 * tokens * layer, last)


def test_full_recompute_keeps_the_inputs_of_layers():
    """2 h per token and layer, and one layer whole while it is computed again; and what the head keeps."""
    found = job(parallel=None, batch=1, recompute="full").memory()
    head = 2 * 4096 + 2 * 4096 + 2 * 128256
    assert found.activations == 8192 * (32 * 2 * 4096 + 139_392 + head)


def test_does_not_fit_is_a_note():
    result = job(model="llama3-70b", parallel=None, batch=1).trained()
    assert not result.memory.fits
    assert any(note.startswith("does not fit: needs") for note in result.notes)


# -- the step over time ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stages,chunks,micro_batches", [(1, 1, 3), (2, 1, 4), (4, 1, 8), (4, 2, 8), (2, 5, 6)])
def test_bubble_of_equal_stages(stages, chunks, micro_batches):
    """Idle over ideal time (p - 1) / (v m), from the schedule (arXiv 2104.04473, section 2.2)."""
    items = tuple((ItemTimes(3.0, 7.0),) for _ in range(stages * chunks))
    end = Plan(stages, items, micro_batches, (0.0,) * stages).run().end
    ideal = micro_batches * chunks * 10
    assert (end - ideal) * chunks * micro_batches == ideal * (stages - 1)


def test_gradients_are_scattered_behind_the_last_backward_pass():
    """By hand: two layers of 3 forward and 5 backward, 2 micro-batches, gather 1 and scatter 4 per layer.

    The first layer waits 1; the scatter of the last layer starts at 1 + 11 + 5 and that of the first 5 later, when the
    other has ended: 1 + 11 + 10 + 4, where 11 is the first micro-batch whole and the second forward less 5 + 5.
    """
    layer = ItemTimes(3.0, 5.0, gather=1.0, scatter=4.0)
    found = Plan(1, ((layer, layer),), 2, (2.0,)).run()
    assert found.end == 1 + 2 * 6 + 2 * 10 + 4 + 2


def test_shard_3_gathers_one_layer_ahead():
    """Links that keep up cost the first gather and the last scatter; links that do not, their whole length."""
    fast = ItemTimes(3.0, 5.0, gather=1.0, scatter=1.0)
    found = Plan(1, ((fast,) * 4,), 2, (0.0,), every=True).run()
    assert found.end == 2 * 4 * 8 + 1 + 1
    slow = ItemTimes(1.0, 2.0, gather=10.0, scatter=10.0)
    found = Plan(1, ((slow,) * 4,), 1, (0.0,), every=True).run()
    assert found.busy[1] == 4 * 10 + 4 * 20
    assert found.end >= found.busy[1]


@pytest.mark.parametrize("changes", [{}, {"parallel": "dp=2,tp=2,pp=2", "batch": 16}, {"shard": 3}, {"recompute": "7"}])
def test_parts_sum_to_the_step(changes):
    result = job(**changes).trained()
    parts = sum(s for _, _, s in result.spent)
    assert parts + result.exposed_seconds + result.idle_seconds == pytest.approx(result.seconds)
    assert result.seconds >= result.bound_seconds
    assert sum(result.provenance.values()) == pytest.approx(1)
    tokens = 16 * 8192
    assert result.tokens_per_second_per_chip == pytest.approx(tokens / result.seconds / 8)
    assert result.mfu == pytest.approx(result.flops_per_token * tokens / result.seconds / 8 / result.peak_flops)


@pytest.mark.parametrize(
    ("machine", "pair", "teraflops"),
    [
        ("a100-sxm", "bf16 x bf16", 312),  # the data sheets' dense peaks
        ("h100-sxm", "fp8_e4m3 x fp8_e4m3", 1979),
        ("edge-mx", "mxfp8_e4m3 x mxfp8_e4m3", 2 * 256 * 32 * 1e-3),  # 256 units of 32 at 1 GHz
    ],
)
def test_mfu_is_of_the_pair_that_is_multiplied(machine, pair, teraflops):
    """A machine without the recipe's pair converts it, and the peak is that of the pair which it multiplies."""
    result = job(machine, "mamba2-130m", recipe="fp8", parallel=None, context=512).trained()
    assert result.mfu_pair == pair
    assert result.peak_flops == pytest.approx(teraflops * 1e12, rel=1e-3)
    assert result.mfu == pytest.approx(
        result.flops_per_token * result.tokens_per_second_per_chip / (teraflops * 1e12), rel=1e-3
    )
    said = [note for note in result.notes if note.startswith("MFU")]
    other = [f"MFU is of the peak of {pair}: {machine} has no rate for fp8_e4m3 x fp8_e4m3 and multiplies that instead"]
    assert said == (other if machine != "h100-sxm" else [])
    assert f"of the {teraflops:,.0f} TFLOP/s of {pair}, dense" in trained_text(result)


def test_recompute_adds_its_share_of_the_forward_pass():
    whole, some, every = (job(recompute=n).trained().by_when() for n in ("none", "8", "full"))
    assert some["recompute"] == pytest.approx(every["recompute"] / 4, rel=1e-3)  # the first layer adds no residual
    assert "recompute" not in whole
    assert whole["forward"] == pytest.approx(every["forward"])


def test_more_micro_batches_make_a_smaller_bubble():
    few, many = (job(parallel="pp=4", batch=n).trained() for n in (4, 64))
    assert many.idle_seconds / many.seconds < few.idle_seconds / few.seconds


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter", "all_to_all", "all_reduce", "ring"])
@pytest.mark.parametrize("chips", [2, 4, 64])
def test_bytes_of_collectives(kind, chips):
    """A chip sends (N - 1)/N of the vector, twice that in an all-reduce: bytes out of all chips are bytes into them."""
    arch = load_arch("h100-sxm")
    fabric = Fabric.of(arch)
    assert fabric is not None
    n = 64 * 10**6
    sent = Fraction((2 if kind == "all_reduce" else 1) * n * (chips - 1), chips)
    assert fabric.volume(kind, n, chips) == pytest.approx(float(sent) / 450e9)
    into = {"all_gather": chips * n * (chips - 1) // chips, "reduce_scatter": chips * n * (chips - 1) // chips}
    if kind in into:  # every chip receives all but its own part, of which it has sent its own to each of the others
        assert sent * chips == into[kind]


# -- recipes --------------------------------------------------------------------------------------------


def test_shipped_recipes():
    assert recipe_names() == ["bf16", "fp8", "mx-paper", "mxfp8", "nvfp4"]
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name and recipe.source


def test_nvfp4_keeps_the_last_layers():
    """The last 15 % of 32 layers, 5, and the head stay in 16 bits; one encoding of a weight serves both GEMMs."""
    recipe = load_recipe("nvfp4")
    kept = [layer for layer in range(32) if recipe.of("mlp", layer, 32).weights.high]
    assert kept == [27, 28, 29, 30, 31]
    assert recipe.of("head", -2, 32).weights.high
    every = recipe.of("mlp", 0, 32)
    assert [t.copies for t in (every.weights, every.activations, every.gradients)] == [1, 2, 2]


def test_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndescription: x\nsource: x\n"
        "weights: {format: mxfp8}\nactivations: {format: mxfp8}\ngradients: {format: mxfp8}\n"
        "classes:\n  attention_out:\n"
        "    weights: {format: bf16}\n    activations: {format: bf16}\n    gradients: {format: bf16}\n"
    )
    mine = job("b200", recipe=path).trained()
    whole = job("b200", recipe="mxfp8").trained()
    encodes = [
        sum(s for part, when, s in r.spent if (part, when) == ("attention_proj", "encode")) for r in (mine, whole)
    ]
    assert 0 < encodes[0] < encodes[1]
    assert mine.config["recipe"]["classes"]["attention_out"]["weights"] == {"format": "bf16"}


def test_refused_recipe(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\ndescription: x\nsource: x\n"
        "weights: {format: mxpf8}\n"
        "activations: {format: mxfp8, tile: 24}\n"
        "gradients: {format: seedlm4}\n"
        "keep: {classes: [hed]}\n"
        "classes:\n  mlpp:\n"
        "    weights: {format: bf16}\n    activations: {format: bf16}\n    gradients: {format: bf16}\n"
    )
    with pytest.raises(InputError) as error:
        load_recipe(path)
    found = "\n".join(error.value.problems)
    assert len(error.value.problems) == 5
    for words in (
        "bad.yaml:4:19: weights.format: unknown format 'mxpf8'; did you mean mxfp8?",
        "bad.yaml:5:36: activations.tile: 24 is no multiple of the 32 elements",
        "bad.yaml:6:21: gradients.format: seedlm4 is found by a search",
        "bad.yaml:7:18: keep.classes.0: unknown class 'hed'; did you mean head?",
        "bad.yaml:9:3: classes.mlpp: unknown class; did you mean mlp?",
    ):
        assert words in found


def test_unknown_classes_are_said_with_other_errors(tmp_path):
    """Errors of the schema do not hide those of the classes."""
    path = tmp_path / "bad.yaml"
    linear = "{weights: {format: mxfp8}, activations: {format: mxfp8}, gradients: {format: mxfp8}}"
    path.write_text(
        "name: bad\ndescription: x\nweights: {format: bf16}\nactivations: {format: bf16}\n"
        f"weihts: 3\nclasses:\n  mlpp: {linear}\nkeep: {{classes: [hed, 3], first: -1}}\n"
    )
    with pytest.raises(InputError) as error:
        load_recipe(path)
    found = "\n".join(error.value.problems)
    for words in (
        "gradients",
        "5:1: weihts: unknown; did you mean weights?",
        "7:3: classes.mlpp: unknown class; did you mean mlp?",
        "8:18: keep.classes.0: unknown class 'hed'; did you mean head?",
        "keep.first",
    ):
        assert words in found


# -- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"model": "dlrm-v2"}, "dlrm-v2 has tables, which are divided over the chips of dp 8; write ep=8"),
        ({"arch": "gemv-engine"}, "cannot train a model"),
        ({"arch": "edge-mx"}, "8 chips need a `link`"),
        ({"recipe": "mxfp9"}, "recipe: unknown mxfp9; did you mean mxfp8?"),
        ({"optimizer": "adam"}, "optimizer: unknown 'adam'; expected adam-fp32 or adam-bf16"),
        ({"recompute": "some"}, "recompute: unknown 'some'"),
        ({"skew": "odd"}, "skew: `odd`"),
        ({"shard": 3, "parallel": "dp=2,pp=2"}, "write --shard 1, or pp=1"),
    ],
)
def test_refused(changes, words):
    with pytest.raises(InputError) as error:
        job(**changes)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "machine,words",
    [
        (
            "gemmini",
            "no dot rate for bf16 x bf16 and no `dequantise` server; it lists int8 x int8; training multiplies",
        ),
        ("seedlm-virtex7", "needs a `vector` server, which this machine lacks; add one to its file"),
    ],
)
def test_machines_that_lack_what_training_needs(machine, words):
    with pytest.raises(InputError) as error:
        job(machine, "mamba2-130m", parallel=None, context=512, batch=1).trained()
    assert words in str(error.value)


def test_all_errors_at_once():
    with pytest.raises(InputError) as error:
        job(recipe="mxfp9", recompute="99", parallel="dp=8,tp=3", batch=15, optimizer="sgd")
    for word in ("mxfp9", "99 layers", "tp: llama3-8b", "batch: 15", "sgd"):
        assert word in str(error.value)


def test_stochastic_rounding_without_its_server():
    with pytest.raises(InputError, match="needs a `round` server that this machine lacks; add one, for example"):
        job(recipe="nvfp4").trained()


@pytest.mark.parametrize("machine", ["b200", "b300", "gb200", "gb300"])
def test_machines_that_multiply_nvfp4_train_its_recipe(machine):
    """Their conversion rounds by random bits (PTX ISA, cvt.rs), 16 elements per SM and cycle."""
    arch = hwsim.load_arch(machine)
    assert arch.round.elements_per_cycle == 16 * arch.cores.count
    assert job(arch=machine, recipe="nvfp4").trained().seconds > 0


def test_command_line():
    """The command prints the JSON of the same result as the function."""
    words = ["train", "h100-sxm", "--model", "llama3-8b", "--batch", "16", "--parallel", "dp=8", "--json"]
    done = subprocess.run([sys.executable, "-m", "hwsim", *words], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    result = hwsim.train("h100-sxm", "llama3-8b", 16, parallel={"dp": 8})
    assert found == json.loads(json.dumps(result.to_dict()))
    assert found["phase"] == "train" and found["schema"] == 2


def test_schema_is_the_one_shipped():
    """`hwsim schema recipe > arch_configs/recipes/recipe.schema.json`; every shipped recipe names it and follows it."""
    shipped = json.loads((recipe_folder() / "recipe.schema.json").read_text())
    assert shipped == recipe_schema()
    for name in recipe_names():
        text = (recipe_folder() / f"{name}.yaml").read_text()
        assert text.startswith("# yaml-language-server: $schema=recipe.schema.json\n")
        jsonschema.Draft202012Validator(shipped).validate(yaml.safe_load(text))
