"""Block: what one chip computes of one layer of a training step, and what it exchanges with other chips meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from hwsim.workload.training.sites import Site

#: Classes of weights that are divided over ep.
EXPERTS = "experts"


class Collective(NamedTuple):
    """A collective of one pass over one micro-batch.

    kind: as `arch.link` names them, or `ring`: a vector is passed on by each chip but one. group: the degree whose
    chips take part. elements: of the whole vector, 16 bits each. beside: the op that it runs at the same time as ("":
    none; `attention`: all cores of the layer). kind `exchange`: an all-to-all of tokens and experts in which elements
    are of one copy per token, which goes once to each chip that has one of its `picks`: (experts, chosen per token).
    hidden: another micro-batch is computed meanwhile.
    """

    kind: str
    group: str
    elements: int
    forward: bool
    beside: str = ""
    picks: tuple[int, int] = (0, 0)
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Bag:
    """Pooled tables of embeddings, and what one chip of `chips` that divide them whole reads of them.

    rows, hot:    by table, its rows and the indices per sample. width: elements of a row.
    distribution: of the indices (`op.DISTRIBUTIONS`). samples: of a micro-batch on one chip.
    """

    name: str
    layer: int
    rows: tuple[int, ...]
    hot: tuple[int, ...]
    width: int
    distribution: str
    samples: int
    chips: int = 1

    @property
    def indices(self) -> int:
        """Rows that a chip reads per micro-batch: of its own tables, for the samples of all chips."""
        return self.samples * sum(self.hot)

    @property
    def held(self) -> int:
        """Rows in the memory of a chip."""
        return -(-sum(self.rows) // self.chips)


@dataclass(frozen=True)
class Block:
    """One layer, or the embedding, or the head with its loss, on one chip.

    held: (weight class, elements) in the memory of the chip. hidden: width between layers; of a graph, the elements per
    sample that other layers hand to this one. bags: pooled tables, which are updated row by row.
    """

    item: int
    hidden: int
    sites: tuple[Site, ...]
    collectives: tuple[Collective, ...]
    held: tuple[tuple[str, int], ...]
    bags: tuple[Bag, ...] = ()

    @property
    def dense(self) -> int:
        """Weights that every chip of a tensor-parallel rank has."""
        return sum(n for name, n in self.held if name != EXPERTS)

    @property
    def experts(self) -> int:
        """Weights of the experts on this chip."""
        return sum(n for name, n in self.held if name == EXPERTS)
