"""Mamba-1 mixer (Gu and Dao, arXiv 2312.00752): every state element has a decay of its own, so a scan has no GEMMs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.parts.step import Counts, Step
from hwsim.workload.language.share import Parallel, indivisible
from hwsim.workload.op import Cache, Kept, Op


@dataclass(frozen=True, slots=True)
class Mamba1:
    """Mamba-1 mixer: `inner` channels with `state` elements each.

    dt_rank: width that dt is projected through.
    norms:   dt, B and C have RMS norms: "gain" (Jamba), "plain" without gains (Falcon-Mamba), "none".
    conv_bias, bias: the convolution and the in- and out-projection add a bias.
    """

    inner: int
    state: int
    dt_rank: int
    conv_kernel: int
    norms: str = "none"
    conv_bias: bool = True
    bias: bool = False

    @property
    def _mid(self) -> int:
        """Outputs of the projection from x: dt, B, C."""
        return self.dt_rank + 2 * self.state

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        inner = self.inner
        return [
            ("norm", self._mid if self.norms == "gain" else 0),
            ("mamba_in", 2 * hidden * inner + inner * self._mid + self.dt_rank * inner + (2 * inner * self.bias)),
            ("conv", inner * (self.conv_kernel + self.conv_bias)),
            ("ssm", inner * self.state + 2 * inner),
            ("mamba_out", inner * hidden + (hidden if self.bias else 0)),
        ]

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """State of one sequence."""
        return [Kept("ssm", self.inner, self.state), Kept("conv", self.inner, self.conv_kernel - 1)]

    def on_chip(self, parallel: Parallel) -> Mamba1:
        """The channels of one chip."""
        return replace(self, inner=self.inner // parallel.tensors)

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        return indivisible("Mamba channels", self.inner, parallel.tensors, repeated=False)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """None."""
        return ()

    def ops(self, step: Step, layer: int) -> list[Op]:
        """In-projection, convolution, projections to B, C and dt, scan with its gate, out-projection."""
        h, t, inner, mid = step.hidden, step.tokens, self.inner, self._mid
        into = step.linear("mamba_in", "mamba_proj", layer, "mamba_in", 2 * inner, h, 2 * inner * self.bias)
        x = step.linear("mamba_x", "mamba_proj", layer, "mamba_in", mid, inner)
        norm = []
        if self.norms != "none":
            gains = self.norms == "gain"
            work = passes.RMSNORM if gains else passes.L2NORM
            norm = [
                Op(
                    "mamba_norm", "norm", layer, "norm" if gains else "", params=mid if gains else 0,
                    vector=work * t * mid, inputs=t * mid, outputs=t * mid,
                )
            ]  # fmt: skip
        dt = step.linear("mamba_dt", "mamba_proj", layer, "mamba_in", inner, self.dt_rank)
        state = inner * self.state
        scan = Op(
            "selective_scan",
            "ssm",
            layer,
            "ssm",
            vector=t * (passes.SELECTIVE_UPDATE * state + passes.SELECTIVE_CHANNEL * inner),
            params=state + 2 * inner,
            cache=Cache("ssm", self.state, step.read(state), step.states * state),
            inputs=t * (3 * inner + 2 * self.state),
            outputs=t * inner,
        )
        conv = step.convolution(layer, inner, self.conv_kernel, self.conv_bias, passes.SILU)
        sums = step.collective("mamba_x_sum", layer, "all_reduce", t * mid)
        out = step.linear("mamba_out", "mamba_proj", layer, "mamba_out", h, inner, h if self.bias else 0)
        return [into, conv, x, *sums, *norm, dt, scan, out]
