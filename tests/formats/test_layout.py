"""Bits and bytes of every format, against numbers worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest

from hwsim.errors import InputError
from hwsim.formats.names import ALIASES, NAMES, layout

BITS = {
    "mxfp8_e4m3": "8.25", "mxfp8_e5m2": "8.25", "mxfp6_e3m2": "6.25", "mxfp6_e2m3": "6.25", "mxfp4_e2m1": "4.25",
    "mxint8": "8.25", "nvfp4": "4.5", "mx9": "9", "mx6": "6", "mx4": "4", "fp32": "32", "bf16": "16", "fp16": "16",
    "fp8_e4m3": "8", "fp8_e5m2": "8", "fp8_row": "8", "fp8_block": "8.001953125",
    "int8": "8", "int4_g128": "4.125", "seedlm4": "4", "seedlm3": "3",
}  # fmt: skip

NBYTES_3_ROWS_OF_100 = {
    "mxfp8_e4m3": 3 * 4 * 33, "mxfp8_e5m2": 3 * 4 * 33, "mxfp6_e3m2": 3 * 4 * 25, "mxfp6_e2m3": 3 * 4 * 25,
    "mxfp4_e2m1": 3 * 4 * 17, "mxint8": 3 * 4 * 33, "nvfp4": 3 * 7 * 9 + 4, "mx9": 3 * 7 * 18, "mx6": 3 * 7 * 12,
    "mx4": 3 * 7 * 8, "fp32": 1200, "bf16": 600, "fp16": 600, "fp8_e4m3": 304, "int8": 312, "int4_g128": 3 * 66,
    "fp8_e5m2": 304, "fp8_row": 312, "fp8_block": 304,
    "seedlm4": 3 * 13 * 4 + 1, "seedlm3": 3 * 41 + 1,  # 9 records of 36 bits = 324 bits = 40.5 bytes
}  # fmt: skip


def test_every_name_has_its_bits():
    assert {name: layout(name).bits_per_value for name in NAMES} == {n: Fraction(b) for n, b in BITS.items()}


def test_every_name_has_its_bytes():
    assert {name: layout(name).nbytes(3, 100) for name in NAMES} == NBYTES_3_ROWS_OF_100


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_scale_and_elements(name):
    found = layout(name)
    assert found.name == name
    if found.tile_rows:
        assert found.record_bits == found.block * found.element_bits
    elif found.kind != "seed":
        assert found.record_bits == found.scale_bits + found.block * found.element_bits


def test_bytes_of_tiles():
    """Codes, then a float32 for each tile, cut off at the edges; a matrix of a stack begins tiles of its own."""
    tiles = layout("fp8_block")
    rows = tiles.by_rows()
    assert tiles.nbytes(300, 200) == 300 * 200 + 3 * 2 * 4
    assert rows.nbytes(300, 200) == 300 * 200 + 300 * 2 * 4
    assert tiles.array_nbytes((5, 130, 200)) == 5 * (130 * 200 + 2 * 2 * 4)
    assert rows.array_nbytes((5, 130, 200)) == 5 * 130 * (200 + 2 * 4)
    assert tiles.row_nbytes(200) == rows.row_nbytes(200) == 200 + 2 * 4
    assert tiles.array_nbytes((200,)) == 208 and tiles.array_nbytes((0, 130, 200)) == 0
    assert (tiles.bits_per_value, rows.bits_per_value) == (8 + Fraction(32, 128 * 128), 8 + Fraction(32, 128))
    # Parts of a matrix add up to it, cut at tiles' edges or inside one row of tiles.
    assert tiles.matrix_nbytes(256, 200) + tiles.matrix_nbytes(44, 200) == tiles.matrix_nbytes(300, 200)
    assert layout("nvfp4").by_rows() is layout("nvfp4")
    assert layout("nvfp4").array_nbytes((5, 130, 200)) == layout("nvfp4").nbytes(650, 200)


def test_aliases_resolve():
    assert {a: layout(a).name for a in ALIASES} == ALIASES


def test_an_unknown_name_says_the_nearest():
    with pytest.raises(InputError, match="did you mean mxfp4"):
        layout("mxfp44")


def test_layout_and_names_need_no_numpy():
    code = "import sys, hwsim.formats; from hwsim.formats.names import layout; layout('mx9')\n"
    code += "import hwsim.formats.elements; assert not {'numpy', 'numba', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
