"""Recipes: which format each tensor of a training step is multiplied in, from `arch_configs/recipes/*.yaml`.

A linear multiplies three tensors, each twice: weights (fprop, dgrad), inputs (fprop, wgrad), gradients (dgrad, wgrad).
Blocks run along the reduction, so a tensor is encoded once for each of its two GEMMs; a square tile of scales serves
both, and so does one scale per tensor.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from hwsim.arch.builtin import arch_folder
from hwsim.errors import InputError, collect, nearest
from hwsim.files import fields
from hwsim.files.fields import FilePart
from hwsim.files.yaml import Document, Loc, raise_problems, read, short
from hwsim.formats.layout import Layout
from hwsim.formats.names import layout
from hwsim.workload.op import WEIGHT_CLASSES

#: Classes that a recipe may name: those with weights to multiply.
CLASSES = tuple(name for name in WEIGHT_CLASSES if name != "embedding")
#: Formats that are multiplied as they are stored.
HIGH = ("bf16", "fp16", "fp32")


class TensorFile(FilePart):
    """How one tensor of a linear is encoded for its GEMMs."""

    format: str = Field(description="Format of both copies.", examples=["mxfp8_e4m3"])
    tile: int | None = Field(
        None, ge=2, description="Side of the square tiles that share a scale, so that one encoding serves both GEMMs.",
        examples=[16],
    )  # fmt: skip
    rounding: Literal["rne", "stochastic"] = Field(
        "rne", description="stochastic: by the machine's `round` server.", examples=["stochastic"]
    )
    hadamard: int = Field(
        0, ge=0, description="Points of the Hadamard transform ahead of the copy for wgrad; 0: none.", examples=[16]
    )
    amax: bool = Field(
        False, description="The scale of the whole tensor is found by a pass of its own.", examples=[True]
    )


class ClassFile(FilePart):
    """How the linears of one class are encoded."""

    weights: TensorFile = Field(description="Of W.")
    activations: TensorFile = Field(description="Of X.")
    gradients: TensorFile = Field(description="Of dY.")


class KeepFile(FilePart):
    """What stays in 16 bits."""

    classes: list[str] = Field([], description="Classes of weights.", examples=[["head"]])
    first: int = Field(0, ge=0, description="Layers from the first on.", examples=[2])
    last: int = Field(0, ge=0, description="Layers up to the last.", examples=[8])
    last_percent: int = Field(0, ge=0, le=100, description="Share of the layers up to the last.", examples=[15])


class RecipeFile(FilePart):
    """Formats of a training step."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Short name, as on the command line.", examples=["my-recipe"]
    )
    description: str = Field(description="One line.", examples=["MXFP8 weights and gradients"])
    weights: TensorFile = Field(description="Of W, in every class that is not named below.")
    activations: TensorFile = Field(description="Of X.")
    gradients: TensorFile = Field(description="Of dY.")
    classes: dict[str, ClassFile] = Field({}, description="Classes with formats of their own.")
    keep: KeepFile = Field(KeepFile(), description="What stays in 16 bits.")
    attention: Literal["fused", "unfused"] = Field(
        "fused", description="unfused: the scores of attention are written to memory.", examples=["unfused"]
    )
    reduction: Literal["fp32", "bf16"] = Field(
        "fp32", description="Sums of gradients of weights, over micro-batches and between the chips.", examples=["bf16"]
    )
    weights_kept: Literal["bf16", "encoded"] = Field(
        "bf16", description="encoded: weights of linears are kept as they are multiplied, and not in 16 bits too.",
        examples=["encoded"],
    )  # fmt: skip
    source: str = Field(
        "", description="Where the recipe is published; left out for one of your own.", examples=["arXiv 2310.10537"]
    )


