"""`compress`, `decompress` and `convert`: weight by weight, in chunks of rows, in little memory; resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.compress.checkpoint import FLOATS, Checkpoint
from hwsim.compress.coding import Decode, Encode, Job, Move, chunks
from hwsim.compress.open import open_checkpoint
from hwsim.compress.output import write_output
from hwsim.compress.parts import Held, moved
from hwsim.compress.record import HWSIM
from hwsim.compress.released import find_weights
from hwsim.compress.selection import read_map, select, settled_rules
from hwsim.compress.table import Inspection, inspect
from hwsim.compress.targets import Target, target_of
from hwsim.compress.weights import PLAIN, PackedWeight, Spec, Weight, settled, spec_text
from hwsim.compress.writing import Progress
from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.format import Format
from hwsim.formats.layout import Layout as FormatLayout

_CODED = ("F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8")  # types of codes without their scales


def compress(
    in_path: str | Path,
    out_path: str | Path,
    format: Spec | None = None,
    mapping: str | Path | Mapping[str, Spec] | None = None,
    *,
    layout: str = HWSIM,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    axes: Mapping[str, int] | None = None,
    decode: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Inspection:
    """Write a compressed copy of a model and return its table.

    in_path: a .safetensors file, an index of shards, or a folder with either.
    out_path: a file; for a sharded model, a folder for the shards and index, which keep their names (or the path
        of the new index). Files of these names are replaced when all new ones are complete; those of the input never.
    format: one format for all selected weights, or what `get_format` returned, with its options; None without a map:
        the usual one of the layout.
    mapping: used instead of `format`: globs to formats, as a mapping or the path of a YAML file. The first glob
        that matches a weight wins; the format `keep` leaves the weight unchanged. {format: ..., axis: ...} says K, and
        its other keys are options of the format.
    layout: "hwsim" (records of any format), or what serving engines load: see `targets`.
    include, exclude: globs, see `selection.select`.
    axes: globs to the axis K of weights whose file stores it elsewhere than `orientation` knows.
    decode: weights that are quantised already are decoded and compressed anew; else they are an error, unless `include`
        or a map leaves them alone.
    progress: called before each weight, during a long search, and once at the end.
    raises: InputError for input that cannot be read or is quantised already, weights that are NaN or infinite, unknown
        formats, globs that match nothing, weights that the layout cannot hold, and an output that cannot be written; no
        files are left behind. The same call resumes a run that was killed.
    """
    target = target_of(layout)
    if format is not None and mapping is not None:
        raise InputError("compress: both are given; write either a format or a map of globs to formats")
    if format is None and mapping is None and not target.default:
        raise InputError("compress: no format is given; write a format (--format) or a map of globs to formats (--map)")
    source = open_checkpoint(in_path)
    weights, rest = find_weights(source)
    coded = [w for w in weights if w.layout != PLAIN]
    if coded and not decode and not include and mapping is None:
        raise InputError(*_quantised(in_path, coded))
    rules = None
    if mapping is not None:
        rules = settled_rules(mapping if isinstance(mapping, Mapping) else read_map(mapping))
    able = weights if decode else [w for w in weights if w.layout == PLAIN]
    _check_stray(in_path, able, rest)
    chosen = select(
        able, None if rules is not None else settled(format or target.default), rules, include, exclude, axes,
        stacks=True if target.name == "gpt-oss" else None, names=[*(h.name for h in rest), *(w.name for w in weights)],
    )  # fmt: skip
    by_name = {w.name: replace(w, axis=chosen[w.name].axis) for w in weights if w.name in chosen}
    named: dict[str, Format] = {}
    for choice in chosen.values():
        if (text := spec_text(choice.format)) not in named:
            named[text] = _made(choice.format, threads)
    made = {name: named[spec_text(chosen[name].format)] for name in by_name}
    _check_stored(target, {name: (made[name].layout, moved(w.shape, w.axis)) for name, w in by_name.items()})
    _check_finite(by_name.values())
    jobs = {name: Encode(w, chosen[name].format, made[name], target) for name, w in by_name.items()}
    plan = {
        "compress": {name: [spec_text(c.format), c.axis] for name, c in sorted(chosen.items())},
        "layout": target.name, "decode": decode,
    }  # fmt: skip
    return _written(in_path, out_path, source, weights, jobs, plan, progress, target)


def decompress(
    in_path: str | Path,
    out_path: str | Path,
    *,
    dtype: str | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Inspection:
    """Decode every compressed or quantised weight to plain values.

    dtype: F32, F16, BF16 or None: the original type that hwsim recorded; F32, which is exact, for released layouts.
    Paths, progress and errors: as in `compress`; a GGUF file is read too.
    raises: InputError also for files without a compressed or quantised weight.
    """
    if dtype is not None and dtype not in FLOATS:
        raise InputError(f"dtype: unknown {dtype!r}; write one of {', '.join(FLOATS)}")
    source = open_checkpoint(in_path)
    weights, _ = find_weights(source)
    coded = [w for w in weights if w.layout != PLAIN]
    if not coded:
        what = "contains no tensor that hwsim compressed, and none in a released layout"
        raise InputError(f"{in_path}: {what}; write the output of `hwsim compress`, or a quantised checkpoint")
    jobs: dict[str, Job] = {}
    for weight in coded:
        kind = dtype or (weight.record.dtype if isinstance(weight, PackedWeight) else "F32")
        jobs[weight.name] = Decode(weight, kind)
    return _written(in_path, out_path, source, weights, jobs, {"decompress": dtype}, progress, plain=True)


def _written(
    in_path: str | Path,
    out_path: str | Path,
    source: Checkpoint,
    weights: Sequence[Weight],
    jobs: Mapping[str, Job],
    plan: dict[str, Any],
    progress: Callable[[Progress], None] | None,
    target: Target | None = None,
    plain: bool = False,
) -> Inspection:
    """Write the files of the jobs. Returns what is there then. target, plain: as `write_output` takes them."""
    served = target if target is not None and target.name != HWSIM else None
    folder = Path(in_path).is_dir()
    out, notes = write_output(source, weights, out_path, jobs, plan, progress, served, folder=folder, plain=plain)
    return replace(inspect(out), notes=notes)


def convert(
    in_path: str | Path,
    out_path: str | Path,
    layout: str,
    format: Spec | None = None,
    *,
    fallback: Spec | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Inspection, dict[str, str]]:
    """Write the quantised weights of a model in another layout: (the new table, how each weight was converted).

    layout: as in `compress`. format: of all quantised weights; None: each keeps its own.
    fallback: the format of those weights whose own the layout does not store; None: such weights are an error.
    how: "exact" (every value is the same), "exact codes, tensor scale rounded" (a factor becomes a divisor or the
        other way round: values differ by one part in 2^23 at most), or "re-encoded from FORMAT".
    raises: InputError as `compress`, for a model without quantised weights, and for weights that would need another
        format than their own where neither `format` nor `fallback` says which.
    """
    if format is not None and fallback is not None:
        raise InputError("convert: both are given; write either a format of all weights or a fallback")
    target = target_of(layout)
    source = open_checkpoint(in_path)
    weights, _ = find_weights(source)
    coded = [w for w in weights if w.layout != PLAIN]
    if not coded:
        raise InputError(f"{in_path}: no weight is quantised, so nothing is converted; use `hwsim compress`")
    wanted, other = (None if spec is None else settled(spec) for spec in (format, fallback))
    if wanted is None and other is None and (lacking := [w for w in coded if not _stores(target, w)]):
        raise InputError(*_unasked(in_path, target, lacking))
    jobs: dict[str, Encode] = {}
    how: dict[str, str] = {}
    stored: dict[str, tuple[FormatLayout, tuple[int, ...]]] = {}
    for weight in coded:
        spec = wanted if wanted is not None else other if not _stores(target, weight) else None
        spec, form, words = _converted(weight, target, spec, threads)
        stored[weight.name] = form.layout, moved(weight.shape, weight.axis)
        how[weight.name] = words
        kind = Encode if words.startswith("re-encoded") else Move
        jobs[weight.name] = kind(weight, spec, form, target)
    _check_stored(target, stored)
    specs = {job.weight.name: spec_text(job.spec) for job in jobs.values()}
    plan = {"convert": dict(sorted(specs.items())), "layout": target.name}
    return _written(in_path, out_path, source, weights, jobs, plan, progress, target), how


def _made(spec: Spec, threads: int | None) -> Format:
    """The format of a settled specification; one with options is there already."""
    return spec if isinstance(spec, Format) else get_format(spec, threads=threads)


def _stores(target: Target, weight: Weight) -> bool:
    """Whether the layout stores a weight in the weight's own format; the shape is another question."""
    own = weight.format
    return own is not None and (not target.formats or (not own.layout.definition and own.name in target.formats))


