"""DLRM: DCNv2 on an H100 against MLPerf Inference, and what table rows cost per format."""

import pytest

import hwsim
from hwsim.workload import StepOptions, load_model

#: MLPerf Inference, datacenter, offline, one H100 SXM of a server with eight: samples/s at 99.9 % (FP16) and at 99 % of
#: the accuracy. A sample is 100 to 700 pairs, 270 in the mean; a batch is 600,000 pairs.
PAIRS, BATCH = 270, 600_000
MEASURED = {"bf16": (354_151 / 8, 2.6), "fp8": (70_346, 3.3)}
KERNELS = {"measured": (), "ideal": (("cores", "null"),)}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("form", MEASURED)
def test_dcnv2_on_h100(form, kernels):
    result = hwsim.run(hwsim.load_arch("h100-sxm", KERNELS[kernels]), "dlrm-v2", batch=BATCH, weights=form)
    samples, factor = MEASURED[form]
    assert samples / factor < result.tokens_per_second / PAIRS < samples * factor
    assert result.limited_by == "dot"


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("form", MEASURED)
def test_the_cross_network_takes_more_than_the_gathers(form, kernels):
    """By itself: it is 10,616,832 of the 16,030,464 multiply-adds of a pair."""
    graph = load_model("dlrm-v2")
    crossed = {op.layer: op for op in graph.ops(StepOptions(batch=BATCH)) if op.name.startswith("crossed")}
    assert sum(op.dot_macs for op in crossed.values()) == BATCH * 10_616_832
    result = hwsim.run(hwsim.load_arch("h100-sxm", KERNELS[kernels]), graph, batch=BATCH, weights=form)
    gathers = next(row.cycles for row in result.by_op if row.name == "embedding")
    assert sum(row.cycles for row in result.by_layer if int(row.name.split()[0]) in crossed) > gathers


@pytest.mark.parametrize(
    "form, row",
    [("fp32", 512), ("bf16", 256), ("int8", 132), ("mx9", 144), ("mxfp6", 100), ("mxfp4", 68), ("nvfp4", 72)],
)
def test_bytes_of_a_pair_by_format(form, row):
    """214 rows of 128, none of them found in a cache."""
    weights = {"embedding": form, "default": "bf16"}
    graph, arch = load_model("dlrm-v2"), hwsim.load_arch("h100-sxm", [("cache", "null")])
    table, *_ = graph.ops(StepOptions(batch=100))[3:]
    assert table.irregular.rows == 21_400
    one, other = (hwsim.run(arch, graph, batch=b, weights=weights) for b in (100, 200))
    dense = {
        b: sum(op.params + sum(g.weights for g in op.gemms) for op in graph.ops(StepOptions(batch=b)))
        for b in (100, 200)
    }
    assert dense[100] == dense[200]
    assert other.bytes["weights"] - one.bytes["weights"] == 100 * 214 * row
