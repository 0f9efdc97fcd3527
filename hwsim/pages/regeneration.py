"""`make regeneration`: when do weights regenerated from LFSR seeds pay? Writes reports/regeneration.md and a figure.

Nemotron 3 Nano, Super and Ultra, decode at context 8,192, experts in each format and the rest in FP8, on the
hypothetical machine h200-sxm-regen with varied memory bandwidth and number of regenerators, and with ideal kernels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hwsim import __version__
from hwsim.arch import load_arch
from hwsim.files.figure import pyplot, save
from hwsim.files.whole import write_whole
from hwsim.jobs.run import run

MODELS = {"Nano": "nemotron3-nano-30b-a3b", "Super": "nemotron3-super-120b-a12b", "Ultra": "nemotron3-ultra-550b-a55b"}
FORMATS = ("fp8", "nvfp4", "mxfp4", "seedlm4", "seedlm3")
BATCHES = (1, 16, 256)
MACHINE = "h200-sxm-regen"
BANDWIDTHS = (2.4, 4.8, 9.6)
#: Seed decoders per TB/s; 136.6 decode 4-bit seeds (4 B, 1.83 GHz) at the peak rate of the memory.
UNITS = (34, 69, 138, 275)
#: Weights that the dequantise server converts per cycle and TB/s, as in the machine file: 8448 at 4.8 TB/s.
DEQUANTISE = 1760
CONTEXT = 8192


@dataclass(frozen=True, slots=True)
class Point:
    """One run. units: regenerators per TB/s (0: none needed)."""

    model: str
    weights: str
    batch: int
    bandwidth: float
    units: int
    tokens_per_second: float
    limited_by: str


def points(progress: Callable[[str], None]) -> list[Point]:
    """Every combination. Formats without seeds run once, as they need no regenerators."""
    found = []
    for bandwidth in BANDWIDTHS:
        for units in UNITS:
            changes = [("dram.bandwidth", f"{bandwidth} TB/s"), ("dram.capacity", "1 TB")]
            changes += [("regenerate.rate", f"{round(units * bandwidth)} block/cycle")]
            changes += [("dequantise.rate", f"{round(DEQUANTISE * bandwidth)} weight/cycle")]
            arch = load_arch(MACHINE, changes)
            for name, model in MODELS.items():
                for weights in FORMATS:
                    seeds = weights.startswith("seed")
                    if not seeds and units != UNITS[0]:
                        continue
                    for batch in BATCHES:
                        asked = {"experts": weights, "default": "fp8"}
                        r = run(arch, model, "decode", batch, CONTEXT, asked, kv="fp8", state="fp16", engine="walk")
                        assert r.tokens_per_second is not None, "a step of a model makes tokens"
                        found.append(
                            Point(
                                name,
                                weights,
                                batch,
                                bandwidth,
                                units if seeds else 0,
                                r.tokens_per_second,
                                r.limited_by,
                            )
                        )
            progress(f"{bandwidth} TB/s, {units} regenerators per TB/s")
    return found


def gain(found: list[Point], model: str, weights: str, batch: int, bandwidth: float, units: int) -> float:
    """Gain in tokens per second over the faster of nvfp4 and mxfp4, as a fraction."""

    def rate(name: str, n: int) -> float:
        return next(
            p.tokens_per_second
            for p in found
            if (p.model, p.weights, p.batch, p.bandwidth, p.units) == (model, name, batch, bandwidth, n)
        )

    return rate(weights, units) / max(rate("nvfp4", 0), rate("mxfp4", 0)) - 1


def figure(found: list[Point], path: Path) -> None:
    """Gain over four-bit floats against the number of regenerators, one panel per model, at 4.8 TB/s."""
    plt = pyplot(8)
    drawing, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
    for axis, model in zip(axes, MODELS, strict=True):
        for weights, style in (("seedlm4", "-"), ("seedlm3", "--")):
            for batch, color in zip(BATCHES, ("C0", "C1", "C2"), strict=True):
                gains = [100 * gain(found, model, weights, batch, 4.8, n) for n in UNITS]
                axis.plot(UNITS, gains, style, color=color, marker="o", ms=3, label=f"{weights}, batch {batch}")
        axis.axhline(0, color="black", lw=0.8)
        axis.set(title=model, xscale="log", xlabel="regenerators per TB/s")
        axis.set_xticks(UNITS, [str(n) for n in UNITS])
        axis.minorticks_off()
    axes[0].set_ylabel("tokens/s over the better of nvfp4, mxfp4, %")
    axes[0].legend(frameon=False, ncols=2, fontsize=6, loc="lower right")
    save(drawing, path)


def report(found: list[Point]) -> str:
    """The page: one figure, one paragraph, the table."""
    enough, few = UNITS[2], UNITS[0]
    at = [(m, w, b, bw) for m in MODELS for w in ("seedlm4", "seedlm3") for b in BATCHES for bw in BANDWIDTHS]
    full = {key: gain(found, *key, enough) for key in at}
    starved = {key: gain(found, *key, few) for key in at}
    best = max(full, key=lambda key: full[key])

    def span(gains: dict[tuple[str, str, int, float], float], weights: str) -> str:
        mine = [100 * g for key, g in gains.items() if key[1] == weights]
        return f"{min(mine):+.0f} to {max(mine):+.0f} %"

    rows = ["| model | weights | TB/s | regenerators per TB/s | " + " | ".join(f"batch {b}" for b in BATCHES) + " |"]
    rows.append("|" + " --- |" * (4 + len(BATCHES)))
    for model in MODELS:
        for bandwidth in BANDWIDTHS:
            for weights in FORMATS:
                for units in UNITS if weights.startswith("seed") else (0,):
                    mine = [
                        p
                        for p in found
                        if (p.model, p.weights, p.bandwidth, p.units) == (model, weights, bandwidth, units)
                    ]
                    cells = " | ".join(f"{p.tokens_per_second:,.0f} ({p.limited_by})" for p in mine)
                    rows.append(f"| {model} | {weights} | {bandwidth} | {units or '-'} | {cells} |")
    return f"""\
