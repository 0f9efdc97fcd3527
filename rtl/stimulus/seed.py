"""Cases of the units of the seed path."""

from hwsim.specs import Requantizer

from ..requantize import blocks_layout, gather_layout
from ..seed import weights_layout
from .pack import pack


def lfsr_cases(spec, n, draw):
    """Seeds: the extremes, 0 (which is none), then random."""
    width = spec.codec.K
    special = [0, 1, spec.codec.centre, spec.codec.lfsr.period]
    for seed in [*special, *(draw.getrandbits(width) for _ in range(n - 4))][:n]:
        yield seed, sum(state << width * i for i, state in enumerate(spec(seed)))


def draw_record(codec, draw, hard: bool) -> int:
    """A record's word; `hard`: extreme and zero coefficients, extreme exponents."""
    if not hard:
        word = draw.getrandbits(codec.block_bits)
        return word if word & codec.lfsr.period else word + 1  # seed 0 is none
    q = [draw.choice([*codec.q_range, 0, -1]) for _ in range(codec.P)]
    seed = draw.choice([1, codec.centre, codec.lfsr.period, draw.randint(1, codec.lfsr.period)])
    return codec.pack(seed, draw.choice(codec.exponent_range), q)


def seed_decoder_cases(spec, n, draw):
    """Hard records, then random words."""
    layout = weights_layout(spec)
    for i in range(n):
        word = draw_record(spec.codec, draw, i < n // 4)
        exponent, weights = spec(word)
        if negate := spec.negate(word):
            weights = [-weight for weight in weights]
        yield word, pack(layout, {"exponent": exponent, "negate": negate, "weights": weights})


def requantizer_cases(spec: Requantizer, n, draw):
    """Seed blocks as decoded, with exponents near and far, zeros, powers of two and halves, either sign."""
    limit = spec.codec.P * spec.codec.denominator << (spec.codec.coefficient_bits - 1)
    low, high = spec.codec.exponent_range
    for i in range(n):
        gathered = []
        # A block whose largest magnitude is all ones is where rounding would leave the target's range.
        most = draw.choice([limit, limit, (1 << draw.randint(1, limit.bit_length() - 1)) - 1])
        for _ in range(spec.seed_blocks):
            size = draw.choice([1, 4, limit.bit_length() - 1, limit.bit_length()])
            weights = [draw.choice([1, -1]) * min(draw.getrandbits(size), most) for _ in range(spec.codec.C)]
            if draw.random() < 0.3:
                near = [(1 << draw.randint(0, 19)) + draw.choice([0, 0, 1, -1]) for _ in weights]
                weights = [draw.choice([1, -1]) * min(each, most) for each in near]
            if draw.random() < 0.2 or i == 0:
                weights = [0] * spec.codec.C
            exponent = draw.choice([low, high, draw.randint(low, high), 0, 0])
            gathered.append((exponent, draw.getrandbits(1), weights))
        blocks = spec([(e, [-w for w in weights] if negate else weights) for e, negate, weights in gathered])
        given = [{"exponent": e, "negate": negate, "weights": weights} for e, negate, weights in gathered]
        records = [{"scale": block.scale, "codes": block.codes} for block in blocks]
        yield pack(gather_layout(spec), given), pack(blocks_layout(spec), records)
