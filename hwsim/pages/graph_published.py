"""ResNet-50 on Gemmini and AlexNet on Eyeriss beside published figures."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.arch import load_arch_text
from hwsim.files.tables import markdown
from hwsim.jobs.run import run
from hwsim.result import Result
from hwsim.workload import load_model_text

BATCH = 4
#: Cycles of ResNet-50, batch 4, on Gemmini in RTL, host and all: the least and the most reported.
GEMMINI = (118e6, 154e6)

#: Chen et al., IEEE JSSC 52(1), 2017. 16-bit fixed point, which BF16 stands for: as many bits.
EYERISS = """
name: eyeriss
description: Eyeriss, 12 x 14 multipliers, 108 KiB of on-chip memory
clock: 200 MHz # JSSC 2017: nominal
dram:
  bandwidth: 480 MB/s # assumed: 64 bits at a link clock of 60 MHz
  latency: 20 cycles # assumed
  beat: 8 B
  capacity: 1 GB # assumed: sets "fits", never time
  refresh: {kind: none}
buffers:
  weights: 73 KiB # JSSC 2017: 168 scratchpads of 224 filter words
  activations: 50 KiB # JSSC 2017: 100 KiB for feature maps and partial sums; assumed: in halves
  outputs: 50 KiB
activations: dram
dot:
  latency: 4 cycles # assumed
  rates: [{weights: bf16, activations: bf16, rate: 168 MAC/cycle}] # JSSC 2017: 168 units, one multiply-add each
vector: {rate: 16 element/cycle, latency: 4 cycles} # assumed
tiles: [64x96x128, 128x48x128, 64x64x256, 128x32x192, 256x24x96, 32x192x128]
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution of AlexNet. side, channels: of its input; pad: on each side.

    mapped: units of 168 in which the row-stationary mapping places work: filter rows x rows of outputs, several sets.
    ms: processing time of batch 4 on the chip.
    """

    name: str
    side: int
    channels: int
    out: int
    kernel: int
    stride: int
    pad: int
    groups: int
    mapped: int
    ms: float


LAYERS = (
    Layer("conv1", 227, 3, 96, 11, 4, 0, 1, 11 * 7 * 2, 16.5),
    Layer("conv2", 27, 96, 256, 5, 1, 2, 2, 5 * 27, 39.2),
    Layer("conv3", 13, 256, 384, 3, 1, 1, 1, 3 * 13 * 4, 21.8),
    Layer("conv4", 13, 384, 384, 3, 1, 1, 2, 3 * 13 * 4, 16.0),
    Layer("conv5", 13, 384, 256, 3, 1, 1, 2, 3 * 13 * 4, 10.0),
)


def simulated(layer: Layer) -> Result:
    """One convolution of batch 4 on Eyeriss's numbers."""
    graph = load_model_text(
        f"name: {layer.name}\ninputs: {{x: [{layer.channels}, {layer.side}, {layer.side}]}}\nops:\n"
        f"  - {{name: y, op: conv, in: [x], out: {layer.out}, kernel: {layer.kernel}, stride: {layer.stride}, "
        f"pad: {layer.pad}, groups: {layer.groups}}}\n"
    )
    return run(load_arch_text(EYERISS), graph, batch=BATCH, weights="bf16", engine="walk")


def eyeriss_table() -> str:
    """A line per layer: the peak of 168 units, the units that the mapping uses, hwsim, the chip."""
    rows, sums = [], [0.0] * 4
    for layer in LAYERS:
        result = simulated(layer)
        peak = 1e3 * result.macs / (168 * 200e6)
        times = [peak, peak * 168 / layer.mapped, 1e3 * result.seconds, layer.ms]
        sums = [total + each for total, each in zip(sums, times, strict=True)]
        cells = [f"{each:.1f}" for each in times]
        rows.append([layer.name, *cells, f"{times[2] / layer.ms:.2f}", result.limited_by, str(layer.mapped)])
    rows.append(["all", *(f"{each:.1f}" for each in sums), f"{sums[2] / sums[3]:.2f}", "", ""])
    head = ["layer", "168 units busy, ms", "units in use busy, ms", "hwsim, ms", "chip, ms", "hwsim / chip"]
    return markdown([*head, "most work", "units in use"], rows)


def gemmini() -> Result:
    """ResNet-50, batch 4."""
    return run("gemmini", "resnet50", batch=BATCH, weights="int8", engine="walk")
