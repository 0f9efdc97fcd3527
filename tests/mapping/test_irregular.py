"""Rows at places that the data tell: simulated time against closed forms, to the cycle."""

import json
from fractions import Fraction
from math import ceil, log2

import numpy as np
import pytest

import hwsim
from hwsim.arch import load_arch_text
from hwsim.errors import InputError
from hwsim.mapping.conflicts import fullest, group_cycles
from hwsim.workload import load_model, load_model_text

MACHINE = """
name: one
description: a channel of 64 B per cycle, and a vector unit that never limits
clock: 1 GHz
dram: {{bandwidth: 64 B/cycle, latency: 0 cycles, beat: {beat} B, capacity: 16 GB, refresh: {{kind: none}}{more}}}
buffers: {{weights: 8 MiB, activations: {room}, outputs: 8 MiB}}
activations: {where}
dot: {{latency: 0 cycles, rates: [{{weights: int8, activations: int8, rate: 1024 MAC/cycle}}]}}
vector: {{rate: 1000000 element/cycle, latency: 0 cycles}}
tiles: [64x64x64]
"""
SCATTERED = (
    ", scattered: {channels: 4, burst: 32 B, row: 1 KiB, banks: 8, activation: 8 ns, gap: 2 ns, turnaround: 5 ns}"
)


def machine(beat=64, more="", where="on_chip", room="64 MiB"):
    return load_arch_text(MACHINE.format(beat=beat, more=more, where=where, room=room))


def table(rows, width, distribution="uniform"):
    return load_model_text(
        f"name: net\ninputs: {{i: {{shape: [{rows}], rows: 100000}}}}\nops:\n"
        f"  - {{name: y, op: embedding, in: [i], rows: 100000, out: {width}, distribution: {distribution}}}\n"
    )


#: Bytes of a row by format and width: dense bits, or blocks along the row with their scales.
ROWS = {
    ("fp32", 64): 256,
    ("fp32", 3): 12,
    ("bf16", 128): 256,
    ("int8", 128): 132,
    ("mx9", 128): 144,
    ("mxfp6", 128): 100,
    ("mxfp4", 128): 68,
    ("mxfp4", 64): 34,
    ("nvfp4", 128): 72,
}


@pytest.mark.parametrize("form, width", ROWS)
@pytest.mark.parametrize("beat", [32, 64])
def test_each_row_takes_whole_beats(form, width, beat):
    """Use of the channel: r / (b ceil(r / b)); FP32 of 64: 100 %, MXFP4 of 64: 53 %, FP32 of 3: 19 % at 64 B."""
    n, r = 4096, ROWS[form, width]
    result = hwsim.run(machine(beat), table(n, width), weights={"embedding": form, "default": "int8"})
    assert result.bytes["weights"] == n * r
    assert result.dram_bytes == n * ceil(r / beat) * beat
    assert result.cycles == ceil(n * ceil(r / beat) * beat / 64) + last(result)


def last(result):
    """Cycles of the vector unit behind the last tile of the DRAM: it adds up nothing, so none or one."""
    extra = result.cycles - ceil(result.dram_bytes / 64)
    assert extra <= 1
    return extra


def test_rows_in_order_cost_what_a_stream_costs():
    n, form = 4096, {"embedding": "mxfp4", "default": "int8"}
    result = hwsim.run(machine(), table(n, 64, "sequential"), weights=form)
    assert result.dram_bytes == n * 34
    assert result.cycles == ceil(n * 34 / 64) + last(result)
    assert hwsim.run(machine(), table(n, 64), weights=form).dram_bytes == n * 64


@pytest.mark.parametrize("width", [16, 64, 256, 1024])
def test_scattered_rows_take_the_time_of_their_channels(width):
    """Per piece and channel: data and gap, or as long as its rows take to open; four channels of 16 B per cycle."""
    n, r = 4096, 4 * width
    result = hwsim.run(machine(32, SCATTERED), table(n, width), weights={"embedding": "fp32", "default": "int8"})
    data = r / 64
    opened = max(ceil(r / 1024), min(ceil(r / 32), 8)) * 8 / 4
    assert result.cycles == pytest.approx(n * max(data + min(2 / 4, data), opened), abs=2)
    assert result.stalls["row_miss"] == pytest.approx(result.cycles - n * data, abs=3)


def test_a_row_miss_per_row():
    n = 4096
    result = hwsim.run(
        machine(64, ", row: 1 KiB, row_miss: 5 ns"), table(n, 32), weights={"embedding": "fp32", "default": "int8"}
    )
    assert result.cycles == pytest.approx(n * (128 / 64 + 5), abs=2)
    assert result.stalls["row_miss"] == 5 * n


def gather(rows=4096, width=32):
    return load_model_text(
        f"name: net\ninputs: {{x: [1000, {width}], i: {{shape: [{rows}], rows: 1000}}}}\nops:\n"
        "  - {name: y, op: gather, in: [x, i]}\n"
    )


