"""Lists of layers: SCALE-Sim's files and `gemms:`, against SCALE-Sim's formula, VTA in RTL and a TPU v4."""

import json
from math import ceil
from statistics import median

import pytest
from typer.testing import CliRunner

import hwsim
from hwsim.arch import load_arch, load_arch_text
from hwsim.cli import app
from hwsim.errors import InputError
from hwsim.workload import StepOptions, load_model, load_model_text

GRID = """
name: grid
description: one weight-stationary array of 128 x 128, memory as good as infinite
clock: 1 GHz
dram: {bandwidth: 1 TB/s, latency: 0 cycles, beat: 1 B, capacity: 16 GB, refresh: {kind: none}}
buffers: {weights: 4 MiB, activations: 64 MiB, outputs: 64 MiB}
activations: on_chip
dot:
  kind: systolic
  latency: 0 cycles
  rows: 128
  columns: 128
  dataflow: weight_stationary
  double_buffered: false
  rates: [{weights: int8, activations: int8, rate: 16384 MAC/cycle}]
vector: {rate: 1000 element/cycle, latency: 0 cycles}
tiles: [16384x128x128, 512x256x1024]
"""

#: VTA's default: 1 x 16 by 16 x 16 INT8 per cycle (Moreau et al., arXiv 1807.04188); latencies are assumed.
VTA = """
name: vta
description: VTA's default, 32 KiB, 256 KiB and 128 KiB
clock: 100 MHz
dram: {bandwidth: 8 B/cycle, latency: 40 cycles, beat: 8 B, capacity: 1 GB, refresh: {kind: none}}
buffers: {weights: 256 KiB, activations: 32 KiB, outputs: 128 KiB}
activations: dram
dot:
  kind: tensor_cores
  shape: 1x16x16
  latency: 8 cycles
  rates: [{weights: int8, activations: int8, rate: 256 MAC/cycle}]
vector: {rate: 16 element/cycle, latency: 4 cycles}
tiles: [196x64x64, 128x128x128, 56x256x256, 28x64x512, 196x16x64]
"""

#: ViT-small's GEMMs as in SCALE-Sim's topologies: M, N, K.
GEMMS = [(196, 192, 384), (196, 1176, 64), (196, 64, 1176), (196, 1536, 384), (196, 384, 1536)]
#: Convolutions of AlexNet, ResNet and others without padding: ifmap, filter, channels, filters, stride.
CONVS = [
    (227, 227, 11, 11, 3, 96, 4),
    (31, 31, 5, 5, 96, 256, 1),
    (58, 58, 3, 3, 64, 64, 1),
    (57, 57, 3, 3, 64, 128, 2),
    (16, 16, 3, 3, 256, 256, 1),
    (7, 7, 1, 1, 512, 2048, 1),
]


def written(tmp_path, name, header, rows):
    path = tmp_path / name
    path.write_text("\n".join([header, *(f"L{i}, " + ", ".join(map(str, row)) + "," for i, row in enumerate(rows))]))
    return str(path)


def scale_sim(m, n, k):
    """SCALE-Sim, weight stationary: folds of 2 R + C + M - 2 cycles (Samajdar et al., ISPASS 2020, equation 3)."""
    return ceil(k / 128) * ceil(n / 128) * (2 * 128 + 128 + m - 2)


def test_gemm_lists_equal_scale_sims_formula(tmp_path):
    path = written(tmp_path, "vit.csv", "Layer, M, N, K,", GEMMS)
    result = hwsim.run(load_arch_text(GRID), path, weights="int8")
    assert [row.cycles for row in result.by_layer] == [scale_sim(*row) for row in GEMMS]
    assert result.macs == sum(m * n * k for m, n, k in GEMMS)


