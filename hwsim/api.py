"""The public functions of `import hwsim`: the questions of the commands, with keywords for options.

Each checks the types of its arguments first (`hwsim.arguments`). What a value of the right type says wrong is an
`InputError`, as in the commands.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.arch import Arch
from hwsim.arch.stack import ServingStack
from hwsim.arguments import article, typed
from hwsim.errors import InputError
from hwsim.jobs.options import Job
from hwsim.jobs.run import checked_job, gemm_job
from hwsim.jobs.serve import Request, Served
from hwsim.jobs.serve import serve as serve_request
from hwsim.result import Result
from hwsim.workload.op import Workload

if TYPE_CHECKING:
    import numpy.typing as npt

    from hwsim.formats import Format
    from hwsim.formats.names import FormatSource
    from hwsim.formats.quality import Qsnr
    from hwsim.jobs.serving.load import Served as UnderLoad
    from hwsim.jobs.training.result import TrainResult

#: Settings of the machine by their path in its file: {"dram.bandwidth": "9.6 TB/s"}.
Overrides = Mapping[str, str | int | float | None]


def pairs(overrides: Overrides | None) -> tuple[tuple[str, str], ...]:
    """Overrides as the loader of machines takes them: paths and YAML texts."""
    return tuple((path, "null" if value is None else str(value)) for path, value in (overrides or {}).items())


@typed
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
    overrides: Overrides | None = None,
) -> Result:
    """Simulate one step of `model` on `arch`, as `hwsim run` does.

    arch: a machine's name, the path of its YAML file, or what `load_arch` returned.
    model: a model's name, the path of its file, or what `load_model` returned.
    phase: "decode": one token per sequence, with `context` tokens in the cache; "prefill": a prompt of
        `context` tokens with an empty cache; the head computes the last position only; "mixed": a decode step that
        also computes `chunk` tokens of one prompt, of which `done` were computed before.
    batch: the number of sequences.
    context: tokens in the cache of each sequence, or in its prompt.
    weights: a format, {class: format, "default": format}, or a preset of the model, `published-...`; "released": the
        formats that the model's file names (its `quantization_config`), bf16 where it names none.
    activations: a format; None: chosen from the weights and the machine.
    kv: the format of the KV cache.
    state: the format of SSM states; the suffix `_sr` selects stochastic rounding by the machine's units.
    engine: "simpy" or "walk"; both give the same times to the tick, and walk is faster.
    chips, parallel: how many chips share the step, and how: "tensor", "tensor+expert" or "data+expert".
    skew: how tokens choose experts: "even", or "zipf(a)": unequally, by popularity.
    mla: form of latent attention: "absorbed", "expanded", "cheaper" (the one with fewer multiply-adds), or "": that
        of the phase, as serving software runs it.
    overrides: settings of the machine by path, as `--set`: {"dram.bandwidth": "9.6 TB/s"}; `arch` is then a name.
    raises: InputError for unknown names, bad sizes, or a pair of formats that the machine cannot multiply.
    """
    return _job(
        arch, model, overrides,
        phase=phase, batch=batch, context=context, weights=weights, activations=activations, kv=kv, state=state,
        engine=engine, chips=chips, parallel=parallel, skew=skew, mla=mla, chunk=chunk, done=done,
    ).result()  # fmt: skip


def _job(arch: Arch | str | Path, model: Workload | str | Path, overrides: Overrides | None, **options: Any) -> Job:
    return checked_job(arch, model, pairs(overrides), _for_a_name(arch, overrides), **options)


def _for_a_name(arch: object, overrides: Overrides | None) -> list[str]:
    """The error of overrides for a machine that was loaded already."""
    if not overrides or isinstance(arch, str | Path):
        return []
    return ["overrides: of a machine that is loaded already; give them to load_arch, or name the machine here"]


@typed
def gemm(
    arch: Arch | str | Path,
    m: int,
    n: int,
    k: int,
    weights: str | Mapping[str, Any] = "bf16",
    activations: str | None = None,
    engine: str | None = None,
    warm: bool = False,
    *,
    overrides: Overrides | None = None,
) -> Result:
    """Simulate one GEMM, Y[m,n] = X[m,k] W[n,k]^T, as `hwsim gemm` does.

    engine: as in `run`, for machines that are simulated tile by tile; None selects the default.
    warm: weights stay in L2 between repeats, as in a benchmark; only on machines with `cores:`.
    overrides: as in `run`.
    raises: InputError, as in `run`.
    """
    found = _for_a_name(arch, overrides)
    return gemm_job(arch, m, n, k, weights, activations, engine, pairs(overrides), found, warm).result()


@typed
def serve(
    arch: Arch | str | Path,
    model: str | Path,
    isl: int = 8192,
    osl: int = 16384,
    batch: int | None = None,
    weights: str | Mapping[str, Any] = "released",
    activations: str | None = None,
    kv: str | None = None,
    state: str | None = None,
    *,
    chips: int = 1,
    parallel: str = "tensor",
    skew: str = "even",
    stack: str | ServingStack | None = None,
    keep_windows: bool | None = None,
    drafts: int = 0,
    acceptance: Sequence[float] = (),
    mla: str = "",
    overrides: Overrides | None = None,
    rate: str | None = None,
    trace: str | Path | None = None,
    concurrency: int | None = None,
    load: str | Path | None = None,
    requests: int | None = None,
    lengths: str | None = None,
    arrivals: str | None = None,
    scheduler: str | None = None,
    budget: int | None = None,
    max_seqs: int | None = None,
    block: int | None = None,
    kv_tokens: int | None = None,
    prefix_cache: bool | None = None,
    replicas: int | None = None,
    router: str | None = None,
    disaggregate: str | None = None,
    slo: str | None = None,
    seed: int | None = None,
    find_rate: bool = False,
) -> Served | UnderLoad:
    """Serve a model in steady state, or under load, as `hwsim serve` does.

    In steady state requests do not queue, and the answer is a `Served`. With `rate`, `trace`, `concurrency` or `load`,
    requests arrive over time and queue; the answer is then a `hwsim.jobs.serving.load.Served`, with distributions.

    isl, osl: input and output tokens per request.
    batch: the number of sequences; None: as many as fit in memory.
    weights, activations, kv, state, chips, parallel, skew, mla, overrides: as in `run`.
    stack: the software around the kernels: "default", "trtllm", "vllm", ..., a path, or "none"; None: the machine's.
    keep_windows: whether the KV cache keeps every position of sliding-window layers; None: the stack's rule.
    drafts: draft tokens per step, from the model's multi-token-prediction block.
    acceptance: probability that each draft token is accepted, given that the earlier ones are.
    rate, trace, concurrency: requests that arrive ("8/s"); a file of them; or so many users. One of the three.
    load: a load's name or YAML file; the options beside it go over it.
    find_rate: at the highest rate that meets the limits of `slo` in 99 %, which is the answer's `capacity`.
    requests, lengths, arrivals, scheduler, budget, max_seqs, block, kv_tokens, prefix_cache, replicas, router,
        disaggregate, slo, seed: of a load, as the options of the command; None: of the load's file, else the default.
    raises: InputError, as in `run`, if not one sequence fits in memory, and for options of a load without one.
    """
    named = model if isinstance(model, str) else os.path.join(os.curdir, model)
    request = Request(
        named, isl, osl, weights, activations, kv, state, chips, parallel, skew,
        drafts=drafts, acceptance=tuple(acceptance), keep_windows=keep_windows, stack=stack, mla=mla,
    )  # fmt: skip
    given = {
        "rate": rate, "trace": trace and str(trace), "concurrency": concurrency, "requests": requests,
        "lengths": lengths, "arrivals": arrivals, "scheduler": scheduler, "budget": budget, "max_seqs": max_seqs,
        "block": block, "kv_tokens": kv_tokens, "prefix_cache": prefix_cache, "replicas": replicas, "router": router,
        "disaggregate": disaggregate, "slo": slo, "seed": seed,
    }  # fmt: skip
    problems = _for_a_name(arch, overrides)
    if load is None and rate is None and trace is None and concurrency is None:
        from hwsim.jobs.serving.answer import without_load

        problems += without_load(given | {"find_rate": find_rate}, "rate, trace, concurrency or load", str)
        return serve_request(arch, request, batch, pairs(overrides), problems)
    from hwsim.jobs.serving.answer import asked_load, under_load
    from hwsim.jobs.serving.traffic import Traffic

    if batch is not None:
        problems.append("batch: under load, sequences come and go; write max_seqs for the most at once")
    try:
        asked = asked_load(str(load) if load is not None else None, given, problems)
        return under_load(Traffic(arch, request, asked, pairs(overrides), problems), find_rate).served
    except InputError as error:
        raise InputError(*map(_as_argument, error.problems)) from None


def _as_argument(problem: str) -> str:
    """A problem with the options of the command as the arguments of a function: `max_seqs` for `--max-seqs`."""
    return re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), problem)


@typed
def write_trace(
    path: str | Path,
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
    overrides: Overrides | None = None,
) -> Result:
    """Simulate one step and write its timeline to `path`, as `hwsim run --trace` does; ui.perfetto.dev opens it.

    The other arguments are those of `run`, whose result is returned.
    raises: InputError, as in `run`, for a path that cannot be written, and for a machine that runs no tiles.
    """
    from hwsim.files.whole import check_writable
    from hwsim.jobs.tile import TileJob
    from hwsim.jobs.trace import write_trace as write

    job = _job(
        arch, model, overrides,
        phase=phase, batch=batch, context=context, weights=weights, activations=activations, kv=kv, state=state,
        engine=engine, chips=chips, parallel=parallel, skew=skew, mla=mla, chunk=chunk, done=done,
    )  # fmt: skip
    if not isinstance(job, TileJob):
        raise InputError("write_trace: this kind of machine runs no tiles, so there is no timeline to write")
    check_writable(Path(path))
    result = job.result()
    write(Path(path), job, result)
    return result


@dataclass(frozen=True)
class Comparison:
    """Results side by side; ratios are to the first. Shown, it is the text of `hwsim compare`."""

    results: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: figures and ratios, seconds by cause and by op, settings that differ."""
        from hwsim.report.compare import comparison

        return comparison(self.results)

    def __repr__(self) -> str:
        from hwsim.report.compare import compare_text

        return compare_text(self.results)


