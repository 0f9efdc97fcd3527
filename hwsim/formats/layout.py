"""The packed form of a number format: bits, blocks, records and bytes, without any value.

Standard library only: the simulator counts bytes with this module and never imports numpy.
Which formats exist is the table in `names`; formats of a file or an inline mapping are in `families`.
Source: the design's section 3 (packed layout); OCP Microscaling Formats (MX) v1.0 for block 32 and E8M0;
arXiv 2302.08007 for BDR; arXiv 2410.10714 for the seed formats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

from hwsim.errors import InputError

Activations = Literal["same", "listed", "wide"]
Definition = tuple[tuple[str, str | int], ...]
"""The keys and values that define a custom format, in the order in which a file would list them."""


@dataclass(frozen=True)
class Layout:
    """The packed form of one format; hashable, and equal layouts are equal formats.

    A row of k values is ceil(k / block) whole records (a partial block is stored whole), preceded by the row
    scale where there is one, and ends on a byte; the tensor scale follows the last row. Where a scale belongs to a
    tile of `tile_rows` rows, a row is its k elements alone, without padding, and the scales of the tiles follow the
    last row: ceil(n / tile_rows) x ceil(k / block) of them per matrix of n rows.

    name: canonical name, or the name that a custom format gives itself.
    kind: "dense" (every value by itself), "block" (elements share a scale) or "seed" (blocks are regenerated).
    element: name of the element; "SMm" is sign-magnitude with m magnitude bits (BDR).
    block: values in one record; 1 when dense, C for a seed format.
    element_bits: stored bits of one value; 0 for a seed format, whose values are not stored.
    scale_bits: stored bits per block besides its elements: scale, BDR sub-block shifts, a seed block's exponent;
        with `tile_rows` the bits of a tile's scale.
    record_bits: stored bits of one block in its row: scale_bits + block * element_bits; for seeds K + 4 + 4P; with
        `tile_rows` block * element_bits.
    row_scale_bytes, tensor_scale_bytes: bytes at the start of each row, and after the last one.
    tile_rows: rows that share the scale of a block; 0: scales are in the records.
    activations: the format of the activations that weights in this format meet, where a run names none. "same": this
        format; "listed": this format on a machine that lists a rate for the pair (this format, this format), else the
        machine's wide format (bf16, fp16 or int8); "wide": always the machine's wide format.
    definition: of a format that is not in the table of `names`: the keys and values of its YAML file; else empty.
    """

    name: str
    kind: Literal["dense", "block", "seed"]
    element: str
    block: int
    element_bits: int
    scale_bits: int
    record_bits: int
    row_scale_bytes: int = 0
    tensor_scale_bytes: int = 0
    tile_rows: int = field(default=0, kw_only=True)
    activations: Activations = field(kw_only=True)
    definition: Definition = field(default=(), kw_only=True)

    def __hash__(self) -> int:
        # Layouts are parts of memo keys in the simulator: a string remembers its hash, a tuple of fields does not.
        return hash(self.name)

    @cached_property
    def bits_per_value(self) -> Fraction:
        """Stored bits per value, without row and tensor scales and without padding; whole tiles."""
        bits = Fraction(self.record_bits, self.block)
        return bits + Fraction(self.scale_bits, self.block * self.tile_rows) if self.tile_rows else bits

    def row_nbytes(self, k: int) -> int:
        """Bytes of one row of `k` values, stored by itself: with all the scales that it needs."""
        return self.matrix_nbytes(1, k)

    def codes_nbytes(self, k: int) -> int:
        """Bytes of one row of `k` values between other rows: without the scales of tiles, which follow the rows."""
        if self.tile_rows:
            return -(-k * self.element_bits // 8)
        records = -(-k // self.block)
        return self.row_scale_bytes + -(-records * self.record_bits // 8)

    def scales_nbytes(self, k: int) -> int:
        """Bytes of the scales of one row of tiles, `k` values long; 0 where scales are in the records."""
        return -(-k // self.block) * (self.scale_bits // 8) if self.tile_rows else 0

    def matrix_nbytes(self, n: int, k: int) -> int:
        """Bytes of a matrix of `n` rows of `k` values, without the tensor scale.

        Exact for whole matrices, and for n rows of one that begin at the edge of a tile or lie inside one.
        """
        rows = n * self.codes_nbytes(k)
        return rows + -(-n // self.tile_rows) * self.scales_nbytes(k) if self.tile_rows else rows

    def nbytes(self, rows: int, k: int) -> int:
        """Bytes of a matrix of `rows` rows of `k` values, with the tensor scale."""
        return self.matrix_nbytes(rows, k) + self.tensor_scale_bytes

    def array_nbytes(self, shape: Sequence[int]) -> int:
        """Bytes of an array of matrices, blocks along its last axis, with the tensor scale: no tile crosses matrices.

        shape: at least one axis; a vector is a matrix of one row.
        """
        *stack, n, k = (1, *shape)
        return math.prod(stack) * self.matrix_nbytes(n, k) + self.tensor_scale_bytes

    def by_rows(self) -> Layout:
        """The layout that activations and caches in this format have: no scale is shared between rows (tokens)."""
        return replace(self, tile_rows=1) if self.tile_rows > 1 else self

    def resolved(self) -> str | dict[str, str | int]:
        """The format as plain data, for a config or a report: its name, or a custom format's whole definition.

        `hwsim.formats.names.layout` gives an equal Layout for it.
        """
        return dict(self.definition) or self.name


def dense_layout(name: str, element: str, bits: int, *, row: int = 0, tensor: int = 0) -> Layout:
    """Values without a block scale; `row` and `tensor` are the bytes of a row's and a tensor's scale."""
    return Layout(name, "dense", element, 1, bits, 0, bits, row, tensor, activations="same")


def block_layout(
    name: str,
    element: str,
    bits: int,
    block: int,
    scale_bits: int,
    *,
    tensor: int = 0,
    activations: Activations = "listed",
    definition: Definition = (),
) -> Layout:
    """`block` elements of `bits` bits after one scale of `scale_bits`; `tensor` bytes of tensor scale."""
    record_bits = scale_bits + block * bits
    return Layout(
        name, "block", element, block, bits, scale_bits, record_bits, 0, tensor,
        activations=activations, definition=definition,
    )  # fmt: skip


def tile_layout(name: str, element: str, bits: int, block: int, scale_bits: int, rows: int) -> Layout:
    """Elements of `bits` bits; `rows` x `block` of them share a scale of `scale_bits` bits, stored after the rows."""
    return Layout(name, "block", element, block, bits, scale_bits, block * bits, tile_rows=rows, activations="listed")


def bdr_layout(name: str, m: int, k1: int, d1: int, k2: int, d2: int, *, definition: Definition = ()) -> Layout:
    """Block data representation: a d1-bit scale per k1 elements, a d2-bit shift per k2, a sign and m bits each."""
    return block_layout(name, f"SM{m}", m + 1, k1, d1 + (k1 // k2) * d2, definition=definition)


def seed_layout(name: str, c: int, p: int, k: int, *, q_bits: int = 4, e_bits: int = 4) -> Layout:
    """A block of c weights regenerated from a k-bit seed, an e_bits-bit exponent and p coefficients of q_bits bits."""
    return Layout(name, "seed", "seed", c, 0, e_bits, k + e_bits + q_bits * p, 0, 1, activations="wide")


@dataclass(frozen=True)
class StreamShape:
    """The sizes of a matrix in a weight stream; see `hwsim.formats.stream`.

    groups, group_beats: groups of rows, and beats per group.
    row_blocks: blocks per row, K padded. block_records, block_bits: records and bits per block.
    beat_bytes: bytes per beat. record_bytes: bytes of the matrix's own records, rounded up once.
    """

    groups: int
    group_beats: int
    row_blocks: int
    block_records: int
    block_bits: int
    beat_bytes: int
    record_bytes: int

    @property
    def nbytes(self) -> int:
        """Bytes of the whole stream."""
        return self.groups * self.group_beats * self.beat_bytes

    @property
    def padding_bytes(self) -> int:
        """Bytes that are not the matrix's own records: zero rows, zero blocks, ends of groups."""
        return self.nbytes - self.record_bytes


def stream_shape(
    layout: Layout, rows: int, k: int, group_rows: int, beat_bytes: int, target_block: int = 32
) -> StreamShape:
    """The weight stream of [rows, k] in groups of `group_rows`.

    A block is one record; of seed and dense formats, as many as fill whole blocks of `target_block` values.
    raises: InputError for a size below 1, or a format whose scales are not in its rows.
    """
    if layout.tile_rows:
        raise InputError(f"weight stream: the scales of {layout.name} are not in its rows; write another format")
    if min(group_rows, beat_bytes, target_block) < 1:
        raise InputError(
            f"weight stream: group_rows {group_rows}, beat_bytes {beat_bytes}, target_block {target_block}; "
            "write 1 or more"
        )
    per_block = 1 if layout.kind == "block" else math.lcm(layout.block, target_block) // layout.block
    records = -(-k // layout.block)
    row_blocks = -(-records // per_block)
    groups, bits = -(-rows // group_rows), per_block * layout.record_bits
    beats = -(-group_rows * row_blocks * bits // (8 * beat_bytes))
    own = -(-rows * records * layout.record_bits // 8)
    return StreamShape(groups, beats, row_blocks, per_block, bits, beat_bytes, own)
