"""What holds for every format: axes, views, shapes, threads, bytes by hand, options and their errors."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.names import NAMES, layout

VALUED = [n for n in NAMES if not n.startswith("seed")]


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("name", VALUED)
def test_any_axis_any_shape_any_stride(name):
    form, x = get_format(name), normal(5, 33, 7)
    for axis in (0, 1, 2, -1, -2):
        plain = form.encode(np.ascontiguousarray(np.moveaxis(x, axis, -1)))
        got = form.encode(x, axis=axis)
        assert got.to_bytes() == plain.to_bytes()
        np.testing.assert_array_equal(got.decode(), np.moveaxis(plain.decode(), -1, axis))
    np.testing.assert_array_equal(form.quantize(x[::2, ::-3, 1:]), form.quantize(x[::2, ::-3, 1:].copy()))
    np.testing.assert_array_equal(form.quantize(x.T), form.quantize(np.ascontiguousarray(x.T)))
    swapped = x.astype(x.dtype.newbyteorder())
    assert form.encode(swapped).to_bytes() == form.encode(x).to_bytes()


@pytest.mark.parametrize("name", VALUED)
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0), (0, 32), (1, 1, 1), (31,), (129,)])
def test_small_and_empty(name, shape):
    form = get_format(name)
    encoded = form.encode(normal(*shape))
    data = encoded.to_bytes()
    assert len(data) == encoded.nbytes == form.layout.nbytes(encoded.rows, shape[-1])
    assert form.from_bytes(data, shape).decode().shape == encoded.decode().shape == shape


@pytest.mark.parametrize("rounding", ["rne", "stochastic"])
@pytest.mark.parametrize("name", ["mxfp4", "mxint8", "nvfp4", "mx6", "int8", "int4_g128", "fp8", "fp8_block"])
def test_threads_change_no_bit(name, rounding):
    x = normal(9, 1 << 19)
    one = get_format(name, rounding=rounding, threads=1).encode(x)
    many = get_format(name, rounding=rounding, threads=5).encode(x)
    np.testing.assert_array_equal(one.codes, many.codes)
    np.testing.assert_array_equal(one.decode(), many.decode())


@pytest.mark.parametrize("name", VALUED)
def test_zeros(name):
    """A tensor of zeros: zero codes, scale code 0 or scale 1, every value 0."""
    encoded = get_format(name).encode(np.zeros((2, 40), np.float32))
    assert not encoded.codes.any() and not encoded.decode().any()
    if layout(name).scale_bits == 8 or name.startswith("mx"):
        assert not encoded.scales.any()
    if name == "nvfp4":
        assert encoded.tensor_scale == 1


def test_bytes_of_mxfp4_by_hand():
    """Maximum 6 -> scale 2^0 = 127; codes 0.5 -> 1, -1.5 -> 11, 6 -> 7; low nibble first."""
    x = np.zeros(32)
    x[:3] = 0.5, -1.5, 6.0
    assert get_format("mxfp4").encode(x).to_bytes() == bytes([127, 0xB1, 0x07]) + bytes(14)


def test_bytes_of_mxfp6_by_hand():
    """E2M3: 7.5 -> 31, -1 -> 32 + 8, 0.125 -> 1: 31 | 40 << 6 | 1 << 12 = 0x1A1F."""
    x = np.zeros(32)
    x[:3] = 7.5, -1.0, 0.125
    assert get_format("mxfp6").encode(x).to_bytes() == bytes([127, 0x1F, 0x1A]) + bytes(22)


def test_bytes_of_nvfp4_by_hand():
    """amax 2688 -> s_t = 1, s_b = 448 = 0x7E, code 7; then the tensor scale 1.0 little-endian."""
    x = np.zeros(16, np.float32)
    x[0], x[1] = 2688, -448 * 1.5
    assert get_format("nvfp4").encode(x).to_bytes() == bytes([0x7E, 0xB7]) + bytes(7) + b"\x00\x00\x80\x3f"


def test_bytes_of_mx4_by_hand():
    """MX4: E = 0 -> 127; sub-block 0 has shift 0 (step 0.5): 1 -> 2, -1.5 -> 4 | 3; the rest 1: 0.25 step, 0.5 -> 2."""
    x = np.zeros(16)
    x[:3] = 1.0, -1.5, 0.5
    record = 127 | 0xFE << 8 | 2 << 16 | 7 << 19 | 2 << 22
    assert get_format("mx4").encode(x).to_bytes() == record.to_bytes(8, "little")


def test_bytes_of_int8_and_int4_by_hand():
    one = np.float32(1).tobytes()
    x = np.array([[127.0, -3], [127, 0.5]])
    assert get_format("int8").encode(x).to_bytes() == one + b"\x7f\xfd" + one + b"\x7f\x00"
    x = np.zeros(128)
    x[:2] = 7.0, -2.0
    assert get_format("int4_g128").encode(x).to_bytes() == np.float16(1).tobytes() + b"\xe7" + bytes(63)


def test_bytes_of_fp8_by_hand():
    """fp8_row: 448 -> scale 1, 0x7E; 224 -> scale 1/2, 0x7E. fp8_e5m2: 57344 -> scale 1, 0x7B; -1 -> 0xBC."""
    one, half = np.float32(1).tobytes(), np.float32(0.5).tobytes()
    x = np.array([[448.0, -1], [224, 0.5]])
    assert get_format("fp8_row").encode(x).to_bytes() == one + b"\x7e\xb8" + half + b"\x7e\x38"
    assert get_format("fp8_e5m2").encode(np.array([57344.0, -1])).to_bytes() == b"\x7b\xbc" + one


def test_bytes_of_fp8_block_by_hand():
    """130 x 130 of zeros but a value in each of three tiles: codes row by row, then the scales 1, 2, 1 (zeros), 3."""
    x = np.zeros((130, 130), np.float32)
    x[0, 0], x[5, 129], x[129, 129] = 448, -896, 3 * 448
    data = bytearray(130 * 130) + np.array([1, 2, 1, 3], "<f4").tobytes()
    data[0], data[5 * 130 + 129], data[129 * 130 + 129] = 0x7E, 0xFE, 0x7E
    encoded = get_format("fp8_block").encode(x)
    assert encoded.to_bytes() == bytes(data)
    assert encoded.scales.dtype == np.float32 and encoded.scales.tolist() == [[1, 2], [1, 3]]


def test_fp8_block_tiles_survive_transposition_and_stay_in_their_matrix():
    x = normal(3, 200, 140)
    form = get_format("fp8_block")
    np.testing.assert_array_equal(form.quantize(x[0]), form.quantize(np.ascontiguousarray(x[0].T)).T)
    stack = form.encode(x)
    assert stack.scales.shape == (3, 2, 2)
    for i in range(3):
        np.testing.assert_array_equal(stack.scales[i], form.encode(x[i]).scales)
    assert form.encode(x, axis=1).scales.shape == (3, 2, 2)  # blocks along 200, rows along 140
    rows = get_format("fp8_block", tile=(1, 128)).encode(x)
    np.testing.assert_array_equal(rows.scales, np.maximum.reduceat(np.abs(x), [0, 128], axis=2) / np.float32(448))


def test_fp8_block_reads_a_released_layout():
    """A tensor of float8 and one of float32 scales per 128 x 128, as ml_dtypes multiplies them."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 127, (200, 300), np.uint8) | rng.integers(0, 2, (200, 300), np.uint8) << 7
    scales = rng.uniform(1e-4, 1e-2, (2, 3)).astype(np.float32)
    got = get_format("fp8_block").from_bytes(codes.tobytes() + scales.tobytes(), codes.shape).decode()
    wide = np.repeat(np.repeat(scales, 128, axis=0), 128, axis=1)[:200, :300]
    np.testing.assert_array_equal(got, codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * wide)


