"""Which weights of a checkpoint are compressed, in which format, and along which axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeGuard

from hwsim.compress.weights import Spec, Weight, settled
from hwsim.errors import InputError, nearest
from hwsim.formats import get_format
from hwsim.formats.format import Format
from hwsim.formats.names import FormatSource

KEEP = "keep"
"""The word in a map that leaves a tensor unchanged."""

EXCLUDED = (
    "*embed*", "*embd*", "*wte.*", "*wpe.*", "shared.weight", "*.shared.weight", "*lm_head*", "*head.weight",
    "output.weight", "model.output.weight", "*score.weight", "*classifier*", "*logit*", "*_token", "*_tokens",
    "*position*", "*rotary*", "*router*", "*.gate.weight", "*.gate.wg.*", "*expert_gate*", "*conv*", "*norm*", "*.ln_*",
    "*.ln?.*", "*bias*", "*a_log",
)  # fmt: skip
"""Globs of lower-case names that are not compressed by default: embeddings, heads and classifiers in the names of every
common family, routers, convolutions, norms."""


@dataclass(frozen=True)
class Choice:
    """What becomes of one weight. format: as `settled` gives it. axis: K, counted from the front."""

    format: Spec
    axis: int


def select(
    weights: Sequence[Weight],
    form: Spec | None = None,
    rules: Mapping[str, Spec] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    axes: Mapping[str, int] | None = None,
    stacks: bool | None = None,
    names: Sequence[str] = (),
) -> dict[str, Choice]:
    """Weight's name -> format and axis, for the weights that are compressed.

    weights: those that may be. form: one format for all selected weights.
    rules: used instead of `form`: globs to formats, or to {format: ..., axis: ..., option: ...}. The first glob that
        matches a weight wins; `keep` leaves the weight unchanged. Rules select among all weights of two axes or more.
    include: globs that replace the default selection, which is all 2-D and 3-D weights except `EXCLUDED` and what has
        one long axis alone. exclude: globs of tensors to leave out of the selection.
    axes: globs to the axis K of a weight, -2 or -1 for example, where the names do not say it.
    stacks: True: by default stacks of experts (three axes) alone. names: of all tensors, which `exclude` may name.
    raises: InputError if nothing is selected, a glob matches nothing, or a weight has no such axis.
    """
    able = {w.name: w for w in weights if len(w.shape) >= 2 and w.size}
    every = [*names, *able]
    problems = []
    for word, globs in (
        ("include", include), ("exclude", exclude), ("map", tuple(rules or ())), ("axis", tuple(axes or ())),
    ):  # fmt: skip
        known = list(able) if word != "exclude" else every
        problems += [
            f"{word}: {glob!r} matches no {'tensor' if word == 'exclude' else 'weight of two axes or more'}"
            f"{nearest(glob, known[:2000]) if known and not _wild(glob) else ''}"
            for glob in globs
            if not any(fnmatchcase(name, glob) for name in known)
        ]
    if problems:
        raise InputError(*problems)
    chosen: dict[str, Choice] = {}
    for name, weight in able.items():
        if any(fnmatchcase(name, glob) for glob in exclude):
            continue
        if include and not any(fnmatchcase(name, glob) for glob in include):
            continue
        axis: int | None = None
        if rules is not None:
            mine, axis = _rule(next((f for glob, f in rules.items() if fnmatchcase(name, glob)), KEEP))
        else:
            mine = KEEP if form is None or (not include and _left_alone(weight, stacks)) else form
        if isinstance(mine, str) and mine == KEEP:
            continue
        axis = next((a for glob, a in (axes or {}).items() if fnmatchcase(name, glob)), axis)
        try:
            chosen[name] = Choice(mine, _axis(weight, axis))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    if not chosen:
        what = "the model has no 2-D or 3-D weights that are compressed by default; select some with include"
        if stacks and form is not None and not include:
            what = "the layout stores stacks of experts [E, N, K] alone, and the model has none that is compressed"
        raise InputError(f"no tensor to compress: {what}")
    return chosen


def _axis(weight: Weight, axis: int | None) -> int:
    if axis is None:
        return weight.axis
    last = len(weight.shape) - 1
    if isinstance(axis, bool) or not isinstance(axis, int) or not -last - 1 <= axis <= last:
        raise InputError(
            f"{weight.place}: axis {axis} of a weight of shape {weight.shape}; write {-last - 1} to {last}"
        )
    found = axis % (last + 1)
    if found != weight.axis and weight.layout != "plain":
        raise InputError(f"{weight.place}: its layout {weight.layout} says that K is axis {weight.axis}")
    return found


def _rule(rule: Spec) -> tuple[Spec, int | None]:
    """(format, axis or None) of an entry of a map."""
    if _ruled(rule):
        axis = rule.get("axis")
        return rule["format"], axis  # type: ignore[return-value]  # `read_map` and `settled_rules` check both
    return rule, None


def _wild(glob: str) -> bool:
    return any(c in glob for c in "*?[")


def _left_alone(weight: Weight, stacks: bool | None) -> bool:
    """Whether the default selection leaves a weight out: by its name, or for its shape."""
    axes = len(weight.shape)
    if axes > 3 or (stacks and axes != 3) or weight.size == max(weight.shape):
        return True
    return any(fnmatchcase(weight.name.lower(), glob) for glob in EXCLUDED)


def settled_rules(rules: Mapping[str, Spec]) -> dict[str, Spec]:
    """Rules with every format as an output file records it. raises: InputError for a format that does not exist."""
    found: dict[str, Spec] = {}
    for glob, rule in rules.items():
        form, axis = _rule(rule)
        if not (isinstance(form, str) and form == KEEP):
            options = (
                {key: value for key, value in rule.items() if key not in ("format", "axis")} if _ruled(rule) else {}
            )
            form = settled(get_format(_named(form), **options) if options else form)
        found[glob] = form if axis is None else {"format": form, "axis": axis}
    return found


def _ruled(rule: Spec) -> TypeGuard[Mapping[str, object]]:
    """Whether an entry of a map is {format: ..., axis: ..., option: ...} and no format by itself."""
    return isinstance(rule, Mapping) and "format" in rule


def _named(form: Spec) -> FormatSource:
    """A format without options, for `get_format`. raises: InputError for one that has its options already."""
    if isinstance(form, Format):
        raise InputError(f"{form.name}: the format has its options already; write them there")
    return form


def read_map(path: str | Path) -> dict[str, Spec]:
    """Read a YAML file of `glob: format`, in its order. raises: InputError if a format is no name or mapping.

    "*.q_proj.weight": mxfp8
    "*experts*": {format: nvfp4, axis: -2, four_over_six: true}
    "*bias*": keep
    """
    from hwsim.files.yaml import read

    document = read(path)
    problems = [
        document.problem(
            (glob,), "write a format name, `keep`, a custom format, or {format: NAME, axis: N, OPTION: VALUE}"
        )
        for glob, form in document.data.items()
        if not isinstance(form, str | dict) or (isinstance(form, dict) and "format" in form and not _is_rule(form))
    ]
    if problems:
        raise InputError(*problems)
    for glob, rule in document.data.items():
        try:
            settled_rules({glob: rule})
        except InputError as error:
            problems += [document.problem((glob,), each) for each in error.problems]
    if problems:
        raise InputError(*problems)
    return dict(document.data)


def _is_rule(rule: Mapping[str, object]) -> bool:
    whole = isinstance(rule.get("axis", -1), int) and isinstance(rule["format"], str | dict)
    return whole  # other keys are options of the format, which `settled_rules` checks
