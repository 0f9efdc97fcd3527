"""Proofs by trying everything in Amaranth's simulator, where a solver does not close."""

from __future__ import annotations

import math
from collections.abc import Iterable

from amaranth.hdl import Value
from amaranth.sim import Simulator

from hwsim.specs import BlockDot, LfsrBlock
from tests.verification.formal.sby import Verdict, cpu_seconds

__all__ = ["every_pair", "every_scale", "every_seed", "run_cases"]


def run_cases(unit, cases: Iterable, want) -> Verdict:
    """Feed one case per cycle; FAIL at the first output for which `want(case, output)` is false."""
    source, sink = (getattr(unit, name) for name in unit.signature.members)
    cases, failed = list(cases), []
    latency = unit.spec.timing.latency

    async def bench(ctx):
        ctx.set(source.valid, 1)
        ctx.set(sink.ready, 1)
        for i in range(len(cases) + latency):
            ctx.set(Value.cast(source.payload), cases[min(i, len(cases) - 1)][0])
            if i >= latency and not (ctx.get(sink.valid) and want(cases[i - latency], ctx.get(sink.payload))):
                failed.append(i)
                return
            await ctx.tick()

    start = cpu_seconds()
    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return Verdict("FAIL" if failed else "PASS", cpu_seconds() - start)


def every_pair(rtl, spec: BlockDot, lane: int) -> Verdict:
    """All pairs of codes through one lane, the others 0, against the product of their values; NaN and infinity too.

    Values are floats, of which every finite product is exact. Both scales are 1.
    """
    layout = rtl.dot.pair_layout(spec)
    code_at = [
        layout[side].offset + layout[side].shape["codes"].offset + lane * operand.code_bits
        for side, operand in (("a", spec.a), ("b", spec.b))
    ]
    scales = 127 << layout["a"].offset | 127 << layout["b"].offset
    unit_value = 2.0 ** (2 * 127 + spec.exponent_offset)
    a_values, b_values = spec.a.element.values, spec.b.element.values

    def cases():
        for a in range(1 << spec.a.code_bits):
            for b in range(1 << spec.b.code_bits):
                yield scales | a << code_at[0] | b << code_at[1], a_values[a] * b_values[b]

    def want(case, got) -> bool:
        product = case[1]
        if math.isnan(product):
            return bool(got.nan)
        if math.isinf(product):
            return not got.nan and bool(got.inf) and bool(got.negate) == (product < 0)
        total = -got.total if got.negate else got.total
        return not got.nan and not got.inf and total * unit_value == product

    return run_cases(rtl.dot.BlockDotUnit(spec), cases(), want)


def every_scale(rtl, spec: BlockDot) -> Verdict:
    """All pairs of E4M3 scales of one lane, and all pairs of codes under all pairs of significands of the scales.

    Every finite value is exact in a float. Bit 7 of a scale counts for nothing. Source: arXiv 2509.25149.
    """
    layout = rtl.dot.pair_layout(spec)
    at = [layout[side].offset + layout[side].shape[name].offset for side in "ab" for name in ("scale", "codes")]
    unit_value = 2.0**spec.exponent_offset
    elements = spec.a.element.values, spec.b.element.values

    def scale(byte: int) -> float:
        exponent, fraction = byte >> 3 & 15, byte & 7
        return math.nan if byte & 127 == 127 else (fraction + 8 * (exponent > 0)) * 2.0 ** (max(exponent, 1) - 10)

    def case(scale_a: int, scale_b: int, a: int, b: int):
        bits = zip((scale_a, a, scale_b, b), at, strict=True)
        return sum(x << shift for x, shift in bits), scale(scale_a) * scale(scale_b) * elements[0][a] * elements[1][b]

    def cases():
        for i in range(1 << 16):
            yield case(i >> 8, i & 255, (i * 7 >> 4) % 16, (i * 5 >> 2) % 16)
            yield case(i >> 12, i >> 8 & 15, i >> 4 & 15, i & 15)

    def want(given, got) -> bool:
        if math.isnan(given[1]):
            return bool(got.nan)
        total = -got.total if got.negate else got.total
        return not got.nan and not got.inf and total * 2.0**got.exponent * unit_value == given[1]

    return run_cases(rtl.dot.BlockDotUnit(spec), cases(), want)


def every_seed(rtl, spec: LfsrBlock) -> Verdict:
    """All seeds against single steps written out from the taps; no state is 0."""
    width, taps, n = spec.codec.K, spec.codec.lfsr.taps, spec.states

    def step(state: int) -> int:
        return state >> 1 | (sum(state >> tap for tap in taps) & 1) << width - 1

    def cases():
        for seed in range(1, 1 << width):
            yield (seed,)

    def want(case, got) -> bool:
        state = case[0]
        for i in range(n):
            state = step(state)
            if state == 0 or got >> width * i & (1 << width) - 1 != state:
                return False
        return True

    return run_cases(rtl.lfsr.LfsrBlockUnit(spec), cases(), want)
