"""How many weight regenerators does each TB/s of memory need, so that the memory is the limit again?

The rule of docs/machines.md, bandwidth / record / clock x (1 - refresh) x share of weights, beside the least number
that simulation finds for 99 % of the speed.
"""

import sys
from pathlib import Path

import hwsim
from hwsim.files.figure import COLOURS, pyplot, save
from hwsim.result import Result

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
MODEL, CLOCK, RECORD = "nemotron3-nano-30b-a3b", 1.83e9, 4  # bytes of a seed block of seedlm4


def step(terabytes: float, rate: int) -> Result:
    """A step with `rate` seed blocks per cycle."""
    changed = {"dram.bandwidth": f"{terabytes} TB/s", "regenerate.rate": f"{rate} block/cycle"}
    return hwsim.run("h200-sxm-regen", MODEL, weights="seedlm4", kv="fp8", engine="walk", overrides=changed)


def speed(terabytes: float, rate: int) -> float:
    """Tokens per second with `rate` seed blocks per cycle."""
    result = step(terabytes, rate)
    assert result.tokens_per_second is not None
    return result.tokens_per_second


def needed(terabytes: float) -> int:
    """The least rate with which 99 % of the speed with unlimited regenerators is reached, by bisection."""
    goal = 0.99 * speed(terabytes, 100_000)
    low, high = 1, 4096
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if speed(terabytes, middle) >= goal else (middle + 1, high)
    return low


def rule(terabytes: float) -> float:
    """Seed blocks per cycle as the memory delivers them, on average over a step."""
    moved, arch = step(terabytes, 100_000).bytes, hwsim.load_arch("h200-sxm-regen")
    share = moved["weights"] / sum(moved.values())
    return terabytes * 1e12 / RECORD / CLOCK * (1 - float(arch.dram.refresh.share)) * share


OUT.mkdir(parents=True, exist_ok=True)
bandwidths = [1.2, 2.4, 4.8, 9.6]
rates = [needed(each) for each in bandwidths]
for terabytes, rate in zip(bandwidths, rates, strict=True):
    print(f"{terabytes} TB/s: {rate} regenerators, {rate / terabytes:.0f} per TB/s; {rule(terabytes):.0f} by the rule")

plot = pyplot()
figure, axes = plot.subplots(figsize=(5, 3.2), layout="constrained")
axes.plot(bandwidths, rates, "o-", color=COLOURS[0])
axes.set(xlabel="memory bandwidth, TB/s", ylabel="regenerators needed", xlim=(0, None), ylim=(0, None))
axes.set_title(f"Seed blocks per cycle that {MODEL} needs")
save(figure, OUT / "regenerators.svg")
print(OUT / "regenerators.svg")