def test_nvfp4_square_tiles_survive_transposition():
    x = normal(40, 56)
    form = get_format("nvfp4", tile=16)
    np.testing.assert_array_equal(form.quantize(x), form.quantize(np.ascontiguousarray(x.T)).T)
    scales = form.encode(x).scales
    assert all((scales[i : i + 16] == scales[i]).all() for i in (0, 16, 32))
    stack = normal(2, 40, 56)
    both = form.encode(stack)
    for i in range(2):  # tiles do not cross matrices
        tops = np.abs(np.pad(stack[i], ((0, 8), (0, 8)))).reshape(3, 16, 4, 16).max(axis=(1, 3))
        want = (tops / (6.0 * both.tensor_scale)).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
        np.testing.assert_array_equal(both.scales[i, ::16], want)


@pytest.mark.parametrize("recipe", ["torchao", "te", "modelopt"])
def test_nvfp4_recipes_agree_on_ordinary_data(recipe):
    """Facts, section 3: on ordinary data all recipes and exact arithmetic give identical codes."""
    x = normal(64, 256)
    a, b = get_format("nvfp4").encode(x), get_format("nvfp4", recipe=recipe).encode(x)
    np.testing.assert_array_equal(a.scales, b.scales)
    assert np.mean(a.codes != b.codes) < 1e-4


def test_nvfp4_recipes_floor_their_scales():
    x = normal(4, 32)
    x[1:] *= 1e-6
    least = {r: get_format("nvfp4", recipe=r).encode(x).scales.min() for r in ("exact", "te", "torchao", "modelopt")}
    assert least == {"exact": 0, "te": 0, "torchao": 8, "modelopt": 1}  # 2^-6 is code 8, 2^-9 is code 1


def test_stochastic_is_unbiased_and_seeded():
    x = np.full((1, 1 << 16), 1.3, np.float32)
    x[0, 0] = 4.0
    x[:, ::32] = 4.0
    form = get_format("mxfp4", rounding="stochastic", seed=3)
    got = form.quantize(x)[:, 1::32]
    assert set(np.unique(got)) == {1.0, 1.5} and abs(got.mean() - 1.3) < 0.02
    assert form.encode(x).to_bytes() == form.encode(x).to_bytes()
    assert form.encode(x).to_bytes() != get_format("mxfp4", rounding="stochastic", seed=4).encode(x).to_bytes()