def test_rows_of_activations_in_dram():
    result = hwsim.run(machine(where="dram"), gather(), weights="int8")
    row = 32 + 4  # int8 with its scale
    written = result.dram_bytes - 4096 * 64
    assert 4096 * 32 <= written < 1.01 * 4096 * 32  # each tile's results are rounded up to whole beats
    assert result.bytes["activations"] == 4096 * row + 4096 * 32
    assert result.bytes["weights"] == 0


def test_rows_of_activations_on_chip_cross_no_dram():
    assert hwsim.run(machine(), gather(), weights="int8").dram_bytes == 0


def test_time_falls_with_bandwidth_and_grows_with_rows():
    cycles = [hwsim.run(machine(32, SCATTERED), table(n, 64), weights="int8").cycles for n in (1000, 2000, 4000)]
    assert cycles[0] < cycles[1] < cycles[2]
    assert cycles[2] == pytest.approx(2 * cycles[1], rel=0.01)
    faster = load_arch_text(
        MACHINE.format(beat=32, more=SCATTERED, where="on_chip", room="64 MiB"),
        "x",
        [("dram.bandwidth", "128 B/cycle")],
    )
    assert hwsim.run(faster, table(4000, 64), weights="int8").cycles <= cycles[2]


@pytest.mark.parametrize("engine", ["simpy", "walk"])
def test_both_drivers(engine):
    found = hwsim.run("tpu-v4i", "dlrm-v2", batch=64, weights="int8", engine=engine)
    assert found.cycles == hwsim.run("tpu-v4i", "dlrm-v2", batch=64, weights="int8").cycles


def test_on_cores_rows_take_what_the_memory_takes_for_them():
    arch = hwsim.load_arch("h100-sxm", [("cache", "null")])
    n, r = 1_000_000, 256
    result = hwsim.run(arch, table(n, 128), weights="bf16")
    stream = hwsim.run(arch, table(n, 128, "sequential"), weights="bf16")
    assert stream.dram_bytes == result.dram_bytes == 2 * n * r  # the rows, and the results
    pieces = float(arch.dram.scattered_cycles(n, r))
    assert result.cycles == pytest.approx(pieces + stream.cycles / 2, rel=0.02)
    assert pieces > 1.3 * stream.cycles / 2


# -- banked memory on the chip ---------------------------------------------------------------------


def banked(ports, banks, width=32, more=""):
    part = f"gather: {{ports: {ports}, banks: {banks}, width: {width} B, latency: 0 cycles}}\n"
    return load_arch_text(MACHINE.format(beat=64, more="", where="on_chip", room="64 MiB") + part)


def max_of(places, banks):
    return np.stack([(places == b).sum(1) for b in range(banks)]).max(0).mean()


@pytest.mark.parametrize("ports, banks", [(1, 8), (2, 2), (2, 16), (4, 8), (8, 8), (8, 32), (16, 16)])
def test_the_fullest_bank(ports, banks):
    places = np.random.default_rng(1).integers(0, banks, (100_000, ports))
    assert float(fullest(ports, banks)) == pytest.approx(max_of(places, banks), rel=0.01)


def test_the_fullest_of_few_by_hand():
    assert fullest(1, 5) == 1
    assert fullest(2, 2) == Fraction(3, 2)  # apart or together, each with chance 1/2
    assert fullest(3, 2) == Fraction(9, 4)  # all together with chance 1/4
    assert fullest(2, 10) == Fraction(11, 10)


@pytest.mark.parametrize("ports, banks, words", [(4, 16, 2), (4, 12, 5), (8, 8, 8), (2, 4, 8)])
def test_rows_of_several_words(ports, banks, words):
    rows = np.random.default_rng(2).integers(0, 100_000, (50_000, ports))
    held = np.zeros((50_000, banks), int)
    for j in range(words):
        for p in range(ports):
            np.add.at(held, (np.arange(50_000), (rows[:, p] * words + j) % banks), 1)
    assert float(group_cycles(ports, banks, words, "uniform", 100_000)) == pytest.approx(held.max(1).mean(), rel=0.01)


@pytest.mark.parametrize("ports, banks", [(1, 1), (2, 8), (4, 16), (8, 16)])
def test_gather_takes_the_cycles_of_its_groups(ports, banks):
    n = 4096
    result = hwsim.run(banked(ports, banks), gather(n), weights="int8")
    wanted = float(fullest(ports, banks)) * n / ports
    assert result.limited_by == "gather"
    assert result.cycles == pytest.approx(wanted, abs=2)
    assert result.dram_bytes == 0


def test_rows_in_order_meet_no_conflict():
    text = gather().config() | {"ops": [{"name": "y", "op": "gather", "in": ["x", "i"], "distribution": "sequential"}]}
    result = hwsim.run(banked(4, 16), load_model_text(json.dumps(text)), weights="int8")
    assert result.cycles == pytest.approx(4096 / 4, abs=2)


