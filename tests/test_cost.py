"""Energy and area against the formula in rationals, on a table defined here."""

from fractions import Fraction

import pytest

import hwsim
from hwsim.arch import load_arch
from hwsim.arch.technology import Sourced, Technology
from hwsim.cost import CostTable, Unit, Work, cost, cost_table
from hwsim.jobs.run import gemm_job
from hwsim.mapping.traffic import seed_blocks
from hwsim.result import Cost

TECHNOLOGY = Technology(
    dram_pj_per_byte=Sourced(32.0, "a"),
    buffer_pj_per_byte=Sourced(2.0, "b"),
    toggle_pj=Sourced(0.001, "c"),
    activity=Sourced(0.25, "d"),
    mac_pj={("fp16", "fp16"): Sourced(0.5, "e")},
    vector_pj=Sourced(3.0, "h"),
    nand2_um2=Sourced(0.125, "f"),
    bit_um2=Sourced(0.03125, "g"),
)
UNITS = {
    "block_dot_int8": Unit(10_000, 32, "x"),
    "accumulator_int8": Unit(6_000, 1, "x"),
    "seed_decoder_seedlm4": Unit(4_000, 8, "x"),
    "requantizer_seedlm4_mxint8": Unit(20_000, 32, "x"),
}
M0 = load_arch("m0", [("idle", "2 W")])


def table(technology=TECHNOLOGY, units=UNITS) -> CostTable:
    return CostTable(units, technology)


def test_energy_and_area_are_the_formula():
    work = Work(0.5, 1000, {("int8", "int8"): 64_000}, {}, vector=500)
    found = cost(table(), M0, work)
    pico = Fraction(1, 10**12)
    expected = {
        "dram": 32 * 1000 * pico,
        "buffers": 2 * 2 * 1000 * pico,
        "dot int8 x int8": Fraction(64_000, 32) * 16_000 * Fraction(1, 4) * Fraction(1, 1000) * pico,
        "vector": 3 * 500 * pico,
        "static": Fraction(1),
    }
    assert {t.name: t.value for t in found.energy} == pytest.approx({k: float(v) for k, v in expected.items()})
    assert Cost.total(found.energy) == pytest.approx(float(sum(expected.values())))
    count = -(-M0.dot.rate("int8", "int8") // 32)
    buffers = M0.buffers.weights + M0.buffers.activations + M0.buffers.outputs
    area = {t.name: t.value for t in found.area}
    assert area["dot int8 x int8"] == pytest.approx(float(count * 16_000 * Fraction(1, 8) / 10**6))
    assert area["buffers"] == pytest.approx(buffers * 8 / 32 / 1e6)
    assert area["vector"] is None and Cost.total(found.area) is None


def test_regenerators_gather_whole_target_blocks():
    arch = load_arch("seedlm-virtex7")
    work = Work(1.0, 0, {("fp16", "fp16"): 1_000_000}, {("seedlm4", "mxint8"): 400})
    found = {t.name: t for t in cost(table(), arch, work).energy}
    # 4 decoders of 8 weights and one requantizer of 32 make a block: 100 of them.
    joules = 100 * (4 * 4_000 + 20_000) * 0.25 * 1e-3 * 1e-12
    assert found["regenerate seedlm4 to mxint8"].value == pytest.approx(joules)
    assert found["dot fp16 x fp16"].value == pytest.approx(0.5e-6)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"technology": None}, "m0: no `technology` in the machine file"),
        ({"units": {}}, "block_dot_int8"),
        ({"units": {**UNITS, "accumulator_int8": Unit(None, 1, "x")}}, "accumulator_int8 is not measured"),
    ],
)
def test_a_term_without_a_source_is_none_and_says_what_is_missing(change, word):
    found = cost(table(**change), M0, Work(0.5, 1000, {("int8", "int8"): 64_000}, {}))
    lacking = [t for t in found.energy if t.value is None]
    assert lacking and any(word in t.source for t in lacking)
    assert Cost.total(found.energy) is None


def test_every_term_of_a_run_has_a_source():
    result = hwsim.gemm("tpu-v4i", 1, 512, 512, weights="int8")
    assert all(t.source for t in (*result.cost.energy, *result.cost.area))
    terms = {t.name: t for t in result.cost.energy}
    assert terms["dram"].value == pytest.approx(result.dram_bytes * 350 / 8 * 1e-12)
    assert result.energy_joules == Cost.total(result.cost.energy)


def test_shipped_table_has_the_operations_per_cycle_of_each_unit():
    units = cost_table(M0).units
    assert units["block_dot_mxint8"].per_cycle == 32 and units["seed_decoder_seedlm4"].per_cycle == 8
    assert len(units["block_dot_mxint8"].verilog_sha256) == 64


def test_static_energy_is_the_machines_idle_power():
    work = Work(3.0, 0, {}, {})
    assert cost(table(), M0, work).energy[-1].value == 6.0
    without = cost(table(), load_arch("m0"), work).energy[-1]
    assert without.value is None and "no `idle` in the machine file" in without.source


def test_each_row_of_weights_begins_a_seed_block():
    job = gemm_job("seedlm-virtex7", 1, 100, 100, weights="seedlm4")
    (op,), (opd,) = job.ops, job.operands
    assert seed_blocks(op, opd) == 100 * 13  # 8 weights per block
