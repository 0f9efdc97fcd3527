"""Which server limits each op: against bytes and multiply-adds per op at the machine's rates, by hand."""

from fractions import Fraction

import pytest

import hwsim
from hwsim.report.text import result_text

WEIGHTS = {"mlp": 3 * 4096 * 14336, "head": 4096 * 128256}  # of Llama 3 8B: of a layer, and of the model
MACS_PER_SECOND, BYTES_PER_SECOND = Fraction(4947, 10) * 10**12, 4800 * 10**9  # of the BF16 array and the HBM3e


def at(batch, **options):
    return hwsim.run("h200-sxm-regen", "llama3-8b", batch=batch, context=1024, weights="seedlm4", **options)


@pytest.mark.parametrize("batch", [16, 64, 256])
def test_rows_name_the_server_that_needs_longest_for_their_ops(batch):
    """Seeds: half a byte per weight from the memory, and `batch` multiply-adds on BF16 units."""
    result = at(batch)
    rows = {row.name: row for row in result.by_op}
    bound = "dot" if batch / MACS_PER_SECOND > Fraction(1, 2) / BYTES_PER_SECOND else "dram"
    for name, weights in WEIGHTS.items():
        assert rows[name].limited_by == bound, name
        assert rows[name].macs == batch * weights * (32 if name == "mlp" else 1)
    assert rows["attention"].limited_by == "dram"  # KV, which each sequence has its own of
    assert rows["norm"].limited_by == "vector"
    layers = {row.limited_by for row in result.by_layer if row.macs and "outside" not in row.name}
    assert layers <= {"dram", "dot"}


def test_shares_of_the_time_by_limit_are_those_of_the_rows():
    """Kinds of ops whose ops have one limit each; the whole run is limited by the server with the most work."""
    result = at(64)
    expected: dict[str, int] = {}
    for row in result.by_op:
        expected[row.limited_by] = expected.get(row.limited_by, 0) + row.cycles
    assert sum(result.limits.values()) == pytest.approx(1, abs=1e-12)
    assert {server: share * result.cycles for server, share in result.limits.items()} == pytest.approx(expected, abs=2)
    assert list(result.limits) == sorted(result.limits, key=result.limits.get, reverse=True)
    assert result.limited_by == "dram" and result.limits["dot"] > 0.2
    shown = result_text(result, "op")
    first, second = list(result.limits)[:2]
    assert (
        f"op limits   {first} {100 * result.limits[first]:.1f} %, {second} {100 * result.limits[second]:.1f} %" in shown
    )
    (mlp,) = (line for line in shown.splitlines() if line.startswith("mlp "))
    assert mlp.split()[4] == "dot"
    assert result.to_dict()["by_op"][0]["limited_by"] and f"ops limited {first}" in repr(result)


def test_one_gemm_has_one_limit():
    for machine, weights in (("edge-mx", "mxint8"), ("gemv-engine", "seedlm4")):
        result = hwsim.gemm(machine, 1, 512, 512, weights=weights)
        assert result.limits == {result.limited_by: 1.0} and result.by_op[0].limited_by == result.limited_by
        assert "op limits" not in result_text(result)


@pytest.mark.parametrize("machine", ["edge-mx", "h100-sxm"])
def test_what_confuses_beside_the_bound_is_explained(machine):
    """A server busier than the one that bounds, by refresh or rereads; a run faster than the sum of its ops' bounds."""
    for batch in (1, 64, 512):
        result = hwsim.run(
            machine, "mamba2-130m", context=64, batch=batch, weights="bf16" if "h100" in machine else "mxint8"
        )
        busiest = max(result.utilization, key=result.utilization.get)
        shown = result_text(result)
        assert ("count as busy, and not in the bound" in shown) == (busiest != result.limited_by)
        assert ("ops overlap, so the run can be faster" in shown) == (result.cycles < result.roofline_cycles)


def test_routers_that_take_time_are_explained():
    """Their multiply-adds pass the vector unit, at a rate of the machine's file; a note from 2 % of the time on."""
    result = hwsim.run("h200-sxm", "nemotron3-nano-30b-a3b", phase="prefill", context=2048, weights="fp8")
    (router,) = (row for row in result.by_op if row.name == "router")
    passes = 2048 * 128 * 2688 * 23  # tokens, experts, width, layers
    rate = 132 * 128  # SMs, FP32 lanes of each
    assert router.limited_by == "vector" and router.cycles >= passes / rate > 0.02 * result.cycles
    (note,) = (note for note in result.notes if note.startswith("routers"))
    assert note.startswith(f"routers, {100 * router.cycles / result.cycles:.1f} % of the time, multiply in FP32")
    decode = hwsim.run("h200-sxm", "nemotron3-nano-30b-a3b", context=2048, weights="fp8")
    assert not [note for note in decode.notes if note.startswith("routers")]


def test_scattered_rows_that_cost_nothing_more_are_noted():
    """Rows of tables on a machine that lacks `dram.scattered`; none where it is given or they take no time."""
    results = {name: hwsim.run(name, "dlrm-v2", batch=64) for name in ("rtx4090", "h100-sxm")}
    said = {name: [n for n in r.notes if "unrelated addresses" in n] for name, r in results.items()}
    assert len(said["rtx4090"]) == 1 and "as rtx4090 has no `dram.scattered`" in said["rtx4090"][0]
    assert not said["h100-sxm"]
    assert not [n for n in hwsim.run("rtx4090", "llama3-8b", context=512).notes if "unrelated" in n]
