"""What the simulator costs: whole processes, warm points, sizes and studies, beside rivals and limits of the same run.

    python tests/bench/bench_speed.py                 (`make bench`)
    PEERS=1 python tests/bench/bench_speed.py         (`make bench PEERS=1`)

CPU seconds (user + system) and peak memory of whole processes, medians, after one run that is not counted; a warm
point is the median CPU ms of one point among many in one process. On a loaded machine CPU seconds rise by up to half,
so that ratios within a run say more than seconds. PEERS=1 installs GenZ, ZigZag and SCALE-Sim, each into
build/peers/NAME (0.9, 0.5 and 0.5 GB), and times them at the same GEMM, the same decode step and ResNet-50 (once:
SCALE-Sim takes minutes and 8 GB). BENCH_QUICK=1 runs 100 points in place of 1,000.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "bench"
HWSIM = [sys.executable, "-m", "hwsim"]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each run would compile what an installed package has compiled
LIBRARIES = "import pydantic, typer, simpy, yaml\nclass M(pydantic.BaseModel): a: int"
PEERS = {  # what pip installs; ZigZag needs six and does not say so; SCALE-Sim fails with NumPy 2.4
    "genz": ["genz-llm==0.0.16", "numpy==2.4.6", "pandas==3.1.1"],
    "scalesim": ["scalesim==3.0.0", "numpy==2.2.6", "pandas==2.3.3"],
    "zigzag": ["zigzag-dse==3.9.1", "six==1.17.0", "numpy==2.4.6", "pandas==3.1.1"],
}
PEER_NAMES = {"genz": "GenZ", "scalesim": "SCALE-Sim", "zigzag": "ZigZag"}

GEMM, DECODE, RESNET = "gemm", "decode", "resnet50"  # the jobs that peers do too
COLD = (  # name, arguments, limit in CPU s, job
    ("hwsim --help", "--help", 0.25, None),
    ("GEMM 512 x 4096 x 4096 on m0", "gemm m0 --m 512 --n 4096 --k 4096 --weights int8", 0.35, GEMM),
    ("Nano decode on h200-sxm", "run h200-sxm --model nemotron3-nano-30b-a3b", 0.5, None),
    ("ResNet-50 on tpu-v4i", "run tpu-v4i --model resnet50 --weights int8", 2, RESNET),
    ("Llama-3-8B decode on m0", "run m0 --model llama3-8b --context 2048 --weights int8", None, DECODE),
)
SIZES = (  # name, arguments, limit in CPU s
    ("m0 512^3", "gemm m0 --m 512 --n 512 --k 512 --weights int8", 1),
    ("m0 1 x 14336 x 4096", "gemm m0 --m 1 --n 14336 --k 4096 --weights int8", 1),
    ("m0 4096^3", "gemm m0 --m 4096 --n 4096 --k 4096 --weights int8", 1),
    ("m0 65536^3", "gemm m0 --m 65536 --n 65536 --k 65536 --weights int8", 1),
    ("m0 10^6 x 4096 x 4096", "gemm m0 --m 1000000 --n 4096 --k 4096 --weights int8", 1),
    ("m0 4096 x 4096 x 10^12", "gemm m0 --m 4096 --n 4096 --k 1000000000000 --weights int8", 1),
    ("gemmini 16384^3", "gemm gemmini --m 16384 --n 16384 --k 16384 --weights int8", 1),
    ("Llama-3-8B prefill 2,048", "run m0 --model llama3-8b --context 2048 --weights int8 --phase prefill", 2),
    ("Llama-3-8B prefill 10^7", "run m0 --model llama3-8b --context 10000000 --weights int8 --phase prefill", 2),
)
SIZE_MB = 100

STUDY = """
name: {name}
description: for bench_speed.py
machine: {machine}
model: {model}
run: {{context: {context}}}
grid:
"""
MANY = 600  # points: enough for compiled code
BANDWIDTHS = "[" + ", ".join(f"{50 + i / 4:g} GB/s" for i in range(MANY)) + "]"
FAST = "[" + ", ".join(f"{2 + i / 10:g} TB/s" for i in range(20)) + "]"
STUDIES = {
    "llama-m0": STUDY.format(name="llama-m0", machine="m0", model="llama3-8b", context=2048)
    + f"  run.weights: [int8]\n  machine.dram.bandwidth: {BANDWIDTHS}\n",
    "llama-h100": STUDY.format(name="llama-h100", machine="h100-sxm", model="llama3-8b", context=2048)
    + f"  run.weights: [fp8]\n  machine.dram.bandwidth: {FAST}\n",
    "large": STUDY.format(name="large", machine="h200-sxm", model="nemotron3-nano-30b-a3b", context=8192)
    + "  run.weights: [bf16, fp8, mxfp8, mxfp6, int8]\n"
    + f"  run.batch: {list(range(1, 51))}\n"
    + f"  machine.dram.latency: [{', '.join(f'{500 + 10 * i} cycles' for i in range(20))}]\n"
    + f"  machine.dram.bandwidth: {FAST}\n",
}

missed: list[str] = []


def cost(command, rounds=1, env=None):
    """(CPU seconds, peak MB, standard output) of a process and the processes that it starts; medians.

    On Linux a process's peak is at least that of its parent at the fork; this one stays small by importing little.
    """
    runs = []
    for _ in range(rounds):
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=env, cwd=tempfile.gettempdir())
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            if process.returncode:
                said = err.read().strip().splitlines() or [f"exit status {process.returncode}"]
                raise RuntimeError(said[-1][:200])
            runs.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read()))
    return statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs), runs[-1][2]


def own(*args, rounds=1):
    """`cost` of a process of this environment and this checkout."""
    return cost([sys.executable, *args], rounds, {**os.environ, "PYTHONPATH": str(ROOT)})


def points(study, nodes, workers=1, plain=False):
    """(CPU seconds of the whole process, what study_points.py found)."""
    nodes = ",".join(map(str, nodes))
    seconds, _, found = own(str(HERE / "study_points.py"), study, str(workers), nodes, *(["plain"] if plain else []))
    return seconds, json.loads(found)


def row(name, value, unit, *beside):
    """Print a figure and what stands beside it."""
    print(f"  {name:<36}{value:>8.3g} {unit:<4}" + "; ".join(text for text in beside if text), flush=True)


def limit(name, value, most, unit):
    """The ratio to a limit; notes what is above it."""
    if value > most:
        missed.append(f"{name}: {value:.3g} {unit}, limit {most:g}")
    return f"{value / most:.2f} of the limit {most:g} {unit}{' MISSED' if value > most else ''}"


def installed(peer):
    """The Python of a peer's environment, made when it is missing or has other versions. raises: RuntimeError."""
    folder, wanted = ROOT / "build" / "peers" / peer, "\n".join(PEERS[peer])
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        print(f"  installing {PEERS[peer][0]} into build/peers/{peer}", flush=True)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *PEERS[peer]],
        ):
            cost(command)
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def peer_cost(peer, job, rounds):
    """(CPU seconds, last line printed) of a peer at a job, or None, after a row with the reason."""
    name = f"{PEER_NAMES[peer]} {job}"
    if not os.environ.get("PEERS"):
        return None
    try:
        command = [installed(peer), str(HERE / f"peer_{peer}.py"), job]
        if rounds > 1:
            cost(command)  # not counted: writes byte code
        seconds, _, said = cost(command, rounds)
    except (RuntimeError, OSError) as error:
        print(f"  {name:<36}       - not measured: {error}", flush=True)
        return None
    return seconds, said.strip().splitlines()[-1]


