"""When requests come and how long they are, where no trace says so: gaps and lengths drawn by a seeded generator."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from math import log, sqrt
from pathlib import Path
from random import Random

from hwsim.errors import InputError
from hwsim.jobs.serving.requests import Request, ticks
from hwsim.jobs.serving.traces import Trace, read_trace

_UNITS = {"s": 1, "min": 60, "h": 3600}


def read_rate(text: str) -> float:
    """`8/s`, `30/min` in requests per second. raises: InputError."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?/ ?(s|min|h)", text.strip())
    if not match or float(match[1]) <= 0:
        raise InputError(
            f"--rate: {text!r} is not a rate; write a number above 0 and its unit, for example 8/s or 30/min"
        )
    return float(match[1]) / _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class Gaps:
    """Gaps between arrivals: gamma of shape `burstiness` (1: Poisson); None: all alike; 0: all at once."""

    name: str
    burstiness: float | None

    @classmethod
    def of(cls, text: str) -> Gaps:
        """`poisson`, `gamma(0.5)`, `constant`, `at-once`. raises: InputError."""
        known = {"poisson": 1.0, "constant": None, "at-once": 0.0}
        if text in known:
            return cls(text, known[text])
        match = re.fullmatch(r"gamma\(([0-9]{1,6}(?:\.[0-9]{1,6})?)\)", text)
        if not match or not float(match[1]):
            raise InputError(f"--arrivals: unknown {text!r}; expected poisson, gamma(0.5), constant or at-once")
        return cls(text, float(match[1]))

    def draw(self, random: Random, rate: float) -> float:
        """Seconds to the next arrival."""
        if self.burstiness is None:
            return 1 / rate
        if self.burstiness == 0:
            return 0.0
        return random.gammavariate(self.burstiness, 1 / (rate * self.burstiness))


def _length(text: str) -> Callable[[Random], int]:
    """`1024`, `512..2048` (uniform), `lognormal(1024,0.8)` (mean, standard deviation over it). raises: InputError."""
    text = text.strip()
    if re.fullmatch("[1-9][0-9]{0,8}", text):
        whole = int(text)
        return lambda random: whole
    if match := re.fullmatch(r"([1-9][0-9]{0,8})\.\.([1-9][0-9]{0,8})", text):
        low, high = int(match[1]), int(match[2])
        if low <= high:
            return lambda random: random.randint(low, high)
    if match := re.fullmatch(r"lognormal\(([1-9][0-9]{0,8}), ?([0-9]{1,4}(?:\.[0-9]{1,6})?)\)", text):
        mean, spread = int(match[1]), float(match[2])
        sigma = sqrt(log(1 + spread * spread))
        return lambda random: max(1, round(random.lognormvariate(log(mean) - sigma * sigma / 2, sigma)))
    raise InputError(f"--lengths: {text!r} is not a length; write 1024, 512..2048 or lognormal(1024,0.8)")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of requests: of a file, in its order and again from its start; or drawn, prompt and answer apart."""

    name: str
    trace: Trace | None = None
    draw: tuple[Callable[[Random], int], Callable[[Random], int]] | None = None

    @classmethod
    def of(cls, text: str) -> Lengths:
        """A file's path, or IN/OUT. raises: InputError."""
        if text.endswith((".csv", ".jsonl")):
            return cls(text, read_trace(Path(text), lengths=True))
        prompt, slash, answer = text.partition("/")
        if not slash:
            raise InputError(
                f"--lengths: {text!r} is no file and no pair; write IN/OUT, for example 1024/256, or a CSV"
            )
        return cls(text, draw=(_length(prompt), _length(answer)))

    def requests(self, count: int, gaps: Gaps, rate: float, seed: int, size: int) -> list[Request]:
        """`count` requests; times and lengths are drawn apart, so that another rate keeps the lengths."""
        times, lengths = Random(f"{seed} arrivals"), Random(f"{seed} lengths")
        found, now = [], 0.0
        rows = islice(cycle(self.trace.rows), count) if self.trace else [None] * count
        for i, row in enumerate(rows):
            if row is not None and self.trace is not None:
                sizes, keys = (row.input_tokens, row.output_tokens), self.trace.keys(row, size)
            else:
                assert self.draw is not None, "lengths come from a file or are drawn"
                sizes, keys = (self.draw[0](lengths), self.draw[1](lengths)), ()
            found.append(Request(i, ticks(now), *sizes, keys))
            now += gaps.draw(times, rate)
        return found


def scaled(rate: float) -> Fraction:
    """A rate as an exact fraction, for tables."""
    return Fraction(rate).limit_denominator(10**6)
