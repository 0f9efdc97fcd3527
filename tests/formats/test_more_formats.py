"""Options and custom formats against rational arithmetic: tiles, own elements, codebooks, seeds, rows, accumulators."""

from __future__ import annotations

import math
from fractions import Fraction as F

import ml_dtypes
import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import get_format, matmul
from hwsim.formats.exchange import from_typed, swizzled, typed, unswizzled
from hwsim.formats.families import NF4
from hwsim.formats.names import layout
from tests.formats import reference
from tests.formats.hard_blocks import hard_rows
from tests.formats.test_reference import MX, RULES, check

OWN = {"E3M0": (3, 0), "E2M0": (2, 0), "E4M2": (4, 2), "E5M1": (5, 1), "E2M4": (2, 4), "E1M4": (1, 4), "E5M0": (5, 0)}


@pytest.fixture
def own_elements(monkeypatch):
    """The reference learns of the elements."""
    for name, (x, m) in OWN.items():
        bias = 2 ** (x - 1) - 1
        values = reference.minifloat(x, m, bias, (1 << (x + m)) - 1)
        top = reference.floor_log2(values[-1])
        monkeypatch.setitem(reference.ELEMENTS, name, (values, 1 + x + m, m, top))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", ["rne", "away", "zero", "stochastic"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", OWN)
def test_own_elements(own_elements, name, rule, rounding, dtype):
    rng = np.random.default_rng(len(name + rule + rounding))
    x = hard_rows(rng, 3, 40, dtype)
    x[0, :16] = rng.choice([0.25, 0.5, 0.75, 1.0, 1.5, 3.0, 6.0, 8.0], 16)  # ties of elements without fraction bits
    form = get_format({"element": name, "block": 16, "scale": "e8m0"}, scale_rule=rule, rounding=rounding, seed=9)
    check(form.encode(x), x, *reference.mx(x.tolist(), name, 16, rule, rounding, seed=9))
    assert form.layout.element_bits == 1 + sum(OWN[name])


@pytest.mark.parametrize("name", ["E0M3", "E8M0", "E6M1", "E5M3", "E1M0", "M3", "E3M", "E3M2x"])
def test_elements_that_cannot_be(name):
    with pytest.raises(InputError, match="element"):
        get_format({"element": name, "block": 32, "scale": "e8m0"})


