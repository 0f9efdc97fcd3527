"""Training with block formats: the three GEMMs of a linear layer, each operand quantised along its own reduction axis.

A linear layer Y = X W^T, X [T, K], W [N, K], computes three GEMMs in a training step, and quantises each operand along
the axis that the GEMM sums over:

    fprop   Y  = X W^T      X along K, W along K
    dgrad   dX = dY W       dY along N, W along N, as decode(encode(W^T))
    wgrad   dW = dY^T X     dY along T, X along T

So X, W and dY are encoded twice each, both times from the values in high precision and never from each other's codes. A
format with square tiles gives a matrix and its transpose the same codes (MX: `tile=32`, NVFP4: `tile=16`).

Values are decoded to float32 and multiplied by numpy in float32, where hardware multiplies codes and accumulates in
float32: products of decoded values are the same, but the order of the sums is that of numpy's BLAS.

source: which operands, axes and roundings: microsoft/microxcaling, mx/linear.py; arXiv 2509.25149 (NVFP4: 16 x 16 tiles
for W, stochastic rounding for dY, Hadamard transform of 16 on the operands of wgrad, sensitive layers in high
precision).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

import numpy as np
import numpy.typing as npt

from hwsim.errors import InputError, nearest
from hwsim.formats import draws
from hwsim.formats.arrays import floats
from hwsim.formats.format import Format

SEEDS = (1 << 29) - 1
"""Largest seed of a call. Its six encodings have six different seeds of the register, which no other call has."""


@dataclass(frozen=True)
class LinearRecipe:
    """The number formats of one linear layer in training; `LinearRecipe()` is the layer in high precision.

    weights, activations, gradients: formats of W, X and dY; None: high precision, the values as they are. Tiles and
        rounding are options of the format: get_format("nvfp4", tile=16), get_format("nvfp4", rounding="stochastic").
    hadamard: size of a random Hadamard transform along T of both operands of wgrad, a power of two; 0: none. It is
        orthogonal, so that it cancels in dW but for rounding, and spreads outliers over their block.
    signs: seed of its sign vector, 1 to 2^32 - 1; one vector serves all layers and steps.

    Every method takes a seed, 1 to 2^29 - 1, which it needs where a format rounds stochastically. Write another one in
    each call, else every step rounds the same way.
    """

    weights: Format | None = None
    activations: Format | None = None
    gradients: Format | None = None
    hadamard: int = 0
    signs: int = 1

    def __post_init__(self) -> None:
        """raises: InputError with every problem."""
        problems = []
        for name in ("weights", "activations", "gradients"):
            form = getattr(self, name)
            if form is not None and not isinstance(form, Format):
                problems.append(f"{name}: {form!r} is no Format; write get_format(...), or None for high precision")
        size = self.hadamard
        if not isinstance(size, int) or size < 0 or size & (size - 1):
            problems.append(f"hadamard: {size!r}; write a power of two, for example 16, or 0 for none")
        problems += [f"signs: {problem}" for problem in draws.seed_problems(self.signs)]
        if problems:
            raise InputError(*problems)

    def fprop(self, x: npt.ArrayLike, w: npt.ArrayLike, seed: int | None = None) -> np.ndarray:
        """Y = X W^T. x: [..., K]; w: [N, K]; result: float[..., N], float32 where both operands have a format.

        x, w: whatever `Format.encode` takes. raises: InputError for shapes that do not fit, or a missing seed.
        """
        x, w = floats(x), _matrix(w)
        _agree("x", x, -1, "w", w, -1)
        y: np.ndarray = quantized(self.activations, x, -1, seed, 0) @ quantized(self.weights, w, -1, seed, 1).T
        return y

    def dgrad(self, dy: npt.ArrayLike, w: npt.ArrayLike, seed: int | None = None) -> np.ndarray:
        """dX = dY W, with W as decode(encode(W^T)). dy: [..., N]; w: [N, K]; result: float[..., K].

        raises: InputError for shapes that do not fit, or a missing seed.
        """
        dy, w = floats(dy), _matrix(w)
        _agree("dy", dy, -1, "w", w, 0)
        dx: np.ndarray = quantized(self.gradients, dy, -1, seed, 2) @ quantized(self.weights, w, 0, seed, 3)
        return dx

    def wgrad(self, dy: npt.ArrayLike, x: npt.ArrayLike, seed: int | None = None) -> np.ndarray:
        """dW = dY^T X, summed over T, all axes but the last in C order. dy: [..., N]; x: [..., K]; result: float[N, K].

        T is padded with zeros to whole blocks. raises: InputError for shapes that do not fit, or a missing seed.
        """
        dy, x = floats(dy), floats(x)
        if not dy.ndim or not x.ndim or dy.shape[:-1] != x.shape[:-1]:
            raise InputError(f"dy {list(dy.shape)} and x {list(x.shape)}: write equal sizes in all axes but the last")
        tokens = math.prod(x.shape[:-1])
        left, right = dy.reshape(tokens, dy.shape[-1]), x.reshape(tokens, x.shape[-1])
        if self.hadamard:
            left, right = (hadamard(each, self.hadamard, self.signs) for each in (left, right))
        dw: np.ndarray = quantized(self.gradients, left, 0, seed, 4).T @ quantized(self.activations, right, 0, seed, 5)
        return dw


HIGH = LinearRecipe()
"""A linear layer in the type of its operands, without quantisation."""

Backward = Callable[[npt.ArrayLike], tuple[np.ndarray, np.ndarray]]
"""dY [..., N] -> (dX [..., K], dW [N, K])."""


def quantized_linear(
    x: npt.ArrayLike, w: npt.ArrayLike, recipe: LinearRecipe, seed: int | None = None
) -> tuple[np.ndarray, Backward]:
    """(Y, its backward pass) of one linear layer without a bias, all three GEMMs in the formats of the recipe.

    x: [..., K]; w: [N, K], the master weights in high precision. Gradients pass the rounding unchanged (the
    straight-through estimator). seed: of stochastic rounding, 1 to 2^29 - 1, another one in each call.
    raises: InputError for shapes that do not fit, or a missing seed.
    """
    x, w = floats(x), _matrix(w)

    def backward(dy: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        return recipe.dgrad(dy, w, seed), recipe.wgrad(dy, x, seed)

    return recipe.fprop(x, w, seed), backward


@dataclass(frozen=True)
class ModelRecipe:
    """The recipe of a model's linear layers.

    linear: of every layer but those of `high`. high: shell patterns of the names of layers in high precision, for
        example ("head", "layers.3.*").
    """

    linear: LinearRecipe
    high: tuple[str, ...] = ()

    def per_layer(self, names: Iterable[str]) -> dict[str, LinearRecipe]:
        """The recipe of each layer. raises: InputError for patterns that match no layer, with the nearest name."""
        names = list(names)
        problems = [
            f"high: {pattern!r} matches no layer{nearest(pattern, names)}"
            for pattern in self.high
            if not any(fnmatchcase(name, pattern) for name in names)
        ]
        if problems:
            raise InputError(*problems)
        return {name: HIGH if any(fnmatchcase(name, p) for p in self.high) else self.linear for name in names}


def quantized(form: Format | None, x: np.ndarray, axis: int, seed: int | None, which: int) -> np.ndarray:
    """decode(encode(x)) with blocks along `axis`: float32 of the same shape; x itself without a format.

    which: 0 to 7, the encoding's number among those of a call with that seed, so that no two draw the same bits.
    raises: InputError where the format rounds stochastically and the seed is missing or cannot be.
    """
    if form is None:
        return x
    if form.rounding != "stochastic":
        return form.quantize(x, axis)
    if seed is None or draws.seed_problems(seed) or seed > SEEDS:
        raise InputError(
            f"seed: {seed!r}; {form.title} needs one: write an integer from 1 to {SEEDS}, new in each call"
        )
    return form.quantize(x, axis, draws.mix(8 * int(seed) + which))


def hadamard(rows: np.ndarray, size: int, signs: int) -> np.ndarray:
    """float[T', C] of rows float[T, C]: H D along the first axis, in runs of `size` rows, T padded with zeros to T'.

    H: Sylvester's Hadamard matrix over sqrt(size), orthogonal. D: a random sign per row of a run, from seed `signs`.
    """
    missing = -len(rows) % size
    whole = np.pad(rows, ((0, missing), (0, 0))) if missing else rows
    turned: np.ndarray = _rotation(size, signs).astype(rows.dtype) @ whole.reshape(-1, size, rows.shape[1])
    return turned.reshape(whole.shape)


@cache
def _rotation(size: int, signs: int) -> np.ndarray:
    """float64[size, size]: H D."""
    h = np.ones((1, 1))
    while len(h) < size:
        h = np.block([[h, h], [h, -h]])
    flips = np.array([1.0 - 2.0 * (r & 1) for r in draws.draws(signs, size)])
    rotation: np.ndarray = h * flips / math.sqrt(size)
    return rotation


def _matrix(w: npt.ArrayLike) -> np.ndarray:
    found = floats(w)
    if found.ndim != 2:
        raise InputError(f"w: shape {list(found.shape)}; write a matrix [N, K]")
    return found


def _agree(a_name: str, a: np.ndarray, a_axis: int, b_name: str, b: np.ndarray, b_axis: int) -> None:
    """raises: InputError for two arrays whose reduction axes differ in length."""
    if not a.ndim or a.shape[a_axis] != b.shape[b_axis]:
        what = f"{a_name} {list(a.shape)} and {b_name} {list(b.shape)}"
        raise InputError(f"{what}: axis {a_axis} of {a_name} and axis {b_axis} of {b_name} must be equally long")
