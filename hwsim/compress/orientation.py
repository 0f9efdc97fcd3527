"""Which axis of a stored weight is K, the inputs over which a GEMM sums: the last one, with two known exceptions.

Most files store [outputs, inputs], and stacks of experts [experts, outputs, inputs]. Fused experts of gpt-oss, Llama 4
and Qwen3-VL are [experts, inputs, outputs]; others of the same names are not, so the shape of the bias decides where
there is one, then the shapes of the two weights of a layer where both are there. GPT-2's Conv1D is [inputs, outputs];
models that copy its names and not its class are found by the shape of `c_attn`, three times as many outputs as inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FUSED = re.compile(r"(.*experts\.)(gate_up_proj|down_proj)$")
_CONV1D = re.compile(r"(.*\.)?(c_attn|c_fc|c_proj|q_attn)\.weight$")
_ATTENTION = re.compile(r"(.*\.)?c_attn\.weight$")

KNOWN = (
    ("*experts.gate_up_proj, *experts.down_proj (three axes, no .weight)", "gpt-oss, Llama 4, Qwen3-VL: -2"),
    ("*.c_attn.weight, *.c_fc.weight, *.c_proj.weight, *.q_attn.weight where c_attn is [H, 3 H]", "GPT-2's Conv1D: 0"),
)
"""The table for the documentation: names, and whose they are with the axis."""

Shapes = Mapping[str, tuple[int, ...]]


def k_axis(name: str, shapes: Shapes) -> int:
    """K of a tensor, counted from the front. shapes: of all tensors of the checkpoint, by name."""
    shape = shapes[name]
    last = len(shape) - 1
    if len(shape) == 3 and (found := _FUSED.match(name)):
        bias = shapes.get(f"{name}_bias", ())
        if len(bias) == 2 and shape[1] != shape[2] and bias[1] in shape[1:]:
            return 1 if bias[1] == shape[2] else 2  # a bias has one entry per output
        return 1 if _experts_are_transposed(found[1], shapes) else 2
    if len(shape) == 2 and _CONV1D.match(name):
        first = next((n for n in shapes if _ATTENTION.match(n)), None)
        if first and len(shapes[first]) == 2 and shapes[first][1] == 3 * shapes[first][0]:
            return 0
    return last


def _experts_are_transposed(prefix: str, shapes: Shapes) -> bool:
    """Whether a layer's fused experts are [E, K, N].

    gate_up_proj [E, H, 2 I] and down_proj [E, I, H] are; [E, 2 I, H] and [E, H, I] are not. One weight alone: they are.
    """
    up, down = (shapes.get(prefix + part, ()) for part in ("gate_up_proj", "down_proj"))
    plain = len(up) == 3 == len(down) and up[2] == down[1] and up[1] == 2 * down[2]
    return not plain
