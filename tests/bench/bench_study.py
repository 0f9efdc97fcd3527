"""What a study costs: CPU seconds a point with one process, and what a second worker brings.

    python tests/bench/bench_study.py [POINTS]

POINTS of the shipped nano-formats (1,000: ten formats, batches and bandwidths, no two points equal; default: 100,
every tenth). The line asked of us: the 1,000 in under 3 minutes on two cores, two workers 1.9 times as fast as one.
Wall time means something on a quiet machine only; CPU time says what a core of its own would take.
"""

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hwsim.study import load_study, run_study


def cost(study, workers):
    """(wall, CPU) seconds of a whole study with that many workers."""
    with tempfile.TemporaryDirectory() as folder:
        wall, before = time.perf_counter(), os.times()
        summary = run_study(study, folder, workers=workers)
        after = os.times()
        assert (summary.ran, summary.failed) == (len(study.points), 0)
        return time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])


def main():
    points = int(sys.argv[1]) if sys.argv[1:] else 100
    whole = load_study("nano-formats")
    study = replace(whole, points=whole.points[:: max(1, len(whole.points) // points)][:points])
    found = {workers: cost(study, workers) for workers in (1, 2)}
    n = len(study.points)
    print(f"{n} points; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for workers, (wall, cpu) in found.items():
        each = cpu / n
        print(f"workers {workers}: {wall:7.1f} s wall {cpu:7.1f} s CPU {each:6.3f} CPU s a point (line: < 0.35)")
    print(f"1,000 points on two cores of their own: {500 * found[2][1] / n:.0f} s (line: < 180)")
    faster = found[1][0] / found[2][0], 2 * found[1][1] / found[2][1]
    print(f"two workers: {faster[0]:.2f} x by wall, {faster[1]:.2f} x by CPU (line: 1.9)")


if __name__ == "__main__":
    main()
