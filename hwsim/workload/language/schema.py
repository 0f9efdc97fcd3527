"""The model file, field by field: allowed values and their meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hwsim.files.fields import FilePart

Activation = Literal["silu", "silu_clamped", "relu2"]
Layers = Annotated[str, StringConstraints(pattern=r"^[ME*\-XYxy ]{1,2000}$")]
Count = Annotated[int, Field(ge=1, le=10**5)]
Width = Annotated[int, Field(ge=1, le=10**7)]

_GATED = "Whether a gate matrix multiplies the activation."
_ACTIVATION = "silu, silu_clamped (gpt-oss) or relu2 (squared ReLU)."


class AttentionFile(FilePart):
    """Grouped-query attention."""

    q_heads: Count = Field(description="Query heads.", examples=[32])
    kv_heads: Count = Field(description="Key and value heads.", examples=[8])
    head_dim: Count = Field(description="Elements per head.", examples=[128])
    rope: bool = Field(description="Whether queries and keys are rotated by position.", examples=[True])
    qk_norm: bool = Field(False, description="Whether each query and key head is normalized.")
    bias: bool = Field(False, description="Whether the projections add a bias.")
    sinks: bool = Field(False, description="Whether the softmax includes one learned logit per query head.")
    window: int = Field(
        0,
        ge=0,
        le=10**8,
        description="Positions that layers x and y attend to, including their own.",
        examples=[128],
    )


class Mamba2File(FilePart):
    """Mamba-2 mixer."""

    heads: Count = Field(description="Heads.", examples=[64])
    head_dim: Count = Field(description="Channels per head.", examples=[64])
    state: Count = Field(description="State elements per channel.", examples=[128])
    groups: Count = Field(description="Groups of heads that share B and C.", examples=[8])
    conv_kernel: int = Field(ge=2, le=100, description="Taps of the short convolution.", examples=[4])
    chunk: Count = Field(description="Positions per chunk of the scan in prefill.", examples=[128])


class MlpFile(FilePart):
    """Feed-forward block."""

    intermediate: Width = Field(description="Inner width.", examples=[14336])
    gated: bool = Field(description=_GATED, examples=[True])
    activation: Activation = Field(description=_ACTIVATION, examples=["silu"])
    bias: bool = Field(False, description="Whether the matrices add a bias.")


class MoeFile(FilePart):
    """Mixture of experts."""

    experts: Count = Field(description="Routed experts.", examples=[128])
    top_k: Count = Field(description="Experts per token.", examples=[6])
    intermediate: Width = Field(description="Inner width of an expert.", examples=[1856])
    gated: bool = Field(description=_GATED, examples=[False])
    activation: Activation = Field(description=_ACTIVATION, examples=["relu2"])
    shared_intermediate: int = Field(0, ge=0, le=10**7, description="Inner width of the shared expert; 0: none.")
    latent: int = Field(
        0, ge=0, le=10**6, description="Input width of the routed experts; 0: that of the hidden state."
    )
    bias: bool = Field(False, description="Whether router and experts add a bias.")


class PublishedFile(FilePart):
    """Parameter counts that the authors publish; they are compared with ours and never used."""

    total: float | None = Field(None, gt=0, description="All parameters, without the MTP block.", examples=[31.6e9])
    active: float | None = Field(None, gt=0, description="Active per token, with the head.", examples=[3.2e9])
    active_with_embedding: float | None = Field(
        None, gt=0, description="Active per token, with head and embedding.", examples=[3.6e9]
    )


class ModelFile(FilePart):
    """The shape of a language model."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the model.", examples=["llama3-8b"])
    description: str = Field(description="Description in one line.", examples=["Llama 3 8B, dense"])
    hidden: int = Field(ge=1, le=10**6, description="Width of the residual stream.", examples=[4096])
    vocab: int = Field(ge=1, le=10**8, description="Rows of the embedding.", examples=[128256])
    tied_embeddings: bool = Field(description="Whether head and embedding are one matrix.", examples=[False])
    layers: Layers = Field(
        description="One letter per layer; spaces are ignored: M Mamba-2, E experts, * attention, - MLP, "
        "X attention + MLP, Y attention + experts; x and y are X and Y with sliding-window attention.",
        examples=["MEMEM*EME"],
    )
    mtp: Layers | None = Field(
        None, description="Layers of the multi-token-prediction block, if the model has one.", examples=["*E"]
    )
    max_context: int | None = Field(
        None, ge=1, le=10**9, description="Longest context that the model supports, in tokens.", examples=[131072]
    )
    attention: AttentionFile | None = Field(None, description="Attention of layers * X Y x y.")
    mamba2: Mamba2File | None = Field(None, description="Mixer of layers M.")
    mlp: MlpFile | None = Field(None, description="MLP of layers - X x.")
    moe: MoeFile | None = Field(None, description="Experts of layers E Y y.")
    published: PublishedFile = Field(PublishedFile(), description="Parameter counts published by the authors.")
