"""Bytes of weights whose scales belong to tiles of 128 x 128, and of caches and activations with one scale per row."""

from __future__ import annotations

import random

import pytest

import hwsim
from hwsim.formats.names import layout
from hwsim.mapping.operands import Formats, operands
from hwsim.mapping.traffic import weight_bytes
from hwsim.workload.op import Gemm, Op


def exact(n: int, k: int) -> int:
    """Bytes of one fp8_block matrix: a byte per weight, a float32 per tile cut off at the edges."""
    return n * k + 4 * -(-n // 128) * -(-k // 128)


@pytest.mark.parametrize("arch", ["h200-sxm", "edge-mx", "h100-sxm"])
def test_a_matrix_is_read_with_each_scale_once(arch):
    """Output tiles of the shipped machines' menus begin at tiles' edges, so nothing is read twice."""
    draw = random.Random(3)
    for n, k in [(128, 128), (4096, 4096), (1, 1), (1000, 300)] + [(draw.randint(1, 3000), draw.randint(1, 3000))] * 4:
        result = hwsim.gemm(arch, 1, n, k, weights="fp8_block")
        assert result.bytes["weights"] == exact(n, k)


def test_output_tiles_of_fewer_rows_read_a_scale_again():
    """Eight output tiles of 64 rows: each reads the two scales of its K tiles, which four pairs of them share."""
    arch = hwsim.load_arch("edge-mx", overrides=[("tiles", "[64x64x128]")])
    result = hwsim.gemm(arch, 1, 512, 256, weights="fp8_block")
    assert result.bytes["weights"] == 512 * 256 + 8 * 2 * 4 > exact(512, 256)


def test_each_expert_has_tiles_of_its_own():
    arch = hwsim.load_arch("h200-sxm")
    op = Op("experts", "experts", weights="experts", gemms=(Gemm(4, 130, 300, count=5), Gemm(4, 300, 65, count=5)))
    found = operands(arch, op, Formats.of("fp8_block"))
    assert found.weights == layout("fp8_block")
    assert weight_bytes(op, found) == 5 * (exact(130, 300) + exact(300, 65))


def test_caches_have_a_scale_per_row_and_128():
    """llama3-8b: 32 layers, keys and values, 8 heads of 128 values; 8,192 tokens are read and one is written."""
    result = hwsim.run("h200-sxm", "llama3-8b", weights="fp8", kv="fp8_block", context=8192, engine="walk")
    assert result.bytes["kv"] == 32 * 2 * 8 * (8192 + 1) * (128 + 4)
    assert result.config["formats"]["kv"] == "fp8_block"


def test_activations_have_a_scale_per_row_and_128():
    plain, tiled = (
        hwsim.gemm("h100-sxm", 256, 1024, 1024, weights="fp8_block", activations=form) for form in ("fp8", "fp8_block")
    )
    assert tiled.bytes["activations"] * 32 == plain.bytes["activations"] * 33
