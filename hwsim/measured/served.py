"""Measured rows of whole models, each predicted by the command that the page prints for it, and the fit of a stack.

A row is served through `hwsim.jobs.serve` with its formats as options and its framework as `--stack`. What the software
costs enters every figure in closed form, so one simulation serves the fit, the fit without the row's model, and the
prediction without software.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.jobs.serve import Deployment, Request
from hwsim.measured.sets import Dataset, Row

Progress = Callable[[str], object]
#: Seconds: one number, or an array of them.
Amount = float | np.ndarray
#: Batches tried for a row that says `max`, besides all that fit.
BATCHES = (32, 64, 128, 256, 512, 1024, 2048)
#: Times of the software that the fit tries, seconds: per step, and per sequence in it.
STEPS = np.linspace(0, 3e-3, 151)
SEQUENCES = np.linspace(0, 8e-5, 81)


@dataclass(frozen=True, slots=True)
class Software:
    """Times per step and per sequence of a decode step, seconds."""

    step: float = 0.0
    sequence: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """One operating point without software. Seconds; prefill: per prompt, of `prompts` computed together."""

    osl: int
    batch: int
    step: float
    prefill: float
    prompts: int

    def figure(self, kind: str, step: Amount, sequence: Amount) -> Amount:
        """What a row measures, with so much software: numbers, or arrays of one shape.

        kind: "tpot": seconds from one token of a user to the next; "serving": tokens per second in all.
        """
        decode = self.step + step + sequence * self.batch
        prefill = self.prefill + step / self.prompts
        if kind == "tpot":
            return decode + (self.batch - 1) * prefill / (self.osl - 1)
        return self.batch * self.osl / ((self.osl - 1) * decode + self.batch * prefill)


@dataclass(frozen=True)
class Measured:
    """A row and its predictions.

    predicted: the figure of the row's command, to the digit, in the unit of `field`; batch: that the command names;
    served: as many of it as fit.
    points: without software; the one with the highest rate counts.
    """

    dataset: str
    kind: str
    row: Row
    batch: int
    served: int
    predicted: float
    points: tuple[Point, ...]
    note: str

    @property
    def stack(self) -> str:
        """The row's serving stack."""
        return self.row["stack"]

    @property
    def field(self) -> str:
        """Which figure of `hwsim serve ... --json` the row measures."""
        return "time_per_output_token" if self.kind == "tpot" else "tokens_per_second_per_chip"

    @cached_property
    def measured(self) -> float:
        """In the unit of `field`."""
        if self.kind == "tpot":
            return 1e-3 * float(self.row["tpot_ms"])
        return float(self.row["tokens_per_second"]) / int(self.row["chips"])

    @property
    def command(self) -> str:
        """What a user types."""
        return shlex.join(["hwsim", "serve", *arguments(self.row, self.batch), "--json"])

    @property
    def error(self) -> float:
        """Of the command: predicted over measured, less one."""
        return self.predicted / self.measured - 1

    def errors(self, step: Amount, sequence: Amount) -> Amount:
        """With so much software: predicted over measured, less one; numbers, or arrays of one shape."""
        found = [p.figure(self.kind, step, sequence) for p in self.points]
        if self.kind == "tpot":
            return found[0] / self.measured - 1
        return np.maximum.reduce(np.array(found)) / int(self.row["chips"]) / self.measured - 1


def formats(text: str) -> str | dict[str, str]:
    """`fp8` as it is; `head=bf16,default=fp8` as a mapping."""
    return dict(part.split("=") for part in text.split(",")) if "=" in text else text


def request(row: Row) -> Request:
    """What a row asks of the machine."""
    return Request(
        row["model"],
        int(row["isl"]),
        int(row["osl"]),
        formats(row["weights"]),
        row["activations"] or None,
        row["kv"] or None,
        chips=int(row["chips"]),
        parallel=row.get("parallel") or "tensor",
        stack=row["stack"],
    )


