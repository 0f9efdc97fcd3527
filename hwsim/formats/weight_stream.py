"""The order in which the GEMV machine reads its weights: group by group, block column by block column."""

from __future__ import annotations

import numpy as np

from hwsim.errors import InputError
from hwsim.formats.format import Encoded, Format
from hwsim.formats.layout import stream_shape


def stream(w: Encoded, dot_units: int, interleave: int, beat_bytes: int, target_block: int = 32) -> bytes:
    """The records of w: [n, k] as the machine reads them.

    A group is dot_units * interleave rows. For each group, for kb, for r: block(r, kb), one record, or those that fill
    whole blocks of `target_block` (`stream_shape`), without padding; then zero bits to a whole beat of `beat_bytes`.
    Rows that a last group lacks and blocks that k lacks are zero blocks (seeds: seed 1, e = -8, q = 0). Row and tensor
    scales are not in it.
    raises: InputError for anything but a matrix with its blocks along the last axis, or a size below 1.
    """
    if len(w.shape) != 2 or w.axis != 1:
        raise InputError(f"shape {w.shape}, axis {w.axis}: write a matrix, blocks along the last axis")
    if min(dot_units, interleave) < 1:
        raise InputError(f"weight stream: dot_units {dot_units}, interleave {interleave}; write 1 or more")
    layout, (n, k) = w.format.layout, w.shape
    group_rows = dot_units * interleave
    shape = stream_shape(layout, n, k, group_rows, beat_bytes, target_block)
    gather, columns, groups = shape.block_records, shape.row_blocks, shape.groups
    records = -(-k // layout.block)
    zero = zero_record(w.format)
    bits = np.empty((groups * group_rows, columns * gather, layout.record_bits), np.uint8)
    bits[:] = zero
    if n and k:
        rows = np.frombuffer(w.to_bytes(), np.uint8, n * layout.row_nbytes(k)).reshape(n, layout.row_nbytes(k))
        body = rows[:, layout.row_scale_bytes :]
        found = np.unpackbits(body, axis=1, bitorder="little", count=records * layout.record_bits)
        bits[:n, :records] = found.reshape(n, records, layout.record_bits)
    ordered = bits.reshape(groups, group_rows, columns, gather * layout.record_bits).swapaxes(1, 2)
    lines = ordered.reshape(groups, group_rows * columns * gather * layout.record_bits)
    lines = np.pad(lines, ((0, 0), (0, -lines.shape[1] % (8 * beat_bytes))))
    return np.packbits(lines, axis=1, bitorder="little").tobytes()


def zero_record(form: Format) -> np.ndarray:
    """uint8[record_bits]: the bits of a block of zeros."""
    data = np.frombuffer(form.zero_record(), np.uint8)
    return np.unpackbits(data, bitorder="little", count=form.layout.record_bits)
