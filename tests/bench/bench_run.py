"""What a simulation costs as a whole process, beside the bare import of the libraries it stands on.

    python tests/bench/bench_run.py

CPU seconds (user + system) and peak memory of each process, medians of five. Published figures of
other tools on the same two products (their own whole processes): 0.8 to 898 CPU seconds.
"""

import os
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BARE = "import pydantic, typer, simpy, yaml\nclass M(pydantic.BaseModel): a: int"
LINES = (
    ("bare import", ["-c", BARE], None, None),
    ("gemm m512 n4096 k4096", "gemm m0 --m 512 --n 4096 --k 4096 --weights int8", 1.0, 120),
    ("gemm m1 n14336 k4096", "gemm m0 --m 1 --n 14336 --k 4096 --weights int8", 1.0, 120),
    ("llama3-8b decode", "run m0 --model llama3-8b --context 2048 --weights int8", 2.0, None),
    ("llama3-8b prefill", "run m0 --model llama3-8b --context 2048 --weights int8 --phase prefill", 2.0, None),
    ("nemotron3-nano decode", "run h200-sxm --model nemotron3-nano-30b-a3b --weights fp8", 2.0, None),
)


def cost(args):
    """(CPU seconds, peak MB) of one process."""
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, *args],
        {**os.environ, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{args}: failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    print(f"{'process':<24}{'CPU s':>8}{'x bare':>8}{'peak MB':>9}   line")
    base = None
    for name, args, limit, memory in LINES:
        args = args if isinstance(args, list) else ["-m", "hwsim", *args.split()]
        cost(args)  # not counted: writes byte code
        runs = [cost(args) for _ in range(5)]
        seconds, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        base = base or seconds
        line = f"< {limit:g} s" + (f", < {memory} MB" if memory else "") if limit else ""
        print(f"{name:<24}{seconds:>8.2f}{seconds / base:>8.1f}{peak:>9.0f}   {line}")


if __name__ == "__main__":
    main()
