"""What is computed: a workload describes a step as ops, counted in elements, independent of formats and machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

#: Phases that a user can choose.
PHASES = ("decode", "prefill", "mixed")
#: Forms of latent attention; "": as serving software runs it, expanded in prefill and absorbed in decode.
MLA_FORMS = ("absorbed", "expanded", "cheaper")

#: Op kinds, in the order in which tables print them.
KINDS = (
    "embedding",
    "norm",
    "attention_proj",
    "indexer",
    "attention",
    "mlp",
    "router",
    "experts",
    "shared_experts",
    "latent",
    "mamba_proj",
    "linear_proj",
    "conv",
    "ssm",
    "linear_attention",
    "mtp",
    "head",
    "link",
    "gemm",
    "linear",
    "matmul",
    "recurrent",
    "depthwise",
    "pool",
    "activation",
    "softmax",
    "elementwise",
    "reduce",
    "concat",
    "transpose",
    "expand",
    "pad",
    "resize",
    "gather",
    "scatter",
    "segment",
    "sort",
    "topk",
    "knn",
    "farthest",
    "assign",
    "distribute",
    "interact",
)

#: Weight classes that a format map may name, and those with a fixed format.
WEIGHT_CLASSES = (
    "embedding",
    "head",
    "attention_qkv",
    "attention_out",
    "mlp",
    "experts",
    "shared_experts",
    "latent",
    "mamba_in",
    "mamba_out",
    "mtp",
    "linear",
    "convolution",
)
FIXED_CLASSES = {
    "norm": "bf16",
    "conv": "bf16",
    "ssm": "bf16",
    "router": "fp32",
    "absorbed": "bf16",
    "depthwise": "bf16",
    "constant": "bf16",
}

#: Roles of caches that a workload keeps from one step to the next -> the kind of bytes in a Result.
CACHES = {"kv": "kv", "ssm": "state", "conv": "state"}


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The step that a workload is asked to describe.

    phase:    "decode": one token per sequence, with `context` tokens in the cache; "prefill": a prompt of `context`
              tokens with an empty cache, and the head for the last position only; "mixed": a decode step that also
              computes `chunk` tokens of one prompt; "draft": one token of the model's multi-token-prediction block.
    chips, parallel: number of chips that share the step, and how: "tensor", "tensor+expert" or "data+expert".
    skew:     how tokens choose experts: "even", or "zipf(a)": unequally, by popularity.
    new:      tokens per sequence in a decode step: 1, or 1 + the number of draft tokens that the step verifies.
    mla:      one of MLA_FORMS, or "".
    chunk, done: of a mixed step: tokens of the prompt that it computes, and those computed before (`batch` 0: it
              decodes nothing).
    keep_windows: caches keep every position, even for layers that read only the last ones.
    """

    phase: str = "decode"
    batch: int = 1
    context: int = 8192
    chips: int = 1
    parallel: str = "tensor"
    skew: str = "even"
    new: int = 1
    keep_windows: bool = False
    mla: str = ""
    chunk: int = 0
    done: int = 0

    @property
    def tokens(self) -> int:
        """Number of tokens that the step computes."""
        return self.batch * (self.context if self.phase == "prefill" else self.new) + self.chunk


class Stored(NamedTuple):
    """Weights in one chip's memory: elements of one weight class in one layer (-1: outside the layers)."""

    weights: str
    layer: int
    elements: int


class Kept(NamedTuple):
    """A cache that one chip keeps from step to step: `rows` rows of `row` elements, in the format of its role."""

    role: str
    rows: int
    row: int


class Workload(Protocol):
    """Anything that hwsim can run: it has a name and answers three questions about one step on one chip."""

    def __hash__(self) -> int:
        """Equal workloads answer alike, so what one has answered is kept for the next time."""

    @property
    def name(self) -> str:
        """The name that results print."""

    @property
    def unit(self) -> str:
        """What a step computes one of per sequence of the batch, and results count per second: token, sample."""

    @property
    def max_context(self) -> int | None:
        """The longest context that it was made for; None: no limit."""

    def ops(self, step: StepOptions) -> tuple[Op, ...]:
        """The ops of the step in program order. raises: InputError if the workload cannot take this step."""

    def stored(self, step: StepOptions) -> tuple[Stored, ...]:
        """The weights in memory, whether or not the step reads them."""

    def kept(self, step: StepOptions) -> tuple[Kept, ...]:
        """The caches and state in memory at the end of the step."""

    def config(self) -> dict[str, Any]:
        """The workload as plain data, for the Result and for the key of a point in a study."""