def compare(*results: Result | TrainResult | Served | UnderLoad | Mapping[str, Any]) -> Comparison:
    """Put results side by side, as `hwsim compare` does.

    results: two or more of one kind, as `run` and `gemm`, `train`, or `serve` return them, or read from the JSON that
        `--json` prints.
    raises: TypeError for what is no result; InputError for fewer than two, and for results of two kinds.
    """
    from hwsim.jobs.serving.load import Served as UnderLoad
    from hwsim.jobs.training.result import TrainResult
    from hwsim.report.compare import kind_of

    found: list[dict[str, Any]] = []
    for number, each in enumerate(results, 1):
        if isinstance(each, Result | TrainResult | Served | UnderLoad):
            found.append(json.loads(json.dumps(each.to_dict())))
        elif isinstance(each, Mapping):
            found.append(dict(each))
        else:
            raise TypeError(
                f"hwsim.compare: takes results of run, gemm, train and serve; argument {number} is {article(each)}"
            )
    kinds = [kind_of(each) for each in found]
    bad = [f"compare: argument {n} is no result of run, gemm, train or serve" for n, k in enumerate(kinds, 1) if not k]
    if len(found) < 2:
        bad.append("compare: one result or none; give at least two")
    if not bad and len(set(kinds)) > 1:
        bad.append(f"compare: results of `{'` and `'.join(dict.fromkeys(map(str, kinds)))}`; give those of one kind")
    if bad:
        raise InputError(*bad)
    return Comparison(tuple(found))


