"""Several chips: memory and work of one of them, from the shapes; all chips together do the whole work."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim import run
from hwsim.errors import InputError
from hwsim.jobs.run import checked_job
from hwsim.workload import load_model, model_names
from hwsim.workload.language.parallel import KINDS, Parallel, chip_parameters
from hwsim.workload.language.parts.latent import Latent
from hwsim.workload.language.parts.moe import Moe
from hwsim.workload.language.routing import first_chip, groups
from tests.workload.language.shapes import lower, role

NANO, SUPER = "nemotron3-nano-30b-a3b", "nemotron3-super-120b-a12b"
SHARED = ("attention_qkv", "attention_out", "mlp", "experts", "shared_experts", "latent")
SHARED += ("mamba_in", "mamba_out", "head")


#: Ops that every chip does whole: of latent attention, what comes before the heads, and the indexer; dt, B and C.
REPEATED = ("latent_qkv", "index_q", "index_k", "index_scores")
#: Caches that every chip holds whole: rows of latent attention, which all heads read, and keys of the indexer.
WHOLE = ("attention", "latent_attention")


def shares(model, n):
    """Nothing that has heads is repeated."""
    heads = ("q_heads", "kv_heads", "heads", "groups", "key_heads", "value_heads")
    return not any(getattr(p, h, n) % n for p in model.shapes if not isinstance(p, Moe) for h in heads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", model_names())
def test_one_chip_is_the_plain_step(name, kind):
    model = load_model(name)
    for phase in ("decode", "prefill"):
        plain = lower(model, phase, 3, 500)
        assert lower(model, phase, 3, 500, parallel=Parallel(1, kind)) == plain
        assert not any(op.link for op in plain)


@pytest.mark.parametrize("name, n", [(m, n) for m in model_names() for n in (2, 4, 8) if shares(load_model(m), n)])
def test_tensors_are_divided_and_the_chips_do_the_work_together(name, n):
    model = load_model(name)
    latent = any(isinstance(part, Latent) for part in model.shapes)
    for phase in ("decode", "prefill"):
        whole, one = (lower(model, phase, 16, 512, parallel=Parallel(p)) for p in (1, n))
        one = [op for op in one if not op.link]
        assert [op.name for op in whole] == [op.name for op in one]
        for a, b in zip(whole, one, strict=True):
            if a.kind in ("norm", "router") and a.name != "gated_norm" or a.name == "qk_norm":
                continue
            if a.name in REPEATED:
                assert b == a
                continue
            assert n * b.dot_macs == pytest.approx(a.dot_macs, rel=2e-2), a.name  # rounded up where it must
            assert n * b.dot_macs >= a.dot_macs
            if a.cache and latent and a.name in WHOLE:
                assert b.cache == a.cache
            elif a.cache:
                assert (n * b.cache.read, n * b.cache.write) == (a.cache.read, a.cache.write)
            if a.kind == "ssm":
                assert n * b.vector == a.vector


@pytest.mark.parametrize(
    "name, kind",
    [("llama3-70b", "tensor"), *((n, k) for n in (NANO, SUPER, "gpt-oss-20b") for k in ("tensor", "tensor+expert"))],
)
def test_one_chip_holds_one_part_of_every_divided_matrix(name, kind):
    model, n = load_model(name), 2
    whole, one = Counter(), Counter()
    for rows, total in ((model.layer_parameters(), whole), (chip_parameters(model, Parallel(n, kind)), one)):
        for cls, _, elements in rows:
            total[cls] += elements
    for cls in SHARED:
        biases = 24 * (2880 * 33 + 5120) if name == "gpt-oss-20b" else 0  # repeated, or not divided evenly
        assert 0 <= n * one[cls] - whole[cls] <= n * biases, cls
    assert one["router"] == whole["router"]


def test_k_and_v_heads_fewer_than_the_chips_are_repeated():
    model = load_model(NANO)  # two of them
    for n, heads in ((1, 2), (2, 1), (4, 1), (8, 1)):
        core = next(op for op in lower(model, "decode", 5, 100, parallel=Parallel(n)) if role(op) == "kv")
        assert core.cache.read == 5 * 100 * 2 * heads * 128
        assert core.macs * n == 2 * 5 * 101 * 32 * 128


def test_collectives_are_those_of_the_papers():
    """Two sums per dense layer and one after the embedding, of tokens x hidden; two collectives of the latent width."""
    tokens, hidden, layers = 3, 8192, 80
    ops = lower(load_model("llama3-70b"), "decode", tokens, 100, parallel=Parallel(8))
    links = [(op.link, op.link_elements, op.peers) for op in ops if op.link]
    assert links == [("all_reduce", tokens * hidden, 8)] * (2 * layers + 1) + [("all_gather", tokens * 128256, 8)]
    ops = lower(load_model(SUPER), "decode", 3, 9, parallel=Parallel(2))
    found = Counter((op.name, op.link_elements) for op in ops)
    assert found["latent_gather", 3 * 1024] == found["latent_sum", 3 * 1024] == 40
    assert found["shared_experts_down_sum", 3 * 4096] == found["mamba_out_sum", 3 * 4096] == 40
    assert found["attention_out_sum", 3 * 4096] == 8


def test_data_and_expert_parallelism_sends_one_copy_per_chosen_expert():
    model, n, batch = load_model(SUPER), 8, 64
    ops = lower(model, "decode", batch, 100, parallel=Parallel(n, "data+expert"))
    links = Counter((op.name, op.link, op.link_elements, op.peers) for op in ops if op.link)
    elements = batch // n * 22 * 1024
    assert links == {("dispatch", "all_to_all", elements, n): 40, ("combine", "all_to_all", elements, n): 40}
    plain = lower(model, "decode", batch // n, 100)
    mine = [op for op in ops if op.kind not in ("link", "experts")]
    assert mine == [op for op in plain if op.kind != "experts"]


@given(st.integers(1, 64), st.integers(1, 600), st.sampled_from(["even", "zipf(0.7)", "zipf(1.5)"]))
def test_experts_are_divided_without_loss_and_the_first_chip_has_most(chips, tokens, skew):
    rows_of = groups(128, 6, tokens, skew)
    everyone = [rows for n, rows in rows_of for _ in range(n)]
    of_chip = [everyone[c::chips] for c in range(chips)]
    mine = first_chip(rows_of, chips)
    assert [rows for n, rows in mine for _ in range(n)] == of_chip[0]
    assert all(sum(of_chip[0]) >= sum(rows) and len(of_chip[0]) >= len(rows) for rows in of_chip)


@pytest.mark.parametrize(
    "name, chips, kind, expected",
    [
        (NANO, 3, "tensor", "has 32 query heads, which 3 chips cannot share; write one of 1, 2, 4, 8, 16, 32"),
        (NANO, 64, "tensor", "has 32 query heads, which 64 chips"),
        ("llama3-8b", 2, "data+expert", "llama3-8b has no experts to divide; write tensor"),
        (NANO, 256, "data+expert", "has 128 experts, fewer than 256 chips"),
        (NANO, 2, "pipeline", "parallel: unknown 'pipeline'; expected tensor, tensor+expert or data+expert"),
        (NANO, 0, "tensor", "chips: 0 is not a positive whole number"),
    ],
)
def test_chips_that_cannot_share_a_model(name, chips, kind, expected):
    with pytest.raises(InputError) as caught:
        checked_job("h200-sxm", name, chips=chips, parallel=kind)
    assert any(expected in p for p in caught.value.problems)


def test_a_machine_without_a_link_cannot_share_a_model():
    with pytest.raises(InputError, match="m0: 2 chips need a `link`, which this machine lacks; add one"):
        run("m0", "llama3-8b", weights="int8", chips=2)


@pytest.mark.parametrize("name, weights", [("llama3-70b", "fp8"), (NANO, "bf16"), (SUPER, "published-nvfp4")])
def test_bytes_of_divided_tensors_are_one_part_of_the_whole(name, weights):
    """DRAM traffic by op kind, one chip of two against a single chip; norms and routers are not divided."""
    alone, two = (run("h200-sxm", name, batch=8, context=4096, weights=weights, chips=n, engine="walk") for n in (1, 2))
    rows = [{row.name: row.bytes for row in r.by_op} for r in (alone, two)]
    for kind in set(rows[0]) - {"norm", "router", "embedding"}:
        assert Fraction(rows[1][kind], rows[0][kind]) == pytest.approx(0.5, rel=1e-3), kind
    assert rows[1]["link"] == 0
    assert two.memory.kv * 2 == alone.memory.kv and two.memory.state * 2 == alone.memory.state
    assert two.memory.weights / alone.memory.weights == pytest.approx(0.5, rel=0.03)
    assert two.cycles < alone.cycles and two.utilization["link"] > 0


def test_number_of_chips_on_which_super_and_ultra_fit():
    fits = {
        (name, chips): run("h200-sxm", name, weights=weights, chips=chips, engine="walk").memory.fits
        for name, weights in ((SUPER, "bf16"), ("nemotron3-ultra-550b-a55b", "published-nvfp4"))
        for chips in (1, 2, 4)
    }
    assert list(fits.values()) == [False, True, True, False, False, True]


def test_the_link_can_be_the_limit():
    slow = [("link.bandwidth", "1 GB/s")]
    from hwsim.arch import load_arch

    result = run(load_arch("h200-sxm", slow), "llama3-70b", "prefill", 1, 2048, weights="fp8", chips=8, engine="walk")
    assert result.limited_by == "link"
    passed = 2 * 7 / 8 * 2048 * 8192 * 2 * 161 + 7 / 8 * 128256 * 2  # 161 sums of bf16, and the last logits
    assert result.bound_cycles == pytest.approx(passed / 1e9 * 1.83e9, rel=1e-6)
    assert sum(result.stalls.values()) == result.cycles and result.stalls["latency"] > 0
    assert any("the chip with the most work" in note for note in result.notes)
