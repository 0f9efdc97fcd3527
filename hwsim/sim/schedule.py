"""The order in which a pipeline's stages compute their micro-batches: one forward, one backward, interleaved or not.

Source: Narayanan et al., arXiv 2104.04473, sections 2.2 (1F1B, interleaved stages); warm-up of stage r of p, v chunks:
p - r - 1 passes, interleaved 2 (p - r - 1) + (v - 1) p, at most all.
"""

from __future__ import annotations

from typing import NamedTuple


class Turn(NamedTuple):
    """One pass of one chunk (counted over the whole model) over one micro-batch."""

    forward: bool
    chunk: int
    micro: int


def order(stage: int, stages: int, chunks: int, micro_batches: int) -> list[Turn]:
    """The passes of one stage in order. chunks: per stage; more than one need micro-batches in multiples of stages."""
    total = chunks * micro_batches
    warm = stages - stage - 1 if chunks == 1 else 2 * (stages - stage - 1) + (chunks - 1) * stages
    warm = min(warm, total)

    def turn(number: int, forward: bool) -> Turn:
        if chunks == 1:
            return Turn(forward, stage, number)
        round_, place = divmod(number, stages * chunks)
        chunk, micro = divmod(place, stages)
        chunk = chunk if forward else chunks - 1 - chunk
        return Turn(forward, chunk * stages + stage, round_ * stages + micro)

    found = [turn(i, True) for i in range(warm)]
    for i in range(total - warm):
        found += [turn(warm + i, True), turn(i, False)]
    return found + [turn(i, False) for i in range(total - warm, total)]
