"""Mamba-2 mixer: in-projection, short convolution, state update or chunked scan, gated norm, out-projection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.parts.step import Counts, Step, causal_pairs
from hwsim.workload.language.share import Parallel, indivisible
from hwsim.workload.op import Cache, Kept, Op


@dataclass(frozen=True, slots=True)
class Mamba2:
    """Mamba-2 mixer (arXiv 2405.21060): `heads` of `head_dim` channels, `state` elements per channel.

    groups: heads in one group share B and C. chunk: positions per chunk of the scan in prefill.
    norm:   a gated RMS norm before the out-projection; False: the gate alone (Falcon-H1).
    bias:   both projections add a bias.
    """

    heads: int
    head_dim: int
    state: int
    groups: int
    conv_kernel: int
    chunk: int
    norm: bool = True
    bias: bool = False

    @property
    def inner(self) -> int:
        """Inner width."""
        return self.heads * self.head_dim

    @property
    def conv_channels(self) -> int:
        """Channels that the short convolution runs over: x, B and C."""
        return self.inner + 2 * self.groups * self.state

    @property
    def in_width(self) -> int:
        """Outputs of the in-projection: z, then x, B and C, then dt."""
        return self.inner + self.conv_channels + self.heads

    @property
    def state_elements(self) -> int:
        """SSM state elements per layer and sequence."""
        return self.inner * self.state

    @property
    def conv_elements(self) -> int:
        """Convolution state elements per layer and sequence: the last kernel - 1 inputs of each channel."""
        return self.conv_channels * (self.conv_kernel - 1)

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        return [
            ("norm", self.inner if self.norm else 0),
            ("mamba_in", hidden * self.in_width + (self.in_width if self.bias else 0)),
            ("conv", self.conv_channels * (self.conv_kernel + 1)),
            ("ssm", 3 * self.heads),
            ("mamba_out", self.inner * hidden + (hidden if self.bias else 0)),
        ]

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """State of one sequence."""
        taps = self.conv_kernel - 1
        return [Kept("ssm", self.inner, self.state), Kept("conv", self.conv_channels if taps else 0, taps)]

    def on_chip(self, parallel: Parallel) -> Mamba2:
        """The heads of one chip."""
        return replace(self, heads=self.heads // parallel.tensors, groups=parallel.heads(self.groups))

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        return [
            *indivisible("Mamba-2 heads", self.heads, parallel.tensors, repeated=False),
            *indivisible("Mamba-2 groups", self.groups, parallel.tensors, repeated=True),
        ]

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """(field, error) of numbers that contradict one another."""
        if self.heads % self.groups:
            yield "heads", f"is not a multiple of the {self.groups} groups; write one"

    # -- ops ---------------------------------------------------------------------------------------

    def ops(self, step: Step, layer: int) -> list[Op]:
        """In-projection, short convolution, state update or chunked scan, gated norm, out-projection."""
        h, t, inner = step.hidden, step.tokens, self.inner
        conv = step.convolution(layer, self.conv_channels, self.conv_kernel, True, passes.SILU)
        prefill, state = step.prefill, self.state_elements
        scan = Op(
            "ssm",
            "ssm",
            layer,
            "ssm",
            macs=step.batch * scan_macs(self, step.new) if prefill else 0,
            vector=self._scan_passes(step),
            vector_macs=step.batch * chunks(self.chunk, step.new) * state if prefill else 0,
            params=3 * self.heads,
            cache=Cache("ssm", self.state, step.read(state), step.states * state),
            inputs=t * (self.conv_channels + self.heads),
            outputs=t * inner,
        )
        norm = Op(
            "gated_norm" if self.norm else "ssm_gate",
            "norm",
            layer,
            "norm" if self.norm else "",
            vector=(passes.SILU + passes.GATE + (passes.RMSNORM if self.norm else 0)) * t * inner,
            params=inner if self.norm else 0,
            inputs=2 * t * inner,
            outputs=t * inner,
        )
        width = self.in_width
        into = step.linear("mamba_in", "mamba_proj", layer, "mamba_in", width, h, width if self.bias else 0)
        out = step.linear("mamba_out", "mamba_proj", layer, "mamba_out", h, inner, h if self.bias else 0)
        return [into, conv, scan, norm, out]

    def _scan_passes(self, step: Step) -> int:
        """Vector passes of the state: every element per token in decode, pairs inside each chunk in prefill."""
        t = step.tokens
        work = passes.SSM_STEP * t * self.heads + passes.SSM_CHANNEL * t * self.inner
        if not step.prefill:
            return work + passes.SSM_UPDATE * t * self.state_elements
        pairs = step.batch * self.heads * chunk_pairs(self.chunk, step.new)
        return work + passes.SSD_STEP * t * self.heads + passes.SSD_CHANNEL * t * self.inner + passes.SSD_PAIR * pairs


def chunks(chunk: int, tokens: int) -> int:
    """Number of chunks into which a scan divides a sequence."""
    return -(-tokens // chunk)


def chunk_pairs(chunk: int, tokens: int) -> int:
    """Causal pairs of positions inside the chunks of one sequence, including the diagonal."""
    full, rest = divmod(tokens, chunk)
    return full * causal_pairs(0, chunk) + causal_pairs(0, rest)


def scan_macs(s: Mamba2, tokens: int) -> int:
    """Multiply-adds on the dot array of the chunked scan of one sequence and layer (arXiv 2405.21060, section 6).

    Per pair inside a chunk: C B^T (N per group) and its product with x (P per head), without the half above the
    diagonal. Per token: state in and out, 2 N P per head. The scan over chunks, N P per head and chunk, is
    elementwise and counted in `vector_macs`.
    """
    return chunk_pairs(s.chunk, tokens) * (s.groups * s.state + s.inner) + 2 * tokens * s.state_elements
