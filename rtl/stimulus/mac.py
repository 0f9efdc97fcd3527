"""Cases of the units that end in an accumulator."""

from hwsim.specs import MxMac, SeedMac, Side

from ..mac import records_layout
from .dot import draw_side, pair_word
from .pack import pack
from .seed import draw_record


def near_scale(side: Side, draw, scale: str) -> Side:
    """The same block with a scale that keeps sums of many blocks within each other's reach; NaN stays."""
    near = scale == "e8m0" and side.scale != 0xFF and draw.random() < 0.95
    return side._replace(scale=draw.randint(120, 134)) if near else side


def mx_mac_cases(spec: MxMac, n, draw):
    """Rows in turn, of random length."""
    interleave, dot = spec.accumulator.interleave, spec.dot
    sums = [0] * interleave
    for i in range(n):
        row, kind = i % interleave, draw.choice(["random", "random", "sparse", "extreme", "special"])
        kind = "random" if kind == "special" and draw.random() < 0.9 else kind
        a, b = (near_scale(draw_side(o, dot.lanes, draw, kind), draw, o.scale) for o in (dot.a, dot.b))
        sums[row] = spec.accumulator.add(sums[row], dot(a, b))
        last = draw.random() < (0.6 if sums[row] & 0x7F800000 == 0x7F800000 else 0.2)
        yield pair_word(dot, a, b, int(last)), sums[row] if last else None
        sums[row] = 0 if last else sums[row]


def seed_mac_cases(spec: SeedMac, n, draw):
    """Rows in turn, of random length; hard records among them."""
    mac, layout = spec.mac, records_layout(spec)
    interleave, count = mac.accumulator.interleave, spec.requantizer.seed_blocks
    sums = [0] * interleave
    for i in range(n):
        row = i % interleave
        words = [draw_record(spec.codec, draw, draw.random() < 0.2) for _ in range(count)]
        weights = spec.requantizer([spec.decoder(word) for word in words])[0]
        block = draw_side(spec.activations, spec.requantizer.block, draw, draw.choice(["random", "sparse"]))
        block = near_scale(block, draw, spec.activations.scale)
        sums[row] = mac.accumulator.add(sums[row], mac.dot(block, weights))
        last = draw.random() < 0.2
        activations = {"scale": block.scale, "shifts": block.shifts, "codes": block.codes}
        word = pack(layout, {"records": words, "activations": activations, "last": int(last)})
        yield word, sums[row] if last else None
        sums[row] = 0 if last else sums[row]
