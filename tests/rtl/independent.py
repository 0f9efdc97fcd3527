"""A second reference of the units and a second bench, which import nothing of hwsim and rtl.

The units are made by the command `python -m rtl`; what their ports hold is read from what the command prints. Values
are Python's integers, rounding is written here once more, and the bench is plain Verilog for Icarus, with random gaps
at both ends. `python -m tests.rtl.independent --inputs 100000` prints a row for each kind.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAN, INFINITY = 0x7FC00000, 0x7F800000
Words = Iterator[tuple[int, int, object]]
"""(tdata, tlast, what the unit answers; None where it answers nothing)."""


# -- the unit as the command describes it ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Ports:
    """The streams of a unit, from what the command prints: prefix and width of each, fields as (low, width)."""

    module: str
    taken: str
    taken_bits: int
    given: str
    given_bits: int
    fields: dict[str, dict[str, tuple[int, int]]] = field(repr=False)
    offset: int = 0

    @classmethod
    def of(cls, text: str) -> Ports:
        module = re.search(r"module (\w+),", text)[1]
        streams = re.findall(r"^  ([sm]_axis_\w+)_tdata\[(\d+):0\]: (.*)$", text, re.M)
        fields = {}
        for prefix, _, said in streams:
            found = re.findall(r"([\w.\[\]]+) (\d+)(?::(\d+))?(?= signed| \(|,|;|$)", said)
            fields[prefix] = {name: (int(low or high), int(high) - int(low or high) + 1) for name, high, low in found}
        offset = re.search(r"2\^\(exponent ([+-]\d+)\)", text)
        (taken, taken_top, _), (given, given_top, _) = streams
        return cls(
            module, taken, int(taken_top) + 1, given, int(given_top) + 1, fields, int(offset[1]) if offset else 0
        )

    def pack(self, **values: int) -> int:
        """An input word; names with __ for a dot."""
        word = 0
        for name, value in values.items():
            low, width = self.fields[self.taken][name]
            assert -(1 << width - 1) <= value < 1 << width, (name, value, width)
            word |= (value & (1 << width) - 1) << low
        return word

    def cut(self, word: int, name: str, signed: bool = False) -> int:
        """A field of an output word."""
        low, width = self.fields[self.given][name]
        value = word >> low & (1 << width) - 1
        return value - (1 << width) if signed and value >> width - 1 else value


def joined(values, width: int) -> int:
    """Values one above the other, the first lowest."""
    return sum((value & (1 << width) - 1) << width * i for i, value in enumerate(values))


def parted(word: int, width: int, count: int, signed: bool = False) -> list[int]:
    values = [word >> width * i & (1 << width) - 1 for i in range(count)]
    return [v - (1 << width) if signed and v >> width - 1 else v for v in values]


# -- numbers --------------------------------------------------------------------------------------------------------


def minifloat(code: int, exponents: int, fractions: int, bias: int) -> int:
    """A value in units of 2^(1 - bias - fractions)."""
    sign, rest = code >> exponents + fractions, code & (1 << exponents + fractions) - 1
    e, f = rest >> fractions, rest & (1 << fractions) - 1
    value = f if e == 0 else (f | 1 << fractions) << e - 1
    return -value if sign else value


E2M1 = [minifloat(code, 2, 1, 1) for code in range(16)]  # in halves
E4M3 = [minifloat(code, 4, 3, 7) for code in range(256)]  # in 2^-9; codes 0x7F and 0xFF are NaN
E5M2 = [minifloat(code, 5, 2, 15) for code in range(256)]  # in 2^-16; 0x7C is infinity, above it NaN
INT8 = [code - 256 if code > 127 else code for code in range(256)]  # in 2^-6


def nearest_even(value: Fraction) -> int:
    return round(value)  # Python's rounding of a Fraction: ties to even


def float32(exact: Fraction) -> int:
    """Bits of the float32 nearest to a value that is not 0, ties to even."""
    sign, size = (1, -exact) if exact < 0 else (0, exact)
    power = size.numerator.bit_length() - size.denominator.bit_length()
    power -= size < Fraction(2) ** power  # 2^power <= size < 2^(power + 1)
    unit = max(power - 23, -149)
    digits = nearest_even(size / Fraction(2) ** unit)
    if digits >= 1 << 24:
        digits, unit = digits >> 1, unit + 1
    bits = digits if digits < 1 << 23 else (unit + 150 << 23) + digits - (1 << 23)
    return sign << 31 | min(bits, INFINITY)


def value32(bits: int) -> Fraction:
    field, digits = bits >> 23 & 255, bits & (1 << 23) - 1
    size = Fraction(digits + (1 << 23 if field else 0)) * Fraction(2) ** (max(field, 1) - 150)
    return -size if bits >> 31 else size


@dataclass(frozen=True)
class Sum:
    """An exact block result: total 2^exponent; or NaN, or an infinity of that sign."""

    total: int
    exponent: int
    nan: bool = False
    infinity: int = 0

    def same(self, total: int, exponent: int) -> bool:
        low = min(self.exponent, exponent)
        return self.total << self.exponent - low == total << exponent - low


def add(bits: int, block: Sum) -> int:
    """One step of an FP32 accumulator."""
    infinite = bits & 0x7FFFFFFF == INFINITY
    sign = -1 if bits >> 31 else 1
    if block.nan or bits == NAN or (infinite and block.infinity == -sign):
        return NAN
    if block.infinity:
        return INFINITY | (block.infinity < 0) << 31
    if infinite or block.total == 0:
        return bits
    exact = value32(bits) + block.total * Fraction(2) ** block.exponent
    return float32(exact) if exact else 0


# -- LFSR and seed records ------------------------------------------------------------------------------------------


def states(seed: int, count: int) -> list[int]:
    """Of the 16-bit LFSR with taps at bits 0, 1, 3, 12, from the state after one step on."""
    found = []
    for _ in range(count):
        feedback = (seed ^ seed >> 1 ^ seed >> 3 ^ seed >> 12) & 1
        seed = seed >> 1 | feedback << 15
        found.append(seed)
    return found


def weights(seed: int, q: list[int]) -> list[int]:
    """The eight integers of a record of three coefficients: V is 8 x 3, row by row."""
    v = states(seed, 24)
    return [sum((v[3 * i + p] - 32768) * q[p] for p in range(3)) for i in range(8)]


def requantized(values: list[Fraction], format: str) -> tuple[int, list[int]]:
    """(E8M0 code, codes) of 32 weights by OCP MX's rule: the exponent of the largest, less that of the format."""
    largest = max(abs(v) for v in values)
    if not largest:
        return 0, [0] * 32
    power = largest.numerator.bit_length() - largest.denominator.bit_length()
    power -= largest < Fraction(2) ** power
    scale = power - {"mxint8": 0, "mxfp4_e2m1": 2}[format]
    codes = []
    for v in values:
        part = v / Fraction(2) ** scale
        if format == "mxint8":
            codes.append(max(-127, min(127, nearest_even(part * 64))) & 255)
            continue
        step = Fraction(1, 2) if abs(part) < 2 else Fraction(1) if abs(part) < 4 else Fraction(2)
        size = min(nearest_even(abs(part) / step) * step, Fraction(6))
        codes.append(E2M1.index(int(2 * size)) | (8 if v < 0 else 0))
    return scale + 127, codes


