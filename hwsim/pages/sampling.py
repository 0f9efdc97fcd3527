"""`make sampling`: how much of a study has to be simulated? Writes reports/sampling.md, .csv and .svg.

The shipped study nano-formats is simulated whole, its points are kept with their closed forms in the CSV, and every
figure of the page is then a prediction from some of them compared with all of them.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim import __version__
from hwsim.files.figure import COLOURS, pyplot, save
from hwsim.files.tables import markdown
from hwsim.files.whole import write_whole
from hwsim.study.design import Design
from hwsim.study.grid import read_grid
from hwsim.study.points import Axis
from hwsim.study.sampling import latin_hypercube
from hwsim.study.surface import CHECKS, stated

STUDY, FORMATS = "nano-formats", "run.weights"
FRACTIONS = (0.03, 0.05, 0.1, 0.2)
PICKS = {"greedy": 1, "random-greedy": 5, "uniform": 5, "Latin hypercube": 5}
"""How the points are chosen, and from how many seeds the mean is taken."""
REPEATS, REPEATED = 200, 100

Array = NDArray[np.float64]
Nodes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Study:
    """A study that is simulated whole: its axes, and tokens/s and their closed form per point, in grid order."""

    axes: tuple[Axis, ...]
    simulated: Array
    closed: Array

    @property
    def design(self) -> Design:
        """Its graph."""
        return Design.of(self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Values on each axis."""
        return tuple(len(axis.values) for axis in self.axes)


def simulated(folder: Path) -> Study:
    """The study from its folder; the closed form is the roofline of each point."""
    grid = read_grid(folder)
    axes = tuple(Axis(axis.path, axis.values) for axis in grid.axes)
    shape = [len(axis.values) for axis in axes]
    found, closed = np.zeros(shape), np.zeros(shape)
    for choice, line in grid.lines.items():
        found[choice] = line["tokens_per_second"]
        closed[choice] = line["tokens_per_second"] * line["cycles"] / line["roofline_cycles"]
    assert found.all(), "the shipped study is simulated whole"
    return Study(axes, found.ravel(), closed.ravel())


@dataclass(frozen=True, slots=True)
class Score:
    """Errors at the points that were not simulated, as shares, and how often the best format of a cell is right.

    A cell is one value of every other axis; where formats tie to the last digit, each of them is the best.
    """

    mean: float
    high: float
    largest: float
    best: float
    choice_seconds: float
    fit_seconds: float


def score(study: Study, pick: str, points: int, seed: int, residual: bool) -> Score:
    """Choose, predict, compare."""
    design, start = study.design, time.process_time()
    if pick == "Latin hypercube":
        chosen = latin_hypercube(study.shape, points, seed)
    else:
        chosen = design.choose(points, pick, seed)
    chose = time.process_time()
    found = design.predict(chosen, study.simulated[chosen].tolist(), study.closed if residual else None, "tokens/s")
    fitted = time.process_time()
    values = found.values.copy()
    values[chosen] = study.simulated[chosen]
    rest = np.setdiff1d(np.arange(design.nodes), chosen)
    errors = np.abs(values[rest] / study.simulated[rest] - 1)
    along = [axis.path for axis in study.axes].index(FORMATS)
    true, ours = study.simulated.reshape(study.shape), values.reshape(study.shape)
    reached = np.take_along_axis(true, ours.argmax(along, keepdims=True), along)
    best = float((reached == true.max(along, keepdims=True)).mean())
    high = float(np.quantile(errors, 0.95))
    return Score(float(errors.mean()), high, float(errors.max()), best, chose - start, fitted - chose)


def held(study: Study, seed: int, points: int = REPEATED) -> tuple[float, float]:
    """(stated error, true 95th percentile of the errors at points neither fitted nor checked) of one seed."""
    design = study.design
    checks = np.random.default_rng(seed).permutation(design.nodes)[:CHECKS]
    chosen = design.choose(points, seed=seed, left_out=checks)
    found = design.predict(chosen, study.simulated[chosen].tolist(), study.closed, "tokens/s").values
    rest = np.setdiff1d(np.arange(design.nodes), np.concatenate([checks, chosen]))
    errors = np.abs(found[rest] / study.simulated[rest] - 1)
    return stated(found[checks], study.simulated[checks]).relative_error, float(np.quantile(errors, 0.95))


def main() -> None:
    """Simulate the study by `make study`, then write the page, the points and the figure."""
    study = simulated(Path("build/studies") / STUDY)
    scores = {
        (pick, fraction, residual): [
            score(study, pick, round(fraction * len(study.simulated)), seed, residual) for seed in range(seeds)
        ]
        for pick, seeds in PICKS.items()
        for fraction in FRACTIONS
        for residual in (False, True)
    }
    repeats = [held(study, seed) for seed in range(REPEATS)]
    write_whole(Path("reports/sampling.csv"), points_csv(study))
    write_whole(Path("reports/sampling.md"), page(scores, repeats))
    draw(scores, Path("reports/sampling.svg"))
    print("written: reports/sampling.md, reports/sampling.csv, reports/sampling.svg")


