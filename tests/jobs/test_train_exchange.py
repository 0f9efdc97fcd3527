"""Exchange of tokens and experts, small kernels, MXFP8's kernels, several depths of prediction in `hwsim train`."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import combinations

import pytest

import hwsim
from hwsim.arch import load_arch
from hwsim.errors import InputError
from hwsim.jobs.train import checked_train
from hwsim.jobs.training.links import Fabric, reached
from hwsim.jobs.training.memory import states
from hwsim.jobs.training.work import MX_EXPERTS_WGRAD, MX_SLOWER
from hwsim.workload import load_model
from hwsim.workload.training.block import Collective
from hwsim.workload.training.lowering import blocks, flops_per_token
from hwsim.workload.training.options import Degrees, TrainStep, exchange_words

QWEN = "qwen3-30b-a3b-thinking-2507"
LEVELS = "[{bandwidth: 450 GB/s, latency: 0 us, topology: switch, chips: 8}, \
{bandwidth: 50 GB/s, latency: 0 us, topology: switch, chips: 64}]"


def job(arch="gb200", model=QWEN, **changes):
    given = {"batch": 64, "context": 4096, "micro_batch": 1, "parallel": "dp=8,ep=8", "recipe": "mxfp8"}
    return checked_train(arch, model, **(given | changes))


# -- one copy per chip -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chips,experts,chosen", [(4, 8, 3), (2, 8, 4), (8, 8, 2), (3, 6, 5), (1, 8, 3)])
def test_chips_that_a_token_reaches(chips, experts, chosen):
    """The mean over every choice of experts, counted one by one."""
    each = experts // chips
    choices = list(combinations(range(experts), chosen))
    mean = Fraction(sum(len({e // each for e in choice}) for choice in choices), len(choices))
    assert reached(chips, experts, chosen) == pytest.approx(float(mean), rel=1e-12)


def test_one_copy_per_chip_on_one_level():
    """The bytes of an all-to-all of as many copies as chips are reached; never more than one per expert."""
    arch = load_arch("h100-sxm", [("link.latency", "0 us")])
    fabric = Fabric.of(arch)
    n, copies = 10**7, reached(8, 128, 8)
    found = fabric.collective(Collective("exchange", "ep", n, True, picks=(128, 8)), 8) - fabric.start
    assert copies < 8
    assert found * fabric.share == pytest.approx(copies * 2 * n * 7 / 8 / 450e9, rel=1e-4)
    assert fabric.least(Collective("exchange", "ep", n, True, picks=(128, 8)), 8) == pytest.approx(
        copies * 2 * n * 7 / 8 / 450e9, rel=1e-4
    )


def test_between_nodes_a_token_takes_one_copy_per_node():
    """Two nodes of eight: inside, copies for all sixteen chips; between, one for each node that has an expert."""
    arch = load_arch("h100-sxm", [("link", LEVELS)])
    fabric = Fabric.of(arch)
    n = 10**7
    found = fabric.collective(Collective("exchange", "ep", n, True, picks=(128, 8)), 16) - fabric.start
    inside = reached(16, 128, 8) * 2 * n * 7 / 8 / 450e9
    between = reached(2, 128, 8) * 2 * n / 2 / 50e9
    assert found * fabric.share == pytest.approx(inside + between, rel=1e-4)
    per_expert = fabric.seconds("all_to_all", 8 * 2 * n, 16)
    assert found < per_expert / 2


def test_collectives_of_one_copy():
    model = load_model(QWEN)
    step = TrainStep(64, 4096, 1, Degrees(dp=8, ep=8), exchange=("per-chip",))
    layer = next(b for b in blocks(model, step).values() if b.experts)
    links = [c for c in layer.collectives if c.group == "ep"]
    assert {(c.kind, c.elements, c.picks) for c in links} == {("exchange", 4096 * 2048, (128, 8))}
    assert [c.forward for c in links].count(True) == 2


def test_fewer_copies_are_faster_and_never_beat_the_bound():
    many, few = (job(exchange=words).trained() for words in ("per-expert", "per-chip"))
    assert few.exposed_seconds < many.exposed_seconds
    assert few.bound_seconds <= many.bound_seconds <= many.seconds


# -- hidden ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [8, 64])
def test_hidden_exchange(batch):
    """Of m micro-batches one pass has nothing beside it; where links outlast the work, the rest is not hidden."""
    plain, hidden = (job(exchange=f"per-chip{words}", batch=batch) for words in ("", ",hidden"))
    layer = next(b for b in plain.blocks.values() if b.experts)
    other = next(b for b in hidden.blocks.values() if b.experts)
    whole, left = plain._exposed(layer, True), hidden._exposed(other, True)
    assert left == pytest.approx(whole / (batch // 8))
    slow = job(exchange="per-chip,hidden", batch=batch, arch=load_arch("gb200", [("link.0.bandwidth", "9 GB/s")]))
    block = next(b for b in slow.blocks.values() if b.experts)
    behind = sum(slow.prices.seconds(w) for w in slow.work[block.item].backward)
    lasts = 2 * slow.fabric.collective(next(c for c in block.collectives if c.group == "ep"), 8)
    assert lasts > behind
    assert slow._exposed(block, True) == pytest.approx(lasts - behind + behind / (batch // 8))


# -- kernels ---------------------------------------------------------------------------------------------


def test_small_kernels():
    """Three times the small ones: the step grows by twice their time, and GEMMs, attention, encodes, bound do not."""
    one, three = job(), job(small_kernels=3)
    a, b = one.trained(), three.trained()
    small = sum(
        n * one.prices.seconds(w)
        for w, n in one.counted(0)
        if not w.op.gemms and w.part not in ("attention", "optimiser") and w.when != "encode"
    )
    spent = [sum(s for _, _, s in found.spent) for found in (a, b)]
    assert spent[1] - spent[0] == pytest.approx(2 * small, rel=1e-9)
    assert b.bound_seconds == pytest.approx(a.bound_seconds)
    assert b.by_when()["encode"] == pytest.approx(a.by_when()["encode"])
    assert b.config["small_kernels"] == 3 and "small_kernels" not in a.config


def test_waiting_for_the_host():
    """48 layers of experts, 3 ms per micro-batch: a third forward; recompute adds its third; nothing else changes."""
    given = ({}, {"host_wait": 3}, {"host_wait": 3, "recompute": "full"})
    bare, waits, again = (job(parallel=None, batch=8, **options).trained() for options in given)
    m = bare.micro_batches
    assert waits.seconds - bare.seconds == pytest.approx(3e-3 * 48 * m, rel=1e-6)
    rows = {when: seconds for part, when, seconds in waits.spent if part == "waiting for host"}
    assert rows == {"forward": pytest.approx(1e-3 * 48 * m), "backward": pytest.approx(2e-3 * 48 * m)}
    rows = {when: seconds for part, when, seconds in again.spent if part == "waiting for host"}
    assert rows["recompute"] == pytest.approx(1e-3 * 48 * m)
    assert sum("--host-wait 8" in note for note in bare.notes) == 1 and not any("host" in n for n in waits.notes)
    assert waits.bound_seconds == bare.bound_seconds and waits.provenance == bare.provenance
    assert waits.config["host_wait"] == 3 and "host_wait" not in bare.config
    parts = sum(seconds for _, _, seconds in waits.spent)
    assert parts + waits.exposed_seconds + waits.idle_seconds == pytest.approx(waits.seconds)


def test_the_host_waits_for_experts_alone():
    with pytest.raises(InputError, match="host-wait: llama3-8b has no experts, for whose token counts"):
        hwsim.train("gb200", "llama3-8b", 8, host_wait=7)
    with pytest.raises(InputError, match="host-wait: dlrm-v1 has no experts"):
        hwsim.train("gb200", "dlrm-v1", 8, host_wait=7)


def test_gemms_in_mxfp8_have_their_own_rate():
    """Where fp8_block's kernels stand in for them; wgrad of experts apart. Not in other formats or without kernels."""
    gemms = [w for w, _ in job().counted(0) if w.op.gemms and not w.right.name.startswith("bf16")]
    rates = {(w.part == "experts", w.beside is not None): w.slower for w in gemms}
    assert rates == {
        (False, False): MX_SLOWER,
        (False, True): MX_SLOWER,
        (True, False): MX_SLOWER,
        (True, True): MX_EXPERTS_WGRAD,
    }
    ideal = load_arch("b200", [("cores", "null")])  # h100 multiplies MXFP8 in 16 bits
    for others in (job(recipe="fp8"), job(arch="b200", recipe="bf16"), job(arch="h100-sxm"), job(arch=ideal)):
        assert {w.slower for w, _ in others.counted(0)} == {1}


