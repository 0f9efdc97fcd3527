"""Formats that are not in the table of `names`: a YAML file or an inline mapping, wherever a format name is accepted.

{name: mine, element: E2M1, block: 64, scale: e8m0}       # e8m0, or e4m3 (with a float32 tensor scale)
{name: q4, element: INT4, block: 64, scale: fp16}         # symmetric integers in groups
{name: e3m0, element: E3M0, block: 32, scale: e8m0}       # any ExMy of at most 8 bits
{name: m5, m: 5, k1: 32, d1: 8, k2: 4, d2: 2}             # any BDR point
{name: mine, codebook: [-1, -0.3, 0.3, 1], block: 64}     # a table, or `codebook: nf4`, under a float32 scale
{name: s6, C: 6, P: 3, K: 16, bits: 4}                    # a SeedLM point
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from hwsim.errors import InputError, collect
from hwsim.files.fields import FilePart, validate
from hwsim.files.yaml import Document, Mark, raise_problems, read
from hwsim.formats import elements, families
from hwsim.formats.layout import Layout
from hwsim.formats.names import ALIASES, ROWS


def _element(name: str) -> str:
    if name != "INT4":
        try:
            elements.element(name)
        except InputError as error:
            raise ValueError(str(error)) from None
    return name


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
    element: Annotated[str, AfterValidator(_element)] = Field(
        examples=["E2M1"], description="E5M2, E4M3, E3M2, E2M3, E2M1, INT8, INT4 or another ExMy."
    )
    block: int = Field(ge=1, le=4096, examples=[32])
    scale: Literal["e8m0", "e4m3", "fp16"] = Field(examples=["e8m0"])


class CodebookFile(FilePart):
    """Entries of a table, in blocks under a float32 scale."""

    name: str = Field(default="", examples=["nf4"])
    codebook: Literal["nf4"] | list[float] | str = Field(examples=["nf4"], description="Ascending numbers, or nf4.")
    block: int = Field(default=64, ge=1, le=4096, examples=[64])
    scale: Literal["fp32"] = Field(default="fp32")


class SeedFile(FilePart):
    """A SeedLM point: C weights from a K-bit seed and P coefficients."""

    name: str = Field(default="", examples=["s6"])
    C: int = Field(ge=1, le=32, examples=[8])
    P: int = Field(ge=1, le=16, examples=[3])
    K: int = Field(default=16, ge=2, le=18, examples=[16])
    bits: int = Field(default=4, ge=2, le=8, examples=[4], description="Of a coefficient.")


FormatFile = BdrFile | BlockFile | CodebookFile | SeedFile
"""The content of a format's file, for its schema."""


def format_schema() -> dict[str, Any]:
    """The JSON Schema of a format's file."""
    found = TypeAdapter(FormatFile).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A number format of hwsim"} | found


def read_custom(source: str | Path | Mapping[str, object]) -> Layout:
    """The layout of a YAML file or an inline mapping, with its definition; a file is opened once.

    raises: InputError with file:line:column for every error.
    """
    if isinstance(source, Mapping):
        document = Document("format", dict(source), {}, {(): Mark("format")})
    else:
        document = read(source)
    if "m" in document.data or "k1" in document.data:
        return _bdr(document, validate(document, BdrFile))
    if "codebook" in document.data:
        return _codebook(document, validate(document, CodebookFile))
    if "C" in document.data or "P" in document.data:
        return _seeds(document, validate(document, SeedFile))
    return _block(document, validate(document, BlockFile))


def _bdr(document: Document, file: BdrFile) -> Layout:
    problems = _refused_name(document, file.name)
    if file.k1 % file.k2:
        problems.append(document.problem(("k2",), f"{file.k2} does not divide k1 = {file.k1}; write a divisor"))
    if problems:
        raise_problems(problems)
    return families.bdr(file.m, file.k1, file.d1, file.k2, file.d2, file.name)


def _codebook(document: Document, file: CodebookFile) -> Layout:
    problems = _refused_name(document, file.name)
    table = file.codebook if isinstance(file.codebook, str) else " ".join(repr(v) for v in file.codebook)
    table = families.NF4 if table == "nf4" else table
    problems += [
        document.problem(("codebook",), problem.removeprefix("codebook: "))
        for problem in families.codebook_problems(table)
    ]
    if problems:
        raise_problems(problems)
    return families.codebook(table, file.block, file.name)


def _seeds(document: Document, file: SeedFile) -> Layout:
    problems = _refused_name(document, file.name)
    with collect(problems, f"{document.source}: "):
        found = families.seeds(file.C, file.P, file.K, file.bits, file.name)
    if problems:
        raise_problems(problems)
    return found


def _block(document: Document, file: BlockFile) -> Layout:
    problems = _refused_name(document, file.name)
    if (file.element == "INT4") != (file.scale == "fp16"):
        problems.append(document.problem(("scale",), "INT4 takes fp16, the other elements e8m0 or e4m3; write one"))
    elif file.element == "INT8" and file.scale == "e4m3":
        problems.append(document.problem(("scale",), "INT8 takes no e4m3 scale; write e8m0"))
    if problems:
        raise_problems(problems)
    if file.scale == "fp16":
        return families.int4_groups(file.block, file.name)
    return (families.e8m0 if file.scale == "e8m0" else families.e4m3)(file.element, file.block, file.name)


def _refused_name(document: Document, name: str) -> list[str]:
    # A machine lists its rates by name: a custom format under a known name would run at that format's rate.
    if name in ROWS or name in ALIASES:
        return [document.problem(("name",), f"{name} is a format that hwsim knows; write another name")]
    return []
