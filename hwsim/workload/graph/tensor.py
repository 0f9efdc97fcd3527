"""Tensors of a graph: shapes without the batch axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]

#: No tensor of a graph has more elements than this.
MOST_ELEMENTS = 10**12


class Misfit(ValueError):
    """An op cannot take its inputs: `key` is the field of the op that is wrong ("": the op itself)."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key, self.message = key, message


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape of one sample's tensor.

    rows:    0 for values; else the elements are indices below `rows`.
    batched: there is one per sample; False for parameters, which all samples share.
    """

    shape: Shape
    rows: int = 0
    batched: bool = True

    @property
    def size(self) -> int:
        """Elements of one sample."""
        return prod(self.shape)

    def elements(self, batch: int) -> int:
        """Elements of the whole batch."""
        return self.size * (batch if self.batched else 1)


@dataclass(frozen=True, slots=True)
class Given:
    """A tensor that an op takes, with its name."""

    name: str
    tensor: Tensor

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.tensor.shape


def shown(shape: Sequence[int]) -> str:
    """`[64, 7, 7]`."""
    return "[" + ", ".join(map(str, shape)) + "]"


def batched(given: Sequence[Given]) -> bool:
    """Whether there is one result per sample: one of the inputs has one."""
    return any(each.tensor.batched for each in given)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The common shape of shapes aligned at their last axis, sides of 1 stretched. raises: Misfit."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    common = []
    for sides in zip(*padded, strict=True):
        large = {side for side in sides if side != 1}
        if len(large) > 1:
            raise Misfit("in", f"shapes {' and '.join(map(shown, shapes))} do not match; make them equal, or 1")
        common.append(large.pop() if large else 1)
    return tuple(common)


def axis_of(axis: int, shape: Shape, key: str = "axis") -> int:
    """The axis counted from 0; negative ones count from the end. raises: Misfit."""
    if not -len(shape) <= axis < len(shape):
        raise Misfit(key, f"`{axis}` is no axis of {shown(shape)}; write {-len(shape)} to {len(shape) - 1}")
    return axis % len(shape)


def values(given: Given, key: str = "in") -> Tensor:
    """The tensor, which must hold values. raises: Misfit if it holds indices."""
    if given.tensor.rows:
        raise Misfit(key, f"`{given.name}` holds indices, not values; name a tensor of values")
    return given.tensor


def indices(given: Given, key: str = "in") -> Tensor:
    """The tensor, which must hold indices. raises: Misfit if it holds values."""
    if not given.tensor.rows:
        raise Misfit(key, f"`{given.name}` holds values, not indices; name a tensor of indices")
    return given.tensor


def ranked(given: Given, rank: int, axes: str) -> Shape:
    """The shape of values with so many axes. raises: Misfit naming the `axes` that are expected."""
    shape = values(given).shape
    if len(shape) != rank:
        raise Misfit("in", f"`{given.name}` has the shape {shown(shape)}; name a tensor of shape {axes}")
    return shape
