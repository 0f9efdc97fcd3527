"""Training steps against measurements: rows, their predictions, ratios, and kernels of one linear.

Rows: `hwsim/data/groundtruth/training.csv`, one measured step each, predicted by `hwsim.train` on the shipped machines
with the plan of the row's configuration. Nothing is fitted to them here (`training_fit` fits one number). Rows of one
software release are scored; those of other software are shown beside them, as software moves a row by up to 1.5 times.
Ratios compare two rows of the same chips and software.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from hwsim.arch import load_tile_machine
from hwsim.formats.names import layout
from hwsim.jobs.train import checked_train
from hwsim.jobs.training.job import TrainJob
from hwsim.jobs.training.price import prices, training_machine
from hwsim.jobs.training.recipe import Tensor, load_recipe, recipe_names
from hwsim.jobs.training.result import TrainResult
from hwsim.jobs.training.work import Work, encode_op
from hwsim.measured.sets import FOLDER
from hwsim.workload.language.model import Model
from hwsim.workload.load import load_model_text
from hwsim.workload.op import Gemm, Op

FILE = FOLDER / "training.csv"
KERNELS = FOLDER / "training_kernels.csv"
#: Nodes of eight chips joined by InfiniBand, one port per chip, for machines whose file states one link for all chips.
NODES = {"h100-sxm": ("450 GB/s", "50 GB/s"), "b200": ("900 GB/s", "50 GB/s"), "a100-sxm": ("300 GB/s", "25 GB/s")}
#: Recipes whose weights Megatron-Bridge keeps encoded alone (training/mixed_precision.py, fp8_param_gather); all of its
#: performance recipes sum gradients in BF16 (perf_recipes/_common.py, grad_reduce_in_fp32=False).
ENCODED = ("fp8", "mxfp8")
#: Where the rows are published, with the licence of the repository.
SOURCES = {
    "megatron-bridge": "NVIDIA-NeMo/Megatron-Bridge, docs/performance-summary.md, August 2026 (Apache-2.0)",
    "automodel": "NVIDIA NeMo AutoModel, performance page (Apache-2.0)",
    "torchao": "pytorch/ao, prototype/moe_training and docs/source/workflows/training.md (BSD-3-Clause)",
    "torchrec-dlrm": "facebookresearch/dlrm, torchrec_dlrm/README.MD (MIT)",
    "korthikanti": "Korthikanti et al., arXiv 2205.05198, table 5; shapes from its table 3",
}
#: Hidden size, heads and layers of the models of arXiv 2205.05198, table 3.
GPT = {
    "gpt-22b": (6144, 64, 48),
    "gpt-175b": (12288, 96, 96),
    "gpt-530b": (20480, 128, 105),
    "gpt-1t": (25600, 160, 128),
}
#: Kinds of rows -> what the page calls them, and the goal in percent (None: shown, not scored).
KINDS = {
    "dense": ("Dense models", 20),
    "experts": ("Models with experts", 30),
    "other": ("Other software", None),
    "tables": ("Recommendation models, samples/s", None),
    "recompute": ("Recompute on A100", None),
}
#: Why rows are missed: (model or kind, recipe or "", cause); the first that fits is printed.
CAUSES = (
    (
        "gpt-oss-120b",
        "bf16",
        "no graph at all: the host launches every kernel, and waits for each layer's token counts",
    ),
    ("gpt-oss-120b", "mxfp8", "a graph of the whole step, whose buffers of experts are 1.5 times their tokens"),
    ("nemotron3", "", "the host waits for each layer's token counts before it launches the experts' kernels"),
    ("qwen3-30b-a3b-thinking-2507", "fp8", "the host waits for each layer's token counts"),
    (
        "dense",
        "",
        "the chip lowers its clock under a lasting load, which the kernels' benchmarks last too little to show",
    ),
)


@dataclass(frozen=True)
class Row:
    """One measured step: tokens/s per chip. graph: one CUDA graph holds the whole step, so the host starts it once."""

    kind: str
    machine: str
    model: str
    recipe: str
    batch: int
    context: int
    micro_batch: int
    parallel: str
    shard: int
    within: int
    recompute: str
    mtp: int
    exchange: str
    graph: bool
    tokens_per_second: float
    source: str
    note: str

    @property
    def key(self) -> tuple[str, str]:
        """What two rows of a ratio have in common."""
        return self.machine, self.model

    def job(self, small_kernels: float = 1.0, host_wait: float = 0.0) -> TrainJob:
        """The step that `hwsim.train` predicts. small_kernels, host_wait: as there."""
        overrides = []
        if nodes := NODES.get(self.machine):
            levels = zip(nodes, ("1 us", "5 us"), (8, 4096), strict=True)
            each = [f"{{bandwidth: {b}, latency: {t}, topology: switch, chips: {n}}}" for b, t, n in levels]
            overrides.append(("link", f"[{', '.join(each)}]"))
        name = self.recipe if self.recipe in recipe_names() else str(FOLDER / "recipes" / f"{self.recipe}.yaml")
        recipe = load_recipe(name)
        if self.source == "megatron-bridge":
            kept = not self.recipe.startswith(ENCODED)
            recipe = replace(recipe, reduction_bytes=2, wide=kept)
        return checked_train(
            self.machine,
            gpt(self.model) if self.model in GPT else self.model,
            overrides,
            batch=self.batch,
            context=self.context,
            micro_batch=self.micro_batch,
            recipe=recipe,
            recompute=self.recompute,
            parallel=self.parallel,
            optimizer="adam-fp32",
            shard=self.shard,
            skew="even",
            mtp=self.mtp,
            exchange=self.exchange,
            shard_within=self.within,
            small_kernels=small_kernels,
            host_wait=host_wait,
        )


@dataclass(frozen=True)
class Scored:
    """A row and its prediction."""

    row: Row
    result: TrainResult

    @property
    def error(self) -> float:
        """Predicted over measured tokens/s, less 1."""
        return self.result.tokens_per_second_per_chip / self.row.tokens_per_second - 1

    @property
    def bound(self) -> float:
        """The bound of the step over its measured time: below 1 where no measurement beats it."""
        tokens = self.row.batch * self.row.context / self.result.chips
        return self.result.bound_seconds * self.row.tokens_per_second / tokens


class Predicted(Protocol):
    """Anything with an error."""

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""


def gpt(name: str) -> Model:
    """A GPT of arXiv 2205.05198: an MLP of four times the hidden size with GELU, 51,200 words, positions learned."""
    h, heads, layers = GPT[name]
    text = f"""
