"""`exact_in` against enumeration: every element code under every scale, by the tables of ml_dtypes and numpy."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import ml_dtypes
import numpy as np
import pytest

from hwsim.formats import get_format
from hwsim.formats.exactness import exact_in, loss
from hwsim.formats.layout import block_layout
from hwsim.formats.names import layout

ELEMENTS = {
    "mxfp8_e4m3": ml_dtypes.float8_e4m3fn, "mxfp8_e5m2": ml_dtypes.float8_e5m2, "mxfp6_e3m2": ml_dtypes.float6_e3m2fn,
    "mxfp6_e2m3": ml_dtypes.float6_e2m3fn, "mxfp4_e2m1": ml_dtypes.float4_e2m1fn, "nvfp4": ml_dtypes.float4_e2m1fn,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn, "fp8_e5m2": ml_dtypes.float8_e5m2, "fp8_row": ml_dtypes.float8_e4m3fn,
    "fp8_block": ml_dtypes.float8_e4m3fn, "bf16": ml_dtypes.bfloat16, "fp16": np.float16,
}  # fmt: skip
BDR = {"mx9": (7, 1), "mx6": (4, 1), "mx4": (2, 1)}
BLOCK = {"nvfp4": 16, "mx9": 16, "mx6": 16, "mx4": 16, "int4_g128": 128, "fp8_block": 128} | {
    name: 32 for name in (*ELEMENTS, "mxint8") if name.startswith("mx")
}
WIDE = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
DENSE = [*WIDE, "fp8_e4m3", "fp8_e5m2", "fp8_row", "int8"]
SOURCES = [*ELEMENTS, *BDR, "mxint8", "int8", "int4_g128"]


@cache
def elements(name: str) -> np.ndarray:
    """Every finite value of an element, float64; of BDR at every shift; integers without the code that none writes."""
    if name in BDR:
        m, shifts = BDR[name]
        return np.unique([n * 2.0 ** -(t + m - 1) for n in range(1 - 2**m, 2**m) for t in range(shifts + 1)])
    if name in ("int8", "mxint8", "int4_g128"):
        return {"int8": np.arange(-127, 128), "mxint8": np.arange(-127, 128) / 64, "int4_g128": np.arange(-8, 8)}[name]
    kind = np.dtype(ELEMENTS[name])
    codes = np.arange(2**16 if kind.itemsize == 2 else 2**8)
    if kind.itemsize == 1:
        codes = codes[: {"float4_e2m1fn": 16, "float6_e2m3fn": 64, "float6_e3m2fn": 64}.get(kind.name, 256)]
    with np.errstate(invalid="ignore"):
        values = codes.astype(np.uint16 if kind.itemsize == 2 else np.uint8).view(kind).astype(np.float64)
    return np.unique(values[np.isfinite(values)])


@cache
def scales(name: str) -> np.ndarray:
    """Every scale that is no zero; of float32 scales, all powers of two with few and with all bits behind them."""
    if name == "nvfp4":
        values = np.arange(1, 127, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    elif name == "int4_g128":
        values = np.arange(1, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    elif name == "fp8_block":
        values = np.outer(2.0 ** np.arange(-126, 120), [1, 1.5, 2 - 2.0**-23]).ravel()
    elif name in BDR or name.startswith("mx"):
        values = np.arange(255, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    else:
        values = np.ones(1)
    return values


def holds(target: str, values: np.ndarray) -> bool:
    """Whether every value is one of a dense format's: a cast gives it back."""
    if target == "int8":
        return bool((values == np.clip(np.rint(values), -127, 127)).all())
    with np.errstate(over="ignore"):
        return bool((values.astype(WIDE.get(target) or ELEMENTS[target]).astype(np.float64) == values).all())


@pytest.mark.parametrize("target", DENSE)
@pytest.mark.parametrize("source", SOURCES)
def test_every_value_in_a_dense_format(source, target):
    values = np.outer(scales(source), elements(source)).ravel()
    values = values[np.abs(values) < 2.0**128]
    assert exact_in(layout(source), layout(target)) == holds(target, values)


