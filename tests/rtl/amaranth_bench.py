"""Trials inside Amaranth's own simulator, which needs no build: for single units and for mutants."""

from amaranth.hdl import ResetInserter, Signal, Value
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from tests.rtl.trial import Trial


def run_trial(unit, trial: Trial, reset_at: int | None = None, after=()) -> Trial:
    """Run the trial on the unit's one input stream and its one output stream.

    reset_at: the cycle in which the synchronous reset is held, in mid-stream; the cases `after` follow it.
    """
    members = unit.signature.members.items()
    (taken,), (given,) = ([getattr(unit, name) for name, m in members if m.flow is way] for way in (In, Out))
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