def cold():
    """Whole processes."""
    print("whole processes, CPU s, medians of 5")
    bare = own("-c", "pass", rounds=5)[0]
    row("python -c pass", bare, "s")
    own("-c", LIBRARIES)  # not counted, as every first run below
    libraries = own("-c", LIBRARIES, rounds=5)[0]
    row("import pydantic, typer, simpy, yaml", libraries, "s", f"{libraries / bare:.1f} x python -c pass")
    ours = {}
    for name, args, most, job in COLD:
        own(*HWSIM[1:], *args.split())
        seconds, peak, _ = own(*HWSIM[1:], *args.split(), rounds=5)
        ours[job] = seconds
        row(name, seconds, "s", f"{seconds / bare:.1f} x python -c pass, {seconds / libraries:.1f} x the imports, "
            f"{peak:.0f} MB", most and limit(name, seconds, most, "s"))  # fmt: skip
    for peer, job, rounds in (
        ("genz", GEMM, 5),
        ("zigzag", GEMM, 5),
        ("genz", DECODE, 5),
        ("zigzag", RESNET, 1),
        ("scalesim", RESNET, 1),
    ):
        if found := peer_cost(peer, job, rounds):
            row(f"{PEER_NAMES[peer]} {job}", found[0], "s", f"hwsim {ours[job] / found[0]:.2f} of it; {found[1]}")


