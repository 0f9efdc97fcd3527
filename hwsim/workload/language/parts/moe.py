"""Mixture of experts: router, routed experts, shared expert."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.parts.feedforward import block_ops, feed_forward, matrices
from hwsim.workload.language.parts.step import Counts, Step
from hwsim.workload.language.routing import expected_distinct, first_chip, groups
from hwsim.workload.language.share import Parallel
from hwsim.workload.op import Gemm, Kept, Op


@dataclass(frozen=True, slots=True)
class Moe:
    """Mixture of experts: `top_k` of `experts` per token, and a shared expert (width 0: none).

    latent: the routed experts take a projection of this width (LatentMoE, arXiv 2601.18089; 0: the hidden state);
            router and shared expert take the hidden state.
    bias:   router and experts add a bias.
    shared_gate: the shared expert's result is multiplied by the sigmoid of one more score.
    correction:  a bias per expert is added to the scores for the choice, not for the weights (arXiv 2408.15664).
    groups, top_groups: experts are in `groups`; those of the `top_groups` best can be chosen.
    """

    experts: int
    top_k: int
    intermediate: int
    gated: bool
    activation: str
    shared_intermediate: int = 0
    latent: int = 0
    bias: bool = False
    shared_gate: bool = False
    correction: bool = False
    groups: int = 1
    top_groups: int = 1

    def expert(self, hidden: int) -> int:
        """Weights and biases of one routed expert."""
        return feed_forward(self.gated, self.latent or hidden, self.intermediate, self.bias)

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements). active: of the experts that one token chooses."""
        gate = hidden if self.shared_gate else 0
        return [
            ("router", self._router(hidden) + gate),
            ("experts", (self.top_k if active else self.experts) * self.expert(hidden)),
            ("shared_experts", feed_forward(self.gated, hidden, self.shared_intermediate, False)),
            ("latent", 2 * hidden * self.latent),
        ]

    def _router(self, hidden: int) -> int:
        return self.experts * (hidden + self.bias + self.correction)

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """Nothing."""
        return []

    def on_chip(self, parallel: Parallel) -> Moe:
        """The widths on one chip; whole experts keep theirs."""
        return replace(
            self,
            intermediate=parallel.share(self.intermediate) if parallel.experts == 1 else self.intermediate,
            shared_intermediate=parallel.share(self.shared_intermediate),
        )

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        if parallel.kind == "tensor" or self.experts >= parallel.chips:
            return []
        return [f"chips: MODEL has {self.experts} experts, fewer than {parallel.chips} chips"]

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """(field, error) of numbers that contradict one another."""
        if self.top_k > self.experts:
            yield "top_k", f"is more than the {self.experts} experts; write {self.experts} or less"
        if self.experts % self.groups:
            yield "groups", f"does not divide the {self.experts} experts; write a divisor"
        elif self.top_groups > self.groups:
            yield "top_groups", f"is more than the {self.groups} groups; write {self.groups} or less"
        elif self.experts // self.groups * self.top_groups < self.top_k <= self.experts and self.groups > 1:
            yield "top_k", f"is more than the experts of {self.top_groups} groups; write fewer"
        if self.shared_gate and not self.shared_intermediate:
            yield "shared_gate", "needs a shared expert; write shared_intermediate"

    # -- ops ---------------------------------------------------------------------------------------

    def ops(self, step: Step, layer: int) -> list[Op]:
        """Router, latent projection, chosen experts and their sum, projection back, shared expert.

        The router outputs the weight and number of each chosen expert; the shared expert adds the sum of the others.
        """
        h, t = step.hidden, step.tokens
        scored = passes.ROUTER_SCORE + passes.BIAS * (self.bias + self.correction)
        scored += passes.GROUPS if self.groups > 1 else 0
        router = Op(
            "router",
            "router",
            layer,
            weights="router",
            params=self._router(h),
            vector=scored * t * self.experts,
            vector_macs=t * self.experts * h,
            inputs=t * h,
            outputs=2 * t * self.top_k,
        )
        ops, latent = [router], step.parallel.share(self.latent)
        if self.latent:
            ops.append(step.linear("latent_down", "latent", layer, "latent", latent, h))
            ops += step.collective("latent_gather", layer, "all_gather", t * self.latent)
        ops += self._experts(step, layer, self.latent or h)
        if self.latent:
            ops += step.collective("latent_sum", layer, "reduce_scatter", t * self.latent)
            ops.append(step.linear("latent_up", "latent", layer, "latent", h, latent))
        if self.shared_intermediate:
            ops += self._shared(step, layer)
        return ops

    def _shared(self, step: Step, layer: int) -> list[Op]:
        h, t = step.hidden, step.tokens
        up, down = block_ops(step, "shared_experts", layer, self.shared_intermediate, self.gated, self.activation)
        added = replace(down, vector=passes.RESIDUAL * t * h, inputs=down.inputs + t * h)
        if not self.shared_gate:
            return [up, added]
        gate = Op(
            "shared_gate", "router", layer, weights="router", params=h, vector=(passes.SIGMOID_GATE - 1) * t,
            vector_macs=t * h, inputs=t * h, outputs=t,
        )  # fmt: skip
        return [gate, up, replace(added, vector=added.vector + passes.GATE * t * h, inputs=added.inputs + t)]

    def _experts(self, step: Step, layer: int, width: int) -> list[Op]:
        t, parallel = step.tokens, step.parallel
        rows_of = first_chip(groups(self.experts, self.top_k, step.routed, step.skew), parallel.experts)
        chosen, distinct = sum(n * rows for n, rows in rows_of), sum(n for n, _ in rows_of)
        travels = parallel.sequences > 1
        arriving = chosen if travels else t
        inner = (matrices(self.gated) - 1) * self.intermediate
        expected = expected_distinct(self.experts, self.top_k, step.routed, step.skew)
        up = Op(
            "experts_up",
            "experts",
            layer,
            "experts",
            tuple(Gemm(rows, inner, width, n) for n, rows in rows_of),
            vector=passes.feed_forward(self.activation, self.gated) * chosen * self.intermediate,
            inputs=arriving * width,
            outputs=chosen * self.intermediate,
            distinct=expected,
        )
        down = Op(
            "experts_down",
            "experts",
            layer,
            "experts",
            tuple(Gemm(rows, width, self.intermediate, n) for n, rows in rows_of),
            vector=passes.COMBINE * chosen * width,
            inputs=chosen * self.intermediate,
            outputs=arriving * width,
            distinct=expected,
        )
        if self.bias:
            up, down = (
                replace(op, params=distinct * n, vector=op.vector + passes.BIAS * chosen * n)
                for op, n in ((up, inner), (down, width))
            )
        if not travels:
            return [up, down]
        there = step.collective("dispatch", layer, "all_to_all", t * self.top_k * width, "experts")
        back = step.collective("combine", layer, "all_to_all", t * self.top_k * width)
        return [*there, up, down, *back]
