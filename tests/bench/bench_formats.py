"""How fast arrays become codes, beside a memory copy, ml_dtypes' bare cast and torchao in the same run.

    python tests/bench/bench_formats.py

4096 x 4096 float32 N(0,1); million elements per CPU second (user + system, all threads together), the
median of five rounds, each of which times every line once; "1 thread" and "all" are two settings of
`threads`, "wall" is a second of the clock with all. Encoding gives codes and scales; torchao (when
installed) also packs FP4; the bare cast finds no maximum and no scale.
"""

import os
import statistics
import time
from functools import partial

import ml_dtypes
import numpy as np

from hwsim.formats import get_format

LINES = {  # name: million elements per CPU second asked for
    "mxfp8_e4m3": 400, "mxfp8_e5m2": 400, "mxint8": 400, "mxfp6_e2m3": 300, "mxfp6_e3m2": 300,
    "mxfp4_e2m1": 300, "nvfp4": 300, "mx9": 200, "mx6": 200, "mx4": 200,
}  # fmt: skip
CASTS = {
    "mxfp8_e4m3": "float8_e4m3fn", "mxfp8_e5m2": "float8_e5m2", "mxfp6_e2m3": "float6_e2m3fn",
    "mxfp6_e3m2": "float6_e3m2fn", "mxfp4_e2m1": "float4_e2m1fn", "nvfp4": "float4_e2m1fn",
}  # fmt: skip
OTHERS = {
    "mxfp8_e4m3 rceil": ("mxfp8", {"scale_rule": "rceil"}),
    "mxfp4 stochastic": ("mxfp4", {"rounding": "stochastic"}),
    "int8": ("int8", {}), "fp8": ("fp8", {}), "int4_g128": ("int4_g128", {}), "bf16": ("bf16", {}),
}  # fmt: skip
ROUNDS = 5


def torchao_lines(x):
    """{name: function} of torchao's encoders on one thread; empty when it is not installed."""
    try:
        import torch
        from torchao.prototype.mx_formats.mx_tensor import to_mx
        from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize
    except ImportError:
        return {}
    torch.set_num_threads(1)
    t = torch.from_numpy(x)
    return {
        "mxfp8_e4m3": lambda: to_mx(t, torch.float8_e4m3fn, 32),
        "mxfp4_e2m1": lambda: to_mx(t, torch.float4_e2m1fn_x2, 32),
        "nvfp4": lambda: nvfp4_quantize(t, 16, t.abs().amax() / 2688),
    }


def cost(work):
    """(CPU seconds, wall seconds) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def main():
    x = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    lines = {("copy", "copy"): x.copy}
    for name in LINES:
        for label, threads in (("one", 1), ("all", None)):
            lines[name, label] = partial(get_format(name, threads=threads).encode, x)
    for name, (form, options) in OTHERS.items():
        lines[name, "one"] = partial(get_format(form, threads=1, **options).encode, x)
    for name, cast in CASTS.items():
        lines[name, "cast"] = partial(x.astype, getattr(ml_dtypes, cast))
    peers = torchao_lines(x)
    lines |= {(name, "torchao"): work for name, work in peers.items()}
    spent = {key: [] for key in lines}
    for work in lines.values():
        work()  # not counted: compiles, or loads what was compiled
    for _ in range(ROUNDS):
        for key, work in lines.items():
            spent[key].append(cost(work))
    million = x.size / 1e6
    rate = {key: million / statistics.median(cpu for cpu, _ in times) for key, times in spent.items()}
    wall = {key: million / statistics.median(wall for _, wall in times) for key, times in spent.items()}
    copy = rate["copy", "copy"]
    print(f"million elements per CPU second; copy of the array {copy:.0f}; "
          f"processors {len(os.sched_getaffinity(0))}")  # fmt: skip
    if not peers:
        print("torchao is not installed; its known figures: about 100 (FP8), 24 to 30 (FP4)")
    head = ("1 thread", "all", "wall", "x copy", "cast", "x cast", "torchao", "x torchao")
    print(f"{'format':<18}" + "".join(f"{word:>10}" for word in head) + "   line")
    failed = []
    for name in [*LINES, *OTHERS]:
        one, line = rate[name, "one"], LINES.get(name)
        cells = [one, rate.get((name, "all")), wall.get((name, "all")), one / copy]
        for rival in ("cast", "torchao"):
            other = rate.get((name, rival))
            cells += [other, other and one / other]
        text = [_number(c) for c in cells]
        verdict = "" if line is None else f">= {line}"
        if line and one < line:
            failed.append(name)
            verdict += "  MISSED"
        print(f"{name:<18}" + "".join(f"{word:>10}" for word in text) + f"   {verdict}")
    share = rate["nvfp4", "one"] / rate["mxfp4_e2m1", "one"]
    print(f"nvfp4 at {share:.2f} of the rate of mxfp4_e2m1 (line: 0.7)")
    if share < 0.7:
        failed.append("nvfp4 beside mxfp4_e2m1")
    if failed:
        print("below their line: " + ", ".join(failed))


def _number(value):
    return "-" if value is None else f"{value:.0f}" if value >= 20 else f"{value:.2f}"


if __name__ == "__main__":
    main()
