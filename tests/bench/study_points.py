"""Some points of a study, timed one by one, for bench_speed.py, which runs this file as a process of its own.

    python tests/bench/study_points.py STUDY WORKERS NODE,NODE,... [plain]

Prints JSON: CPU seconds from the start of the process until the first line of the study was on the disk (`first`), CPU
ms per point after that (median and mean: this process alone, so for one worker), and the peak memory in MB when the
last point was done. plain: no compiled code, however many points there are.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hwsim.study import load_study, work


def main():
    """Run them into a temporary folder."""
    name, workers, nodes = sys.argv[1], int(sys.argv[2]), [int(node) for node in sys.argv[3].split(",")]
    if sys.argv[4:] == ["plain"]:
        work.COMPILED = 1 << 60
    ends = []
    with tempfile.TemporaryDirectory() as folder, work.Session(load_study(name), Path(folder), workers) as session:
        for _ in session.simulate(nodes):
            ends.append(time.process_time())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = session.summary(len(nodes), 0)
    assert (len(ends), found.failed) == (len(nodes), 0), found.errors
    spent = [1000 * (end - start) for start, end in zip(ends, ends[1:], strict=False)]
    print(
        json.dumps({"first": ends[0], "median": statistics.median(spent), "mean": statistics.mean(spent), "peak": peak})
    )


if __name__ == "__main__":
    main()
