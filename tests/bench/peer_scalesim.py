"""SCALE-Sim on the convolutions of ResNet-50, for bench_speed.py, which runs this file in SCALE-Sim's own environment.

    python tests/bench/peer_scalesim.py [resnet50 [LAYERS]]

One weight-stationary array of 128 x 128, buffers of 1 MiB per operand; padding is written as places. The last line
printed: the sum of its cycles. LAYERS: only the first so many.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from resnet50_layers import layers
from scalesim.scale_sim import scalesim

CONFIG = """[general]
run_name = grid
[architecture_presets]
ArrayHeight: 128
ArrayWidth: 128
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 800
Dataflow: ws
MemoryBanks: 1
ReadRequestBuffer: 128
WriteRequestBuffer: 128
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
HEADER = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"


def main():
    """Print the cycles."""
    most = int(sys.argv[2]) if len(sys.argv) > 2 else None
    rows = [f"L{i}, {s}, {s}, {k}, {k}, {c}, {n}, {t}," for i, (s, k, c, n, t) in enumerate(layers()[:most])]
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        unused = [f"L{i}, " + "1, " * 20 for i in range(len(rows))]  # a layout that CONFIG leaves out of use
        for name, text in (
            ("run.cfg", CONFIG),
            ("net.csv", "\n".join([HEADER, *rows, ""])),
            ("layout.csv", "\n".join(["Layer name,", *unused, ""])),
        ):
            paths[name] = f"{folder}/{name}"
            Path(paths[name]).write_text(text, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = scalesim(True, False, paths["run.cfg"], paths["net.csv"], paths["layout.csv"], False)
            found.run_scale(top_path=folder)
        cycles = sum(int(one.total_cycles) for one in found.runner.single_layer_sim_object_list)
        print(f"{cycles:,} cycles of {len(rows)} convolutions")


if __name__ == "__main__":
    main()
