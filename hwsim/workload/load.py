"""Model files to `Model`: a shipped name, a YAML path or a Hugging Face config.json."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.files.fields import json_schema, validate
from hwsim.files.yaml import Document, Placed, parse, raise_problems, read, short
from hwsim.workload.language import huggingface
from hwsim.workload.language.model import LAYER_KINDS, Attention, Mamba2, Mlp, Model, Moe
from hwsim.workload.language.schema import ModelFile

Overrides = Iterable[tuple[str, str | Placed]]

#: Part of a layer -> the mapping of the file that describes it.
_MAPPINGS = {
    "attention": "attention",
    "window_attention": "attention",
    "mamba": "mamba2",
    "mlp": "mlp",
    "moe": "moe",
}


def model_folder() -> Path:
    """The folder of the shipped model files."""
    return Path(__file__).resolve().parent / "models"


def model_names() -> list[str]:
    """Names of the shipped models, sorted."""
    return sorted(path.stem for path in model_folder().glob("*.yaml"))


def load_model(name_or_path: str | Path, overrides: Overrides = ()) -> Model:
    """The model of a shipped name, of a YAML file, of a Hugging Face config.json or the folder that holds it.

    overrides: (dotted path, YAML text) pairs put into the file's tree first, e.g. `("moe.top_k", "8")`;
               a text may instead be a value of another file.
    raises:    InputError with every problem found.
    """
    text, path = str(name_or_path), Path(name_or_path)
    if isinstance(name_or_path, str) and text in model_names():
        shipped = model_folder() / f"{text}.yaml"
        return _load(read(os.path.relpath(shipped) if shipped.is_relative_to(Path.cwd()) else shipped), overrides)
    try:
        folder = path.is_dir() and (path / "config.json").is_file()
    except (OSError, ValueError):  # a name too long, or with a null in it
        folder = False
    if folder:
        return _load(huggingface.read(path / "config.json"), overrides)
    if text.endswith(".json"):
        return _load(huggingface.read(path), overrides)
    if isinstance(name_or_path, str) and not text.endswith((".yaml", ".yml")) and os.sep not in text:
        known = nearest(text[:60], model_names())
        raise InputError(f"unknown model {short(text)}{known}; or write the path of a YAML file or a config.json")
    return _load(read(name_or_path), overrides)


def load_model_text(text: str, source: str = "<text>", overrides: Overrides = ()) -> Model:
    """The model that a YAML text describes; `source` names it in messages. raises: InputError."""
    return _load(parse(text, source), overrides)


def model_schema() -> dict[str, Any]:
    """JSON Schema of a model file (draft 2020-12), for editors."""
    return json_schema(ModelFile, "hwsim model")


def model_config(model: Model) -> dict[str, Any]:
    """The model in the layout of its file, parts that it lacks left out; `load_model_text` reads it back."""
    config: dict[str, Any] = {}
    for field in fields(model):
        value = getattr(model, field.name)
        if field.name.startswith("published_"):
            if value is not None:
                config.setdefault("published", {})[field.name.removeprefix("published_")] = value
        elif value is not None and value != "":
            plain = isinstance(value, (str, int))
            config[field.name] = value if plain else {f.name: getattr(value, f.name) for f in fields(value)}
    return config


def _load(document: Document, overrides: Overrides) -> Model:
    problems: list[str] = []
    for path, text in overrides:
        try:
            document = document.override(path, text)
        except InputError as error:
            problems += error.problems
    if problems:
        raise_problems(problems)
    file = validate(document, ModelFile)
    problems = list(_contradictions(document, file))
    if problems:
        raise_problems(problems)

    def part(kind: type, value: Any) -> Any:
        return kind(**{f.name: getattr(value, f.name) for f in fields(kind)}) if value else None

    return Model(
        name=file.name,
        description=file.description,
        hidden=file.hidden,
        vocab=file.vocab,
        tied_embeddings=file.tied_embeddings,
        layers=_letters(file.layers),
        attention=part(Attention, file.attention),
        mamba2=part(Mamba2, file.mamba2),
        mlp=part(Mlp, file.mlp),
        moe=part(Moe, file.moe),
        mtp=_letters(file.mtp),
        published_total=file.published.total,
        published_active=file.published.active,
        published_active_with_embedding=file.published.active_with_embedding,
    )


def _letters(pattern: str | None) -> str:
    return (pattern or "").replace(" ", "")


def _contradictions(document: Document, file: ModelFile) -> Iterable[str]:
    """What no single field shows: parts that are missing, numbers that do not go together."""
    say = document.problem
    for key in ("layers", "mtp"):
        text = _letters(getattr(file, key))
        if not text and getattr(file, key) is not None:
            yield say((key,), "holds no layer; write a letter for each, for example `MEMEM*`")
        parts = {part for letter in text for part in LAYER_KINDS[letter]}
        for mapping in sorted({_MAPPINGS[part] for part in parts}):
            if getattr(file, mapping) is None:
                yield say((key,), f"has {mapping} layers; write the mapping `{mapping}:`")
        if "window_attention" in parts and file.attention and not file.attention.window:
            yield say((key,), "has layers x or y, which attend through a window; write `attention.window`")
        if key == "mtp" and "mamba" in parts:
            yield say((key,), "has Mamba-2 layers, whose state a draft cannot take back; write letters of *E-XYxy")
    if file.moe and file.moe.top_k > file.moe.experts:
        yield say(("moe", "top_k"), f"is more than the {file.moe.experts} experts; write {file.moe.experts} or less")
    if file.attention and file.attention.q_heads % file.attention.kv_heads:
        yield say(("attention", "q_heads"), f"is no multiple of the {file.attention.kv_heads} kv_heads; write one")
    if file.mamba2 and file.mamba2.heads % file.mamba2.groups:
        yield say(("mamba2", "heads"), f"is no multiple of the {file.mamba2.groups} groups; write one")