# When regenerated weights pay

`make regeneration` (hwsim {__version__}) wrote this page: decode, context {CONTEXT:,}, KV fp8, state fp16, experts in
the named format and the rest in fp8, on the **hypothetical** machine {MACHINE} with ideal kernels. Its dequantise
unit is scaled with the memory bandwidth, and it is given 1 TB of memory (its file says 141 GB). Energy and accuracy are
not considered.

![gain over four-bit floats](regeneration.svg)

With {enough} seed decoders per TB/s, which decode 4-bit seeds as fast as the memory delivers them, seedlm4 gains
{span(full, "seedlm4")} over the better of nvfp4 and mxfp4, and seedlm3 gains {span(full, "seedlm3")}.
The largest gain is {100 * full[best]:+.0f} %, for {best[0]} with batch {best[2]} at {best[3]} TB/s.
The gain comes only from the experts' bytes: 4 bits instead of 4.25 or 4.5 save little, and 3 bits save about a third
of them. It is small where few experts are read and most bytes are weights in fp8, and where KV and state
outweigh the weights. With {few} decoders per TB/s seeds are slower
({span(starved, "seedlm4")}; {span(starved, "seedlm3")}): a decoder makes at most 8 or 12 weights per cycle, so
decoding is slower than the memory's peak rate below 137 decoders per TB/s (4 B per block, seedlm4) or 121 (4.5 B,
seedlm3). Refresh and what is no weights lower that (docs/machines.md, "How many regenerators?"); the numbers here are
a quarter, half, one and two times 137.5.
Refresh takes {100 * float(load_arch(MACHINE).dram.refresh.share):.1f} % of that rate.

Tokens/s (in parentheses: the server with the most work):

{chr(10).join(rows)}
"""


def main() -> None:
    """`make regeneration`."""
    folder = Path("reports")
    found = points(lambda name: print(f"  {name}", flush=True))
    figure(found, folder / "regeneration.svg")
    write_whole(folder / "regeneration.md", report(found))
    print(folder / "regeneration.md")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