def arguments(row: Row, batch: int) -> list[str]:
    """The row's request as words behind `hwsim serve`."""
    options = {name: row.get(name) for name in ("model", "weights", "activations", "kv", "isl", "osl")}
    options["batch"] = str(batch)
    if int(row["chips"]) > 1:
        options |= {"chips": row["chips"], "parallel": row.get("parallel") or "tensor"}
    options["stack"] = row["stack"]
    return [row["machine"], *(word for name, value in options.items() if value for word in (f"--{name}", value))]


def predict(kind: str, name: str, rows: Sequence[Row]) -> list[Measured]:
    """Rows that differ in their batch and in what was measured only."""
    server = Deployment(rows[0]["machine"], request(rows[0]))
    most, software = server.batch_by_memory, server.stack
    found = []
    for row in rows:
        every = row["batch"] == "max"
        tried = sorted({most, *(b for b in BATCHES if b <= most)}) if every else [int(row["batch"])]
        points, best = [], None
        for batch in tried:
            s = server.serve(batch)
            bare = s.step_seconds - software.step_seconds - software.sequence_seconds * s.batch
            prefill = s.prefill_seconds - software.step_seconds / s.prefill_prompts
            points.append(Point(int(row["osl"]), s.batch, bare, prefill, s.prefill_prompts))
            if best is None or s.tokens_per_second_per_chip > best.tokens_per_second_per_chip:
                best = s
        assert best is not None  # at least one batch is tried
        figure = best.time_per_output_token if kind == "tpot" else best.tokens_per_second_per_chip
        assert figure is not None  # None only for requests of one token, which no row of tpot asks
        asked = best.batch if every else int(row["batch"])
        note = "" if asked <= most else f"{most} of {asked} sequences fit"
        found.append(Measured(name, kind, row, asked, best.batch, figure, tuple(points), note))
    return found


def predict_all(datasets: Sequence[Dataset], progress: Progress = lambda name: None) -> list[Measured]:
    """Every row of every dataset, in order, on all cores of this computer."""
    groups: dict[tuple, list[tuple[int, Row]]] = {}
    order = [(d, row) for d in datasets for row in d.rows]
    for i, (dataset, row) in enumerate(order):
        key = (dataset.kind, dataset.name, tuple(arguments({**row, "batch": "0"}, 0)))
        groups.setdefault(key, []).append((i, row))
    found: dict[int, Measured] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        work = [pool.submit(predict, key[0], key[1], [row for _, row in rows]) for key, rows in groups.items()]
        for job, rows in zip(work, groups.values(), strict=True):
            found |= {i: one for (i, _), one in zip(rows, job.result(), strict=True)}
            row = rows[0][1]
            progress(f"{row['machine']}: {row['model']} {row['isl']}/{row['osl']}")
    return [found[i] for i in range(len(order))]


def fit(rows: Sequence[Measured]) -> Software:
    """The software with the least mean error of the rows, on a grid; of equals the least per sequence.

    Rows of one batch cannot tell the two apart: all of it is then per step.
    """
    several = len({point.batch for row in rows for point in row.points}) > 1
    sequence, step = np.meshgrid(SEQUENCES if several else [0.0], STEPS, indexing="ij")
    mean = np.mean([np.abs(row.errors(step, sequence)) for row in rows], axis=0)
    best = np.unravel_index(int(np.argmin(mean)), mean.shape)
    return Software(round(float(step[best]), 9), round(float(sequence[best]), 9))


def by_model(rows: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The rows of each model."""
    found: dict[str, list[Measured]] = {}
    for row in rows:
        found.setdefault(row.row["model"], []).append(row)
    return found


def left_out(rows: Sequence[Measured]) -> Iterator[tuple[Measured, float]]:
    """Each row with its error by the numbers that fit the other models; nothing where there is one model only."""
    models = by_model(rows)
    if len(models) < 2:
        return
    for model, mine in models.items():
        software = fit([row for row in rows if row.row["model"] != model])
        for row in mine:
            yield row, float(row.errors(software.step, software.sequence))


def mean(errors: Sequence[float]) -> float:
    """Mean of the absolute errors, percent."""
    return 100 * float(np.mean(np.abs(errors)))
