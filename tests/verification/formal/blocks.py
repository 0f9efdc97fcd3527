"""Models of the data path: LFSR states, products of one lane, nodes of the adder tree."""

from __future__ import annotations

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.hdl._ast import AnySeq

from hwsim.specs import BlockDot, LfsrBlock, Operand

__all__ = ["lfsr_never_zero", "lfsr_steps", "node_model", "product_model"]


def free(width: int) -> Value:
    """A value of any bits in each cycle."""
    return AnySeq(unsigned(width))


def lfsr_steps(rtl, spec: LfsrBlock) -> Module:
    """Each state offered is one single step from the one before, the first from the seed taken in.

    Any seeds at any time, any stalls. The step is written out from the taps, not taken from the masks of `formats`.
    """
    m, seed, states = _lfsr(rtl, spec)
    before = seed
    for state in states:
        feedback = Cat(before[tap] for tap in spec.codec.lfsr.taps).xor()
        m.d.comb += Assert(state == Cat(before[1:], feedback))
        before = state
    return m


def lfsr_never_zero(rtl, spec: LfsrBlock) -> Module:
    """No state offered is 0, but from seed 0."""
    m, seed, states = _lfsr(rtl, spec)
    for state in states:
        m.d.comb += Assert((seed == 0) | (state != 0))
    return m


def _lfsr(rtl, spec: LfsrBlock) -> tuple[Module, Value, list[Value]]:
    """The unit between a free source and a free sink; the seed of what it holds, and the states while offered.

    While nothing is offered all read 0, of which both claims hold.
    """
    m = Module()
    m.submodules.unit = unit = rtl.lfsr.LfsrBlockUnit(spec)
    width = spec.codec.K
    m.d.comb += [unit.seed.payload.eq(free(width)), unit.seed.valid.eq(free(1)), unit.states.ready.eq(free(1))]
    seed = Signal(width)
    with m.If(unit.seed.valid & unit.seed.ready):
        m.d.sync += seed.eq(unit.seed.payload)
    offered = unit.states.valid.replicate(width)
    states = [unit.states.payload.word_select(i, width) & offered for i in range(spec.states)]
    return m, seed & offered, states


def product_model(rtl, spec: BlockDot, lane: int) -> Module:
    """The total is the product of the values of the two codes in `lane`, for every pair; the other lanes are 0.

    The first pair after the start is followed through the whole pipeline, whatever comes after it. Scales are free:
    their exponents add, and NaN is their all-ones code alone.
    """
    m = Module()
    unit = rtl.dot.BlockDotUnit(spec)
    m.submodules.unit = unit
    pair, total, latency = unit.pair.payload, unit.total.payload, spec.timing.latency
    clock = Signal(range(latency + 2))
    with m.If(clock <= latency):
        m.d.sync += clock.eq(clock + 1)
    m.d.comb += [unit.pair.valid.eq(1), unit.total.ready.eq(1)]
    numbers, scales = [], []
    for side, operand in ((pair.a, spec.a), (pair.b, spec.b)):
        code, scale = Signal(operand.code_bits), Signal(8)
        now, first = Signal(operand.code_bits), Signal(8)
        m.d.comb += [now.eq(free(operand.code_bits)), first.eq(free(8))]
        m.d.comb += [Value.cast(side.codes[lane]).eq(now), side.scale.eq(first)]
        with m.If(clock == 0):
            m.d.sync += [code.eq(now), scale.eq(first)]
        numbers.append(_number(m, operand, code))
        scales.append(scale)
    with m.If(clock == latency):
        value = Mux(total.negate, -total.total, total.total)
        nan = scales[0].all() | scales[1].all()
        m.d.comb += Assert(unit.total.valid)
        m.d.comb += Assert(total.nan == nan)
        m.d.comb += Assert(~total.inf)
        m.d.comb += Assert(nan | (value == numbers[0] * numbers[1]))
        m.d.comb += Assert(nan | (total.exponent == scales[0] + scales[1]))
    return m


def _number(m: Module, operand: Operand, code: Value) -> Value:
    """The element's value in its unit: the table of `formats`, and for two's complement the code itself."""
    bits = operand.integer_max.bit_length() + 1
    values = [operand.integer(each) for each in range(1 << operand.code_bits)]
    if operand.is_integer:
        half = len(values) // 2
        assert values == [each - len(values) if each >= half else each for each in range(len(values))]
        return code.as_signed()
    number = Signal(signed(bits))
    m.d.comb += number.eq(Array(Const(each, signed(bits)) for each in values)[code])
    return number


