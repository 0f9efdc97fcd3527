"""GenZ on the machine m0, for bench_speed.py, which runs this file in GenZ's own environment.

    python tests/bench/peer_genz.py gemm|decode|warm

The last line printed: what the process found, or for `warm` the median CPU ms of a decode step, each at a bandwidth of
its own, in one process. GenZ takes the compute rate as that of BF16, of which INT8 has the double, and GB as GiB.
"""

import statistics
import sys
import time

from GenZ import System, decode_moddeling
from GenZ.analyse_model import analysis_model
from GenZ.Models import OpType, ResidencyInfo

TFLOPS, GB = 16.384, 1e9 / 2**30  # 128 x 128 INT8 MACs at 1 GHz; a GB in GiB
CALLS = 20


def gemm():
    """512 x 4096 x 4096."""
    dims = ["gemm", 1, 4096, 512, 4096, ResidencyInfo.All_offchip, OpType.GEMM]
    system = System(flops=TFLOPS, offchip_mem_bw=100 * GB, off_chip_mem_size=16384, frequency=1000, bits="int8")
    milliseconds = analysis_model([dims], system)["Latency (msec)"][0]
    return f"{milliseconds * 1e6:,.0f} cycles"


def decode(bandwidth=100):
    """One token of Llama-3-8B, 2,048 in the cache; milliseconds."""
    system = {"Flops": TFLOPS, "Memory_BW": bandwidth * GB, "Memory_size": 16, "ICN": 1, "real_values": True}
    found = decode_moddeling("llama3_8b", 1, 2048, 0, Bb=1, system_name=system, bits="int8")
    return found["Latency"]


def warm():
    """Median CPU ms of a decode step."""
    decode()
    spent = []
    for i in range(CALLS):
        start = time.process_time()
        decode(50 + 5 * i)
        spent.append(time.process_time() - start)
    return 1000 * statistics.median(spent)


if __name__ == "__main__":
    print({"gemm": gemm, "decode": lambda: f"{decode():.1f} ms", "warm": warm}[sys.argv[1]]())
