"""Sets that no fit has seen: other chips by their data sheets, one layer of GPT-3, layers of Llama 3.1 8B.

The chips without measurements of their own run A100's kernels at rates scaled by the data sheets
(`hwsim.measured.calibrate.scaled`), so these rows say how far a new chip can be believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from hwsim.arch import Arch, load_arch
from hwsim.formats.names import layout
from hwsim.mapping.gpu.kernels import gemm, grouped
from hwsim.measured import calibrate
from hwsim.measured.sets import read_rows

#: Products of a decoder layer of Llama 3.1 8B, and its head: (outputs, inputs). (meta-llama, config.json.)
LLAMA = {
    "qkv_proj": (6144, 4096),
    "o_proj": (4096, 4096),
    "gate_up_proj": (28672, 4096),
    "down_proj": (4096, 14336),
    "lm_head": (128256, 4096),
}
#: A layer of GPT-3 175B on four chips: index in LLMCompass's list -> (products, outputs, inputs), recognised by time.
GPT3 = {0: ("QKV", 9216, 12288), 3: ("out", 12288, 3072), 4: ("up", 12288, 12288), 5: ("down", 12288, 12288)}
GPT3_HEADS, GPT3_BATCH, GPT3_TOKENS = 24, 8, 2048


@dataclass(frozen=True)
class Unfitted:
    """Seconds predicted and measured, [rows]. m: rows of the products."""

    machine: str
    name: str
    m: np.ndarray
    predicted: np.ndarray
    measured: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """Predicted over measured, less one."""
        return self.predicted / self.measured - 1


def products(arch: Arch, shapes: np.ndarray) -> np.ndarray:
    """[rows] seconds of bf16 products m, n, k, nothing of them in L2 beforehand."""
    family = arch.cores.named("bfloat16")
    rows = np.column_stack([shapes, np.ones(len(shapes))])
    return calibrate.Products(rows, family).seconds(family, replace(arch.cores, warm_bytes=0.0))


def llmcompass(machine: str, start: float | None = None) -> tuple[Unfitted, float]:
    """FP16 products of an eager framework on `a100-sxm` or `mi210`, and its start of a kernel: the constant of least
    mean error where none is given.
    """
    rows = [
        [float(r[c]) for c in ("m", "n", "k", "us")] for r in read_rows(f"llmcompass_{machine.split('-')[0]}_gemm.csv")
    ]
    rows = np.array(rows)
    times, measured = products(load_arch(machine), rows[:, :3]), rows[:, 3] * 1e-6
    if start is None:
        start = min(np.linspace(0, 60e-6, 601), key=lambda x: np.abs((times + x) / measured - 1).mean())
    return Unfitted(machine, "LLMCompass fp16", rows[:, 0], times + start, measured), float(start)


def llama(machine: str) -> Iterable[Unfitted]:
    """Products of Llama 3.1 8B under vLLM, a set a layer's part."""
    arch = load_arch(machine)
    found = read_rows(f"{machine.replace('-', '')}_llama31_8b.csv")
    for name, (n, k) in LLAMA.items():
        rows = np.array([[float(r["tokens"]), n, k, float(r["us"]) * 1e-6] for r in found if r["layer"] == name])
        yield Unfitted(machine, f"Llama-3.1-8B {name}", rows[:, 0], products(arch, rows[:, :3]), rows[:, 3])


def gpt3(start: float) -> Iterable[tuple[str, str, float, float]]:
    """(phase, operator, predicted, measured), us: one layer of GPT-3 on four A100, LLMCompass's framework's start."""
    arch, bf16 = load_arch("a100-sxm"), layout("bf16")
    cores = replace(arch.cores, warm_bytes=0.0)
    family = cores.named("bfloat16")
    times = {(r["phase"], int(r["index"])): float(r["us"]) for r in read_rows("llmcompass_a100_gpt3_layer.csv")}
    for phase, m in (("prefill", GPT3_BATCH * GPT3_TOKENS), ("decode", GPT3_BATCH)):
        for index, (name, n, k) in GPT3.items():
            ours = gemm(m, n, k, family, cores, bf16, bf16).seconds + start
            yield phase, f"{name} {m} x {n} x {k}", ours * 1e6, times[phase, index]
    heads, t = GPT3_BATCH * GPT3_HEADS, GPT3_TOKENS
    for index, name, n, k in ((1, "scores", t, 128), (2, "values", 128, t)):
        ours = grouped(((heads, t),), n, k, family, cores, bf16, bf16).seconds + start
        yield "prefill", f"{name}, {heads} x {t} x {n} x {k}", ours * 1e6, times["prefill", index]
    for phase, m in (("prefill", GPT3_BATCH * GPT3_TOKENS), ("decode", GPT3_BATCH)):
        ours = arch.seconds(arch.link.cycles("all_reduce", 2 * m * 12288, 4)) + start
        yield phase, f"all-reduce of {2 * m * 12288 / 1e6:.1f} MB, 4 chips", ours * 1e6, times[phase, 10]
