"""`make training`: reports/training.md, a figure, and the losses of every run as reports/training.csv.

With `--page` the page and the figure are made from the table of losses, without training again.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from pathlib import Path

import numpy as np

from hwsim import __version__
from hwsim.files.figure import COLOURS, pyplot, save
from hwsim.files.tables import markdown
from hwsim.files.whole import write_whole
from hwsim.jobs.train import train
from hwsim.jobs.training.recipe import recipe_names
from hwsim.pages.training import FROZEN, FROZEN_FORMATS, RECIPES, SEEDS, SHAPE, TRAINING, TUNING, Run, runs, text

MEAN_OF = 10
"""Steps whose losses the table holds as one mean."""

STUDENT = 2.776
"""95 % of Student's distribution with four degrees of freedom, for the mean over five seeds."""

TENSORS = ("weights", "activations", "gradients")

PAPER, FOUR_BITS = "mxfp4 weights, mxfp6_e3m2", "mxfp4"


@dataclass(frozen=True)
class Losses:
    """Losses of all runs, nats per byte.

    runs: {name: one run per seed}. made: versions of hwsim, Python and numpy that trained; SHA-256 of the text.
    """

    runs: Mapping[str, Sequence[Run]]
    made: tuple[str, str, str, str]

    def validation(self, name: str) -> np.ndarray:
        """float64[seeds]: of the held-out text after training."""
        return np.array([run.validation for run in self.runs[name]])

    def gaps(self, name: str, of: str = "fp32") -> np.ndarray:
        """float64[seeds]: validation loss less that of run `of` with the same seed."""
        return self.validation(name) - self.validation(of)

    def curves(self, name: str) -> np.ndarray:
        """float64[seeds, n]: training loss, means of `MEAN_OF` steps."""
        return np.array([run.losses for run in self.runs[name]])

    @property
    def spread(self) -> float:
        """Standard deviation of FP32's validation loss over the seeds."""
        return float(self.validation("fp32").std(ddof=1))


COLUMNS = ("run", "seed", "validation_loss", "started", "cpu_seconds", "hwsim", "python", "numpy", "text_sha256")


