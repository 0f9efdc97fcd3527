"""NVFP4: E2M1 elements, an E4M3 scale per 16, an FP32 scale per tensor; and other elements and blocks like it.

source: arXiv 2509.25149; recipes: the code of torchao 0.18, Transformer Engine and Model-Optimizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from hwsim.errors import InputError, nearest
from hwsim.formats import elements, families, kernels
from hwsim.formats.elements import E4M3, Element
from hwsim.formats.explain import BlockStep, dice, element_steps, magnitudes, number, pieces, spoiled, top
from hwsim.formats.format import (
    Encoded,
    Format,
    divide_rounded,
    in_threads,
    largest_finite,
    moved_shape,
    padded,
    per_row,
    present,
    tensor_scale_problems,
)
from hwsim.formats.layout import Layout
from hwsim.formats.mx import decode_elements, encode_elements, tile_maxima
from hwsim.formats.nvfp4_rows import encode_by_rows, row_numbers
from hwsim.formats.operand import Operand, element_operand
from hwsim.formats.packing import pack_records, split_rows, unpack_records

RECIPES = ("exact", "torchao", "te", "modelopt")
_SCALES = np.array([abs(E4M3.values[code & 0x7F]) for code in range(256)])
"""Value of a block scale's byte: E4M3 without a sign; bit 7 is ignored, and 0xFF is NaN as 0x7F."""
_NAN_SCALE = 0x7F


