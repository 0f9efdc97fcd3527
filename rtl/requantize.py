"""`Requantizer` as RTL, its cases and the options of its command."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import Requantizer

from .accumulate import leading_zeros
from .arith import extend
from .lane import lookup, operand_layout
from .options import SeedOptions, StageOptions, Target, formats_name
from .pack import pack
from .pipe import Pipe
from .seed import weights_layout

__all__ = ["RequantizerOptions", "RequantizerUnit", "blocks_layout", "gather_layout", "requantizer_cases"]

TOP_BITS = 8  # a leading bit's exponent as the scale's code, never 0: exponents have few bits


def gather_layout(spec: Requantizer) -> data.ArrayLayout:
    """The decoded seed blocks, in order."""
    return data.ArrayLayout(weights_layout(spec.decoder), spec.seed_blocks)


def blocks_layout(spec: Requantizer) -> data.ArrayLayout:
    """The target blocks, each as its format packs a record."""
    return data.ArrayLayout(operand_layout(spec.operand, spec.block), spec.blocks)


class RequantizerUnit(wiring.Component):
    """The weights of decoded seed blocks as whole blocks of an MX format: floor scale, nearest even.

    Latency `len(spec.stages)`, interval 1, rigid. The block's exponent is the largest, over its parts, of the leading
    bit of the OR of the magnitudes plus the part's exponent: no maximum of values is needed. Each weight is moved by
    its part's distance below that; a mask shared by the part finds what falls out.

    Ports:
    weights  in, stream:  `gather_layout`: `spec.seed_blocks` decoded seed blocks.
    blocks   out, stream: `blocks_layout`: `spec.blocks` records.

    source: OCP MX v1.0, section 6.3 (conversion); equals the target format's encode.
    """

    def __init__(self, spec: Requantizer):
        self.spec = spec
        super().__init__(
            {"weights": In(stream.Signature(gather_layout(spec))), "blocks": Out(stream.Signature(blocks_layout(spec)))}
        )

    def elaborate(self, platform) -> Module:
        """Exponents first, while the magnitudes wait; then shift and round."""
        m = Module()
        spec, width = self.spec, self.spec.magnitude_bits
        pipe = Pipe(m, spec, self.weights, self.blocks)
        given, c = self.weights.payload, spec.codec.C
        everything = [part for parts in spec.parts for part in parts]
        exponents = [pipe.carry(Value.cast(given[part[0]].exponent)) for part in everything]

        signs, magnitudes = [], []
        for i in range(spec.seed_blocks * c):
            weight = Value.cast(given[i // c].weights[i % c])
            negative = weight[-1]
            signs.append(pipe.carry(negative ^ given[i // c].negate))
            magnitudes.append(((weight ^ negative.replicate(len(weight))) + negative)[:width])
        magnitudes = [pipe.carry(each) for each in pipe.cut("magnitude", *magnitudes)]

        anys = [self._any([magnitudes[i].value for i in range(first, end)]) for _, first, end in everything]
        anys = pipe.cut("any", *anys)
        tops = []
        for bits, exponent in zip(anys, exponents, strict=True):
            zeros = leading_zeros(pipe, bits)
            top = (self._code(pipe, exponent.value, width - 1) - zeros)[:TOP_BITS]
            # 0 stands for a part of zeros: it never is the largest, but of a block of zeros, whose scale it is.
            tops.append(top & bits.any().replicate(TOP_BITS))
        tops = pipe.cut("top", *tops)

        largest = self._largest(pipe, tops)
        distances, at = [], 0
        for block, parts in enumerate(spec.parts):
            for _ in parts:
                distances.append((largest[block].value - self._code(pipe, exponents[at].value, 0))[:TOP_BITS])
                at += 1
        distances = pipe.cut("distance", *distances)
        # Bits of |S| are numbered from the guard bit of a weight at distance 0: distance d keeps bits d, d+1, ...
        clamped = [Mux(d[5:].any(), 31, d[:5]) for d in distances]
        masks = [Cat(n + spec.kept_bits < d for n in range(width)) for d in distances]
        clamped_masks = pipe.cut("clamp", *clamped, *masks)
        clamped, masks = clamped_masks[: len(everything)], clamped_masks[len(everything) :]
        codes = self._round(pipe, everything, clamped, masks, magnitudes, signs)

        records = []
        for block in range(spec.blocks):
            records += [largest[block].value, *codes[block * spec.block : (block + 1) * spec.block]]
        outputs = pipe.cut("round", *records)
        m.d.comb += Value.cast(self.blocks.payload).eq(Cat(*outputs))
        pipe.finish()
        return m

    def _code(self, pipe: Pipe, exponent: Value, more: int) -> Value:
        """The scale code of a block whose leading bit has weight 2^(exponent + more), by table."""
        n = len(exponent)
        signed_values = [i - (i >> (n - 1) << n) for i in range(1 << n)]
        bias = 127 - self.spec.element.emax + more
        return lookup(pipe, exponent, [value + bias for value in signed_values], TOP_BITS)

    @staticmethod
    def _any(values: list[Value]) -> Value:
        total = values[0]
        for value in values[1:]:
            total = total | value
        return total

    def _largest(self, pipe: Pipe, tops: list[Value]):
        """The largest leading bit of each target block, carried from here on."""
        blocks, at = [], 0
        for parts in self.spec.parts:
            blocks.append(tops[at : at + len(parts)])
            at += len(parts)
        for level in range(1, self.spec.max_levels + 1):
            blocks = [
                [*(Mux(x > y, x, y) for x, y in zip(b[::2], b[1::2], strict=False)), *(b[-1:] if len(b) % 2 else [])]
                for b in blocks
            ]
            flat = iter(pipe.cut(f"max{level}", *(each for b in blocks for each in b)))
            blocks = [[next(flat) for _ in b] for b in blocks]
        return [pipe.carry(block[0]) for block in blocks]

    def _round(self, pipe: Pipe, everything, distances, masks, magnitudes, signs) -> list[Value]:
        """Element codes: a window of `kept_bits` and a guard bit out of each magnitude, the rest or-ed, rounded."""
        spec, kept = self.spec, self.spec.kept_bits
        wide, lost, fine = [], [], []
        for (_, first, end), distance, mask in zip(everything, distances, masks, strict=True):
            for i in range(first, end):
                # Distance 0 keeps |S|'s bits -kept ... 0: there are `kept` zeros below it.
                value = Cat(Const(0, kept), magnitudes[i].value)
                for step in (16, 8, 4):
                    narrowed = kept + 1 + 3 + step - 4
                    bit = distance[{16: 4, 8: 3, 4: 2}[step]]
                    value = pipe.wire(Mux(bit, value[step:], value)[:narrowed])
                wide.append(value)
                lost.append((magnitudes[i].value & mask).any())
                fine.append(distance[:2])
        n = len(wide)
        cut = pipe.cut("wide", *wide, *lost, *fine)
        wide, lost, fine = cut[:n], cut[n : 2 * n], cut[2 * n :]
        windows = []
        for value, low in zip(wide, fine, strict=True):
            total = Const(0, kept + 1)
            for step in range(4):
                total = total | extend(value[step:], kept + 1) & (low == step).replicate(kept + 1)
            windows.append(total)
        cut = pipe.cut("narrow", *windows, *lost)
        windows, lost = cut[:n], cut[n:]
        codes = []
        for window, sticky, sign in zip(windows, lost, signs, strict=True):
            if spec.element.is_integer:
                codes.append(self._integer_code(window, sticky, sign.value))
            else:
                index = Cat(sticky, window)
                magnitude = lookup(pipe, index, list(spec.rounding_table), spec.element.bits - 1)
                codes.append(Cat(magnitude, sign.value & self._has_sign(pipe, window, sticky)))
        return codes

    @staticmethod
    def _has_sign(pipe: Pipe, window: Value, sticky: Value) -> Value:
        """Whether a negative weight keeps its sign: any that is not zero does, as -0 where it rounds to zero."""
        return window.any() | sticky

    @staticmethod
    def _integer_code(window: Value, sticky: Value, sign: Value) -> Value:
        """Two's complement; 127 is not rounded up."""
        guard, kept = window[0], window[1:]
        up = guard & (sticky | kept[0]) & ~kept.all()
        positive = Cat(kept, Const(0, 1))
        inverted = positive ^ sign.replicate(len(positive))
        return (inverted + (up ^ sign))[: len(positive)]


