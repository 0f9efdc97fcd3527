"""Adders and multiplier rows in the shapes that map to one lookup table per bit.

An FPGA carry chain takes one operand straight (A) and any function of a few inputs on the other (B). So what is
selected, masked or inverted stands on B here, and A is a register or a sum.
"""

from amaranth.hdl import Cat, Const, Value

__all__ = ["add", "booth_digits", "booth_row", "extend", "signed_bits"]


def signed_bits(bound: int) -> int:
    """Bits of a two's-complement number that holds -bound ... bound."""
    return bound.bit_length() + 1


def extend(value: Value, width: int) -> Value:
    """`value` to `width` bits by its own signedness, or its low bits; unsigned."""
    value = Value.cast(value)
    if len(value) >= width:
        return value[:width]
    top = value[-1] if value.shape().signed else Const(0, 1)
    return Cat(value, top.replicate(width - len(value)))


def add(a: Value, b: Value, width: int, carry: Value | int = 0) -> Value:
    """a + b + carry in `width` bits, signed; the carry enters the chain and costs no table."""
    a, b = extend(a, width), extend(b, width)
    if isinstance(carry, int) and carry == 0:
        return (a + b)[:width].as_signed()
    carry = Value.cast(carry)
    return (Cat(carry, a) + Cat(carry, b))[1 : width + 1].as_signed()


def booth_digits(y: Value, negate: Value | int = 0) -> list[Value]:
    """The radix-4 digits of +-y by the signedness of `y`, each as three bits: one, two, negative."""
    y = Value.cast(y)
    width = len(y) + (not y.shape().signed)
    width += width % 2
    bits = Cat(Const(0, 1), extend(y, width))
    digits = []
    for i in range(0, width, 2):
        low, middle, high = bits[i], bits[i + 1], bits[i + 2]
        digits.append(Cat(low ^ middle, (low == middle) & (high != middle), high ^ negate))
    return digits


def booth_row(x: Value, digit: Value) -> Value:
    """`row` with row + digit[2] = digit * x: five inputs per bit. One bit more than a signed `x`, signed."""
    x = Value.cast(x)
    width = len(x) + 1 + (not x.shape().signed)
    x1 = extend(x, width)
    x2 = Cat(Const(0, 1), x1)[:width]
    one, two, negative = digit
    return ((x1 & one.replicate(width) | x2 & two.replicate(width)) ^ negative.replicate(width)).as_signed()
