"""Values that users hand to public functions: every kind of array is read exactly or refused with what to write."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats import Encoded, get_format, matmul
from hwsim.formats.names import NAMES

X = np.array([[0.5, -1.5, 3.0, 0.25] * 8], np.float32)


class OnlyArray:
    def __array__(self, dtype=None, copy=None):
        return X


class OnlyDlpack:
    def __dlpack__(self, **kwargs):
        return X.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return X.__dlpack_device__()


class Raises:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("Got unsupported ScalarType BFloat16")


@pytest.mark.parametrize("x", [X.tolist(), OnlyArray(), OnlyDlpack(), X.astype(np.float16), np.asfortranarray(X)])
def test_anything_with_numbers(x):
    assert get_format("mxfp6").encode(x).to_bytes() == get_format("mxfp6").encode(X).to_bytes()


@pytest.mark.parametrize(
    "kind",
    ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn", "float8_e8m0fnu"],
)
def test_types_of_ml_dtypes(kind):
    dtype = getattr(ml_dtypes, kind)
    x = np.abs(X).astype(dtype)
    np.testing.assert_array_equal(get_format("fp32").quantize(x), x.astype(np.float64).astype(np.float32))
    np.testing.assert_array_equal(get_format("fp32").quantize(x.T, axis=0), x.T.astype(np.float32))


@pytest.mark.parametrize(
    "x, axis, message",
    [
        (Raises(), -1, "Raises does not become a numpy array.*BFloat16"),
        ([[1.0, 2.0], [3.0]], -1, "does not become a numpy array|different lengths"),
        ([object()], -1, "objects"),
        (None, -1, "holds objects"),
        ("abc", -1, "cannot be encoded|axis"),
        (np.array([2**53 + 1]), -1, "beyond 2\\^53"),
        (np.array([-(2**53) - 1]), -1, "beyond 2\\^53"),
        (np.array([2**64 - 1], np.uint64), -1, "beyond 2\\^53"),
        (X, None, "axis None does not exist"),
        (X, 1.0, "axis 1.0 does not exist"),
        (X, 2, "write -2 to 1"),
        (X.astype(complex), -1, "complex"),
    ],
)
def test_what_is_refused(x, axis, message):
    with pytest.raises(InputError, match=message):
        get_format("mxfp4").encode(x, axis=axis)


def test_integers_up_to_2_53_are_exact():
    x = np.array([2**53, -(2**53), 0])
    assert get_format("fp32").quantize(x).tolist() == [2.0**53, -(2.0**53), 0]


def encoded(form, shape, codes, scales=None, shifts=None, tensor=None, axis=-1):
    return Encoded(get_format(form), shape, axis % len(shape), codes, scales, shifts, tensor)


ONES, SCALE = np.full((1, 16), 2, np.uint8), np.full((1, 1), 56, np.uint8)


def test_an_encoded_by_hand():
    assert (encoded("nvfp4", (1, 16), ONES, SCALE, tensor=1.0).decode() == 1).all()
    assert (encoded("nvfp4", (16, 1), ONES, SCALE, tensor=1.0, axis=0).decode() == 1).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(codes=np.full((1, 16), 102, np.uint8), scales=SCALE, tensor=1.0), "codes: 102 is beyond 4 bits"),
        (dict(codes=ONES, scales=SCALE[:0], tensor=1.0), r"scales of shape \(0, 1\); write \(1, 1\)"),
        (dict(codes=ONES, scales=SCALE[0], tensor=1.0), r"scales of shape \(1,\); write \(1, 1\)"),
        (dict(codes=ONES, scales=None, tensor=1.0), "scales: write an array of uint8"),
        (dict(codes=ONES.tolist(), scales=SCALE, tensor=1.0), "codes: write an array of uint8"),
        (dict(codes=ONES.astype(np.int8), scales=SCALE, tensor=1.0), "codes of type int8; write uint8"),
        (dict(codes=ONES[:, :8], scales=SCALE, tensor=1.0), r"codes of shape \(1, 8\); write \(1, 16\)"),
        (dict(codes=ONES, scales=SCALE), "tensor_scale None: write a float32"),
        (dict(codes=ONES, scales=SCALE, shifts=ONES, tensor=1.0), "shifts: the format has none"),
    ],
)
def test_an_encoded_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=message):
        encoded("nvfp4", (1, 16), **arguments)


def test_axes_and_shifts_of_an_encoded():
    form = get_format("mx9")
    e = form.encode(X)
    with pytest.raises(InputError, match="axis -1; write 0 to 1"):
        Encoded(form, e.shape, -1, e.codes, e.scales, e.shifts)
    with pytest.raises(InputError, match="beyond 1 bits"):
        Encoded(form, e.shape, 1, e.codes, e.scales, e.shifts + np.uint8(2))
    with pytest.raises(InputError, match="tensor_scale 200: write an exponent from -128 to 127"):
        Encoded(get_format("seedlm4"), (1, 8), 1, np.ones((1, 1), np.uint64), None, None, 200)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_makes_arrays_that_pass(name):
    for shape, axis in (((3, 40), 1), ((2, 5, 8), 0), ((0, 16), 1), ((7,), 0)):
        form = get_format(name)
        e = form.encode(np.ones(shape, np.float32), axis)
        assert form.from_bytes(e.to_bytes(), shape, axis).to_bytes() == e.to_bytes()


def test_a_scale_byte_of_nvfp4_has_no_sign():
    """Bit 7 is ignored, as the hardware does: 0xB8 is 0x38 = 1, and 0xFF is NaN as 0x7F."""
    form = get_format("nvfp4")

    def value(byte):
        return form.from_bytes(bytes([byte]) + b"\x22" * 8 + np.float32(1).tobytes(), (16,)).decode()[0]

    assert [value(56), value(184)] == [1, 1] and np.isnan([value(127), value(255)]).all()
    for byte in (56, 184, 127, 255):
        e = form.from_bytes(bytes([byte]) + b"\x22" * 8 + np.float32(1).tobytes(), (1, 16))
        one = get_format("fp32").encode(np.ones((1, 16)))
        np.testing.assert_array_equal(matmul(one, e), np.float32([[16 * value(byte)]]))


def test_empty_dots():
    form = get_format("mxfp4")
    some, none = form.encode(np.ones((3, 64))), form.encode(np.zeros((0, 64)))
    for how in ("fp32", "exact", "blackwell_mx"):
        assert matmul(none, some, how).shape == (0, 3) and matmul(some, none, how).shape == (3, 0)
        empty = matmul(form.encode(np.zeros((2, 0))), form.encode(np.zeros((3, 0))), how)
        assert empty.tolist() == [[0, 0, 0]] * 2


def test_a_dot_of_plain_arrays_says_what_to_write():
    with pytest.raises(InputError, match=r"this is ndarray; write get_format\(...\).encode\(x\)"):
        matmul(X, X)


def test_names_in_capitals_and_options_of_the_name():
    with pytest.raises(InputError, match="did you mean mxfp4"):
        get_format("MXFP4")
    with pytest.raises(InputError, match="unknown option 'block'"):
        get_format("mxfp8", block=16)