@pytest.mark.parametrize("rounding", ["rne", "away", "zero", "stochastic"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MX)
def test_square_tiles(name, rule, rounding):
    """The scale of a tile of 32 x 32 is that of its largest magnitude, in each of its rows; edges cut tiles."""
    x = hard_rows(np.random.default_rng(4), 70, 72, np.float32)
    got = get_format(name, tile=32, scale_rule=rule, rounding=rounding, seed=3).encode(x)
    whole = np.zeros((96, 96))
    whole[:70, :72] = x
    tops = np.abs(whole.reshape(3, 32, 3, 32)).max(axis=(1, 3))
    wide = np.where(np.isfinite(tops), tops, np.nan)
    # One block per tile with the tile's maximum in front: its scale is the tile's.
    scales = np.array(
        reference.mx(np.nan_to_num(wide, nan=np.inf).reshape(-1, 1).tolist(), MX[name], 32, rule, "rne")[1]
    )
    np.testing.assert_array_equal(got.scales, scales.reshape(3, 3).repeat(32, axis=0)[:70])
    values, bits, _, _ = reference.ELEMENTS[MX[name]]
    dice = reference.randoms(x.tolist(), rounding, 3)
    for r in range(0, 70, 9):
        for k in range(72):
            s = int(got.scales[r, k // 32])
            want = 0 if s == 255 else reference.element_code(
                float(x[r, k]), F(2) ** (s - 127), values, bits, name == "mxint8", rounding, dice[r][k]
            )  # fmt: skip
            assert got.codes[r, k] == want


def test_tiles_of_a_matrix_and_its_transpose():
    x = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
    form = get_format("mxfp8", tile=32)
    np.testing.assert_array_equal(form.quantize(x.T), form.quantize(x).T)
    assert form.title == "mxfp8_e4m3 tile=32"
    with pytest.raises(InputError, match="tile: 16; write 1, or 32"):
        get_format("mxfp8", tile=16)
    with pytest.raises(InputError, match="two axes"):
        form.encode(x[0])


def test_four_over_six_by_absolute_error():
    """Against every block tried both ways in rational arithmetic."""
    x = np.random.default_rng(6).standard_normal((6, 64)).astype(np.float32)
    form = get_format("nvfp4", four_over_six="absolute")
    got, squared = form.encode(x), get_format("nvfp4", four_over_six=True).encode(x)
    s_t = reference.fl32(max(abs(F(float(v))) for v in x.ravel()) / 1536)
    values, bits, _, _ = reference.ELEMENTS["E2M1"]
    for r, row in enumerate(x.tolist()):
        for b, xs in enumerate(reference.blocks(row, 16)):
            tries = []
            for top in (6, 4):
                s = reference.nearest_code(max(abs(F(v)) for v in xs) / (top * s_t), reference.E4M3, "rne", 0)
                d = reference.E4M3[s] * s_t
                codes = [reference.element_code(v, d, values, bits, False, "rne", 0) for v in xs]
                error = sum(abs(abs(F(v)) - values[c & 7] * d) for v, c in zip(xs, codes, strict=True))
                tries.append((error, s, codes))
            _, s, codes = min(tries, key=lambda t: t[0])
            assert got.scales[r, b] == s and got.codes[r, 16 * b : 16 * b + 16].tolist() == codes
    assert (got.scales != squared.scales).any() and form.title == "nvfp4 four_over_six=absolute"


@pytest.mark.parametrize("rounding", ["rne", "away", "zero", "stochastic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_row_scaled_nvfp4(rounding, dtype):
    """Each row has the scales and codes of a tensor of its own; its float32 scale comes first in its record."""
    x = hard_rows(np.random.default_rng(8), 6, 40, dtype)
    form = get_format("nvfp4", row_scaled=True, rounding=rounding, seed=5)
    got = form.encode(x)
    dice = iter([r for row in reference.randoms(x.tolist(), rounding, 5) for r in row])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "randoms", lambda rows, *_: [[next(dice) for _ in row] for row in rows])
        each = [reference.nvfp4([row], rounding, 5) for row in x.tolist()]
    check(got, x, [e[0][0] for e in each], [e[1][0] for e in each], [e[3][0] for e in each])
    assert [F(float(s)) for s in got.row_scales] == [e[2] for e in each]
    data = got.to_bytes()
    assert len(data) == 6 * (4 + 3 * 9) == got.nbytes
    assert np.frombuffer(data[31:35], "<f4")[0] == got.row_scales[1]
    assert form.name == "nvfp4_row" and form.bits_per_value == F(9, 2)
    with pytest.raises(InputError, match="row_scaled needs"):
        get_format("nvfp4", row_scaled=True, tensor_scale=1.0)


def test_row_scales_come_after_the_dot():
    x = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32) * np.float32([[1], [8], [64]])
    form = get_format("nvfp4", row_scaled=True)
    e, one = form.encode(x), get_format("fp32").encode(np.ones((1, 64)))
    got = matmul(one, e)[0]
    plain = matmul(one, e, tensor_scale=False)[0]
    np.testing.assert_array_equal(got, plain * e.row_scales)
    assert "row scale" in form.explain(x[0].tolist()).tensor


@pytest.mark.parametrize(
    "table, block", [("nf4", 64), ([-1, -0.5, 0.25, 1], 16), ([-1.0, 1.0], 32), (list(range(-9, 10)), 8)]
)
def test_codebooks(table, block):
    form = get_format({"codebook": table, "block": block})
    entries = [float(v) for v in NF4.split()] if table == "nf4" else [float(v) for v in table]
    values = [F(float(np.float32(v))) for v in entries]
    for dtype in (np.float32, np.float64):
        x = hard_rows(np.random.default_rng(2), 4, 70, dtype, special=False)
        x = np.clip(x, -3e38, 3e38).astype(dtype)
        codes, decoded, scales = [], [], []
        for row in x.tolist():
            row_codes = []
            for xs in reference.blocks(row, block):
                s = reference.fl32(max(abs(F(v)) for v in xs)) or F(1)
                scales.append(s)
                for v in xs:
                    distance = [abs(F(v) / s - entry) for entry in values]
                    row_codes.append(distance.index(min(distance)))  # the first of equals: the lower entry
                    decoded.append(reference.float32_of(abs(values[row_codes[-1]] * s), values[row_codes[-1]] < 0))
            codes.append(row_codes[:70])
        got = form.encode(x)
        assert got.codes.tolist() == codes
        assert [F(float(v)) for v in got.scales.view(np.float32).ravel()] == scales
        width = -(-70 // block) * block
        np.testing.assert_array_equal(got.decode(), np.array(decoded).reshape(4, width)[:, :70])
        again = form.from_bytes(got.to_bytes(), x.shape)
        np.testing.assert_array_equal(again.decode(), got.decode())
    bits = max(1, (len(entries) - 1).bit_length())
    assert form.bits_per_value == F(32, block) + bits and layout(form.layout.resolved()) == form.layout
    with pytest.raises(InputError, match="NaN, Inf"):
        form.encode(np.array([np.nan, 1]))


@pytest.mark.parametrize("table", [[1, 0], [0], [], [0, 0], "a b", list(range(300)), [0, math.inf]])
def test_codebooks_that_cannot_be(table):
    with pytest.raises(InputError):
        get_format({"codebook": table, "block": 16})


def test_own_seed_points(tmp_path):
    """The point of seedlm4 in a file is seedlm4; another has its own bits, and the error of an exact search."""
    path = tmp_path / "s.yaml"
    path.write_text("name: mine\nC: 8\nP: 3\nK: 16\nbits: 4\n")
    x = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    mine, known = get_format(str(path)), get_format("seedlm4")
    assert mine.encode(x).to_bytes() == known.encode(x).to_bytes() and mine.name == "mine"
    small = get_format({"C": 4, "P": 2, "K": 8, "bits": 3})
    assert small.bits_per_value == F(8 + 4 + 6, 4) and small.name == "seed_c4_p2_k8_b3"
    got = small.encode(x)
    # Brute force: no seed and coefficients by the rule have a lower error than the stored ones.
    assert small.from_bytes(got.to_bytes(), x.shape).decode().tolist() == got.decode().tolist()
    wider = get_format({"C": 4, "P": 2, "K": 12, "bits": 3})
    assert np.linalg.norm(wider.quantize(x) - x) < np.linalg.norm(small.quantize(x) - x)
    with pytest.raises(InputError, match="P = 5 must be between 1 and C = 4"):
        get_format({"C": 4, "P": 5})


def narrowed(v: F, bits: int, emin: int, top: F) -> float:
    r = reference.to_float(abs(v), bits, emin, top, False)
    r = math.inf if r is None else float(r)
    return -r if v < 0 else r


@pytest.mark.parametrize("how", ["fp16", "bf16", "fp16_chunk(1)", "fp16_chunk(3)"])
@pytest.mark.parametrize("a, b", [("mxfp8_e4m3", "mxfp4_e2m1"), ("fp32", "fp32"), ("nvfp4", "nvfp4"), ("bf16", "int8")])
def test_narrow_accumulators(a, b, how):
    """(sum + exact block) rounded once, blocks in ascending k; chunks added in float32."""
    rng = np.random.default_rng(3)
    options = {"tensor_scale": 1.0} if "nvfp4" in (a, b) else {}  # else the block scales are near 448
    x = get_format(a, **options).encode(rng.standard_normal((3, 264)).astype(np.float32) * 8)
    w = get_format(b, **options).encode(rng.standard_normal((4, 264)).astype(np.float32))
    got = matmul(x, w, how, tensor_scale=False)
    one = get_format("fp32").encode(np.eye(264, dtype=np.float32))
    xs, ws = (matmul(e, one, "exact", tensor_scale=False).tolist() for e in (x, w))  # the elements with block scales
    block = 16 if "nvfp4" in (a, b) else 32
    bits, emin, top = (7, -126, F(2) ** 128 - F(2) ** 120) if how == "bf16" else (10, -14, F(65504))
    chunk = int(how[11:-1]) if "chunk" in how else 0
    for m in range(3):
        for n in range(4):
            products = [F(p) * F(q) for p, q in zip(xs[m], ws[n], strict=True)]
            acc, whole = 0.0, 0.0
            for j, at in enumerate(range(0, 264, block)):
                acc = narrowed(F(acc) + sum(products[at : at + block]), bits, emin, top)
                if chunk and (j + 1) % chunk == 0:
                    whole, acc = float(np.float32(whole) + np.float32(acc)), 0.0
            want = float(np.float32(whole) + np.float32(acc)) if chunk else acc
            assert got[m, n] == want


def test_narrow_accumulators_overflow_begin_and_refuse():
    one = get_format("fp16").encode(np.full((1, 64), 40000.0))
    ones = get_format("fp16").encode(np.ones((1, 64)))
    assert matmul(one, ones, "fp16")[0, 0] == np.inf and np.isfinite(matmul(one, ones, "bf16")[0, 0])
    tiny = get_format("fp32").encode(np.array([[2.0**-24, 0]]))
    unit = get_format("fp32").encode(np.array([[1.0, 0]]))
    assert matmul(tiny, unit, "fp16")[0, 0] == 2.0**-24  # the least subnormal
    half = get_format("fp32").encode(np.array([[2.0**-25, 0]]))
    assert matmul(half, unit, "fp16")[0, 0] == 0  # a tie to even
    # 2048 + 1 is a tie in FP16; the sum that begins at 2048 stays there, in float32 it grows.
    begin = np.array([[2048.0]], np.float32)
    assert matmul(unit, unit, "fp16", begin=begin)[0, 0] == 2048
    assert matmul(unit, unit, "fp16_chunk(1)", begin=begin)[0, 0] == 2049
    for how, message in (("fp15", "did you mean fp16"), ("fp16_chunk(0)", "1 block or more"), (3, "write a name")):
        with pytest.raises(InputError, match=message):
            matmul(unit, unit, how)
    tiles = get_format("fp8_block").encode(np.ones((1, 128)))
    with pytest.raises(InputError, match="float32 scales of fp8_block"):
        matmul(tiles, tiles, "fp16")


TYPES = {
    "mxfp8_e4m3": ("float8_e4m3fn", "float8_e8m0fnu"), "mxfp8_e5m2": ("float8_e5m2", "float8_e8m0fnu"),
    "mxfp6_e2m3": ("float6_e2m3fn", "float8_e8m0fnu"), "mxfp6_e3m2": ("float6_e3m2fn", "float8_e8m0fnu"),
    "mxfp4_e2m1": ("float4_e2m1fn", "float8_e8m0fnu"), "nvfp4": ("float4_e2m1fn", "float8_e4m3fn"),
    "int4_g128": ("int4", "float16"), "bf16": ("bfloat16", None), "fp16": ("float16", None), "fp32": ("float32", None),
    "fp8_e4m3": ("float8_e4m3fn", None), "fp8_block": ("float8_e4m3fn", "float32"), "int8": ("int8", "float32"),
    "fp8_row": ("float8_e4m3fn", "float32"),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_arrays_in_types_of_ml_dtypes(name):
    """The types' own values times the scales are what `decode` gives; and the way back."""
    x = np.random.default_rng(0).standard_normal((6, 256)).astype(np.float32)
    for axis in (1, 0):
        e = get_format(name).encode(x if axis else x.T.copy(), axis)
        codes, scales, tensor = typed(e)
        assert (codes.dtype.name, scales if scales is None else scales.dtype.name) == TYPES[name]
        values = codes.astype(np.float64)
        if scales is not None:
            wide = scales.astype(np.float64)
            wide = wide[:, None] if wide.ndim == 1 else np.repeat(wide, 256 // wide.shape[1], axis=1)
            values = values * (wide if name != "fp8_block" else wide.repeat(6, axis=0)[:6])
        values = (values * (1.0 if tensor is None else float(tensor))).astype(np.float32)
        np.testing.assert_array_equal(values if axis else values.T, e.decode())
        again = from_typed(e.format, codes, scales, tensor, axis)
        assert again.to_bytes() == e.to_bytes() and again.shape == e.shape


@pytest.mark.parametrize(
    "source", ["mx9", "seedlm4", {"codebook": "nf4"}, {"element": "E3M0", "block": 32, "scale": "e8m0"}]
)
def test_codes_without_a_type(source):
    with pytest.raises(InputError, match="to_bytes|encoded.codes"):
        typed(get_format(source).encode(np.ones((1, 64))))


def test_scales_in_the_order_of_tensor_cores():
    """Byte of each scale of 256 x 8, by the definition; and any sizes there and back."""
    s = np.arange(2048, dtype=np.uint16).reshape(256, 8)
    low, high = swizzled((s & 255).astype(np.uint8)), swizzled((s >> 8).astype(np.uint8))
    places = low.astype(int) + 256 * high.astype(int)
    for r in range(256):
        for c in range(8):
            tile = (r // 128) * 2 + c // 4
            at = 512 * tile + (r % 32) * 16 + (r % 128 // 32) * 4 + c % 4
            assert places[at] == 8 * r + c
    for rows, columns in ((1, 1), (128, 4), (130, 5), (257, 12), (0, 4)):
        t = np.random.default_rng(rows).integers(0, 256, (rows, columns), np.uint8)
        data = swizzled(t.view(ml_dtypes.float8_e4m3fn))
        assert data.size == 512 * -(-rows // 128) * -(-columns // 4)
        np.testing.assert_array_equal(unswizzled(data, rows, columns), t)
        assert int(data.astype(int).sum()) == int(t.astype(int).sum())  # the padding is zeros
    with pytest.raises(InputError, match="take 512 in tiles"):
        unswizzled(np.zeros(100, np.uint8), 3, 3)
    with pytest.raises(InputError, match="a matrix of one byte each"):
        swizzled(np.zeros((3, 3), np.float32))