def warm(folder):
    """Points in one process."""
    print("warm points, CPU ms per point in one process, medians")
    blocks = [100 * i + 10 * i + j for i in range(10) for j in range(10)]  # as a study runs them: neighbours together
    for name, study, nodes, most in (
        ("nano-formats", "nano-formats", blocks, 12),
        ("h100-sxm, Llama-3-8B decode", str(folder / "llama-h100.yaml"), range(20), 6),
        ("m0, Llama-3-8B decode", str(folder / "llama-m0.yaml"), range(20), None),
        (f"the same, {MANY} points: compiled", str(folder / "llama-m0.yaml"), range(MANY), None),
    ):
        found = points(study, nodes)[1]
        row(name, found["median"], "ms", f"mean {found['mean']:.3g} ms over {len(nodes)} points",
            most and limit(name, found["median"], most, "ms"))  # fmt: skip
    if peer := peer_cost("genz", "warm", 1):
        ratio = found["median"] / float(peer[1])
        row("GenZ, Llama-3-8B decode", float(peer[1]), "ms", f"hwsim {ratio:.2f} of it",
            limit("warm m0, Llama-3-8B decode", ratio, 0.12, "of GenZ"))  # fmt: skip


def sizes():
    """The same question, of any size."""
    print("sizes, whole processes, CPU s, medians of 3")
    least = None
    for name, args, most in SIZES:
        seconds, peak, _ = own(*HWSIM[1:], *args.split(), rounds=3)
        least = least or seconds
        row(name, seconds, "s", f"{seconds / least:.2f} x 512^3", limit(name, seconds, most, "s"),
            limit(name, peak, SIZE_MB, "MB"))  # fmt: skip


def studies(folder):
    """Whole studies, the start included."""
    nodes = range(0, 1000, 10 if os.environ.get("BENCH_QUICK") else 1)
    print(f"nano-formats, {len(nodes)} of its 1,000 points{', evenly spaced' * (len(nodes) < 1000)}; start included")
    plain, found = points("nano-formats", nodes, plain=True)
    whole = found["first"] + (plain - found["first"]) * 1000 / len(nodes)
    projected = f"projected to 1,000: {whole:.1f} s" if len(nodes) < 1000 else None
    row("one worker, plain", plain, "s", f"first line after {found['first']:.2f} s",
        f"{found['mean']:.3g} ms per point", f"{found['peak']:.0f} MB", projected,
        limit("1,000 points, plain", whole, 15, "s"))  # fmt: skip
    one = plain
    if len(nodes) == 1000:
        one, found = points("nano-formats", nodes)
        row("one worker, compiled", one, "s", f"{found['median']:.3g} ms per point, median",
            limit("warm nano-formats, compiled", found["median"], 5, "ms"), f"{found['peak']:.0f} MB",
            limit("1,000 points, compiled", one, 10, "s"))  # fmt: skip
    two = points("nano-formats", nodes, 2)[0]
    row("two workers", two, "s", f"{2 * one / two:.2f} x as fast as one, by CPU time, on two cores of their own")
    print("100,000 points: 5 formats x 50 batches x 20 latencies x 20 bandwidths; some of them")
    large = str(folder / "large.yaml")
    found = points(large, range(200))[1]
    row("until the first line", found["first"], "s", limit("first line of 100,000", found["first"], 1.5, "s"))
    peaks = {"first 200": found["peak"]}
    for step, plain in ((100, True), (160, False)):  # every format, every batch: what is kept per shape adds up
        name = f"{100_000 // step} evenly spaced, {'plain' if plain else 'compiled'}"
        peaks[name] = points(large, range(0, 100_000, step), plain=plain)[1]["peak"]
    for name, peak in peaks.items():
        row(f"peak memory, {name}", peak, "MB", limit(f"memory of 100,000, {name}", peak, 150, "MB"))


def main():
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if not os.environ.get("PEERS"):
        print("without GenZ, ZigZag and SCALE-Sim; PEERS=1 installs and times them too")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in STUDIES.items():
            (Path(folder) / f"{name}.yaml").write_text(text, encoding="utf-8")
        cold()
        warm(Path(folder))
        sizes()
        studies(Path(folder))
    print("above their limit: " + ("; ".join(missed) or "none"))


if __name__ == "__main__":
    main()