def test_convolutions_equal_scale_sims_formula(tmp_path):
    header = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
    path = written(tmp_path, "convs.csv", header, CONVS)
    result = hwsim.run(load_arch_text(GRID), path, weights="int8")
    wanted = []
    for h, w, r, s, c, n, stride in CONVS:
        m = ((h - r) // stride + 1) * ((w - s) // stride + 1)
        wanted.append((m, n, r * s * c))
    assert [row.macs for row in result.by_layer] == [m * n * k for m, n, k in wanted]
    assert [row.cycles for row in result.by_layer] == [scale_sim(*row) for row in wanted]


def resnet18():
    """The layers that VTA runs: all but the first and the last, padding written as places."""
    rows = []

    def layer(side, kernel, c, n, stride, times=1):
        size = (side - 1) * stride + kernel
        rows.extend([(size, size, kernel, kernel, c, n, stride)] * times)

    layer(56, 3, 64, 64, 1, 4)
    for side, c in ((28, 64), (14, 128), (7, 256)):
        layer(side, 3, c, 2 * c, 2)
        layer(side, 1, c, 2 * c, 2)
        layer(side, 3, 2 * c, 2 * c, 1, 3)
    return rows


def test_resnet18_on_vta(tmp_path):
    """Within 15 % of VTA's RTL, 7,729,601 cycles (pipelined GEMM unit, all offloaded layers)."""
    path = written(tmp_path, "resnet18.csv", "Layer,IH,IW,FH,FW,C,N,S,", resnet18())
    result = hwsim.run(load_arch_text(VTA), path, weights="int8")
    assert result.cycles == pytest.approx(7_729_601, rel=0.15)
    feature_maps = sum(h * w * c for h, w, _, _, c, _, _ in resnet18())
    im2col = sum(((h - r) // s + 1) ** 2 * r * r * c for h, _, r, _, c, _, s in resnet18())
    outputs = sum(((h - r) // s + 1) ** 2 * n for h, _, r, _, _, n, s in resnet18())
    assert feature_maps < result.bytes["activations"] - outputs < im2col


#: GEMMs on a TPU v4: M, N, K, device time less the launch floor of its neighbours, us. Measured by others (a public
#: branch of SCALE-Sim); the floor is read off by eye, +- 3 us.
TPU_V4 = [
    (4096, 1536, 256, 15.23), (768, 1536, 2048, 24.73), (512, 4096, 2048, 34.45), (768, 2048, 4096, 54.09),
    (2048, 2048, 384, 16.0), (1536, 2048, 2048, 52.56), (768, 4096, 1536, 40.33), (768, 2048, 1024, 14.52),
    (6678, 1059, 171, 22.67), (1, 3312, 3966, 31.95), (10, 4230, 1657, 4.37),
]  # fmt: skip


def test_gemms_on_a_tpu_v4():
    """TPU v4i with twice the arrays, its memory, and activations in DRAM; the median error within 15 %."""
    settings = {
        "dot.arrays": "8",
        "dot.rates.0.rate": "131072 MAC/cycle",
        "dot.rates.1.rate": "131072 MAC/cycle",
        "dram.bandwidth": "1228 GB/s",
        "dram.capacity": "32 GB",
        "vector.rate": "4096 element/cycle",
        "buffers.outputs": "32 MiB",
        "activations": "dram",
    }
    arch = load_arch("tpu-v4i", list(settings.items()))
    errors = [abs(hwsim.gemm(arch, m, n, k).seconds * 1e6 / us - 1) for m, n, k, us in TPU_V4]
    assert median(errors) < 0.15


def test_a_list_in_yaml_and_its_batch():
    text = "name: list\ngemms:\n  - {name: a, m: 4, n: 5, k: 6}\n  - {m: 7, n: 8, k: 9, count: 3}\n"
    layers = load_model_text(text)
    ops = layers.ops(StepOptions(batch=10))
    assert [(op.name, op.gemms[0].m, op.gemms[0].count) for op in ops] == [("a", 40, 1), ("gemm1", 70, 3)]
    assert [each.elements for each in layers.stored(StepOptions())] == [30, 3 * 72]
    assert load_model_text(json.dumps(layers.config())) == layers


def test_a_csv_file_becomes_yaml_that_reads_the_same(tmp_path):
    layers = load_model(written(tmp_path, "vit.csv", "Layer, M, N, K,", GEMMS))
    again = load_model_text(json.dumps(layers.config()))
    assert again == layers


def test_what_scale_sims_files_hold_beside_the_numbers(tmp_path):
    """Remarks behind the last comma (as its MobileNet has), and the third version's column of sparsity."""
    head = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
    plain, noted, dense = tmp_path / "plain.csv", tmp_path / "noted.csv", tmp_path / "dense.csv"
    rows = ["Conv1, 9, 9, 3, 3, 3, 32, 2", "Conv2_dw, 8, 8, 3, 3, 1, 1, 1", "FC, 1, 1, 1, 1, 64, 10, 1"]
    plain.write_text("\n".join([head, *(f"{row}," for row in rows)]))
    noted.write_text("\n".join([head, "# the net, as published", *(f"{row},#dw" for row in rows)]))
    dense.write_text("\n".join([f"{head} Sparsity,", *(f"{row}, 1:1," for row in rows)]))
    wanted = [(16, 32, 27), (36, 1, 9), (1, 10, 64)]
    for path in (plain, noted, dense):
        found = load_model(str(path)).ops(StepOptions())
        assert [(op.gemms[0].m, op.gemms[0].n, op.gemms[0].k) for op in found] == wanted
    dense.write_text(dense.read_text().replace("2, 1:1", "2, 2:4"))
    with pytest.raises(InputError, match=r"dense\.csv:2: sparsity 2:4 of weights is not read"):
        load_model(str(dense))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has no layers; write lines of layer, M, N, K"),
        ("Layer, M, N, K,\n", "has no layers"),
        ("Layer, M, N, K,\nL0, 1, 2\n", "x.csv:2: has 3 columns; write layer, M, N, K"),
        ("Layer, M, N, K,\nL0, 1, -2, 3\n", "x.csv:2: N: `-2` is not a positive whole number; write one"),
        ("Layer, M, N, K,\nL0, 1, 0, 3\n", "x.csv:2: N: `0` is not"),
        ("L,h,w,r,s,c,n,st\nL0, 3, 3, 5, 5, 1, 1, 1\n", "x.csv:2: spans 5 of 3 places"),
        ("\x00\xff", "x.csv"),
    ],
)
def test_refused_files(tmp_path, text, message):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=".") as caught:
        load_model(str(path))
    assert message in str(caught.value)


def test_every_problem_of_a_csv_file_is_reported(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("Layer, M, N, K,\nL0, 1, a, 3\nL1, b, 2, 3\nL2, 1, 2, 3\n")
    found = CliRunner().invoke(app, ["run", "m0", "--model", str(path)])
    assert "x.csv:2: N" in str(found.exception) + found.output
    assert "x.csv:3: M" in str(found.exception) + found.output
