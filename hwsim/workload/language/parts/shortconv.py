"""Short convolution as a mixer (LFM2): y = C * conv(B * x), with B, C and x from one projection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload.language.parts.step import Counts, Step
from hwsim.workload.language.share import Parallel, indivisible
from hwsim.workload.op import Kept, Op


@dataclass(frozen=True, slots=True)
class ShortConv:
    """Gated short convolution over `channels` with `conv_kernel` taps."""

    channels: int
    conv_kernel: int
    bias: bool = False

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        c = self.channels
        return [
            ("mamba_in", 3 * c * (hidden + self.bias)),
            ("conv", c * (self.conv_kernel + self.bias)),
            ("mamba_out", c * hidden + (hidden if self.bias else 0)),
        ]

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """The last inputs of one sequence."""
        return [Kept("conv", self.channels, self.conv_kernel - 1)]

    def on_chip(self, parallel: Parallel) -> ShortConv:
        """The channels of one chip."""
        return replace(self, channels=self.channels // parallel.tensors)

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        return indivisible("convolution channels", self.channels, parallel.tensors, repeated=False)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """None."""
        return ()

    def ops(self, step: Step, layer: int) -> list[Op]:
        """Projection to B, C and x, the convolution with a multiply before and after it, projection back."""
        c, t = self.channels, step.tokens
        into = step.linear("conv_in", "mamba_proj", layer, "mamba_in", 3 * c, step.hidden, 3 * c * self.bias)
        conv = replace(step.convolution(layer, c, self.conv_kernel, self.bias, 2), inputs=3 * t * c)
        bias = step.hidden if self.bias else 0
        out = step.linear("conv_out", "mamba_proj", layer, "mamba_out", step.hidden, c, bias)
        return [into, conv, out]
