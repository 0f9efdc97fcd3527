"""The one-line changes that stand in both tables, mutants and twins of proofs, or that several mutants share."""

from tests.verification.mutation import Line

# Of the pipeline that all units are built on.
ALWAYS_READY = Line("pipe", "source.ready.eq(self.advance)", "source.ready.eq(1)")
NOT_HELD = Line("pipe", "return held(self._m, value, self.advance, name)",
                "return held(self._m, value, Const(1), name)")  # fmt: skip

FROM_SEED = Line("lfsr", "range(1, spec.states + 1)", "range(spec.states)")
ONES_TO_ZERO = Line("lfsr", "stream_bits(spec.codec.lfsr, seed,",
                    "stream_bits(spec.codec.lfsr, seed & ~seed.all().replicate(len(seed)),")  # fmt: skip
MINUS_8 = Line("seed", "word_select(p, codec.coefficient_bits).as_signed()",
               "word_select(p, codec.coefficient_bits).as_signed()\n"
               "            q = (q + (q == codec.q_range[0]))[: codec.coefficient_bits].as_signed()")  # fmt: skip
STICKY_LOST = Line("requantize", "index = Cat(sticky, window)", "index = Cat(Const(0, 1), window)")

SUBNORMAL = Line("lane", "self.steps = Cat(exponent[0] | ~exponent.any(), exponent[1:])", "self.steps = exponent")
NAN_UNSEEN = Line("lane", "self.nan = magnitude.all()", "pass")
LEAST_IS_ZERO = Line("lane", "self.zero = ~code.any()", "pass")
NODE_PENDING = Line("dot", "sums.append(add(x, y, width, sub.value))", "sums.append(add(x, y, width, 0))")
NODE_WIDTH = Line("dot", "width, sums = self._node_bits(level), []",
                  "width, sums = self._node_bits(level) - (level == spec.levels), []")  # fmt: skip
HALF_CARRY = Line("dot", "sub.value.replicate(width), width, node[at]))", "sub.value.replicate(width), width, 0))")

TIES_AWAY = Line("accumulate", "up = half & (rest | kept[0])", "up = half")
JOIN_READY = Line("mac", "source.ready.eq(sink.ready)", "source.ready.eq(1)")
BESIDE_FREE = Line("mac", 'held(m, beside, port.ready, "held")', 'held(m, beside, port.valid, "held")')
WORD_LATE = Line("repack", "base > unit", "base >= unit")
