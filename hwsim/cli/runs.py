"""Commands that simulate, compare, fit and score."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.options import (
    Acts,
    ArchName,
    By,
    Energy,
    Engine,
    Json,
    Set,
    Size,
    Trace,
    Weights,
    app,
    model_sizes,
    one_number,
    read_options,
)
from hwsim.errors import InputError, collect
from hwsim.extras import install

if TYPE_CHECKING:
    from hwsim.jobs.options import Job


@app.command()
def run(
    arch: ArchName,
    model: Annotated[
        str, typer.Option(help="a model name (`hwsim model` lists them), a YAML, ONNX or CSV file, a config.json")
    ],
    phase: Annotated[str, typer.Option(help="decode, prefill or mixed")] = "decode",
    batch: Annotated[int, typer.Option(parser=one_number, metavar="N", help="number of sequences")] = 1,
    context: Annotated[
        int,
        typer.Option(parser=one_number, metavar="N", help="tokens in the cache (decode) or in the prompt (prefill)"),
    ] = 8192,
    chunk: Annotated[int, typer.Option(help="mixed: tokens of one prompt that the decode step also computes")] = 0,
    done: Annotated[int, typer.Option(help="mixed: tokens of that prompt computed before")] = 0,
    weights: Weights = "released",
    activations: Acts = None,
    kv: Annotated[str | None, typer.Option(help="KV cache format")] = None,
    state: Annotated[
        str | None, typer.Option(help="SSM state format; the suffix _sr selects stochastic rounding")
    ] = None,
    chips: Annotated[int, typer.Option(help="number of chips that share the step over the machine's link")] = 1,
    parallel: Annotated[str, typer.Option(help="parallelism: tensor, tensor+expert or data+expert")] = "tensor",
    skew: Annotated[str, typer.Option(help="how tokens choose experts: even or, for example, zipf(0.8)")] = "even",
    mla: Annotated[
        str, typer.Option(help="latent attention: absorbed, expanded or cheaper; default: as the phase is served")
    ] = "",
    engine: Engine = None,
    size: Size = None,
    set_: Set = None,
    by: By = None,
    energy: Energy = False,
    trace: Trace = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a page with the timeline by op and layer to this file")
    ] = None,
    as_json: Json = False,
) -> None:
    """Simulate a decode, prefill or mixed step.

    A mixed step decodes, and takes in part of a prompt as well. --trace: a timeline with each server's tiles and what
    it waits for, ops, layers, bytes per second, buffer fill.

    \b
    Examples:
      hwsim run h200-sxm --model gpt-oss-20b --weights experts=mxfp4,default=fp8
      hwsim run h200-sxm --model llama3-70b --weights fp8 --chips 2 --batch 64 --by op
      hwsim run h200-sxm --model llama3-8b --set dram.bandwidth='9.6 TB/s'
      hwsim run rtx4090 --model llama3-8b --phase mixed --batch 27 --context 1200 --chunk 512
    """
    from hwsim.jobs.run import checked_job

    problems: list[str] = []
    formats, settings = read_options(weights, set_, by, problems)
    sizes: tuple[tuple[str, str], ...] = ()
    with collect(problems):
        sizes = model_sizes(size)
    job = checked_job(
        arch,
        model,
        settings,
        problems,
        sizes,
        phase=phase,
        batch=batch,
        context=context,
        weights=formats,
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
    _finish(job, by, energy, trace, as_json, html)


@app.command()
def gemm(
    arch: ArchName,
    m: Annotated[int, typer.Option(help="rows of X (tokens)")],
    n: Annotated[int, typer.Option(help="rows of W (outputs)")],
    k: Annotated[int, typer.Option(help="columns of X and W (the reduction)")],
    weights: Weights = "bf16",
    activations: Acts = None,
    warm: Annotated[bool, typer.Option("--warm", help="weights stay in L2 between repeats, as in a benchmark")] = False,
    engine: Engine = None,
    set_: Set = None,
    energy: Energy = False,
    trace: Trace = None,
    as_json: Json = False,
) -> None:
    """Simulate one GEMM, Y[M,N] = X[M,K] W[N,K]^T.

    \b
    Example:
      hwsim gemm tpu-v4i --m 64 --n 4096 --k 4096 --weights int8
    """
    from hwsim.jobs.run import gemm_job

    problems: list[str] = []
    formats, settings = read_options(weights, set_, None, problems)
    job = gemm_job(arch, m, n, k, formats, activations, engine, settings, problems, warm)
    _finish(job, None, energy, trace, as_json)


def _finish(
    job: Job, by: str | None, energy: bool, trace: Path | None, as_json: bool, html: Path | None = None
) -> None:
    """Simulate, print the result, and write the trace and the page if they were requested."""
    from hwsim.report.text import result_text

    traced, left_out = None, ""
    files = {"--trace": trace, "--html": html}
    for option, path in files.items():
        if path:
            from hwsim.files.whole import check_writable
            from hwsim.jobs.tile import TileJob

            if not isinstance(job, TileJob):
                raise InputError(
                    f"{option}: a GEMV or GEMM machine runs no tiles, so there is no timeline to write; leave it out"
                )
            check_writable(path)
            traced = job
    if html:
        from hwsim.files.html import library

        library()  # before the run, in case it is not installed
    result = job.result()
    if trace and traced:
        from hwsim.jobs.trace import write_trace

        left_out = write_trace(trace, traced, result)
    if html and traced:
        from hwsim.report.run_page import write_run_page

        of_page = write_run_page(html, traced, result)
        left_out = left_out or of_page
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        print(result_text(result, by, energy))
        if trace:
            print(f"  trace       {trace}  (open it at ui.perfetto.dev)")
        if html:
            print(f"  page        {html}  (open it in a browser)")
    if left_out:
        print(f"hwsim: timeline: {left_out}", file=sys.stderr)


@app.command()
def compare(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="A B...", help="results, written with --json by run, serve or train; ratios are to A"),
    ],
    as_json: Json = False,
) -> None:
    """Compare results: figures, causes, settings.

    All of one kind: of run, of train, of serve in steady state, or of serve under load.

    \b
    Example:
      hwsim compare fp8.json nvfp4.json seedlm4.json
    """
    from hwsim.report.compare import compare_text, comparison, read_results

    results = read_results(files)
    print(json.dumps(comparison(results), indent=2) if as_json else compare_text(results))


@app.command()
def calibrate(
    arch: ArchName,
    data: Annotated[Path, typer.Argument(metavar="DATA.csv", help="measured GEMMs, with columns dtype,m,n,k,us")],
    out: Annotated[Path, typer.Option("-o", "--out", help="calibration file to write")],
    kernels: Annotated[
        bool, typer.Option("--kernels", help="also fit the project's datasets of the machine's other kernels")
    ] = False,
) -> None:
    """Fit a machine's rates to measured GEMMs.

    Writes the file that the machine's `cores.calibration` names.
    """
    try:
        from hwsim.measured.calibrate import calibrate as fitted
        from hwsim.measured.calibrate import kernel_datasets
    except ModuleNotFoundError as error:
        raise InputError(f"calibrate needs {error.name}: {install('calibrate')}") from None
    from hwsim.arch import load_tile_machine
    from hwsim.files.whole import write_whole

    machine = load_tile_machine(arch, [("cores.calibration", "null")])
    others = kernel_datasets(machine.name) if kernels else ()
    file, comment, found = fitted(machine, data, others, lambda name: print(f"  {name}", file=sys.stderr))
    write_whole(out, file.text(comment))
    print(f"{out}: mean error {100 * found.error:.1f} % over {sum(map(len, found.errors.values())):,} rows")


@app.command()
def validate(
    out: Annotated[Path, typer.Option(help="folder for the pages and their figures")] = Path("build/validation"),
    only: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET", help="print the scores of one dataset, no page; serving: the page of whole models"
        ),
    ] = None,
) -> None:
    """Score predictions against measured datasets.

    Reports errors for kernels and whole models, by dataset, format and size, with figures.
    """
    try:
        from hwsim.measured import page as kernels
        from hwsim.measured import serving as models
        from hwsim.measured.score import lines, score_named
    except ModuleNotFoundError as error:
        raise InputError(f"validate needs {error.name}: {install('calibrate', 'report')}") from None
    if only not in (None, "serving"):
        print("\n".join(lines(score_named(only))))
        return
    out.mkdir(parents=True, exist_ok=True)
    for part in (models,) if only else (kernels, models):
        print(part.run(out, lambda name: print(f"  {name}", file=sys.stderr)))