@dataclass(frozen=True, slots=True)
class Tensor:
    """How one tensor is encoded; see `TensorFile`."""

    form: Layout
    tile: int = 0
    stochastic: bool = False
    hadamard: int = 0
    amax: bool = False

    @property
    def high(self) -> bool:
        """Whether it is multiplied as it is."""
        return self.form.name in HIGH

    @property
    def copies(self) -> int:
        """Encodings of both GEMMs: none, one that serves both, or two."""
        if self.high:
            return 0
        return 1 if self.tile or self.form.block == 1 else 2

    @property
    def value_bytes(self) -> Fraction:
        """Bytes per element of one encoding."""
        return self.form.bits_per_value / 8

    def encode_bytes(self, elements: int) -> int:
        """Bytes that an encode reads in 16 bits and writes, without the amax pass, rounded up."""
        return -(-elements * (2 + self.copies * self.value_bytes) // 1) if self.copies else 0

    def config(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {"format": self.form.resolved()}
        found |= {"tile": self.tile} if self.tile else {}
        found |= {"rounding": "stochastic"} if self.stochastic else {}
        found |= {"hadamard": self.hadamard} if self.hadamard else {}
        return found | ({"amax": True} if self.amax else {})


@dataclass(frozen=True, slots=True)
class Tensors:
    """The three tensors of the linears of a class."""

    weights: Tensor
    activations: Tensor
    gradients: Tensor

    @property
    def config(self) -> dict[str, Any]:
        """Plain data."""
        return {name: getattr(self, name).config() for name in ("weights", "activations", "gradients")}


#: Sixteen bits throughout.
WIDE = Tensors(*[Tensor(layout("bf16"))] * 3)


@dataclass(frozen=True, slots=True)
class Recipe:
    """See `RecipeFile`. reduction_bytes: of a sum of gradients, in memory and between the chips.

    wide: weights of linears are kept in 16 bits beside their encoded copies.
    """

    name: str
    every: Tensors
    classes: tuple[tuple[str, Tensors], ...] = ()
    kept: tuple[str, ...] = ()
    first: int = 0
    last: int = 0
    last_percent: int = 0
    fused: bool = True
    reduction_bytes: int = 4
    wide: bool = True
    source: str = ""

    def of(self, name: str, layer: int, layers: int) -> Tensors:
        """The formats of a class in one layer of so many (below 0: outside the layers)."""
        last = max(self.last, -(-layers * self.last_percent // 100))
        if name in self.kept or 0 <= layer and (layer < self.first or layer >= layers - last):
            return WIDE
        return dict(self.classes).get(name, self.every)

    def config(self) -> dict[str, Any]:
        """Plain data for the Result."""
        keep = {"classes": list(self.kept), "first": self.first, "last": self.last, "last_percent": self.last_percent}
        return {
            "name": self.name,
            **self.every.config,
            "classes": {name: each.config for name, each in self.classes},
            "keep": keep,
            "attention": "fused" if self.fused else "unfused",
            "reduction": "fp32" if self.reduction_bytes == 4 else "bf16",
            **({} if self.wide else {"weights_kept": "encoded"}),
        }


def recipe_folder() -> Path:
    """The folder of the shipped recipes."""
    return arch_folder() / "recipes"


def recipe_names() -> list[str]:
    """Names of the shipped recipes, sorted."""
    return sorted(path.stem for path in recipe_folder().glob("*.yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of a shipped name, or of the YAML file at a path. raises: InputError with every problem found."""
    text = str(name_or_path)
    if text in recipe_names():
        name_or_path = os.path.relpath(recipe_folder() / f"{text}.yaml")
    elif not text.endswith((".yaml", ".yml")):
        raise InputError(
            f"recipe: unknown {short(text)}{nearest(text[:60], recipe_names())}; "
            f"write one of {', '.join(recipe_names())}, or a YAML file's path"
        )
    document = read(name_or_path)
    file, bad = None, list[str]()
    with collect(bad):
        file = fields.validate(document, RecipeFile)
    if file is None:
        raise InputError(*bad, *_unknown_classes(document))
    return _recipe(document, file)


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file, for editors."""
    return fields.json_schema(RecipeFile, "hwsim recipe")


def _recipe(document: Document, file: RecipeFile) -> Recipe:
    found: list[str] = []
    every, classes = _tensors(document, (), file, found), []
    for name, given in file.classes.items():
        classes.append((name, _tensors(document, ("classes", name), given, found)))
    found += _unknown_classes(document)
    if found:
        raise_problems(found)
    return Recipe(
        file.name,
        every,
        tuple(classes),
        tuple(file.keep.classes),
        file.keep.first,
        file.keep.last,
        file.keep.last_percent,
        file.attention == "fused",
        4 if file.reduction == "fp32" else 2,
        file.weights_kept == "bf16",
        file.source,
    )


def _unknown_classes(document: Document) -> list[str]:
    """Problems of classes that no model has; the document need not be a recipe yet."""
    data = document.data if isinstance(document.data, dict) else {}
    given, keep = data.get("classes"), data.get("keep")
    kept = keep.get("classes") if isinstance(keep, dict) else None
    found = []
    for name in given if isinstance(given, dict) else ():
        if name not in CLASSES:
            message = f"unknown class{nearest(str(name), CLASSES)}"
            found.append(document.problem(("classes", name), message, key=True))
    for i, name in enumerate(kept if isinstance(kept, list) else ()):
        if isinstance(name, str) and name not in CLASSES:
            found.append(document.problem(("keep", "classes", i), f"unknown class {name!r}{nearest(name, CLASSES)}"))
    return found


def _tensors(document: Document, loc: Loc, file: RecipeFile | ClassFile, found: list[str]) -> Tensors:
    each = []
    for name in ("weights", "activations", "gradients"):
        given: TensorFile = getattr(file, name)
        form, place = layout("bf16"), (*loc, name)
        lines: list[str] = []
        with collect(lines):
            form = layout(given.format)
            if form.kind == "seed":
                raise InputError(f"{form.name} is found by a search and cannot be trained in; write a block format")
        found += [document.problem((*place, "format"), line) for line in lines]
        if given.tile and form.block > 1 and given.tile % form.block:
            message = f"{given.tile} is no multiple of the {form.block} elements of a block of {form.name}; write one"
            found.append(document.problem((*place, "tile"), message))
        stochastic = given.rounding == "stochastic"
        each.append(Tensor(form, given.tile or 0, stochastic, given.hadamard, given.amax))
    return Tensors(*each)
