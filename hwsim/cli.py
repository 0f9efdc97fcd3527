"""The `hwsim` command: parse, call, print. Heavy imports stay inside the commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hwsim.errors import InputError

app = typer.Typer(
    name="hwsim",
    help="For this number format, on this machine, running this model: how fast, what limits it, what does it cost?",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)

ArchName = Annotated[str, typer.Argument(metavar="ARCH", help="a machine's name (`hwsim arch`) or a YAML path")]
Weights = Annotated[
    str, typer.Option(help="a format (`hwsim format`), or CLASS=FORMAT,...,default=FORMAT, or published-...")
]
Acts = Annotated[str | None, typer.Option(help="activation format; default: by the weights and the machine")]
Engine = Annotated[str, typer.Option(help="simpy or walk: the same times, walk is faster")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="change the machine, e.g. dram.bandwidth='9.6 TB/s'"),
]
By = Annotated[str | None, typer.Option(help="op or layer: where the time goes")]
Trace = Annotated[Path | None, typer.Option(help="write a timeline for ui.perfetto.dev to this file")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


def _version(asked: bool) -> None:
    if asked:
        from hwsim import __version__

        print(f"hwsim {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and stop")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    arch: ArchName,
    model: Annotated[str, typer.Option(help="a model's name (`hwsim model`), a YAML path, or a config.json")],
    phase: Annotated[str, typer.Option(help="decode or prefill")] = "decode",
    batch: Annotated[int, typer.Option(help="sequences at once")] = 1,
    context: Annotated[int, typer.Option(help="tokens cached (decode) or in the prompt (prefill)")] = 8192,
    weights: Weights = "bf16",
    activations: Acts = None,
    kv: Annotated[str | None, typer.Option(help="KV cache format")] = None,
    state: Annotated[
        str | None, typer.Option(help="SSM state format; with _sr behind it, rounded stochastically")
    ] = None,
    chips: Annotated[int, typer.Option(help="chips that share the step over the machine's link")] = 1,
    parallel: Annotated[str, typer.Option(help="how they share: tensor, tensor+expert or data+expert")] = "tensor",
    skew: Annotated[str, typer.Option(help="how tokens choose experts: even, or zipf(0.8)")] = "even",
    engine: Engine = "simpy",
    set_: Set = None,
    by: By = None,
    trace: Trace = None,
    as_json: Json = False,
) -> None:
    """Simulate one decode step, or the prefill of a prompt."""
    from hwsim.arch import load_arch
    from hwsim.job import run_job

    job = run_job(
        load_arch(arch, overrides(set_)),
        model,
        phase,
        batch,
        context,
        weight_map(weights),
        activations,
        kv,
        state,
        engine,
        chips=chips,
        parallel=parallel,
        skew=skew,
    )
    _finish(job, by, trace, as_json)


@app.command()
def gemm(
    arch: ArchName,
    m: Annotated[int, typer.Option(help="tokens (rows of X)")],
    n: Annotated[int, typer.Option(help="outputs (rows of W)")],
    k: Annotated[int, typer.Option(help="reduction")],
    weights: Weights = "bf16",
    activations: Acts = None,
    engine: Engine = "simpy",
    set_: Set = None,
    trace: Trace = None,
    as_json: Json = False,
) -> None:
    """Simulate one matrix product Y[M,N] = X[M,K] W[N,K]^T."""
    from hwsim.arch import load_arch
    from hwsim.job import gemm_job

    job = gemm_job(load_arch(arch, overrides(set_)), m, n, k, weight_map(weights), activations, engine)
    _finish(job, None, trace, as_json)


def _finish(job, by: str | None, trace: Path | None, as_json: bool) -> None:
    """Simulate, print, and write the trace where asked."""
    from hwsim.job import check_choice
    from hwsim.report.text import result_text

    if by is not None:
        check_choice("--by", by, ("op", "layer"))
    if trace:
        from hwsim.report.files import check_writable

        if not hasattr(job, "simulate"):
            raise InputError("--trace: an engine's run has no tiles to draw; leave it out")
        check_writable(trace)
    result = job.result()
    if trace:
        from hwsim.trace import write_trace

        write_trace(trace, job, result)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        print(result_text(result, by))
        if trace:
            print(f"  trace       {trace}  (open it at ui.perfetto.dev)")


@app.command()
def arch(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="none: list all")] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """List machines, or show some."""
    from hwsim.arch import arch_config, arch_names, load_arch
    from hwsim.report.text import arch_table, yaml_text

    machines = [load_arch(name, overrides(set_)) for name in names or arch_names()]
    if as_json:
        print(json.dumps({"schema": 1, "machines": [arch_config(a) for a in machines]}, indent=2))
    elif names:
        for a in machines:
            print(yaml_text(arch_config(a)), end="")
            for warning in a.warnings:
                print(f"# warning: {warning}")
    else:
        print(arch_table(machines))


@app.command()
def model(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="none: list all")] = None,
    as_json: Json = False,
) -> None:
    """List models with their counts, or show some."""
    from hwsim.report.text import model_table, model_text
    from hwsim.workload import load_model, model_config, model_names

    models = [load_model(name) for name in names or model_names()]
    if as_json:
        print(json.dumps({"schema": 1, "models": [model_config(m) for m in models]}, indent=2))
    elif names:
        print("\n\n".join(model_text(m) for m in models))
    else:
        print(model_table(models))


@app.command("format", context_settings={"ignore_unknown_options": True})
def format_(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]... [X]...", help="formats (none: list all), values to explain, a .safetensors"),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="show how the values X become codes")] = False,
    qsnr: Annotated[
        bool, typer.Option("--qsnr", help="measure QSNR on four distributions, or on a file's tensors")
    ] = False,
    as_json: Json = False,
) -> None:
    """List number formats and how they lie in memory, explain how values are coded, or measure QSNR."""
    from hwsim.formats.layout import NAMES, layout
    from hwsim.report.text import format_table, layout_dict

    wanted, values = numbers_apart(names or [])
    files = [name for name in wanted if name.endswith(".safetensors")]
    wanted = [name for name in wanted if name not in files]
    if files and not qsnr:
        raise InputError(f"format: {files[0]} is a file; write --qsnr to measure formats on its tensors")
    if values and not explain:
        raise InputError(f"format: {values[0]:g} is a value; write --explain to see how it is coded")
    layouts = [layout(name) for name in wanted or NAMES]
    if explain or qsnr:
        if not wanted:
            raise InputError("format: name a format, for example `hwsim format mxfp4 --explain 0.3 -1.7`")
        _values(wanted, values, files, explain, as_json)
    elif as_json:
        print(json.dumps({"schema": 1, "formats": [layout_dict(f) for f in layouts]}, indent=2))
    else:
        print(format_table(layouts))


def _values(names: list[str], values: list[float], files: list[str], explain: bool, as_json: bool) -> None:
    """What needs the values of formats, and so numpy."""
    from dataclasses import asdict

    from hwsim.formats import get_format

    if explain:
        from hwsim.formats.explain import explain as explained

        shown = [explained(get_format(name), values) for name in names]
        text = "\n\n".join(e.text() for e in shown)
        data = {"explained": [asdict(e) for e in shown]}
    else:
        from hwsim.formats.quality import qsnr_table, qsnr_text

        results = _qsnr_of_files(names, files) if files else qsnr_table(names)
        text, data = qsnr_text(results), {"qsnr": [asdict(r) for r in results]}
    print(json.dumps({"schema": 1} | data, indent=2, default=str) if as_json else text)


def _qsnr_of_files(names: list[str], files: list[str]):
    """QSNR on the floating-point tensors of model files, one tensor in memory at a time."""
    from hwsim.compress.checkpoint import FLOATS, read_checkpoint
    from hwsim.formats.quality import qsnr_of_arrays

    shards = [shard for file in files for shard in read_checkpoint(file).shards]
    tensors = ((t.name, shard.values(t)) for shard in shards for t in shard.tensors if t.dtype in FLOATS)
    return qsnr_of_arrays(names, tensors)


def numbers_apart(words: list[str]) -> tuple[list[str], list[float]]:
    """Names and values of a mixed list. raises: InputError for an unknown option among them."""
    names, values = [], []
    for word in words:
        try:
            values.append(float(word))
        except ValueError:
            if word.startswith("-"):
                raise InputError(f"format: unknown option {word}; known: --explain, --qsnr, --json") from None
            names.append(word)
    return names, values


@app.command()
def schema(
    what: Annotated[str, typer.Argument(metavar="[machine|model|engine]", help="which file")] = "machine",
) -> None:
    """Print the JSON Schema of a machine, model or engine file, for editors."""
    from hwsim.arch import json_schema
    from hwsim.job import check_choice
    from hwsim.workload import model_schema

    check_choice("schema", what, ("machine", "model", "engine"))
    print(json.dumps(model_schema() if what == "model" else json_schema(engine=what == "engine"), indent=2))


@app.command()
def compare(a: Path, b: Path, as_json: Json = False) -> None:
    """Put two results (files written with --json) side by side, B against A."""
    from hwsim.report.compare import compare_text, comparison, read_result

    left, right = read_result(a), read_result(b)
    print(json.dumps(comparison(left, right), indent=2) if as_json else compare_text(left, right))


@app.command()
def study(
    file: Annotated[str, typer.Argument(metavar="[STUDY]", help="a study's name or a YAML file; none: list")] = "",
    out: Annotated[Path | None, typer.Option(help="folder of the results; default: build/studies/NAME")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one a core")] = None,
    as_json: Json = False,
) -> None:
    """Simulate a grid of machine, model and run options; goes on where it was stopped."""
    from dataclasses import asdict

    from hwsim.report.progress import progress_bar
    from hwsim.study import load_study, run_study, study_names
    from hwsim.study.text import studies_text, summary_text

    if not file:
        shipped = [load_study(name) for name in study_names()]
        listed = [{"name": s.name, "points": len(s.points), "description": s.description} for s in shipped]
        print(json.dumps({"schema": 1, "studies": listed}, indent=2) if as_json else studies_text(shipped))
        return
    asked = load_study(file)
    with progress_bar(asked.name) as advance:
        summary = run_study(asked, out or Path("build/studies") / asked.name, workers, progress=advance)
    print(json.dumps({"schema": 1} | asdict(summary), indent=2) if as_json else summary_text(summary))
    if summary.failed == summary.points:
        raise typer.Exit(2)


@app.command()
def serve(
    arch: ArchName,
    model: Annotated[str, typer.Option(help="a model's name (`hwsim model`), a YAML path, or a config.json")],
    isl: Annotated[int, typer.Option(help="tokens of a prompt")] = 8192,
    osl: Annotated[int, typer.Option(help="tokens of an answer")] = 16384,
    batch: Annotated[str, typer.Option(help="sequences at once, or max: what the memory holds")] = "max",
    chips: Annotated[int, typer.Option(help="chips that share the model")] = 1,
    parallel: Annotated[str, typer.Option(help="how: tensor, tensor+expert or data+expert")] = "tensor",
    weights: Weights = "bf16",
    activations: Acts = None,
    kv: Annotated[str | None, typer.Option(help="KV cache format")] = None,
    state: Annotated[str | None, typer.Option(help="SSM state format")] = None,
    drafts: Annotated[int, typer.Option(help="tokens drafted a step by the model's own block")] = 0,
    acceptance: Annotated[str, typer.Option(help="chance of each draft, given those before: 0.9,0.8")] = "",
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Serve a model in steady state: tokens a second, time to first token, memory."""
    from hwsim.arch import load_arch
    from hwsim.report.serving import served_text
    from hwsim.serve import Request
    from hwsim.serve import serve as steady

    try:
        chances = tuple(float(x) for x in acceptance.split(",") if x)
        sequences = None if batch == "max" else int(batch)
    except ValueError:
        raise InputError("--batch, --acceptance: write `--batch 64` or max, `--acceptance 0.9,0.8`") from None
    if sequences is not None and sequences < 1:
        raise InputError("--batch: write a whole number above 0, or max")
    asked = Request(model, isl, osl, weight_map(weights), activations, kv, state, chips, parallel,
                    drafts=drafts, acceptance=chances)
    found = steady(load_arch(arch, overrides(set_)), asked, sequences)
    print(json.dumps(found.to_dict(), indent=2) if as_json else served_text(found))


