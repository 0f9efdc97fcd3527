"""The shipped machines: numbers against arithmetic on public figures, and every number with its source."""

import json
import re
import subprocess
import sys
from fractions import Fraction
from math import ceil

import pytest
import yaml

from hwsim import gemm, run
from hwsim.arch import arch_config, arch_names, load_arch, load_arch_text
from hwsim.arch.builtin import arch_folder
from hwsim.formats.names import ALIASES, layout
from hwsim.formats.names import NAMES as FORMATS
from hwsim.quantities import DURATION, EXAMPLES, quantity
from hwsim.report.text import yaml_text

NAMES = ["a100-sxm", "b200", "b300", "edge-mx", "gb200", "gb300", "gemmini", "h100-sxm", "h200-sxm", "h200-sxm-regen"]
NAMES += ["h200-sxm-trtllm"]
NAMES += ["m0", "mi210", "rtx-pro-6000", "rtx4090", "seedlm-virtex7", "tpu-v4i"]
GEMV = ["gemm-engine", "gemv-engine"]


def test_the_machines_are_there():
    assert arch_names() == sorted([*NAMES, *GEMV])


@pytest.mark.parametrize("name", [*NAMES, *GEMV])
def test_each_loads_under_its_name_without_warnings(name):
    arch = load_arch(name)
    assert arch.name == name
    assert arch.warnings == ()
    assert hash(arch) is not None


@pytest.mark.parametrize("name", [*NAMES, *GEMV])
def test_the_config_of_a_result_reads_back_to_the_same_machine(name):
    config = arch_config(load_arch(name))
    assert load_arch_text(json.dumps(config, ensure_ascii=False, indent=1)) == load_arch(name)
    assert load_arch_text(yaml.safe_dump(config)) == load_arch(name)


def spelled(path, value, clock):
    """A value of a machine file, however it is spelled: rates and times in cycles, formats by full name."""
    *_, part, key = ("", *path)
    if not isinstance(value, str) or key in ("name", "description", "kind", "kernels", "calibration"):
        return value
    if re.match("[0-9]", value) and " " in value:
        read = quantity(value, *EXAMPLES, zero=True)
        if read.dimension in DURATION and part != "stack":
            cycles = read.cycles(clock)
            exact = part in ("link", "launch", "refresh")  # all else waits whole cycles
            return cycles if exact else ceil(cycles)
        return read.per_cycle(clock) if "/" in read.dimension else read.value
    return layout(value).name if value in (*FORMATS, *ALIASES) else value


def leaves(tree, path=()):
    """Every plain value of a tree, by its path."""
    if isinstance(tree, dict | list):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(part, (*path, key))
    else:
        yield path, tree


@pytest.mark.parametrize("name", [*NAMES, *GEMV])
def test_every_value_of_a_machine_file_comes_back(name):
    """File to machine to file: each value as the file gives it; and that file once more, byte for byte."""
    machine = load_arch(name)
    printed = yaml_text(machine.file())
    back = dict(leaves(yaml.safe_load(printed)))
    for path, value in leaves(yaml.safe_load((arch_folder() / f"{name}.yaml").read_text())):
        clock = machine.clock_hz
        assert spelled(path, back[path], clock) == spelled(path, value, clock), path
    assert yaml_text(load_arch_text(printed).file()) == printed


def test_the_config_of_a_machine_that_uses_every_field_reads_back():
    everything = [("launch.interval", "2.5 us"), ("dram.row", "1 KiB"), ("dram.row_miss", "7 ns")]
    everything += [("dram.turnaround", "10 ns"), ("kv", "fp8"), ("state", "fp16"), ("dot.accumulator", "2 B")]
    everything += [("hypothetical", "true"), ("dram.bandwidth", "1000 B/cycle"), ("dram.beat", "32 B")]
    arch = load_arch("h200-sxm-regen", everything)
    assert arch.launch.interval_cycles == Fraction(4575)
    assert (arch.dram.row_bytes, arch.dram.row_miss_cycles, arch.dram.turnaround_cycles) == (1024, 13, 19)
    assert (arch.kv, arch.state, arch.dot.accumulator_bytes) == ("fp8_e4m3", "fp16", 2)
    assert load_arch_text(json.dumps(arch_config(arch))) == arch


