"""Formats that are not in the catalog: a YAML file or an inline mapping, wherever a format name is accepted.

    {name: mine, element: E2M1, block: 64, scale: e8m0}       # e8m0, e4m3 (with a float32 tensor scale)
    {name: q4, element: INT4, block: 64, scale: fp16}         # symmetric integers in groups
    {name: m5, m: 5, k1: 32, d1: 8, k2: 4, d2: 2}             # any BDR point
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hwsim.errors import InputError
from hwsim.formats.elements import ELEMENTS
from hwsim.formats.layout import Layout, bdr_layout, block_layout


@dataclass(frozen=True)
class BlockPoint:
    """Elements under an e8m0 scale, or under an e4m3 scale and a float32 tensor scale."""

    name: str
    element: str
    block: int
    scale: Literal["e8m0", "e4m3"]

    @property
    def layout(self) -> Layout:
        """How it lies in memory."""
        e = ELEMENTS[self.element]
        return block_layout(self.name, e.name, e.bits, self.block, 8, tensor=4 * (self.scale == "e4m3"))


@dataclass(frozen=True)
class GroupPoint:
    """Symmetric 4-bit integers in [-8, 7] under an fp16 scale."""

    name: str
    block: int

    @property
    def layout(self) -> Layout:
        """How it lies in memory."""
        return block_layout(self.name, "INT4", 4, self.block, 16)


@dataclass(frozen=True)
class BdrPoint:
    """A point of the BDR family."""

    name: str
    m: int
    k1: int
    d1: int
    k2: int
    d2: int

    @property
    def layout(self) -> Layout:
        """How it lies in memory."""
        return bdr_layout(self.name, self.m, self.k1, self.d1, self.k2, self.d2)


def read_custom(source: str | Mapping[str, object]) -> BlockPoint | GroupPoint | BdrPoint:
    """The format of a YAML path or an inline mapping.

    raises: InputError with file:line:column for every mistake.
    """
    from pydantic import Field

    from hwsim.files.fields import FilePart, validate
    from hwsim.files.yaml import Document, Mark, read

    class BdrFile(FilePart):
        """A BDR point."""

        name: str = Field(default="", examples=["m5"])
        m: int = Field(ge=1, le=15, examples=[5])
        k1: int = Field(ge=1, le=4096, examples=[16])
        d1: int = Field(default=8, ge=2, le=8, examples=[8])
        k2: int = Field(ge=1, le=4096, examples=[2])
        d2: int = Field(ge=0, le=4, examples=[1])

    class BlockFile(FilePart):
        """Elements that share a scale."""

        name: str = Field(default="", examples=["mine"])
        element: Literal["E5M2", "E4M3", "E3M2", "E2M3", "E2M1", "INT8", "INT4"] = Field(examples=["E2M1"])
        block: int = Field(ge=1, le=4096, examples=[32])
        scale: Literal["e8m0", "e4m3", "fp16"] = Field(examples=["e8m0"])

    if isinstance(source, Mapping):
        document = Document("format", dict(source), {}, {(): Mark("format")})
    else:
        document = read(source)
    if "m" in document.data or "k1" in document.data:
        b = validate(document, BdrFile)
        if b.k1 % b.k2:
            raise InputError(document.problem(("k2",), f"{b.k2} does not divide k1 = {b.k1}; write a divisor"))
        return BdrPoint(b.name or f"bdr_m{b.m}_k{b.k1}_d{b.d1}_k{b.k2}_d{b.d2}", b.m, b.k1, b.d1, b.k2, b.d2)
    f = validate(document, BlockFile)
    name = f.name or f"{f.element.lower()}_{f.scale}_b{f.block}"
    if (f.element == "INT4") != (f.scale == "fp16"):
        raise InputError(document.problem(("scale",), "INT4 goes with fp16, other elements with e8m0 or e4m3"))
    if f.element == "INT4":
        return GroupPoint(name, f.block)
    if f.element == "INT8" and f.scale == "e4m3":
        raise InputError(document.problem(("scale",), "INT8 has no e4m3 scale; write e8m0"))
    return BlockPoint(name, f.element, f.block, f.scale)
