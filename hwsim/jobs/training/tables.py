"""Pooled tables in a training step: the gradient of the rows that a micro-batch reads, and row-wise Adagrad.

Indices are sorted over all tables, gradients of equal indices are added up, and one row of gradient per row that was
read is written in FP32. Once per step row-wise Adagrad reads that gradient, the row and its state, one FP32 number per
row, and writes row and state: 3 rows and 8 bytes per row that was read (FBGEMM's exact row-wise Adagrad, on which
TorchRec trains DLRM). Tables and their gradients are FP32. How many rows are read at least once is expected, from the
distribution of the indices.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import expm1, floor, log1p

from hwsim.formats.names import layout
from hwsim.jobs.training.work import BACKWARD, OPTIMISER, Work
from hwsim.mapping.popular import shares
from hwsim.workload.graph.ordering import compares
from hwsim.workload.op import Irregular, Op, Sorting
from hwsim.workload.training.block import Bag

#: Bytes of an element of a table, of its gradient, and of the state of a row.
ELEMENT_BYTES = GRADIENT_BYTES = STATE_BYTES = 4
#: Passes per element: square and sum of the gradient; times the rate, subtracted. Per row: mean, added to the state,
#: square root, plus epsilon, reciprocal.
ELEMENT_PASSES, ROW_PASSES = 4, 5

SINGLE = layout("fp32")


@lru_cache(maxsize=1024)
def distinct(rows: int, draws: int, distribution: str) -> float:
    """Expected number of rows of a table that `draws` independent indices name at least once: sum of 1 - (1 - p)^n."""
    if distribution == "sequential":
        return float(min(rows, draws))
    return sum(
        many * (-expm1(draws * log1p(-share)) if share < 1 else 1.0) for many, share in shares(rows, distribution)
    )


def touched(bag: Bag, micro_batches: int = 1) -> int:
    """Rows of one chip's tables that so many micro-batches read at least once, rounded half up."""
    draws = bag.samples * bag.chips * micro_batches
    whole = sum(distinct(rows, draws * hot, bag.distribution) for rows, hot in zip(bag.rows, bag.hot, strict=True))
    return floor(whole / bag.chips + 0.5)


def memory(bag: Bag, micro_batches: int) -> tuple[int, int, int]:
    """(tables, gradients, state) in bytes of one chip."""
    gradients = micro_batches * touched(bag) * bag.width * GRADIENT_BYTES
    return bag.held * bag.width * ELEMENT_BYTES, gradients, bag.held * STATE_BYTES


def gradient(bag: Bag) -> Iterator[Work]:
    """Per micro-batch: indices sorted, gradients of the pooled rows gathered in their order and added up."""
    n, pooled = bag.indices, bag.samples * len(bag.rows)
    passes = compares(n)
    order = Op(
        f"{bag.name}_sort",
        "sort",
        bag.layer,
        vector=passes,
        inputs=4 * n,  # 8 bytes per index
        outputs=4 * n,
        sorting=Sorting(1, n, n, passes),
    )
    yield Work("embedding", BACKWARD, order)
    gathered = Irregular(n, bag.width, False, "uniform", pooled)
    written = touched(bag) * bag.width * GRADIENT_BYTES // 2  # in elements of 16 bits
    rows = n * bag.width
    sums = Op(
        f"{bag.name}_gradient", "segment", bag.layer, vector=rows, inputs=rows, outputs=written, irregular=gathered
    )
    yield Work("embedding", BACKWARD, sums)


def update(bag: Bag, micro_batches: int) -> Iterator[Work]:
    """Once per step: row-wise Adagrad on the rows that were read."""
    rows = touched(bag, micro_batches)
    gradients = micro_batches * touched(bag) * bag.width * GRADIENT_BYTES // 2
    vector = rows * (ELEMENT_PASSES * bag.width + ROW_PASSES)
    yield Work("optimiser", OPTIMISER, _rows(f"{bag.name}_adagrad", bag, rows, bag.width, vector, gradients), SINGLE)
    yield Work("optimiser", OPTIMISER, _rows(f"{bag.name}_adagrad_state", bag, rows, 1, 0, 0), SINGLE)


def _rows(name: str, bag: Bag, rows: int, width: int, vector: int, inputs: int) -> Op:
    """Rows that are read and written where they are, each by itself."""
    both = Irregular(2 * rows, width, True, "uniform", bag.held)
    return Op(name, "embedding", bag.layer, "embedding", vector=vector, inputs=inputs, irregular=both)
