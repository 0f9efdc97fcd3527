"""Arrays in: whatever holds numbers becomes a numpy array of floats that a format can encode, exactly.

numpy, lists, the types of ml_dtypes (bfloat16, FP8, FP6, FP4, E8M0), torch tensors (their bits are read, so that
bfloat16 and FP8 need no detour), and any object with `__array__` or `__dlpack__`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hwsim.errors import InputError

NARROW = (
    "float8_e4m3fn", "float8_e4m3", "float8_e5m2", "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn",
    "float4_e2m1fn",
)  # fmt: skip
"""Types of ml_dtypes, besides bfloat16, whose every value is a float32."""

_WRITE = "write an array of float16, bfloat16, float32 or float64, for example x.float().numpy()"


def floats(x: npt.ArrayLike) -> np.ndarray:
    """float32 or float64[...] with the values of x, exactly.

    float16, bfloat16 and narrower floats widen to float32; integers and booleans become float64.
    raises: InputError for an object without an array of numbers, or integers that float64 does not hold.
    """
    return _widened(array(x))


def array(x: npt.ArrayLike) -> np.ndarray:
    """x as a numpy array in its own type. raises: InputError for an object without an array."""
    if isinstance(x, np.ndarray):
        return x
    kind = f"{type(x).__module__}.{type(x).__qualname__}"
    if type(x).__module__.split(".")[0] == "torch":
        return _from_torch(x, kind)
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            return np.from_dlpack(x)  # type: ignore[arg-type]  # it has the method that numpy asks for
        found = np.asarray(x)
    except Exception as error:  # an object's own __array__ may raise anything
        raise InputError(f"{kind} does not become a numpy array ({error}); {_WRITE}") from error
    if found.dtype == object:
        raise InputError(f"{kind} holds objects or rows of different lengths, and no array of numbers; {_WRITE}")
    return found


def _from_torch(x: object, kind: str) -> np.ndarray:
    """A torch tensor's numbers; types that numpy lacks are read as their bits."""
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]  # present where a tensor is

        tensor = x.detach().cpu()  # type: ignore[attr-defined]
        name = str(tensor.dtype).removeprefix("torch.")
        if name == "bfloat16":
            return _bfloat16(tensor.contiguous().view(torch.int16).numpy().view(np.uint16))
        if name.startswith("float8"):
            return _small(tensor.contiguous().view(torch.uint8).numpy(), name, kind)
        found: np.ndarray = tensor.numpy()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{kind} does not become a numpy array ({error}); write x.float().cpu().numpy()") from error
    return found


def _small(bits: np.ndarray, name: str, kind: str) -> np.ndarray:
    """float32 of FP8 bits, by the tables of values."""
    from hwsim.formats.elements import E4M3, E5M2, E8M0_VALUES

    tables = {"float8_e4m3fn": E4M3.values, "float8_e5m2": E5M2.values, "float8_e8m0fnu": E8M0_VALUES}
    if name not in tables:
        raise InputError(f"{kind} of {name} cannot be read; write x.float()")
    values: np.ndarray = np.array(tables[name], np.float32)[bits]
    return values


def _bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _widened(x: np.ndarray) -> np.ndarray:
    name = x.dtype.name
    if name == "bfloat16":
        return _bfloat16(np.ascontiguousarray(x).view(np.uint16)).reshape(x.shape)
    if name in NARROW or x.dtype.newbyteorder("=") == np.float16:
        return x.astype(np.float32)
    if x.dtype.kind in "iub":
        # Compared as integers: as floats 2^53 + 1 is 2^53.
        if x.dtype.itemsize == 8 and x.size and max(int(x.max()), -int(x.min())) > 1 << 53:
            raise InputError("integers beyond 2^53 do not fit a float64; convert them first")
        return x.astype(np.float64)
    if x.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise InputError(f"dtype {x.dtype} cannot be encoded; {_WRITE}")
    return x


def float_rows(x: npt.ArrayLike, axis: int) -> tuple[np.ndarray, tuple[int, ...], int]:
    """(float32 or float64[rows, k] in C order with the blocked axis last, original shape, axis >= 0).

    raises: InputError for a scalar, an axis that does not exist, and as `floats` does.
    """
    x = floats(x)
    if x.ndim == 0:
        raise InputError("a format needs an array of at least one axis; write [x]")
    axis = checked_axis(axis, x.shape)
    moved = np.moveaxis(x, axis, -1)
    k = moved.shape[-1]
    rows = math.prod(moved.shape[:-1])
    native = np.ascontiguousarray(moved, dtype=moved.dtype.newbyteorder("=")).reshape(rows, k)
    return native, x.shape, axis


def checked_axis(axis: object, shape: tuple[int, ...]) -> int:
    """The axis counted from the front. raises: InputError for one that the shape lacks."""
    whole = isinstance(axis, int | np.integer) and not isinstance(axis, bool)
    if not whole or not -len(shape) <= int(axis) < len(shape):  # type: ignore[call-overload]
        last = f"write {-len(shape)} to {len(shape) - 1}" if shape else "write an array with axes"
        raise InputError(f"axis {axis} does not exist in an array of shape {shape}; {last}")
    return int(axis) % len(shape)  # type: ignore[call-overload,no-any-return]
