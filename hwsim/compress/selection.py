"""Selection of the tensors of a checkpoint that are compressed, and of their formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from hwsim.compress.checkpoint import FLOATS, Tensor
from hwsim.errors import InputError, nearest

KEEP = "keep"
"""The word in a map that leaves a tensor unchanged."""

EXCLUDED = (
    "*embed*", "*wte.*", "*wpe.*", "*lm_head*", "*head.weight", "*router*", "*.gate.weight",
    "*expert_gate*", "*conv*", "*norm*", "*.ln_*", "*bias*", "*a_log",
)  # fmt: skip
"""Globs of lower-case names that are not compressed by default: embeddings, heads, routers, convolutions, norms."""

Spec = str | Mapping[str, object]


def select(
    tensors: Sequence[Tensor],
    form: Spec = KEEP,
    rules: Mapping[str, Spec] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> dict[str, Spec]:
    """Tensor name -> format, for the tensors that are compressed.

    form: one format for all selected tensors.
    rules: used instead of `form`: globs to formats. The first glob that matches a tensor wins; `keep` leaves the
        tensor unchanged. Rules select among all floating-point tensors of two axes or more.
    include: globs that replace the default selection, which is all 2-D and 3-D weights except `EXCLUDED`.
    exclude: globs of tensors to leave out of the selection.
    raises: InputError if nothing is selected, or a glob matches nothing.
    """
    axes = {t.name: len(t.shape) for t in tensors if t.dtype in FLOATS and len(t.shape) >= 2 and t.size}
    able = list(axes)
    problems = []
    asked = ("include", include), ("exclude", exclude), ("map", tuple(rules or ()))
    for word, globs in asked:
        known = able if word != "exclude" else [t.name for t in tensors]
        problems += [
            f"{word}: {glob!r} matches no {'tensor' if word == 'exclude' else 'weight of two axes or more'}"
            f"{nearest(glob, known[:2000]) if known and not _wild(glob) else ''}"
            for glob in globs
            if not any(fnmatchcase(name, glob) for name in known)
        ]
    if problems:
        raise InputError(*problems)
    chosen: dict[str, Spec] = {}
    for name in able:
        if any(fnmatchcase(name, glob) for glob in exclude):
            continue
        if include and not any(fnmatchcase(name, glob) for glob in include):
            continue
        if rules is not None:
            mine = next((f for glob, f in rules.items() if fnmatchcase(name, glob)), KEEP)
        else:
            mine = KEEP if not include and (_left_alone(name) or axes[name] > 3) else form
        if mine != KEEP:
            chosen[name] = mine
    if not chosen:
        what = "the model has no 2-D or 3-D weights that are compressed by default; select some with include"
        raise InputError(f"no tensor to compress: {what}")
    return chosen


def _wild(glob: str) -> bool:
    return any(c in glob for c in "*?[")


def _left_alone(name: str) -> bool:
    return any(fnmatchcase(name.lower(), glob) for glob in EXCLUDED)


def read_map(path: str | Path) -> dict[str, Spec]:
    """Read a YAML file of `glob: format`, in its order. raises: InputError if a format is no name or mapping."""
    from hwsim.files.yaml import read

    document = read(path)
    problems = [
        document.problem((glob,), "write a format name, `keep`, or a custom format")
        for glob, form in document.data.items()
        if not isinstance(form, str | dict)
    ]
    if problems:
        raise InputError(*problems)
    return dict(document.data)
