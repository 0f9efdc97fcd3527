"""Commands that simulate, compare, fit and score."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import (
    Acts,
    ArchName,
    By,
    Energy,
    Engine,
    Json,
    Set,
    Trace,
    Weights,
    app,
    one_number,
    read_options,
)
from hwsim.errors import InputError, collect

if TYPE_CHECKING:
    from hwsim.jobs.options import Job


@app.command()
def run(
    arch: ArchName,
    model: Annotated[
        str, typer.Option(help="a model name (`hwsim model` lists them), a YAML or CSV file, a config.json")
    ],
    phase: Annotated[str, typer.Option(help="decode or prefill")] = "decode",
    batch: Annotated[int, typer.Option(parser=one_number, metavar="N", help="number of sequences")] = 1,
    context: Annotated[
        int,
        typer.Option(parser=one_number, metavar="N", help="tokens in the cache (decode) or in the prompt (prefill)"),
    ] = 8192,
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
    set_: Set = None,
    by: By = None,
    energy: Energy = False,
    trace: Trace = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a page with the timeline by op and layer to this file")
    ] = None,
    as_json: Json = False,
) -> None:
    """Simulate one decode step or one prefill.

    \b
    Examples:
      hwsim run h200-sxm --model gpt-oss-20b --weights experts=mxfp4,default=fp8
      hwsim run h200-sxm --model llama3-70b --weights fp8 --chips 2 --batch 64 --by op
      hwsim run h200-sxm --model llama3-8b --set dram.bandwidth='9.6 TB/s'
    """
    from hwsim.jobs.run import checked_job

    problems: list[str] = []
    formats, settings = read_options(weights, set_, by, problems)
    job = checked_job(
        arch,
        model,
        settings,
        problems,
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

    traced = None
    files = {"--trace": trace, "--html": html}
    for option, path in files.items():
        if path:
            from hwsim.files.whole import check_writable
            from hwsim.jobs.tile import TileJob

            if not isinstance(job, TileJob):
                raise InputError(
                    f"{option}: a GEMV machine runs no tiles, so there is no timeline to write; leave it out"
                )
            check_writable(path)
            traced = job
    if html:
        from hwsim.files.html import library

        library()  # before the run, in case it is not installed
    result = job.result()
    if trace and traced:
        from hwsim.jobs.trace import write_trace

        write_trace(trace, traced, result)
    if html and traced:
        from hwsim.report.run_page import write_run_page

        write_run_page(html, traced, result)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        print(result_text(result, by, energy))
        if trace:
            print(f"  trace       {trace}  (open it at ui.perfetto.dev)")
        if html:
            print(f"  page        {html}  (open it in a browser)")


@app.command()
def compare(
    files: Annotated[
        list[Path], typer.Argument(metavar="A B...", help="results, written by `hwsim run ... --json`; ratios are to A")
    ],
    as_json: Json = False,
) -> None:
    """Compare results: figures, causes, settings.

    \b
    Example:
      hwsim compare fp8.json nvfp4.json seedlm4.json
    """
    from hwsim.report.compare import compare_text, comparison, read_results

    results = read_results(files)
    print(json.dumps(comparison(results), indent=2) if as_json else compare_text(results))


@app.command()
def study(
    file: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="a study name or a YAML file; without one, list the studies")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="folder for the results; default: build/studies/NAME")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="number of workers; default: one per core")] = None,
    executor: Annotated[
        str, typer.Option(help="what runs the points: a name in hwsim/study/executors.py")
    ] = "processes",
    dask: Annotated[
        str | None, typer.Option(help="address of a Dask scheduler whose workers run the points: tcp://HOST:8786")
    ] = None,
    shard: Annotated[str | None, typer.Option(help="simulate every N-th point only, from the I-th on: I/N")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="join the files of the shards into points.jsonl")] = False,
    sample: Annotated[
        str | None, typer.Option(help="points to simulate, as 200 or 10%; the others are predicted")
    ] = None,
    within: Annotated[
        str | None, typer.Option(help="with --sample: add points until the check's largest error is below, as 5%")
    ] = None,
    pick: Annotated[
        str | None, typer.Option(help="with --sample, how points are chosen: greedy, random-greedy or uniform")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="with --sample, what is predicted; may be given more than once")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="with --sample, seed of the random choices")] = 0,
    as_json: Json = False,
) -> None:
    """Simulate a grid of machines, models, options.

    An interrupted study resumes where it left off. Without a study, list the shipped ones.

    \b
    Examples:
      hwsim study nano-formats
      hwsim study my-study.yaml --sample 10%
      hwsim study my-study.yaml --shard 3/8     # then, once all have ended: --merge
    """
    from contextlib import nullcontext
    from dataclasses import asdict

    from hwsim.report.progress import progress_bar
    from hwsim.study import load_study, run_study, study_names
    from hwsim.study.text import merged_text, sampled_text, studies_text, summary_text

    if not file:
        shipped = [load_study(name) for name in study_names()]
        listed = [{"name": s.name, "points": len(s.points), "description": s.description} for s in shipped]
        print(json.dumps({"schema": 1, "studies": listed}, indent=2) if as_json else studies_text(shipped))
        return
    problems: list[str] = []
    if sum(map(bool, (shard, merge, sample))) > 1:
        problems.append("--shard, --merge and --sample: write one of them; each is a way to run the whole study")
    if not sample and (given := [n for n, v in (("--within", within), ("--pick", pick), ("--metric", metric)) if v]):
        problems.append(f"{', '.join(given)}: needs --sample")
    if dask and executor != "processes":
        problems.append("--dask and --executor: write one of them")
    with collect(problems):
        asked = load_study(file)
    if problems:
        raise InputError(*problems)
    folder = out or Path("build/studies") / asked.name
    if merge:
        from hwsim.study.shards import merge as merge_shards

        merged = merge_shards(asked, folder)
        print(json.dumps({"schema": 1} | asdict(merged), indent=2) if as_json else merged_text(merged))
        return
    part = None
    if shard:
        from hwsim.study.shards import parse_shard

        part = parse_shard(shard)
    how: Any = nullcontext(executor)
    if dask:
        from hwsim.study.cluster import cluster

        how = cluster(dask)
    if sample:
        from hwsim.study.sampled import Asked, run_sampled

        wanted = Asked.of(sample, len(asked.points), within, pick, metric or ["tokens_per_second"], seed)
        with how as chosen, progress_bar(asked.name) as advance:
            found = run_sampled(asked, folder, wanted, workers, chosen, progress=advance)
        shown = {"schema": 1, "study": asked.name} | asdict(found)
        print(json.dumps(shown, indent=2) if as_json else sampled_text(asked.name, found, str(folder)))
        return
    with how as chosen, progress_bar(asked.name) as advance:
        summary = run_study(asked, folder, workers, chosen, progress=advance, shard=part)
    print(json.dumps({"schema": 1} | asdict(summary), indent=2) if as_json else summary_text(summary))
    if summary.failed and not summary.best and summary.failed == summary.ran + summary.kept:
        raise typer.Exit(2)


@app.command()
def search(
    file: Annotated[str, typer.Argument(metavar="STUDY", help="a study name or a YAML file; its axes may be ranges")],
    maximize: Annotated[str, typer.Option(help="metrics to maximize, separated by commas")] = "",
    minimize: Annotated[str, typer.Option(help="metrics to minimize: seconds, area, energy, or a path in --json")] = "",
    subject_to: Annotated[
        list[str] | None,
        typer.Option(help="a condition: memory.fits, or 'seconds <= 0.01'; may be given more than once"),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="points to try, with those of earlier runs")] = 100,
    sampler: Annotated[str, typer.Option(help="tpe, nsga2 or random")] = "tpe",
    seed: Annotated[int, typer.Option(min=0, help="seed of the sampler")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder for the results; default: build/searches/NAME")] = None,
    workers: Annotated[int, typer.Option(min=1, help="points at a time; one gives the same trials every time")] = 1,
    dask: Annotated[str | None, typer.Option(help="address of a Dask scheduler whose workers run the points")] = None,
    as_json: Json = False,
) -> None:
    """Find the best points of a large space.

    An axis of the grid is a list of values, or a range: `range: 1 TB/s .. 10 TB/s, log`; with `when: {PATH: [VALUE]}`
    it holds where another axis has one of these values. An interrupted search goes on from its trials.

    \b
    Examples:
      hwsim search nano-formats --maximize tokens_per_second --minimize seconds --trials 60
      hwsim search my-study.yaml --maximize tokens_per_second --minimize area,energy --subject-to memory.fits
    """
    from contextlib import nullcontext

    from hwsim.report.progress import progress_bar
    from hwsim.study.search import Goal, run_search
    from hwsim.study.space import load_space
    from hwsim.study.text import found_text

    problems: list[str] = []
    with collect(problems):
        goal = Goal.of(maximize, minimize, subject_to or ())
    with collect(problems):
        space = load_space(file)
    if problems:
        raise InputError(*problems)
    how: Any = nullcontext("processes")
    if dask:
        from hwsim.study.cluster import cluster

        how = cluster(dask)
    folder = out or Path("build/searches") / space.study.name
    with how as chosen, progress_bar(space.study.name) as advance:
        found = run_search(space, folder, goal, trials, sampler, seed, workers, chosen, advance)
    if as_json:
        front = [{"key": line["key"], "point": line["point"], "values": goal.values(line)} for line in found.front]
        head = {"schema": 1, "study": found.study, "trials": found.trials, "ran": found.ran, "failed": found.failed}
        named = [name for name, _ in goal.objectives]
        print(json.dumps(head | {"file": found.file, "objectives": named, "front": front}, indent=2))
    else:
        print(found_text(found, goal))


@app.command()
def serve(
    arch: ArchName,
    model: Annotated[str, typer.Option(help="a model name (`hwsim model` lists them), a YAML file, or a config.json")],
    isl: Annotated[int, typer.Option(help="input tokens per request")] = 8192,
    osl: Annotated[int, typer.Option(help="output tokens per request")] = 16384,
    batch: Annotated[str, typer.Option(help="number of sequences, or max: as many as fit in memory")] = "max",
    chips: Annotated[int, typer.Option(help="number of chips that share the model")] = 1,
    parallel: Annotated[str, typer.Option(help="parallelism: tensor, tensor+expert or data+expert")] = "tensor",
    weights: Weights = "released",
    activations: Acts = None,
    kv: Annotated[str | None, typer.Option(help="KV cache format")] = None,
    state: Annotated[str | None, typer.Option(help="SSM state format")] = None,
    stack: Annotated[
        str | None,
        typer.Option(help="the software around the kernels: default, trtllm, vllm, ..., a YAML path, or none"),
    ] = None,
    keep_windows: Annotated[
        bool | None,
        typer.Option(
            "--keep-windows/--free-windows",
            help="whether the KV cache keeps every position of sliding-window layers; default: by the stack",
        ),
    ] = None,
    drafts: Annotated[
        int, typer.Option(help="draft tokens per step, from the model's multi-token-prediction block")
    ] = 0,
    acceptance: Annotated[
        str, typer.Option(help="acceptance probability of each draft token, given that the earlier ones are accepted")
    ] = "",
    mla: Annotated[
        str, typer.Option(help="latent attention: absorbed, expanded or cheaper; default: as the phase is served")
    ] = "",
    set_: Set = None,
    energy: Annotated[bool, typer.Option("--energy", help="print each term of the energy with its source")] = False,
    as_json: Json = False,
) -> None:
    """Serve a model in steady state.

    Prints tokens/s per chip and per user, the time per output token, and how many sequences fit in memory. Requests do
    not queue: the time to first token is that of a prefill alone.

    \b
    Examples:
      hwsim serve b200 --model gpt-oss-20b --weights published-mxfp4 --batch 64
      hwsim serve h100-sxm --model llama3-8b --weights fp8 --kv fp8 --stack trtllm --isl 1024 --osl 1024 --batch 32
    """
    from hwsim.jobs.serve import Request
    from hwsim.jobs.serve import serve as steady
    from hwsim.report.serving import served_text

    problems: list[str] = []
    formats, settings = read_options(weights, set_, None, problems)
    sequences = None
    chances: tuple[float, ...] = ()
    if batch != "max":
        sequences = int(batch) if batch.isdecimal() and int(batch) else None
        problems += (
            [f"--batch: {batch!r} is not a batch size; write a whole number above 0, for example `--batch 64`, or max"]
            if sequences is None
            else []
        )
    try:
        chances = tuple(float(x) for x in acceptance.split(",") if x)
    except ValueError:
        problems.append(f"--acceptance: {acceptance!r} is not a list of probabilities; write, for example, 0.9,0.8")
    request = Request(
        model, isl, osl, formats, activations, kv, state, chips, parallel,
        drafts=drafts, acceptance=chances, keep_windows=keep_windows, stack=stack, mla=mla,
    )  # fmt: skip
    found = steady(arch, request, sequences, settings, problems)
    print(json.dumps(found.to_dict(), indent=2) if as_json else served_text(found, energy))


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
        raise InputError(f"calibrate needs {error.name}: pip install 'hwsim[calibrate]'") from None
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
        raise InputError(f"validate needs {error.name}: pip install 'hwsim[calibrate,report]'") from None
    if only not in (None, "serving"):
        print("\n".join(lines(score_named(only))))
        return
    out.mkdir(parents=True, exist_ok=True)
    for part in (models,) if only else (kernels, models):
        print(part.run(out, lambda name: print(f"  {name}", file=sys.stderr)))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder with the results of a study")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="folder for the page, or FILE.html with --html; default: DIR")
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="write one HTML file to explore all points in a browser instead")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="write one row per point to a .csv or .parquet file instead"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a study's results as a page.

    Writes a Markdown page with figures into the study's folder, or into the folder given by --out.

    \b
    Examples:
      hwsim report build/studies/nano-formats
      hwsim report build/studies/nano-formats --html
      hwsim report build/studies/nano-formats --table points.parquet
    """
    from hwsim.study.page import write_html, write_page

    if table:
        from hwsim.study.grid import read_grid
        from hwsim.study.tidy import check_table, write_table

        check_table(table)
        write_table(read_grid(folder), table)
    if html:
        written = [write_html(folder, out)]
    elif table:
        written = []
    else:
        written = write_page(folder, out)
    names = [str(path) for path in [*([table] if table else []), *written]]
    print(json.dumps({"schema": 1, "written": names}, indent=2) if as_json else "\n".join(names))