@app.command()
def calibrate(
    arch: ArchName,
    data: Annotated[Path, typer.Argument(metavar="DATA.csv", help="measured products: dtype,m,n,k,us")],
    out: Annotated[Path, typer.Option("-o", "--out", help="calibration file to write")],
) -> None:
    """Fit a machine's rates to measured products; writes the file that its `cores.calibration` names."""
    try:
        from hwsim.calibrate import calibrate as fitted
    except ModuleNotFoundError as error:
        raise InputError(f"calibrate needs {error.name}: pip install 'hwsim[calibrate]'") from None
    from hwsim.arch import load_arch
    from hwsim.report.files import write_whole

    machine = load_arch(arch, [("cores.calibration", "null")])
    text, found = fitted(machine, data)
    write_whole(out, text)
    print(f"{out}: mean error {100 * found.error:.1f} % over {sum(map(len, found.errors.values())):,} rows")


@app.command()
def validate(
    out: Annotated[Path, typer.Option(help="folder of the pages and their figures")] = Path("build/validation"),
) -> None:
    """Score every measured set, kernels and whole models: errors by set, format and size, with figures."""
    try:
        from hwsim import validate as kernels
        from hwsim import validate_serving as models
    except ModuleNotFoundError as error:
        raise InputError(f"validate needs {error.name}: pip install 'hwsim[calibrate,report]'") from None
    out.mkdir(parents=True, exist_ok=True)
    for part in (kernels, models):
        print(part.run(out, lambda name: print(f"  {name}", file=sys.stderr)))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the results of a study")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="folder of the page; default: DIR")] = None,
    as_json: Json = False,
) -> None:
    """Draw a study's results: a Markdown page with figures."""
    from hwsim.report.study_page import write_page

    written = [str(path) for path in write_page(folder, out)]
    print(json.dumps({"schema": 1, "written": written}, indent=2) if as_json else "\n".join(written))


