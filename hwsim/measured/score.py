"""hwsim validate: predictions against measurements, dataset by dataset; `hwsim.measured.page` writes them up.

Error is |predicted - measured| / measured. A held-out dataset is scored with the shipped calibration. A fitted one is
scored on rows that the fit left out: GEMMs are fitted on five sixths of the (n, k) shapes and scored on the sixth,
rotated; the other kernels are fitted on one half of the rows and scored on the other, both ways round.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.arch import TileMachine, load_tile_machine
from hwsim.arch.cores import Cores, Family
from hwsim.formats.names import layout
from hwsim.mapping.gpu.kernels import gemm
from hwsim.measured import calibrate
from hwsim.measured.predict import calibrated, fit, predicted, shared_with
from hwsim.measured.sets import (
    FOLDER,
    Dataset,
    datasets,
    find,
    fitted_machines,
    manifest,
    of_machine,
)

FOLDS = 6
SEED = 0
Progress = Callable[[str], object]


@dataclass(frozen=True)
class Score:
    """Predicted and measured time, [rows], in the order of the dataset's rows.

    name: the family of GEMMs, else the dataset's part. m: rows of X, for GEMMs. plain: errors of the yardstick.
    in_fit: mean error of the fit on its own rows. worst_fold: mean error of the worst fold.
    """

    dataset: Dataset
    name: str
    predicted: np.ndarray
    measured: np.ndarray
    m: np.ndarray | None = None
    plain: np.ndarray | None = None
    in_fit: float | None = None
    worst_fold: float | None = None

    @property
    def machine(self) -> str:
        """The machine that predicted."""
        return self.dataset.machine

    @property
    def signed(self) -> np.ndarray:
        """Predicted over measured, less one."""
        return self.predicted / self.measured - 1

    @property
    def errors(self) -> np.ndarray:
        """Without sign."""
        return np.abs(self.signed)


def score(dataset: Dataset, progress: Progress = lambda name: None) -> list[Score]:
    """The scores of one dataset: GEMMs by family, other kernels as one. Whole models: hwsim.measured.serving."""
    if not dataset.fitted:
        found = [score_held_out(dataset)]
    elif dataset.kind == "gemm":
        return score_gemms(dataset, progress)
    else:
        found = [score_kernel(dataset)]
    progress(dataset.label)
    return found


def score_held_out(dataset: Dataset) -> Score:
    """By the shipped calibration."""
    arch = load_tile_machine(dataset.machine)
    found = predicted(arch, dataset, calibrated(arch, dataset))
    if dataset.kind == "cycles":
        measured = dataset.column("cycles") / float(arch.clock_hz)
    else:
        measured = dataset.seconds
    m = dataset.column("m") if "m" in dataset.rows[0] else None
    return Score(dataset, dataset.part or dataset.kernel, found, measured, m)


def score_kernel(dataset: Dataset) -> Score:
    """Fitted on every second row and scored on those between, both ways round."""
    arch = load_tile_machine(dataset.machine)
    first = of_machine(dataset.machine, dataset.kind)[0]
    shared = {} if dataset is first else shared_with(dataset.kind, calibrated(arch, first))
    order = list(range(len(dataset.rows)))
    random.Random(SEED).shuffle(order)
    found = np.zeros(len(order))
    for half in (order[::2], order[1::2]):
        rates, _ = fit(arch, dataset, shared, [dataset.rows[i] for i in order if i not in set(half)], steps=12)
        found[half] = predicted(arch, dataset, rates, [dataset.rows[i] for i in half])
    measured = dataset.seconds
    in_fit = float(np.abs(predicted(arch, dataset, calibrated(arch, dataset)) / measured - 1).mean())
    return Score(dataset, dataset.part, found, measured, in_fit=in_fit)


def shape_folds(rows: np.ndarray, folds: int = FOLDS, seed: int = SEED) -> np.ndarray:
    """[rows]: the fold of each row; all M of an (n, k) shape are in one."""
    shapes = sorted({(n, k) for n, k in rows[:, 1:3]})
    random.Random(seed).shuffle(shapes)
    place = {shape: i % folds for i, shape in enumerate(shapes)}
    return np.array([place[n, k] for n, k in rows[:, 1:3]])


def plain_fit(arch: TileMachine, family: Family, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Errors on `test` of t0 + max(m n k / R, bytes / BW), its three numbers fitted on `train`: the yardstick."""
    from scipy.optimize import least_squares

    widths = [float(layout(name).bits_per_value) / 8 for name in (family.weights, family.activations)]

    def times(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        m, n, k = rows[:, 0], rows[:, 1], rows[:, 2]
        moved = n * k * widths[0] + m * k * widths[1] + 2 * m * n
        return np.exp(x[0]) + np.maximum(m * n * k / np.exp(x[1]), moved / np.exp(x[2]))

    clock = float(arch.clock_hz)
    rate = arch.dot.rate(family.weights, family.activations) or arch.dot.rate(family.activations, family.activations)
    start = np.log([5e-6, 0.7 * float(rate) * clock, 0.8 * float(arch.dram.bytes_per_cycle) * clock])
    target = np.log(train[:, 3])
    got = least_squares(lambda x: np.log(times(x, train)) - target, start, loss="soft_l1", f_scale=calibrate.SOFT)
    return np.abs(times(got.x, test) / test[:, 3] - 1)


def score_gemms(dataset: Dataset, progress: Progress = lambda name: None) -> list[Score]:
    """Every family of a machine, each row predicted by a fit that has not seen its (n, k)."""
    arch = load_tile_machine(dataset.machine)
    data = calibrate.read_gemms(FOLDER / dataset.file)
    whole = calibrate.fit(arch, data)
    folds = {name: shape_folds(rows) for name, rows in data.items()}
    found = {name: np.zeros(len(rows)) for name, rows in data.items()}
    plain = {name: np.zeros(len(rows)) for name, rows in data.items()}
    means: dict[str, list[float]] = {name: [] for name in data}
    for fold in range(FOLDS):
        train = {name: rows[folds[name] != fold] for name, rows in data.items()}
        again = calibrate.fit(arch, train, whole.values)
        for family in again.cores.families:
            if family.name in data:
                here = folds[family.name] == fold
                rows = data[family.name][here]
                times = calibrate.Gemms(rows, family).seconds(family, again.cores)
                found[family.name][here] = times
                means[family.name].append(float(np.abs(times / rows[:, 3] - 1).mean()))
                plain[family.name][here] = plain_fit(arch, family, train[family.name], rows)
        progress(f"{dataset.label}: fold {fold + 1} of {FOLDS}")
    return [
        Score(
            dataset,
            name,
            found[name],
            rows[:, 3],
            rows[:, 0],
            plain[name],
            float(whole.errors[name].mean()),
            max(means[name]),
        )
        for name, rows in data.items()
    ]


def shares(arch: TileMachine) -> dict[str, float]:
    """A machine's bf16 calibration as shares of its data sheet, or as it is where there is none."""
    cores, clock = arch.cores, float(arch.clock_hz)
    peak, family = float(arch.dram.bytes_per_cycle) * clock, arch.cores.named("bfloat16")
    one = float(arch.dot.rate("bf16", "bf16")) * clock / cores.count
    return {
        "bandwidth": cores.bandwidth / peak,
        "store": cores.store / peak,
        "reduce": cores.reduce_seconds,
        "step": cores.step_seconds * clock,
        "warm": cores.warm_bytes / arch.buffers.activations,
        "sustained": cores.sustained,
        "launch": family.launch_seconds,
        "rate": family.macs_per_second / one,
        "feed": family.feed_per_second / clock,
    }


def transferred(arch: TileMachine, found: Mapping[str, float]) -> Cores:
    """The machine's cores by the shares of others."""
    cores, clock = arch.cores, float(arch.clock_hz)
    peak, family = float(arch.dram.bytes_per_cycle) * clock, cores.named("bfloat16")
    one = float(arch.dot.rate("bf16", "bf16")) * clock / cores.count
    family = replace(
        family,
        launch_seconds=found["launch"],
        macs_per_second=found["rate"] * one,
        feed_per_second=found["feed"] * clock,
    )
    return replace(
        cores,
        families=(family,),
        bandwidth=found["bandwidth"] * peak,
        store=found["store"] * peak,
        reduce_seconds=found["reduce"],
        step_seconds=found["step"] / clock,
        sustained=found["sustained"],
        warm_bytes=found["warm"] * arch.buffers.activations,
    )


def score_left_out() -> list[Score]:
    """bf16 GEMMs of each fitted machine by the mean shares of the others; the menu of kernels is its own."""
    machines = fitted_machines()
    arches = {name: load_tile_machine(name) for name in machines}
    known = {name: shares(arch) for name, arch in arches.items()}
    scores = []
    for name, arch in arches.items():
        others = [known[other] for other in machines if other != name]
        cores = transferred(arch, {key: sum(o[key] for o in others) / len(others) for key in others[0]})
        (dataset,) = of_machine(name, "gemm")
        rows = calibrate.read_gemms(FOLDER / dataset.file)["bfloat16"]
        times = calibrate.Gemms(rows, cores.families[0]).seconds(cores.families[0], cores)
        scores.append(Score(dataset, "bfloat16", times, rows[:, 3], rows[:, 0]))
    return scores


#: GEMMs at which a machine without data is shown next to the one that it is scaled from.
SHOWN = ((1, 4096, 4096), (1, 16384, 16384), (64, 8192, 8192), (512, 8192, 8192), (4096, 8192, 8192))


def untested() -> dict[tuple[str, str], list[tuple[str, str, float, float]]]:
    """(machine, source) of transfers that no dataset scores -> (GEMM, family, its seconds, the source's seconds)."""
    scored = {d.machine for d in datasets()}
    found = {}
    for transfer in manifest().transfers:
        if transfer.machine not in scored:
            pair = [load_tile_machine(name) for name in (transfer.machine, transfer.of)]
            found[transfer.machine, transfer.of] = [
                (f"{m} x {n} x {k}", family.name, *(_warm_gemm(arch, m, n, k, family.name) for arch in pair))
                for m, n, k in SHOWN
                for family in pair[0].cores.families
            ]
    return found


def _warm_gemm(arch: TileMachine, m: int, n: int, k: int, name: str) -> float:
    family = arch.cores.named(name)
    return gemm(m, n, k, family, arch.cores, layout(family.weights), layout(family.activations), warm=True).seconds


def lines(scores: Sequence[Score]) -> list[str]:
    """One line per score, for the terminal."""
    return [
        f"{' '.join(filter(None, (s.dataset.name, s.name)))}: {len(s.errors)} rows, "
        f"mean error {100 * s.errors.mean():.1f} %, bias {100 * s.signed.mean():+.1f} %"
        for s in scores
    ]


def score_named(name: str, progress: Progress = lambda name: None) -> list[Score]:
    """The scores of one entry of sets.yaml. raises: InputError where there is none."""
    return [s for dataset in find(name) for s in score(dataset, progress)]
