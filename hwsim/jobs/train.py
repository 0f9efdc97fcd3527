"""`train`: the questions of `hwsim train`, checked and answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwsim.arch import Arch, load_arch
from hwsim.arguments import typed
from hwsim.errors import InputError, collect
from hwsim.jobs.training.job import TrainJob
from hwsim.jobs.training.options import TrainOptions
from hwsim.jobs.training.recipe import Recipe
from hwsim.jobs.training.refusals import lacking
from hwsim.jobs.training.result import TrainResult
from hwsim.workload import load_model
from hwsim.workload.op import Workload
from hwsim.workload.training.options import Degrees


@typed
def train(
    arch: Arch | str | Path,
    model: Workload | str | Path,
    batch: int,
    context: int = 8192,
    micro_batch: int = 1,
    recipe: Recipe | str | Path = "bf16",
    recompute: str | int = "none",
    parallel: str | Mapping[str, int] | Degrees | None = None,
    optimizer: str = "adam-fp32",
    shard: int = 1,
    skew: str = "even",
    mtp: bool | int = False,
    exchange: str = "per-expert",
    small_kernels: float = 1.0,
    shard_within: int = 0,
    host_wait: float = 0.0,
) -> TrainResult:
    """Simulate one optimiser step of `model` on chips of `arch`.

    batch:     sequences per step over all chips, of `context` tokens each (samples of a graph, which has no context);
               micro_batch: those that a chip computes at once. There are m = batch / (dp micro_batch) micro-batches,
               a whole number.
    recipe:    a name (`bf16`, `fp8`, `mxfp8`, `nvfp4`, `mx-paper`) or a YAML file: the formats of every linear's
               weights, inputs and gradients.
    recompute: "none", "selective" (scores of attention), "full", or a number of layers.
    parallel:  degrees, `dp=8,tp=2` or a mapping: dp, tp, pp, vp, ep, cp; chips = dp tp pp cp.
    optimizer: "adam-fp32", or "adam-bf16" with moments in BF16.
    shard:     0: every replica holds all; 1: the optimiser's state is divided; 3: weights and gradients too.
    mtp:       train the model's multi-token-prediction block too; a number: so many times, with the same weights.
    exchange:  of tokens and experts: "per-expert": a copy per chosen expert; "per-chip": one per chip that has one of
               them, and per node between nodes; ",hidden": behind the work of another micro-batch.
    small_kernels: how many times longer than their bytes and passes need all kernels take but GEMMs, attention and
               encodes; 1: as long.
    shard_within: with shard 3: divide weights and gradients within groups of so many chips (HSDP); 0: over all.
    host_wait: milliseconds per layer with experts and micro-batch, a third of it forward, in which the chip waits for
               the host: that reads how many tokens each expert has and launches its kernels only then. 0: it keeps
               ahead, as where a graph holds the whole step; 8 fits the others of Megatron-Bridge
               (reports/training_steps.md).
    raises:    InputError with every error in the arguments.
    """
    options: dict[str, Any] = {"batch": batch, "context": context, "micro_batch": micro_batch, "recipe": recipe}
    options |= {"recompute": recompute, "parallel": parallel, "optimizer": optimizer, "shard": shard, "skew": skew}
    options |= {"mtp": mtp, "exchange": exchange, "small_kernels": small_kernels, "shard_within": shard_within}
    options["host_wait"] = host_wait
    return checked_train(arch, model, **options).trained()


def checked_train(
    arch: Arch | str | Path,
    model: Workload | str | Path,
    overrides: Sequence[tuple[str, str]] = (),
    found: Sequence[str] = (),
    **options: Any,
) -> TrainJob:
    """The job for a user's arguments; all errors in them are reported together.

    overrides: settings of the machine, used if `arch` is a name. options: arguments of `TrainOptions.of`.
    found: errors that the caller has found already; they are reported with the others. raises: InputError.
    """
    bad = list(found)
    machine, workload = arch, model
    with collect(bad):
        machine = load_arch(arch, overrides) if isinstance(arch, str | Path) else arch
    with collect(bad):
        workload = load_model(model) if isinstance(model, str | Path) else model
    known = None if isinstance(workload, str | Path) else workload
    if isinstance(machine, str | Path):
        TrainOptions.of(**options, model=known, found=bad)  # raises what was found
        raise InputError(*bad)
    with collect(bad):
        bad += lacking(machine, Degrees.of(options.get("parallel")).chips)
    resolved = TrainOptions.of(**options, model=known, found=bad)
    assert known is not None, "a model that cannot be loaded is an error"
    return TrainJob.of(machine, known, resolved)
