"""`run` and `gemm`: the kind of machine decides which job simulates it. This path imports no numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwsim.arch import Arch, GemmMachine, GemvMachine, TileMachine, load_arch
from hwsim.arch.machine import Machine
from hwsim.errors import InputError, collect
from hwsim.jobs.gemv import GemvJob
from hwsim.jobs.options import Job, RunOptions, check_engine, check_positive
from hwsim.jobs.tile import TileJob
from hwsim.mapping.operands import Formats
from hwsim.result import Result
from hwsim.workload import load_model
from hwsim.workload.op import Workload

Overrides = Sequence[tuple[str, str]]

#: Kind of machine -> the job that simulates it.
JOBS: dict[type[Machine], type[Job]] = {
    TileMachine: TileJob,
    GemvMachine: GemvJob,
    GemmMachine: GemvJob,
}


def run(
    arch: Arch | str | Path,
    model: Workload | str | Path,
    phase: str = "decode",
    batch: int = 1,
    context: int = 8192,
    weights: str | Mapping[str, Any] = "released",
    activations: str | None = None,
    kv: str | None = None,
    state: str | None = None,
    engine: str = "simpy",
    *,
    chips: int = 1,
    parallel: str = "tensor",
    skew: str = "even",
    mla: str = "",
    chunk: int = 0,
    done: int = 0,
) -> Result:
    """Simulate one step of `model` on `arch`.

    phase:   "decode": one token per sequence, with `context` tokens in the cache; "prefill": a prompt of
             `context` tokens with an empty cache; the head computes the last position only; "mixed": a decode step
             that also computes `chunk` tokens of one prompt, of which `done` were computed before.
    weights: a format, {class: format, "default": format}, or a preset of the model, `published-...`; "released": the
             formats that the model's file names (its `quantization_config`), bf16 where it names none.
    state:   a format; the suffix `_sr` selects stochastic rounding by the machine's units.
    engine:  "simpy" or "walk"; both give the same times to the tick.
    chips, parallel: how many chips share the step, and how: "tensor", "tensor+expert" or "data+expert".
    skew:    how tokens choose experts: "even", or "zipf(a)": unequally, by popularity.
    mla:     form of latent attention: "absorbed", "expanded", "cheaper" (the one with fewer multiply-adds), or "": that
             of the phase, as serving software runs it.
    raises:  InputError for unknown names, bad sizes, or a pair of formats that the machine cannot multiply.
    """
    job = checked_job(
        arch,
        model,
        phase=phase,
        batch=batch,
        context=context,
        weights=weights,
        activations=activations,
        kv=kv,
        state=state,
        engine=engine,
        chips=chips,
        parallel=parallel,
        skew=skew,
        mla=mla,
        chunk=chunk,
        done=done,
    )
    return job.result()


def gemm(
    arch: Arch | str | Path,
    m: int,
    n: int,
    k: int,
    weights: str | Mapping[str, Any] = "bf16",
    activations: str | None = None,
    engine: str | None = None,
    warm: bool = False,
) -> Result:
    """Simulate Y[m,n] = X[m,k] W[n,k]^T on `arch`.

    engine: as in `run`, for machines that are simulated tile by tile; None selects the default.
    warm:   weights stay in L2 between repeats, as in a benchmark; only on machines with `cores:`.
    raises: InputError, as in `run`.
    """
    return gemm_job(arch, m, n, k, weights, activations, engine, warm=warm).result()


def checked_job(
    arch: Arch | str | Path,
    model: Workload | str | Path,
    overrides: Overrides = (),
    found: Sequence[str] = (),
    sizes: Overrides = (),
    **options: Any,
) -> Job:
    """The job for a user's arguments; all errors in them are reported together.

    overrides: settings of the machine, used if `arch` is a name. options: arguments of `RunOptions.of`.
    sizes: settings of the model, used if `model` is a name or path.
    found: errors that the caller has found already; they are reported with the others. raises: InputError.
    """
    problems = list(found)
    machine, workload, resolved = arch, model, None
    with collect(problems):
        machine = load_arch(arch, overrides) if isinstance(arch, str | Path) else arch
    with collect(problems):
        workload = load_model(model, sizes) if isinstance(model, str | Path) else model
    with collect(problems):
        resolved = RunOptions.of(**options)
    if problems:
        raise InputError(*problems)
    return run_job(machine, workload, resolved)


def run_job(arch: Arch, workload: Workload, options: RunOptions) -> Job:
    """The job that simulates one step of `workload`. raises: InputError."""
    return JOBS[type(arch)].of(arch, workload, options)


def gemm_job(
    arch: Arch | str | Path,
    m: int,
    n: int,
    k: int,
    weights: str | Mapping[str, Any] = "bf16",
    activations: str | None = None,
    engine: str | None = None,
    overrides: Overrides = (),
    found: Sequence[str] = (),
    warm: bool = False,
) -> Job:
    """The job that simulates one GEMM; `overrides`, `found` and errors as in `checked_job`."""
    problems = list(found)
    formats, machine = Formats.of(), arch
    with collect(problems):
        machine = load_arch(arch, overrides) if isinstance(arch, str | Path) else arch
    with collect(problems):
        check_positive(m=m, n=n, k=k)
    with collect(problems):
        check_engine(engine)
    with collect(problems):
        formats = Formats.of(weights, activations)
        if formats.published:
            raise InputError(f"weights: {formats.published} is a preset of a model; for a GEMM, write a format")
    if warm and not problems and getattr(machine, "cores", None) is None:
        problems.append(f"warm: {machine.name} has no measured kernels; leave it out")
    if problems:
        raise InputError(*problems)
    if isinstance(machine, TileMachine):
        return TileJob.gemm(machine, m, n, k, formats, engine, warm)
    return JOBS[type(machine)].gemm(machine, m, n, k, formats, engine)