def test_more_ports_and_banks_are_never_slower():
    cycles = {
        (p, b): hwsim.run(banked(p, b), gather(), weights="int8").cycles for p in (1, 2, 4, 8) for b in (4, 8, 16)
    }
    for (p, b), n in cycles.items():
        assert all(n >= other for (q, c), other in cycles.items() if q >= p and c >= b)


def test_adding_takes_two_accesses_and_hot_sites_wait():
    def run(rows, sites):
        net = load_model_text(
            f"name: net\ninputs: {{x: [{rows}, 32], i: {{shape: [{rows}], rows: {sites}}}}}\nops:\n"
            f"  - {{name: y, op: scatter, in: [x, i], rows: {sites}}}\n"
        )
        return hwsim.run(banked(4, 16), net, weights="int8").cycles

    assert run(4096, 1600) == pytest.approx(2 * float(fullest(4, 16)) * 4096 / 4, abs=2)
    assert run(4096, 1) == pytest.approx(2 * 4096, abs=2)  # one site: every addition waits for the one before
    assert run(8192, 1600) == pytest.approx(2 * run(4096, 1600), abs=4)


def test_skewed_rows_meet_more_conflicts():
    flat, skewed = (group_cycles(8, 16, 1, kind, 1000) for kind in ("uniform", "zipf(1.5)"))
    near = group_cycles(8, 16, 1, "local(0.9)", 1000)
    assert near < flat < skewed


def add(rows, sites, distribution):
    return load_model_text(
        json.dumps(
            {
                "name": "net",
                "inputs": {"x": [rows, 32], "i": {"shape": [rows], "rows": sites}},
                "ops": [{"name": "y", "op": "scatter", "in": ["x", "i"], "rows": sites, "distribution": distribution}],
            }
        )
    )


def test_sites_that_are_filled_unevenly_wait_for_each_other():
    cycles = [
        hwsim.run(banked(4, 16), add(4096, 1600, kind), weights="int8").cycles
        for kind in ("sequential", "uniform", "zipf(1)", "zipf(2)")
    ]
    assert cycles == sorted(cycles) and cycles[0] == pytest.approx(2 * 1024, abs=2) and cycles[-1] < 2 * 4096


@pytest.mark.parametrize("ports, banks", [(1, 4), (4, 8), (8, 4)])
@pytest.mark.parametrize("end", ["from", "to"])
def test_edges_of_a_file_meet_in_its_order(tmp_path, ports, banks, end):
    """Groups of edges, one by one; a star's centre is a hot row."""
    draw = np.random.default_rng(3)
    edges = np.concatenate([draw.integers(0, 50, (150, 2)), [[i, 0] for i in range(50)]])
    path = tmp_path / "g.npz"
    np.savez(path, edges=edges, features=np.ones((50, 4)))
    rows = edges[:, ("from", "to").index(end)]
    wanted = sum(np.bincount(rows[i : i + ports] % banks).max() for i in range(0, 200, ports))
    arch, distribution = banked(ports, banks), f"{end}({path})"
    assert hwsim.run(arch, add(200, 50, distribution), weights="int8").cycles == pytest.approx(2 * wanted, abs=2)
    text = gather(200).config() | {"inputs": {"x": [50, 32], "i": {"shape": [200], "rows": 50}}}
    text |= {"ops": [{"name": "y", "op": "gather", "in": ["x", "i"], "distribution": distribution}]}
    assert hwsim.run(arch, load_model_text(json.dumps(text)), weights="int8").cycles == pytest.approx(wanted, abs=2)


def test_edges_that_do_not_fit_are_refused(tmp_path):
    for name, edges in (("far", [[0, 9], [1, 2], [3, 4]]), ("none", np.empty((2, 0), int))):
        np.savez(tmp_path / f"{name}.npz", edges=edges, features=np.ones((10, 4)))
    for path, message in (("far", "names node 9 of a tensor of 5 rows"), ("none", "no edges"), ("x", "no such file")):
        with pytest.raises(InputError, match=f"ops.0.distribution: .*{message}"):
            add(200, 5, f"to({tmp_path / path}.npz)")


def test_hard_lfds_is_linear_in_nodes():
    """Double n doubles the part that depends on n."""
    arch = banked(4, 16)
    cycles = [
        hwsim.run(arch, load_model("lfds-loop", [("sizes.n", str(n))]), weights="int8").cycles
        for n in (4096, 8192, 16384)
    ]
    assert cycles[2] - cycles[1] == pytest.approx(2 * (cycles[1] - cycles[0]), rel=0.02)


def test_diffpool_is_cubic_in_nodes():
    """On a machine that its dot array limits; where memory or passes take part, the exponent is lower."""
    seconds = []
    for n in (4096, 8192):
        graph = load_model("diffpool-dd", [("sizes.n", str(n)), ("sizes.c", str(n // 4))])
        seconds.append(hwsim.run("edge-mx", graph, weights="mxint8", engine="walk").seconds)
    assert log2(seconds[1] / seconds[0]) >= 2.8
