"""Commands of studies: a grid of runs, a search of a space, and the pages of their results."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hwsim.cli.options import Json, app
from hwsim.errors import InputError, collect


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
    from hwsim.study.early import failures
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
    for why, count in failures(asked):
        print(f"{asked.name}: {count:,} of {len(asked.points):,} points will fail: {why}", file=sys.stderr)
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
    maximize: Annotated[list[str] | None, typer.Option(help="metrics to maximize; commas, or more than once")] = None,
    minimize: Annotated[
        list[str] | None, typer.Option(help="metrics to minimize: area, energy, a path in --json or an axis")
    ] = None,
    subject_to: Annotated[
        list[str] | None,
        typer.Option(help="a condition: memory.fits, or 'seconds <= 10 ms'; may be given more than once"),
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
      hwsim search my-study.yaml --maximize tokens_per_second --minimize dram_bytes --subject-to memory.fits
    """
    from contextlib import nullcontext

    from hwsim.report.progress import progress_bar
    from hwsim.study.search import Goal, run_search
    from hwsim.study.space import load_space
    from hwsim.study.text import found_text

    problems: list[str] = []
    with collect(problems):
        goal = Goal.of(",".join(maximize or ()), ",".join(minimize or ()), subject_to or ())
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
        lacking = goal.lacking(found.front)
        head |= {"file": found.file, "objectives": named, "lacking": lacking}
        print(json.dumps(head | {"front": front}, indent=2))
    else:
        print(found_text(found, goal))


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
