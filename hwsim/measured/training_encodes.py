"""Encodes of NVFP4 on GB200 against torchao's kernels: both directions, with a Hadamard transform, and their amax pass.

Three numbers of the model come from these kernels: passes of the transform and of the amax pass with it (slopes between
the smallest and the largest tensor), and the rate of the `round` server, 16 elements per SM and cycle (stochastic over
nearest of the same, slower kernel; the rows have 1.31 to 1.42).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from hwsim.arch import load_tile_machine
from hwsim.formats.names import layout
from hwsim.jobs.training.price import prices, training_machine
from hwsim.jobs.training.recipe import Tensor, load_recipe
from hwsim.jobs.training.work import Work, amax_op, encode_op
from hwsim.measured.sets import FOLDER
from hwsim.workload.op import Op

FILE = FOLDER / "training_encodes.csv"


@dataclass(frozen=True)
class EncodeRow:
    """One tensor, measured and predicted: (us of the encode, times that with stochastic rounding, us of the amax)."""

    rows: int
    columns: int
    measured: tuple[float, float, float]
    predicted: tuple[float, float, float]


def encode_rows(path: Path = FILE) -> list[EncodeRow]:
    """Encodes of activations and gradients of the shipped recipe nvfp4."""
    arch = load_tile_machine("gb200")
    machine, every = training_machine(arch), load_recipe("nvfp4").every
    assert every.activations == Tensor(layout("nvfp4"), hadamard=16, amax=True)

    def microseconds(op: Op) -> float:
        work = Work("encode", "", op)
        return 1e6 * prices(machine, [work]).seconds(work)

    found = []
    with path.open(newline="", encoding="utf-8") as file:
        for r in csv.DictReader(file):
            n = int(r["rows"]) * int(r["columns"])
            nearest, random = (
                microseconds(encode_op("encode", 0, tensor, n, arch)) for tensor in (every.activations, every.gradients)
            )
            measured = float(r["encode_us"]), float(r["stochastic_us"]) / float(r["nearest_us"]), float(r["amax_us"])
            ours = nearest, random / nearest, microseconds(amax_op("amax", 0, every.activations, n))
            found.append(EncodeRow(int(r["rows"]), int(r["columns"]), measured, ours))
    return found