def test_two_depths_of_prediction():
    """Nemotron 3 Super is trained with its block twice: 84.3 GFLOP per token by Megatron-Bridge; weights count once."""
    model = load_model("nemotron3-super-120b-a12b")
    flops = [flops_per_token(model, 8192, depth) for depth in (0, 1, 2)]
    assert flops[2] - flops[1] == flops[1] - flops[0] > 0
    assert flops[2] == pytest.approx(84.3e9, rel=0.02)
    held = [sum(b.dense + b.experts for b in blocks(model, TrainStep(1, 8192, 1, mtp=n)).values()) for n in (1, 2)]
    assert held[0] == held[1]


# -- weights divided within groups ----------------------------------------------------------------------


def test_weights_divided_within_groups():
    """HSDP: weights and gradients over the group, the optimiser's state over all; experts of ep chips stay whole."""
    step = TrainStep(64, 8192, 1, Degrees(dp=32, tp=2, ep=16), shard=3, within=16)
    assert step.divided == (8, 1)
    dense, experts = 64 * 10**6, 10**6
    held = states(dense, experts, step, 12)
    assert held == (2 * (dense // 8 + experts), 4 * (dense // 8 + experts), 12 * (dense // 32 + experts // 4))
    assert TrainStep(64, 8192, 1, Degrees(dp=32, tp=2, ep=16), shard=3).divided == (32, 4)


def test_groups_exchange_once_per_step():
    """Gathers stay inside the group; between groups go the group's share of gradients, and of weights back."""
    arch = load_arch("h100-sxm", [("link", LEVELS)])
    given = {"model": "llama3-8b", "arch": arch, "recipe": "bf16", "parallel": "dp=16", "batch": 64, "shard": 3}
    whole, parts = job(**given), job(**given, shard_within=8)
    block = parts.blocks[3]
    n, share, start = block.dense, parts.fabric.share, parts.fabric.start
    gather = parts.times(block).gather - start
    assert gather * share == pytest.approx(2 * n * 7 / 8 / 450e9, rel=1e-4)
    between = sum(nbytes * n / 8 / 2 / 50e9 for nbytes in (4, 2))
    assert (parts._groups(block) - 2 * start) * share == pytest.approx(between, rel=1e-4)
    assert whole._groups(block) == 0 and whole.times(block).gather > parts.times(block).gather
    assert parts.trained().seconds < whole.trained().seconds


# -- bad input -------------------------------------------------------------------------------------------


def test_words_of_an_exchange():
    assert exchange_words("hidden, per-chip") == ("per-chip", "hidden")
    assert exchange_words("hidden") == ("per-expert", "hidden")
    with pytest.raises(InputError, match="exchange: unknown 'per-chp'; did you mean per-chip?"):
        exchange_words("per-chp")
    with pytest.raises(InputError, match="contradict each other; write one"):
        exchange_words("per-chip,per-expert")


@pytest.mark.parametrize("model", ["llama3-8b", "resnet50"])
def test_no_exchange_without_experts(model):
    with pytest.raises(InputError, match=f"exchange: {model} has no experts; leave it out"):
        job(model=model, exchange="per-chip", parallel=None, batch=1)


def test_depth_needs_its_block():
    words = ["train", "gb200", "--model", "nemotron3-super-120b-a12b", "--batch", "8", "--mtp-depth"]
    for more, message in (
        (["2"], "mtp-depth: 2 needs --mtp; write it too"),
        (["0", "--mtp"], "mtp-depth: 0 is below 1"),
    ):
        done = subprocess.run([sys.executable, "-m", "hwsim", *words, *more], capture_output=True, text=True)
        assert done.returncode == 2 and message in done.stderr


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"shard": 1, "shard_within": 8}, "shard-within: 8 chips divide weights, which only --shard 3 does"),
        ({"shard": 3, "shard_within": 3}, "shard-within: groups of 3 do not divide 8 chips"),
        ({"shard": 3, "shard_within": -8}, "shard-within: groups of -8 do not divide 8 chips"),
    ],
)
def test_refused_groups(changes, words):
    with pytest.raises(InputError) as error:
        job(**changes)
    assert words in str(error.value)


def test_all_errors_at_once():
    with pytest.raises(InputError) as error:
        hwsim.train("gb200", QWEN, 64, exchange="all", small_kernels=0.5, mtp=-1, host_wait=-7)
    for words in (
        "exchange: unknown 'all'",
        "small-kernels: 0.5 is not between 1 (ideal) and 100",
        "host-wait: -7 ms is not between 0 (none) and 1000",
        "mtp: -1 is below 0",
    ):
        assert words in str(error.value)
