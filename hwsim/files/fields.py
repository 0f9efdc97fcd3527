"""Plain data of a file to a pydantic model; every refusal is one line with its place.

    class Dram(FilePart):
        "The memory channel."
        latency: Duration = Field(description="...", examples=["230 cycles"])

    machine = validate(yaml.read(path), MachineFile)      # InputError with all problems
    json_schema(MachineFile, "machine")                       # for editors

The messages tell the user to write the first of a field's `examples`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hwsim.errors import InputError, nearest
from hwsim.files.yaml import Document, Loc, kind, raise_problems, short

Part = TypeVar("Part", bound=BaseModel)
T = TypeVar("T")


class FilePart(BaseModel):
    """A mapping in a file: unknown keys are refused, nothing is converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def validate(document: Document, model: type[Part]) -> Part:
    """The document as a `model`; raises InputError with every problem, in the order of the file."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    found: list[tuple[tuple[bool, int, int], str, Loc | None]] = []
    meant: set[Loc | None] = set()
    for e in errors:
        misspelt = e["type"] == "extra_forbidden"
        loc = _loc_in(document.data, e["loc"], last=misspelt or e["type"] == "missing")
        if e["type"] in ("union_tag_invalid", "union_tag_not_found"):
            key = e["ctx"]["discriminator"].strip("'")  # a field's name in quotes, or a function of ours: `_kind()`
            loc = (*loc, key if key.isidentifier() else "kind")
        mark = document.mark(loc, key=misspelt)
        if misspelt:
            close = nearest(short(loc[-1]), _fields(_at(model, loc[:-1])))
            meant.add((*loc[:-1], close.removeprefix("; did you mean ").removesuffix("?")))
        line = document.problem(loc, _message(e, loc, model), key=misspelt)
        found.append(((not mark.line, mark.line, mark.column), line, loc if e["type"] == "missing" else None))
    found.sort(key=lambda problem: problem[:2])
    raise_problems(list(dict.fromkeys(line for _, line, missing in found if missing not in meant)))


def asked(read: Callable[[Any], T]) -> Callable[[Any], T]:
    """`read` for use as a pydantic validator: its InputError becomes the message of the field."""

    def checked(value: Any) -> T:
        try:
            return read(value)
        except InputError as error:
            raise ValueError("; ".join(error.problems)) from None

    return checked


def json_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a file, for editors."""
    schema = model.model_json_schema(by_alias=True)
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("title", None)
        part["properties"] = {key: _tidy(field) for key, field in part.get("properties", {}).items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


def _tidy(field: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without what no editor needs: generated titles and null (files hold none)."""
    field = {k: v for k, v in field.items() if k != "title" and (k, v) != ("default", None)}
    some = [branch for branch in field.get("anyOf", []) if branch != {"type": "null"}]
    if len(some) == 1:
        field = some[0] | {k: v for k, v in field.items() if k != "anyOf"}
    return field


def _loc_in(data: Any, loc: Loc, last: bool) -> Loc:
    """pydantic's path without the union tags that are not in the data."""
    path: list[str | int] = []
    for i, part in enumerate(loc):
        if isinstance(data, dict) and part in data:
            data = data[part]
            path.append(part)
        elif isinstance(data, list) and isinstance(part, int) and part in range(len(data)):
            data = data[part]
            path.append(part)
        elif last and i == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _message(error: Any, loc: Loc, model: type[BaseModel]) -> str:
    """pydantic's error in our words: what is wrong; what to write."""
    name, value = error["type"], error["input"]
    shown = f"`{short(value)}`" if isinstance(value, (str, int, float)) else f"is {kind(value)}"
    if isinstance(value, bool):
        shown = f"`{str(value).lower()}`"
    if name == "extra_forbidden":
        return f"unknown{nearest(short(loc[-1]), _fields(_at(model, loc[:-1])))}"
    if name in ("missing", "union_tag_not_found"):
        example = _example(model, loc)
        return f"missing; write {example}" if example else "missing"
    if name in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"])
    if name in ("model_type", "model_attributes_type", "dict_type"):
        return f"{shown}; write a mapping{_of(_fields(_at(model, loc)))}"
    if name in ("list_type", "tuple_type"):
        example = _example(model, loc)
        return f"{shown}; write a list" + (f", for example {example}" if example else "")
    if name in ("too_short", "too_long"):
        limit = error["ctx"].get("min_length", error["ctx"].get("max_length"))
        bound = "least" if name == "too_short" else "most"
        return f"has {error['ctx']['actual_length']} items; write at {bound} {limit}"
    if name == "string_type":
        example = _example(model, loc)
        wrong = shown if kind(value) in shown else f"{shown} is not text"
        return f"{wrong}; write text" + (f", for example {example}" if example else " (in quotes)")
    if name == "bool_type":
        return f"{shown}; write true or false"
    if name in ("int_type", "int_from_float", "float_type"):
        return f"{shown}; write a {'whole number' if name != 'float_type' else 'number'}"
    if name == "literal_error":
        return f"{shown} is not known; write {error['ctx']['expected'].replace(chr(39), '')}"
    if name == "union_tag_invalid":
        *others, last = error["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"`{short(error['ctx']['tag'])}` is not known; write {', '.join(others)} or {last}"
    example = _example(model, loc)
    message = short(error["msg"], 200)
    return f"{shown}: {message[:1].lower()}{message[1:]}" + (f"; write for example {example}" if example else "")


def _of(fields: list[str]) -> str:
    return f" with the keys {', '.join(fields)}" if fields else ""


def _example(model: type[BaseModel], loc: Loc) -> str:
    """What to write at `loc`: its key with the first example of the field, or the keys of the mapping."""
    for part in _at(model, loc[:-1]):
        if isinstance(part, type) and issubclass(part, BaseModel):
            for name, field in part.model_fields.items():
                if loc[-1] in (name, field.alias):
                    if field.examples:
                        return f"`{loc[-1]}: {_flow(field.examples[0])}`"
                    fields = _fields(_at(model, loc))
                    return f"a mapping{_of(fields)}" if fields else ""
    return ""


def _flow(value: Any) -> str:
    """An example in YAML's flow style."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_flow(v)}" for k, v in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fields(candidates: list[Any]) -> list[str]:
    """The keys that a mapping may have, over all models it may be."""
    models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return list(dict.fromkeys(field.alias or name for m in models for name, field in m.model_fields.items()))


def _at(model: Any, loc: Loc) -> list[Any]:
    """The types that the value at `loc` may have, unions flattened."""
    candidates = _flatten(model)
    for part in loc:
        found = []
        for c in candidates:
            if isinstance(c, type) and issubclass(c, BaseModel):
                found += [f.annotation for n, f in c.model_fields.items() if part in (n, f.alias)]
            elif typing.get_origin(c) is dict:
                found.append(typing.get_args(c)[1])
            elif typing.get_origin(c) in (list, tuple):
                found.append(typing.get_args(c)[0])
        candidates = [c for f in found for c in _flatten(f)]
    return candidates


def _flatten(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _flatten(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [c for a in typing.get_args(annotation) for c in _flatten(a)]
    return [annotation]
