"""`BlockDot` in gates."""

from amaranth.hdl import Cat, Const, Module, Mux, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import BlockDot

from .arith import add, booth_digits, booth_row, extend, signed_bits
from .lane import Fields, lookup, operand_layout, product_cuts, scale_fields, shift_low, shift_onehot
from .pipe import Pipe

__all__ = ["BlockDotUnit", "pair_layout", "sum_layout"]


def pair_layout(spec: BlockDot) -> data.StructLayout:
    """Two blocks, each as its format packs a record, and whether they end a row."""
    sides = {"a": operand_layout(spec.a, spec.lanes), "b": operand_layout(spec.b, spec.lanes)}
    return data.StructLayout({**sides, "last": 1})


def sum_layout(spec: BlockDot) -> data.StructLayout:
    """The exact sum: value = +-total 2^(exponent + spec.exponent_offset), minus where `negate` is 1."""
    return data.StructLayout(
        {
            "total": signed(spec.total_bits),
            "negate": 1,
            "exponent": spec.exponent_bits,
            "nan": 1,
            "inf": 1,
            "last": 1,
        }
    )


class BlockDotUnit(wiring.Component):
    """The exact dot product of two blocks.

    Latency `len(spec.stages)`, interval 1, rigid. Signs are deferred: a node of the adder tree adds or subtracts by
    its two signs and passes the first one on, so no lane is ever negated.

    Ports:
    pair   in, stream:  `pair_layout`.
    total  out, stream: `sum_layout`; with `nan` or `inf` (then `negate` is its sign) `total` means nothing.

    source: OCP Microscaling Formats (MX) v1.0, section 6.2.
    """

    def __init__(self, spec: BlockDot):
        self.spec = spec
        super().__init__(
            {
                "pair": In(stream.Signature(pair_layout(spec))),
                "total": Out(stream.Signature(sum_layout(spec))),
            }
        )

    def elaborate(self, platform) -> Module:
        """Products, shifts, adder tree, scales."""
        m = Module()
        spec = self.spec
        pipe = Pipe(m, spec, self.pair, self.total)
        pair = self.pair.payload
        last = pipe.carry(pair.last)
        lanes = [tuple(self._fields(side, i) for side in "ab") for i in range(spec.lanes)]
        scales = [scale_fields(getattr(spec, side), Value.cast(pair[side].scale)) for side in "ab"]
        exponent = pipe.carry((scales[0][1] + scales[1][1])[: spec.exponent_bits])
        scale_sign = scales[0][3] ^ scales[1][3]
        flags = self._flags(pipe, lanes, scales)
        factor = self._scale_factor(pipe, scales)

        if spec.both_integer:
            codes = [(pair.a.codes[i], pair.b.codes[i].as_signed()) for i in range(spec.lanes)]
            held = [pipe.carry(booth_digits(y)[0][2]) for _, y in codes]
            products = product_cuts(pipe, spec, codes)
        else:
            held = [pipe.carry(a.sign ^ b.sign ^ scale_sign) for a, b in lanes]
            products = self._shifted(pipe, lanes)
        total = self._tree(pipe, products, held)
        total = self._scaled(pipe, total, factor)

        nan, inf, negative = flags.value
        sign = Const(0, 1) if spec.both_integer else held[0].value
        fields = [
            extend(total, spec.total_bits),
            Mux(inf, negative, sign),
            exponent.value,
            nan,
            inf,
            last.value,
        ]
        m.d.comb += self.total.payload.as_value().eq(Cat(*fields))
        pipe.finish()
        return m

    def _fields(self, side: str, lane: int) -> Fields:
        operand, block = getattr(self.spec, side), self.pair.payload[side]
        shift = Value.cast(block.shifts[lane // operand.sub_block]) if operand.sub_block else None
        return Fields(operand, Value.cast(block.codes[lane]), shift)

    def _flags(self, pipe: Pipe, lanes, scales):
        """(nan, inf, its sign), carried; only what the operands can be costs gates."""
        spec = self.spec
        nans, positives, negatives = [scales[0][2] | scales[1][2]], [Const(0, 1)], [Const(0, 1)]
        zero = [Const(0, 1) if scale[0] is None else ~scale[0].any() for scale in scales]
        if spec.a.has_nan or spec.b.has_nan:
            nans += [a.nan | b.nan for a, b in lanes]
        if spec.a.has_inf or spec.b.has_inf:
            for a, b in lanes:
                undefined = a.inf & (b.zero | zero[1]) | b.inf & (a.zero | zero[0])
                sign = a.sign ^ b.sign ^ scales[0][3] ^ scales[1][3]
                nans.append(undefined)
                positives.append((a.inf | b.inf) & ~sign)
                negatives.append((a.inf | b.inf) & sign)
        n, p = len(nans), len(positives)

        def any_of_each(bits: Value) -> Value:
            return Cat(bits[:n].any(), bits[n : n + p].any(), bits[n + p :].any())

        def decide(bits: Value) -> Value:
            nan = bits[0] | (bits[1] & bits[2])
            return Cat(nan, (bits[1] | bits[2]) & ~nan, bits[2])

        return pipe.carry(Cat(*nans, *positives, *negatives), any_of_each, decide)

    def _shifted(self, pipe: Pipe, lanes) -> list[Value]:
        """Products brought to one unit; the second of two lanes may keep its last shift for the adder: see `_tree`."""
        spec = self.spec
        if spec.is_table:
            return pipe.cut("product", *self._table_products(pipe, lanes))
        steps = [pipe.carry(self._steps(pipe, a, b)) for a, b in lanes] if spec.steps else []
        products = product_cuts(pipe, spec, [(a.significand, b.significand) for a, b in lanes])
        if not spec.steps:
            return products
        # Steps begin at `below`: that many low bits are zero, and are left out where the shift ends.
        below = spec.a.least_step + spec.b.least_step
        width = spec.product_max.bit_length() + below
        most = spec.steps + below
        low = [shift_low(pipe, value, held.value, most) for value, held in zip(products, steps, strict=True)]
        positions = most // 4 + 1
        hot = [pipe.carry(Cat(held.value[2:] == n for n in range(positions))) for held in steps]
        low = pipe.cut("low_shift", *low)
        if "shift" not in spec.cuts:
            return [extend(value, width)[below:] for value in low]
        shifted = []
        for i, (value, held) in enumerate(zip(low, hot, strict=True)):
            if self._late(i):
                shifted.append(Cat(value, held.value[1]))
            else:
                shifted.append(shift_onehot(value, held.value, width)[below:])
        return pipe.cut("shift", *shifted)

    def _late(self, lane: int) -> bool:
        """Whether the lane's shift by 4 is done on the B side of the first adder, where it costs nothing."""
        most = self.spec.steps + self.spec.a.least_step + self.spec.b.least_step
        return 3 < most < 8 and lane % 2 == 1

    def _table_products(self, pipe: Pipe, lanes) -> list[Value]:
        a, b = self.spec.a, self.spec.b
        wa, wb = a.code_bits - 1, b.code_bits - 1
        table = [a.element.integers[i & ((1 << wa) - 1)] * b.element.integers[i >> wa] for i in range(1 << (wa + wb))]
        pair = self.pair.payload
        return [
            lookup(
                pipe,
                Cat(Value.cast(pair.a.codes[i])[:wa], Value.cast(pair.b.codes[i])[:wb]),
                table,
                self.spec.product_max.bit_length(),
            )
            for i in range(self.spec.lanes)
        ]

    def _steps(self, pipe: Pipe, a: Fields, b: Fields) -> Value:
        spec = self.spec
        width = (spec.steps + spec.a.least_step + spec.b.least_step).bit_length()
        if a.steps is None or b.steps is None:
            return (b.steps if a.steps is None else a.steps)[:width]
        if len(a.steps) + len(b.steps) <= 4:
            n = len(a.steps)
            sums = [(i & ((1 << n) - 1)) + (i >> n) for i in range(1 << (n + len(b.steps)))]
            return lookup(pipe, Cat(a.steps, b.steps), sums, width)
        return (a.steps + b.steps)[:width]

    def _tree(self, pipe: Pipe, products: list[Value], signs) -> Value:
        """The sum, up to the sign of the first lane.

        Two's complement: `signs` are pending carries instead, each taken up where its subtree is the second one.
        """
        spec = self.spec
        nodes = list(products)
        lane_max, lanes_in = spec.product_max, 1
        if spec.both_integer:
            nodes[0] = add(0, nodes[0], len(nodes[0]), signs[0].value)
        for level in range(1, spec.levels + 1):
            lanes_in *= 2
            width = signed_bits(min(lanes_in, spec.lanes) * lane_max)
            sums = []
            for i in range(0, len(nodes) - 1, 2):
                x, y = nodes[i], nodes[i + 1]
                if level == 1 and self._late(i + 1):
                    short, late = y[:-1], y[-1]
                    below = spec.a.least_step + spec.b.least_step
                    y = Mux(late, Cat(Const(0, 4), short)[below:], short[below:])
                if spec.both_integer:
                    sums.append(add(x, y, width, signs[i + 1].value))
                else:
                    sub = signs[i].value ^ signs[i + 1].value
                    y = extend(y, width) ^ sub.replicate(width)
                    sums.append(add(x, y, width, sub))
            if len(nodes) % 2:
                sums.append(nodes[-1])
            signs = signs[::2]
            nodes = [Value.cast(node) for node in pipe.cut(f"tree{level}", *sums)]
            nodes = [node if node.shape().signed else extend(node, width).as_signed() for node in nodes]
        return nodes[0] if nodes[0].shape().signed else Cat(nodes[0], Const(0, 1)).as_signed()

    def _scale_factor(self, pipe: Pipe, scales):
        """The product of the scales' significands, carried to the end; None where all are 1."""
        significands = [scale[0] for scale in scales if scale[0] is not None]
        if not significands:
            return None
        n, rows = len(significands[0]), self.spec.scale_rows

        def product(bits: Value) -> Value:
            return bits if len(significands) == 1 else bits[:n] * bits[n:]

        return pipe.carry(Cat(*significands), product, lambda factor: Cat(*booth_digits(factor)[:rows]))

    def _scaled(self, pipe: Pipe, total: Value, digits) -> Value:
        """total times the scales' significands: radix-4 rows."""
        if digits is None:
            return total
        held = pipe.carry(total)
        result = Const(0, 1).as_signed()
        for j in range(self.spec.scale_rows):
            digit = pipe.wire(digits.value.word_select(j, 3))
            row = booth_row(held.value.as_signed(), digit)
            low, high = result[: 2 * j], result[2 * j :].as_signed() if j else 0
            upper = add(high, row, len(row) + 1, digit[2])
            (result,) = pipe.cut(f"scale{j + 1}", Cat(low, upper).as_signed())
        return result.as_signed()