# -- kinds of units -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """One unit. command: of `python -m rtl`; words: (ports, draw, n) to inputs and answers; right: whether an output
    word is the answer."""

    command: str
    words: Callable[[Ports, random.Random, int], Words]
    right: Callable[[Ports, int, object], bool]


def plain(ports: Ports, word: int, answer: object) -> bool:
    return word == answer


def lfsr_words(ports: Ports, draw: random.Random, n: int) -> Words:
    """Seed 0 first: its states are all 0."""
    for i in range(n):
        seed = i if n > 1 << 16 and i < 1 << 16 else draw.choice([0, 1, 0xFFFF, *(draw.getrandbits(16),) * 9])
        yield seed, draw.getrandbits(1), joined(states(seed, 24), 16)


def record(draw: random.Random) -> tuple[int, int, list[int]]:
    """(seed, exponent, coefficients); one in forty is seed 0, which no encoder writes."""
    seed = 0 if draw.random() < 0.025 else draw.randrange(1, 1 << 16)
    corner = draw.random() < 0.1
    q = [draw.choice([-8, 7, 0]) if corner else draw.randint(-8, 7) for _ in range(3)]
    return seed, draw.randint(-8, 7), q


def decoder_words(ports: Ports, draw: random.Random, n: int) -> Words:
    for _ in range(n):
        seed, e, q = record(draw)
        word = ports.pack(seed=seed, exponent=e, q0=q[0], q1=q[1], q2=q[2])
        yield word, draw.getrandbits(1), (e, weights(seed, q))


def decoder_right(ports: Ports, word: int, answer: object) -> bool:
    sign = -1 if ports.cut(word, "negate") else 1
    found = parted(ports.cut(word, "weights"), 21, 8, signed=True)
    return (ports.cut(word, "exponent", signed=True), [sign * w for w in found]) == answer


def requantizer_words(format: str):
    def words(ports: Ports, draw: random.Random, n: int) -> Words:
        for _ in range(n):
            values, fields = [], {}
            quiet = draw.random() < 0.05
            for block in range(4):
                seed, e, q = record(draw)
                found = weights(seed, [0, 0, 0] if quiet and draw.random() < 0.9 else q)
                negate = draw.getrandbits(1)
                fields |= {f"[{block}].exponent": e, f"[{block}].negate": negate}
                fields[f"[{block}].weights"] = joined([-w if negate else w for w in found], 21)
                values += [w * Fraction(2) ** e for w in found]
            yield ports.pack(**fields), draw.getrandbits(1), requantized(values, format)

    return words


def requantizer_right(ports: Ports, word: int, answer: object) -> bool:
    width = ports.fields[ports.given]["[0].codes"][1] // 32
    codes = parted(ports.cut(word, "[0].codes"), width, 32)
    return (ports.cut(word, "[0].scale"), codes) == answer


@dataclass(frozen=True)
class Operand:
    """One side of a dot product: element values in units of 2^unit, what a scale stands for, sub-blocks of two."""

    lanes: int
    bits: int
    values: list[int]
    unit: int
    scale: str = "e8m0"
    nans: frozenset[int] = frozenset()
    infinities: frozenset[int] = frozenset()
    shared: bool = False

    def draw(self, draw: random.Random) -> tuple[dict[str, int], list[int], int, int, bool]:
        """(fields, codes, factor and exponent of the block, NaN or not): its values are factor 2^(exponent + unit)."""
        tame = [code for code in range(1 << self.bits) if code not in self.nans | self.infinities]
        kind = draw.random()
        if kind < 0.05:
            codes = [draw.choice([tame[0], tame[-1], *tame[:3]]) for _ in range(self.lanes)]
        elif kind < 0.15:
            codes = [draw.randrange(1 << self.bits) for _ in range(self.lanes)]
        else:
            codes = draw.choices(tame, k=self.lanes)
        scale = 255 if draw.random() < 0.02 else draw.choice([0, 1, 127, 254, *draw.choices(range(100, 155), k=9)])
        fields = {"scale": scale}
        if self.scale == "e4m3":
            scale &= 127  # bit 7 means nothing
            factor, exponent, nan = E4M3[scale], -9, scale == 127
        else:
            factor, exponent, nan = 1, scale - 127, scale == 255
        if self.shared:
            fields["shifts"] = draw.getrandbits(self.lanes // 2)
        fields["codes"] = joined(codes, self.bits)
        return fields, codes, factor, exponent, nan

    def value(self, code: int, i: int, shifts: int) -> int:
        """In units of 2^unit; a shift of its sub-block halves it, so with shifts a unit is half as large."""
        value = self.values[code]
        return value << 1 - (shifts >> i // 2 & 1) if self.shared else value


MX9_VALUES = [code if code < 128 else -(code - 128) for code in range(256)]
OPERANDS = {
    "mxfp4": Operand(32, 4, E2M1, -1),
    "nvfp4": Operand(16, 4, E2M1, -1, "e4m3"),
    "mxint8": Operand(32, 8, INT8, -6),
    "mxfp8": Operand(32, 8, E4M3, -9, nans=frozenset({0x7F, 0xFF})),
    "mxfp8_e5m2": Operand(32, 8, E5M2, -16, nans=frozenset({0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF}),
                          infinities=frozenset({0x7C, 0xFC})),
    "mx9": Operand(16, 8, MX9_VALUES, -7, shared=True),
}  # fmt: skip


def pair(operand: Operand, draw: random.Random) -> tuple[dict[str, int], Sum]:
    """Fields of two blocks and their exact dot product."""
    a_fields, a, a_factor, a_exponent, a_nan = operand.draw(draw)
    b_fields, b, b_factor, b_exponent, b_nan = operand.draw(draw)
    fields = {f"a.{k}": v for k, v in a_fields.items()} | {f"b.{k}": v for k, v in b_fields.items()}
    nan, signs, total = a_nan or b_nan, set(), 0
    a_shifts, b_shifts = a_fields.get("shifts", 0), b_fields.get("shifts", 0)
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        if x in operand.nans or y in operand.nans:
            nan = True
        elif x in operand.infinities or y in operand.infinities:
            sign = (operand.values[x] > 0) - (operand.values[x] < 0)
            sign *= (operand.values[y] > 0) - (operand.values[y] < 0)
            nan |= sign == 0
            signs.add(sign)
        else:
            total += operand.value(x, i, a_shifts) * operand.value(y, i, b_shifts)
    if nan or signs == {1, -1}:
        return fields, Sum(0, 0, nan=True)
    if signs:
        return fields, Sum(0, 0, infinity=signs.pop())
    return fields, Sum(total * a_factor * b_factor, a_exponent + b_exponent + 2 * operand.unit)


def dot_words(operand: Operand):
    def words(ports: Ports, draw: random.Random, n: int) -> Words:
        for _ in range(n):
            fields, answer = pair(operand, draw)
            yield ports.pack(**fields), draw.getrandbits(1), answer

    return words


def dot_right(ports: Ports, word: int, answer: object) -> bool:
    assert isinstance(answer, Sum)
    nan, infinite, negative = (ports.cut(word, name) for name in ("nan", "inf", "negate"))
    if answer.nan or answer.infinity:
        return bool(nan) if answer.nan else bool(not nan and infinite and negative == (answer.infinity < 0))
    total = ports.cut(word, "total", signed=True)
    exponent = ports.cut(word, "exponent") + ports.offset
    return not nan and not infinite and answer.same(-total if negative else total, exponent)


def rows_of(blocks: Iterator[tuple[int, Sum]], draw: random.Random, rows: int) -> Words:
    """Blocks of `rows` rows in turn, each ended at random, and the sum that leaves with its last."""
    sums = [0] * rows
    for i, (word, block) in enumerate(blocks):
        row = i % rows
        sums[row] = add(sums[row], block)
        last = draw.random() < 0.2
        yield word, int(last), sums[row] if last else None
        if last:
            sums[row] = 0


def accumulator_words(rows: int, largest: int):
    """Totals up to the largest that the dot unit of that format gives, exponents that meet and that do not."""

    def blocks(ports: Ports, draw: random.Random, n: int) -> Iterator[tuple[int, Sum]]:
        middle = 254
        for i in range(n):
            if i % (40 * rows) == 0:
                middle = draw.choice([0, 60, 110, 254, 380, 508, *draw.choices(range(150, 350), k=6)])
            total = draw.choice([0, 1, -1, largest, -largest, *(draw.randint(-largest, largest) for _ in range(8))])
            exponent = min(508, max(0, middle + draw.choice([0, 0, 1, -1, 12, -12, draw.randint(-40, 40)])))
            negate, nan = draw.getrandbits(1), draw.random() < 0.005
            infinite = draw.random() < 0.005
            word = ports.pack(total=total, negate=negate, exponent=exponent, nan=nan, inf=infinite)
            sign = -1 if negate else 1
            yield word, Sum(sign * total, exponent + ports.offset, nan, sign if infinite and not nan else 0)

    return lambda ports, draw, n: rows_of(blocks(ports, draw, n), draw, rows)


def mac_words(operand: Operand, rows: int):
    def blocks(ports: Ports, draw: random.Random, n: int) -> Iterator[tuple[int, Sum]]:
        for _ in range(n):
            fields, answer = pair(operand, draw)
            yield ports.pack(**fields), answer

    return lambda ports, draw, n: rows_of(blocks(ports, draw, n), draw, rows)


def seed_mac_words(rows: int):
    """Four records become a block of MXINT8, which meets a block of activations."""

    def blocks(ports: Ports, draw: random.Random, n: int) -> Iterator[tuple[int, Sum]]:
        operand = OPERANDS["mxint8"]
        for _ in range(n):
            values, fields = [], {}
            for number in range(4):
                seed, e, q = record(draw)
                name = f"records[{number}]"
                fields |= {f"{name}.seed": seed, f"{name}.exponent": e}
                fields |= {f"{name}.q{p}": q[p] for p in range(3)}
                values += [w * Fraction(2) ** e for w in weights(seed, q)]
            scale, codes = requantized(values, "mxint8")
            given, x, _, exponent, nan = operand.draw(draw)
            fields |= {"activations.scale": given["scale"], "activations.codes": given["codes"]}
            total = sum(INT8[a] * INT8[b] for a, b in zip(codes, x, strict=True))
            yield ports.pack(**fields), Sum(total, scale - 127 + exponent - 12, nan)

    return lambda ports, draw, n: rows_of(blocks(ports, draw, n), draw, rows)


KINDS = (
    Kind("lfsr-block", lfsr_words, plain),
    Kind("seed-decoder", decoder_words, decoder_right),
    Kind("requantizer", requantizer_words("mxint8"), requantizer_right),
    Kind("requantizer --target mxfp4_e2m1", requantizer_words("mxfp4_e2m1"), requantizer_right),
    *(Kind(f"block-dot --format {name}", dot_words(operand), dot_right) for name, operand in OPERANDS.items()),
    Kind("accumulator --format mxfp4", accumulator_words(13, 32 * 12 * 12), plain),
    Kind("accumulator --format mxfp4 --interleave 1", accumulator_words(1, 32 * 12 * 12), plain),
    Kind("mx-mac --format nvfp4", mac_words(OPERANDS["nvfp4"], 13), plain),
    Kind("seed-mac", seed_mac_words(13), plain),
)

# -- the bench ------------------------------------------------------------------------------------------------------

BENCH = """\
`timescale 1ns / 1ps
module independent;
    reg clk = 0, rst = 1, tvalid = 0, tready = 0;
    reg [{given}:0] held;
    reg waits = 0;
    reg [{taken}:0] words [0:{count} - 1];
    wire in_ready, out_valid, out_last;
    wire [{given} - 1:0] out_data;
    integer sent = 0, cycle = 0, broken = 0, out, seed = {seed};
    {module} dut (.clk(clk), .rst(rst),
        .{s}_tvalid(tvalid), .{s}_tready(in_ready), .{s}_tlast(words[sent][{taken}]),
        .{s}_tdata(words[sent][{taken} - 1:0]),
        .{m}_tvalid(out_valid), .{m}_tready(tready), .{m}_tlast(out_last), .{m}_tdata(out_data));
    initial begin
        $readmemh("words.hex", words);
        out = $fopen("answers.txt", "w");
        repeat (4) begin #1 clk = 1; #1 clk = 0; end
        rst = 0;
        for (cycle = 0; cycle < {cycles}; cycle = cycle + 1) begin
            if (!tvalid) tvalid = sent < {count} && $random(seed) % 8 != 0;
            tready = $random(seed) % 8 != 0;
            #1;
            if (waits && !(out_valid && held === {{out_last, out_data}})) broken = broken + 1;
            if (out_valid && tready) $fdisplay(out, "%b %h", out_last, out_data);
            waits = out_valid && !tready;
            held = {{out_last, out_data}};
            #1;
            if (tvalid && in_ready) begin
                clk = 1; #1;
                sent = sent + 1; tvalid = 0;
            end else begin
                clk = 1; #1;
            end
            clk = 0; #1;
            if (sent == {count} && cycle < {cycles} - 300 && !out_valid) cycle = {cycles} - 300;
        end
        $display("%0d sent, %0d broken", sent, broken);
    end
endmodule
"""


@dataclass(frozen=True)
class Found:
    """What a unit answered. broken: cycles in which an output that waited changed or went away."""

    command: str
    inputs: int
    outputs: int
    wrong: int
    lost: int
    broken: int
    first: str = ""

    @property
    def mismatches(self) -> int:
        """Of any kind."""
        return self.wrong + self.lost + self.broken


def check(kind: Kind, n: int, folder: Path, seed: int = 0, change: Callable[[str], str] = str) -> Found:
    """Write the unit, drive it with `n` inputs, compare. change: of the Verilog, to break it on purpose."""
    made = subprocess.run(
        [sys.executable, "-m", "rtl", *kind.command.split(), "-o", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    ports = Ports.of(made.stdout)
    source = folder / f"{ports.module}.v"
    source.write_text(change(source.read_text()))
    drawn = list(kind.words(ports, random.Random(seed), n))
    digits = ports.taken_bits // 4 + 1
    lines = (f"{last << ports.taken_bits | word:0{digits}x}\n" for word, last, _ in drawn)
    (folder / "words.hex").write_text("".join(lines))
    text = BENCH.format(
        module=ports.module, s=ports.taken, m=ports.given, taken=ports.taken_bits, given=ports.given_bits,
        count=n, cycles=40 * n + 1000, seed=seed + 1,
    )  # fmt: skip
    (folder / "bench.v").write_text(text)
    build = ["iverilog", "-g2001", "-s", "independent", "-o", "bench", "bench.v", source.name]
    subprocess.run(build, cwd=folder, check=True, capture_output=True, text=True)
    ran = subprocess.run(["vvp", "-n", "bench"], cwd=folder, check=True, capture_output=True, text=True).stdout
    sent, broken = (int(number) for number in re.findall(r"\d+", ran.splitlines()[-1]))
    assert sent == n, f"{kind.command}: took {sent} of {n} inputs"
    expected = [(answer, last) for _, last, answer in drawn if answer is not None]
    answers = (folder / "answers.txt").read_text().splitlines()
    ends_rows = len(expected) < n
    wrong, first = 0, ""
    for (answer, last), line in zip(expected, answers, strict=False):
        end, word = line.split()
        good = end == str(1 if ends_rows else last) and "x" not in word and kind.right(ports, int(word, 16), answer)
        if not good:
            wrong += 1
            first = first or f"{line}, expected {answer}"
    return Found(kind.command, n, len(answers), wrong, abs(len(answers) - len(expected)), broken, first)


HEAD = "| unit | inputs | outputs | mismatches |\n| --- | ---: | ---: | ---: |"


def main() -> int:
    """Check every kind; a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.rtl.independent", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="of each unit; default 100,000")
    parser.add_argument("--only", default="", help="a word in the command of a unit")
    asked = parser.parse_args()
    print(HEAD, flush=True)
    bad = 0
    for kind in KINDS:
        if asked.only in kind.command:
            with tempfile.TemporaryDirectory() as folder:
                found = check(kind, asked.inputs, Path(folder))
            bad += found.mismatches
            print(f"| `{kind.command}` | {found.inputs:,} | {found.outputs:,} | {found.mismatches} |", flush=True)
            if found.mismatches:
                print(found, file=sys.stderr)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
