"""The pair of formats that a machine multiplies for a pair that it lacks, the server in between, and what is lost.

Of the pairs that the machine lists, one that holds every value of both formats; where none does, the format of the
activations or the machine's wide one, and the note says what does not fit.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from hwsim.arch.machine import TileMachine
from hwsim.errors import InputError
from hwsim.formats.exactness import loss
from hwsim.formats.layout import Layout
from hwsim.mapping.program import DEQUANTISE, REGENERATE

WIDE = ("bf16", "fp16", "int8")
#: Formats that nothing quantised: on their way to another one they are converted.
_FLOATS = ("fp32", "bf16", "fp16")

#: All that bf16 and fp32 lose of block formats with fewer bits: numbers that the least scales of blocks put below them.
_UNDERFLOW = ("below 2^-133", "below 2^-149")


class FormatPath(NamedTuple):
    """From stored weights to the dot array: the pair multiplied there, the server in between and its rate."""

    pair: tuple[str, str] | None = None
    converter: int | None = None
    converter_rate: Fraction | None = None
    note: str = ""


def wide(arch: TileMachine) -> str:
    """The machine's wide activation format: the first of bf16, fp16, int8 that it lists."""
    listed = [r.activations for r in arch.dot.rates]
    return next((f for f in WIDE if f in listed), listed[0])


def pairs_text(arch: TileMachine) -> str:
    """The end of an error: the pairs that the machine has a rate for."""
    return "; it lists " + ", ".join(f"{r.weights} x {r.activations}" for r in arch.dot.rates)


def path_of(arch: TileMachine, weights: Layout, activations: Layout) -> FormatPath:
    """The path of weights in one format to activations in another. raises: InputError if there is none."""
    stored, acts = weights.name, activations.name
    if weights.kind == "seed":
        unit = arch.regenerate
        if unit is None:
            raise InputError(f"{arch.name}: {stored} needs a `regenerate` server, which this machine lacks")
        pair = (stored, acts) if arch.dot.rate(stored, acts) else (unit.feeds, acts)
        if arch.dot.rate(*pair) is None:
            beside = [r.activations for r in arch.dot.rates if r.weights == unit.feeds]
            hint = f"write activations {' or '.join(beside)}, or" if beside else "write"
            raise InputError(
                f"{arch.name}: weights {stored} are regenerated to {unit.feeds} (`regenerate.feeds`), and there is no "
                f"dot rate for {unit.feeds} x {acts}; {hint} another `regenerate.feeds`{pairs_text(arch)}"
            )
        return FormatPath(pair, REGENERATE, unit.blocks_per_cycle, f"{stored} regenerated to {unit.feeds} x {acts}")
    if arch.dot.rate(stored, acts) is not None:
        return FormatPath((stored, acts))
    pair, lost = _widened(arch, weights, activations) or _approximate(arch, weights, activations)
    if arch.dequantise is None:
        raise InputError(f"{arch.name}: no dot rate for {stored} x {acts} and no `dequantise` server{pairs_text(arch)}")
    how = how_exact(lost)
    if pair[0] == stored:
        note = f"activations {acts} converted to {pair[1]} for {stored} weights ({how}); it takes no time here"
        return FormatPath(pair, note=note)
    verb = "converted" if weights.name in _FLOATS else "dequantised"
    note = f"{stored} x {acts} {verb} to {' x '.join(pair)} ({how})"
    return FormatPath(pair, DEQUANTISE, arch.dequantise.weights_per_cycle, note)


@lru_cache(maxsize=1024)
def converted(source: Layout, target: Layout) -> str:
    """What values of one format lose in another, for a reader; "" where it holds them all."""
    found = target.by_rows()
    return lost_text(loss(source, found), source, found)


def how_exact(lost: str) -> str:
    """`exact`, or what is lost, as `converted` gives it."""
    if not lost:
        return "exact"
    return f"exact but for numbers {lost}" if lost in _UNDERFLOW else f"not exact: {lost}"


def cache_pair(arch: TileMachine, cache: Layout, pair: tuple[str, str]) -> tuple[str, str]:
    """The pair that attention multiplies, where that of the activations is `pair`.

    That, but for a cache that it does not hold: then the pair of the cache's own format, if the machine lists it. A
    library's attention kernels (`cores:`) convert caches themselves.
    """
    if arch.cores or cache.name in pair or not arch.dot.rate(cache.name, cache.name):
        return pair
    lost = converted(cache, arch.dot.form(pair[1]))
    return (cache.name, cache.name) if lost and lost not in _UNDERFLOW else pair


def _widened(arch: TileMachine, weights: Layout, activations: Layout) -> tuple[tuple[str, str], str] | None:
    """The listed pair that holds both formats, and what is lost all the same: nothing, or an underflow.

    Of several the fastest; of equally fast ones that which loses nothing, then that which leaves the activations as
    they are, then the weights, then the first in the file.
    """
    stored, acts, found = weights.name, activations.name, []
    for r in arch.dot.rates:
        lost = _lost(weights, activations, arch.dot.form(r.weights), arch.dot.form(r.activations))
        if not lost or lost in _UNDERFLOW:
            found.append(((r.macs_per_cycle, not lost, r.activations == acts, r.weights == stored), r, lost))
    if not found:
        return None
    _, best, lost = max(found, key=lambda each: each[0])
    return (best.weights, best.activations), lost


def _approximate(arch: TileMachine, weights: Layout, activations: Layout) -> tuple[tuple[str, str], str]:
    """Both in the format of the activations, where that is listed, else in the wide one; and what is lost.

    raises: InputError if neither is listed.
    """
    stored, acts = weights.name, activations.name
    target = next((f for f in (acts, wide(arch)) if arch.dot.rate(f, f)), None)
    if target is None:
        raise InputError(
            f"{arch.name}: no dot rate for {stored} x {acts} and no pair to dequantise to{pairs_text(arch)}"
        )
    form = arch.dot.form(target)
    return (target, target), _lost(weights, activations, form, form)


@lru_cache(maxsize=1024)  # the points of a study ask for the same pairs again and again
def _lost(weights: Layout, activations: Layout, to_weights: Layout, to_activations: Layout) -> str:
    """What of a pair of formats another one does not hold, an underflow last; "" where nothing is lost."""
    pairs = (weights, to_weights), (activations, to_activations.by_rows())
    lost = [lost_text(loss(source, target), source, target) for source, target in pairs]
    return max(lost, key=lambda what: (bool(what), what not in _UNDERFLOW))


def lost_text(lost: str, source: Layout, target: Layout) -> str:
    """What `loss` gives, for a reader: the bounds of numbers and of scales that do not fit, and significant bits.

    Elements of a target with blocks have no bounds of their own, because its scales move them; what does not fit is the
    range of a block.
    """
    if lost in _UNDERFLOW:
        return lost
    said: list[str] = []
    beyond: dict[str, list[str]] = {}
    for part in lost.split(" and "):
        what, bound = ("scales", part.removeprefix("scales ")) if part.startswith("scales ") else ("numbers", part)
        if not bound.startswith(("below", "above")):
            said.append(part)
        elif what == "scales" or target.block == 1:
            beyond.setdefault(what, []).append(bound)
        else:
            said.append(f"a block of {target.name} cannot hold both the least and the largest element of {source.name}")
    said += [f"{what} {' or '.join(bounds)} do not fit" for what, bounds in beyond.items()]
    return "; ".join(said)
