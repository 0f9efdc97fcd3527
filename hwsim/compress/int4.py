"""Packed integers of compressed-tensors: X.weight_packed int32[N, K bits / 32], X.weight_scale, X.weight_shape.

Element k of a row is bits (k mod 8) 4 of word k / 8, stored as q + 8; 8-bit codes likewise, as q + 128. A zero point is
packed along N instead, one per group, with the same offset.

source: compressed-tensors' compressor pack-quantized.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.compress.fp4 import COMPRESSED
from hwsim.compress.parts import Held
from hwsim.compress.weights import Weight
from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.format import Encoded, Format


def unpacked(words: np.ndarray, bits: int) -> np.ndarray:
    """uint8[..., words x 32 / bits]: the fields of 32-bit words, lowest bits first. words: int32 or uint32[..., n]."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    fields = words.view(np.uint32)[..., None] >> shifts & np.uint32((1 << bits) - 1)
    return fields.astype(np.uint8).reshape(*words.shape[:-1], -1)


@dataclass(frozen=True)
class PackedIntWeight(Weight):
    """Integers of `bits` bits and a factor per row or group. parts: words, scales, shape, and zero points if any."""

    bits: int
    group: int

    @cached_property
    def factors(self) -> np.ndarray:
        """float32[rows, groups]."""
        return self.parts[1].floats().astype(np.float32).reshape(self.row_count, -1)

    @cached_property
    def zeros(self) -> np.ndarray | None:
        """int64[rows, groups] zero points, or None."""
        if len(self.parts) < 4:
            return None
        words = np.ascontiguousarray(self.parts[3].array().T)  # [groups, words]: packed along N
        return unpacked(words, self.bits)[:, : self.row_count].T.astype(np.int64) - (1 << (self.bits - 1))

    @property
    def form(self) -> Format | None:
        """int4 in groups under float16 scales, where the scales are float16 and there is no zero point."""
        whole = self.bits == 4 and len(self.parts) < 4 and self.parts[1].tensor.dtype == "F16"
        if not whole or (self.k % self.group and self.factors.shape[1] != 1):
            return None
        if self.group == 128:
            return get_format("int4_g128")
        return get_format({"element": "INT4", "block": self.group, "scale": "fp16"}) if self.group <= 4096 else None

    @property
    def format(self) -> Format | None:
        """See `form`."""
        return self.form

    def _integers(self, first: int, last: int) -> np.ndarray:
        words = np.array(self.parts[0].array().reshape(self.row_count, -1)[first:last])
        return unpacked(words, self.bits)[:, : self.k].astype(np.int64) - (1 << (self.bits - 1))

    def rows(self, first: int, last: int) -> np.ndarray:
        """float32((q - zero) x factor), exact for factors of 16 bits."""
        q = self._integers(first, last)
        of = np.arange(self.k) // self.group
        if self.zeros is not None:
            q -= self.zeros[first:last][:, of]
        return (q * self.factors[first:last][:, of].astype(np.float64)).astype(np.float32)

    def codes(self, first: int, last: int) -> Encoded:
        """The integers as two's complement codes."""
        if self.form is None:
            return super().codes(first, last)
        codes = (self._integers(first, last) & 15).astype(np.uint8)
        scales = np.array(self.parts[1].array().reshape(self.row_count, -1)[first:last]).view(np.uint16)
        return Encoded(self.form, (last - first, self.k), 1, codes, scales)


def find_compressed_int4(tensors: dict[str, Held], method: str) -> list[Weight]:
    """Weights of 4 or 8 bits. raises: InputError for another width, or scales that fit no groups."""
    found: list[Weight] = []
    for name, held in tensors.items():
        real = name.removesuffix("_packed")
        scale, size = tensors.get(f"{real}_scale"), tensors.get(f"{real}_shape")
        if not name.endswith(".weight_packed") or held.tensor.dtype != "I32" or scale is None or size is None:
            continue
        shape = tuple(int(n) for n in size.array().reshape(-1).tolist())
        words = held.tensor.shape[-1]
        rows, k = shape[:-1], shape[-1] if shape else 0
        bits = next((b for b in (4, 8) if k and words == -(-k * b // 32)), 0)
        groups = scale.tensor.size // max(1, int(np.prod(rows, dtype=np.int64)))
        if not bits or held.tensor.shape[:-1] != rows or not groups or scale.tensor.shape[: len(rows)] != rows:
            what = f"words {held.tensor.shape} and scales {scale.tensor.shape} are not those of {shape}"
            raise InputError(f"{held.place}: {what} in 4 or 8 bits; other widths and scales per tensor are not read")
        group = -(-k // groups)
        zero = tensors.get(f"{real}_zero_point")
        order = tensors.get(f"{real}_g_idx")
        if order is not None:
            raise InputError(f"{order.place}: groups in another order than that of K are not read")
        parts = (held, scale, size, *((zero,) if zero is not None else ()))
        words_ = f"int{bits}_g{group}" + (" asymmetric" if zero is not None else "")
        found.append(PackedIntWeight(real, COMPRESSED, words_, shape, len(shape) - 1, parts, bits, group))
    return found
