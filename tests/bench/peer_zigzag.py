"""ZigZag on the machine m0, for bench_speed.py, which runs this file in ZigZag's own environment.

    python tests/bench/peer_zigzag.py [gemm|resnet50]

512 x 4096 x 4096, or the convolutions of ResNet-50 as GEMMs (places x filters x taps and channels), its default search
(LOMA, latency). The last line printed: what the process found. The array keeps
one weight and one partial sum per MAC unit; a buffer of 1 MiB per operand, whose ports never limit; DRAM of 800 bits
per cycle. Energies are zero: only the time is asked for.
"""

import json
import sys
import tempfile
from pathlib import Path

from resnet50_layers import layers
from zigzag.api import get_hardware_performance_zigzag

MIB = 2**23  # bits
WIDE = 2**17  # bits per cycle: all MAC units at once


def memory(size, operands, served, bits, shared=False):
    """One level. shared: one port for everything, as of a DRAM; else a port per direction and operand."""
    routes = [f"{o}, {way}" for o in operands for way in (("fh", "tl", "fl", "th") if o == "O" else ("fh", "tl"))]
    if shared:
        ports = [("rw_port_1", "read_write", routes)]
    else:
        reads = [route for route in routes if route[-2] == "t"]
        writes = [route for route in routes if route[-2] == "f"]
        ports = [(f"r_port_{i}", "read", [route]) for i, route in enumerate(reads, 1)]
        ports += [(f"w_port_{i}", "write", [route]) for i, route in enumerate(writes, 1)]
    return {
        "size": size, "r_cost": 0.0, "w_cost": 0.0, "area": 0.0, "latency": 1, "operands": operands,
        "served_dimensions": served,
        "ports": [
            {"name": name, "type": kind, "bandwidth_min": 8, "bandwidth_max": bits, "allocation": allocation}
            for name, kind, allocation in ports
        ],
    }  # fmt: skip


MACHINE = {
    "name": "m0",
    "memories": {
        "weight": memory(8, ["I2"], [], 8),
        "sum": memory(32, ["O"], [], 32),
        "weights": memory(MIB, ["I2"], ["D1", "D2"], WIDE),
        "activations": memory(MIB, ["I1"], ["D1", "D2"], WIDE),
        "outputs": memory(MIB, ["O"], ["D1", "D2"], WIDE),
        "dram": memory(16 * 2**33, ["I1", "I2", "O"], ["D1", "D2"], 800, shared=True),
    },
    "operational_array": {
        "input_precision": [8, 8], "unit_energy": 0.0, "unit_area": 0.0, "dimensions": ["D1", "D2"],
        "sizes": [128, 128],
    },
}  # fmt: skip
MAPPING = [
    {
        "name": "default",
        "spatial_mapping": {"D1": ["K, 128"], "D2": ["C, 128"]},
        "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
    }
]


def gemms(sizes):
    """A workload of GEMMs (m, n, k) that do not feed one another."""
    return [
        {
            "id": i,
            "name": f"gemm{i}",
            "operator_type": "Gemm",
            "equation": "O[b][k]+=I[b][c]*W[c][k]",
            "dimension_relations": [],
            "loop_dims": ["B", "C", "K"],
            "loop_sizes": [m, k, n],
            "operand_precision": {"W": 8, "I": 8, "O": 32, "O_final": 8},
            "operand_source": {"I": i, "W": i},
        }
        for i, (m, n, k) in enumerate(sizes)
    ]


def main():
    """Print the cycles."""
    sizes = [(512, 4096, 4096)]
    if sys.argv[1:] == ["resnet50"]:
        sizes = [(((side - f) // s + 1) ** 2, n, f * f * c) for side, f, c, n, s in layers()]
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, data in (("gemm", gemms(sizes)), ("machine", MACHINE), ("mapping", MAPPING)):
            paths[name] = f"{folder}/{name}.yaml"
            Path(paths[name]).write_text(json.dumps(data), encoding="utf-8")  # which is YAML too
        found = get_hardware_performance_zigzag(
            paths["gemm"], paths["machine"], paths["mapping"], dump_folder=f"{folder}/out", loma_show_progress_bar=False
        )
        print(f"{found[1]:,.0f} cycles")


if __name__ == "__main__":
    main()