def qsnr(
    formats: FormatSource | Format | Sequence[FormatSource | Format],
    data: npt.ArrayLike | None = None,
    axis: int = -1,
) -> list[Qsnr]:
    """The quantisation error of number formats, as `hwsim format --qsnr` measures it.

    formats: one format or a list: names, paths of YAML files, inline mappings, or what `get_format` returned.
    data: an array of floats, whose rows along `axis` are the vectors; None: random vectors of four distributions.
    returns: one `Qsnr` per format, or per format and distribution: `db` is the QSNR in decibels.
    raises: TypeError for what names no format; InputError for unknown formats, and for arrays that hold no vector.
    """
    from hwsim.formats import Format, Layout, get_format
    from hwsim.formats.quality import qsnr as of_array
    from hwsim.formats.quality import qsnr_table

    several: list[Any] = list(formats) if isinstance(formats, list | tuple) else [formats]
    for each in several:
        if not isinstance(each, str | Path | Mapping | Layout | Format):
            raise TypeError(
                f"hwsim.qsnr: a format is a name, a path, a mapping or a Format, and {each!r} is {article(each)}"
            )
    if data is None:
        return qsnr_table(several)
    made = [each if isinstance(each, Format) else get_format(each) for each in several]
    return [of_array(form, data, axis) for form in made]
