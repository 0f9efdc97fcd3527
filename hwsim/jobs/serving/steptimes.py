"""How long a pass takes: a sum of parts, each a function of few numbers, in whole ticks.

    pass = matrices(tokens) + head(sequences) + decode attention(sequences, context)
         + prompt attention(chunks) + software

Decode attention is a straight line in the sum of all contexts between knots, so passes that only decode are summed in
closed form, equal to the tick to adding them one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from hwsim.jobs.serving.curve import Cell
from hwsim.jobs.serving.requests import ticks


class Line(NamedTuple):
    """Ticks of a pass that only decodes: base + slope x (sum of contexts), for sums from `start` to below `limit`."""

    base: int
    slope: int
    start: int
    limit: int


class StepTimes(ABC):
    """Durations of passes. graphs: sizes that passes pad to; mixed_graphs: whether passes with prompts do too."""

    def __init__(self, graphs: Sequence[int] = (), mixed_graphs: bool = True):
        self.graphs, self.mixed_graphs = tuple(graphs), mixed_graphs
        self._lines: dict[tuple[int, int], Line] = {}

    @abstractmethod
    def matrices(self, tokens: int) -> float:
        """Seconds of all that is computed per token."""

    @abstractmethod
    def head(self, sequences: int) -> float:
        """Seconds of the head."""

    @abstractmethod
    def attention(self, sequences: int, context: float, mixed: bool) -> Cell:
        """The line, over mean contexts, of what decode steps compute apart from each other; seconds."""

    @abstractmethod
    def prompts(self, chunks: Sequence[tuple[int, int]]) -> float:
        """Seconds of what chunks, as (tokens, tokens computed before), compute apart from the others."""

    @abstractmethod
    def software(self, sequences: int, chunks: int) -> float:
        """Seconds that no device hides."""

    def padded(self, tokens: int, prompts: bool) -> int:
        """Tokens that are computed for so many."""
        if prompts and not self.mixed_graphs:
            return tokens
        at = bisect_left(self.graphs, tokens)
        return self.graphs[at] if at < len(self.graphs) else tokens

    def decode(self, sequences: int, contexts: int, new: int = 1) -> Line:
        """A pass in which each of `sequences` adds `new` tokens; `contexts`: the sum of what they have cached."""
        line = self._lines.get((sequences, new))
        if line is not None and line.start <= contexts < line.limit:
            return line
        cell = self.attention(sequences, contexts / sequences, False)
        whole = self.matrices(self.padded(sequences * new, False)) + self.head(sequences * new)
        whole += self.software(sequences, 0) + cell.at_low - cell.slope * cell.low
        line = Line(ticks(whole), ticks(cell.slope / sequences), cell.low * sequences, cell.high * sequences)
        self._lines[sequences, new] = line
        return line

    def mixed(self, sequences: int, contexts: int, chunks: Sequence[tuple[int, int]], new: int = 1) -> int:
        """Ticks of a pass with chunks of prompts and `sequences` decode steps."""
        tokens = sequences * new + sum(chunk for chunk, _ in chunks)
        found = self.matrices(self.padded(tokens, True)) + self.head(sequences * new + len(chunks))
        found += self.prompts(chunks) + self.software(sequences, len(chunks))
        if sequences:
            context = contexts / sequences
            found += self.attention(sequences, context, True).at(context)
        return ticks(found)
