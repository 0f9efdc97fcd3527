"""`SeedDecoder` as RTL, its cases and the options of its command."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.formats.lfsr import SeedCodec
from hwsim.specs import SeedDecoder

from .arith import add, booth_digits, booth_row, extend, signed_bits
from .lfsr import stream_bits
from .options import SeedOptions, StageOptions
from .pack import pack
from .pipe import Pipe

__all__ = [
    "SeedDecoderOptions",
    "SeedDecoderUnit",
    "draw_record",
    "record_layout",
    "seed_decoder_cases",
    "weights_layout",
]


def record_layout(codec: SeedCodec) -> data.StructLayout:
    """A seed record: the seed, the exponent, the coefficients q_0, q_1, ..."""
    coefficients = {f"q{p}": signed(codec.coefficient_bits) for p in range(codec.P)}
    return data.StructLayout({"seed": codec.K, "exponent": signed(codec.exponent_bits), **coefficients})


def weights_layout(spec: SeedDecoder) -> data.StructLayout:
    """The exponent, whether all are negated, then the C integers, the first in the least significant bits."""
    return data.StructLayout(
        {
            "exponent": signed(spec.codec.exponent_bits),
            "negate": 1,
            "weights": data.ArrayLayout(signed(spec.value_bits), spec.codec.C),
        }
    )


class SeedDecoderUnit(wiring.Component):
    """A seed record to C weights, each an exact integer S_i; the weight is S_i 2^exponent.

    Latency `len(spec.stages)` (P + 2 by default), interval 1, rigid. Each coefficient is two radix-4 digits; a row
    is digit times (state - 2^(K-1)), which is the state with its top bit inverted, and costs one table per bit with
    its addition. A negative row is an inverted one and a carry. There is one carry chain fewer than rows, so the
    signs of all coefficients are turned such that the first digit is positive: its row needs no carry, and all
    lanes share its tables, as their states are windows of one stream.

    Seed 0 is none: formats and specs refuse it, and `value_bits` has no room for it. The unit answers a record with it
    as if all states were 0, each integer modulo 2^value_bits; nothing after it is changed.

    Ports:
    record   in, stream:  seed (K bits, at bit 0), exponent, q_0, q_1, ..., all two's complement.
    weights  out, stream: `weights_layout`: exponent at bit 0, `negate`, then the C integers; S_i is the integer, or
             minus it where `negate` is 1.

    source: SeedLM (arXiv 2410.10714), section 3.
    """

    def __init__(self, spec: SeedDecoder):
        self.spec = spec
        super().__init__(
            {
                "record": In(stream.Signature(spec.codec.block_bits)),
                "weights": Out(stream.Signature(weights_layout(spec))),
            }
        )
        self.meaning = {"record": record_layout(spec.codec)}

    def elaborate(self, platform) -> Module:
        """One chain of rows a digit and weight; the chains meet in the last sum."""
        m = Module()
        codec, width = self.spec.codec, self.spec.value_bits
        pipe = Pipe(m, self.spec, self.record, self.weights)
        record = self.record.payload
        coefficients = record[codec.K + codec.exponent_bits :]
        negate = pipe.carry(coefficients[1])
        exponent = pipe.carry(record[codec.K : codec.K + codec.exponent_bits])
        digits = []
        for p in range(codec.P):
            q = coefficients.word_select(p, codec.coefficient_bits).as_signed()
            digits.append([pipe.carry(digit) for digit in booth_digits(q, negate.value)])
        (bits,) = pipe.cut("stream", stream_bits(codec.lfsr, record[: codec.K], codec.C * codec.P))
        bits = pipe.carry(bits)

        n = len(digits[0])
        sums: list[Value] = []
        for p in range(codec.P):
            bound = (p + 1) * 2 * codec.centre
            rows = []
            for i in range(codec.C):
                at = i * codec.P + p + 1
                state = bits.value[at : at + codec.K]
                centred = Cat(state[:-1], ~state[-1]).as_signed()
                for j, digit in enumerate(digits[p]):
                    row = booth_row(centred, digit.value)
                    rows.append(add(sums[i * n + j], row, signed_bits(bound), digit.value[2]) if p else row)
            sums = [value.as_signed() for value in pipe.cut(f"row{p}", *rows)]

        weights = []
        for i in range(codec.C):
            total = sums[i * n + n - 1]
            for j in reversed(range(n - 1)):
                low = sums[i * n + j]
                upper = add(low[2:].as_signed(), total, width - 2, digits[0][j + 1].value[2])
                total = Cat(low[:2], upper).as_signed()
            weights.append(extend(total, width))
        weights = pipe.cut("sum", *weights)
        m.d.comb += self.weights.payload.as_value().eq(Cat(exponent.value, negate.value, *weights))
        pipe.finish()
        return m


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


@dataclass(frozen=True)
class SeedDecoderOptions(StageOptions, SeedOptions):
    """Options of `seed-decoder`."""

    def unit(self) -> tuple[SeedDecoder, str]:
        """The spec, and the name of the Verilog module."""
        return self.staged(SeedDecoder(self.codec), f"seed_decoder_{self.format}")
