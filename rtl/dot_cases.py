"""Random and special cases of block dot products; blocks and sums as payloads, which other units' cases use too."""

from hwsim.specs import BlockDot, BlockSum, Operand, Side

from .dot import pair_layout, sum_layout
from .pack import pack


def draw_side(operand: Operand, lanes: int, draw, kind: str) -> Side:
    """One block: "random", the "extreme" code of either sign, "sparse", or "special" with what is not finite."""
    codes = range(1 << operand.code_bits)
    finite = [code for code in codes if isinstance(operand.integer(code), int)]
    unusual = {repr(operand.integer(code)): code for code in codes if code not in finite}.values()  # one NaN, each inf
    largest = [code for code in finite if abs(operand.integer(code)) == operand.integer_max] or [max(finite)]
    chosen = [draw.choice(finite) for _ in range(lanes)]
    scale = draw.randrange(0x7F if operand.scale == "e4m3" else 0xFF) if operand.scale_bits else 0
    if operand.scale == "e4m3":
        scale |= draw.choice([0, 0, 0x80])  # which means nothing
    if kind == "extreme":
        only = draw.choice([[max(largest)], [min(largest)], largest])
        chosen = [draw.choice(only) for _ in range(lanes)]
    elif kind == "sparse":
        chosen = [code if draw.random() < 0.2 else 0 for code in chosen]
    elif kind == "special":
        for _ in range(draw.choice([0, 1, 1, 2])):
            sign_alone = 1 << (operand.code_bits - 1)  # -0, or the least integer
            chosen[draw.randrange(lanes)] = draw.choice([*unusual, 0, sign_alone, draw.choice(codes)])
        scale = draw.choice([scale, scale | 0x80, 0, 0x80, 0xFF, 0x7F]) if operand.scale_bits else 0
    shifts = [draw.randint(0, operand.shift_max) for _ in range(0, lanes, operand.sub_block or lanes)]
    return Side(chosen, scale, shifts if operand.sub_block else ())


def pair_word(spec: BlockDot, a: Side, b: Side, last: int) -> int:
    """The input payload of a block dot unit."""
    sides = {}
    for name, side in (("a", a), ("b", b)):
        sides[name] = {"scale": side.scale, "shifts": side.shifts, "codes": side.codes}
    return pack(pair_layout(spec), {**sides, "last": last})


def sum_word(spec: BlockDot, result: BlockSum, negate: int, last: int) -> int:
    """The payload that stands for an exact sum, the total turned by `negate`."""
    total = -result.total if negate and not result.inf else result.total
    fields = {
        "total": total,
        "negate": int(result.inf < 0) if result.inf else negate,
        "exponent": result.exponent - spec.exponent_offset,
        "nan": result.nan,
        "inf": bool(result.inf),
        "last": last,
    }
    return pack(sum_layout(spec), fields)


def first_sign(spec: BlockDot, a: Side, b: Side) -> int:
    """The sign of the first lane's product, by which the RTL turns the total."""
    if not spec.deferred_sign:
        return 0
    sign = 0
    for operand, side in ((spec.a, a), (spec.b, b)):
        sign ^= side.codes[0] >> (operand.code_bits - 1)
    return sign


def dot_cases(spec: BlockDot, n: int, draw):
    """Pairs of blocks; what a NaN or an infinity leaves in the other fields is masked."""
    layout = sum_layout(spec)
    everything = (1 << layout.size) - 1
    meaningless = {"total": -1, "negate": 0, "exponent": -1, "nan": 0, "inf": 0, "last": 0}
    kinds = ["random", "extreme", "sparse", "special"]
    for i in range(n):
        kind = kinds[i % 4]
        a = draw_side(spec.a, spec.lanes, draw, kind)
        b = draw_side(spec.b, spec.lanes, draw, draw.choice([kind, "random"]))
        result, last = spec(a, b), draw.getrandbits(1)
        mask = everything
        if result.nan or result.inf:
            mask &= ~pack(layout, {**meaningless, "negate": int(result.nan)})
        yield pair_word(spec, a, b, last), (sum_word(spec, result, first_sign(spec, a, b), last), mask)


def near_scale(side: Side, draw, scale: str) -> Side:
    """The same block with a scale that keeps sums of many blocks within each other's reach; NaN stays."""
    near = scale == "e8m0" and side.scale != 0xFF and draw.random() < 0.95
    return side._replace(scale=draw.randint(120, 134)) if near else side
