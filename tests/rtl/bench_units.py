"""cocotb: all units side by side, each against its own value and its own cycle model in each cycle."""

import os

import cocotb
from cases import BY_NAME
from drive import Ports, reset, run
from trial import Trial

UNITS = [BY_NAME[name] for name in os.environ["HWSIM_BENCH_UNITS"].split(",")]
COUNT = int(os.environ.get("HWSIM_BENCH_COUNT", "200"))


@cocotb.test()
async def value_and_time(dut):
    """Random valid and ready of their own for every unit; a reset in mid-stream first."""
    ports = [Ports(dut, unit.source, unit.sink, f"{unit.name}_") for unit in UNITS]
    await reset(*ports)
    trials = [Trial(unit.spec.cycle_model(), unit.draw(60, seed=1), 0.9, 0.8, seed=i) for i, unit in enumerate(UNITS)]
    await run(list(zip(ports, trials, strict=True)), limit=40)
    await reset(*ports)
    for trial, unit in zip(trials, UNITS, strict=True):
        trial.reset(unit.draw(COUNT, seed=2))
    await run(list(zip(ports, trials, strict=True)))
    cycles = sum(trial.cycles for trial in trials)
    items = sum(trial.accepted for trial in trials)
    print(f"{len(UNITS)} units, {items} inputs, {cycles} cycles: 0 mismatches in data, 0 in time")