name: {name}
description: GPT of arXiv 2205.05198, table 3
hidden: {h}
vocab: 51200
tied_embeddings: true
layers: {"X" * layers}
positions: 2048
norm: {{kind: layer, bias: true}}
attention: {{q_heads: {heads}, kv_heads: {heads}, head_dim: {h // heads}, rope: false}}
mlp: {{intermediate: {4 * h}, gated: false, activation: gelu}}
"""
    found = load_model_text(text, name)
    assert isinstance(found, Model), "the text describes a language model"
    return found


def rows(path: Path = FILE) -> list[Row]:
    """The measured rows."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                r["kind"], r["machine"], r["model"], r["recipe"], int(r["batch"]), int(r["context"]),
                int(r["micro_batch"]), r["parallel"], int(r["shard"]), int(r["within"]), r["recompute"],
                int(r["mtp"]), r["exchange"], r["graph"] == "1", float(r["tokens_per_second"]), r["source"], r["note"],
            )
            for r in csv.DictReader(file)
        ]  # fmt: skip


def scored(some: Sequence[Row]) -> list[Scored]:
    """Each row predicted."""
    return [Scored(row, row.job().trained()) for row in some]


def mean_error(some: Sequence[Predicted]) -> float:
    """Mean of the errors' sizes."""
    return sum(abs(one.error) for one in some) / len(some)


def ratios(some: Sequence[Scored]) -> list[tuple[Row, float, float]]:
    """(row in NVFP4, measured, predicted): its rate over that of the same chips and model in MXFP8."""
    eights = {one.row.key: one for one in some if one.row.recipe.startswith("mxfp8")}
    found = []
    for one in some:
        other = eights.get(one.row.key)
        if one.row.recipe.startswith("nvfp4") and other:
            measured = one.row.tokens_per_second / other.row.tokens_per_second
            ours = one.result.tokens_per_second_per_chip / other.result.tokens_per_second_per_chip
            found.append((one.row, measured, ours))
    return found


def recomputed(some: Sequence[Scored]) -> list[tuple[Row, float, float]]:
    """(row, measured, predicted): time of a step with full recompute over that with selective recompute."""
    rates = {(one.row.model, one.row.recompute): one for one in some if one.row.kind == "recompute"}
    found = []
    for (model, how), one in rates.items():
        if how == "selective":
            full = rates[model, "full"]
            measured = one.row.tokens_per_second / full.row.tokens_per_second
            found.append((one.row, measured, full.result.seconds / one.result.seconds))
    return found


def cause(one: Scored, others: Sequence[float] = ()) -> str:
    """Why a row is missed by more than its goal; its note where it is not. others: further errors that count."""
    goal = KINDS[one.row.kind][1]
    if goal is None or 100 * max(map(abs, (one.error, *others))) <= goal:
        return one.row.note
    row = one.row
    found = next((why for what, recipe, why in CAUSES if what in row.model + row.kind and recipe in row.recipe), "")
    return "; ".join(filter(None, (row.note, found)))


@dataclass(frozen=True)
class KernelRow:
    """One kernel of a linear in MXFP8 on B200, microseconds; fitted: the prediction after the one fitted number."""

    name: str
    measured: float
    predicted: float
    fitted: float


def kernel_rows(path: Path = KERNELS) -> list[KernelRow]:
    """The kernels of a grouped linear, each alone: encodes in one direction and GEMMs.

    Two numbers are fitted: what share of their predicted rate GEMMs reach (the rate is a library's of inference, these
    are of other software), those of fprop and dgrad, and those of wgrad, whose groups divide the reduction. The encodes
    are predicted as they stand.
    """
    arch = load_tile_machine("b200")
    tensor = Tensor(layout("mxfp8_e4m3"), tile=32)  # one copy per kernel
    bare: list[tuple[str, float, float]] = []
    with path.open(newline="", encoding="utf-8") as file:
        for r in csv.DictReader(file):
            t, k, n, groups = (int(r[name]) for name in ("tokens", "inputs", "outputs", "groups"))
            sides = {"X": t * k, "Y": t * n, "W": groups * n * k}
            if r["kernel"] == "GEMM":
                shapes = {"fprop": (t // groups, n, k), "dgrad": (t // groups, k, n), "wgrad": (n, k, t // groups)}
                gemm = Gemm(*shapes[r["pass"]], groups)
                op = Op("gemm", "linear", weights="experts", gemms=(gemm,), inputs=1, outputs=1)
                work = Work("experts", "", op, tensor.form, tensor.form)
            else:
                size = next(size for name, size in sides.items() if name in r["kernel"])
                work = Work("experts", "", encode_op("encode", 0, tensor, size, arch))
            seconds = prices(training_machine(arch), [work]).seconds(work)
            bare.append((f"{r['pass']} {r['kernel']}", float(r["us"]), 1e6 * seconds))
    found = []
    for name, us, ours in bare:
        alike = [u / o for other, u, o in bare if _group(other) == _group(name)] if _group(name) else [1.0]
        found.append(KernelRow(name, us, ours, ours * sum(alike) / len(alike)))
    return found


def _group(name: str) -> str:
    """GEMMs that share a fitted number; "" for what none is fitted to."""
    return ("wgrad" if name.startswith("wgrad") else "others") if name.endswith("GEMM") else ""
