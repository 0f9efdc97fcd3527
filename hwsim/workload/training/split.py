"""Which layers a pipeline's chunks compute."""

from __future__ import annotations

from typing import NamedTuple

#: Items of a chunk that are no layers.
EMBEDDING, HEAD = -1, -2


class Split(NamedTuple):
    """chunks: items of each, in order of the model, layers by number; chunk i is on stage i mod pp. note: or ""."""

    chunks: tuple[tuple[int, ...], ...]
    note: str = ""


def split(layers: int, chunks: int) -> Split:
    """Divide a model over `chunks`, of at most `layers` + 2.

    The layers evenly where they divide; else layers, embedding and head (with the loss), which count as one layer
    each, evenly; else as the second, and the first chunks take one item more.
    """
    if layers % chunks == 0:
        each = layers // chunks
        found = [tuple(range(i * each, (i + 1) * each)) for i in range(chunks)]
        found[0] = (EMBEDDING, *found[0])
        found[-1] = (*found[-1], HEAD)
        return Split(tuple(found))
    items = (EMBEDDING, *range(layers), HEAD)
    each, more = divmod(len(items), chunks)
    cuts, at = [], 0
    for i in range(chunks):
        size = each + (i < more)
        cuts.append(items[at : at + size])
        at += size
    note = f"{layers} layers with embedding and head do not divide into {chunks} stages; the first {more} take one more"
    return Split(tuple(cuts), note if more else "")
