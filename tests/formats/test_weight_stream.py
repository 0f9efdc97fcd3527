"""The weight stream, taken apart bit by bit by a reader that follows the definition literally."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import get_format, stream
from hwsim.formats.layout import stream_shape
from hwsim.formats.names import layout

RECORD = {"mxfp4": (32, 136, 1), "mxfp6": (32, 200, 1), "nvfp4": (16, 72, 1), "mx9": (16, 144, 1), "bf16": (1, 16, 32),
          "int8": (1, 8, 32), "fp8_row": (1, 8, 32),
          "int4_g128": (128, 528, 1), "seedlm4": (8, 32, 4), "seedlm3": (12, 36, 8)}  # fmt: skip


def bits_of(data: bytes) -> str:
    return "".join(f"{byte:08b}"[::-1] for byte in data)


@pytest.mark.parametrize("name", RECORD)
@pytest.mark.parametrize("n, k, units, interleave, beat", [(5, 200, 2, 2, 64), (4, 96, 1, 4, 16), (1, 37, 3, 1, 8)])
def test_every_bit(name, n, k, units, interleave, beat):
    block, bits, gather = RECORD[name]
    w = get_format(name).encode(np.random.default_rng(1).standard_normal((n, k)).astype(np.float32))
    head = 32 if name in ("int8", "fp8_row") else 0
    row_bits = 8 * layout(name).row_nbytes(k)
    everything = bits_of(w.to_bytes())
    rows = [everything[r * row_bits + head : (r + 1) * row_bits] for r in range(n)]
    records = -(-k // block)
    zero = "0" * bits
    if name.startswith("seed"):
        zero = "1" + "0" * 15 + "0001" + "0" * (bits - 20)  # seed 1; e = -8 is 1000, its low bit first
    if name == "int4_g128":
        zero = bits_of(np.float16(1).tobytes()) + "0" * 512

    def record(r: int, b: int) -> str:
        return rows[r][b * bits : (b + 1) * bits] if r < n and b < records else zero

    want = ""
    group = units * interleave
    for first in range(0, n, group):
        part = ""
        for kb in range(0, records, gather):
            for r in range(first, first + group):
                part += "".join(record(r, b) for b in range(kb, kb + gather))
        want += part + "0" * (-len(part) % (8 * beat))
    data = stream(w, units, interleave, beat)
    assert bits_of(data) == want
    assert len(data) == stream_shape(layout(name), n, k, group, beat).nbytes


def test_errors():
    w = get_format("mxfp4").encode(np.ones((2, 2, 32)))
    with pytest.raises(InputError, match="write a matrix"):
        stream(w, 1, 1, 64)
    with pytest.raises(InputError, match="scales of fp8_block are not in its rows"):
        stream(get_format("fp8_block").encode(np.ones((2, 32))), 1, 1, 64)
    with pytest.raises(InputError, match="write 1 or more"):
        stream(get_format("mxfp4").encode(np.ones((2, 32))), 0, 1, 64)
