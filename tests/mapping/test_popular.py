"""Rows of tables in a cache: the closed form against a cache simulated read by read, and its time on a machine."""

from collections import OrderedDict
from dataclasses import replace
from math import ceil

import numpy as np
import pytest

import hwsim
from hwsim.arch import load_arch_text
from hwsim.mapping.popular import found_share
from hwsim.workload import StepOptions, load_model, load_model_text
from tests.mapping.test_irregular import MACHINE


def drawn(tables, a, reads, seed=1):
    """Rows read, as (table, rank): tables by their reads, ranks by 1 / r^a."""
    rng = np.random.default_rng(seed)
    counts = np.array([count for _, count in tables], float)
    table = rng.choice(len(tables), reads, p=counts / counts.sum())
    rank = np.empty(reads, int)
    for t, (rows, _) in enumerate(tables):
        weights = np.arange(1, rows + 1) ** -float(a)
        mine = table == t
        rank[mine] = rng.choice(rows, mine.sum(), p=weights / weights.sum())
    return list(zip(table.tolist(), rank.tolist(), strict=True))


def least_recent(reads, room):
    """Share found by a cache that drops the row that was read longest ago; the first half warms it."""
    held, found = OrderedDict(), 0
    for i, row in enumerate(reads):
        if row in held:
            held.move_to_end(row)
            found += i >= len(reads) // 2
        else:
            held[row] = None
            if len(held) > room:
                held.popitem(last=False)
    return found / (len(reads) - len(reads) // 2)


@pytest.mark.parametrize("a", [0, 0.7, 1, 1.3])
@pytest.mark.parametrize("room", [50, 400, 2000])
def test_the_closed_form_is_what_a_cache_finds(a, room):
    tables = ((5000, 3), (700, 1), (12, 2))
    kind = f"zipf({a})" if a else "uniform"
    share = found_share(tables, kind, room)
    assert share == pytest.approx(least_recent(drawn(tables, a, 200_000), room), abs=0.01)


def test_limits_of_the_closed_form():
    assert found_share(((100, 1),), "uniform", 100) == 1
    assert found_share(((100, 1),), "uniform", 0) == found_share(((100, 1),), "sequential", 50) == 0
    assert found_share(((1000, 1),), "uniform", 250) == pytest.approx(
        0.25, abs=1e-5
    )  # any row alike: its share of room
    shares = [found_share(((10**6, 1),), f"zipf({a})", 1000) for a in (0.5, 0.8, 1, 1.2)]
    assert shares == sorted(shares)
    shares = [found_share(((10**6, 1),), "zipf(1)", room) for room in (10, 100, 1000, 10_000)]
    assert shares == sorted(shares)


CACHE = "cache: {size: 64 KiB, rate: 32 B/cycle}\n"


def machine(more=""):
    text = MACHINE.format(beat=64, more="", where="on_chip", room="64 MiB").replace(
        "activations: on", more + "activations: on"
    )
    return load_arch_text(text)


def table(rows, distribution):
    return load_model_text(
        f"name: net\ninputs: {{i: {{shape: [{rows}], rows: 100000}}}}\nops:\n"
        f"  - {{name: y, op: embedding, in: [i], rows: 100000, out: 64, distribution: {distribution}}}\n"
    )


@pytest.mark.parametrize("distribution", ["uniform", "zipf(1)", "zipf(1.5)", "sequential"])
def test_rows_that_are_found_cross_no_dram(distribution):
    """1024 rows of 64 bytes fit: the others are read; the cache needs two cycles for each that it delivers."""
    n, form = 10_000, {"embedding": "fp8_e4m3", "default": "int8"}
    share = found_share(((100_000, n),), distribution, 1024)
    result = hwsim.run(machine(CACHE), table(n, distribution), weights=form)
    missed = n - int(n * share)
    assert result.bytes["weights"] == 64 * missed
    assert result.dram_bytes == pytest.approx(64 * missed, rel=0.01)  # tiles of a stream are rounded up to beats
    assert result.cycles == pytest.approx(max(missed, 2 * (n - missed)), rel=0.02, abs=8)
    told = [note for note in result.notes if "found in a warm cache" in note]
    assert len(told) == (distribution != "sequential")
    without = hwsim.run(machine(), table(n, distribution), weights=form)
    assert without.dram_bytes == pytest.approx(64 * n, rel=0.01)


def test_both_drivers_and_a_larger_cache():
    cycles = []
    for size in ("64 KiB", "256 KiB", "1 MiB"):
        arch = machine(CACHE.replace("64 KiB", size).replace("32 B", "1024 B"))
        results = [hwsim.run(arch, table(10_000, "zipf(1)"), weights="int8", engine=e) for e in ("simpy", "walk")]
        assert results[0].cycles == results[1].cycles
        cycles.append(results[0].cycles)
    assert cycles[0] > cycles[1] > cycles[2]


@pytest.mark.parametrize("cores", [(), (("cores", "null"),)])
def test_on_a_gpu_only_rows_that_are_not_found_are_scattered_reads(cores):
    graph, n = load_model("dlrm-v2"), 60_000
    op = next(op for op in graph.ops(StepOptions(batch=n)) if op.irregular)
    assert sum(count for _, count in op.irregular.tables) == op.irregular.rows == 214 * n
    arch = hwsim.load_arch("h100-sxm", cores)
    share = found_share(op.irregular.tables, "zipf(1.1)", 25 * 2**20 // 256)
    assert 0.5 < share < 0.9
    result = hwsim.run(arch, graph, batch=n)
    missed = op.irregular.rows - int(op.irregular.rows * share)
    without = hwsim.run(replace(arch, cache=None), graph, batch=n)
    assert without.bytes["weights"] - result.bytes["weights"] == 256 * (op.irregular.rows - missed)
    spent = {row.name: row.cycles for row in result.by_op}["embedding"]
    assert spent >= ceil(arch.dram.scattered_cycles(missed, 256))
    assert spent < {row.name: row.cycles for row in without.by_op}["embedding"]