@pytest.mark.parametrize("name", [*NAMES, *GEMV])
def test_every_number_has_a_source_on_its_line(name):
    lines = (arch_folder() / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=machine.schema.json"
    group = ""
    for line in lines:
        assert len(line) <= 140
        body, _, comment = line.partition(" #")
        if line.startswith(("#", "name:", "description:")):
            continue
        if re.fullmatch(r"[a-z_]+:", body):
            group = comment  # on `buffers:` or `tiles:` it speaks for what is below
        if re.search(r"[0-9]", body) and not re.search("(weights|activations|feeds|kv|state|target): [a-z]", body):
            assert comment or group, line


def test_m0_is_the_machine_of_the_comparisons():
    m0 = load_arch("m0")
    assert m0.clock_hz == 10**9
    assert m0.dot.rate("int8", "int8") == 128 * 128
    assert m0.dram.bytes_per_cycle == 100
    assert m0.dram.refresh.kind == "none"
    assert m0.buffers.weights == m0.buffers.activations == m0.buffers.outputs == 2**20
    assert m0.dot.accumulator_bytes == 4
    assert m0.vector.elements_per_cycle == 128
    assert (m0.activations, m0.kv, m0.state) == ("dram", "int8", "int8")


@pytest.mark.parametrize("name", ["h200-sxm", "h200-sxm-regen"])
def test_h200_adds_up_to_its_data_sheet(name):
    h200 = load_arch(name)
    tflops = {r.weights: float(2 * r.macs_per_cycle * h200.clock_hz / 10**12) for r in h200.dot.rates}
    eight = dict.fromkeys(("fp8_e4m3", "fp8_row", "fp8_block", "int8"), 1979)
    assert tflops == pytest.approx({"bf16": 989, "fp16": 989} | eight, rel=1e-3)
    assert h200.dram.bytes_per_cycle * h200.clock_hz == 4_800_000_000_000
    assert h200.dram.capacity_bytes == 141 * 10**9
    assert float(2 * h200.vector.elements_per_cycle * h200.clock_hz / 10**12) < 67  # FP32 TFLOPS, as FMA
    assert h200.buffers.weights <= 132 * 228 * 1024
    assert h200.buffers.outputs <= 132 * 256 * 1024


def test_the_hypothetical_machine_says_so_and_differs_in_the_regenerators_only():
    plain, regen = load_arch("h200-sxm"), load_arch("h200-sxm-regen")
    assert regen.hypothetical and not plain.hypothetical
    assert "HYPOTHETICAL" in regen.description
    assert regen.regenerate.blocks_per_cycle == 132 * 5
    same = set(arch_config(regen)) - {"name", "description", "hypothetical", "regenerate", "round"}
    assert {k: arch_config(regen)[k] for k in same} == {k: arch_config(plain)[k] for k in same}
    assert regen.regenerate.blocks_per_cycle * 4 >= plain.dram.bytes_per_cycle  # 32-bit blocks keep up with the memory


def test_seedlm_virtex7_is_the_published_design():
    fpga = load_arch("seedlm-virtex7")
    assert fpga.dram.bytes_per_cycle == fpga.dram.beat_bytes == 64
    assert fpga.dot.rate("fp16", "fp16") == 32
    assert fpga.dot.rate("seedlm4", "fp16") == 128
    assert fpga.dot.rate("bf16", "bf16") is None
    assert fpga.dram.refresh.kind == "all_bank"
    assert (fpga.dram.refresh.period_cycles, fpga.dram.refresh.stall_cycles) == (1560, 60)
    assert fpga.dram.latency_cycles + fpga.regenerate.latency_cycles + fpga.dot.latency_cycles == 276
    assert (fpga.regenerate.blocks_per_cycle, fpga.regenerate.feeds) == (16, "fp16")
    assert (fpga.activations, fpga.vector, fpga.dequantise) == ("on_chip", None, None)


def test_importing_the_room_is_light_and_loading_needs_no_numpy():
    code = (
        "import sys, hwsim.arch; light = {'yaml', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "hwsim.arch.arch_names(); light |= {'yaml', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "hwsim.arch.load_arch('m0'); print(light, {'numpy', 'numba', 'simpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() set()"


def test_public_names_are_complete():
    import hwsim.arch

    assert all(getattr(hwsim.arch, name) for name in hwsim.arch.__all__)
    assert dir(hwsim.arch) == hwsim.arch.__all__ == sorted(hwsim.arch.__all__)
    with pytest.raises(AttributeError):
        _ = hwsim.arch.nothing


@pytest.mark.parametrize(
    "name, tflops, bandwidth, capacity, sms",
    [
        ("a100-sxm", {"bf16": 312, "fp16": 312, "int8": 624}, 2_039, 80, (108, 164)),
        ("h100-sxm", {"bf16": 989, "fp16": 989, "fp8_e4m3": 1979, "int8": 1979}, 3_350, 80, (132, 228)),
        (
            "b200",
            {"bf16": 2250, "fp16": 2250, "fp8_e4m3": 4500, "int8": 4500, "mxfp8_e4m3": 4500, "nvfp4": 9000},
            8_000,
            180,
            (148, 228),
        ),
    ],
)
def test_gpus_add_up_to_their_data_sheets(name, tflops, bandwidth, capacity, sms):
    gpu = load_arch(name)
    for fmt, want in tflops.items():
        assert float(2 * gpu.dot.rate(fmt, fmt) * gpu.clock_hz / 10**12) == pytest.approx(want, rel=1e-3)
    assert gpu.dram.bytes_per_cycle * gpu.clock_hz == bandwidth * 10**9
    assert gpu.dram.capacity_bytes == capacity * 10**9
    cores, shared = sms
    assert gpu.buffers.weights <= cores * shared * 1024
    assert gpu.buffers.outputs <= cores * 256 * 1024


def test_the_edge_npu_is_hypothetical_and_its_regenerators_keep_up_with_its_memory():
    edge = load_arch("edge-mx")
    assert edge.hypothetical and "HYPOTHETICAL" in edge.description
    assert edge.regenerate.blocks_per_cycle * 4 >= edge.dram.bytes_per_cycle
    assert edge.dot.rate(edge.regenerate.feeds, edge.kv) is not None


def test_systolic_machines_add_up_to_what_is_published():
    tpu = load_arch("tpu-v4i")
    assert float(2 * tpu.dot.rate("bf16", "bf16") * tpu.clock_hz / 10**12) == pytest.approx(138, rel=5e-3)
    assert tpu.dram.bytes_per_cycle * tpu.clock_hz == 614 * 10**9
    assert tpu.buffers.weights + tpu.buffers.activations + tpu.buffers.outputs == 144 * 2**20
    gemmini = load_arch("gemmini")
    assert (gemmini.dot.rows, gemmini.dot.columns, gemmini.dot.dataflow) == (16, 16, "weight_stationary")
    assert gemmini.buffers.weights + gemmini.buffers.activations == 256 * 2**10
    assert (gemmini.buffers.outputs, gemmini.dram.bytes_per_cycle) == (64 * 2**10, 16)
    assert (gemmini.kv, gemmini.state) == ("int8", "int8")


def test_summaries_are_peak_rates():
    """The line of a table: clock, GB/s and TMAC/s by hand from the data sheets, before refresh."""
    s = load_arch("seedlm-virtex7").summary()
    assert (s.clock_hz, s.bytes_per_second, s.macs_per_second) == (200 * 10**6, 12_800_000_000, 25_600_000_000)
    assert s.formats == (("fp16", "fp16"), ("seedlm4", "fp16"))
    s = load_arch("gemv-engine").summary()
    assert (s.clock_hz, s.bytes_per_second) == (200 * 10**6, 64 * 200 * 10**6)
    assert (s.macs_per_second, s.formats) == (4 * 32 * 200 * 10**6, (("seedlm4", "mxint8"),))
    assert load_arch("gemm-engine").summary().macs_per_second == 8 * s.macs_per_second


def test_bandwidth_less_refresh():
    """`spread` refresh takes its share of every cycle; the stops of `all_bank` are placed by the simulator."""
    spread = load_arch("m0", [("dram.refresh", "{kind: spread, period: 4 us, stall: 300 ns}")])
    assert spread.dram.rate == 100 * Fraction(37, 40)
    stops = load_arch("m0", [("dram.refresh", "{kind: all_bank, period: 4 us, stall: 300 ns}")])
    assert stops.dram.rate == load_arch("m0").dram.rate == 100


def test_the_stops_of_a_gpu_s_memory_count_once():
    """A third of all time stopped costs decode attention about what a rate of two thirds costs, not more."""
    refresh = "{kind: %s, period: 3.9 us, stall: 1.3 us}"
    none, spread, stops = (
        run(load_arch("h100-sxm", [("dram.refresh", text)]), "llama3-8b", batch=64, context=32768, engine="walk").cycles
        for text in ("{kind: none}", refresh % "spread", refresh % "all_bank")
    )
    assert none < stops and none < spread
    assert stops == pytest.approx(spread, rel=0.02)


def test_times_of_the_software_may_be_written_in_cycles():
    stack = "{launch: 1830 cycles, layer: 0 us, step: 100 us, sequence: 3 us}"
    arch = load_arch("h200-sxm-trtllm", [("stack", stack)])  # 1.83 GHz
    assert (arch.stack.launch_seconds, arch.stack.step_seconds, arch.stack.sequence_seconds) == (1e-6, 1e-4, 3e-6)


def test_b300_adds_up_to_its_board():
    """Eight of them, dense: 18 PFLOP/s in 16 bits, 36 in 8, 105 in 4; 2.3 TB of memory (NVIDIA HGX B300)."""
    chip = load_arch("b300")
    pflops = {r.weights: float(8 * 2 * r.macs_per_cycle * chip.clock_hz / 10**15) for r in chip.dot.rates}
    assert pflops["bf16"] == pytest.approx(18, rel=1e-3)
    assert pflops["mxfp8_e4m3"] == pytest.approx(36, rel=1e-3)
    assert pflops["nvfp4"] == pytest.approx(105, rel=1e-3)
    assert 8 * chip.dram.capacity_bytes == pytest.approx(2.3e12, rel=2e-3)
    assert [level.chips for level in chip.link.levels] == [8, 4096]
    assert gemm(chip, 4096, 4096, 4096, engine="walk").provenance["transferred"] == pytest.approx(1)


@pytest.mark.parametrize("name, four, capacity", [("gb200", 10000, 186), ("gb300", 15000, 288)])
def test_superchips_add_up_to_their_product_pages(name, four, capacity):
    """Dense TFLOP/s and memory of one GPU of an NVL72 rack; kernels by the shares of another chip are marked so."""
    chip = load_arch(name)
    tflops = {r.weights: float(2 * r.macs_per_cycle * chip.clock_hz / 10**12) for r in chip.dot.rates}
    assert tflops["bf16"] == pytest.approx(2500, rel=1e-3)
    assert tflops["fp8_e4m3"] == pytest.approx(5000, rel=1e-3)
    assert tflops["nvfp4"] == pytest.approx(four, rel=1e-3)
    assert chip.dram.capacity_bytes == capacity * 10**9
    assert [level.chips for level in chip.link.levels] == [72, 4608]
    assert chip.cores.measured_on == "b200"
    found = gemm(chip, 4096, 4096, 4096, engine="walk")
    assert found.provenance["transferred"] == pytest.approx(1)