@dataclass(frozen=True)
class ScaledFormat(Format):
    """x = q s_b s_t: elements q, an E4M3 scale s_b per block, a float32 scale s_t per tensor.

    recipe: "exact" (quotients rounded once), or a library's float32 arithmetic and floor of s_b:
        "torchao" (2^-6), "te" (none), "modelopt" (2^-9; 1 for a block of zeros).
    tile: 16 shares each scale among 16 rows (2D weight scales), the last two axes being rows and blocked axis.
    four_over_six: the maximum of a block becomes 4 or 6, whichever has the lower squared error; a tie takes 6.
        "absolute": the lower sum of absolute errors.
    row_scaled: a scale s_t per row, from the row's largest magnitude, in place of the tensor's.
    tensor_scale: s_t given, as a positive float32: one that several tensors share (q, k and v; gate and up), one from
        calibration, or 1 for scales of one level. s_b then saturates at 448. None: from the tensor's largest magnitude.
    """

    element: str = "E2M1"
    block: int = 16
    recipe: str = "exact"
    tile: int = 1
    four_over_six: bool | str = False
    tensor_scale: float | None = None
    row_scaled: bool = False

    def check(self) -> None:
        """Refuse what cannot be. raises: InputError with every problem."""
        super().check()
        problems = []
        if elements.element(self.element).is_integer:
            problems.append(f"element: {self.element} has no E4M3 scale; write E2M1 or another float")
        if self.recipe not in RECIPES:
            problems.append(f"recipe: {self.recipe!r}{nearest(str(self.recipe), RECIPES)}")
        if not 1 <= self.block <= 4096:
            problems.append(f"block: {self.block}; write 1 to 4096 elements")
        if self.tile not in (1, self.block):
            problems.append(f"tile: {self.tile}; write 1, or {self.block} for square tiles")
        if self.four_over_six not in (False, True, "absolute"):
            problems.append(f"four_over_six: {self.four_over_six!r}; write True (squared errors) or 'absolute'")
        if (self.four_over_six or self.recipe != "exact") and self.element.upper() != "E2M1":
            problems.append("recipe and four_over_six are for element E2M1")
        if self.four_over_six and (self.tile != 1 or self.recipe != "exact" or self.rounding != "rne"):
            problems.append("four_over_six needs recipe exact, rounding rne and no tile")
        others = self.four_over_six or self.recipe != "exact" or self.tile != 1 or self.tensor_scale is not None
        if self.row_scaled and others:
            problems.append("row_scaled needs recipe exact, no tile, no four_over_six and no given tensor_scale")
        problems += tensor_scale_problems(self.tensor_scale)
        if self.tensor_scale is not None and self.recipe == "te":
            problems.append("tensor_scale: recipe te has its own; write another recipe")
        if problems:
            raise InputError(*problems)

    def options(self) -> dict[str, str]:
        """With the size of its tiles; recipes and four-over-six are for E2M1."""
        plain = super().options() | {"tile": f"{self.block}: scales of square tiles"}
        e2m1 = self.table.name == "E2M1"
        return {name: words for name, words in plain.items() if e2m1 or name not in ("recipe", "four_over_six")}

    @cached_property
    def layout(self) -> Layout:
        """The packed form; row-scaled, a float32 at the start of each row and none after the last."""
        found = self.given or self.own_layout()
        if not self.row_scaled:
            return found
        return replace(found, name=f"{found.name}_row", row_scale_bytes=4, tensor_scale_bytes=0)

    @property
    def scale_values(self) -> np.ndarray:
        """float64[256]: value of a block scale's byte."""
        return _SCALES

    @cached_property
    def table(self) -> Element:
        """The element format."""
        return elements.element(self.element)

    def own_layout(self) -> Layout:
        """The layout of element and block."""
        return families.e4m3(self.element, self.block)

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Codes, E4M3 scales and the tensor scale of an array of floats, blocks along `axis`."""
        if self.row_scaled:
            return encode_by_rows(self, rows, shape, axis)
        k = rows.shape[1]
        whole = padded(rows, self.block)
        blocks = whole.size // self.block
        codes = np.empty(whole.shape, np.uint8)
        if self.recipe != "exact":
            whole = whole.astype(np.float32)  # the libraries start from float32
        top = largest_finite(whole)
        tensor = self._tensor_scale(top) if self.tensor_scale is None else np.float32(self.tensor_scale)
        s_t = float(tensor)
        into = float(self._te_encode(top)) if self.recipe == "te" else s_t  # the scale of block maxima
        fast = whole.dtype == np.float32 and self.rounding == "rne" and self.recipe == "exact"
        if fast and self.block == 16 and self.table.name == "E2M1" and not self.four_over_six:
            given = self.tile > 1
            scales = self._tiled(self._maxima(whole), into, shape, axis) if given else np.empty(blocks, np.uint8)
            flat = whole.reshape(-1)
            bits, out = flat.view(np.int32), codes.reshape(-1)

            def fused(a: int, b: int) -> None:
                part = slice(a * 16, b * 16)
                kernels.encode_nvfp4(flat[part], bits[part], s_t, given, _SCALES, out[part], scales[a:b])

            in_threads(blocks, 16, self.threads, fused)
        else:
            maxima = self._maxima(whole)
            scales = self._tiled(maxima, into, shape, axis) if self.tile > 1 else self._scales(maxima, into)
            self._elements(whole, k, scales, s_t, codes)
            if self.four_over_six:
                self._choose_four(whole, k, maxima, s_t, scales, codes)
        return Encoded(
            self, shape, axis,
            np.ascontiguousarray(codes[:, :k]).reshape(moved_shape(shape, axis, k)),
            scales.reshape(moved_shape(shape, axis, whole.shape[1] // self.block)),
            tensor_scale=tensor,
        )  # fmt: skip

    def fitted(self, parts: Iterable[np.ndarray]) -> ScaledFormat:
        """With s_t of the largest finite magnitude of all parts."""
        if self.tensor_scale is not None or self.recipe == "te" or self.row_scaled:
            return self
        rows = (part if self.recipe == "exact" else part.astype(np.float32) for part in parts)
        return replace(self, tensor_scale=float(self._tensor_scale(max(map(largest_finite, rows), default=0.0))))

    def _tensor_scale(self, top: float) -> np.float32:
        """s_t for the largest finite magnitude; 1 for a tensor of zeros or where s_t underflows."""
        if self.recipe == "te":
            scale = float(np.float32(1) / self._te_encode(top))
        else:
            reach = 1536 if self.four_over_six else int(448 * self.table.max_normal)
            shift = max(0, reach.bit_length() - 12)  # 57344 * 448 has more bits than divide_rounded takes
            scale = float(divide_rounded(top / 2**shift, reach >> shift, np.float32))
        return np.float32(scale) if top > 0 and scale > 0 else np.float32(1)

    def _te_encode(self, top: float) -> np.float32:
        """Transformer Engine's encoding scale 2688 / amax, 1 for a tensor of zeros."""
        if top == 0:
            return np.float32(1)
        with np.errstate(over="ignore"):
            return np.float32(min(np.float32(2688) / np.float32(top), np.finfo(np.float32).max))

    def _maxima(self, whole: np.ndarray) -> np.ndarray:
        maxima = np.empty(whole.size // self.block)
        kernels.block_maxima(whole.reshape(-1), self.block, maxima)
        return maxima

    def _scales(self, maxima: np.ndarray, s_t: float, top: float | None = None) -> np.ndarray:
        """E4M3 code of each block's scale, so that its maximum lands on `top` (the element's largest value)."""
        top = self.table.max_normal if top is None else top
        scales = np.empty((1, maxima.size), np.uint8)
        finite = np.isfinite(maxima)
        if self.recipe == "exact":
            quotients, divisors = np.where(finite, maxima, 0.0), np.full((1, maxima.size), top * s_t)
        else:
            quotients, divisors = self._library_quotients(maxima, np.float32(s_t)), np.ones((1, maxima.size))
        kernels.encode_quotients(
            quotients[None, :],
            maxima.size,
            1,
            divisors,
            0,
            3,
            -6,
            126,
            126,
            8,
            kernels.RNE,
            np.zeros(4, np.uint64),
            scales,
        )
        return np.where(finite, scales[0], _NAN_SCALE).astype(np.uint8)

    def _library_quotients(self, maxima: np.ndarray, s_t: np.float32) -> np.ndarray:
        """The library's float32 value of s_b before rounding to E4M3; "te" is given its encoding scale for s_t."""
        amax = np.where(np.isfinite(maxima), maxima, 0.0).astype(np.float32)
        with np.errstate(over="ignore"):
            if self.recipe == "torchao":
                s = np.maximum(amax / np.float32(6) / s_t, np.float32(2.0**-6))
            elif self.recipe == "te":
                s = amax * (s_t * np.float32(1 / 6))
            else:
                s = amax / (np.float32(6) * s_t)
                s = np.where(s == 0, np.float32(1), np.maximum(s, np.float32(2.0**-9)))
        scales: np.ndarray = np.minimum(s, np.float32(448)).astype(np.float64)
        return scales

    def _tiled(self, maxima: np.ndarray, s_t: float, shape: tuple[int, ...], axis: int) -> np.ndarray:
        """The scale of each tile, repeated in each of its rows."""
        return self._scales(tile_maxima(maxima, self.tile, shape, axis), s_t)

    def _elements(self, whole: np.ndarray, k: int, scales: np.ndarray, s_t: float, codes: np.ndarray) -> None:
        """Fill `codes` for given scales."""
        s_b = np.where(scales == _NAN_SCALE, 0.0, _SCALES[scales])
        s_b = per_row(s_b, len(whole))
        if self.recipe == "exact":
            encode_elements(self, whole, k, self.block, s_b * s_t, self.table, codes)
            return
        s_b32, s_t32 = s_b.astype(np.float32), np.float32(s_t)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.recipe == "torchao":
                factor = np.float32(1) / s_t32 / s_b32
            elif self.recipe == "te":
                factor = np.minimum(np.float32(1) / (s_b32 * s_t32), np.finfo(np.float32).max)
            else:
                factor = s_b32 * s_t32
            wide = np.repeat(factor, self.block, axis=1)
            scaled = whole / wide if self.recipe == "modelopt" else whole * wide
        # A zero product of scales divides to Inf, and 0 / 0 or 0 * Inf to NaN: the libraries' zeros stay zeros.
        scaled = np.where(whole == 0, whole, scaled).astype(np.float32)
        divisors = np.where(s_b > 0, 1.0, 0.0)
        encode_elements(self, scaled, k, self.block, divisors, self.table, codes)

    def _choose_four(
        self, whole: np.ndarray, k: int, maxima: np.ndarray, s_t: float, scales: np.ndarray, codes: np.ndarray
    ) -> None:
        """Replace scale and codes of the blocks whose error is lower with their maximum at 4."""
        other = self._scales(maxima, s_t, top=4.0)
        other_codes = np.empty_like(codes)
        self._elements(whole, k, other, s_t, other_codes)
        x = whole.astype(np.float64).reshape(-1, self.block)
        unit = np.frexp(np.where(np.isfinite(maxima) & (maxima > 0), maxima, 1.0))[1][:, None]
        values = np.array(self.table.values)

        power = 1 if self.four_over_six == "absolute" else 2

        def error(s: np.ndarray, c: np.ndarray) -> np.ndarray:
            back = values[c.reshape(-1, self.block)] * (_SCALES[s] * s_t)[:, None]
            sums: np.ndarray = (np.abs(np.ldexp(x - back, -unit)) ** power).sum(axis=1)
            return sums

        with np.errstate(invalid="ignore"):
            six, four = error(scales, codes), error(other, other_codes)
            better = four < six
            doubtful = (np.abs(four - six) <= 1e-13 * (four + six)) & (four + six > 0)
        for b in np.flatnonzero(doubtful).tolist():  # nearly equal in float64: decided exactly

            def exact(s: int, c: np.ndarray, b: int = b) -> Fraction:
                d = Fraction(_SCALES[s]) * Fraction(s_t)
                pairs = zip(x[b].tolist(), values[c.reshape(-1, self.block)[b]].tolist(), strict=True)
                return sum((abs(Fraction(v) - Fraction(q) * d) ** power for v, q in pairs), Fraction(0))

            better[b] = exact(other[b], other_codes) < exact(scales[b], codes)
        scales[better] = other[better]
        codes.reshape(-1, self.block)[better] = other_codes.reshape(-1, self.block)[better]

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape, rounded once from q s_b s_t."""
        scales = _SCALES[present(encoded.scales)]
        if self.row_scaled:
            scales = per_row(scales, encoded.rows) * row_numbers(encoded)[:, None]
        else:
            scales = scales * encoded.tensor_number
        return decode_elements(encoded, np.array(self.table.values), scales, self.block)

    def pack(self, encoded: Encoded) -> bytes:
        """The packed bytes, the tensor scale last."""
        body = pack_records(self.layout, encoded.codes, encoded.scales, None, 0, encoded.rows)
        if self.row_scaled:
            heads = row_numbers(encoded).astype("<f4").reshape(-1, 1).view(np.uint8)
            return np.concatenate([heads, body], axis=1).tobytes()
        return body.tobytes() + np.array(encoded.tensor_scale, "<f4").tobytes()

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` of packed bytes."""
        body, tail, shape, axis = split_rows(self.layout, data, shape, axis)
        heads = 4 if self.row_scaled else 0
        records = np.ascontiguousarray(body[:, heads:])
        codes, scales, _ = unpack_records(self.layout, records, shape[axis], np.uint8, np.uint8, 0, 0)
        lead = moved_shape(shape, axis, 1)[:-1]
        row = np.ascontiguousarray(body[:, :4]).view("<f4").astype(np.float32).reshape(lead) if heads else None
        tensor = None if heads else np.frombuffer(tail, "<f4")[0].astype(np.float32)
        return Encoded(
            self, shape, axis,
            codes.reshape(moved_shape(shape, axis, shape[axis])),
            scales.reshape(moved_shape(shape, axis, scales.shape[1])),
            tensor_scale=tensor, row_scales=row,
        )  # fmt: skip

    def operand(self, encoded: Encoded) -> Operand:
        """Elements under E4M3 scales; the tensor scale comes after the last block."""
        scales = per_row(_SCALES[present(encoded.scales)], encoded.rows)
        if self.row_scaled:
            after = row_numbers(encoded).astype(np.float32)
        else:
            after = np.full(encoded.rows, encoded.tensor_scale, np.float32)
        return element_operand(encoded, self.table, self.block, scales, E4M3.mantissa_bits + 1, after)

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """The tensor scale, then block by block."""
        e, table = self.table, magnitudes(self.table)
        s_t = Fraction(float(row_numbers(encoded)[0]) if self.row_scaled else encoded.tensor_number)
        blocks = []
        cut = pieces(self.block, row, encoded.codes, decoded, dice(self, len(row)))
        for scale, (xs, codes, back, rs) in zip(present(encoded.scales).tolist(), cut, strict=True):
            if scale & 0x7F == _NAN_SCALE:
                blocks.append(spoiled(xs, codes, e.bits, "0x7F (NaN)"))
                continue
            largest, s_b = top(xs), Fraction(E4M3.values[scale & 0x7F])
            words = f"scale {number(float(s_b))}, code {scale:#04x}"
            if self.recipe == "exact":
                lands = Fraction(e.max_normal)
                if self.four_over_six:
                    lands = Fraction(min((6, 4), key=lambda n: abs(Fraction(largest) / (n * s_t) - s_b)))
                    kind = "absolute" if self.four_over_six == "absolute" else "squared"
                    words = f"the lower {kind} error puts the maximum at {lands}: {words}"
                quotient = number(Fraction(largest) / (lands * s_t))
                words = f"maximum / ({number(float(lands))} x tensor scale) = {quotient}; as E4M3: {words}"
            steps = element_steps(self, xs, [s_b * s_t] * len(xs), table, e.bits, codes, back, rs)
            blocks.append(BlockStep(largest, (words,), steps))
        return self._tensor_words(row, s_t), blocks

    def _tensor_words(self, row: np.ndarray, s_t: Fraction) -> str:
        finite = np.abs(row[np.isfinite(row)])
        largest = float(finite.max()) if finite.size else 0.0
        reach = 1536 if self.four_over_six else int(448 * self.table.max_normal)
        words = f"{'row' if self.row_scaled else 'tensor'} scale {number(float(s_t))}"
        if self.tensor_scale is not None:
            words += ", given"
        elif largest > 0 and self.recipe == "exact":
            words += f" = float32({number(largest)} / {reach})"
        if self.recipe != "exact":
            words += f"; recipe {self.recipe}: float32 arithmetic of that library, quotients shown are exact"
        return words
