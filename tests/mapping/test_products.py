"""Products of two tensors of activations on arrays whose geometry counts: units that their shapes leave idle."""

from math import ceil

import pytest

import hwsim
from hwsim.arch import load_arch_text
from hwsim.workload import StepOptions, graph_names, load_model, load_model_text
from tests.workload.graph.test_lists import GRID, scale_sim

FOUR = GRID.replace("rows: 128", "rows: 128\n  arrays: 4").replace("16384 MAC", "65536 MAC")
BUFFERED = FOUR.replace("double_buffered: false", "double_buffered: true")
CORES = GRID.replace("kind: systolic", "kind: tensor_cores\n  shape: 16x8x32").replace(
    "  rows: 128\n  columns: 128\n  dataflow: weight_stationary\n  double_buffered: false\n", ""
)
PLAIN = CORES.replace("kind: tensor_cores\n  shape: 16x8x32", "kind: dot_array")

#: By name: inputs, op, and its GEMMs as (M, N, K, how many per sample).
PRODUCTS = {
    "matmul": ("a: [300, 200], b: [200, 70]", "op: matmul, in: [a, b]", [(300, 70, 200, 1)]),
    "pairs": ("a: [6, 40, 30], b: [6, 50, 30]", "op: matmul, in: [a, b], transpose_b: true", [(40, 50, 30, 6)]),
    "attention": (
        "q: [50, 64], k: [90, 64], v: [90, 32]",
        "op: attention, in: [q, k, v], heads: 4",
        [(50, 90, 16, 4), (50, 8, 90, 4)],
    ),
    "interact": ("a: [128], b: [26, 128]", "op: interact, in: [a, b]", [(27, 13, 128, 1)]),
    "knn": ("a: [70, 3], b: [40, 3]", "op: knn, in: [a, b], neighbours: 5", [(40, 70, 3, 1)]),
    "distribute": ("a: [500, 20], p: [500, 8]", "op: distribute, in: [a, p], sites: 8, mode: soft", [(8, 20, 500, 1)]),
}


def run(machine: str, name: str, batch: int):
    """Cycles of the dot array for one op; the vector unit and the memory have time enough."""
    inputs, op, _ = PRODUCTS[name]
    graph = load_model_text(f"name: net\ninputs: {{{inputs}}}\nops:\n  - {{name: y, {op}}}\n")
    arch = load_arch_text(machine, "m", [("vector.rate", "1000000 element/cycle")])
    result = hwsim.run(arch, graph, batch=batch, weights="int8")
    return result, result.utilization["dot"] * result.cycles


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_one_array_takes_scale_sims_cycles(name, batch):
    """Each GEMM by itself, as if its second operand were weights."""
    result, busy = run(GRID, name, batch)
    wanted = sum(batch * times * scale_sim(m, n, k) for m, n, k, times in PRODUCTS[name][2])
    assert busy == pytest.approx(wanted, rel=1e-9)
    assert result.macs == sum(batch * times * m * n * k for m, n, k, times in PRODUCTS[name][2])
    assert result.cycles >= result.bound_cycles == wanted


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_four_arrays_share_the_folds_of_a_gemm_or_the_gemms(name, batch):
    """Double buffered, a fold takes as many cycles as rows stream through, or as weights take to shift in."""
    wanted = 0
    for m, n, k, times in PRODUCTS[name][2]:
        folds, each = ceil(k / 128) * ceil(n / 128), max(m, 128)
        wanted += each * min(batch * times * ceil(folds / 4), ceil(batch * times / 4) * folds)
    assert run(BUFFERED, name, batch)[1] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", PRODUCTS)
def test_native_tiles_are_filled_up(name):
    whole = sum(5 * t * ceil(m / 16) * ceil(n / 8) * ceil(k / 32) * 16 * 8 * 32 for m, n, k, t in PRODUCTS[name][2])
    result, busy = run(CORES, name, 5)
    assert result.bound_cycles == ceil(whole / 16384)
    assert whole / 16384 <= busy < whole / 16384 + 64  # a tile takes whole cycles, and there are at most 64


@pytest.mark.parametrize("name", PRODUCTS)
def test_an_array_without_geometry_takes_the_multiply_adds(name):
    result, busy = run(PLAIN, name, 5)
    assert result.bound_cycles == ceil(result.macs / 16384)
    assert result.macs / 16384 <= busy < result.macs / 16384 + 64


def test_a_causal_query_sees_half_of_the_keys():
    text = "name: net\ninputs: {q: [64, 32]}\nops:\n"
    text += "  - {name: y, op: attention, in: [q, q, q], heads: 2, causal: true}\n"
    (op,) = load_model_text(text).ops(StepOptions(batch=3))
    assert [(g.m, g.n, g.k, g.count) for g in op.products] == [(64, 33, 16, 6), (64, 16, 33, 6)]
    assert op.macs == 3 * 64 * 65 // 2 * (32 + 32) <= sum(g.macs for g in op.products)


@pytest.mark.parametrize("machine", ["h100-sxm", "a100-sxm", "b200"])
@pytest.mark.parametrize("form", ["bf16", "fp8"])
@pytest.mark.parametrize("m, n, k, batch", [(4096, 2048, 1024, 1), (27, 27, 128, 1), (200, 300, 64, 16)])
def test_on_cores_a_matmul_takes_what_linear_layers_of_its_shape_do(machine, form, m, n, k, batch):
    """The kernel of a GEMM reads two operands, whatever they are."""
    product = f"name: net\ninputs: {{a: [{m}, {k}], b: [{k}, {n}]}}\nops:\n  - {{name: y, op: matmul, in: [a, b]}}\n"
    layers = f"name: net\ngemms:\n  - {{m: {m}, n: {n}, k: {k}, count: {batch}}}\n"
    one = hwsim.run(machine, load_model_text(product), batch=batch, weights=form)
    other = hwsim.run(machine, load_model_text(layers), weights=form)
    assert one.cycles == other.cycles and one.macs == other.macs
    assert one.provenance == other.provenance and one.provenance["ideal"] == 0


@pytest.mark.parametrize("name", graph_names())
def test_every_product_of_a_shipped_graph_has_a_shape(name):
    for op in load_model(name).ops(StepOptions(batch=3)):
        assert sum(g.macs for g in op.products) == op.macs
