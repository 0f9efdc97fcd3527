"""`Format`, which encodes arrays and decodes them, and `Encoded`, the codes of one array.

`Encoded` keeps codes with the blocked axis last, in C order, as they are stored.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import numpy.typing as npt

from hwsim.errors import InputError, nearest
from hwsim.formats.arrays import float_rows
from hwsim.formats.draws import checked_seed, seed_problems
from hwsim.formats.layout import Layout
from hwsim.formats.stored import Stored

if TYPE_CHECKING:
    from hwsim.formats.explain import BlockStep, Explanation
    from hwsim.formats.operand import Operand

ROUNDINGS = ("rne", "away", "zero", "stochastic")
TITLE_OPTIONS = ("scale_rule", "rounding", "recipe", "tile", "four_over_six", "refine", "tensor_scale")
"""Options that change values, and so are part of a title."""

OPTION_WORDS = {
    "rounding": "rne, away, zero, stochastic",
    "seed": "1 to 4294967295, of stochastic rounding",
    "scale_rule": "floor, even, rceil, ceil",
    "recipe": "exact, torchao, te, modelopt",
    "four_over_six": "True (squared errors), 'absolute'",
    "tensor_scale": "given: a positive float32",
    "row_scaled": "True: a scale per row in place of the tensor's",
    "refine": "'exponent': also the neighbouring exponents",
}
"""What each option of `get_format` takes, as explanations say it; `Format.options` knows which ones a format has."""

_PARALLEL_VALUES = 1 << 20  # below this a thread costs more than it saves


_T = TypeVar("_T")


def present(value: _T | None) -> _T:
    """The value, in a class of formats whose arrays always have it, such as the scales of a block format."""
    assert value is not None
    return value


@dataclass(frozen=True, eq=False)
class Encoded:
    """An array in a number format, as codes.

    Every array is checked when it is made: a code beyond the table of values would be read from other memory.

    format: the format that encoded it, and decodes it.
    shape, axis: of the original array; blocks run along `axis`.
    codes: unsigned[..., k], one per element, the blocked axis last (seed formats: one uint64 record per seed block).
    scales: unsigned[..., ceil(k / block)], one per block; int8, fp8_row: uint32[...], one per row; fp8_block:
        float32[..., ceil(n / tile rows), ceil(k / block)], one per tile; None where there is none.
    shifts: BDR, uint8[..., sub-blocks]; else None.
    tensor_scale: the scale of the whole tensor as a float32, or the signed exponent of a seed format; else None.
    row_scales: row-scaled NVFP4, float32[...], one per row beside the scales of its blocks; else None.
    """

    format: Format
    shape: tuple[int, ...]
    axis: int
    codes: np.ndarray
    scales: np.ndarray | None = None
    shifts: np.ndarray | None = None
    tensor_scale: np.float32 | int | None = None
    row_scales: np.ndarray | None = None

    def __post_init__(self) -> None:
        """raises: InputError for arrays that are not those of the format and the shape, with every problem."""
        what = f"{self.format.name}, shape {self.shape}"
        if not all(isinstance(n, int | np.integer) and n >= 0 for n in self.shape):
            raise InputError(f"{what}: write sizes of 0 or more")
        if not 0 <= self.axis < len(self.shape):
            raise InputError(f"{what}: axis {self.axis}; write 0 to {len(self.shape) - 1}")
        problems = self.format.stored(self.shape, self.axis).problems(self)
        if problems:
            raise InputError(*(f"{what}: {problem}" for problem in problems))

    @property
    def row_length(self) -> int:
        """Values along the blocked axis, padding not counted."""
        return self.shape[self.axis]

    @property
    def rows(self) -> int:
        """Rows of blocks: all other axes together."""
        return math.prod(n for i, n in enumerate(self.shape) if i != self.axis)

    @property
    def tensor_number(self) -> float:
        """`tensor_scale` as a number, in a format that has one: the scale, or the exponent of a seed format."""
        assert self.tensor_scale is not None
        return float(self.tensor_scale)

    @property
    def nbytes(self) -> int:
        """`len(to_bytes())`."""
        return self.format.layout.array_nbytes(moved_shape(self.shape, self.axis, self.row_length))

    def to_bytes(self) -> bytes:
        """Records row by row, then the tensor scale."""
        return self.format.pack(self)

    def decode(self) -> np.ndarray:
        """float32[shape]."""
        return self.format.decode(self)


@dataclass(frozen=True)
class Format(ABC):
    """A number format with its options; build one with `get_format`.

    A class of its own defines `encode_rows`, `decode`, `pack`, `from_bytes`, `operand` and `explained`.

    rounding: of elements: "rne", "away" (ties away from zero), "zero" or "stochastic".
    seed: of the stochastic register, 1 to 2^32 - 1.
    threads: workers for large arrays; None: as many as there are processors. Never changes a bit.
    given: the layout that `get_format` resolved; None: the one that follows from the class's own parameters.
    """

    rounding: str = field(default="rne", kw_only=True)
    seed: int = field(default=1, kw_only=True)
    threads: int | None = field(default=None, kw_only=True)
    given: Layout | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse options that cannot be. raises: InputError with every problem."""
        problems = []
        if self.rounding not in ROUNDINGS:
            problems.append(f"rounding: {self.rounding!r}{nearest(str(self.rounding), ROUNDINGS)}")
        problems += seed_problems(self.seed)
        if self.threads is not None and not (isinstance(self.threads, int) and self.threads >= 1):
            problems.append(f"threads: {self.threads}; write an integer, 1 or more")
        if problems:
            raise InputError(*problems)

    @cached_property
    def layout(self) -> Layout:
        """The packed form of the format."""
        return self.given or self.own_layout()

    def own_layout(self) -> Layout:
        """The layout that follows from the parameters, for classes that can be built without `get_format`.

        raises: InputError from a class of which `get_format` alone knows the layout.
        """
        raise InputError(f"{type(self).__name__}: build it with get_format, which gives it its layout")

    @property
    def name(self) -> str:
        """The layout's name."""
        return self.layout.name

    @property
    def title(self) -> str:
        """`mxfp8_e4m3 rceil`: the name and every option that is not the default."""
        said = [self.name]
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name in TITLE_OPTIONS and value != option.default:
                number = "" if value is True else f"={value}"
                bare = isinstance(value, str) and option.name != "four_over_six"
                said.append(value if bare else option.name + number)
        return " ".join(said)

    def options(self) -> dict[str, str]:
        """The options that change this format's values: name -> what to write. Those of its name are not among them."""
        names = [option.name for option in fields(self)]
        return {name: words for name, words in OPTION_WORDS.items() if name in names}

    @property
    def bits_per_value(self) -> Fraction:
        """Stored bits per value; row and tensor scales and padding are not counted."""
        return self.layout.bits_per_value

    def encode(self, x: npt.ArrayLike, axis: int = -1, seed: int | None = None) -> Encoded:
        """Codes of an array of numbers of any shape and strides, blocks along `axis`.

        x: numpy, lists, ml_dtypes, torch, `__array__` or `__dlpack__`; see `arrays.floats`.
        seed: of stochastic rounding in this call, 1 to 2^32 - 1; None: the format's own.
        raises: InputError for a scalar, another dtype, or an axis that does not exist.
        """
        return self.seeded(seed).encode_rows(*float_rows(x, axis))

    def seeded(self, seed: int | None) -> Self:
        """This format with another seed; None: itself. raises: InputError for a seed that cannot be."""
        return self if seed is None else replace(self, seed=checked_seed(seed))

    @abstractmethod
    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """`encode`, of an array as `arrays.float_rows` gives it: float32 or float64[rows, k], blocked axis last."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape, each value rounded once."""

    @abstractmethod
    def pack(self, encoded: Encoded) -> bytes:
        """The packed bytes of the layout."""

    @abstractmethod
    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` whose `to_bytes()` is `data`.

        raises: InputError when the number of bytes is not that of the shape.
        """

    @abstractmethod
    def operand(self, encoded: Encoded) -> Operand:
        """One side of a dot product: a matrix of this format taken apart, see `hwsim.formats.operand`.

        encoded: [rows, k], blocks along the last axis (`operand.operand` checks it).
        """

    @abstractmethod
    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, Sequence[BlockStep]]:
        """Where the tensor's or row's scale comes from ("": there is none), and how each block was encoded.

        row, decoded: float64[k] and float32[k]; the building blocks are in `hwsim.formats.explain`.
        """

    def explain(self, values: Sequence[float]) -> Explanation:
        """How a row of values becomes codes, block by block; padding is not shown.

        values: floats[k], k >= 1, read as float64.
        raises: InputError for an empty row, or values that the format cannot hold.
        """
        from hwsim.formats.explain import Explanation

        row = np.asarray(values, np.float64)
        if row.ndim != 1 or not row.size:
            raise InputError("explain takes one row of at least one value; write numbers after the format's name")
        encoded = self.encode(row)
        tensor, blocks = self.explained(row, encoded, encoded.decode())
        return Explanation(self.title, tensor, tuple(blocks), self.options())

    def fitted(self, parts: Iterable[np.ndarray]) -> Self:
        """This format with the tensor scale of an array that is read in parts; itself where it has none.

        parts: float32 or float64[rows, k], all rows of the array, as `arrays.float_rows` gives them. Then `encode` of
        whole rows (and of whole tiles) gives the codes that `encode` of the array would give.
        """
        return self

    def zero_record(self) -> bytes:
        """The packed record of a block of zeros."""
        zeros = self.encode(np.zeros((1, self.layout.block), np.float32))
        return zeros.to_bytes()[self.layout.row_scale_bytes :]

    def quantize(self, x: npt.ArrayLike, axis: int = -1, seed: int | None = None) -> np.ndarray:
        """decode(encode(x)): float32 of the same shape."""
        return self.decode(self.encode(x, axis, seed))

    def stored(self, shape: tuple[int, ...], axis: int) -> Stored:
        """Shapes, types and limits of the arrays of an `Encoded`, which checks them; a class with shifts says more."""
        return Stored.of(self.layout, moved_shape(shape, axis, shape[axis]))

    @property
    def rounding_mode(self) -> int:
        """The rounding as the kernels number it."""
        return ROUNDINGS.index(self.rounding)


def per_row(a: np.ndarray, rows: int) -> np.ndarray:
    """The array as [rows, remaining size / rows]; numpy cannot infer that for an empty array."""
    return np.ascontiguousarray(a).reshape(rows, a.size // max(rows, 1))


def padded(rows: np.ndarray, block: int) -> np.ndarray:
    """Rows padded with zeros to whole blocks; the same array where they are whole already."""
    missing = -rows.shape[1] % block
    return np.pad(rows, ((0, 0), (0, missing))) if missing else rows


def moved_shape(shape: Sequence[int], axis: int, last: int) -> tuple[int, ...]:
    """The shape with `axis` taken out and `last` put at the end."""
    return (*(n for i, n in enumerate(shape) if i != axis), last)


def restore(rows: np.ndarray, shape: Sequence[int], axis: int) -> np.ndarray:
    """[rows, k] back to the original shape."""
    k = shape[axis]
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved_shape(shape, axis, k)), -1, axis))


def in_threads(count: int, values_each: int, threads: int | None, work: Callable[[int, int], None]) -> None:
    """Call work(first, last) over `count` independent pieces, in threads where that pays."""
    workers = threads or len(os.sched_getaffinity(0))
    workers = min(workers, count, max(1, count * values_each // _PARALLEL_VALUES))
    if workers <= 1:
        work(0, count)
        return
    edges = [count * i // workers for i in range(workers + 1)]
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, a, b) for a, b in zip(edges, edges[1:], strict=False)]:
            done.result()


def tensor_scale_problems(scale: object) -> list[str]:
    """What is wrong with a given tensor scale; empty for None and for a positive finite float32."""
    if scale is None:
        return []
    number = isinstance(scale, int | float | np.integer | np.floating) and not isinstance(scale, bool)
    if not number or not 0 < float(np.float32(scale)) < math.inf:  # type: ignore[arg-type]
        return [f"tensor_scale: {scale!r}; write a positive float32"]
    return []


def largest_finite(x: np.ndarray) -> float:
    """Largest magnitude of the finite values; 0 where there is none."""
    top = max(float(x.max()), -float(x.min())) if x.size else 0.0
    if not math.isfinite(top):
        top = float(np.abs(x, where=np.isfinite(x), out=np.zeros_like(x)).max())
    return abs(top)


def amax_scales(largest: np.ndarray, most: int, dtype: type[np.float16 | np.float32]) -> np.ndarray:
    """largest / most rounded once, elementwise; 1 where that is 0. most: the largest element, an integer."""
    shift = max(0, most.bit_length() - 12)  # 57344 has more bits than `divide_rounded` takes, and they are zeros
    scales = divide_rounded(np.asarray(largest, np.float64) / 2**shift, most >> shift, dtype)
    return np.where(scales > 0, scales, dtype(1))


def divide_rounded(a: npt.ArrayLike, n: int, dtype: type[np.float16 | np.float32]) -> np.ndarray:
    """a / n rounded once (nearest even) from the exact quotient to float32 or float16; saturates, never Inf.

    a: float64 >= 0, finite; n: an integer of at most 12 bits.
    """
    exact = np.asarray(a, np.float64)
    q = exact / n
    with np.errstate(over="ignore"):
        s = q.astype(dtype)
    s = np.minimum(s, np.finfo(dtype).max)
    with np.errstate(over="ignore"):
        up, down = np.nextafter(s, dtype(np.inf)), np.nextafter(s, dtype(0))
        for other in (up, down):
            # The float64 quotient may have landed on a midpoint that the exact one misses.
            middle = (s.astype(np.float64) + other.astype(np.float64)) / 2
            away = exact > n * middle if other is up else exact < n * middle
            s = np.where((q == middle) & away & np.isfinite(other), other, s)
    rounded: np.ndarray = s.astype(dtype)
    return rounded
