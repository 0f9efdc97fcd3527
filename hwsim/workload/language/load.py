"""Model files to `Model`, with checks that involve several fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from hwsim.errors import collect
from hwsim.files.fields import FilePart, validate
from hwsim.files.yaml import Document, Loc, raise_problems
from hwsim.workload.formatmap import FormatMap
from hwsim.workload.language.checkpoint import Checkpoint
from hwsim.workload.language.kinds import KINDS, Part
from hwsim.workload.language.model import BUILT_IN, LAYER_KINDS, Attention, Mamba2, Mlp, Model, Moe
from hwsim.workload.language.parts.latent import Index
from hwsim.workload.language.parts.step import Norm
from hwsim.workload.language.schema import CheckpointFile, IndexFile, ModelFile

#: Classes of the parts that a file describes outside `parts`.
_OUTSIDE: dict[str, type[Part]] = {"attention": Attention, "mamba2": Mamba2, "mlp": Mlp, "moe": Moe}

#: Fields that are copied as they are.
_COPIED = (
    "name", "description", "hidden", "vocab", "tied_embeddings", "max_context", "embedding_norm", "final_norm",
    "head", "head_bias", "softcap", "positions", "mtp_tables",
)  # fmt: skip


def language_model(document: Document) -> Model:
    """The model that a document describes. raises: InputError with every error found."""
    file = validate(document, ModelFile)
    problems = list(_contradictions(document, file))
    if problems:
        raise_problems(problems)
    outside = {name: _part(made, getattr(file, name)) for name, made in _OUTSIDE.items() if getattr(file, name)}
    return Model(
        **{name: getattr(file, name) for name in _COPIED},
        ids=tuple(file.ids),
        layers=_letters(file.layers),
        mtp=_letters(file.mtp),
        parts=tuple((name, _shapes(part)) for name, part in (file.parts or {}).items()),
        blocks=tuple((letter, tuple(_named(block))) for letter, block in (file.blocks or {}).items()),
        shared=tuple((file.shared or {}).items()),
        norm=Norm(file.norm.kind, file.norm.bias, file.norm.place),
        checkpoint=_checkpoint(file.checkpoint),
        published_total=file.published.total,
        published_active=file.published.active,
        published_active_with_embedding=file.published.active_with_embedding,
        **outside,
    )


def _checkpoint(file: CheckpointFile | None) -> Checkpoint | None:
    return Checkpoint(tuple(file.weights.items()), file.activations, file.kv, file.method) if file else None


def _part(made: type[Part], file: Any, at: int = 0) -> Any:
    """The part that a mapping of a file describes; of values that are lists, the one at this place."""
    given = {}
    for f in fields(made):
        value = getattr(file, f.name)
        if isinstance(value, IndexFile):
            value = Index(value.heads, value.head_dim, value.top_k, value.shared)
        given[f.name] = value[at] if isinstance(value, list) else value
    return made(**given)


def _lists(part: FilePart) -> dict[str, int]:
    """Fields that are lists, and their lengths."""
    return {key: len(value) for key, value in part if isinstance(value, list)}


def _shapes(part: Any) -> tuple[Part, ...]:
    """One shape, or one per layer with this part."""
    return tuple(_part(KINDS[part.kind], part, i) for i in range(max(_lists(part).values(), default=1)))


def _named(block: list[str | list[str]]) -> Iterator[tuple[str, bool]]:
    """(name of a part, whether it stands beside the one before it)."""
    for name in block:
        if isinstance(name, list):
            yield from ((each, True) for each in name)
        else:
            yield name, False


def _letters(pattern: str | None) -> str:
    return (pattern or "").replace(" ", "")


def _contradictions(document: Document, file: ModelFile) -> Iterable[str]:
    """Errors that involve several fields: missing parts, numbers that contradict one another."""
    say = document.problem
    parts, blocks = file.parts or {}, file.blocks or {}
    found: list[str] = []
    with collect(found):
        FormatMap.of(file.checkpoint.weights if file.checkpoint else {"default": "bf16"})
    yield from (say(("checkpoint", "weights"), problem) for problem in found)
    known: dict[str, list[str]] = {letter: list(names) for letter, names in LAYER_KINDS.items()}
    for letter, block in blocks.items():
        named = list(_named(block))
        known[letter] = [name for name, _ in named]
        for name in known[letter]:
            if name not in parts and name not in BUILT_IN:
                yield say(("blocks", letter), f"there is no part {name}; describe it under `parts:`")
        if named and named[0][1]:
            yield say(("blocks", letter), "begins with a part in brackets, which stands beside nothing; leave them out")
    for name in parts:
        if name in BUILT_IN or name == "mamba2":
            yield say(("parts", name), "is a part that stands outside `parts:`; write another name", key=True)
    used: dict[str, int] = {}
    for key in ("layers", "mtp"):
        yield from _layer_errors(document, file, key, known, used)
    for name, part in parts.items():
        yield from _part_errors(document, ("parts", name), part, KINDS[part.kind], used.get(name, 0))
    for name, n in (file.shared or {}).items():
        if name not in used:
            yield say(("shared", name), "is no part of any layer; write a part that `layers` has", key=True)
        elif n > used[name]:
            yield say(("shared", name), f"is stored {n} times for {used[name]} layers; write at most {used[name]}")
        elif name in parts and _lists(parts[name]):
            yield say(("shared", name), "has one shape per layer, which cannot share weights; write one number for all")
    for name, made in _OUTSIDE.items():
        if getattr(file, name):
            yield from _part_errors(document, (name,), getattr(file, name), made, 0)


def _layer_errors(
    document: Document, file: ModelFile, key: str, known: dict[str, list[str]], used: dict[str, int]
) -> Iterable[str]:
    """Errors of a pattern of layers; the layers with each part of `layers` are counted in `used`."""
    say, text = document.problem, _letters(getattr(file, key))
    if not text:
        if getattr(file, key) is not None:
            yield say((key,), "has no layer; write one letter per layer, for example `MEMEM*`")
        return
    unknown = sorted(set(text) - known.keys())
    if unknown:
        shown = text if len(text) <= 20 else f"{text[:17]}..."
        yield say(
            (key,), f"`{shown}` has the letter {', '.join(unknown)}; write {''.join(known)}, or describe it in blocks"
        )
        return
    names = {name for letter in text for name in known[letter]}
    for mapping in sorted({BUILT_IN[name] for name in names & BUILT_IN.keys()}):
        if getattr(file, mapping) is None:
            yield say((key,), f"has {mapping} layers; add the mapping `{mapping}:`")
    if "window_attention" in names and file.attention and not file.attention.window:
        yield say((key,), "has layers x or y, which attend through a window; add `attention.window`")
    if key == "layers":
        for letter in text:
            for name in known[letter]:
                used[name] = used.get(name, 0) + 1
        return
    for name in sorted(names):
        kind = {"mamba": "Mamba-2"}.get(name) or (file.parts[name].kind if file.parts and name in file.parts else "")
        if kind in ("Mamba-2", *_STATEFUL):
            yield say(
                (key,), f"has {kind} layers, whose state a rejected draft token would spoil; write letters of *E-XYxy"
            )


#: Kinds of part with a state that every token changes.
_STATEFUL = ("mamba2", "mamba1", "gdn", "kda", "lightning", "shortconv")


def _part_errors(document: Document, loc: Loc, part: Any, made: type[Part], layers: int) -> Iterable[str]:
    lists = _lists(part)
    for key, n in lists.items():
        if n != layers:
            yield document.problem((*loc, key), f"has {n} numbers for {layers} layers with this part; write {layers}")
            return
    found: dict[tuple[str, str], None] = {}
    for at in range(max(lists.values(), default=1)):
        found |= dict.fromkeys(_part(made, part, at).contradictions())
    for key, message in found:
        yield document.problem((*loc, key), message)
