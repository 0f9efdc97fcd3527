"""Load a workload: by the name of a shipped model, from a YAML, ONNX or CSV file, or a Hugging Face config.json."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError, collect, nearest
from hwsim.files.prebuilt import prebuilt
from hwsim.files.yaml import Document, Placed, parse, raise_problems, read, short
from hwsim.workload.language.model import Model
from hwsim.workload.op import Workload

if TYPE_CHECKING:
    from hwsim.workload.graph.onnx.imported import Imported

Overrides = Iterable[tuple[str, str | Placed]]


def _language(document: Document) -> Workload:
    """A language model; the schema of its file is loaded for files that are not prebuilt."""
    from hwsim.workload.language.load import language_model

    return language_model(document)


def _graph(document: Document) -> Workload:
    """A graph; its reader is loaded for graphs only."""
    from hwsim.workload.graph.load import graph

    return graph(document)


def _gemms(document: Document) -> Workload:
    """A list of GEMMs."""
    from hwsim.workload.graph.lists import gemm_list

    return gemm_list(document)


#: Kinds of workload: a top-level key that only files of this kind have -> function from the document to the workload.
KINDS: dict[str, Callable[[Document], Workload]] = {
    "layers": _language,
    "ops": _graph,
    "gemms": _gemms,
}

#: The code that makes a model of a file.
_MODEL_CODE = (Path(__file__), *(Path(__file__).with_name(name) for name in ("language", "formatmap.py", "op.py")))


def model_folder() -> Path:
    """The folder of the shipped model files."""
    return Path(__file__).resolve().parent / "models"


def model_names() -> list[str]:
    """Names of the shipped models, sorted."""
    return sorted(path.stem for path in model_folder().glob("*.yaml"))


def graph_folder() -> Path:
    """The folder of the shipped graph files."""
    return Path(__file__).resolve().parent / "graphs"


def graph_names() -> list[str]:
    """Names of the shipped graphs, sorted."""
    return sorted(path.stem for path in graph_folder().glob("*.yaml"))


def workload_names() -> list[str]:
    """Names of everything that is shipped: language models, then graphs."""
    return [*model_names(), *graph_names()]


def load_model(name_or_path: str | Path, overrides: Overrides = ()) -> Workload:
    """The shipped workload of that name or Hub id, or that of a file: YAML, ONNX, CSV, a config.json or its folder.

    overrides: (dotted path, YAML text) pairs that replace values of the file, e.g. `("moe.top_k", "8")`; instead of a
               text, a value of another file.
    raises:    InputError with every error found.
    """
    text, path = str(name_or_path), Path(name_or_path)
    if isinstance(name_or_path, str) and _HUB_ID.fullmatch(text) and not path.exists():
        text = _released_as(text)
    if isinstance(name_or_path, str) and text in workload_names():
        return _shipped(text, tuple(overrides))
    try:
        folder = path.is_dir() and (path / "config.json").is_file()
    except (OSError, ValueError):  # the name is too long, or contains a null
        folder = False
    if folder:
        return _load(_config_json(path / "config.json"), overrides)
    if text.endswith(".csv"):
        from hwsim.workload.graph.lists import read_csv

        if tuple(overrides):
            raise InputError(f"{short(text)}: a CSV file has no settings that can vary; write a YAML file")
        return read_csv(path)
    if text.endswith(".onnx"):
        return _read_onnx(path, overrides).graph()
    if text.endswith(".json"):
        return _load(_config_json(path), overrides)
    if isinstance(name_or_path, str) and not text.endswith((".yaml", ".yml")) and os.sep not in text:
        near = nearest(text[:60], workload_names())
        known = near if "did you mean" in near else "; `hwsim model` lists the known ones"
        raise InputError(
            f"unknown model {short(text)}{known} (a path to a YAML, ONNX or CSV file or a config.json also works)"
        )
    return _load(read(name_or_path), overrides)


def _shipped(name: str, overrides: tuple[tuple[str, str | Placed], ...]) -> Workload:
    path = (model_folder() if name in model_names() else graph_folder()) / f"{name}.yaml"

    def parsed() -> Workload:
        return _load(read(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path), overrides)

    return parsed() if overrides or path.parent != model_folder() else prebuilt(path, _MODEL_CODE, Model, parsed)


def _read_onnx(path: Path, overrides: Overrides) -> Imported:
    """An ONNX file in the layout of a graph file; overrides are its sizes, `sizes.NAME`."""
    from hwsim.workload.graph.onnx.reading import read_onnx

    sizes: dict[str, int] = {}
    problems: list[str] = []
    for key, value in overrides:
        number = str(value.value if isinstance(value, Placed) else value)
        kind, _, name = key.partition(".")
        if kind != "sizes" or not name:
            problems.append(f"{short(key)}: an ONNX file has sizes that can vary; write sizes.NAME")
        elif not (number.isascii() and number.isdecimal() and 0 < int(number[:20]) <= 10**9):
            problems.append(f"{short(key)}: `{short(number)}` is not a whole number from 1 to 10^9; write one")
        else:
            sizes[name] = int(number)
    if problems:
        raise InputError(*problems)
    return read_onnx(path, sizes)


def imported(path: str, overrides: Overrides = ()) -> str:
    """The YAML text of an ONNX or CSV file. raises: InputError for other files, and with every error found."""
    if path.endswith(".onnx"):
        found = _read_onnx(Path(path), overrides)
        found.graph()  # so that what is printed can be read
        return found.text()
    if path.endswith(".csv"):
        import yaml

        config = load_model(Path(path), overrides).config()
        return str(yaml.safe_dump(config, sort_keys=False, default_flow_style=None, width=120))
    raise InputError(f"{short(path)}: ends neither in .onnx nor in .csv; write the path of such a file")


def _config_json(path: Path) -> Document:
    """A Hugging Face config.json in our layout; the tables of the families are read only for one."""
    from hwsim.workload.language import huggingface

    return huggingface.read(path)


#: A name on the Hugging Face Hub: organisation and model.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/(?!.*\.(yaml|yml|json)$)[A-Za-z0-9][\w.-]{0,95}")


def _released_as(hub_id: str) -> str:
    """The shipped model with a Hub id, looked up among the shipped files. raises: InputError."""
    wanted = re.compile(rf"^ *- {re.escape(hub_id)}( |$)", re.IGNORECASE | re.MULTILINE)
    for path in sorted(model_folder().glob("*.yaml")):
        if wanted.search(path.read_text("utf-8")):
            return path.stem
    raise InputError(
        f"no shipped model is released as {short(hub_id)}; download its config.json, for example by "
        f"`hf download {short(hub_id)} config.json --local-dir mine`, and write the path of that file"
    )


def load_model_text(text: str, source: str = "<text>", overrides: Overrides = ()) -> Workload:
    """The workload that a YAML text describes; `source` names it in messages. raises: InputError."""
    return _load(parse(text, source), overrides)


def shipped_models() -> list[Model]:
    """Every shipped language model, by name."""
    found = [load_model(name) for name in model_names()]
    return [model for model in found if isinstance(model, Model)]


def model_schema() -> dict[str, Any]:
    """JSON Schema of a model file (draft 2020-12), for editors."""
    from hwsim.files.fields import json_schema
    from hwsim.workload.language.schema import ModelFile

    return json_schema(ModelFile, "hwsim model")


def graph_schema() -> dict[str, Any]:
    """JSON Schema of a graph file (draft 2020-12), for editors."""
    from hwsim.files.fields import json_schema
    from hwsim.workload.graph.schema import GraphFile

    return json_schema(GraphFile, "hwsim graph")


def _load(document: Document, overrides: Overrides) -> Workload:
    problems: list[str] = []
    for path, text in overrides:
        with collect(problems):
            document = document.override(path, text)
    if problems:
        raise_problems(problems)
    made = next((make for key, make in KINDS.items() if key in document.data), _language)
    return made(document)
