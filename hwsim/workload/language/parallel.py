"""Parallel: how several chips share a model and a step. One chip stands for all: the one with the most.

tensor         heads, widths and vocabulary divided, every token on every chip (Shoeybi et al., arXiv 1909.08053):
               partial sums meet in an all_reduce behind each output projection.
tensor+expert  the same, but each chip holds whole experts instead of a slice of every one.
data+expert    sequences divided, all but the experts on every chip; tokens travel to their experts and back by
               all_to_all (Lepikhin et al., arXiv 2006.16668), a copy for each expert chosen.

What does not divide is rounded up; heads and groups must divide, but K and V heads (and groups of B and C) that are
fewer than the chips are repeated. Norms and routers are on every chip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.errors import InputError
from hwsim.workload.language.model import Model
from hwsim.workload.op import Stored

KINDS = ("tensor", "tensor+expert", "data+expert")


@dataclass(frozen=True, slots=True)
class Parallel:
    """`chips` that share a step in one of KINDS."""

    chips: int = 1
    kind: str = "tensor"

    @property
    def tensors(self) -> int:
        """Parts that heads, widths and vocabulary are divided into."""
        return 1 if self.kind == "data+expert" else self.chips

    @property
    def sequences(self) -> int:
        """Parts that a batch is divided into."""
        return self.chips if self.kind == "data+expert" else 1

    @property
    def experts(self) -> int:
        """Parts that the set of experts is divided into."""
        return 1 if self.kind == "tensor" else self.chips

    def share(self, size: int) -> int:
        """The largest part of a width."""
        return -(-size // self.tensors)


def check(model: Model, parallel: Parallel) -> None:
    """raises: InputError where the chips cannot share the model so."""
    n, problems = parallel.tensors, []
    if parallel.kind not in KINDS:
        raise InputError(f"parallel: {parallel.kind!r} is none of {', '.join(KINDS)}")
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
    """The model as one chip computes it: its heads, widths and rows of the vocabulary; the width stays."""
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


def chip_parameters(model: Model, parallel: Parallel) -> tuple[Stored, ...]:
    """Weights in the memory of one chip; see `Model.layer_parameters`."""
    rows = []
    for name, layer, n in chip_model(model, parallel).layer_parameters():
        if name == "experts":
            n = n // model.moe.experts * -(-model.moe.experts // parallel.experts)
        if name == "latent":
            n = 2 * model.hidden * parallel.share(model.moe.latent)
        rows.append(Stored(name, layer, n))
    return tuple(rows)