def requantizer_cases(spec: Requantizer, n, draw):
    """Seed blocks as decoded, with exponents near and far, zeros, powers of two and halves, either sign."""
    limit = spec.codec.P * spec.codec.denominator << (spec.codec.coefficient_bits - 1)
    low, high = spec.codec.exponent_range
    for i in range(n):
        gathered = []
        # A block whose largest magnitude is all ones is where rounding would leave the target's range.
        most = draw.choice([limit, limit, (1 << draw.randint(1, limit.bit_length() - 1)) - 1])
        for _ in range(spec.seed_blocks):
            size = draw.choice([1, 4, limit.bit_length() - 1, limit.bit_length()])
            weights = [draw.choice([1, -1]) * min(draw.getrandbits(size), most) for _ in range(spec.codec.C)]
            if draw.random() < 0.3:
                near = [(1 << draw.randint(0, 19)) + draw.choice([0, 0, 1, -1]) for _ in weights]
                weights = [draw.choice([1, -1]) * min(each, most) for each in near]
            if draw.random() < 0.2 or i == 0:
                weights = [0] * spec.codec.C
            exponent = draw.choice([low, high, draw.randint(low, high), 0, 0])
            gathered.append((exponent, draw.getrandbits(1), weights))
        blocks = spec([(e, [-w for w in weights] if negate else weights) for e, negate, weights in gathered])
        given = [{"exponent": e, "negate": negate, "weights": weights} for e, negate, weights in gathered]
        records = [{"scale": block.scale, "codes": block.codes} for block in blocks]
        yield pack(gather_layout(spec), given), pack(blocks_layout(spec), records)


@dataclass(frozen=True)
class RequantizerOptions(StageOptions, SeedOptions):
    """Options of `requantizer`."""

    target: Target = "mxint8"

    def unit(self) -> tuple[Requantizer, str]:
        """The spec, and the name of the Verilog module."""
        name = f"requantizer_{self.format}_{formats_name(self.target)}"
        return self.staged(Requantizer(self.codec, self.target), name)
