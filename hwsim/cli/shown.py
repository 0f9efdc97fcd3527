"""Commands that list and show machines, models, number formats and schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.options import FormatOption, Json, Set, Size, app, format_options, model_sizes, overrides
from hwsim.errors import InputError, collect

if TYPE_CHECKING:
    from hwsim.formats import Format, Layout
    from hwsim.formats.quality import Qsnr


@app.command()
def arch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="what to show; without a name, list all")
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """List machines, or show them in full."""
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
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="what to show; without a name, list all")
    ] = None,
    as_json: Json = False,
) -> None:
    """List models, or show them as files."""
    from hwsim.report.graph import graph_table, graph_text
    from hwsim.report.text import model_counts, model_table, model_text
    from hwsim.workload import Model, load_model, model_names, workload_names
    from hwsim.workload.graph.graph import Graph

    models = [load_model(name) for name in names or (model_names() if as_json else workload_names())]
    language = [m for m in models if isinstance(m, Model)]
    graphs = [m for m in models if isinstance(m, Graph)]
    if as_json:
        counts = {m.name: model_counts(m) for m in language}
        print(json.dumps({"schema": 1, "models": [m.config() for m in models], "counts": counts}, indent=2))
    elif names:
        print("\n".join([*map(model_text, language), *map(graph_text, graphs)]))
    else:
        print(model_table(language))
        print()
        print(graph_table(graphs))


@app.command("format", context_settings={"ignore_unknown_options": True})
def format_(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]... [X]...", help="formats (without one, list all), values to explain, .safetensors files"
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="show step by step how the values X are encoded")] = False,
    qsnr: Annotated[
        bool, typer.Option("--qsnr", help="measure QSNR on four distributions, or on the tensors of a file")
    ] = False,
    importance: Annotated[
        Path | None,
        typer.Option(metavar="NPZ", help="with --qsnr of a file: weights of the columns' squared errors, by name"),
    ] = None,
    option: FormatOption = None,
    as_json: Json = False,
) -> None:
    """List, explain or measure number formats.

    \b
    Examples:
      hwsim format
      hwsim format mxfp4 --explain 0.3 -1.7 2.4
      hwsim format nvfp4 --option four_over_six=true --explain 0.3 -1.7 2.4
      hwsim format mx9 nvfp4 mxfp4 --qsnr
    """
    from hwsim.formats.names import ALIASES, NAMES, layout
    from hwsim.report.text import format_table, layout_dict

    wanted, values = numbers_apart(names or [])
    files = [name for name in wanted if name.endswith((".safetensors", ".gguf"))]
    wanted = [name for name in wanted if name not in files]
    if files and not qsnr:
        raise InputError(f"format: {files[0]} is a file; add --qsnr to measure formats on its tensors")
    if values and not explain:
        raise InputError(f"format: {values[0]:g} is a value; add --explain to see how it is encoded")
    if explain and qsnr:
        raise InputError("format: --explain and --qsnr are both given; write one of them")
    if importance and not files:
        raise InputError("format: --importance belongs to the tensors of a file; name a .safetensors file, with --qsnr")
    if option and not (explain or qsnr):
        raise InputError("format: --option changes codes; write --explain or --qsnr, too")
    layouts: list[Layout] = []
    problems: list[str] = []
    for name in wanted or NAMES:
        with collect(problems, "format: "):
            layouts.append(layout(name))
    if problems:
        raise InputError(*problems)
    if explain or qsnr:
        if not wanted:
            example = "mxfp4 --explain 0.3 -1.7" if explain else "mxfp4 nvfp4 --qsnr"
            raise InputError(f"format: name a format, for example `hwsim format {example}`")
        _values(layouts, values, files, explain, importance, option or (), as_json)
    elif as_json:
        print(json.dumps({"schema": 1, "formats": [layout_dict(f) for f in layouts]}, indent=2))
    else:
        print(format_table(layouts))
        if not wanted:
            short = ", ".join(f"{name} is {whole}" for name, whole in ALIASES.items())
            print(f"\nshort names: {short}\nSM7: a sign and 7 bits of magnitude, under the shifts of sub-blocks")
            print("a YAML file is a format, too: `hwsim schema format` prints what it holds")


def _values(
    layouts: list[Layout],
    values: list[float],
    files: list[str],
    explain: bool,
    importance: Path | None,
    option: Sequence[str],
    as_json: bool,
) -> None:
    """Print explanations or QSNR, which need the values of formats, and so numpy."""
    from dataclasses import asdict

    from hwsim.formats import get_format

    options = format_options(option)
    forms: list[Format] = []
    problems: list[str] = []
    for each in layouts:
        with collect(problems, "format: "):
            forms.append(get_format(each, **options))
    if problems:
        raise InputError(*problems)
    if explain:
        from hwsim.report.explained import explained

        shown = [explained(form, values) for form in forms]
        text = "\n\n".join(e.text() for e in shown)
        data = {"explained": [asdict(e) for e in shown]}
    else:
        from hwsim.formats.quality import by_class, class_text, qsnr_table, qsnr_text

        results = _qsnr_of_files(forms, files, importance) if files else qsnr_table(forms)
        text, data = qsnr_text(results), {"qsnr": [asdict(r) for r in results]}
        if files:
            classes = by_class(results)
            text, data = f"{text}\n\n{class_text(classes)}", data | {"classes": [asdict(r) for r in classes]}
    print(json.dumps({"schema": 1} | data, indent=2, default=str) if as_json else text)


def _qsnr_of_files(forms: list[Format], files: list[str], importance: Path | None) -> list[Qsnr]:
    """QSNR on the weights of model files, quantised ones decoded first, with one of them in memory at a time."""
    from hwsim.compress.values import matrices, read_importance
    from hwsim.formats.quality import qsnr_of_arrays

    weights = read_importance(importance) if importance else None
    return qsnr_of_arrays(forms, (matrix for file in files for matrix in matrices(file)), weights)


def numbers_apart(words: list[str]) -> tuple[list[str], list[float]]:
    """Split a mixed list into names and numbers. raises: InputError for an unknown option in it."""
    names, values = [], []
    for word in words:
        try:
            values.append(float(word))
        except ValueError:
            if word.startswith("-"):
                raise InputError(
                    f"format: unknown option {word}; known: --explain, --qsnr, --importance, --option, --json"
                ) from None
            names.append(word)
    return names, values


@app.command()
def graph(
    path: Annotated[str, typer.Argument(metavar="FILE", help="an NPZ file, or a folder in TUDataset's text format")],
    sites: Annotated[int, typer.Option(help="sites that the nodes are distributed to")] = 64,
    mode: Annotated[str, typer.Option(help="hard, by random weights, or sort, by rank")] = "hard",
    form: Annotated[
        str | None, typer.Option("--format", help="count the nodes that this format sends to another site")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the weights")] = 1,
    as_json: Json = False,
) -> None:
    """Show the graphs of a file: nodes and edges.

    \b
    Example:
      hwsim graph PROTEINS --sites 64 --format mxfp4
    """
    from dataclasses import asdict

    from hwsim.formats import get_format
    from hwsim.jobs.options import check_choice, check_positive
    from hwsim.report.graph_data import data_text
    from hwsim.report.graph_data import sites as filled
    from hwsim.workload.graph.data import read_graphs

    problems: list[str] = []
    with collect(problems):
        check_positive(sites=sites)
    with collect(problems):
        check_choice("mode", mode, ("hard", "sort"))
    rounded = None
    with collect(problems, "format: "):
        rounded = get_format(form) if form else None
    if problems:
        raise InputError(*problems)
    graphs = read_graphs(path)
    found = filled(graphs, mode, sites, rounded, seed)
    if as_json:
        nodes, edges = sum(g.nodes for g in graphs), sum(g.edges.shape[1] for g in graphs)
        print(
            json.dumps({"schema": 1, "graphs": len(graphs), "nodes": nodes, "edges": edges} | asdict(found), indent=2)
        )
    else:
        print(data_text(path, graphs, found, mode, sites, form))


@app.command("import")
def import_(
    path: Annotated[str, typer.Argument(metavar="FILE", help="an ONNX file, or SCALE-Sim's CSV")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="write the YAML file here; default: print it")
    ] = None,
    size: Size = None,
) -> None:
    """Translate an ONNX file into a graph file.

    \b
    Example:
      hwsim import net.onnx --size sequence=128 -o net.yaml
    """
    from hwsim.files.whole import write_whole
    from hwsim.workload.load import imported

    text = imported(path, model_sizes(size))
    if out is None:
        print(text, end="")
    else:
        write_whole(out, text)
        print(f"written: {out}")


@app.command()
def schema(
    what: Annotated[
        str, typer.Argument(metavar="[format|machine|model|graph|recipe|load]", help="kind of file")
    ] = "machine",
) -> None:
    """Print a JSON Schema, for editors."""
    from hwsim.arch import json_schema
    from hwsim.jobs.options import check_choice
    from hwsim.jobs.serving.file import load_schema
    from hwsim.jobs.training.recipe import recipe_schema
    from hwsim.workload import graph_schema, model_schema

    if what == "engine":
        raise InputError("schema: `hwsim schema machine` now holds every kind of machine; write that")
    check_choice("schema", what, ("format", "machine", "model", "graph", "recipe", "load"))
    if what == "format":
        from hwsim.formats.custom import format_schema

        print(json.dumps(format_schema(), indent=2))
        return
    schemas = {
        "machine": json_schema, "model": model_schema, "graph": graph_schema, "recipe": recipe_schema,
        "load": load_schema,
    }  # fmt: skip
    print(json.dumps(schemas[what](), indent=2))
