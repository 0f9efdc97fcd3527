"""The model file, field by field: allowed values and their meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hwsim.files.fields import FilePart

Activation = Literal["silu", "silu_clamped", "relu2", "relu", "gelu", "gelu_tanh", "quick_gelu"]
Layers = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*\- ]{1,2000}$")]
Letter = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*\-]$")]
Word = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,31}$")]
Count = Annotated[int, Field(ge=1, le=10**5)]
Width = Annotated[int, Field(ge=1, le=10**7)]
Counts = Count | Annotated[list[Count], Field(min_length=1, max_length=2000)]
Widths = Width | Annotated[list[Width], Field(min_length=1, max_length=2000)]

_GATED = "Whether a gate matrix multiplies the activation."
_ACTIVATION = "silu, silu_clamped (gpt-oss), relu, relu2 (squared ReLU), gelu, gelu_tanh or quick_gelu."
_EACH = " A list: one per layer with this part."


class AttentionFile(FilePart):
    """Grouped-query attention."""

    q_heads: Count = Field(description="Query heads.", examples=[32])
    kv_heads: Count = Field(description="Key and value heads.", examples=[8])
    head_dim: Count = Field(description="Elements per head.", examples=[128])
    rope: bool | Annotated[float, Field(ge=0, le=1)] = Field(
        description="Whether queries and keys are rotated by position; a number: the share of each head that is.",
        examples=[True],
    )
    qk_norm: bool | Literal["head", "width", "plain"] = Field(
        False,
        description="Whether each query and key head is normalized; width: all heads together; plain: without a gain.",
    )
    bias: bool | Literal["qkv", "qvo"] = Field(
        False, description="Whether the four projections add a bias; qkv: all but the output; qvo: all but K."
    )
    sinks: bool = Field(False, description="Whether the softmax includes one learned logit per query head.")
    window: int = Field(
        0,
        ge=0,
        le=10**8,
        description="Positions that a token attends to, including its own; 0: all. Of the part `attention` outside "
        "`parts`, the window of layers x and y.",
        examples=[128],
    )
    v_dim: int = Field(0, ge=0, le=10**5, description="Elements of a value per head; 0: head_dim.")
    chunk: int = Field(
        0, ge=0, le=10**8, description="Positions of a chunk, beyond which tokens do not attend; 0: no chunks."
    )
    gate: bool = Field(False, description="Whether a projection of the input gates the result.")
    shared_kv: bool = Field(False, description="Whether one projection makes K and V.")
    v_norm: bool = Field(False, description="Whether each value head is normalized, without a gain.")
    softcap: bool = Field(False, description="Whether scores pass through a scaled tanh.")
    causal: bool = Field(True, description="Whether tokens see earlier positions only; false: an encoder.")
    source: int = Field(
        0, ge=0, le=10**8, description="Positions of another sequence that tokens attend to; 0: their own sequence."
    )


class Mamba2File(FilePart):
    """Mamba-2 mixer."""

    heads: Count = Field(description="Heads.", examples=[64])
    head_dim: Count = Field(description="Channels per head.", examples=[64])
    state: Count = Field(description="State elements per channel.", examples=[128])
    groups: Count = Field(description="Groups of heads that share B and C.", examples=[8])
    conv_kernel: int = Field(ge=2, le=100, description="Taps of the short convolution.", examples=[4])
    chunk: Count = Field(description="Positions per chunk of the scan in prefill.", examples=[128])
    norm: bool = Field(
        True, description="Whether a gated norm stands before the out-projection; false: the gate alone."
    )
    bias: bool = Field(False, description="Whether in- and out-projection add a bias.")


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
    shared_gate: bool = Field(False, description="Whether one more score gates the shared expert.")
    correction: bool = Field(False, description="Whether a bias per expert is added to the scores for the choice.")
    groups: Count = Field(1, description="Groups of experts.")
    top_groups: Count = Field(1, description="Groups from which a token's experts are chosen.")


class IndexFile(FilePart):
    """Indexer of sparse attention."""

    heads: Count = Field(description="Heads.", examples=[64])
    head_dim: Count = Field(description="Elements per head.", examples=[128])
    top_k: Width = Field(description="Positions that attention reads.", examples=[2048])
    shared: bool = Field(False, description="Whether the layer takes the choice of an earlier layer.")


class AttentionPart(AttentionFile):
    """Grouped-query attention."""

    kind: Literal["attention"]
    q_heads: Counts = Field(  # type: ignore[assignment]
        description="Query heads." + _EACH, examples=[32]
    )
    kv_heads: Counts = Field(  # type: ignore[assignment]
        description="Key and value heads." + _EACH, examples=[8]
    )


class LatentPart(FilePart):
    """Multi-head latent attention."""

    kind: Literal["mla"]
    q_heads: Count = Field(description="Query heads.", examples=[128])
    kv_rank: Width = Field(description="Elements of a cached row that K and V are made from.", examples=[512])
    nope_dim: Count = Field(description="Elements of a key that are not rotated.", examples=[128])
    rope_dim: Count = Field(description="Elements of a key that are, one row for all heads.", examples=[64])
    v_dim: Count = Field(description="Elements of a value.", examples=[128])
    q_rank: int = Field(0, ge=0, le=10**7, description="Width that queries are compressed to; 0: not compressed.")
    rope: bool = Field(True, description="Whether queries and keys are rotated by position.")
    bias: bool = Field(False, description="Whether the projections into the low ranks and the output add a bias.")
    index: IndexFile | None = Field(None, description="Indexer that chooses the positions to read.")


class DeltaPart(FilePart):
    """Gated DeltaNet."""

    kind: Literal["gdn"]
    key_heads: Count = Field(description="Key and query heads.", examples=[16])
    value_heads: Count = Field(description="Value heads.", examples=[32])
    key_dim: Count = Field(description="Elements per key head.", examples=[128])
    value_dim: Count = Field(description="Elements per value head.", examples=[128])
    conv_kernel: int = Field(ge=2, le=100, description="Taps of the short convolution.", examples=[4])
    chunk: Count = Field(64, description="Positions per chunk in prefill.")


class KdaPart(FilePart):
    """Kimi Delta Attention."""

    kind: Literal["kda"]
    heads: Count = Field(description="Heads.", examples=[32])
    head_dim: Count = Field(description="Elements per head.", examples=[128])
    conv_kernel: int = Field(ge=2, le=100, description="Taps of the short convolution.", examples=[4])
    chunk: Count = Field(64, description="Positions per chunk in prefill.")


class LightningPart(FilePart):
    """Lightning attention."""

    kind: Literal["lightning"]
    heads: Count = Field(description="Heads.", examples=[64])
    head_dim: Count = Field(description="Elements per head.", examples=[128])
    chunk: Count = Field(256, description="Positions per block in prefill.")


class Mamba2Part(Mamba2File):
    """Mamba-2 mixer."""

    kind: Literal["mamba2"]


class Mamba1Part(FilePart):
    """Mamba-1 mixer."""

    kind: Literal["mamba1"]
    inner: Width = Field(description="Channels.", examples=[8192])
    state: Count = Field(description="State elements per channel.", examples=[16])
    dt_rank: Width = Field(description="Width that dt is projected through.", examples=[256])
    conv_kernel: int = Field(ge=2, le=100, description="Taps of the short convolution.", examples=[4])
    norms: Literal["none", "gain", "plain"] = Field("none", description="Norms of dt, B and C; plain: without a gain.")
    conv_bias: bool = Field(True, description="Whether the convolution adds a bias.")
    bias: bool = Field(False, description="Whether in- and out-projection add a bias.")


class ShortConvPart(FilePart):
    """Short convolution as a mixer."""

    kind: Literal["shortconv"]
    channels: Width = Field(description="Channels.", examples=[2048])
    conv_kernel: int = Field(ge=2, le=100, description="Taps.", examples=[3])
    bias: bool = Field(False, description="Whether projections and convolution add a bias.")


class MlpPart(MlpFile):
    """Feed-forward block."""

    kind: Literal["mlp"]
    intermediate: Widths = Field(  # type: ignore[assignment]
        description="Inner width." + _EACH, examples=[14336]
    )


class MoePart(MoeFile):
    """Mixture of experts."""

    kind: Literal["moe"]


AnyPart = Annotated[
    AttentionPart
    | LatentPart
    | DeltaPart
    | KdaPart
    | LightningPart
    | Mamba2Part
    | Mamba1Part
    | ShortConvPart
    | MlpPart
    | MoePart,
    Field(discriminator="kind"),
]


class NormFile(FilePart):
    """The norms around the parts."""

    kind: Literal["rms", "layer"] = Field("rms", description="RMS norm, or layer norm.")
    bias: bool = Field(False, description="Whether norms have a bias.")
    place: Literal["pre", "post", "both"] = Field("pre", description="Before each part, after it, or both.")


class CheckpointFile(FilePart):
    """The formats of a release, which a run uses unless it names others."""

    weights: dict[str, str] = Field(
        description="Format of each weight class, as `--weights` takes it.",
        examples=[{"experts": "mxfp4_e2m1", "default": "bf16"}],
    )
    activations: str | None = Field(None, description="Format of the activations.", examples=["bf16"])
    kv: str | None = Field(None, description="Format of the KV cache.", examples=["fp8_e4m3"])
    method: str = Field("", description="How the release calls it.")


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
    ids: list[str] = Field(
        [], description="Names on the Hugging Face Hub of the releases that have this shape.", examples=[["org/name"]]
    )
    hidden: int = Field(ge=1, le=10**6, description="Width of the residual stream.", examples=[4096])
    vocab: int = Field(ge=1, le=10**8, description="Rows of the embedding.", examples=[128256])
    tied_embeddings: bool = Field(description="Whether head and embedding are one matrix.", examples=[False])
    layers: Layers = Field(
        description="One letter per layer; spaces are ignored: M Mamba-2, E experts, * attention, - MLP, "
        "X attention + MLP, Y attention + experts; x and y are X and Y with sliding-window attention. "
        "`blocks` may define others.",
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
    parts: dict[Word, AnyPart] | None = Field(None, description="Further parts of layers, by name.")
    blocks: dict[Letter, list[Word | list[Word]]] | None = Field(
        None,
        description="Further letters of `layers`: the parts of such a layer, by their names in `parts` or as "
        "attention, window_attention, mamba, mlp, moe. One in brackets stands beside the part before it, with the same "
        "input.",
        examples=[{"D": ["attention", "mlp"]}],
    )
    shared: dict[Word, Count] | None = Field(
        None,
        description="Parts whose layers share weights: how often each is stored. Its layers use them in turn.",
        examples=[{"attention": 2}],
    )
    norm: NormFile = Field(NormFile(), description="Norms around the parts.")
    embedding_norm: bool = Field(False, description="Whether a norm follows the embedding.")
    final_norm: bool = Field(True, description="Whether a norm stands before the head.")
    head: Literal["lm", "none", "pooler"] | Count = Field(
        "lm", description="Logits of the vocabulary, none, a square matrix (pooler), or a number of labels."
    )
    head_bias: bool = Field(False, description="Whether the logits add a bias.")
    softcap: bool = Field(False, description="Whether the logits pass through a scaled tanh.")
    positions: int = Field(0, ge=0, le=10**8, description="Rows of a table of positions; 0: none.")
    mtp_tables: Literal["shared", "own"] = Field(
        "shared", description="Whether the checkpoint stores embedding and head again for the MTP block."
    )
    checkpoint: CheckpointFile | None = Field(None, description="Formats of a quantised release.")
    published: PublishedFile = Field(PublishedFile(), description="Parameter counts published by the authors.")
