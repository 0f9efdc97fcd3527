"""An NPU of one's own: the formats that it multiplies, and what more bandwidth would buy."""

import sys
from pathlib import Path

import hwsim
from hwsim.study.page import write_page

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")

# 48 regenerators keep pace with the larger bandwidth of the study: 273 GB/s / 4 B / 1.5 GHz = 45.5.
NPU = """
name: my-npu
description: 64 TOPS edge NPU with LPDDR5X-8533 x 128 bit
hypothetical: true
clock: 1.5 GHz
dram:
  bandwidth: 136.5 GB/s
  latency: 200 ns
  beat: 64 B
  capacity: 32 GB
  refresh: {kind: spread, period: 3.9 us, stall: 280 ns}
buffers: {weights: 4 MiB, activations: 4 MiB, outputs: 2 MiB}
activations: on_chip
kv: int8
dot:
  latency: 20 cycles
  rates:
    - {weights: int8, activations: int8, rate: 32 TMAC/s}
    - {weights: mxfp4, activations: mxfp8, rate: 32 TMAC/s}
vector: {rate: 512 element/cycle, latency: 10 cycles}
dequantise: {rate: 2048 weight/cycle, latency: 6 cycles}
regenerate: {rate: 48 block/cycle, latency: 6 cycles, feeds: int8}
tiles: [512x256x512, 128x512x512]
"""

STUDY = """
name: npu
description: Formats and bandwidth of my NPU
machine: npu.yaml
model: llama3-8b
run: {context: 2048}
grid:
  run.weights: [int8, mxfp4, seedlm4]
  run.batch: [1, 8, 64]
  machine.dram.bandwidth: [136.5 GB/s, 273 GB/s]
"""

OUT.mkdir(parents=True, exist_ok=True)
(OUT / "npu.yaml").write_text(NPU)
(OUT / "study.yaml").write_text(STUDY)

for weights in ("int8", "mxfp4", "seedlm4"):
    result = hwsim.run(str(OUT / "npu.yaml"), "llama3-8b", weights=weights, context=2048)
    print(f"{weights:8} {result.tokens_per_second:6.1f} tokens/s, limited by {result.limited_by}")

summary = hwsim.run_study(hwsim.load_study(OUT / "study.yaml"), OUT / "npu", workers=1)
print(f"{summary.ran} points simulated, {summary.kept} kept")
print("\n".join(map(str, write_page(OUT / "npu", OUT))))