Globs = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="tensor names; may be repeated")]
Out = Annotated[Path, typer.Option("-o", "--out", help="file (or folder, for a sharded model) to write")]


@app.command()
def compress(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a .safetensors file, an index of shards, or a folder")],
    out: Out,
    format: Annotated[str | None, typer.Option(help="a format for the 2-D and 3-D weights")] = None,
    map: Annotated[Path | None, typer.Option(help="a YAML file of `glob: format` instead")] = None,
    include: Globs = None,
    exclude: Globs = None,
    as_json: Json = False,
) -> None:
    """Write a model's weights in a number format; resumes after a kill."""
    from hwsim.compress import compress as job

    _files(
        lambda progress: job(
            source, out, format, map, include=include or (), exclude=exclude or (), progress=progress
        ),
        as_json,
    )


@app.command()
def decompress(
    source: Annotated[Path, typer.Argument(metavar="IN", help="what `hwsim compress` wrote")],
    out: Out,
    dtype: Annotated[str | None, typer.Option(help="F32, F16 or BF16; default: each tensor's own")] = None,
    as_json: Json = False,
) -> None:
    """Decode a compressed model."""
    from hwsim.compress import decompress as job

    _files(lambda progress: job(source, out, dtype=dtype, progress=progress), as_json)


@app.command()
def inspect(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="a .safetensors file, an index, or a folder")],
    as_json: Json = False,
) -> None:
    """Print a model's tensors: format, bits a value, error."""
    from hwsim.compress import inspect as job

    _files(lambda progress: job(source), as_json)


