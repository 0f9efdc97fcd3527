"""Parallel: how several chips share a model and a step. Only the chip with the most work is simulated.

tensor         heads, widths and vocabulary are divided, and every token is on every chip (Shoeybi et al., arXiv
               1909.08053): an all_reduce adds the partial sums after each output projection.
tensor+expert  the same, but each chip has whole experts instead of a slice of every expert.
data+expert    sequences and experts are divided, and the other weights are on every chip; an all_to_all sends each
               token to its chosen experts and back (Lepikhin et al., arXiv 2006.16668), one copy per chosen expert.

Widths that do not divide are rounded up. Heads and groups must divide, except that K and V heads (and groups of B and
C) are repeated if there are fewer of them than chips. Norms and routers are on every chip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from hwsim.errors import InputError
from hwsim.workload.language.model import Model, required
from hwsim.workload.op import Stored

KINDS = ("tensor", "tensor+expert", "data+expert")


@dataclass(frozen=True, slots=True)
class Parallel:
    """`chips` that share a step in one of KINDS."""

    chips: int = 1
    kind: str = "tensor"

    @property
    def tensors(self) -> int:
        """Number of parts into which heads, widths and vocabulary are divided."""
        return 1 if self.kind == "data+expert" else self.chips

    @property
    def sequences(self) -> int:
        """Number of parts into which the batch is divided."""
        return self.chips if self.kind == "data+expert" else 1

    @property
    def experts(self) -> int:
        """Number of parts into which the experts are divided."""
        return 1 if self.kind == "tensor" else self.chips

    def share(self, size: int) -> int:
        """Size of the largest part of a width."""
        return -(-size // self.tensors)


def check(model: Model, parallel: Parallel) -> None:
    """raises: InputError if the chips cannot share the model in this way."""
    n, problems = parallel.tensors, []
    if parallel.kind not in KINDS:
        raise InputError(f"parallel: unknown {parallel.kind!r}; expected one of {', '.join(KINDS)}")
    if model.attention:
        problems += _indivisible("query heads", model.attention.q_heads, n, repeated=False)
        problems += _indivisible("K and V heads", model.attention.kv_heads, n, repeated=True)
    if model.mamba2:
        problems += _indivisible("Mamba-2 heads", model.mamba2.heads, n, repeated=False)
        problems += _indivisible("Mamba-2 groups", model.mamba2.groups, n, repeated=True)
    if parallel.chips > 1 and parallel.kind != "tensor":
        if not model.moe:
            problems.append(f"parallel: {model.name} has no experts to divide; write tensor")
        elif model.moe.experts < parallel.chips:
            problems.append(f"chips: {model.name} has {model.moe.experts} experts, fewer than {parallel.chips} chips")
    if problems:
        raise InputError(*(p.replace("MODEL", model.name) for p in problems))


def _indivisible(what: str, count: int, chips: int, repeated: bool) -> list[str]:
    if count % chips == 0 or repeated and chips % count == 0:
        return []
    divisors = [str(d) for d in range(1, count + 1) if count % d == 0]
    return [f"chips: MODEL has {count} {what}, which {chips} chips cannot share; write one of {', '.join(divisors)}"]


def chip_model(model: Model, parallel: Parallel) -> Model:
    """The part of the model on one chip: its heads, widths and rows of the vocabulary, at the same hidden width."""
    n, share = parallel.tensors, parallel.share
    if n == 1:
        return model
    a, s, e = model.attention, model.mamba2, model.moe
    return replace(
        model,
        vocab=share(model.vocab),
        attention=a and replace(a, q_heads=a.q_heads // n, kv_heads=max(1, a.kv_heads // n)),
        mamba2=s and replace(s, heads=s.heads // n, groups=max(1, s.groups // n)),
        mlp=model.mlp and replace(model.mlp, intermediate=share(model.mlp.intermediate)),
        moe=e
        and replace(
            e,
            intermediate=share(e.intermediate) if parallel.experts == 1 else e.intermediate,
            shared_intermediate=share(e.shared_intermediate),
        ),
    )


@lru_cache(maxsize=16)  # the points of a study ask for the same weights again and again
def chip_parameters(model: Model, parallel: Parallel) -> tuple[Stored, ...]:
    """Weights in the memory of one chip, by class and layer; see `Model.layer_parameters`."""
    rows = []
    for name, layer, n in chip_model(model, parallel).layer_parameters():
        if name == "experts":
            experts = required(model.moe).experts
            n = n // experts * -(-experts // parallel.experts)
        if name == "latent":
            n = 2 * model.hidden * parallel.share(required(model.moe).latent)
        rows.append(Stored(name, layer, n))
    return tuple(rows)