def _unasked(path: str | Path, target: Target, lacking: Sequence[Weight]) -> list[str]:
    """The errors for weights that would change their format, one per layout and format."""
    example = target.default or "mxfp8"
    what_to_write = f"write --fallback {example}, or another format, to encode these weights again"
    groups: dict[str, list[str]] = {}
    for weight in lacking:
        if weight.format is None:
            why = f"{weight.words} of {weight.layout} is not exactly a format of hwsim, so its codes cannot be moved"
        else:
            why = f"the layout {target.name} has no {weight.words}; it stores {', '.join(target.formats)}"
        groups.setdefault(why, []).append(weight.name)
    return [f"{path}: {_few(names)}: {why}; {what_to_write}" for why, names in groups.items()]


def _converted(weight: Weight, target: Target, spec: Spec | None, threads: int | None) -> tuple[Spec, Format, str]:
    """(format's name or definition, the format, how) of a weight in another layout. spec: None: the weight's own."""
    own = weight.format
    if spec is None:
        assert own is not None, "convert has refused weights without a format of their own"
        spec = own.layout.resolved()
    form = _made(spec, threads)
    if own is None or own.layout != form.layout:
        return spec, form, f"re-encoded from {weight.words}"
    divisors = (getattr(weight, "divisor", False), target.name == "compressed-tensors" and form.name == "nvfp4")
    if divisors[0] != divisors[1]:
        scale = weight.codes(0, min(1, weight.row_count)).tensor_number
        other = float(np.float32(1) / np.float32(scale))
        if divisors[0] and Fraction(float(weight.global_scale)) * Fraction(scale) != 1:  # type: ignore[attr-defined]
            return spec, form, "exact codes, tensor scale rounded"
        if divisors[1] and Fraction(other) * Fraction(scale) != 1:
            return spec, form, "exact codes, tensor scale rounded"
    return spec, form, "exact"


