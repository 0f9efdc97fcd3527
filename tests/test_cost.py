"""Energy and area against the formula in rationals, on a table defined here."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import hwsim
from hwsim.arch import load_arch
from hwsim.arch.technology import DramKind, Sourced, Technology
from hwsim.cost import CostTable, Unit, Work, cost, cost_table
from hwsim.jobs.run import gemm_job
from hwsim.mapping.onchip import buffer_bytes
from hwsim.mapping.traffic import activation_bytes, seed_blocks
from hwsim.report.text import cost_lines
from hwsim.result import Cost

DRAM = DramKind("made up", Sourced(32.0, "a"))
TECHNOLOGY = Technology(
    name="made up",
    buffer_pj_per_byte=Sourced(2.0, "b"),
    toggle_pj=Sourced(0.001, "c"),
    activity=Sourced(0.25, "d"),
    mac_pj=((("fp16", "fp16"), Sourced(0.5, "e")),),
    vector_pj=Sourced(3.0, "h"),
    nand2_um2=Sourced(0.125, "f"),
    utilisation=Sourced(0.5, "i"),
    bit_um2=Sourced(0.03125, "g"),
)
UNITS = {
    "block_dot_int8": Unit(10_000, 32, "x"),
    "accumulator_int8": Unit(6_000, 1, "x"),
    "seed_decoder_seedlm4": Unit(4_000, 8, "x"),
    "requantizer_seedlm4_mxint8": Unit(20_000, 32, "x"),
}
M0 = load_arch("m0", [("idle", "2 W")])


def table(technology=TECHNOLOGY, units=UNITS, dram=DRAM) -> CostTable:
    return CostTable(units, technology, dram)


def test_energy_and_area_are_the_formula():
    work = Work(0.5, 1000, 3000, {("int8", "int8"): 64_000}, {}, vector=500)  # m0 lists int8 x int8 alone
    found = cost(table(), M0, work)
    pico = Fraction(1, 10**12)
    expected = {
        "dram": 32 * 1000 * pico,
        "buffers": 2 * 3000 * pico,
        "dot int8 x int8": Fraction(64_000, 32) * 16_000 * Fraction(1, 4) * Fraction(1, 1000) * pico,
        "vector": 3 * 500 * pico,
        "static": Fraction(1),
    }
    assert {t.name: t.value for t in found.energy} == pytest.approx({k: float(v) for k, v in expected.items()})
    assert Cost.total(found.energy) == pytest.approx(float(sum(expected.values())))
    count = -(-M0.dot.rate("int8", "int8") // 32)
    buffers = M0.buffers.weights + M0.buffers.activations + M0.buffers.outputs
    area = {t.name: t.value for t in found.area}
    assert area["dot int8 x int8"] == pytest.approx(float(count * 16_000 * Fraction(1, 8) / Fraction(1, 2) / 10**6))
    assert area["buffers"] == pytest.approx(buffers * 8 / 32 / 1e6)
    assert area["vector"] is None and Cost.total(found.area) is None


def test_regenerators_gather_whole_target_blocks():
    arch = load_arch("seedlm-virtex7")
    work = Work(1.0, 0, 0, {("fp16", "fp16"): 1_000_000}, {("seedlm4", "mxint8"): 400})
    found = {t.name: t for t in cost(table(), arch, work).energy}
    # 4 decoders of 8 weights and one requantizer of 32 make a block: 100 of them.
    joules = 100 * (4 * 4_000 + 20_000) * 0.25 * 1e-3 * 1e-12
    assert found["regenerate seedlm4 to mxint8"].value == pytest.approx(joules)
    assert found["dot fp16 x fp16"].value == pytest.approx(0.5e-6)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"technology": None}, "m0: no `technology` in the machine file"),
        ({"dram": None}, "m0: no `kind` under `dram` in the machine file; known: ddr4, hbm2"),
        ({"technology": replace(TECHNOLOGY, toggle_pj=Sourced(None, "no toggle"))}, "no toggle"),
        ({"units": {}}, "block_dot_int8"),
        ({"units": {**UNITS, "accumulator_int8": Unit(None, 1, "x")}}, "accumulator_int8 is not measured"),
    ],
)
def test_a_term_without_a_source_is_none_and_says_what_is_missing(change, word):
    found = cost(table(**change), M0, Work(0.5, 1000, 3000, {("int8", "int8"): 64_000}, {}))
    lacking = [t for t in found.energy if t.value is None]
    assert lacking and any(word in t.source for t in lacking)
    assert Cost.total(found.energy) is None


def test_every_term_of_a_run_has_a_source():
    result = hwsim.gemm("tpu-v4i", 1, 512, 512, weights="int8")
    assert all(t.source for t in (*result.cost.energy, *result.cost.area))
    terms = {t.name: t for t in result.cost.energy}
    assert terms["dram"].value == pytest.approx(result.dram_bytes * 3.9 * 8 * 1e-12)
    assert result.energy_joules == Cost.total(result.cost.energy) is None  # its static power is not known
    known = hwsim.gemm(load_arch("tpu-v4i", [("idle", "50 W")]), 1, 512, 512, weights="int8")
    assert known.energy_joules == pytest.approx(sum(t.value for t in known.cost.energy))


def test_shipped_table_has_the_operations_per_cycle_of_each_unit():
    units = cost_table(M0).units
    assert units["block_dot_mxint8"].per_cycle == 32 and units["seed_decoder_seedlm4"].per_cycle == 8
    assert len(units["block_dot_mxint8"].netlist_sha256) == 64


def test_static_energy_is_the_machines_idle_power():
    work = Work(3.0, 0, 0, {}, {})
    assert cost(table(), M0, work).energy[-1].value == 6.0
    without = cost(table(), load_arch("m0"), work).energy[-1]
    assert without.value is None and "no `idle` in the machine file" in without.source


def test_each_row_of_weights_begins_a_seed_block():
    job = gemm_job("seedlm-virtex7", 1, 100, 100, weights="seedlm4")
    (op,), (opd,) = job.ops, job.operands
    assert seed_blocks(op, opd) == 100 * 13  # 8 weights per block


def on_chip(machine, m, n, k, weights="int8", **changes) -> int:
    """Bytes of the buffers' term of a GEMM, at a picojoule each."""
    job = gemm_job(machine, m, n, k, weights, None, None, tuple(changes.items()))
    return job._work(1.0, 0).buffer_bytes