@dataclass(frozen=True, slots=True)
class Gemm:
    """`count` GEMMs Y[m,n] = X[m,k] W[n,k]^T, each with its own weight matrix.

    distinct: elements of one X, where its rows are windows of a feature map that overlap (0: m k).
    halo:     elements of X that some rows by themselves read in addition to their share of `distinct`.
    """

    m: int
    n: int
    k: int
    count: int = 1
    distinct: int = 0
    halo: int = 0

    @property
    def macs(self) -> int:
        """Multiply-adds of all `count` GEMMs."""
        return self.count * self.m * self.n * self.k

    @property
    def weights(self) -> int:
        """Weight elements of all `count` matrices."""
        return self.count * self.n * self.k

    def inputs(self, m: int, k: int) -> int:
        """Elements of X that a tile of `m` rows and `k` columns reads."""
        if not self.distinct:
            return m * k
        beside = self.m * self.halo if m < self.m else 0
        return min(m * k, -(-(m * self.distinct + beside) * k // (self.m * self.k)))


@dataclass(frozen=True, slots=True)
class AttentionCore:
    """Shape of an attention core: per sequence, `new` tokens after `cached` ones; window 0: all positions.

    head_dim: half of the elements that the cache holds per position and KV head (K and V may differ in width).
    chunk:    part of a prompt, of which `cached` tokens were computed before; else a decode step.
    mixed:    the step computes both decode steps and a chunk.
    """

    sequences: int
    new: int
    cached: int
    q_heads: int
    kv_heads: int
    head_dim: int
    window: int = 0
    chunk: bool = False
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Cache:
    """Elements that an op reads from and writes to a cache with rows of `row` elements; blocks run along a row."""

    role: str
    row: int
    read: int
    write: int


#: Distributions of indices: rows in order; any row alike; by rank r as 1 / r^a; near the row before with chance p; the
#: ends of the edges of a file, in its order.
DISTRIBUTIONS = ("sequential", "uniform", "zipf(a)", "local(p)", "from(FILE)", "to(FILE)")


@dataclass(frozen=True, slots=True)
class Irregular:
    """Rows that an op reads, or adds to, at places that only the data tell.

    rows, row:    how many, and elements of each. table: whether they are rows of the op's weights, else of activations.
    of:           rows of the tensor that they are in. adds: whether they are added to, in sums on the chip.
    distribution: one of DISTRIBUTIONS. `sequential` rows are a stream; of the others each is read by itself.
    tables:       of rows of weights: by table its rows, and how many of them the op reads.
    """

    rows: int
    row: int
    table: bool
    distribution: str = "uniform"
    of: int = 0
    adds: bool = False
    tables: tuple[tuple[int, int], ...] = ()

    @property
    def scattered(self) -> bool:
        """Whether each row is read by itself."""
        return self.distribution != "sequential"


@dataclass(frozen=True, slots=True)
class Sorting:
    """`lists` lists of `keys` keys each, the first `keep` of them in order.

    passes: comparisons on the vector unit, which a sorter takes over where the machine has one.
    """

    lists: int
    keys: int
    keep: int
    passes: int


@dataclass(frozen=True, slots=True)
class Op:
    """Part of the work of one layer in one step; every count is in elements of the whole batch.

    weights:     weight class, which determines the format of `gemms` and `params` ("": none).
    gemms:       GEMMs with weight matrices on the dot array.
    macs:        multiply-adds on the dot array with tensors that are not weights (attention core, chunked scan).
    products:    GEMMs that compute `macs`, for the units that their shapes leave idle (none: `macs` at the peak rate).
    vector:      element passes on the vector unit (table with sources in `vector.py`), those of `sorting` among them.
    vector_macs: multiply-adds on the vector unit (router, conv), one pass each, in addition to `vector`.
    params:      weight elements read in addition to `gemms` (gains, conv taps, embedding rows, router).
    cache:       elements read from and written to a cache or state (None: none).
    inputs, outputs: activation elements in and out.
    others:      of the inputs, those that are no operand of `gemms`: what joined ops read (only of graphs).
    link:        collective between `peers` chips ("": none) on a vector of link_elements (`arch.link`).
    core:        shape of the attention core, if the op is one.
    irregular:   rows read at places that only the data tell, in addition to `params`; rows of activations are `inputs`.
    sorting:     lists that the op sorts (None: none).
    distinct:    expected number of distinct experts that the step chooses, unrounded, if the op computes experts.
    channels:    channels of a short convolution (0: the op is none).
    """

    name: str
    kind: str
    layer: int = -1
    weights: str = ""
    gemms: tuple[Gemm, ...] = ()
    macs: int = 0
    vector: int = 0
    vector_macs: int = 0
    params: int = 0
    cache: Cache | None = None
    inputs: int = 0
    outputs: int = 0
    others: int = 0
    link: str = ""
    link_elements: int = 0
    peers: int = 1
    core: AttentionCore | None = None
    irregular: Irregular | None = None
    sorting: Sorting | None = None
    distinct: float | None = None
    channels: int = 0
    products: tuple[Gemm, ...] = ()

    @property
    def dot_macs(self) -> int:
        """Multiply-adds on the dot array."""
        return self.macs + sum(g.macs for g in self.gemms)

    @property
    def cached(self) -> int:
        """Elements that the op writes to its cache."""
        return self.cache.write if self.cache else 0

    @property
    def weight_elements(self) -> int:
        """Weight elements that the op reads, each once."""
        rows = self.irregular.rows * self.irregular.row if self.irregular and self.irregular.table else 0
        return self.params + rows + sum(g.weights for g in self.gemms)
