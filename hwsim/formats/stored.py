"""What the arrays of an `Encoded` must be: shape, type and largest code, from the layout of the format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim.formats.layout import Layout

if TYPE_CHECKING:
    from hwsim.formats.format import Encoded


@dataclass(frozen=True)
class Field:
    """One array. kinds: names of its types, any of them. bits: of each entry; 0: every pattern is an entry."""

    shape: tuple[int, ...]
    kinds: tuple[str, ...]
    bits: int = 0

    def problems(self, name: str, a: object) -> list[str]:
        """What is wrong with an array; empty where it fits."""
        if not isinstance(a, np.ndarray):
            return [f"{name}: write an array of {' or '.join(self.kinds)}"]
        wrong = []
        if a.shape != self.shape:
            wrong.append(f"{name} of shape {a.shape}; write {self.shape}")
        if a.dtype.name not in self.kinds:
            wrong.append(f"{name} of type {a.dtype.name}; write {' or '.join(self.kinds)}")
        elif self.bits and a.size and self.bits < 8 * a.dtype.itemsize and int(a.max()) >> self.bits:
            wrong.append(f"{name}: {int(a.max())} is beyond {self.bits} bits")
        return wrong


@dataclass(frozen=True)
class Stored:
    """The arrays of an `Encoded`: None where the format has none; `optional` ones may be left out.

    tensor: "" (none), "float32" or "exponent" (a signed byte).
    """

    codes: Field
    scales: Field | None = None
    shifts: Field | None = None
    tensor: str = ""
    optional: bool = False
    rows: Field | None = None

    @classmethod
    def of(cls, layout: Layout, moved: tuple[int, ...]) -> Stored:
        """Those of a layout; moved: the shape with the blocked axis last."""
        lead, k = moved[:-1], moved[-1]
        blocks = -(-k // layout.block)
        tensor = {0: "", 1: "exponent"}.get(layout.tensor_scale_bytes, "float32")
        if layout.kind == "seed":
            # The exponents are in the records too.
            records = Field((*lead, blocks), ("uint64",), layout.record_bits)
            return cls(records, Field((*lead, blocks), ("uint8",)), None, tensor, optional=True)
        kinds = tuple(f"uint{n}" for n in (8, 16, 32) if n >= layout.element_bits)[:1]
        codes = Field(moved, kinds, layout.element_bits)
        if layout.tile_rows:
            rows = lead[-1] if lead else 1
            tiles = (*lead[:-1], -(-rows // layout.tile_rows), blocks)
            return cls(codes, Field(tiles, ("float32",)), None, tensor)
        if layout.row_scale_bytes and layout.scale_bits:
            per_block = Field((*lead, blocks), ("uint8",))
            return cls(codes, per_block, None, tensor, rows=Field(lead, ("float32",)))
        if layout.row_scale_bytes:
            return cls(codes, Field(lead, ("uint32",)), None, tensor)
        if layout.scale_bits:
            kinds = {16: ("uint16",), 32: ("uint32",)}.get(layout.scale_bits, ("uint8",))
            return cls(codes, Field((*lead, blocks), kinds), None, tensor)
        return cls(codes, None, None, tensor)

    def problems(self, encoded: Encoded) -> list[str]:
        """What does not fit; empty where everything does."""
        wrong = self.codes.problems("codes", encoded.codes)
        arrays = (
            ("scales", self.scales, encoded.scales), ("shifts", self.shifts, encoded.shifts),
            ("row_scales", self.rows, encoded.row_scales),
        )  # fmt: skip
        for name, wanted, given in arrays:
            if given is not None and wanted is None:
                wrong.append(f"{name}: the format has none; write None")
            elif wanted is not None and not (given is None and self.optional):
                wrong += wanted.problems(name, given)
        return wrong + self._tensor_problems(encoded.tensor_scale)

    def _tensor_problems(self, scale: object) -> list[str]:
        if not self.tensor:
            return [] if scale is None else ["tensor_scale: the format has none; write None"]
        number = isinstance(scale, int | float | np.integer | np.floating) and not isinstance(scale, bool)
        if self.tensor == "exponent":
            whole = number and float(scale) == math.floor(float(scale))  # type: ignore[arg-type]
            if not whole or not -128 <= int(scale) <= 127:  # type: ignore[call-overload]
                return [f"tensor_scale {scale}: write an exponent from -128 to 127"]
            return []
        return [] if number else [f"tensor_scale {scale}: write a float32"]