@pytest.mark.parametrize("m", [4096, 8192])
def test_buffers_count_what_stays_on_chip(m):
    """X and Y of a GEMM whose activations stay on chip: at least once in and once out, as W is."""
    result = hwsim.gemm("tpu-v4i", m, 4096, 4096, weights="int8")
    joules = {t.name: t.value for t in result.cost.energy}["buffers"]
    least = 2 * (4096 * 4096 + 2 * m * 4096)
    assert joules >= least * 1.75e-12
    tile = [int(each) for each in result.tiling.split(",")[0].split("x")]
    rows, columns, steps = -(-m // tile[0]), -(-4096 // tile[1]), -(-4096 // tile[2])
    weights = 4096 * (4096 + 4) * (1 + rows)  # with a scale per row; in from DRAM, out for each row of tiles
    inputs = m * 4096 * (1 + columns)
    sums = m * 4096 * 4 * 2 * steps  # 32 bits, in and out for each tile of K
    results = m * 4096 * 2
    assert joules == pytest.approx((weights + inputs + sums + results) * 1.75e-12)


def test_buffers_of_a_machine_with_activations_in_dram():
    """One tile: W and X in and out, its sums in and out; Y leaves from where the sums are."""
    m, n, k = 64, 96, 128
    assert on_chip("m0", m, n, k) == 2 * (n * (k + 4) + m * k) + 2 * m * n * 4


def test_a_whole_step_hands_activations_on():
    """Each op reads and writes its own: the buffers' term is that of the ops by themselves and the two ends."""
    job = hwsim.jobs.run.checked_job("tpu-v4i", "llama2-7b", (), [], weights="int8", context=64)
    policy, tiled = job.choice
    each = zip(job.ops, job.operands, tiled, strict=True)
    parts = [buffer_bytes(job.arch, op, opd, policy.shape, one) for op, opd, one in each]
    ends = activation_bytes(job.operands[0], job.ops[0].inputs) + activation_bytes(
        job.operands[-1], job.ops[-1].outputs
    )
    assert job._work(1.0, 0).buffer_bytes == sum(parts) + ends
    assert sum(parts) > 2 * sum(t.moved.total for t in tiled)


def test_on_cores_the_count_is_a_lower_bound_and_says_so():
    result = hwsim.gemm("a100-sxm", 64, 1024, 1024, weights="bf16")
    term = {t.name: t for t in result.cost.energy}["buffers"]
    assert "a lower bound" in term.source
    assert term.value == pytest.approx(2 * 2 * (2 * 64 * 1024 + 1024 * 1024) * 1.75e-12)


def test_one_line_each_for_energy_and_area_unless_terms_are_asked_for():
    result = hwsim.gemm("tpu-v4i", 1, 512, 512, weights="int8")
    short, long = cost_lines(result), cost_lines(result, terms=True)
    assert len(short) == 2 and [line.split()[0] for line in short] == ["energy", "area"]
    assert all(line.endswith("(--energy)") for line in short)
    for term in (*result.cost.energy, *result.cost.area):
        assert any(term.source in line for line in long)
        assert not any(term.source in line for line in short)
    assert re.fullmatch(r"  energy +without static: [\d.e-]+ J of the run \(--energy\)", short[0])


def test_the_area_is_that_of_the_machine_whatever_the_run_uses():
    """Every pair that edge-mx lists, and its regenerators, of the units in units.json and gates.json at 7 nm."""
    machine = load_arch("edge-mx", [("technology", "7nm")])
    runs = [hwsim.run(machine, "mamba2-130m", context=64, weights=form) for form in ("mxfp4", "mxint8", "mxfp6")]
    terms = {term.name: term.value for term in runs[0].cost.area}
    assert all(run.cost.area == runs[0].cost.area for run in runs)
    data = Path(hwsim.__file__).parent / "data"
    units, counts = (json.loads((data / f"{name}.json").read_text())["units"] for name in ("units", "gates"))
    um2 = 0.0583 / 0.7  # ASAP7's NAND2, utilisation 0.7
    for rate in machine.dot.rates:
        name = "_".join(dict.fromkeys((rate.weights, rate.activations)))
        count = -(-rate.macs_per_cycle // units[f"block_dot_{name}"]["per_cycle"])
        square = count * sum(counts[f"{kind}_{name}"]["nand2"] for kind in ("block_dot", "accumulator")) * um2 / 1e6
        assert terms[f"dot {rate.weights} x {rate.activations}"] == pytest.approx(square, rel=1e-3)
    unknown = {name for name, value in terms.items() if value is None}
    assert unknown == {"vector", "dequantise", "round"}
    assert machine.regenerate is None or any(name.startswith("regenerate ") for name in terms)
    assert cost_lines(runs[0])[1].split(":")[0].split(maxsplit=1) == ["area", "without vector, dequantise, round"]


def test_regenerators_are_those_of_the_largest_measured_seed_format():
    larger = {"seed_decoder_seedlm3": Unit(9_000, 8, "x"), "requantizer_seedlm3_mxint8": Unit(20_000, 32, "x")}
    arch = load_arch("edge-mx", [("regenerate.rate", "100 block/cycle")])  # they feed mxint8
    found = {t.name: t.value for t in cost(table(units=UNITS | larger), arch, Work(1.0, 0, 0, {}, {})).area}
    assert found["regenerate seedlm3 to mxint8"] == pytest.approx(25 * (4 * 9_000 + 20_000) * 0.125 / 0.5 * 1e-6)
    assert not [name for name in found if "seedlm4" in name]


def test_an_area_without_dot_units_is_not_printed():
    lines = cost_lines(hwsim.gemm("tpu-v4i", 1, 512, 512, weights="int8"))
    assert "mm2" not in lines[1] and "no figure for dot bf16 x bf16" in lines[1]
    (only,) = cost_lines(hwsim.gemm("h200-sxm", 1, 512, 512, weights="bf16"))
    assert only.endswith("no public figures for the energy and the area of this machine (--energy)")


def test_what_an_energy_lacks_stands_before_the_number():
    result = hwsim.gemm(load_arch("edge-mx", [("technology", "7nm")]), 1, 512, 512, weights="mxfp4")
    known = sum(term.value for term in result.cost.energy if term.value is not None)
    assert f"without dram, static: {known:.4g} J" in cost_lines(result)[0]
