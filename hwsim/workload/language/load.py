"""Model files to `Model`, with checks that involve several fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from hwsim.files.fields import validate
from hwsim.files.yaml import Document, raise_problems
from hwsim.workload.language.model import LAYER_KINDS, Attention, Mamba2, Mlp, Model, Moe
from hwsim.workload.language.schema import ModelFile

#: Part of a layer -> the mapping in the file that describes it.
_MAPPINGS = {
    "attention": "attention",
    "window_attention": "attention",
    "mamba": "mamba2",
    "mlp": "mlp",
    "moe": "moe",
}


def language_model(document: Document) -> Model:
    """The model that a document describes. raises: InputError with every error found."""
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
        max_context=file.max_context,
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
    """Errors that involve several fields: missing parts, numbers that contradict one another."""
    say = document.problem
    for key in ("layers", "mtp"):
        text = _letters(getattr(file, key))
        if not text and getattr(file, key) is not None:
            yield say((key,), "has no layer; write one letter per layer, for example `MEMEM*`")
        parts = {part for letter in text for part in LAYER_KINDS[letter]}
        for mapping in sorted({_MAPPINGS[part] for part in parts}):
            if getattr(file, mapping) is None:
                yield say((key,), f"has {mapping} layers; add the mapping `{mapping}:`")
        if "window_attention" in parts and file.attention and not file.attention.window:
            yield say((key,), "has layers x or y, which attend through a window; add `attention.window`")
        if key == "mtp" and "mamba" in parts:
            yield say(
                (key,),
                "has Mamba-2 layers, whose state a rejected draft token would spoil; write letters of *E-XYxy",
            )
    if file.moe and file.moe.top_k > file.moe.experts:
        yield say(("moe", "top_k"), f"is more than the {file.moe.experts} experts; write {file.moe.experts} or less")
    if file.attention and file.attention.q_heads % file.attention.kv_heads:
        yield say(("attention", "q_heads"), f"is not a multiple of the {file.attention.kv_heads} kv_heads; write one")
    if file.mamba2 and file.mamba2.heads % file.mamba2.groups:
        yield say(("mamba2", "heads"), f"is not a multiple of the {file.mamba2.groups} groups; write one")
