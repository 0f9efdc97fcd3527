"""The table of vector passes: each entry against its function, run on numbers that count their operations."""

import math

import pytest

from hwsim.workload import load_model, vector
from tests.workload.language.shapes import lower


class Number:
    """A number; every operation on it, including a transcendental, adds one to `Number.passes`."""

    passes = 0

    def __init__(self, value):
        self.value = value

    def _next(self, value):
        Number.passes += 1
        return Number(value)

    def __add__(self, other):
        return self._next(self.value + other.value)

    def __sub__(self, other):
        return self._next(self.value - other.value)

    def __mul__(self, other):
        return self._next(self.value * other.value)

    def __truediv__(self, other):
        return self._next(self.value / other.value)

    def __neg__(self):
        return self._next(-self.value)

    def larger(self, other):
        return self._next(max(self.value, other.value))

    def smaller(self, other):
        return self._next(min(self.value, other.value))

    def exp(self):
        return self._next(math.exp(self.value))

    def log(self):
        return self._next(math.log(self.value))


ONE, ZERO = Number(1.0), Number(0.0)


def numbers(n):
    return [Number(0.1 + i / 100) for i in range(n)]


def total(xs):
    result = xs[0]
    for x in xs[1:]:
        result = result + x
    return result


def sigmoid(x):
    return ONE / (ONE + (-x).exp())


def softmax(xs):
    most = xs[0]
    for x in xs[1:]:
        most = most.larger(x)
    powers = [(x - most).exp() for x in xs]
    whole = total(powers)
    return [p / whole for p in powers]


def rmsnorm(xs, gains):
    square = total([x * x for x in xs])
    inverse = ONE / square  # mean and root: one pass each, once a row
    return [x * inverse * g for x, g in zip(xs, gains, strict=True)]


def rope(xs):
    c, s = Number(0.6), Number(0.8)
    for a, b in zip(xs[::2], xs[1::2], strict=True):
        a * c - b * s, a * s + b * c


def silu(x):
    return x / (ONE + (-x).exp())


def silu_clamped(gate, up):
    limit, low, alpha = Number(7.0), Number(-7.0), Number(-1.702)
    gate, up = gate.smaller(limit), up.smaller(limit).larger(low)
    glu = gate / (ONE + (gate * alpha).exp())
    return glu * (up + ONE)


def relu2(x):
    x = x.larger(ZERO)
    return x * x


def combine(results, weights):
    sums = [ZERO] * len(results[0])
    for row, w in zip(results, weights, strict=True):
        sums = [s + r * w for s, r in zip(sums, row, strict=True)]


def scores(xs):
    best = ZERO
    for x in xs:
        best = best.larger(sigmoid(x))


def ssm_update(state, decay, dtx, b, c):
    state = [decay * s + dtx * bn for s, bn in zip(state, b, strict=True)]
    return total([s * cn for s, cn in zip(state, c, strict=True)])


N = 1000


@pytest.mark.parametrize(
    "passes, function",
    [
        (vector.SOFTMAX, lambda: softmax(numbers(N))),
        (vector.RMSNORM, lambda: rmsnorm(numbers(N), numbers(N))),
        (vector.ROPE, lambda: rope(numbers(N))),
        (vector.RESIDUAL, lambda: [x + x for x in numbers(N)]),
        (vector.BIAS, lambda: [x + ONE for x in numbers(N)]),
        (vector.SILU, lambda: [silu(x) for x in numbers(N)]),
        (vector.SILU_CLAMPED + vector.GATE, lambda: [silu_clamped(x, x) for x in numbers(N)]),
        (vector.RELU2, lambda: [relu2(x) for x in numbers(N)]),
        (vector.GATE, lambda: [x * x for x in numbers(N)]),
        (vector.ROUTER_SCORE, lambda: scores(numbers(N))),
        (vector.COMBINE, lambda: combine([numbers(N // 4)] * 4, numbers(4))),
        (vector.SSM_STEP, lambda: [((ONE + (x + x).exp()).log() * x).exp() for x in numbers(N)]),
        (vector.SSM_CHANNEL, lambda: [(x * x) and (x + x * x) for x in numbers(N)]),
        (vector.SSM_UPDATE, lambda: ssm_update(numbers(N), ONE, ONE, numbers(N), numbers(N))),
    ],
)
def test_passes_per_element(passes, function):
    Number.passes = 0
    function()
    assert Number.passes / N == pytest.approx(passes, abs=2.5 / N)


def test_ssm_passes_of_a_prompt():
    """A chunk of q positions, one head of p channels: the work that is not a GEMM, position by position."""
    q, p = 60, 8
    Number.passes = 0
    running = []
    for x in numbers(q):  # dt = softplus(dt + bias), dt A; its running sum, decays to here and to the chunk's end
        dta = (ONE + (x + x).exp()).log() * x
        running.append(running[-1] + dta if running else dta + ZERO)
    into = [r.exp() for r in running]
    out = [(running[-1] - r).exp() for r in running]
    for i in range(q):
        for j in range(i + 1):
            (running[i] - running[j]).exp() * ONE  # times C B^T
        for x in numbers(p):
            dtx = x * ONE
            dtx * out[i]  # into the state
            (x * into[i]) + dtx  # what the state gives, and the chunk
            dtx + x * ONE  # D x
    pairs = q * (q + 1) // 2
    per_head = vector.SSM_STEP + vector.SSD_STEP
    assert Number.passes == q * per_head + q * p * (vector.SSM_CHANNEL + vector.SSD_CHANNEL) + pairs * vector.SSD_PAIR


# -- where the table is used -----------------------------------------------------------------------


def named(name, op, phase="decode", batch=3, context=200):
    return next(o for o in lower(load_model(name), phase, batch, context) if o.name == op)


def test_vector_work_of_mamba():
    heads, inner, state, channels = 64, 4096, 64 * 64 * 128, 6144
    assert named("nemotron3-nano-30b-a3b", "ssm").vector == 3 * (6 * heads + 3 * inner + 5 * state)
    pairs = 128 * 129 // 2 + 72 * 73 // 2
    prompt = named("nemotron3-nano-30b-a3b", "ssm", "prefill")
    assert prompt.vector == 3 * (200 * (9 * heads + 6 * inner) + 3 * heads * pairs)
    assert named("nemotron3-nano-30b-a3b", "conv").vector == 3 * 4 * channels
    assert named("nemotron3-nano-30b-a3b", "gated_norm").vector == 3 * 9 * inner


def test_vector_work_of_experts():
    router = named("nemotron3-nano-30b-a3b", "router")
    assert (router.vector, router.outputs) == (3 * (5 + 1) * 128, 2 * 3 * 6)  # a bias; weight and number of each
    assert named("gpt-oss-20b", "router").vector == 3 * 6 * 32  # a bias more
    down = named("nemotron3-super-120b-a12b", "shared_experts_down")
    assert (down.vector, down.inputs) == (3 * 4096, 3 * (5376 + 4096))  # adds the routed experts' sum
    assert named("nemotron3-super-120b-a12b", "experts_down").vector == 3 * 22 * 2 * 1024
    assert named("gpt-oss-20b", "experts_up").vector == 3 * 4 * 2880 * (9 + 2)  # clamped silu, gate; two biases
    assert named("gpt-oss-20b", "attention").vector == 3 * 64 * (5 * 201 + 2)
