"""The error of a format: QSNR on known distributions and arrays, and the BDR bound."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.errors import InputError, nearest
from hwsim.files.tables import table
from hwsim.formats.arrays import float_rows
from hwsim.formats.bdr import BdrFormat
from hwsim.formats.catalog import get_format
from hwsim.formats.format import Format
from hwsim.formats.names import FormatSource

DISTRIBUTIONS: dict[str, str] = {
    "normal": "N(0,1)",
    "normal_scaled": "N(0,|N(0,1)|)",
    "laplace": "Laplace",
    "student_t": "t, 4 d.o.f.",
}
"""Name of a distribution and how a table heads it; the second draws each vector's sigma from |N(0,1)|."""

SEED_VECTORS = 400
"""Vectors that `qsnr_table` gives to seed formats: the search of 10,000 takes minutes; results say it."""

_ROWS = 1 << 20  # values whose errors are held at once in float64


@dataclass(frozen=True)
class Qsnr:
    """The error of one format on one collection of vectors.

    format: name and the options that are not the default. data: what was encoded.
    vectors, length: how many count, and values in each; vectors of zeros, or with Inf or NaN, do not count.
    db: -10 log10 of the mean over vectors of |x - q|^2 / |x|^2; inf where nothing is lost.
    worst_db: the same for the worst vector.
    bound_db: Theorem 1's lower bound for vectors of one block or more (BDR formats), else None.
    max_error: the largest |x - q| of any value, as a share of the largest magnitude of its vector.
    cosine: the mean over vectors of x q / (|x| |q|); a vector that becomes zeros has 0.
    """

    format: str
    data: str
    vectors: int
    length: int
    db: float
    worst_db: float
    bound_db: float | None = None
    max_error: float | None = None
    cosine: float | None = None


def sample(distribution: str, vectors: int = 10_000, length: int = 1024, seed: int = 0) -> np.ndarray:
    """float32[vectors, length] drawn from one of `DISTRIBUTIONS`.

    raises: InputError for an unknown distribution.
    source: arXiv 2302.08007, section 5 (N(0,|N(0,1)|), more than 10,000 vectors).
    """
    if distribution not in DISTRIBUTIONS:
        raise InputError(f"unknown distribution {distribution!r}{nearest(distribution, DISTRIBUTIONS)}")
    rng = np.random.default_rng(seed)
    if distribution == "laplace":
        return rng.laplace(size=(vectors, length)).astype(np.float32)
    if distribution == "student_t":
        return rng.standard_t(4, size=(vectors, length)).astype(np.float32)
    x = rng.standard_normal((vectors, length), np.float32)
    if distribution == "normal_scaled":
        x *= np.abs(rng.standard_normal((vectors, 1), np.float32))
    return x