@pytest.mark.parametrize("target", ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8", "nvfp4", *BDR])
@pytest.mark.parametrize("source", [s for s in SOURCES if s not in ("bf16", "fp16", "fp8_block", "int4_g128")])
def test_every_block_in_a_block_format(source, target):
    """For each scale of the source some scale of the target must hold all elements at once."""
    if source == target:
        return
    want = BLOCK.get(source, 0) % BLOCK[target] == 0
    of, to = elements(source), elements(target)
    if target in BDR:  # any element may have any neighbour, so that only the first step serves a whole sub-block
        m, _ = BDR[target]
        to = np.arange(1 - 2**m, 2**m) * 2.0 ** (1 - m)
    steps = scales(target)
    for s in scales(source)[[*range(0, len(scales(source)), 7), -1]] if want else ():
        values = s * of
        room = steps[(steps * to.max() >= values.max()) & (steps * to.max() <= values.max() * 2**20)]
        want = want and any(np.isin(values, step * to).all() for step in room)
    assert exact_in(layout(source), layout(target)) == want


def test_known_pairs():
    """What is said of formats in use."""
    exact = [("mxfp4", "bf16"), ("nvfp4", "bf16"), ("nvfp4", "fp16"), ("fp8", "bf16"), ("fp8_row", "fp16"),
             ("fp8_e5m2", "fp16"), ("int8", "bf16"), ("mxfp4", "mxfp8"), ("mxfp6", "mxfp8"), ("int8", "mxint8"),
             ("mx6", "mx9"), ("seedlm4", "fp32"), ("bf16", "fp32"), ("fp8", "fp8_block")]  # fmt: skip
    lossy = [("int4_g128", "bf16"), ("mxfp4", "fp16"), ("fp8", "int8"), ("fp8_block", "bf16"), ("fp8_block", "fp32"),
             ("seedlm4", "bf16"), ("nvfp4", "fp8"), ("bf16", "fp16"), ("nvfp4", "mxfp8"), ("mx9", "mx6")]  # fmt: skip
    found = {pair: exact_in(layout(pair[0]), layout(pair[1])) for pair in (*exact, *lossy)}
    assert found == dict.fromkeys(exact, True) | dict.fromkeys(lossy, False)


def test_sums_of_seeds_fit_float32_and_nothing_narrower():
    rng = np.random.default_rng(0)
    states, q = rng.integers(1, 1 << 16, (100_000, 3)) - (1 << 15), rng.integers(-8, 8, (100_000, 3))
    sums = (states * q).sum(axis=1).astype(np.float64)
    assert holds("fp32", sums) == exact_in(layout("seedlm4"), layout("fp32")) is True
    assert holds("fp16", sums) == exact_in(layout("seedlm4"), layout("fp16")) is False


@pytest.mark.parametrize(
    "source, target, words",
    [
        ("mxfp4", "bf16", ""),
        ("mx9", "bf16", "below 2^-133"),
        ("int4_g128", "bf16", "of 14 significant bits, 8 fit"),
        ("mxfp4", "fp16", "below 2^-24 and above 65504"),
        ("fp8", "int8", "below 2^0 and above 127"),
        ("mxfp4", "nvfp4", "scales below 2^-9 and scales above 448"),
        ("nvfp4", "mxfp4", "blocks of nvfp4 have 16 values, those of mxfp4_e2m1 32"),
        ("bf16", "seedlm4", "whether seedlm4 holds every value of bf16 is not known"),
    ],
)
def test_loss_says_what_is_lost(source, target, words):
    assert loss(layout(source), layout(target)) == words


def test_custom_formats():
    assert exact_in(layout({"element": "E2M1", "block": 64, "scale": "e8m0"}), layout("mxfp4"))
    assert not exact_in(layout({"element": "E2M1", "block": 48, "scale": "e8m0"}), layout("mxfp4"))
    assert exact_in(layout({"element": "E2M3", "block": 16, "scale": "e4m3"}), layout("bf16"))  # 4 + 4 bits
    assert not exact_in(layout({"m": 9, "k1": 16, "d1": 8, "k2": 2, "d2": 1}), layout("bf16"))
    assert exact_in(layout({"m": 8, "k1": 16, "d1": 4, "k2": 2, "d2": 1}), layout("bf16"))


def test_every_format_holds_itself():
    same = block_layout("mine", "E2M1", 4, 64, 8)
    assert exact_in(same, same) and exact_in(layout("seedlm4"), layout("seedlm4"))


def test_no_numpy():
    code = "import sys; from hwsim.formats.exactness import exact_in; from hwsim.formats.names import layout\n"
    code += "assert exact_in(layout('mxfp4'), layout('bf16')) and not {'numpy', 'numba', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rows_that_share_a_scale_hold_no_rows_with_scales_of_their_own():
    """Rows whose scales differ by 2^40: a tile of 128 x 128 cannot hold them, while rows hold any tile."""
    tiles = layout("fp8_block")
    x = np.repeat(np.float32([[448 * 2.0**-20], [448 * 2.0**20]]), 128, axis=1)
    assert (get_format("fp8_block", tile=(1, 128)).encode(x).decode() == x).all()
    assert (get_format("fp8_block").encode(x).decode() != x).any()
    assert loss(tiles.by_rows(), tiles) == "128 rows of fp8_block share their scales"
    assert exact_in(tiles, tiles.by_rows()) and exact_in(tiles, tiles)
