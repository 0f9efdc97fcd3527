"""reports/graphs.md: what its program counts as what, its arithmetic, and what the committed page must show."""

import re
from math import log2
from pathlib import Path

import pytest

import hwsim
from hwsim.pages import graph_formats, graph_growth, graph_published, graph_rows
from hwsim.pages.graphs import filled
from hwsim.workload import load_model_text
from tests.arch.test_memory import RAMULATOR

PAGE = (Path(__file__).parents[2] / "reports" / "graphs.md").read_text(encoding="utf-8")


def tables():
    """Each table as lists of its rows' cells, the header first."""
    found = re.findall(r"(?:^\|.*\n)+", PAGE, re.M)
    rows = [[[c.strip() for c in line.strip("|").split("|")] for line in one.strip().split("\n")] for one in found]
    return [[one[0], *one[2:]] for one in rows]


def table(*columns):
    """The tables that begin with these columns."""
    return [each for each in tables() if each[0][: len(columns)] == list(columns)]


def number(text):
    return float(text.replace(",", ""))


@pytest.mark.parametrize("method", graph_growth.METHODS)
def test_parts_are_the_whole_run(method):
    arch = graph_growth.machine("edge-mx")
    point = graph_growth.point(arch, "mxint8", method, 512)
    result = hwsim.run(arch, graph_growth.workload(method, 512), weights="mxint8", engine="walk")
    assert sum(point.parts.values()) == pytest.approx(point.seconds) == pytest.approx(result.seconds, rel=1e-3)
    by_kind = {row.name: arch.seconds(row.cycles) for row in result.by_op}
    assert set(by_kind) == set(point.kinds)
    irregular = sum(by_kind.get(kind, 0) for kind in ("gather", "scatter", "segment", "distribute"))
    soft = method == "LFDS graph (soft)"  # its distribution is a GEMM
    wanted = by_kind["gather"] if soft else irregular
    assert point.parts["rows by index"] == pytest.approx(wanted, rel=0.01, abs=2e-9)
    assert (point.parts["sorting"] > 0) == (method in ("LFDS sequence (by rank)", "LFDS graph (soft)", "SortPool"))


def test_a_mean_costs_what_a_maximum_does():
    arch = graph_growth.machine("tpu-v4i")
    text = graph_growth.POOLED.format(n=1024)
    one, other = (load_model_text(each) for each in (text, text.replace("function: max", "function: mean")))
    assert hwsim.run(arch, one, weights="int8").cycles == hwsim.run(arch, other, weights="int8").cycles


def test_sharing_the_first_product_saves_it_and_nothing_else():
    """n^2 x 89 multiply-adds fewer, and the means of one network."""
    n = 512
    one, other = (graph_growth.diffpool(n, once) for once in (False, True))
    assert one.counts().macs - other.counts().macs == n * n * 89
    assert len(one.nodes) - len(other.nodes) == 2
    assert one.total == other.total


def test_diffpools_aggregation_alone_is_cubic_on_both_machines():
    """S^T X, S^T A S and the softmax: 2 n^2 d + n^2 c + n c^2 with c = n / 4, and passes over n c."""
    for line in graph_growth.ways_table().splitlines()[2:]:
        machine, way, whole, alone = (cell.strip() for cell in line.strip("|").split("|"))
        assert 2.8 <= float(alone) < 3 and float(whole) < float(alone)
        assert float(whole) >= 2.8 or machine == "tpu-v4i", way


def test_exponents():
    assert graph_growth.exponent(3, 24) == 3
    assert graph_growth.exponent(5, 45, 3) == pytest.approx(2)


@pytest.mark.parametrize("memory, kind", [("HBM3 6.4 Gb/s", "hbm3"), ("LPDDR5 6.4 Gb/s", "lpddr5")])
def test_simulated_random_reads_are_near_ramulators(memory, kind):
    name, bandwidth, stall, shares = graph_rows.RAMULATOR[memory]
    assert shares == RAMULATOR[kind][1]
    for nbytes, share in shares.items():
        assert graph_rows.random_reads(name, bandwidth, stall, nbytes) == pytest.approx(share, rel=0.15), nbytes


