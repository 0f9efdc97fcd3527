"""How fast arrays become codes, beside a memory copy, ml_dtypes' bare cast and torchao in the same run.

    python tests/bench/bench_formats.py

4096 x 4096 float32 N(0,1); million elements per CPU second (user + system, all threads together), the median of
five rounds, each of which times every line once; "1 thread" and "all" are the two settings of `threads`. Encoding
gives codes and scales; torchao (when installed) also packs FP4; the bare cast finds no scale and no maximum.
"""

import os
import statistics
import time

import ml_dtypes
import numpy as np

from hwsim.formats import get_format

LINES = {  # name: million elements per CPU second asked for
    "mxfp8_e4m3": 400, "mxfp8_e5m2": 400, "mxint8": 400, "mxfp6_e2m3": 300, "mxfp6_e3m2": 300, "mxfp4_e2m1": 300,
    "nvfp4": 300, "mx9": 200, "mx6": 200, "mx4": 200,
}  # fmt: skip
CASTS = {
    "mxfp8_e4m3": "float8_e4m3fn", "mxfp8_e5m2": "float8_e5m2", "mxfp6_e2m3": "float6_e2m3fn",
    "mxfp6_e3m2": "float6_e3m2fn", "mxfp4_e2m1": "float4_e2m1fn", "nvfp4": "float4_e2m1fn",
}  # fmt: skip
OTHERS = {
    "mxfp8_e4m3 rceil": ("mxfp8", {"scale_rule": "rceil"}), "mxfp4 stochastic": ("mxfp4", {"rounding": "stochastic"}),
    "int8": ("int8", {}), "fp8": ("fp8", {}), "int4_g128": ("int4_g128", {}), "bf16": ("bf16", {}),
}  # fmt: skip
ROUNDS = 5


def torchao_lines(x):
    """{name: function} of torchao's encoders; empty when it is not installed."""
    try:
        import torch
        from torchao.prototype.mx_formats.mx_tensor import to_mx
        from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize
    except ImportError:
        return {}
    torch.set_num_threads(1)
    t = torch.from_numpy(x)
    scale = t.abs().amax() / 2688
    return {
        "mxfp8_e4m3": lambda: to_mx(t, torch.float8_e4m3fn, 32),
        "mxfp4_e2m1": lambda: to_mx(t, torch.float4_e2m1fn_x2, 32),
        "nvfp4": lambda: nvfp4_quantize(t, 16, scale),
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
            lines[name, label] = (lambda f=get_format(name, threads=threads): f.encode(x))
    for name, (form, options) in OTHERS.items():
        lines[name, "one"] = (lambda f=get_format(form, threads=1, **options): f.encode(x))
    for name, cast in CASTS.items():
        lines[name, "cast"] = (lambda k=getattr(ml_dtypes, cast): x.astype(k))
    peers = torchao_lines(x)
    lines |= {(name, "torchao"): work for name, work in peers.items()}
    spent = {key: [] for key in lines}
    for work in lines.values():
        work()  # not counted: compiles, or loads what was compiled
    for _ in range(ROUNDS):
        for key, work in lines.items():
            spent[key].append(cost(work))
    rate = {key: x.size / 1e6 / statistics.median(cpu for cpu, _ in times) for key, times in spent.items()}
    wall = {key: x.size / 1e6 / statistics.median(wall for _, wall in times) for key, times in spent.items()}
    copy = rate["copy", "copy"]
    print(f"million elements per CPU second; a copy of the array: {copy:.0f}; processors: {len(os.sched_getaffinity(0))}")
    if not peers:
        print("torchao is not installed; its own figures on one such processor: about 100 (FP8), 24 to 30 (FP4)")
    print(f"{'format':<18}{'1 thread':>9}{'all':>7}{'wall':>7}{'x copy':>8}{'cast':>7}{'x cast':>8}{'torchao':>9}   line")
    failed = []
    for name in [*LINES, *OTHERS]:
        one, cast, peer = rate[name, "one"], rate.get((name, "cast")), rate.get((name, "torchao"))
        line = LINES.get(name)
        passed = line is None or one >= line
        failed += [] if passed else [name]
        cells = [f"{rate[name, 'all']:.0f}" if line else "-", f"{wall[name, 'all']:.0f}" if line else "-"]
        cells += [f"{cast:.0f}" if cast else "-", f"{one / cast:.1f}" if cast else "-", f"{peer:.0f}" if peer else "-"]
        print(
            f"{name:<18}{one:>9.0f}{cells[0]:>7}{cells[1]:>7}{one / copy:>8.2f}{cells[2]:>7}{cells[3]:>8}{cells[4]:>9}"
            f"   {'' if line is None else f'>= {line}' + ('' if passed else '  MISSED')}"
        )
    if failed:
        print("below their line: " + ", ".join(failed))


if __name__ == "__main__":
    main()
