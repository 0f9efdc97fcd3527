"""What a convolution reads of its feature map: each place once per tile of rows and halo, never the im2col matrix."""

from itertools import product

import pytest

import hwsim
from hwsim.arch import load_arch_text
from hwsim.workload import StepOptions, load_model_text

MACHINE = """
name: small
description: activations in DRAM, tiles as named
clock: 1 GHz
dram: {{bandwidth: 100 B/cycle, latency: 100 cycles, beat: 1 B, capacity: 16 GB, refresh: {{kind: none}}}}
buffers: {{weights: 64 MiB, activations: 64 MiB, outputs: 256 MiB}}
activations: dram
dot: {{latency: 10 cycles, rates: [{{weights: int8, activations: int8, rate: 1024 MAC/cycle}}]}}
vector: {{rate: 256 element/cycle, latency: 4 cycles}}
tiles: [{tiles}]
"""


def conv(c=16, side=32, n=32, kernel=3, stride=1, more=""):
    return load_model_text(
        f"name: net\ninputs: {{x: [{c}, {side}, {side}]}}\nops:\n"
        f"  - {{name: y, op: conv, in: [x], out: {n}, kernel: {kernel}, stride: {stride}, bias: false{more}}}\n"
    )


def read(graph, tiles="4096x4096x4096"):
    arch = load_arch_text(MACHINE.format(tiles=tiles))
    result = hwsim.run(arch, graph, weights="int8")
    return result.bytes["activations"] - sum(op.outputs for op in graph.ops(StepOptions())), result


def test_a_feature_map_that_fits_is_read_once():
    found, result = read(conv())
    assert found == 16 * 32 * 32
    assert result.bytes["weights"] == 32 * 9 * 16 + 32 * 4  # a scale of 4 bytes per row


def test_a_kernel_of_one_is_a_plain_gemm():
    assert read(conv(kernel=1))[0] == 16 * 32 * 32
    assert read(conv(kernel=1, stride=2))[0] == 16 * 16 * 16  # only places that some window sees


def test_tiles_of_rows_read_their_halo():
    """Six tiles of five rows of places each: the rows that it shares with its neighbours are read again."""
    found, _ = read(conv(), tiles="150x32x144")
    exact = sum(
        16 * 32 * len({r + tap for r in range(first, first + 5) for tap in range(3)}) for first in range(0, 30, 5)
    )
    assert 16 * 32 * 32 < found
    assert found == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("stride, kernel, m, k", list(product((1, 2), (3, 5), (32, 100, 900), (16, 48, 1024))))
def test_no_more_than_im2col_and_no_less_than_the_map(stride, kernel, m, k):
    graph = conv(kernel=kernel, stride=stride)
    found, result = read(graph, tiles=f"{m}x64x{k}")
    (op,) = graph.ops(StepOptions())
    (gemm,) = op.gemms
    assert op.inputs <= found <= gemm.m * gemm.k
    assert result.cycles >= result.bound_cycles


def test_groups_read_the_map_once_in_all():
    assert read(conv(more=", groups: 4"))[0] == 16 * 32 * 32


def test_what_a_joined_sum_reads_is_moved():
    """The residual of a block is read beside the map."""
    graph = load_model_text(
        "name: net\ninputs: {x: [16, 32, 32], r: [32, 30, 30]}\nops:\n"
        "  - {name: y, op: conv, in: [x], out: 32, kernel: 3, bias: false}\n"
        "  - {name: z, op: elementwise, in: [y, r], function: add}\n"
    )
    assert read(graph)[0] == 16 * 32 * 32 + 32 * 30 * 30


def test_on_cores_a_convolution_reads_its_map():
    graph = conv()
    (op,) = graph.ops(StepOptions())
    result = hwsim.run("h100-sxm", graph, weights="bf16")
    assert result.dram_bytes == 2 * (op.inputs + op.outputs + 32 * 9 * 16)
    plain = load_model_text("name: net\ngemms:\n  - {m: 900, n: 32, k: 144}\n")
    assert hwsim.run("h100-sxm", plain, weights="bf16").dram_bytes == 2 * (900 * 144 + op.outputs + 32 * 9 * 16)


def test_depthwise_is_work_of_the_vector_unit():
    graph = conv(n=16, more=", depthwise: true")
    (op,) = graph.ops(StepOptions())
    assert (op.kind, op.gemms, op.vector_macs, op.params) == ("depthwise", (), 16 * 900 * 9, 16 * 9)
    result = read(graph)[1]
    assert result.limited_by in ("vector", "dram")
    assert result.cycles >= 16 * 900 * 9 / 256
