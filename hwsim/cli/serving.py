"""`hwsim serve`: a model in steady state, or under load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.options import Acts, ArchName, Json, Set, Weights, app, read_options

if TYPE_CHECKING:
    from hwsim.jobs.serve import Request
    from hwsim.jobs.serving.load import Load, Run


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
    rate: Annotated[str | None, typer.Option(metavar="R", help="requests that arrive, for example 8/s")] = None,
    trace: Annotated[
        str | None, typer.Option(metavar="FILE", help="requests with arrivals: CSV, Azure, BurstGPT, Mooncake")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(metavar="N", help="users, each with one request at a time")] = None,
    requests: Annotated[
        int | None, typer.Option(metavar="N", help="number of requests; default: all of the trace, else 1,000")
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option(help="tokens in and out: 1024/256, 512..2048/64..256, lognormal(1024,0.8)/256, or a file of them"),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(metavar="LOAD", help="a load's name or YAML file (chat); the other options go over it"),
    ] = None,
    arrivals: Annotated[
        str | None, typer.Option(help="gaps: poisson (default), gamma(0.5), constant or at-once")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="rules of vllm (default), trtllm, trtllm-max-util, sglang, or static batches"),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="tokens of a pass; default: the engine's")] = None,
    max_seqs: Annotated[int | None, typer.Option(help="sequences of a pass; default: the engine's")] = None,
    block: Annotated[int | None, typer.Option(help="tokens of a block of the KV cache; default: the engine's")] = None,
    kv_tokens: Annotated[int | None, typer.Option(help="room of the KV cache; default: what the memory leaves")] = None,
    prefix_cache: Annotated[
        bool | None,
        typer.Option("--prefix-cache/--no-prefix-cache", help="whether blocks of prompts are found again (default)"),
    ] = None,
    slo: Annotated[str | None, typer.Option(help="limits that a good request meets: ttft=500ms,tpot=30ms")] = None,
    find_rate: Annotated[
        bool,
        typer.Option(
            "--find-rate",
            help="find the highest rate of arrivals at which 99 % of the requests meet --slo: the capacity",
        ),
    ] = False,
    replicas: Annotated[int | None, typer.Option(help="engines, each on --chips chips; default: 1")] = None,
    router: Annotated[
        str | None,
        typer.Option(help="round-robin (default), least-outstanding, least-kv, prefix-affinity or two-choices"),
    ] = None,
    disaggregate: Annotated[
        str | None, typer.Option(metavar="P:D", help="prefill and decode replicas apart, for example 2:6, or none")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="of drawn arrivals, lengths and acceptance; default: 1")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="write a row per request: .csv or .jsonl")] = None,
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write running, waiting and KV over time, or, as .json, a trace")
    ] = None,
    set_: Set = None,
    energy: Annotated[bool, typer.Option("--energy", help="print each term of the energy with its source")] = False,
    as_json: Json = False,
) -> None:
    """Serve a model in steady state or under load.

    Steady state prints tokens/s per chip and per user, the time per output token, and how many sequences fit in memory.
    Requests do not queue: the time to first token is that of a prefill alone. With --rate, --trace or --concurrency,
    requests arrive over time and queue, an engine's scheduler composes passes, and the distributions of TTFT, TPOT, ITL
    and E2E are printed.

    \b
    Examples:
      hwsim serve b200 --model gpt-oss-20b --weights published-mxfp4 --batch 64
      hwsim serve h100-sxm --model llama3-8b --weights fp8 --kv fp8 --stack trtllm --isl 1024 --osl 1024 --batch 32
      hwsim serve h100-sxm --model llama3-8b --rate 8/s --lengths 1024/256 --slo ttft=500ms,tpot=30ms
      hwsim serve h100-sxm --model llama3-70b --chips 4 --trace requests.csv --out served.csv
      hwsim serve h100-sxm --model llama3-8b --load chat --scheduler sglang
    """
    from hwsim.jobs.serve import Request
    from hwsim.jobs.serve import serve as steady
    from hwsim.jobs.serving.answer import without_load
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
    given = {
        "rate": rate, "trace": trace, "concurrency": concurrency, "requests": requests, "lengths": lengths,
        "arrivals": arrivals, "scheduler": scheduler, "budget": budget, "max_seqs": max_seqs, "block": block,
        "kv_tokens": kv_tokens, "prefix_cache": prefix_cache, "replicas": replicas, "router": router,
        "disaggregate": disaggregate, "slo": slo, "seed": seed,
    }  # fmt: skip
    if load or rate is not None or trace is not None or concurrency is not None:
        from hwsim.jobs.serving.answer import asked_load

        if batch != "max":
            problems.append("--batch: under load, sequences come and go; write --max-seqs for the most at once")
        asked = asked_load(load, given, problems)
        _under_load(arch, request, asked, settings, problems, find_rate, out, timeline, as_json, energy)
        return
    others = {"out": out, "timeline": timeline, "find_rate": find_rate}
    sources = "--rate, --trace, --concurrency or --load"
    problems += without_load(given | others, sources, lambda name: f"--{name.replace('_', '-')}")
    found = steady(arch, request, sequences, settings, problems)
    print(json.dumps(found.to_dict(), indent=2) if as_json else served_text(found, energy))


def _under_load(
    arch: str,
    request: Request,
    load: Load,
    settings: tuple[tuple[str, str], ...],
    problems: list[str],
    find: bool,
    out: Path | None,
    timeline: Path | None,
    as_json: bool,
    energy: bool,
) -> None:
    """Serve a load, print the figures, write the files that were asked for."""
    from hwsim.files.whole import check_writable
    from hwsim.jobs.serving.answer import under_load
    from hwsim.jobs.serving.traffic import Traffic
    from hwsim.report.progress import counted, progress_bar, spoken
    from hwsim.report.traffic import capacity_text, traffic_text

    if out and out.suffix not in (".csv", ".jsonl"):
        problems.append(f"--out: {out} has no known ending; write a name that ends in .csv or .jsonl")
    if timeline and timeline.suffix not in (".csv", ".json"):
        problems.append(f"--timeline: {timeline} has no known ending; write .csv, or .json for ui.perfetto.dev")
    traffic = Traffic(arch, request, load, settings, problems)
    for path in (out, timeline):
        if path:
            check_writable(path)
    with progress_bar("requests") as advance:
        run = under_load(traffic, find, spoken("find-rate"), lambda total: counted(advance, total))
    _write(run, out, timeline)
    if as_json:
        print(json.dumps(run.served.to_dict(), indent=2))
        return
    print(traffic_text(run.served, energy))
    if run.served.capacity:
        print(capacity_text(run.served.capacity, load.slo))


def _write(run: Run, out: Path | None, timeline: Path | None) -> None:
    from hwsim.files.whole import write_whole
    from hwsim.jobs.serving.timeline import occupancy, perfetto
    from hwsim.report.traffic import requests_text

    if out:
        write_whole(out, requests_text(run, out.suffix == ".jsonl"))
    if timeline and timeline.suffix == ".json":
        write_whole(timeline, json.dumps(perfetto(run), separators=(",", ":")))
    elif timeline:
        write_whole(timeline, occupancy(run))
