"""Block formats with a power-of-two (E8M0) scale: the six of OCP MX v1.0, and any other element and block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from hwsim.errors import InputError, nearest
from hwsim.formats import draws, elements, families, kernels
from hwsim.formats.elements import E8M0_NAN, E8M0_VALUES, Element
from hwsim.formats.explain import (
    BlockStep,
    dice,
    element_steps,
    floor_log2,
    magnitudes,
    number,
    pieces,
    power,
    spoiled,
    top,
)
from hwsim.formats.format import (
    Encoded,
    Format,
    in_threads,
    moved_shape,
    padded,
    per_row,
    present,
    restore,
)
from hwsim.formats.layout import Layout
from hwsim.formats.operand import Operand, element_operand
from hwsim.formats.packing import pack_records, split_rows, unpack_records

SCALE_RULES = ("floor", "even", "rceil", "ceil")


@dataclass(frozen=True)
class BlockFormat(Format):
    """`block` elements of one OCP element format share an E8M0 scale.

    scale_rule: exponent of the scale from the block's maximum: "floor" (OCP), "even" (the maximum is first rounded
        half up to the element's fraction bits), "rceil" (the least scale that does not saturate) or "ceil"
        (ceil(log2 maximum) - emax).
    tile: `block` shares each scale among as many rows, the last two axes being rows and blocked axis: a matrix and its
        transpose then have the same codes. The scale is repeated in each row's record.
    source: OCP MX v1.0, section 6.3; "even": torchao and Quark; "rceil": NVIDIA cuBLAS and Transformer Engine;
        "ceil": torchao.
    """

    element: str = "E4M3"
    block: int = 32
    scale_rule: str = "floor"
    tile: int = 1

    def check(self) -> None:
        """Refuse what cannot be. raises: InputError."""
        super().check()
        elements.element(self.element)
        if not 1 <= self.block <= 4096:
            raise InputError(f"block: {self.block}; write 1 to 4096 elements")
        if self.tile not in (1, self.block):
            raise InputError(f"tile: {self.tile}; write 1, or {self.block} for square tiles")
        if self.scale_rule not in SCALE_RULES:
            raise InputError(f"scale_rule: {self.scale_rule!r}{nearest(str(self.scale_rule), SCALE_RULES)}")

    def options(self) -> dict[str, str]:
        """With the size of its tiles."""
        return super().options() | {"tile": f"{self.block}: square tiles, the same codes for a transpose"}

    @cached_property
    def table(self) -> Element:
        """The element format."""
        return elements.element(self.element)

    def own_layout(self) -> Layout:
        """The layout of element and block."""
        return families.e8m0(self.element, self.block)

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Codes and E8M0 scales of an array of floats, blocks along `axis`."""
        k = rows.shape[1]
        whole = padded(rows, self.block)
        blocks = whole.size // self.block
        flat = whole.reshape(-1)
        codes = np.empty(whole.shape, np.uint8)
        scales = np.empty(blocks, np.uint8)
        e, rule = self.table, SCALE_RULES.index(self.scale_rule)
        plain = self.tile == 1 and (e.is_integer or e.mantissa_bits > 0)
        if rows.dtype == np.float32 and self.rounding == "rne" and plain:
            bits, out = flat.view(np.int32), codes.reshape(-1)

            def fused(first: int, last: int) -> None:
                part = slice(first * self.block, last * self.block)
                kernels.encode_mx(
                    flat[part], bits[part], self.block, rule, e.is_integer, e.bits, e.mantissa_bits, e.emin, e.emax,
                    e.max_normal, e.max_code, kernels.INVERSE_POWERS, out[part], scales[first:last],
                )  # fmt: skip

            in_threads(blocks, self.block, self.threads, fused)
        else:
            maxima = np.empty(blocks)
            kernels.block_maxima(flat, self.block, maxima)
            if self.tile > 1:
                maxima = tile_maxima(maxima, self.tile, shape, axis)
            kernels.mx_scales(maxima, rule, e.mantissa_bits, e.emax, e.max_normal, scales)
            divisors = np.array(E8M0_VALUES)[per_row(scales, len(rows))]
            encode_elements(self, whole, k, self.block, divisors, e, codes)
        return Encoded(
            self, shape, axis,
            np.ascontiguousarray(codes[:, :k]).reshape(moved_shape(shape, axis, k)),
            scales.reshape(moved_shape(shape, axis, whole.shape[1] // self.block)),
        )  # fmt: skip

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape."""
        scales = np.array(E8M0_VALUES)[present(encoded.scales)]
        return decode_elements(encoded, np.array(self.table.values), scales, self.block)

    def pack(self, encoded: Encoded) -> bytes:
        """The packed bytes."""
        return pack_records(self.layout, encoded.codes, encoded.scales, None, 0, encoded.rows).tobytes()

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, _, shape, axis = split_rows(self.layout, data, shape, axis)
        codes, scales, _ = unpack_records(self.layout, body, shape[axis], np.uint8, np.uint8, 0, 0)
        return Encoded(
            self, shape, axis,
            codes.reshape(moved_shape(shape, axis, shape[axis])),
            scales.reshape(moved_shape(shape, axis, scales.shape[1])),
        )  # fmt: skip

    def operand(self, encoded: Encoded) -> Operand:
        """Elements under powers of two."""
        scales = per_row(np.array(E8M0_VALUES)[present(encoded.scales)], encoded.rows)
        return element_operand(encoded, self.table, self.block, scales)

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """Block by block; there is no tensor scale."""
        e, table = self.table, magnitudes(self.table)
        blocks = []
        cut = pieces(self.block, row, encoded.codes, decoded, dice(self, len(row)))
        for scale, (xs, codes, back, rs) in zip(present(encoded.scales).tolist(), cut, strict=True):
            if scale == E8M0_NAN:
                blocks.append(spoiled(xs, codes, e.bits, "0xFF (NaN)"))
                continue
            largest = top(xs)
            words = self._scale_words(Fraction(largest), scale)
            d = [Fraction(2) ** (scale - 127)] * len(xs)
            blocks.append(BlockStep(largest, (words,), element_steps(self, xs, d, table, e.bits, codes, back, rs)))
        return "", blocks

    def _scale_words(self, largest: Fraction, code: int) -> str:
        """How the scale rule gives the scale of a block with that largest magnitude."""
        stored = f"scale {power(code - 127)}, code {code}"
        if largest == 0:
            return f"all zero: {stored}"
        e = self.table
        if self.scale_rule == "rceil":
            exponent = floor_log2(largest / Fraction(e.max_normal))
            exponent += largest > Fraction(e.max_normal) * Fraction(2) ** exponent
            words = f"rceil: the least e with maximum <= {number(e.max_normal)} 2^e is {exponent}"
        else:
            words, rounded = "floor: ", largest
            if self.scale_rule == "even":
                unit = Fraction(2) ** (floor_log2(largest) - e.mantissa_bits)
                rounded = math.floor(largest / unit + Fraction(1, 2)) * unit
                words = f"even: maximum rounded to {e.mantissa_bits} fraction bits is {number(float(rounded))}; "
            binade = floor_log2(rounded)
            word = "floor"
            if self.scale_rule == "ceil":
                words, word = "ceil: ", "ceil"
                binade += rounded > Fraction(2) ** binade
            exponent = binade - e.emax
            words += f"{word}(log2 maximum) = {binade}, less emax {e.emax}: {exponent}"
        if exponent != code - 127:
            words += f", clamped to {code - 127}"
        return f"{words}; {stored}"


def tile_maxima(maxima: np.ndarray, tile: int, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """float64[blocks]: the largest of each tile, repeated for each of its rows. maxima: float64[blocks] of the rows.

    raises: InputError for an array without a second axis.
    """
    lead = moved_shape(shape, axis, 1)[:-1]
    if not lead:
        raise InputError(f"tile: {tile} needs an array of at least two axes")
    if not maxima.size:
        return maxima
    rows = lead[-1]
    grid = maxima.reshape(-1, rows, maxima.size // math.prod(lead))
    tops = np.maximum.reduceat(grid, np.arange(0, rows, tile), axis=1)
    return np.repeat(tops, tile, axis=1)[:, :rows].reshape(-1).copy()


def finite_maxima(whole: np.ndarray, block: int) -> np.ndarray:
    """float64[rows, n]: the largest finite magnitude of each block, 0 where there is none. whole: [rows, n * block]."""
    maxima = np.empty((len(whole), whole.shape[1] // block))
    kernels.block_maxima(whole.reshape(-1), block, maxima.reshape(-1))
    if not np.isfinite(maxima).all():
        finite = np.where(np.isfinite(whole), whole, 0)
        kernels.block_maxima(finite.reshape(-1), block, maxima.reshape(-1))
    return maxima


def encode_elements(
    form: Format, whole: np.ndarray, real: int, block: int, divisors: np.ndarray, e: Element, codes: np.ndarray
) -> None:
    """Fill `codes` with e's code of value / divisor, rounded once as `form` says.

    whole: float[rows, n * block]; real: values of a row that are not padding; divisors: float64[rows, n].
    """
    kind = 1 if e.is_integer else 0
    most_negative = 8 if e.name == "INT4" else e.max_code
    element = (kind, e.mantissa_bits, e.emin, e.max_code, most_negative, e.bits)
    encode_rounded(form, whole, real, block, divisors, element, codes)


def encode_rounded(
    form: Format,
    whole: np.ndarray,
    real: int,
    block: int,
    divisors: np.ndarray,
    element: tuple[int, int, int, int, int, int],
    codes: np.ndarray,
) -> None:
    """`encode_quotients` in threads; a thread starts the stochastic register where its first row does."""
    kind, m, emin, max_code, most_negative, bits = element
    near = whole.dtype == np.float32 and form.rounding == "rne" and (kind != 0 or m > 0)

    def work(first: int, last: int) -> None:
        if near:
            kernels.encode_nearest(
                whole[first:last], real, block, divisors[first:last], kind, m, emin, max_code, most_negative, bits,
                codes[first:last],
            )  # fmt: skip
            return
        start = (*draws.start(form.seed, first * real), draws.EPOCH) if form.rounding == "stochastic" else (0, 0, 1, 0)
        kernels.encode_quotients(
            whole[first:last], real, block, divisors[first:last], kind, m, emin, max_code, most_negative, bits,
            form.rounding_mode, np.array(start, np.uint64), codes[first:last],
        )  # fmt: skip

    in_threads(len(whole), max(whole.shape[1], 1), form.threads, work)


def decode_elements(encoded: Encoded, values: np.ndarray, scales: np.ndarray, block: int) -> np.ndarray:
    """float32 of the original shape: values[code] * scale, rounded once."""
    codes = encoded.codes.reshape(encoded.rows, encoded.row_length)
    out = np.empty(codes.shape, np.float32)
    scales = per_row(scales.astype(np.float64), len(codes))
    in_threads(
        len(codes), max(codes.shape[1], 1), encoded.format.threads,
        lambda a, b: kernels.decode_blocks(codes[a:b], values, scales[a:b], block, out[a:b]),
    )  # fmt: skip
    return restore(out, encoded.shape, encoded.axis)