def test_custom_formats(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nelement: E2M1\nblock: 64\nscale: e8m0\n")
    form = get_format(str(path), scale_rule="rceil")
    assert (form.name, form.bits_per_value) == ("mine", Fraction(264, 64)) and layout(str(path)) == form.layout
    bdr = {"m": 5, "k1": 32, "d1": 8, "k2": 4, "d2": 2}
    assert get_format(bdr).bits_per_value == Fraction(8 + 8 * 2 + 32 * 6, 32) == layout(bdr).bits_per_value
    nv = {"element": "E4M3", "block": 32, "scale": "e4m3"}
    x = normal(3, 64)
    assert np.abs(get_format(nv).quantize(x) - x).max() < 0.2
    assert get_format(nv).layout.tensor_scale_bytes == 4
    q = {"element": "INT4", "block": 64, "scale": "fp16"}
    assert get_format(q).bits_per_value == Fraction(17, 4)


def test_errors_of_a_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\nelement: E2M7\nblok: 32\nscale: e8m0\n")
    with pytest.raises(InputError) as error:
        get_format(str(path))
    assert f"{path}:2:10" in str(error.value) and "did you mean block" in str(error.value)
    for bad in ({"m": 5, "k1": 32, "k2": 5, "d2": 1}, {"element": "INT4", "block": 32, "scale": "e8m0"}, {}):
        with pytest.raises(InputError):
            get_format(bad)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("mxfp5", {}, "did you mean mxfp"),
        ("nvfp4", {"scale_rule": "rceil"}, "unknown option 'scale_rule'"),
        ("mxfp4", {"scale_rul": "floor"}, "did you mean scale_rule"),
        ("mxfp4", {"scale_rule": "cei"}, "did you mean ceil"),
        ("mxfp4", {"rounding": "nearest"}, "rounding"),
        ("mxfp4", {"seed": 0}, "seed"),
        ("nvfp4", {"recipe": "tea"}, "did you mean te"),
        ("bf16", {"rounding": "zero"}, "nearest even only"),
        ("fp8_block", {"tile": 128}, r"tile: 128; write \(128, 128\)"),
    ],
)
def test_errors_in_options(name, options, message):
    with pytest.raises(InputError, match=message):
        get_format(name, **options)


def test_errors_in_arrays():
    form = get_format("mxfp4")
    for bad, axis in ((np.float32(1), -1), (np.ones(3, complex), -1), (np.array(["a"]), -1), (np.ones(3), 1)):
        with pytest.raises(InputError):
            form.encode(bad, axis)
    with pytest.raises(InputError, match="34 bytes given"):
        form.from_bytes(bytes(34), (1, 32))


def test_importing_compiles_nothing_and_needs_no_ml_dtypes():
    code = "import hwsim.formats.catalog, hwsim.formats.kernels as k, sys\n"
    code += "assert not any(f.signatures for f in vars(k).values() if hasattr(f, 'signatures'))\n"
    code += "assert 'ml_dtypes' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["nvfp4", "fp8_e4m3", "fp8_e5m2", "seedlm4", "mxfp4", "int8", "int4_g128", "fp16"])
def test_an_array_in_parts(name):
    """The format fitted to all parts encodes each part as the whole is encoded."""
    x = normal(9, 48) * np.float32(2.0) ** np.arange(9, dtype=np.float32)[:, None]
    whole = get_format(name).encode(x)
    form = get_format(name).fitted(x[a : a + 4] for a in (0, 4, 8))
    parts = [form.encode(x[a : a + 4]) for a in (0, 4, 8)]
    np.testing.assert_array_equal(np.concatenate([p.codes for p in parts]), whole.codes)
    np.testing.assert_array_equal(np.concatenate([p.decode() for p in parts]), whole.decode())
    assert all(p.tensor_scale == whole.tensor_scale for p in parts)


def test_a_given_tensor_scale():
    """Shared by tensors, or 1: s_b = E4M3(amax / 6 s_t) saturates at 448, and elements at 6."""
    x = np.zeros(32, np.float32)
    x[0], x[16] = 6.0, 6 * 448 * 4
    e = get_format("nvfp4", tensor_scale=1).encode(x)
    assert e.tensor_scale == 1 and e.scales.tolist() == [0x38, 0x7E] and e.decode()[[0, 16]].tolist() == [6, 2688]
    e = get_format("nvfp4", tensor_scale=0.5).encode(x[:16])
    assert e.tensor_scale == 0.5 and e.scales.tolist() == [0x40] and e.decode()[0] == 6
    assert get_format("fp8", tensor_scale=2.0).encode(np.array([4.0, 2000.0])).decode().tolist() == [4, 896]
    assert get_format("nvfp4", tensor_scale=0.5).title == "nvfp4 tensor_scale=0.5"
    for name, bad in (("nvfp4", 0), ("nvfp4", -1.0), ("nvfp4", float("nan")), ("fp8", "1"), ("seedlm4", 200)):
        with pytest.raises(InputError, match="tensor_scale"):
            get_format(name, tensor_scale=bad)
    with pytest.raises(InputError, match="no scale per tensor"):
        get_format("int8", tensor_scale=1.0)