def _check_stored(target: Target, weights: Mapping[str, tuple[FormatLayout, tuple[int, ...]]]) -> None:
    """raises: InputError with every reason why the layout cannot hold weights, once each.

    weights: name -> (its format, its shape with K last).
    """
    groups: dict[str, list[str]] = {}
    for name, (form, shape) in weights.items():
        for reason in target.problems(name, form, shape):
            groups.setdefault(reason, []).append(name)
    if groups:
        raise InputError(*(f"{_few(names)}: {reason}" for reason, names in groups.items()))


def _few(names: Sequence[str]) -> str:
    """The first names of some weights, and how many more there are."""
    more = len(names) - 2
    return ", ".join(names[:2]) + (f" and {more:,} more weight{'s' * (more > 1)}" if more > 0 else "")


def _quantised(path: str | Path, coded: Sequence[Weight]) -> list[str]:
    """The errors for a checkpoint that is quantised already, one per layout and format."""
    groups: dict[tuple[str, str], list[str]] = {}
    for weight in coded:
        groups.setdefault((weight.layout, weight.words), []).append(weight.name)
    found = []
    for (layout, words), names in groups.items():
        if layout == HWSIM:
            what = f"is compressed by hwsim already ({words}): {_few(names)}"
        else:
            what = f"is quantised already ({words} of {layout}): {_few(names)}"
        found.append(f"{path}: {what}; decode its weights first with --decode, or name others with --include")
    return found


def _check_stray(path: str | Path, able: Sequence[Weight], rest: Sequence[Held]) -> None:
    """Refuse a checkpoint whose weights are of a type that is not read, where no other weight is there."""
    if any(len(w.shape) >= 2 and w.size for w in able):
        return
    # Integers of 32 and 64 bits are indices and masks; bytes and small floats were weights.
    coded = [h for h in rest if len(h.tensor.shape) >= 2 and h.tensor.dtype in _CODED]
    kinds = sorted({h.tensor.dtype for h in coded})
    if kinds:
        names = [h.name for h in coded]
        shown = ", ".join(names[:2]) + (" ..." if len(names) > 2 else "")
        what = f"has weights of {', '.join(kinds)} without the scales of a layout that hwsim knows ({shown})"
        raise InputError(f"{path}: {what}; compress reads {', '.join(FLOATS)} and the layouts in docs/formats.md")


def _check_finite(weights: Iterable[Weight]) -> None:
    """Check all weights before the search, which can take hours. raises: InputError for weights with NaN or Inf."""
    problems = []
    for weight in weights:
        bad = sum(rows.size - int(np.count_nonzero(np.isfinite(rows))) for _, rows in chunks(weight))
        if bad:
            what = f"{bad} of {weight.size} weights are NaN or infinite; exclude the tensor, or repair it"
            problems.append(f"{weight.place}: {what}")
    if problems:
        raise InputError(*problems[:20])
