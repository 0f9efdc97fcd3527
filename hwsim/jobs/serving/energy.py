"""Energy of a run under load, what the parts of its passes spend, by `cost`; and how its times are known.

Bytes and operations of a part are nearly straight lines in its tokens, sequences and contexts, with none of the steps
that times have. So a run is counted on a coarse grid: how often each part counts at each of few knots, which alone are
worked out. Static power counts over the whole run, idle time included.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from hwsim.jobs.serving.replica import Passes, Replica
from hwsim.jobs.serving.simulated import Knot, Simulated
from hwsim.mapping.gpu.kernels import MARKS
from hwsim.result import Term

#: Knots of each number: 0, and powers of two, with one, two or four per octave.
OCTAVES = 31


def _knots(per_octave: int) -> list[int]:
    return [0, *sorted({round(2 ** (i / per_octave)) for i in range(OCTAVES * per_octave)})]


_COARSE, _MIDDLE, _FINE = map(_knots, (1, 2, 4))


def _around(x: float, knots: list[int]) -> list[tuple[int, float]]:
    """The knots next to x, each with its share."""
    at = bisect_right(knots, x) - 1
    low, high = knots[at], knots[at + 1]
    share = (x - low) / (high - low)
    return [(low, 1 - share), (high, share)] if share else [(low, 1.0)]


def spent(steps: Simulated, replicas: Sequence[Replica], chips: int, seconds: float, tokens: int) -> tuple[Term, ...]:
    """Joules per token on all chips, term by term as in `cost`, of a run of `seconds` that made so many tokens."""
    found: dict[str, Term] = {}
    for knot, times in _often(steps, replicas).items():
        for term in steps.terms(knot):
            sofar = found.get(term.name, Term(term.name, 0.0, term.source)).value
            known = None if sofar is None or term.value is None else sofar + times * term.value
            found[term.name] = Term(term.name, known, term.source)
    static = steps.static(seconds * len(replicas))
    found[static.name] = static
    scale = chips / tokens
    return tuple(Term(t.name, t.value and t.value * scale, t.source) for t in found.values())


def provenance(steps: Simulated, replicas: Sequence[Replica]) -> dict[str, float]:
    """Shares of the device's time by how it is known, as in a `Result`; the software's time is none of it."""
    if steps.arch.cores is None:
        return {mark: float(mark == "ideal") for mark in MARKS}
    found = dict.fromkeys(MARKS, 0.0)
    for knot, times in _often(steps, replicas).items():
        for mark, seconds in steps.known(knot).items():
            found[mark] += times * seconds
    whole = sum(found.values())
    return {mark: seconds / whole for mark, seconds in found.items()} if whole else {}


def _often(steps: Simulated, replicas: Sequence[Replica]) -> dict[Knot, float]:
    """How often each part counts at each knot over a run."""
    often: dict[Knot, float] = {}
    for one in replicas:
        for passes in one.log.passes:
            for knot, times in _counted(steps, passes):
                often[knot] = often.get(knot, 0.0) + times
    return often


def _counted(steps: Simulated, passes: Passes) -> Iterable[tuple[Knot, float]]:
    """Parts of a pass, or of passes that only decode, at knots, each with how often it counts."""
    n, decodes, chunks, new = passes.count, passes.decodes, passes.chunks, steps.new
    tokens = steps.padded(decodes * new + sum(chunk for chunk, _ in chunks), bool(chunks))
    for knot, share in _around(tokens, _FINE):
        yield ("matrices", knot), n * share
    for knot, share in _around(decodes * new + len(chunks), _MIDDLE):
        yield ("head", knot), n * share
    if decodes:
        context = passes.contexts / decodes + (n - 1) / 2
        for sequences, one in _around(decodes, _COARSE):
            for knot, other in _around(context, _COARSE):
                yield ("decode", sequences, False, knot), n * one * other
            if new > 1:
                yield ("draft", sequences), n * one * (new - 1)
    for chunk, done in chunks:
        for knot, one in _around(chunk, _MIDDLE):
            for before, other in _around(done, _COARSE):
                yield ("prompt", before, knot), one * other