def written(found: Sequence[Run]) -> str:
    """The table of losses as CSV: one row per run; t10, t20, ...: mean training loss of the ten steps up to there."""
    made = (__version__, platform.python_version(), np.__version__, hashlib.sha256(text()).hexdigest())
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow([*COLUMNS, *(f"t{n}" for n in range(MEAN_OF, TRAINING.steps + 1, MEAN_OF))])
    for run in found:
        means = np.reshape(run.losses, (-1, MEAN_OF)).mean(axis=1)
        started = "" if run.started is None else f"{run.started:.6f}"
        row = [run.recipe, run.seed, f"{run.validation:.6f}", started, f"{run.cpu_seconds:.1f}", *made]
        rows.writerow([*row, *(f"{mean:.5f}" for mean in means), *[""] * (TRAINING.steps // MEAN_OF - len(means))])
    return out.getvalue()


def read(table: str) -> Losses:
    """The table of losses as `written` wrote it."""
    found: dict[str, list[Run]] = {}
    for row in csv.DictReader(io.StringIO(table)):
        curve = [float(value) for name, value in row.items() if name[0] == "t" and name[1:].isdigit() and value]
        started = float(row["started"]) if row["started"] else None
        numbers = (started, float(row["validation_loss"]), float(row["cpu_seconds"]))
        found.setdefault(row["run"], []).append(Run(row["run"], int(row["seed"]), curve, *numbers))
        made = (row["hwsim"], row["python"], row["numpy"], row["text_sha256"])
    return Losses(found, made)


def operand_bytes(recipe: str) -> int:
    """Bytes of the operands that the three GEMMs of all linear layers read in one step: two encodings each of W, X, dY.

    Layers in high precision count 4 bytes per value.
    """
    tokens, total = TRAINING.sequences * SHAPE.context, 0
    layers = RECIPES[recipe].per_layer(SHAPE.linears)
    for name, (n, k) in SHAPE.linears.items():
        each = layers[name]
        for form, rows, columns in (
            (each.weights, n, k), (each.activations, tokens, k), (each.gradients, tokens, n)
        ):  # fmt: skip
            for shape in ((rows, columns), (columns, rows)):
                total += form.layout.array_nbytes(shape) if form else 4 * rows * columns
    return total


def figure(losses: Losses, path: Path) -> None:
    """Training loss; paired gap of the training loss over the steps; gap of the validation loss of each seed."""
    plt = pyplot(8)
    drawing, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    steps = MEAN_OF * np.arange(1, TRAINING.steps // MEAN_OF + 1)
    base = losses.curves("fp32")
    for i, name in enumerate(RECIPES):
        color, dash = COLOURS[i % len(COLOURS)], "--" if i >= len(COLOURS) else "-"
        label = str(i + 1) + "  " + name.replace(", head fp32", " (head fp32)")
        left.plot(steps, losses.curves(name).mean(axis=0), dash, color=color, lw=1, label=label)
        if name == "fp32":
            continue
        # Means of 50 steps, else the noise of single batches hides the gap.
        gaps = (losses.curves(name) - base).mean(axis=0).reshape(-1, 5).mean(axis=1)
        middle.plot(steps.reshape(-1, 5).mean(axis=1), gaps, dash, color=color, lw=1, marker="o", ms=2)
        right.plot([i + 1] * len(SEEDS), losses.gaps(name), "o", color=color, ms=3, mfc="none")
        right.plot([i + 0.75, i + 1.25], [losses.gaps(name).mean()] * 2, color=color, lw=1.5)
    left.set(xlabel="step", ylabel="training loss, nats per byte", ylim=(base.min() - 0.1, None))
    left.legend(frameon=False, fontsize=6)
    middle.axhline(0, color="black", lw=0.6)
    middle.set(xlabel="step", ylabel="training loss less that of fp32, mean of seeds")
    right.axhspan(-losses.spread, losses.spread, color="0.9", lw=0)
    right.axhline(0, color="black", lw=0.6)
    right.set(xlabel="recipe", ylabel="validation loss less that of fp32, nats per byte")
    right.set_xticks(range(2, len(RECIPES) + 1))
    save(drawing, path, "make training")


def interval(gaps: np.ndarray) -> str:
    """`+0.0123 +- 0.0045`: mean, and the half width of its 95 % interval by Student's distribution."""
    return f"{gaps.mean():+.4f} ± {STUDENT * gaps.std(ddof=1) / sqrt(len(gaps)):.4f}"


def recipe_rows(losses: Losses) -> list[list[str]]:
    """One row per recipe trained from scratch."""
    rows = []
    for i, name in enumerate(RECIPES):
        gaps = losses.gaps(name)
        row = [str(i + 1), name, f"{losses.validation(name).mean():.4f}"]
        row += ["-", "-", "-"] if name == "fp32" else [interval(gaps), f"{gaps.std(ddof=1):.4f}", " ".join(
            f"{gap:+.4f}" for gap in gaps)]  # fmt: skip
        rows.append([*row, f"{operand_bytes(name) / 1e6:.2f}"])
    return rows


def goals(losses: Losses) -> list[list[str]]:
    """(statement, measured, whether it holds) of what these runs were to show."""
    wins = int((losses.gaps(FOUR_BITS) > losses.gaps(PAPER)).sum())
    rows = [[f"gap of {FOUR_BITS} above that of {PAPER}, in each seed", f"{wins} of {len(SEEDS)} seeds",
             "yes" if wins == len(SEEDS) else "no"]]  # fmt: skip
    for name in ("mxfp8", "mxfp6_e3m2"):
        gap = float(losses.gaps(name).mean())
        what = f"mean gap of {name} below the spread of fp32 over the seeds"
        rows.append([what, f"{gap:+.4f} against {losses.spread:.4f}", "yes" if gap < losses.spread else "no"])
    return rows


def frozen_rows(losses: Losses) -> list[list[str]]:
    """One row per format of frozen weights: what encoding costs, and what training the rest wins back."""
    base, rows = FROZEN + "fp32", []
    for form in FROZEN_FORMATS:
        name = FROZEN + form
        before = np.array([run.started for run in losses.runs[name]], float)
        plain = np.array([run.started for run in losses.runs[base]], float)
        paired = ["-", "-"] if form == "fp32" else [interval(before - plain), interval(losses.gaps(name, base))]
        rows.append([form, f"{before.mean():.4f}", f"{losses.validation(name).mean():.4f}", *paired])
    return rows


def conclusions(losses: Losses) -> str:
    """Which recipes differ from FP32 by more than chance, by the intervals."""
    beyond: list[str] = []
    within: list[str] = []
    for name in RECIPES:
        gaps = losses.gaps(name)
        if name != "fp32":
            half = STUDENT * gaps.std(ddof=1) / sqrt(len(gaps))
            (beyond if abs(gaps.mean()) > half else within).append(name)
    said = []
    if beyond:
        said.append(f"The 95 % interval of the paired gap excludes zero for {'; '.join(beyond)}.")
    if within:
        said.append(f"It includes zero for {'; '.join(within)}: these runs cannot tell them from fp32.")
    return " ".join(said)


def neighbours(losses: Losses) -> str:
    """Whether recipes with the head in FP32 can be told from one another, by their paired differences."""
    names, said = [name for name in RECIPES if name.endswith("head fp32")], []
    for one, other in pairwise(names):
        difference = losses.gaps(one, other)
        half = STUDENT * difference.std(ddof=1) / sqrt(len(difference))
        told = "which tells them apart" if abs(difference.mean()) > half else "which does not tell them apart"
        said.append(f"`{one}` less `{other}`: {difference.mean():+.4f} ± {half:.4f}, {told}.")
    return " ".join(said)


def page(losses: Losses) -> str:
    """The page."""
    version, python, numpy, sha = losses.made
    parameters = sum(value.size for value in SHAPE.initial(np.random.default_rng(0)).values())
    cpu = sum(run.cpu_seconds for name in losses.runs for run in losses.runs[name])
    tokens = TRAINING.sequences * SHAPE.context
    header = ["", "recipe", "validation loss", "paired gap, mean ± 95 %", "its spread", "gap of seeds 1 to 5",
              "operands, MB per step"]  # fmt: skip
    tuned = ["weights", "loss as encoded", "after tuning", "gap as encoded, mean ± 95 %", "gap after tuning"]
    return f"""\
# Training in block formats

`make training` (hwsim {version}, Python {python}, numpy {numpy}; {cpu / 60:.0f} CPU minutes) wrote this page and
[training.csv](training.csv). A GPT over bytes with {parameters:,} parameters ({SHAPE.layers} layers, width
{SHAPE.width}, {SHAPE.heads} heads, context {SHAPE.context}) is trained from scratch for {TRAINING.steps} steps of
{tokens} tokens: Adam, peak learning rate {TRAINING.rate:g}, master weights and optimiser in float32. Every linear layer
computes its three GEMMs through `hwsim.formats.training` ([how](../docs/training-numerics.md)); attention, softmax,
norms and embeddings stay in float32. The head is quantised too, unless the recipe says `head fp32`.

The text is the help topics of Python {python}, SHA-256
`{sha}`; the last tenth is held out.
All recipes of a seed start from the same parameters and see the same batches. Losses are in nats per byte; the
validation loss is computed in the recipe's own formats.

![losses and paired gaps](training.svg)

The paired gap is the validation loss less that of fp32 with the same seed. Its spread is the standard deviation over
the {len(SEEDS)} seeds; fp32 itself spreads by {losses.spread:.4f} (grey in the figure). A recipe that names one format
has it for weights, activations and gradients. The last column is the bytes that the GEMMs of the linear layers read as
operands in one step: two encodings each of weights, activations and gradients.

{markdown(header, recipe_rows(losses))}

| what the runs were to show | measured | holds |
| --- | --- | --- |
{chr(10).join("| " + " | ".join(row) + " |" for row in goals(losses))}

## Frozen weights

Weights regenerated from LFSR seeds cannot be trained, as a change of one weight is no change of a seed. They can be
frozen: the linear layers of the fp32 model are encoded once and stay, and the embeddings and gains beside them are
trained for {TUNING.steps} more steps in float32. The row fp32 shows what these steps give without any encoding; gaps
are to it, with the same seed.

{markdown(tuned, frozen_rows(losses))}

## What may be concluded

{conclusions(losses)}

The nvfp4 recipes are compared with `mxfp4, head fp32`, which keeps the same layer in high precision, paired by seed.
{neighbours(losses)} The intervals are of five seeds each and not corrected for their number. All of this is one small
model on one text after {TRAINING.steps} steps, at this learning rate.

Not to be concluded: sizes of gaps on larger models, longer training or other data; that a recipe is stable at scale
(the published reasons for Hadamard transforms and stochastic rounding are long runs of large models); anything about
16-bit rounding of outputs, which stay in float32 here. The last digits depend on the order in which the processor's
BLAS adds, so that another machine gives other losses, within their spread.
"""


SIMULATED = {
    "bf16": "bf16", "mxfp8": "mxfp8_e4m3", "mxfp6_e3m2": "mxfp6_e3m2", "mx-paper": "mxfp4_e2m1, mxfp6_e3m2",
    "mxfp4": "mxfp4_e2m1", "nvfp4": "nvfp4, tiles, Hadamard, stochastic gradients",
}  # fmt: skip
"""Recipes of the simulated step and their formats; a name that is not shipped has that one format for all three."""


def simulated() -> str:
    """The section with the time of a step of a large model in the same formats; depends on the simulator alone."""
    rows = []
    for name, formats in SIMULATED.items():
        with tempfile.TemporaryDirectory() as folder:
            recipe: str | Path = name
            if name not in recipe_names():
                one = f"{{format: {formats}}}"
                recipe = Path(folder, f"{name}.yaml")
                lines = [f"name: {name}", "description: one format", *(f"{t}: {one}" for t in TENSORS)]
                recipe.write_text("\n".join([*lines, "keep: {classes: [head]}", "source: reports/training.md"]) + "\n")
            found = train("gb200", "llama3-8b", batch=128, recipe=recipe, parallel="dp=8", shard=3)
        when = found.by_when()
        times = [f"{found.seconds:.3f}", f"{when.get('encode', 0.0):.3f}", f"{found.tokens_per_second_per_chip:,.0f}"]
        rows.append([formats, *times, f"{float(found.memory.total) / 1e9:.1f}"])
    header = ["formats", "s per step", "of it encoding, s", "tokens/s per chip", "memory per chip, GB"]
    return f"""
## Time and bytes per step

The small model would only measure kernel launches. This is one optimiser step of Llama-3 8B on eight GB200 in the same
formats, context 8,192:

    hwsim train gb200 --model llama3-8b --batch 128 --parallel dp=8 --shard 3 --recipe mxfp8

and so on with the recipes bf16, mx-paper and nvfp4; mxfp6_e3m2 and mxfp4_e2m1 are files that name one format for
weights, activations and gradients. All keep the head in bf16, also where the losses above do not, and nvfp4 the last
15 % of the layers too; bf16 takes the place of fp32. Pairs of formats that nobody has measured take the
times of other kernels, and `hwsim train` says so of each.

{markdown(header, rows)}
"""


def main(page_only: bool = False) -> None:
    """`make training`."""
    folder = Path("reports")
    if not page_only:
        found = runs(Path("build", "training"), lambda line: print(f"  {line}", flush=True))
        write_whole(folder / "training.csv", written(found))
    losses = read((folder / "training.csv").read_text(encoding="utf-8"))
    figure(losses, folder / "training.svg")
    write_whole(folder / "training.md", page(losses) + simulated())
    print(folder / "training.md")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--page", action="store_true", help="train nothing; read reports/training.csv")
    main(options.parse_args().page)
