"""The encoders' values against `formats.encode`, and the product of `Scale` against numpy's float32."""

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.elements import E2M1, ELEMENTS, INT8
from hwsim.formats.format import present
from hwsim.specs import MxEncoder, Nvfp4Encoder, Scale

MX = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8")


def hard(rng, rows: int, block: int, source: str) -> np.ndarray:
    """Blocks of numbers near and far, ties, subnormals, zeros of both signs, and what is not finite."""
    x = rng.normal(size=(rows, block)) * 2.0 ** rng.integers(-12, 2, (rows, block))
    x[::3] = rng.integers(-64, 65, x[::3].shape) / 32
    x = (x * 2.0 ** rng.integers(-20, 20, (rows, 1))).astype(np.float32)
    x[1::9] *= np.float32(1e-38)
    x[2::9] *= np.float32(1e-42)
    x[4::9] *= np.float32(1e31)
    x[5::40], x[6::40, 1:], x[7, 3], x[8, 2], x[9, 5] = 0, 0, np.nan, -np.inf, -0.0
    bits = x.view(np.uint32)
    if source == "bf16":
        bits &= np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def numbers(x: np.ndarray, source: str) -> list[list[int]]:
    bits = x.view(np.uint32) >> (16 if source == "bf16" else 0)
    return bits.tolist()


def same(got, encoded, rows: int, block: int) -> None:
    codes, scales = encoded.codes.reshape(rows, block), present(encoded.scales).reshape(rows)
    for i, side in enumerate(got):
        assert (side.codes, side.scale) == (codes[i].tolist(), scales[i]), i


@pytest.mark.parametrize("source", ["fp32", "bf16"])
@pytest.mark.parametrize("target", MX)
@pytest.mark.parametrize("rounding", ["rne", "stochastic"])
def test_mx_is_encode(target, rounding, source):
    rng = np.random.default_rng(1)
    x = hard(rng, 60, 32, source)
    seed = 77 if rounding == "stochastic" else 0
    form = get_format(target, rounding=rounding, seed=seed) if seed else get_format(target)
    spec = MxEncoder.of(target, source, rounding, seed)
    same([spec(row, i) for i, row in enumerate(numbers(x, source))], form.encode(x), 60, 32)


@pytest.mark.parametrize("source", ["fp32", "bf16"])
@pytest.mark.parametrize("tensor_scale", [None, 1.0, 1e-3, 1e-40, 3e38, 2.0**-149])
def test_nvfp4_is_encode(tensor_scale, source):
    x = hard(np.random.default_rng(2), 120, 16, source)
    if tensor_scale is None:
        x[4::9] = 0  # else one block is all that is left
    form = get_format("nvfp4") if tensor_scale is None else get_format("nvfp4", tensor_scale=tensor_scale)
    encoded = form.encode(x)
    s_t = int(np.float32(encoded.tensor_scale).view(np.uint32))
    same([Nvfp4Encoder(source)(row, s_t) for row in numbers(x, source)], encoded, 120, 16)


def test_scale_is_one_float32_product():
    rng = np.random.default_rng(3)
    a = rng.integers(0, 1 << 32, 20000, dtype=np.uint32)
    b = rng.integers(0, 1 << 32, 20000, dtype=np.uint32)
    b[::4] = (b[::4] & np.uint32(0x807FFFFF)) | (np.uint32(254) - (a[::4] >> np.uint32(23) & np.uint32(255))) << 23
    special = np.array([0, 1 << 31, 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0x00800000, 0x3F000000], np.uint32)
    a[:8], b[:8] = special, special[::-1]
    a[8:72], b[8:72] = np.repeat(special, 8), np.tile(special, 8)
    with np.errstate(all="ignore"):
        want = a.view(np.float32) * b.view(np.float32)
    want = np.where(np.isnan(want), np.uint32(0x7FC00000), want.view(np.uint32))
    assert [Scale()(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)] == want.tolist()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MxEncoder(E2M1, "fp16"), "write fp32 or bf16"),
        (lambda: MxEncoder(E2M1, rounding="away"), "write rne or stochastic"),
        (lambda: MxEncoder(E2M1, rounding="stochastic"), "write an integer from 1"),
        (lambda: MxEncoder(E2M1, seed=3), "rne draws nothing"),
        (lambda: MxEncoder(ELEMENTS["E4M3"], block=1), "write 2 to 64"),
        (lambda: MxEncoder.of("nvfp4"), "no MX format"),
        (lambda: MxEncoder.of("mxint8", "fp32", "stochastic", 5).check_row(72), "write a multiple of 32"),
        (lambda: MxEncoder(INT8, "fp32", "stochastic", 5)([0] * 32, 16777215), "one seed serves 16777215"),
        (lambda: Nvfp4Encoder()([0] * 16, 0), "a float32 above 0"),
        (lambda: Nvfp4Encoder()([0] * 16, 0x80000001), "a float32 above 0"),
        (lambda: Nvfp4Encoder("fp8"), "write fp32 or bf16"),
    ],
)
def test_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_rows_of_any_length_where_nothing_is_drawn():
    MxEncoder(INT8).check_row(72)
    MxEncoder.of("mxint8", "fp32", "stochastic", 5).check_row(96)