def test_coarser_formats_move_more_nodes():
    fine, coarse = (graph_formats.change("lfds-loop", name) for name in ("bf16", "mxfp4"))
    assert 0 < fine.own < coarse.own and fine.own < fine.moved < coarse.moved and fine.sites < coarse.sites
    ranked = graph_formats.change("lfds-sequence", "mx9")
    assert ranked.own is None and 0 < ranked.moved < 1 and 0.5 < ranked.near <= 1
    soft = graph_formats.change("lfds-graph", "mx9")
    assert soft.own is None and soft.moved is None and 0 < soft.sites < 0.05


def test_float32_moves_nothing():
    same = graph_formats.change("lfds-loop", "fp32")
    assert same.own == same.moved == same.sites == same.logits == 0


def test_alexnets_multiply_adds():
    """Per image, in millions, by hand: places x taps x channels of a group x filters."""
    wanted = [55**2 * 121 * 3 * 96, 27**2 * 25 * 48 * 256, 13**2 * 9 * 256 * 384, 13**2 * 9 * 192 * 384]
    wanted.append(13**2 * 9 * 192 * 256)
    found = [graph_published.simulated(layer).macs for layer in graph_published.LAYERS]
    assert found == [4 * each for each in wanted]
    assert [layer.mapped for layer in graph_published.LAYERS] == [154, 135, 156, 156, 156]


# -- the committed page ----------------------------------------------------------------------------


def test_lines_are_filled_and_tables_stay():
    text = filled("# a\n\none\ntwo " + "word " * 40 + "\n\n| a |\n| - |\n")
    assert text.startswith("# a\n\none two word") and text.endswith("| a |\n| - |\n")
    assert max(map(len, text.splitlines())) <= 120


def test_diffpool_is_cubic_and_hard_lfds_linear():
    edge, tpu = table("aggregation", "nodes")
    for rows in (edge, tpu):
        us = {(row[0], number(row[1])): number(row[2]) for row in rows[1:]}
        assert log2(us["DiffPool", 16384] / us["DiffPool", 8192]) >= 2.8
        more = us["LFDS loop (hard)", 16384] - us["LFDS loop (hard)", 8192]
        assert more == pytest.approx(2 * (us["LFDS loop (hard)", 8192] - us["LFDS loop (hard)", 4096]), rel=0.02)
    us = {(row[0], number(row[1])): number(row[2]) for row in edge[1:]}
    assert log2(us["DiffPool", 8192] / us["DiffPool", 4096]) >= 2.8


def test_the_cross_network_bounds_dlrm_for_every_power_law():
    (rows,) = table("H100 with")
    for kernels, form, popularity, gathers, crossed, batch, samples, measured, ratio in rows[1:]:
        if popularity.startswith("zipf"):
            assert number(gathers) < number(crossed), (kernels, form, popularity)
        assert 1 / {"bf16": 2.6, "fp8": 3.3}[form] < number(ratio) < {"bf16": 2.6, "fp8": 3.3}[form]
        assert number(samples) == pytest.approx(600_000 / 270 / number(batch) * 1000, rel=0.01)
        assert number(samples) / number(measured) == pytest.approx(number(ratio), abs=0.006)


def test_burst_use_of_rows():
    """A row of 128: MXFP4 68 B of 128, NVFP4 72 B of 128, MX9 144 B of 192, FP32 whole beats."""
    (rows,) = table("tables", "B per row")
    use = {row[0]: (number(row[1]), number(row[2])) for row in rows[1:]}
    assert use["mxfp4_e2m1"] == (68, 53) and use["nvfp4"] == (72, 56) and use["mx9"] == (144, 75)
    assert use["fp32"] == (512, 100)
    times = {row[0]: number(row[6]) for row in rows[1:]}
    assert times["mxfp4_e2m1"] == times["nvfp4"] < times["mx9"] < times["bf16"] < times["fp32"]


def test_every_format_is_on_the_page():
    (rows,) = table("format", "bits")
    assert [row[0] for row in rows[1:]] == list(graph_formats.FORMATS)