def error_ratios(x: np.ndarray, q: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """float64[rows]: |x - q|^2 / |x|^2 of each row of x, q: float[rows, k].

    importance: float[k], the weight of each column's squares; None: all the same.
    NaN for a row of zeros, or with Inf or NaN.
    """
    return row_measures(x, q, importance)[0]


def row_measures(
    x: np.ndarray, q: np.ndarray, importance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(error ratios as `error_ratios`, largest error over largest magnitude, cosines), float64[rows] each.

    The last two have no weights, and are NaN where the first is.
    """
    ratios, largest, cosines = np.empty(len(x)), np.empty(len(x)), np.empty(len(x))
    h = np.ones(x.shape[1]) if importance is None else np.asarray(importance, np.float64)
    step = max(1, _ROWS // max(1, x.shape[1]))
    with np.errstate(invalid="ignore", over="ignore"):
        for at in range(0, len(x), step):
            a = x[at : at + step].astype(np.float64)
            # A row in units of its maximum: squares neither overflow nor vanish.
            top = np.abs(a).max(axis=1, initial=0.0, keepdims=True)
            unit = np.exp2(-np.frexp(np.where(top > 0, top, 1.0))[1].astype(np.float64))
            b = q[at : at + step] * unit
            error = a * unit - b
            a *= unit
            power = np.einsum("ij,ij,j->i", a, a, h)
            noise = np.einsum("ij,ij,j->i", error, error, h)
            ratios[at : at + step] = np.where(power > 0, noise / np.where(power > 0, power, 1.0), np.nan)
            most = np.abs(a).max(axis=1, initial=0.0)
            largest[at : at + step] = np.abs(error).max(axis=1, initial=0.0) / np.where(most > 0, most, 1.0)
            sizes = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
            inner = np.einsum("ij,ij->i", a, b)
            cosines[at : at + step] = np.where(sizes > 0, inner / np.where(sizes > 0, sizes, 1.0), 0.0)
    bad = np.isnan(ratios)
    largest[bad] = cosines[bad] = np.nan
    return ratios, largest, cosines


def decibels(ratio: float) -> float:
    """-10 log10 of a ratio of powers; inf for 0."""
    return -10 * math.log10(ratio) if ratio > 0 else math.inf if ratio == 0 else math.nan


def qsnr(
    form: Format, x: npt.ArrayLike, axis: int = -1, data: str = "array", importance: np.ndarray | None = None
) -> Qsnr:
    """QSNR of an array: vectors are its rows, along `axis`, encoded as one tensor.

    importance: float[k], finite and >= 0, the weight of each column's squared error, such as the mean square of the
        activations that meet it.
    raises: InputError where every row is zero, or the format cannot hold the values.
    """
    encoded = form.encode(x, axis)
    rows, _, axis = float_rows(x, axis)
    decoded = np.moveaxis(encoded.decode(), axis, -1).reshape(rows.shape)
    if importance is not None:
        _check_importance(importance, rows.shape[1], data)
    ratios, largest, cosines = row_measures(rows, decoded, importance)
    some = ~np.isnan(ratios)
    counted = ratios[some]
    if not counted.size:
        raise InputError(f"{data}: every row is zero or holds NaN; QSNR needs something to compare")
    bound = bdr_bound(form, rows.shape[1]) if isinstance(form, BdrFormat) else None
    mean, worst = decibels(counted.mean()), decibels(counted.max())
    return Qsnr(
        form.title, data, counted.size, rows.shape[1], mean, worst, bound,
        float(largest[some].max()), float(cosines[some].mean()),
    )  # fmt: skip


def _check_importance(importance: np.ndarray, k: int, data: str) -> None:
    whole = importance.shape == (k,) and importance.dtype.kind in "fiu" and bool(np.isfinite(importance).all())
    if not whole or (importance < 0).any() or not (importance > 0).any():
        have = f"shape {importance.shape}, type {importance.dtype}"
        raise InputError(f"importance of {data}: {have}; write {k} finite numbers of 0 or more, some above 0")


def qsnr_table(
    formats: Sequence[FormatSource | Format],
    distributions: Sequence[str] = tuple(DISTRIBUTIONS),
    vectors: int = 10_000,
    length: int = 1024,
    seed: int = 0,
) -> list[Qsnr]:
    """One result per format and distribution, formats outermost; seed formats see the first `SEED_VECTORS`."""
    built = [f if isinstance(f, Format) else get_format(f) for f in formats]
    found = {}
    for name in distributions:
        x = sample(name, vectors, length, seed)
        for i, form in enumerate(built):
            found[i, name] = qsnr(form, x[:SEED_VECTORS] if form.layout.kind == "seed" else x, data=name)
    return [found[i, name] for i in range(len(built)) for name in distributions]


def qsnr_of_arrays(
    formats: Sequence[FormatSource | Format],
    arrays: Iterable[tuple[str, np.ndarray]],
    importance: Mapping[str, np.ndarray] | None = None,
) -> list[Qsnr]:
    """One result per format and named array (a tensor of a file), then one for all arrays; formats outermost.

    Vectors are rows, along the last axis, each array encoded as one tensor.
    arrays: read one at a time, so that a file need not fit in memory; zeros and vectors are left out.
    importance: name of an array -> the weights of its columns, see `qsnr`; an array without has none.
    raises: InputError where nothing is left, a format cannot hold a value, or an importance has no array.
    """
    weights = dict(importance or {})
    built = [f if isinstance(f, Format) else get_format(f) for f in formats]
    results: list[list[Qsnr]] = [[] for _ in built]
    for name, x in arrays:
        if x.ndim < 2 or not x.any():
            continue
        h = weights.pop(name, None)
        for form, found in zip(built, results, strict=True):
            found.append(qsnr(form, x, data=name, importance=h))
    if weights:
        raise InputError(f"importance: {', '.join(sorted(weights)[:4])}: no weight of this name is measured")
    if not results or not results[0]:
        raise InputError("QSNR: no matrix with a value that is not zero")
    for form, found in zip(built, results, strict=True):
        found.append(pooled(form.title, "all", found))
    return [r for found in results for r in found]


def pooled(title: str, data: str, found: Sequence[Qsnr]) -> Qsnr:
    """Several results of one format as one: means over all vectors, the worst of all."""
    vectors = sum(r.vectors for r in found)
    mean = sum(r.vectors * 10 ** (-r.db / 10) for r in found) / vectors
    bounds = [r.bound_db for r in found if r.bound_db is not None]
    return Qsnr(
        title, data, vectors, max(r.length for r in found), decibels(mean),
        min(r.worst_db for r in found), min(bounds) if bounds else None,
        max(r.max_error or 0.0 for r in found), sum(r.vectors * (r.cosine or 0.0) for r in found) / vectors,
    )  # fmt: skip


def by_class(results: Sequence[Qsnr]) -> list[Qsnr]:
    """Results of `qsnr_of_arrays` pooled by class: names that differ in numbers alone, `layers.*.q_proj.weight`."""
    groups: dict[tuple[str, str], list[Qsnr]] = {}
    for r in results:
        name = re.sub(r"\d+", "*", r.data) if r.data != "all" else "all"
        groups.setdefault((name, r.format), []).append(r)
    return [pooled(form, name, found) for (name, form), found in groups.items()]


def class_text(results: Sequence[Qsnr]) -> str:
    """A table of classes: QSNR, the worst vector, the largest error, the cosine."""
    head = ["class", "format", "vectors", "QSNR, dB", "worst, dB", "max error", "cosine"]
    lines = [
        [r.data, r.format, str(r.vectors), f"{r.db:.2f}", f"{r.worst_db:.2f}", f"{r.max_error or 0.0:.4f}",
         f"{r.cosine or 0.0:.6f}"]
        for r in results
    ]  # fmt: skip
    return table(head, lines, left=2)


def bdr_bound(form: BdrFormat, length: int | None = None) -> float:
    """Least QSNR in dB of any vector of `length` values whose exponents are not clamped; None: of long ones.

    source: arXiv 2302.08007, Theorem 1, with b = 2^d2 - 1.
    """
    n = form.k1 if length is None else min(length, form.k1)
    most = 4 ** ((1 << form.d2) - 1)
    return 20 * math.log10(2) * form.m + 10 * math.log10(most / (n + (most - 1) * form.k2))


def qsnr_text(results: Sequence[Qsnr]) -> str:
    """A table in dB: one row per format, one column per collection of vectors; the bound last where there is one.

    More than six collections (tensors of a file) become rows, and formats columns.
    """
    names = list(dict.fromkeys(r.format for r in results))
    data = list(dict.fromkeys(r.data for r in results))
    bounds = {r.format: f">= {r.bound_db:.2f}" for r in results if r.bound_db is not None}
    shown = {(r.format, r.data): f"{r.db:.2f}" for r in results}
    lines = [["QSNR, dB", *(DISTRIBUTIONS.get(d, d) for d in data)]]
    lines += [[name, *(shown.get((name, d), "-") for d in data)] for name in names]
    if bounds:
        last = ["bound", *(bounds.get(name, "") for name in names)]
        lines = [[*line, bound] for line, bound in zip(lines, last, strict=True)]
    if len(data) > 6:
        lines = [list(column) for column in zip(*lines, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        text.append("  ".join([line[0].ljust(widths[0]), *cells[1:]]))
    most = {d: max(r.vectors for r in results if r.data == d) for d in data}
    fewer = {r.format: r.vectors for r in results if r.vectors < most[r.data]}
    text += [f"{name}: the first {vectors} vectors" for name, vectors in fewer.items()]
    return "\n".join(line.rstrip() for line in text)
