"""The lanes of a dot product: operands' codes taken apart, products, shifts by the elements' exponents."""

from amaranth.hdl import Cat, Const, Mux, Value
from amaranth.lib import data

from hwsim.formats.elements import E4M3
from hwsim.specs import BlockDot, Operand

from .arith import add, booth_digits, booth_row, extend
from .pipe import Pipe

__all__ = ["Fields", "lookup", "operand_layout", "product_cuts", "shift_high", "shift_low", "shift_onehot"]


def operand_layout(operand: Operand, lanes: int) -> data.StructLayout:
    """One operand's block as its format packs a record: scale at bit 0, the sub-blocks' shifts, the elements."""
    fields = {"scale": operand.scale_bits}
    if operand.sub_block:
        fields["shifts"] = data.ArrayLayout(operand.shift_bits, -(-lanes // operand.sub_block))
    return data.StructLayout({**fields, "codes": data.ArrayLayout(operand.code_bits, lanes)})


def lookup(pipe: Pipe, index: Value, table: list[int], width: int, shared: bool = False) -> Value:
    """`table[index]`: each bit an OR of the index's minterms, so that it maps to one table of six inputs.

    shared: the minterms are shared by the bits. Of the two forms, which maps to less was found by measurement: for
    operands that are bits of a register and feed an adder, shared; else each bit the OR of its distinct rows, a row
    its columns AND where it stands.
    """
    index = pipe.wire(index)
    split = 0 if shared else len(index) // 2
    low, high = index[:split], index[split:]
    if shared:
        high = pipe.wire(Cat(index == n for n in range(len(table))))
    bits = []
    for bit in range(width):
        rows: dict[tuple[int, ...], list[int]] = {}
        for h in range(len(table) >> split):
            ones = tuple(n for n in range(1 << split) if table[h << split | n] >> bit & 1)
            if ones:
                rows.setdefault(ones, []).append(h)
        if shared:
            terms = [high[h] for h in rows.get((0,), [])]
        else:
            terms = [
                Cat(high == h for h in where).any() & Cat(low == n for n in ones).any() for ones, where in rows.items()
            ]
        bits.append(Cat(*terms).any() if terms else Const(0, 1))
    return Cat(*bits)


class Fields:
    """One element's code in parts.

    sign:        1 when negative.
    significand: unsigned magnitude without exponent (two's complement elements: their magnitude).
    steps:       its exponent field, at least `Operand.least_step`; None where the operand has none.
    nan, inf, zero: flags; constant 0 where the operand has no such value.
    """

    def __init__(self, operand: Operand, code: Value, shift: Value | None = None):
        element = operand.element
        self.sign, magnitude = code[-1], code[:-1]
        self.steps: Value | None = None
        self.nan = self.inf = Const(0, 1)
        self.zero = ~magnitude.any()
        if element is None:
            self.significand = magnitude
            if shift is not None:
                self.steps = ~shift
        elif element.is_integer:
            inverted = code ^ self.sign.replicate(len(code))
            self.significand = (inverted + self.sign)[: len(code)]
            self.zero = ~code.any()  # the least number, sign alone, is none
        else:
            exponent, fraction = magnitude[element.mantissa_bits :], magnitude[: element.mantissa_bits]
            self.significand = Cat(fraction, exponent.any())
            self.steps = Cat(exponent[0] | ~exponent.any(), exponent[1:])
            if operand.has_inf:
                top = exponent.all()
                self.nan, self.inf = top & fraction.any(), top & ~fraction.any()
            elif operand.has_nan:
                self.nan = magnitude.all()


def scale_fields(operand: Operand, code: Value) -> tuple[Value | None, Value, Value]:
    """(significand or None, exponent field, nan) of a scale's code; bit 7 of an E4M3 scale is ignored."""
    if operand.scale == "none":
        return None, Const(0, 1), Const(0, 1)
    if operand.scale == "e8m0":
        return None, code, code.all()
    exponent, fraction = code[E4M3.mantissa_bits : -1], code[: E4M3.mantissa_bits]
    normal = exponent.any()
    return Cat(fraction, normal), Cat(exponent[0] | ~normal, exponent[1:]), code[:-1].all()


def product_cuts(pipe: Pipe, spec: BlockDot, pairs: list[tuple[Value, Value]]) -> list[Value]:
    """Products of each pair, through the cuts "part..." and "product"; unsigned unless both sides are integers.

    Returns (for both_integer) two's complement products still short of `pending` of their first row, see `booth`.
    """
    wide_first = [(x, y) if len(x) >= len(y) else (y, x) for x, y in pairs]
    if spec.uses_booth:
        return _booth(pipe, spec, wide_first)
    wide, narrow = len(wide_first[0][0]), len(wide_first[0][1])
    k = min(narrow, 6 - wide) if wide <= 4 else 1
    table = [(i & ((1 << wide) - 1)) * (i >> wide) for i in range(1 << (wide + k))]
    rows = narrow - k
    sums = []
    for x, y in wide_first:
        if rows == 0 and spec.has_leading_bits:
            start = _late_leading(pipe, x, y)
        else:
            start = lookup(pipe, Cat(x, y[:k]), table, wide + k, rows > 0) if k > 1 else x & y[0].replicate(wide)
        sums.append(start)
    operands = [pipe.carry(Cat(x, y[k:])) for x, y in wide_first]
    for row in range(rows):
        at = k + row
        added = []
        for total, held in zip(sums, operands, strict=True):
            x, bit = held.value[:wide], held.value[wide + row]
            upper = add(total[at:], x & bit.replicate(wide), wide + 1)
            added.append(Cat(total[:at], upper.as_unsigned()))
        sums = pipe.cut(f"part{row + 1}" if row < rows - 1 else "product", *added)
    sums = sums if rows else pipe.cut("product", *sums)
    return [total[: wide + narrow] for total in sums]


def _late_leading(pipe: Pipe, x: Value, y: Value) -> Value:
    """x * y: of the four products with and without either leading bit, those bits, which are late, choose one."""
    wide, narrow = len(x) - 1, len(y) - 1
    fractions, products = Cat(x[:wide], y[:narrow]), []
    for leading in range(4):
        a, b = (leading & 1) << wide, (leading >> 1) << narrow
        table = [(a | i & ((1 << wide) - 1)) * (b | i >> wide) for i in range(1 << (wide + narrow))]
        products.append(lookup(pipe, fractions, table, len(x) + len(y), True))
    return Mux(y[-1], Mux(x[-1], products[3], products[2]), Mux(x[-1], products[1], products[0]))


def _booth(pipe: Pipe, spec: BlockDot, pairs: list[tuple[Value, Value]]) -> list[Value]:
    """Radix-4 rows, each added at one table per bit; two low bits leave the chain with each row.

    Where both sides are two's complement, the "+1" of a negative first row is left to the adder tree.
    """
    is_signed = spec.both_integer

    def numbers(held):
        x, y = held.value[: len(pairs[0][0])], held.value[len(pairs[0][0]) :]
        digits = booth_digits(y.as_signed() if is_signed else y)
        return x.as_signed() if is_signed else x, [pipe.wire(digit) for digit in digits]

    factors = [pipe.carry(Cat(x, y)) for x, y in pairs]
    sums = []
    for held in factors:
        x, digits = numbers(held)
        row = booth_row(x, digits[0])
        sums.append(row if is_signed else add(0, row, len(row), digits[0][2]))
    n = len(digits)
    if not is_signed:
        sums = pipe.cut("part1", *sums)
    for j in range(1, n):
        added = []
        for total, held in zip(sums, factors, strict=True):
            x, digits = numbers(held)
            row = booth_row(x, digits[j])
            upper = add(total[2 * j :].as_signed(), row, len(row) + 1, digits[j][2])
            added.append(Cat(total[: 2 * j], upper))
        last = j == n - 1
        part = j if is_signed else j + 1
        sums = [total.as_signed() for total in pipe.cut("product" if last else f"part{part}", *added)]
    return sums if is_signed else [total[: len(x) + len(y)] for total, (x, y) in zip(sums, pairs, strict=True)]


def shift_low(pipe: Pipe, value: Value, steps: Value, most: int) -> Value:
    """value << steps, steps in 0..min(most, 3)."""
    most = min(most, 3)
    width = len(value) + most
    shifted = [extend(Cat(Const(0, n), value), width) for n in range(most + 1)]
    low = pipe.wire(steps[:2] if len(steps) > 1 else steps)
    if len(low) == 1:
        return Mux(low, shifted[1], shifted[0])
    total = Const(0, width)
    for n, each in enumerate(shifted):
        total = total | each & (low == n).replicate(width)
    return total


def shift_high(value: Value, selects: Value, unit: int = 4) -> Value:
    """value << (unit * selects), in as many bits as that may take; few sources per bit, so one table per bit."""
    n = 1 << len(selects)
    width = len(value) + unit * (n - 1)
    if n <= 2:
        return Mux(selects[0], Cat(Const(0, unit), value), value)[:width] if n == 2 else value
    total = Const(0, width)
    for i in range(n):
        total = total | extend(Cat(Const(0, unit * i), value), width) & (selects == i).replicate(width)
    return total


def shift_onehot(value: Value, hot: Value, width: int) -> Value:
    """value << 4 n where bit n of `hot` is set; at most three sources per bit when `value` has at most 11 bits."""
    total = Const(0, width)
    for n in range(len(hot)):
        total = total | extend(Cat(Const(0, 4 * n), value), width) & hot[n].replicate(width)
    return total
