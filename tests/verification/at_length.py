"""Inputs by the hundred thousand, drawn and answered by numpy: (payload, answer), as `rtl.catalog.cases` gives them.

The answers are made from the tables of `formats`, not by the specs' own functions; only blocks that hold what is not
finite are answered by these.
"""

import itertools

import numpy as np

from hwsim.formats.catalog import get_format
from hwsim.formats.elements import ELEMENTS
from hwsim.specs import BlockDot, LfsrBlock, Operand, Requantizer, Side
from rtl.dot import sum_layout
from rtl.dot_cases import pair_word, sum_word
from rtl.pack import pack
from rtl.requantize import blocks_layout

MX = {name: Operand(element) for name, element in ELEMENTS.items()}
PAIRS = {
    **{f"{a}_{b}".lower(): (MX[a], MX[b]) for a, b in itertools.combinations_with_replacement(MX, 2)},
    "nvfp4": (Operand(ELEMENTS["E2M1"], "e4m3"),) * 2,
    **{f"mx{m + 2}": (Operand(None, "e8m0", m, 2, 1),) * 2 for m in (7, 4, 2)},
}


def packed(*fields) -> list[int]:
    """Words whose fields (array of [n] or [n, count], bits of each) stand from bit 0 up."""
    bits = []
    for values, width in fields:
        values = np.asarray(values).astype(np.uint64).reshape(len(values), -1)
        split = values[..., None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
        bits.append(split.astype(np.uint8).reshape(len(values), -1))
    data = np.packbits(np.concatenate(bits, 1), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in data]


class Half:
    """One side of many block pairs: codes [n, lanes], scales [n], shifts [n, sub-blocks]."""

    def __init__(self, operand: Operand, codes, scales, shifts):
        self.operand, self.codes, self.scales, self.shifts = operand, codes, scales, shifts

    @classmethod
    def draw(cls, operand: Operand, n: int, lanes: int, rng) -> "Half":
        """Finite codes: any, few that are not zero, or the largest of both signs; every finite scale; every shift."""
        codes = np.arange(1 << operand.code_bits)
        whole = [isinstance(operand.integer(int(code)), int) for code in codes]
        finite = codes[whole]
        largest = [code for code in finite if abs(operand.integer(int(code))) == operand.integer_max]
        chosen = rng.choice(finite, (n, lanes))
        kind = rng.integers(0, 8, n)
        chosen[kind == 0] = rng.choice(largest, ((kind == 0).sum(), lanes))
        chosen[(kind < 3)[:, None] & (kind > 0)[:, None] & (rng.random((n, lanes)) < 0.8)] = 0
        scales = [code for code in range(256) if operand.scale_parts(code)[0] is not None]
        scales = rng.choice(scales, n) if operand.scale_bits else np.zeros(n, int)
        count = -(-lanes // operand.sub_block) if operand.sub_block else 0
        return cls(operand, chosen, scales, rng.integers(0, operand.shift_max + 1, (n, count)))

    def values(self, kind) -> np.ndarray:
        """The elements as integers; 0 for what is not finite."""
        operand, (_, lanes) = self.operand, self.codes.shape
        every = [[operand.integer(c, s) for c in range(1 << operand.code_bits)] for s in range(operand.shift_max + 1)]
        table = np.array([[v if isinstance(v, int) else 0 for v in row] for row in every], kind)
        by_lane = np.repeat(self.shifts, operand.sub_block, 1)[:, :lanes] if operand.sub_block else 0
        return table[by_lane, self.codes]

    def scale_parts(self) -> tuple[np.ndarray, np.ndarray]:
        """(significand, exponent field)."""
        parts = [self.operand.scale_parts(code) for code in range(256)]
        return np.array([part[0] or 0 for part in parts])[self.scales], np.array([p[1] for p in parts])[self.scales]

    def signs(self) -> np.ndarray:
        """Sign bit of the first element."""
        return self.codes[:, 0] >> (self.operand.code_bits - 1)

    def fields(self) -> list[tuple[np.ndarray, int]]:
        """Its fields of the unit's input."""
        return [
            (self.scales, self.operand.scale_bits),
            *([(self.shifts, self.operand.shift_bits)] if self.operand.sub_block else []),
            (self.codes, self.operand.code_bits),
        ]

    def side(self, i: int) -> Side:
        """Block `i` as the spec takes it."""
        return Side(self.codes[i].tolist(), int(self.scales[i]), self.shifts[i].tolist())


def dot_cases(spec: BlockDot, a: Half, b: Half, last, special):
    """The inputs and answers of block pairs; `special` [n]: those that the spec answers."""
    kind = np.int64 if spec.total_max < 1 << 62 else object
    (sa, ea), (sb, eb) = a.scale_parts(), b.scale_parts()
    totals = (a.values(kind) * b.values(kind)).sum(1) * (sa * sb).astype(kind)
    signs = a.signs() ^ b.signs() if spec.deferred_sign else np.zeros(len(last), int)
    words = packed(*a.fields(), *b.fields(), (last, 1))
    layout = sum_layout(spec)
    at, everything = {name: field.offset for name, field in layout}, (1 << layout.size) - 1
    total_mask = (1 << spec.total_bits) - 1
    unknown = pack(layout, {"total": -1, "negate": 0, "exponent": -1, "nan": 0, "inf": 0, "last": 0})
    columns = zip(words, totals, signs, ea + eb, last, special, strict=True)
    for i, (word, total, sign, exponent, ends, is_special) in enumerate(columns):
        if is_special:
            sides = a.side(i), b.side(i)
            assert word == pair_word(spec, *sides, int(ends))
            result = spec(*sides)
            mask = everything
            if result.nan or result.inf:
                mask &= ~unknown & ~(int(result.nan) << at["negate"])
            yield word, (sum_word(spec, result, int(sign), int(ends)), mask)
        else:
            answer = (-int(total) if sign else int(total)) & total_mask
            answer |= int(sign) << at["negate"] | int(exponent) << at["exponent"] | int(ends) << at["last"]
            yield word, (answer, everything)


def random_blocks(spec: BlockDot, n: int, seed: int = 0):
    """`n` pairs of random blocks; one in 32 has an element or a scale of any code, the special ones included."""
    rng = np.random.default_rng(seed)
    a, b = (Half.draw(operand, n, spec.lanes, rng) for operand in (spec.a, spec.b))
    special = rng.random(n) < 1 / 32
    for i in np.flatnonzero(special):
        half = a if rng.random() < 0.5 else b
        codes = 1 << half.operand.code_bits
        for _ in range(rng.integers(1, 3)):
            half.codes[i, rng.integers(spec.lanes)] = rng.choice([codes - 1, codes // 2 - 1, rng.integers(codes)])
        if half.operand.scale_bits and rng.random() < 0.2:
            half.scales[i] = rng.choice([0x7F, 0xFF, 0x80, 0])
    return dot_cases(spec, a, b, rng.integers(0, 2, n), special)


def every_pair(spec: BlockDot):
    """Every pair of element codes, at each pair of shifts, in each of two lanes; the other lane a finite pair."""
    assert spec.lanes == 2
    grids = [range(spec.a.shift_max + 1), range(spec.b.shift_max + 1)]
    grids = np.meshgrid(np.arange(1 << spec.a.code_bits), np.arange(1 << spec.b.code_bits), *grids, indexing="ij")
    codes_a, codes_b, shifts_a, shifts_b = (np.tile(grid.ravel(), 2) for grid in grids)
    n = len(codes_a)
    rng = np.random.default_rng(1)
    a, b = (Half.draw(operand, n, 2, rng) for operand in (spec.a, spec.b))
    lane = np.arange(n) * 2 // n
    for half, codes, shifts in ((a, codes_a, shifts_a), (b, codes_b, shifts_b)):
        half.codes[np.arange(n), lane] = codes
        if half.operand.sub_block:
            half.shifts[:, 0] = shifts
    special = np.zeros(n, bool)
    for half in (a, b):
        whole = [isinstance(half.operand.integer(c), int) for c in range(1 << half.operand.code_bits)]
        special |= ~np.array(whole)[half.codes].all(1)
    return dot_cases(spec, a, b, rng.integers(0, 2, n), special)


def gathers(spec: Requantizer, n: int, seed: int = 0):
    """`n` gathers of seed blocks' integers: all sizes, powers of two and their neighbours, zeros; all exponents."""
    rng = np.random.default_rng(seed)
    codec, c = spec.codec, spec.codec.C
    limit = codec.P * codec.denominator << (codec.coefficient_bits - 1)
    shape = (n, spec.seed_blocks, c)
    sizes = rng.integers(0, limit.bit_length() + 1, (n, spec.seed_blocks, 1))
    weights = rng.integers(0, 1 << 62, shape) % (1 << sizes)
    near = (1 << rng.integers(0, limit.bit_length(), shape)) + rng.integers(-1, 2, shape)
    weights = np.minimum(np.where(rng.random((n, spec.seed_blocks, 1)) < 0.3, near, weights), limit)
    weights *= rng.choice([-1, 1], shape)
    weights[rng.random((n, spec.seed_blocks)) < 0.1] = 0
    weights[0] = 0
    low, high = codec.exponent_range[0], codec.exponent_range[-1]
    exponents = np.where(rng.random((n, 1)) < 0.5, 0, rng.integers(low, high + 1, (n, spec.seed_blocks)))
    negate = rng.integers(0, 2, (n, spec.seed_blocks))
    values = np.ldexp(np.where(negate[..., None], -weights, weights).astype(float), exponents[..., None])
    encoded = get_format(spec.target).encode(values.astype(np.float32).reshape(n * spec.blocks, spec.block))
    codes = np.asarray(encoded.codes).reshape(n, spec.blocks, spec.block)
    scales = np.asarray(encoded.scales).reshape(n, spec.blocks)
    fields, answers = [], []
    for i in range(spec.seed_blocks):
        wide = (1 << 64) - 1
        fields += [(exponents[:, i] & wide >> 1, codec.exponent_bits), (negate[:, i], 1)]
        fields += [(weights[:, i] & wide >> 1, spec.decoder.value_bits)]
    for block in range(spec.blocks):
        answers += [(scales[:, block], 8), (codes[:, block], spec.element.bits)]
    assert sum(np.size(f[0][0]) * f[1] for f in answers) == blocks_layout(spec).size
    return zip(packed(*fields), packed(*answers), strict=True)


def every_seed(spec: LfsrBlock):
    """All 65,535 seeds, in the order of the cycle that begins at 1, with the register of the paper written out."""

    def step(state: int) -> int:
        bit = (state ^ state >> 1 ^ state >> 3 ^ state >> 12) & 1
        return state >> 1 | bit << 15

    n, state, ahead, window = spec.states, 1, 1, 0
    for _ in range(n):
        ahead = step(ahead)
        window = window >> 16 | ahead << 16 * (n - 1)
    for _ in range(65535):
        yield state, window
        state, ahead = step(state), step(ahead)
        window = window >> 16 | ahead << 16 * (n - 1)
    assert state == 1
