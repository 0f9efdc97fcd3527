"""GPTQ and AWQ: integers of 4 or 8 bits in words of 32, stored [K, N], a float16 factor and a zero point per group.

    GPTQ  qweight int32[K bits / 32, N] packed along K, qzeros int32[G, N bits / 32], scales [G, N], g_idx int32[K]
    AWQ   qweight int32[K, N / 8] packed along N in the order 0 2 4 6 1 3 5 7, qzeros likewise, scales [G, N]

A value is (q - zero) x factor; version 1 of GPTQ stores zero - 1. Both become the weight X.weight [N, K].

source: AutoGPTQ's and GPTQModel's quantised linear layers; AutoAWQ's utils/packing_utils.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.compress.int4 import unpacked
from hwsim.compress.parts import Held
from hwsim.compress.weights import Weight
from hwsim.errors import InputError

_AWQ_PLACES = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])
"""Which field of a word holds each of its eight columns."""


@dataclass(frozen=True)
class GroupedIntWeight(Weight):
    """parts: qweight, qzeros, scales, and g_idx if any. shift: added to the stored zero point (GPTQ version 1: 1)."""

    bits: int
    shift: int
    awq: bool

    @cached_property
    def zeros(self) -> np.ndarray:
        """int64[groups, N]."""
        fields = unpacked(np.array(self.parts[1].array()), self.bits)
        return (_columns(fields) if self.awq else fields).astype(np.int64) + self.shift

    @cached_property
    def groups(self) -> np.ndarray:
        """int64[K]: the group of each input."""
        if len(self.parts) > 3:
            return np.array(self.parts[3].array(), np.int64)
        count = self.parts[2].tensor.shape[0]
        return np.arange(self.k) // -(-self.k // count)

    def rows(self, first: int, last: int) -> np.ndarray:
        """float32((q - zero) x factor): outputs `first` to `last`."""
        if self.awq:
            a, b = first // 8, -(-last // 8)
            words = np.array(self.parts[0].array()[:, a:b])
            q = _columns(unpacked(words, 4))[:, first - 8 * a : last - 8 * a].T
        else:
            words = np.ascontiguousarray(self.parts[0].array()[:, first:last].T)
            q = unpacked(words, self.bits)[:, : self.k]
        zeros = self.zeros[:, first:last][self.groups].T
        factors = self.parts[2].floats()[:, first:last][self.groups].T.astype(np.float64)
        return ((q.astype(np.int64) - zeros) * factors).astype(np.float32)


def _columns(fields: np.ndarray) -> np.ndarray:
    """AWQ's fields in the order of the columns."""
    return fields.reshape(*fields.shape[:-1], -1, 8)[..., _AWQ_PLACES].reshape(fields.shape)


def _group(tensors: dict[str, Held], name: str) -> tuple[str, Held, Held, Held] | None:
    """(X, qweight, qzeros, scales) of a weight, or None."""
    base = name.removesuffix(".qweight")
    rest = tensors.get(f"{base}.qzeros"), tensors.get(f"{base}.scales")
    held = tensors[name]
    if not name.endswith(".qweight") or rest[0] is None or rest[1] is None or len(held.tensor.shape) != 2:
        return None
    if held.tensor.dtype != "I32" or len(rest[1].tensor.shape) != 2:
        return None
    return base, held, rest[0], rest[1]


def find_gptq(tensors: dict[str, Held], method: str) -> list[Weight]:
    """Weights packed along K. method: "gptq_v2" where the config says that zero points are stored as they are."""
    found: list[Weight] = []
    for name in tensors:
        group = _group(tensors, name)
        if group is None:
            continue
        base, held, zeros, scales = group
        n = scales.tensor.shape[1]
        if held.tensor.shape[1] != n:
            continue
        order = tensors.get(f"{base}.g_idx")
        bits = 32 * zeros.tensor.shape[1] // n if n else 0
        k = held.tensor.shape[0] * 32 // bits if bits else 0
        if bits not in (2, 4, 8) or (order is not None and order.tensor.shape != (k,)):
            raise InputError(f"{held.place}: GPTQ of {bits} bits with these shapes is not read; 2, 4 and 8 are")
        if order is not None and order.tensor.size:
            highest = int(np.max(order.array()))
            if not 0 <= highest < scales.tensor.shape[0] or int(np.min(order.array())) < 0:
                raise InputError(f"{order.place}: names group {highest} of {scales.tensor.shape[0]}; it is damaged")
        size = k // max(1, scales.tensor.shape[0])
        parts = (held, zeros, scales, *((order,) if order is not None else ()))
        shift = 0 if method == "gptq_v2" else 1
        words = f"int{bits}_g{size} asymmetric"
        found.append(GroupedIntWeight(f"{base}.weight", "gptq", words, (n, k), 1, parts, bits, shift, False))
    return found


def find_awq(tensors: dict[str, Held], method: str) -> list[Weight]:
    """Weights packed along N."""
    found: list[Weight] = []
    for name in tensors:
        group = _group(tensors, name)
        if group is None:
            continue
        base, held, zeros, scales = group
        k, words = held.tensor.shape
        groups, n = scales.tensor.shape
        if n != 8 * words or zeros.tensor.shape != (groups, words) or not groups or k % groups:
            raise InputError(f"{held.place}: its words, zeros and scales are neither GPTQ's nor AWQ's of 4 bits")
        words_ = f"int4_g{k // groups} asymmetric"
        found.append(GroupedIntWeight(f"{base}.weight", "awq", words_, (n, k), 1, (held, zeros, scales), 4, 0, True))
    return found
