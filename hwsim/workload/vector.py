"""Passes of the vector unit for each elementwise function; a pass is one operation on one element.

The comment above each constant says how it was counted. A transcendental (exp, log, rsqrt, reciprocal) counts as one
pass, as on units that have it as one instruction. GPUs issue those at a fraction of the rate of an add (CUDA C++
Programming Guide, table of arithmetic throughput: 16 against 128 per cycle and SM), so they are slower on softmax and
silu than these counts say.
"""

from __future__ import annotations

#: x*x, sum; times rsqrt(mean), times gain (Zhang and Sennrich, arXiv 1910.07467, equation 4).
RMSNORM = 4
#: Sum, subtract the mean, square, sum, times rsqrt, times gain, plus shift (Ba et al., arXiv 1607.06450, equation 4).
LAYERNORM = 7
#: x*x, sum, times rsqrt: a norm without gain, of a query or key.
L2NORM = 3
#: y = x + r.
RESIDUAL = 1
#: y = x + b.
BIAS = 1
#: max, subtract, exp, sum, divide (Milakov and Gimelshein, arXiv 1805.02867, algorithm 2).
SOFTMAX = 5
#: Per query head and token: exp of the sink logit, its share of the sum (gpt-oss model card, arXiv 2508.10925).
SINK = 2
#: two multiplies and an add per element of a rotated pair (Su et al., arXiv 2104.09864, equation 34).
ROPE = 3
#: x * sigmoid(x): negate, exp, add one, divide (Elfwing et al., arXiv 1702.03118).
SILU = 4
#: sigmoid(x) times the result: negate, exp, add one, divide, multiply (output gate, arXiv 2505.06708).
SIGMOID_GATE = 5
#: Per pair and head: divide, tanh, multiply (Gemma 2, arXiv 2408.00118).
SOFTCAP = 3
#: 0.5 x (1 + tanh(c (x + d x^3))): square, multiply, multiply, add, multiply, tanh, add, two multiplies.
GELU_TANH = 9
#: 0.5 x (1 + erf(x / sqrt 2)), with erf as one pass (Hendrycks and Gimpel, arXiv 1606.08415).
GELU = 5
#: x * sigmoid(1.702 x).
QUICK_GELU = 5
#: max(x, 0).
RELU = 1
#: min of the gate, max and min of the other half, times -alpha, exp, add one, divide, other half plus one
#: (gpt-oss, arXiv 2508.10925; Hugging Face transformers, GptOssExperts).
SILU_CLAMPED = 8
#: max(x, 0), square (So et al., arXiv 2109.08668).
RELU2 = 2
#: one multiply by the other half (Shazeer, arXiv 2002.05202).
GATE = 1
#: sigmoid or softmax of a score (negate or subtract, exp, add, divide), one comparison for the selection.
ROUTER_SCORE = 5
#: weighted sum over the chosen experts: a multiply and an add per expert's result.
COMBINE = 2

# Mamba-2 (Dao and Gu, arXiv 2405.21060).
#: Per head and token: softplus(dt + bias) is add, exp, add one, log; dt*A, exp.
SSM_STEP = 6
#: Per channel and token: dt*x; y + D*x is a multiply and an add.
SSM_CHANNEL = 3
#: Per state element and token: S <- exp(dt A) S + (dt x) B, two multiplies and an add; y = S C, one of each.
SSM_UPDATE = 5
#: Prefill, per head and token in addition to SSM_STEP: running sum of dt*A, difference from the chunk's last, its exp.
SSD_STEP = 3
#: Prefill, per channel and token in addition to SSM_CHANNEL: x times decay in, S C times decay out, their sum.
SSD_CHANNEL = 3
#: Prefill, per head and pair of positions in a chunk: difference of the running sums, exp, times C B^T.
SSD_PAIR = 3

# Mamba-1 (Gu and Dao, arXiv 2312.00752): A differs for every state element.
#: Per state element and token: dt A, exp, times S, dt x times B, add, times C, add.
SELECTIVE_UPDATE = 7
#: Per channel and token: softplus(dt + bias) is add, exp, add one, log; dt x; y + D x is two; times silu(z) is five.
SELECTIVE_CHANNEL = 12

# Gated DeltaNet (Yang et al., arXiv 2412.06464) and Kimi Delta Attention (arXiv 2510.26692).
#: Per state element and token: decay, S k and S q (two each), the outer product (two).
DELTA_UPDATE = 7
#: Per value channel and token: v - S k, times beta.
DELTA_CHANNEL = 2
#: Per value head and token: sigmoid of beta is four; exp(-exp(A) softplus(a + dt)) is six.
DELTA_HEAD = 10
#: Per decay and token: exp(-exp(A) softplus(a + dt)).
DELTA_DECAY = 6
#: Prefill, per value head and pair of positions in a chunk: decay difference, exp, multiply; once each for the
#: triangular system and for the scores.
DELTA_PAIR = 6
#: Prefill, per key channel and token: k times beta, decay in, decay out.
DELTA_KEY = 3

# Lightning attention (Qin et al., arXiv 2401.04658): a fixed decay per head.
#: Per state element and token: decay and k v (a multiply and an add, with the decay a multiply), S q (two).
LIGHTNING_UPDATE = 5
#: Prefill, per head and pair of positions in a block: times the decay of their distance.
LIGHTNING_PAIR = 1

#: Router with groups: the two largest scores of each group, their sum, and the choice of groups, per expert.
GROUPS = 2
#: Sparse attention: ReLU of a score, times its head's weight, add (DeepSeek-V3.2, arXiv 2512.02556).
INDEX_SCORE = 3

ACTIVATION = {
    "silu": SILU,
    "silu_clamped": SILU_CLAMPED,
    "relu2": RELU2,
    "relu": RELU,
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
    "quick_gelu": QUICK_GELU,
}


def feed_forward(activation: str, gated: bool) -> int:
    """Passes per intermediate element of a feed-forward block."""
    return ACTIVATION[activation] + (GATE if gated else 0)


# Norms and functions of graph workloads.
#: y = x * gain + shift, the statistics folded in (Ioffe and Szegedy, arXiv 1502.03167, section 3.1).
SCALE_SHIFT = 2
#: Functions by name; sigmoid: negate, exp, add one, divide; gelu: x/2 (1 + erf(x / sqrt 2)); hard_swish: x / 6
#: times relu6(x + 3) (Howard et al., arXiv 1905.02244); softplus: exp, add one, log; elu: exp, subtract, times alpha,
#: select.
FUNCTION = {
    "relu": 1,
    "relu6": 2,
    "leaky_relu": 2,
    "elu": 4,
    "sigmoid": 4,
    "hard_sigmoid": 4,
    "tanh": 1,
    "silu": SILU,
    "hard_swish": 5,
    "gelu": 5,
    "softplus": 3,
    "exp": 1,
    "log": 1,
    "sqrt": 1,
    "erf": 1,
    "abs": 1,
    "neg": 1,
    "reciprocal": 1,
    "floor": 1,
    "clip": 2,
}
