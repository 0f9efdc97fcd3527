"""hwsim validate: predictions against measurements, dataset by dataset; `hwsim.measured.page` writes them up.

Error is |predicted - measured| / measured, by the shipped machine and the public functions. A dataset that was never
fitted is scored on all rows, a fitted one on the rows that `sets.yaml` holds out, which no fit has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.arch import Arch, load_arch
from hwsim.arch.cores import Family
from hwsim.formats.names import layout
from hwsim.measured import calibrate
from hwsim.measured.predict import KINDS, Asked, cores_of, fit, overhead_seconds, predicted, tiled
from hwsim.measured.sets import Dataset, Row, datasets, find, fitted_machines, of_machine

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Score:
    """Predicted and measured time, [rows], in the order of `rows`.

    name: the family of GEMMs, else the dataset's part. commands: what asks hwsim for each row, the machine's name in
    it; empty where no command can. without: predicted less the dataset's overhead. plain: errors of the yardstick.
    in_fit: mean error of the rows that were fitted.
    """

    dataset: Dataset
    name: str
    rows: tuple[Row, ...]
    predicted: np.ndarray
    measured: np.ndarray
    commands: tuple[tuple[str, ...], ...] = ()
    without: np.ndarray | None = None
    plain: np.ndarray | None = None
    in_fit: float | None = None

    @property
    def alone(self) -> np.ndarray:
        """[rows] seconds predicted without the dataset's overhead."""
        return self.without if self.without is not None else self.predicted

    @property
    def machine(self) -> str:
        """The machine that predicted."""
        return self.dataset.machine

    @property
    def m(self) -> np.ndarray | None:
        """[rows] of X, for GEMMs."""
        return np.array([float(row["m"]) for row in self.rows]) if "m" in self.rows[0] else None

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
    arch = load_arch(dataset.machine)
    overhead = overhead_seconds(arch, dataset)
    asked = [KINDS[dataset.kind].asked(arch, dataset, row) for row in dataset.rows]
    alone = np.array([one.job.seconds for one in asked])
    found = alone + overhead
    if dataset.kind == "cycles":
        measured = dataset.column("cycles") / float(arch.clock_hz)
    else:
        measured = dataset.seconds
    held = np.array(dataset.held)
    by = [row["dtype"] for row in dataset.rows] if dataset.kind == "gemm" and dataset.fitted else None
    scores = []
    for name in dict.fromkeys(by or [dataset.part or dataset.kernel]):
        mine = np.array([b == name for b in by]) if by else np.full(len(held), True)
        chosen, fitted = mine & held, mine & ~held
        plain = (
            plain_fit(arch, cores_of(arch).named(name), _gemms(dataset, fitted), _gemms(dataset, chosen))
            if by
            else None
        )
        scores.append(
            Score(
                dataset,
                name,
                tuple(dataset.rows[i] for i in np.flatnonzero(chosen)),
                found[chosen],
                measured[chosen],
                tuple(_command(arch, asked[i]) for i in np.flatnonzero(chosen)),
                alone[chosen],
                plain,
                float(np.abs(found[fitted] / measured[fitted] - 1).mean()) if fitted.any() else None,
            )
        )
    progress(dataset.label)
    return scores


def _command(arch: Arch, asked: Asked) -> tuple[str, ...]:
    """`gemm h100-sxm --m 1 ...`, or nothing."""
    words = asked.command
    return (words[0], arch.name, *words[1:]) if words else ()


def _gemms(dataset: Dataset, chosen: np.ndarray) -> np.ndarray:
    """[rows, 4]: m, n, k, seconds."""
    rows = [dataset.rows[i] for i in np.flatnonzero(chosen)]
    return np.array([[float(row[c]) for c in ("m", "n", "k")] + [1e-6 * float(row["us"])] for row in rows])


def plain_fit(arch: Arch, family: Family, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Errors on `test` of t0 + max(m n k / R, bytes / BW), its three numbers fitted on `train`: the yardstick."""
    from scipy.optimize import least_squares

    widths = [float(layout(name).bits_per_value) / 8 for name in (family.weights, family.activations)]

    def times(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        m, n, k = rows[:, 0], rows[:, 1], rows[:, 2]
        moved = n * k * widths[0] + m * k * widths[1] + 2 * m * n
        return np.exp(x[0]) + np.maximum(m * n * k / np.exp(x[1]), moved / np.exp(x[2]))

    peaks = cores_of(arch).peaks
    start = np.log([5e-6, 0.7 * peaks.rate(family.weights, family.activations), 0.8 * peaks.dram])
    target = np.log(train[:, 3])
    got = least_squares(lambda x: np.log(times(x, train)) - target, start, loss="soft_l1", f_scale=calibrate.SOFT)
    return np.abs(times(got.x, test) / test[:, 3] - 1)


def score_transferred() -> list[tuple[str, str, Dataset, np.ndarray]]:
    """(machine, source, dataset, errors): each fitted dataset by another machine's calibration, without a fit.

    The menus are the machine's own; the rates are the source's shares of its peaks. GEMMs and prefill attention.
    """
    found = []
    for machine in fitted_machines():
        for source in fitted_machines():
            if source == machine:
                continue
            arch = load_arch(machine, [("cores.calibration", f"calibration/{source}.yaml")])
            for dataset in of_machine(machine):
                if dataset.kind not in ("gemm", "prefill"):
                    continue
                if dataset.kind == "prefill" and not cores_of(arch).kernel_rates.prefill_bf16:
                    continue
                known = [f.name for f in cores_of(arch).families]
                rows = [row for row in dataset.rows if row.get("dtype") in known or dataset.kind == "prefill"]
                measured = np.array([1e-6 * float(row["us"]) for row in rows])
                found.append((machine, source, dataset, np.abs(predicted(arch, dataset, rows) / measured - 1)))
    return found


def score_layers() -> list[tuple[str, str, np.ndarray]]:
    """(machine, layer left out, errors): experts in bf16, each of the two measured layers from a fit to the other."""
    found = []
    for dataset in datasets():
        if dataset.kind != "experts" or not dataset.fitted or dataset.kernel != "bfloat16":
            continue
        arch = load_arch(dataset.machine)
        bare = replace(cores_of(arch), kernel_rates=replace(cores_of(arch).kernel_rates, experts=None))
        for layer in dict.fromkeys(row["model"] for row in dataset.rows):
            train = [row for row in dataset.rows if row["model"] != layer]
            test = [row for row in dataset.rows if row["model"] == layer]
            moved, _, _ = fit(replace(tiled(arch), cores=bare), dataset, train)
            measured = np.array([1e-6 * float(row["us"]) for row in test])
            found.append((dataset.machine, layer, np.abs(predicted(moved, dataset, test) / measured - 1)))
    return found


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
