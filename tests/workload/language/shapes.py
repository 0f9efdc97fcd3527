"""Shapes from the papers and configurations, and sums over ops, for the tests of lowering."""

from dataclasses import dataclass

from hwsim.workload.language import lowering
from hwsim.workload.language.parallel import Parallel
from hwsim.workload.op import StepOptions


@dataclass(frozen=True)
class Shape:
    """h hidden, v vocabulary; layers of each kind: full, windowed attention, MLP, experts, Mamba-2.

    attn: q heads, kv heads, head dim. moe: E, k, m, shared m, latent, matrices. ssm: H, P, N, G, chunk.
    """

    h: int
    v: int
    full: int = 0
    windowed: int = 0
    mlps: int = 0
    moes: int = 0
    mambas: int = 0
    attn: tuple = ()
    moe: tuple = ()
    ssm: tuple = ()
    mlp: int = 0
    biased: bool = False
    qk_norm: bool = False


SHAPES = {
    "llama3-8b": Shape(4096, 128256, full=32, mlps=32, attn=(32, 8, 128), mlp=14336),
    "llama3-70b": Shape(8192, 128256, full=80, mlps=80, attn=(64, 8, 128), mlp=28672),
    "llama2-7b": Shape(4096, 32000, full=32, mlps=32, attn=(32, 32, 128), mlp=11008),
    "llama2-70b": Shape(8192, 32000, full=80, mlps=80, attn=(64, 8, 128), mlp=28672),
    "nemotron3-nano-30b-a3b": Shape(
        2688, 131072, full=6, moes=23, mambas=23,
        attn=(32, 2, 128), moe=(128, 6, 1856, 3712, 0, 2), ssm=(64, 64, 128, 8, 128),
    ),
    "nemotron3-super-120b-a12b": Shape(
        4096, 131072, full=8, moes=40, mambas=40,
        attn=(32, 2, 128), moe=(512, 22, 2688, 5376, 1024, 2), ssm=(128, 64, 128, 8, 128),
    ),
    "nemotron3-ultra-550b-a55b": Shape(
        8192, 131072, full=12, moes=48, mambas=48,
        attn=(64, 2, 128), moe=(512, 22, 5120, 10240, 2048, 2), ssm=(256, 64, 128, 8, 128),
    ),
    "gpt-oss-120b": Shape(
        2880, 201088, full=18, windowed=18, moes=36,
        attn=(64, 8, 64), moe=(128, 4, 2880, 0, 0, 3), biased=True,
    ),
    "gpt-oss-20b": Shape(
        2880, 201088, full=12, windowed=12, moes=24,
        attn=(64, 8, 64), moe=(32, 4, 2880, 0, 0, 3), biased=True,
    ),
    "qwen3-235b-a22b": Shape(
        4096, 151936, full=94, moes=94, attn=(64, 4, 128), moe=(128, 8, 1536, 0, 0, 3), qk_norm=True,
    ),
    "qwen3-30b-a3b-thinking-2507": Shape(
        2048, 151936, full=48, moes=48, attn=(32, 4, 128), moe=(128, 8, 768, 0, 0, 3), qk_norm=True,
    ),
    "mamba2-130m": Shape(768, 50288, mambas=24, ssm=(24, 64, 128, 1, 256)),
    "mamba2-1.3b": Shape(2048, 50288, mambas=48, ssm=(64, 64, 128, 1, 256)),
    "mamba2-2.7b": Shape(2560, 50288, mambas=64, ssm=(80, 64, 128, 1, 256)),
}  # fmt: skip
WINDOW = 128


@dataclass
class Sum:
    """Sums of the counts of some ops."""

    ops: int = 0
    macs: int = 0
    vector: int = 0
    vector_macs: int = 0
    weights: int = 0
    cache_read: int = 0
    cache_write: int = 0


def by_kind(ops):
    """One `Sum` per op kind."""
    sums: dict[str, Sum] = {}
    for op in ops:
        s = sums.setdefault(op.kind, Sum())
        s.ops += 1
        s.macs += op.macs + sum(g.count * g.m * g.n * g.k for g in op.gemms)
        s.vector += op.vector
        s.vector_macs += op.vector_macs
        s.weights += op.params + sum(g.count * g.n * g.k for g in op.gemms)
        s.cache_read += read(op)
        s.cache_write += written(op)
    return sums


def lower(model, phase, batch, context, tokens=1, skew="even", parallel=None):
    """Ops of a step, with its options as arguments."""
    parallel = parallel or Parallel()
    step = StepOptions(phase, batch, context, parallel.chips, parallel.kind, skew, tokens)
    return lowering.lower(model, step)


def role(op):
    """Role of the op's cache, or None."""
    return op.cache and op.cache.role


def read(op):
    """Elements that the op reads from its cache."""
    return op.cache.read if op.cache else 0


def written(op):
    """Elements that the op writes to its cache."""
    return op.cache.write if op.cache else 0
