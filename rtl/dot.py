"""`BlockDot` as RTL, and the options of its command; its cases are in `dot_cases`."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import BlockDot

from .arith import add, booth_digits, extend
from .lane import Fields, lookup, operand_layout, product_cuts, scale_fields, shift_high, shift_low, shift_onehot
from .options import DotOptions, StageOptions
from .pipe import Pipe
from .tree import AdderTree

__all__ = ["BlockDotOptions", "BlockDotUnit", "pair_layout", "sum_layout"]


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

    Latency `len(spec.stages)`, interval 1, rigid. Signs are deferred: a node of the adder tree subtracts where its
    two signs differ and passes the first one on, so no lane is ever negated.

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
        flags = self._flags(pipe, lanes, scales)
        factor = self._scale_factor(pipe, scales)
        tree = AdderTree(spec, self._late)

        if spec.both_integer:
            codes = [(pair.a.codes[i], pair.b.codes[i].as_signed()) for i in range(spec.lanes)]
            signs = [booth_digits(y)[0][2] for _, y in codes]
            first, second = pipe.carry(signs[0]), tree.second(pipe, signs)
            products = product_cuts(pipe, spec, codes)
        else:
            signs = [a.sign ^ b.sign for a, b in lanes]
            first, second = pipe.carry(signs[0]), tree.second(pipe, signs)
            products = self._shifted(pipe, lanes)
        total = tree.sum(pipe, products, first, second)
        total = self._scaled(pipe, total, factor)

        nan, inf, negative = flags.value
        sign = Const(0, 1) if spec.both_integer else first.value
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
        """(nan, inf, its sign), carried; only what the operands can be costs area."""
        spec = self.spec
        nans, positives, negatives = [scales[0][2] | scales[1][2]], [Const(0, 1)], [Const(0, 1)]
        zero = [Const(0, 1) if scale[0] is None else ~scale[0].any() for scale in scales]
        if spec.a.has_nan or spec.b.has_nan:
            nans += [a.nan | b.nan for a, b in lanes]
        if spec.a.has_inf or spec.b.has_inf:
            for a, b in lanes:
                undefined = a.inf & (b.zero | zero[1]) | b.inf & (a.zero | zero[0])
                sign = a.sign ^ b.sign
                nans.append(undefined)
                positives.append((a.inf | b.inf) & ~sign)
                negatives.append((a.inf | b.inf) & sign)
        sizes = [len(nans), len(positives), len(negatives)]

        def any_of_eights(bits: Value) -> Value:
            return Cat(kind[i : i + 8].any() for kind in _parted(bits, sizes) for i in range(0, len(kind), 8))

        def any_of_each(bits: Value) -> Value:
            return Cat(kind.any() for kind in _parted(bits, [-(-n // 8) for n in sizes]))

        def decide(bits: Value) -> Value:
            nan = bits[0] | (bits[1] & bits[2])
            return Cat(nan, (bits[1] | bits[2]) & ~nan, bits[2])

        return pipe.carry(Cat(*nans, *positives, *negatives), any_of_eights, any_of_each, decide)

    def _shifted(self, pipe: Pipe, lanes) -> list[Value]:
        """Products brought to one unit; an odd lane keeps the end of its shift for the adder: see `_late`."""
        spec = self.spec
        if spec.is_table:
            return pipe.cut("product", *self._table_products(pipe, lanes))
        steps = [pipe.carry(self._steps(pipe, a, b)) for a, b in lanes] if spec.steps else []
        products = product_cuts(pipe, spec, [(a.significand, b.significand) for a, b in lanes])
        if not spec.steps:
            return products
        # Steps begin at `below`: that many low bits are zero, and are left out where the shift ends.
        low = [shift_low(pipe, value, held.value, self._most) for value, held in zip(products, steps, strict=True)]
        high = [held.value[2:] for held in steps]
        if self._onehot:
            for i in range(0, len(high), 2):
                high[i] = Cat(high[i] == n for n in range(self._most // 4 + 1))
        high = [pipe.carry(each) for each in high]
        low = pipe.cut("low_shift", *low)
        if "shift" not in spec.cuts:
            return [extend(value, self._width)[self._below :] for value in low]
        shifted = []
        for i, (value, held) in enumerate(zip(low, high, strict=True)):
            if i % 2:
                shifted.append(Cat(shift_high(value, held.value[: self._early]), held.value[self._early :]))
            elif self._onehot:
                shifted.append(shift_onehot(value, held.value, self._width)[self._below :])
            else:
                shifted.append(extend(shift_high(value, held.value), self._width)[self._below :])
        return pipe.cut("shift", *shifted)

    @property
    def _below(self) -> int:
        """Shifts begin here: subnormals count as exponent 1."""
        return self.spec.a.least_step + self.spec.b.least_step

    @property
    def _most(self) -> int:
        """The largest shift of a product."""
        return self.spec.steps + self._below

    @property
    def _width(self) -> int:
        """Bits of a shifted product."""
        return self.spec.product_max.bit_length() + self._below

    @property
    def _onehot(self) -> bool:
        """Whether selects of the shift by fours are decoded first: more than three would not fit beside three bits."""
        return self._most >= 32

    @property
    def _early(self) -> int:
        """Selects of an odd lane's shift by fours that are used before the adder; two are left to it, or one.

        An odd lane is the second operand of its adder: there, two bits, two selects and the sign cost nothing.
        """
        selects = (self._most >> 2).bit_length()
        return {1: 0, 2: 1, 3: 1}.get(selects, selects - 2)

    def _late(self, value: Value) -> Value:
        """An odd lane's product with what `_early` left of its shift done."""
        high = (self._most >> 2).bit_length() - self._early
        shifted = shift_high(value[:-high], value[-high:], 4 << self._early)
        return extend(shifted, self._width)[self._below :]

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
        if len(a.steps) + len(b.steps) <= 6:
            n = len(a.steps)
            sums = [(i & ((1 << n) - 1)) + (i >> n) for i in range(1 << (n + len(b.steps)))]
            return lookup(pipe, Cat(a.steps, b.steps), sums, width)
        return (a.steps + b.steps)[:width]

    def _scale_factor(self, pipe: Pipe, scales):
        """The product of the scales' significands as `scale_digits`, carried to the end; None where all are 1."""
        significands = [scale[0] for scale in scales if scale[0] is not None]
        if not significands:
            return None
        n, rows = len(significands[0]), self.spec.scale_rows

        def product(bits: Value) -> Value:
            return bits if len(significands) == 1 else bits[:n] * bits[n:]

        return pipe.carry(Cat(*significands), product, lambda factor: scale_digits(factor, rows))

    def _scaled(self, pipe: Pipe, total: Value, digits) -> Value:
        """total times the scales' significands: radix-4 rows."""
        if digits is None:
            return total
        held = pipe.carry(total)
        result = Const(0, 1).as_signed()
        for j in range(self.spec.scale_rows):
            digit = pipe.wire(digits.value[2 * j : 2 * j + 2])
            row, carry = scale_row(held.value, digit)
            low, high = result[: 2 * j], result[2 * j :].as_signed() if j else 0
            upper = add(high, row, len(row) + 1, carry)
            (result,) = pipe.cut(f"scale{j + 1}", Cat(low, upper).as_signed())
        return result.as_signed()