def _files(job, as_json: bool) -> None:
    """Run a job over files with a progress bar on a terminal, and print its table."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from hwsim.compress import inspect_text

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None, rate="")

        def advance(p) -> None:
            free = p.resumed_values + p.copied_values  # they would spoil the rate, and the time left
            bar.update(task, description=p.tensor, total=p.values - free, completed=p.done_values - free)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed / 1e6:.3g} M values/s" if speed else "")

        try:
            found = job(advance)
        except KeyboardInterrupt:
            print("hwsim: stopped; the same command goes on from here", file=sys.stderr)
            raise
    print(json.dumps({"schema": 1} | asdict(found), indent=2, default=str) if as_json else inspect_text(found))


def overrides(settings: list[str] | None) -> tuple[tuple[str, str], ...]:
    """`PATH=VALUE` texts as pairs. raises: InputError for one without `=`."""
    example = "write PATH=VALUE, for example dram.bandwidth='9.6 TB/s'"
    bad = [f"--set {s}: {example}" for s in settings or () if "=" not in s]
    if bad:
        raise InputError(*bad)
    return tuple((s.split("=", 1)[0].strip(), s.split("=", 1)[1].strip()) for s in settings or ())


def weight_map(text: str) -> str | dict[str, str]:
    """`F` as it is; `experts=F,default=G` (or the same in braces with colons) as a mapping.

    raises: InputError for an entry without a format, or a class named twice.
    """
    if not any(c in text for c in "=:{"):
        return text
    table: dict[str, str] = {}
    for part in text.strip().strip("{}").split(","):
        key, found, name = part.replace(":", "=", 1).partition("=")
        key, name = key.strip(), name.strip()
        if not found or not key or not name:
            raise InputError(f"--weights: {part.strip()!r} is not CLASS=FORMAT; write experts=nvfp4,default=fp8")
        if key in table:
            raise InputError(f"--weights: class {key!r} is named twice")
        table[key] = name
    return table


def main() -> None:
    """Run the command line; a user's mistake is printed without a traceback, exit status 2."""
    try:
        app()
    except InputError as error:
        for problem in error.problems:
            print(f"hwsim: {problem}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
