"""Passes of the vector unit for each elementwise function: a pass is one operation on one element.

Counted from the formulas that the comments give; a transcendental (exp, rsqrt, sigmoid's exp,
softplus's log) counts as one pass, as on units that have it as one instruction (for example the
special function units of the CUDA C++ Programming Guide's throughput table, at a quarter of the
rate of an add: machines of that kind are a little slower on softmax than these counts say).
"""

from __future__ import annotations

#: x*x, sum, times rsqrt(mean), times gain (Zhang and Sennrich, arXiv 1910.07467).
RMSNORM = 4
#: y = x + r.
RESIDUAL = 1
#: running max, subtract, exp, sum, rescale (Milakov and Gimelshein, arXiv 1805.02867).
SOFTMAX = 5
#: two multiplies and an add for each element of a rotated pair (Su et al., arXiv 2104.09864).
ROPE = 3
#: negate, exp, add one, divide (x * sigmoid(x)).
SILU = 4
#: one multiply with the other half (Shazeer, arXiv 2002.05202).
GATE = 1
#: max(x, 0), square.
RELU2 = 2
#: sigmoid of a score (negate, exp, add, divide) and the comparison of a top-k pass.
ROUTER_SCORE = 5
#: weighted sum over the chosen experts: a multiply and an add for each expert's result.
COMBINE = 2
#: softplus(dt + bias) (add, exp, add, log), dt*A, exp: per head and token (Dao and Gu, arXiv 2405.21060).
SSM_STEP = 6
#: S <- exp(dt A) S + (dt x) B: two multiplies and an add; y = S C: a multiply and an add, per state element.
SSM_UPDATE = 5
#: y + D x: a multiply and an add per channel.
SSM_SKIP = 2

ACTIVATION = {"silu": SILU, "relu2": RELU2}


def feed_forward(activation: str, gated: bool) -> int:
    """Passes for each intermediate element."""
    return ACTIVATION[activation] + (GATE if gated else 0)