def scale_digits(factor: Value, rows: int) -> Value:
    """The radix-4 digits of an unsigned number, from -1 to 2, each as two bits: below 1, and -1 or 2.

    Where a digit and what is carried into it are 3 or more, 1 is carried on. The last digit is one bit, the last carry.
    """
    digits, carry = [], Const(0, 1)
    for j in range(rows - 1):
        low, high = factor[2 * j], factor[2 * j + 1]
        upper = high ^ (low & carry)
        digits += [~(low ^ carry ^ upper), upper]
        carry = high & (low | carry)
    return Cat(*digits, carry)


def scale_row(x: Value, digit: Value) -> tuple[Value, Value | int]:
    """(row, carry) with row + carry = x times one of `scale_digits`: four inputs per bit, one LUT4; 0 is -1 + 1."""
    width = len(x) + 1
    x1 = extend(x.as_signed(), width)
    if len(digit) == 1:
        return (x1 & digit.replicate(width)).as_signed(), 0
    x2 = Cat(Const(0, 1), x1)[:width]
    below, outer = (bit.replicate(width) for bit in digit)
    return ((outer & (x1 & below | x2 & ~below)) ^ (below | x1 & ~outer)).as_signed(), digit[0]


def _parted(bits: Value, sizes: list[int]) -> list[Value]:
    """`bits` as values of these sizes, from bit 0 up."""
    return [bits[sum(sizes[:i]) :][:size] for i, size in enumerate(sizes)]


@dataclass(frozen=True)
class BlockDotOptions(StageOptions, DotOptions):
    """Options of `block-dot`."""

    def unit(self) -> tuple[BlockDot, str]:
        """The spec, and the name of the Verilog module."""
        return self.staged(self.dot, f"block_dot_{self.name}")