def points_csv(study: Study) -> str:
    """The points, so that tests and readers need not simulate them."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["node", "tokens_per_second", "closed_form"])
    rows.writerows([i, repr(float(a)), repr(float(b))] for i, (a, b) in enumerate(_pairs(study)))
    return file.getvalue()


def _pairs(study: Study) -> list[tuple[float, float]]:
    return list(zip(study.simulated.tolist(), study.closed.tolist(), strict=True))


Scores = dict[tuple[str, float, bool], list[Score]]


def page(scores: Scores, repeats: list[tuple[float, float]]) -> str:
    """The page as Markdown."""

    def mean(found: list[Score], value: Callable[[Score], float]) -> float:
        return sum(map(value, found)) / len(found)

    rows = []
    for fraction in FRACTIONS:
        for residual in (False, True):
            for pick in PICKS:
                found = scores[pick, fraction, residual]
                rows.append(
                    [
                        f"{fraction:.0%}",
                        "closed form + surface" if residual else "surface",
                        pick,
                        f"{100 * mean(found, lambda s: s.mean):.2f}",
                        f"{100 * mean(found, lambda s: s.high):.1f}",
                        f"{100 * mean(found, lambda s: s.largest):.0f}",
                        f"{100 * mean(found, lambda s: s.best):.0f}",
                        f"{mean(found, lambda s: s.choice_seconds):.2f}",
                        f"{mean(found, lambda s: s.fit_seconds):.2f}",
                    ]
                )
    kept = sum(real <= said for said, real in repeats)
    direct, residual_ = scores["greedy", 0.1, False][0], scores["greedy", 0.1, True][0]
    goals = markdown(
        ["at 10 % simulated, greedy", "goal", "reached"],
        [
            ["mean error, surface alone", "at most 2.5 %", f"{100 * direct.mean:.2f} %"],
            ["95th percentile, surface alone", "at most 9 %", f"{100 * direct.high:.1f} %"],
            ["mean error, with the closed form", "at most 0.6 %", f"{100 * residual_.mean:.2f} %"],
            ["95th percentile, with the closed form", "at most 2 %", f"{100 * residual_.high:.1f} %"],
            ["cells whose best format is right, with the closed form", "90 %", f"{100 * residual_.best:.0f} %"],
            [f"the stated error holds, of {len(repeats)} repeats", "93 %", f"{100 * kept / len(repeats):.1f} %"],
        ],
    )
    return f"""# Sampled studies

    make sampling  # hwsim {__version__}

The shipped study {STUDY} has 1,000 points: ten formats, ten batches and ten memory bandwidths. Some are simulated, the
others are predicted from them, and all are simulated for comparison. Errors are those of the points that were not
simulated, in percent of the simulated tokens/s; *best format* is the share of the 100 cells of batch and bandwidth in
which the fastest format by the prediction is one of the fastest by the simulation, in percent. Seconds are CPU
seconds, for the choice of the points and for the fit. Random choices are the means of five seeds.

{goals}

{
        markdown(
            [
                "simulated",
                "predicted by",
                "points chosen by",
                "mean",
                "95th percentile",
                "largest",
                "best format",
                "choice, s",
                "fit, s",
            ],
            rows,
        )
    }

![Mean error against the share of points simulated](sampling.svg)

**How to read it.** `hwsim study S.yaml --sample 10%` takes the lines *closed form + surface*, *greedy*. On a machine
whose kernels are ideal, as here, the closed form matters more than the choice of the points; greedy pays from 5 % on,
and with fewer points a random choice is as good. The largest errors are where the limit changes between two values of
an axis: a surface does not see a step between its points. So the command does not state a largest error. It states
what {CHECKS} check points, drawn at random before anything else and kept out of the fit, allow it to: the largest of
their errors is above the 95th percentile of all errors in 95 % of draws. Here that held in {kept} of {len(repeats)}
repeats with different seeds.
"""


def draw(scores: Scores, path: Path) -> None:
    """Mean error over the share simulated, one line per way to choose, one panel per way to predict."""
    plt = pyplot()
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for panel, residual in zip(panels, (False, True), strict=True):
        for i, pick in enumerate(PICKS):
            means = [100 * np.mean([s.mean for s in scores[pick, fraction, residual]]) for fraction in FRACTIONS]
            panel.plot(
                [100 * fraction for fraction in FRACTIONS], means, color=COLOURS[i], marker="o^sD"[i], label=pick
            )
        panel.set(xscale="log", yscale="log", xlabel="points simulated")
        panel.set_xticks([100 * fraction for fraction in FRACTIONS], [f"{fraction:.0%}" for fraction in FRACTIONS])
        panel.set_xticks([], minor=True)
        panel.set_yticks([0.3, 0.5, 1, 2, 5, 10], ["0.3", "0.5", "1", "2", "5", "10"])
        panel.set_yticks([], minor=True)
        panel.set_title("closed form + surface" if residual else "surface alone")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean error of the other points, %")
    panels[0].legend()
    figure.suptitle("Nemotron 3 Nano on H200 with ideal kernels, decode: 1,000 points")
    save(figure, path, "make sampling")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
