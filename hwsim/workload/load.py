"""Model files to `Model`: a shipped name or a YAML path; every problem at its file:line:column."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hwsim.errors import InputError, nearest
from hwsim.filemodel import FilePart, validate
from hwsim.workload.model import LAYER_KINDS, Attention, Mamba2, Mlp, Model, Moe
from hwsim.yamlfile import Document, raise_problems, read, short

Activation = Literal["silu", "relu2"]


class AttentionFile(FilePart):
    """Grouped-query attention."""

    q_heads: int = Field(ge=1, le=10**5, description="Query heads.", examples=[32])
    kv_heads: int = Field(ge=1, le=10**5, description="Key and value heads.", examples=[8])
    head_dim: int = Field(ge=1, le=10**5, description="Elements of a head.", examples=[128])
    rope: bool = Field(description="Whether queries and keys are rotated by position.", examples=[True])


class Mamba2File(FilePart):
    """Mamba-2 mixer."""

    heads: int = Field(ge=1, le=10**5, description="Heads.", examples=[64])
    head_dim: int = Field(ge=1, le=10**5, description="Channels of a head.", examples=[64])
    state: int = Field(ge=1, le=10**5, description="State elements of a channel.", examples=[128])
    groups: int = Field(ge=1, le=10**5, description="Groups that share B and C.", examples=[8])
    conv_kernel: int = Field(ge=2, le=100, description="Taps of the short convolution.", examples=[4])
    chunk: int = Field(ge=1, le=10**5, description="Positions of a chunk of the scan.", examples=[128])


class MlpFile(FilePart):
    """Feed-forward block."""

    intermediate: int = Field(ge=1, le=10**7, description="Inner width.", examples=[14336])
    gated: bool = Field(description="Whether a gate matrix multiplies the activation.", examples=[True])
    activation: Activation = Field(description="silu or relu2 (squared ReLU).", examples=["silu"])


class MoeFile(FilePart):
    """Mixture of experts."""

    experts: int = Field(ge=1, le=10**5, description="Routed experts.", examples=[128])
    top_k: int = Field(ge=1, le=10**5, description="Experts that a token uses.", examples=[6])
    intermediate: int = Field(ge=1, le=10**7, description="Inner width of an expert.", examples=[1856])
    shared_intermediate: int = Field(0, ge=0, le=10**7, description="Inner width of the shared expert.")
    gated: bool = Field(description="Whether a gate matrix multiplies the activation.", examples=[False])
    activation: Activation = Field(description="silu or relu2 (squared ReLU).", examples=["relu2"])


class PublishedFile(FilePart):
    """Counts that the authors print, for comparison only; in 1e9 parameters."""

    total: float | None = Field(None, gt=0, description="All parameters, 1e9.", examples=[31.6])
    active: float | None = Field(None, gt=0, description="Active parameters, head included, 1e9.")


class ModelFile(FilePart):
    """A language model's shape."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,63}$", description="Name.", examples=["llama3-8b"])
    description: str = Field(description="One line.", examples=["Llama 3 8B, dense"])
    hidden: int = Field(ge=1, le=10**6, description="Width of the residual stream.", examples=[4096])
    vocab: int = Field(ge=1, le=10**8, description="Tokens of the vocabulary.", examples=[128256])
    tied_embeddings: bool = Field(description="Whether head and embedding are one matrix.", examples=[False])
    layers: str = Field(
        pattern=r"^[ME*\-XY]{1,1000}$",
        description="One letter a layer: M Mamba-2, E experts, * attention, - MLP, X attention + MLP, "
        "Y attention + experts.",
        examples=["XXXX"],
    )
    attention: AttentionFile | None = None
    mamba2: Mamba2File | None = None
    mlp: MlpFile | None = None
    moe: MoeFile | None = None
    published: PublishedFile = PublishedFile()


def model_folder() -> Path:
    """The folder of the shipped model files."""
    return Path(__file__).resolve().parent / "models"


def model_names() -> list[str]:
    """Names of the shipped models, sorted."""
    return sorted(path.stem for path in model_folder().glob("*.yaml"))


def load_model(name_or_path: str | Path) -> Model:
    """The model of a shipped name, or of the YAML file at a path.

    raises: InputError with every problem found.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and text in model_names():
        return _model(read(model_folder() / f"{text}.yaml"))
    if isinstance(name_or_path, str) and not text.endswith((".yaml", ".yml")) and os.sep not in text:
        known = nearest(text[:60], model_names())
        raise InputError(f"unknown model {short(text)}{known}; or write a YAML file's path")
    return _model(read(name_or_path))


def model_config(model: Model) -> dict[str, Any]:
    """The model as plain data, parts that it lacks left out."""
    return {k: v for k, v in asdict(model).items() if v is not None}


def _model(document: Document) -> Model:
    file = validate(document, ModelFile)
    needed = {part for letter in file.layers for part in LAYER_KINDS[letter]}
    key = {"attention": "attention", "mamba": "mamba2", "mlp": "mlp", "moe": "moe"}
    problems = []
    for part in sorted(needed):
        if getattr(file, key[part]) is None:
            problems.append(document.problem(("layers",), f"has {part} layers; write the mapping `{key[part]}:`"))
    if file.moe and file.moe.top_k > file.moe.experts:
        problems.append(document.problem(("moe", "top_k"), f"is more than the {file.moe.experts} experts"))
    if file.attention and file.attention.q_heads % file.attention.kv_heads:
        problems.append(document.problem(("attention", "q_heads"), "is not a multiple of kv_heads"))
    if file.mamba2 and file.mamba2.heads % file.mamba2.groups:
        problems.append(document.problem(("mamba2", "heads"), "is not a multiple of groups"))
    if problems:
        raise_problems(problems)

    def part(kind, value):
        return kind(**{f.name: getattr(value, f.name) for f in fields(kind)}) if value else None

    return Model(
        name=file.name,
        description=file.description,
        hidden=file.hidden,
        vocab=file.vocab,
        tied_embeddings=file.tied_embeddings,
        layers=file.layers,
        attention=part(Attention, file.attention),
        mamba2=part(Mamba2, file.mamba2),
        mlp=part(Mlp, file.mlp),
        moe=part(Moe, file.moe),
        published_total=file.published.total,
        published_active=file.published.active,
    )
