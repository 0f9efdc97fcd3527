"""Trials inside Amaranth's own simulator: no build, for units alone and for mutants."""

from amaranth.hdl import ResetInserter, Signal, Value
from amaranth.sim import Simulator

from tests.rtl.trial import Trial


def run_trial(unit, source: str, sink: str, trial: Trial, reset_at: int | None = None, after=()) -> Trial:
    """Run the trial on the unit's streams `source` and `sink`.

    reset_at: the cycle in which the synchronous reset is held, in mid-stream; the cases `after` follow it.
    """
    taken, given = getattr(unit, source), getattr(unit, sink)
    bits_in, bits_out, reset = Value.cast(taken.payload), Value.cast(given.payload), Signal()
    mask_in, mask_out = (1 << len(bits_in)) - 1, (1 << len(bits_out)) - 1

    async def bench(ctx):
        while trial.running:
            if trial.cycles == reset_at:
                ctx.set(reset, 1)
                ctx.set(taken.valid, 0)
                await ctx.tick()
                ctx.set(reset, 0)
                trial.reset(after)
            valid, payload, ready = trial.drive()
            ctx.set(taken.valid, valid)
            ctx.set(bits_in, payload & mask_in)
            ctx.set(given.ready, ready)
            offered = bool(ctx.get(given.valid))
            trial.check(bool(ctx.get(taken.ready)), offered, ctx.get(bits_out) & mask_out if offered else 0)
            await ctx.tick()

    simulator = Simulator(ResetInserter(reset)(unit))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return trial
