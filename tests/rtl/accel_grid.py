"""The random products on `hwsim_accel`: the units of `make cosim` behind AXI, with bursts of every length."""

import random
from dataclasses import replace

from tests.rtl.accel_run import Product
from tests.verification.cosim_grid import ENGINES, drawn_case, grid

BURSTS = (None, 4, 8, 16, 1, 2, None, 8, 16)
"""Of each of `ENGINES`."""
SINKS = 3
"""Products of each unit that wait for a memory which takes few results."""


def drawn(number: int, seed: int = 24) -> list[Product]:
    """Products on unit `number`: limited by memory, balanced, limited by compute, with refresh; waiting for writes."""
    draw = random.Random(f"accel {number} {seed}")
    cases = [each.case for each in grid(seed + number, [number], 2) if each.case.p_ready == 1]
    while len(cases) < 5 + SINKS:
        case = drawn_case(draw, number, "starved").case
        if len(cases) >= 5:
            few, k = draw.choice([0.01, 0.02, 0.05]), draw.randint(1, 64)
            case = replace(case, k=k, p_ready=few if ENGINES[number].beat_bytes < 16 else few / 4)
        elif case.p_ready < 1:
            continue
        cases.append(case)
    return [Product(case, BURSTS[number]) for case in cases]
