"""How a number format lies in memory: bits, blocks, records and bytes, without any value.

Standard library only: the simulator counts bytes with this module and never imports numpy.
Source: the design's section 3 (packed layout); OCP Microscaling Formats (MX) v1.0 for block 32 and E8M0;
arXiv 2302.08007 for BDR; arXiv 2410.10714 for the seed formats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

from hwsim.errors import InputError, nearest


@dataclass(frozen=True)
class Layout:
    """The packed form of one format.

    A row of k values is ceil(k / block) whole records (a partial block is stored whole), preceded by the row
    scale where there is one, and ends on a byte; the tensor scale follows the last row.

    name: canonical name, or the name a custom format gives itself.
    kind: "dense" (every value by itself), "block" (elements share a scale) or "seed" (blocks are regenerated).
    element: name of the element; "SMm" is sign-magnitude with m magnitude bits (BDR).
    block: values in one record; 1 when dense, C for a seed format.
    element_bits: stored bits of one value; 0 for a seed format, whose values are not stored.
    scale_bits: stored bits a block beside its elements: scale, BDR sub-block shifts, a seed block's exponent.
    record_bits: stored bits of one block: scale_bits + block * element_bits; for seeds K + 4 + 4P.
    row_scale_bytes, tensor_scale_bytes: bytes at the start of each row, and after the last one.
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

    @property
    def bits_per_value(self) -> Fraction:
        """Stored bits a value, without row and tensor scales and without padding."""
        return Fraction(self.record_bits, self.block)

    def row_nbytes(self, k: int) -> int:
        """Bytes of one row of `k` values as stored."""
        records = -(-k // self.block)
        return self.row_scale_bytes + -(-records * self.record_bits // 8)

    def nbytes(self, rows: int, k: int) -> int:
        """Bytes of `rows` rows of `k` values, with the tensor scale."""
        return rows * self.row_nbytes(k) + self.tensor_scale_bytes


def dense_layout(name: str, element: str, bits: int, *, row: int = 0, tensor: int = 0) -> Layout:
    """Values that stand by themselves; `row` and `tensor` are the bytes of a row's and a tensor's scale."""
    return Layout(name, "dense", element, 1, bits, 0, bits, row, tensor)


def block_layout(name: str, element: str, bits: int, block: int, scale_bits: int, *, tensor: int = 0) -> Layout:
    """`block` elements of `bits` bits after one scale of `scale_bits`; `tensor` bytes of tensor scale."""
    return Layout(name, "block", element, block, bits, scale_bits, scale_bits + block * bits, 0, tensor)


def bdr_layout(name: str, m: int, k1: int, d1: int, k2: int, d2: int) -> Layout:
    """Block data representation: a d1-bit scale a k1 elements, a d2-bit shift a k2 elements, sign + m bits each."""
    return block_layout(name, f"SM{m}", m + 1, k1, d1 + (k1 // k2) * d2)


def seed_layout(name: str, c: int, p: int, k: int) -> Layout:
    """A block of c weights regenerated from a K-bit seed, a 4-bit exponent and p coefficients of 4 bits."""
    return Layout(name, "seed", "seed", c, 0, 4, k + 4 + 4 * p, 0, 1)


_LAYOUTS = {
    each.name: each
    for each in (
        block_layout("mxfp8_e4m3", "E4M3", 8, 32, 8),
        block_layout("mxfp8_e5m2", "E5M2", 8, 32, 8),
        block_layout("mxfp6_e3m2", "E3M2", 6, 32, 8),
        block_layout("mxfp6_e2m3", "E2M3", 6, 32, 8),
        block_layout("mxfp4_e2m1", "E2M1", 4, 32, 8),
        block_layout("mxint8", "INT8", 8, 32, 8),
        block_layout("nvfp4", "E2M1", 4, 16, 8, tensor=4),
        bdr_layout("mx9", 7, 16, 8, 2, 1),
        bdr_layout("mx6", 4, 16, 8, 2, 1),
        bdr_layout("mx4", 2, 16, 8, 2, 1),
        dense_layout("fp32", "FP32", 32),
        dense_layout("bf16", "BF16", 16),
        dense_layout("fp16", "FP16", 16),
        dense_layout("fp8_e4m3", "E4M3", 8, tensor=4),
        dense_layout("int8", "INT8", 8, row=4),
        block_layout("int4_g128", "INT4", 4, 128, 16),
        seed_layout("seedlm4", 8, 3, 16),
        seed_layout("seedlm3", 12, 4, 16),
    )
}

NAMES: tuple[str, ...] = tuple(_LAYOUTS)

ALIASES: dict[str, str] = {
    "mxfp8": "mxfp8_e4m3",
    "mxfp6": "mxfp6_e2m3",
    "mxfp4": "mxfp4_e2m1",
    "fp8": "fp8_e4m3",
}


def layout(name: str | Mapping[str, object]) -> Layout:
    """The layout of a format name, an alias, a YAML path, or an inline mapping.

    raises: InputError for an unknown name (with the nearest one) or a bad custom format.
    """
    if isinstance(name, str):
        if name in _LAYOUTS or name in ALIASES:
            return _LAYOUTS[ALIASES.get(name, name)]
        if not name.endswith((".yaml", ".yml")):
            raise InputError(f"unknown format {name!r}{nearest(name, (*NAMES, *ALIASES))}")
    from hwsim.formats.custom import read_custom

    return _custom_layout(read_custom(name))


@cache
def _custom_layout(custom) -> Layout:
    return custom.layout


@dataclass(frozen=True)
class StreamShape:
    """How a matrix lies in an engine stream; see `hwsim.formats.stream`.

    groups, group_beats: groups of rows, and the beats of each.
    row_blocks: blocks of a row, K padded. block_records, block_bits: records and bits of a block.
    beat_bytes: bytes of a beat. record_bytes: bytes of the matrix's own records, rounded up once.
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
    """The engine stream of [rows, k] in groups of `group_rows`.

    A block is one record; of seed and dense formats, as many as fill whole blocks of `target_block` values.
    raises: InputError for a size below 1.
    """
    if min(group_rows, beat_bytes, target_block) < 1:
        raise InputError(
            f"engine stream: group_rows {group_rows}, beat_bytes {beat_bytes}, target_block {target_block}; "
            "write 1 or more"
        )
    per_block = 1 if layout.kind == "block" else math.lcm(layout.block, target_block) // layout.block
    records = -(-k // layout.block)
    row_blocks = -(-records // per_block)
    groups, bits = -(-rows // group_rows), per_block * layout.record_bits
    beats = -(-group_rows * row_blocks * bits // (8 * beat_bytes))
    own = -(-rows * records * layout.record_bits // 8)
    return StreamShape(groups, beats, row_blocks, per_block, bits, beat_bytes, own)