class _Fixed:
    def __init__(self, value: Value):
        self.value = value


class _Cutpoints:
    """Stands for the pipeline: what is carried stays, and behind each cut free values take the place of its results.

    So every node is seen between two cuts, on operands of any value in their range, and there are no registers.
    """

    def __init__(self, m: Module):
        self._m = m
        self.cuts: list[tuple[list[Value], list[Signal]]] = []

    def carry(self, value: Value) -> _Fixed:
        return _Fixed(value)

    def drop(self, carried: list[_Fixed]) -> None:
        """Nothing to forget."""

    def wire(self, value: Value) -> Signal:
        named = Signal(Value.cast(value).shape())
        self._m.d.comb += named.eq(value)
        return named

    def cut(self, stage: str, *values: Value) -> list[Signal]:
        """Free values of the shapes of the results."""
        values = [Value.cast(value) for value in values]
        after = [Signal(value.shape()) for value in values]
        self._m.d.comb += [each.eq(AnySeq(each.shape())) for each in after]
        self.cuts.append((values, after))
        return after


def _lane(m: Module, spec: BlockDot, lane: int) -> tuple[Signal, Signal]:
    """(product, sign): any in the range. Two's complement products come short of their sign, which is a carry."""
    most, bits = spec.product_max, spec.product_max.bit_length()
    product = Signal(signed(bits + 1) if spec.both_integer else bits, name=f"product{lane}")
    sign = Signal(name=f"sign{lane}")
    m.d.comb += [product.eq(AnySeq(product.shape())), sign.eq(free(1))]
    whole = product + sign if spec.both_integer else product
    m.d.comb += Assume((whole <= most) & (whole >= -most))
    return product, sign


def node_model(rtl, spec: BlockDot) -> Module:
    """Every node of the adder tree, in its own width, is the sum of its two operands with their signs.

    Operands are free in the range that their lanes can reach. What is left of an odd lane's shift is taken as done:
    `product_model` has it.
    """
    m = Module()
    tree, pipe, most = rtl.tree.AdderTree(spec, late=lambda product: product), _Cutpoints(m), spec.product_max
    nodes: list[tuple[Value, Value]] = [_lane(m, spec, lane) for lane in range(spec.lanes)]
    products, signs = zip(*nodes, strict=True)
    result = tree.sum(pipe, list(products), _Fixed(signs[0]), tree.second(pipe, list(signs)))
    assert spec.lanes == 1 << spec.levels
    if spec.both_integer:  # the first lane's carry has nothing to wait for
        nodes[0] = (nodes[0][0] + nodes[0][1], Const(0, 1))
    for level, (results, after) in enumerate(_levels(m, spec, pipe.cuts), 1):
        above = []
        for i, (got, node) in enumerate(zip(results, after, strict=True)):
            (x, sign), (y, other) = nodes[2 * i : 2 * i + 2]
            want = x + y + other if spec.both_integer else Mux(sign ^ other, x - y, x + y)
            m.d.comb += Assert(got.as_signed() == want)
            whole = node + sign if spec.both_integer else node
            m.d.comb += Assume((whole <= most << level) & (whole >= -(most << level)))
            above.append((node, sign))
        nodes = above
    m.d.comb += Assert(result == nodes[0][0])
    return m


def _levels(m: Module, spec: BlockDot, cuts: list[tuple[list[Value], list[Value]]]) -> list:
    """The tree's nodes level by level, results and free values; of split sums the halves, which two cuts hold.

    What passes a cut unchanged is not free: a lower half's carry, and at the end the last lower half.
    """
    if not spec.split:
        return cuts
    at, levels = spec.split, []
    for level, (low, high) in enumerate(zip(cuts, cuts[1:], strict=False), 1):
        n = spec.lanes >> level
        halves = [zip(lower[:n], upper[-n:], strict=True) for lower, upper in zip(low, high, strict=True)]
        levels.append([[Cat(lower[:at], upper).as_signed() for lower, upper in each] for each in halves])
        m.d.comb += [Assume(after[at] == got[at]) for got, after in zip(low[0][:n], low[1][:n], strict=True)]
    (got, *_), (after, *_) = cuts[-1]
    m.d.comb += Assume(after == got)
    return levels
