"""Indices that the edges of a graph give, in the order of its file: `from(FILE)` and `to(FILE)`.

FILE: NPZ, or a folder in TUDataset's text format, as `hwsim graph` reads; of several graphs, the edges of all in turn.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from pydantic import Field

from hwsim.errors import InputError
from hwsim.workload.graph.tensor import Misfit

#: A distribution of indices of an op on activations.
Drawn = Annotated[
    str, Field(pattern=r"^(sequential|uniform|zipf\([0-9.]+\)|local\([0-9.]+\)|from\(.{1,400}\)|to\(.{1,400}\))$")
]


def of_edges(distribution: str) -> bool:
    """Whether indices are those of a file's edges."""
    return distribution.startswith(("from(", "to("))


@lru_cache(maxsize=8)
def edge_indices(distribution: str) -> tuple[int, ...]:
    """The nodes from which, or to which, the edges of the file go. raises: InputError if it cannot be read."""
    from hwsim.workload.graph.data import read_graphs  # imports numpy

    end, _, path = distribution[:-1].partition("(")
    row = ("from", "to").index(end)
    return tuple(int(node) for graph in read_graphs(path) for node in graph.edges[row])


def checked(distribution: str, rows: int) -> str:
    """The distribution itself. raises: Misfit if its file cannot be read, has no edges, or names a row beyond them."""
    if not of_edges(distribution):
        return distribution
    try:
        found = edge_indices(distribution)
    except InputError as error:
        raise Misfit("distribution", "; ".join(error.problems)) from None
    if not found:
        raise Misfit("distribution", "the file has no edges; write `uniform`")
    if max(found) >= rows:
        raise Misfit(
            "distribution", f"names node {max(found)} of a tensor of {rows:,} rows; write {max(found) + 1} rows"
        )
    return distribution
