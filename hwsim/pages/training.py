"""The runs of `make training`: a small language model trained from scratch in every recipe, with paired seeds.

All recipes of a seed start from the same parameters and see the same batches, so that their losses can be compared pair
by pair. A run that is finished is kept in build/training/ and is not repeated while nothing it depends on changes.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hwsim.files.whole import write_whole
from hwsim.formats import Format, get_format
from hwsim.formats.training import HIGH, LinearRecipe, ModelRecipe
from hwsim.pages.gpt import Adam, Gpt, Parameters, Shape

HERE = Path(__file__)
SEEDS = (1, 2, 3, 4, 5)
SHAPE = Shape()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps of a run, sequences per step, and the learning rate.

    The rate rises linearly to `rate` over `warmup` steps, stays there, and falls linearly over the last `decay` steps.
    """

    steps: int = 300
    sequences: int = 8
    rate: float = 1e-3
    warmup: int = 20
    decay: int = 90

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.rate * min(1, (step + 1) / self.warmup, (self.steps - step) / self.decay)


TRAINING = Schedule()
TUNING = Schedule(steps=100, decay=100)
"""Of the parameters beside frozen linear layers."""


def _format(name: str, **options: object) -> Format:
    return get_format(name, threads=1, **options)


def _alike(name: str) -> LinearRecipe:
    """One format for weights, activations and gradients."""
    return LinearRecipe(_format(name), _format(name), _format(name))


_NVFP4 = LinearRecipe(_format("nvfp4", tile=16), _format("nvfp4"), _format("nvfp4", rounding="stochastic"), hadamard=16)

RECIPES: dict[str, ModelRecipe] = {
    "fp32": ModelRecipe(HIGH),
    "mxfp8": ModelRecipe(_alike("mxfp8_e4m3")),
    "mxfp6_e3m2": ModelRecipe(_alike("mxfp6_e3m2")),
    "mxfp4 weights, mxfp6_e3m2": ModelRecipe(
        LinearRecipe(_format("mxfp4_e2m1"), _format("mxfp6_e3m2"), _format("mxfp6_e3m2"))
    ),
    "mxfp4": ModelRecipe(_alike("mxfp4_e2m1")),
    "mxfp4, head fp32": ModelRecipe(_alike("mxfp4_e2m1"), ("head",)),
    "nvfp4, head fp32": ModelRecipe(_alike("nvfp4"), ("head",)),
    "nvfp4 with tiles, Hadamard, stochastic gradients, head fp32": ModelRecipe(_NVFP4, ("head",)),
}

FROZEN = "frozen "
"""Starts the name of a run of `tuned`; the format follows."""

FROZEN_FORMATS = ("fp32", "mxfp4_e2m1", "seedlm4", "seedlm3")
"""Formats of linear weights that are encoded once after training in FP32, and then stay as they are."""


@dataclass(frozen=True, slots=True)
class Run:
    """One recipe and seed. losses: of each step's batch, nats per byte. validation: nats per byte of held-out text.

    started: validation loss before the first step, of `tuned` alone. cpu_seconds: of the whole run.
    """

    recipe: str
    seed: int
    losses: list[float]
    started: float | None
    validation: float
    cpu_seconds: float


def text() -> bytes:
    """The help topics that every CPython carries, in the order of their names: English prose about Python."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics)).encode()


def split(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(training text uint8[n], held-out sequences uint8[m, context + 1]): the last tenth is held out.

    Neighbouring held-out sequences share one byte, the target of one and the first input of the next.
    """
    values = np.frombuffer(data, np.uint8)
    cut = len(values) * 9 // 10
    held = values[cut:]
    count = (len(held) - 1) // SHAPE.context // TRAINING.sequences * TRAINING.sequences
    starts = np.arange(count)[:, None] * SHAPE.context
    return values[:cut], held[starts + np.arange(SHAPE.context + 1)]


def batches(values: np.ndarray, seed: int, schedule: Schedule) -> Iterator[np.ndarray]:
    """uint8[sequences, context + 1] per step, at random places."""
    rng = np.random.default_rng([seed, schedule.steps])
    for _ in range(schedule.steps):
        starts = rng.integers(0, len(values) - SHAPE.context, schedule.sequences)
        yield values[starts[:, None] + np.arange(SHAPE.context + 1)]


def validation(model: Gpt, p: Parameters, held: np.ndarray) -> float:
    """Loss of the held-out text in nats per byte, computed in the model's own formats."""
    parts = held.reshape(-1, TRAINING.sequences, held.shape[-1])
    return float(np.mean([model.loss(p, part) for part in parts]))


def train(
    model: Gpt, p: Parameters, values: np.ndarray, seed: int, schedule: Schedule, frozen: frozenset[str] = frozenset()
) -> list[float]:
    """Train in place; the loss of each step. frozen: names of parameters that stay as they are."""
    adam, losses = Adam(), []
    for step, tokens in enumerate(batches(values, seed, schedule)):
        # Seeds of stochastic rounding: no two steps of any run share one.
        loss, gradients = model.gradients(p, tokens, seed * 10_000 + step)
        adam.update(p, {name: g for name, g in gradients.items() if name not in frozen}, schedule.at(step))
        losses.append(loss)
    return losses


@lru_cache(maxsize=1)
def pretrained(recipe: str, seed: int, data: bytes) -> tuple[Run, Parameters]:
    """Train from scratch in a recipe."""
    start = time.process_time()
    values, held = split(data)
    model, p = Gpt(SHAPE, RECIPES[recipe]), SHAPE.initial(np.random.default_rng(seed))
    losses = train(model, p, values, seed, TRAINING)
    return Run(recipe, seed, losses, None, validation(model, p, held), time.process_time() - start), p


def tuned(form: str, seed: int, data: bytes) -> Run:
    """Encode the linear weights of an FP32 model, freeze them, and train the embeddings and gains beside them."""
    trained = pretrained("fp32", seed, data)[1]
    start = time.process_time()
    values, held = split(data)
    model, p = Gpt(SHAPE, RECIPES["fp32"]), {name: value.copy() for name, value in trained.items()}
    for name in SHAPE.linears:
        p[name] = _format(form).quantize(p[name])
    first = validation(model, p, held)
    losses = train(model, p, values, seed, TUNING, frozenset(SHAPE.linears))
    return Run(FROZEN + form, seed, losses, first, validation(model, p, held), time.process_time() - start)


def runs(folder: Path, progress: Callable[[str], None]) -> list[Run]:
    """Every recipe and every frozen format with every seed; finished ones are read from the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data = text()
    sources = [HERE, HERE.with_name("gpt.py"), *sorted((HERE.parents[1] / "formats").glob("*.py"))]
    state = hashlib.sha256(data + b"".join(path.read_bytes() for path in sources))
    state.update(f"{platform.python_version()} {np.__version__}".encode())
    # Right after FP32, the parameters of that run are still at hand.
    names = ["fp32", *(FROZEN + form for form in FROZEN_FORMATS), *(name for name in RECIPES if name != "fp32")]
    found = []
    for seed in SEEDS:
        for name in names:
            path = folder / f"{'-'.join(re.findall('[a-z0-9]+', name.lower()))}-{seed}.json"
            record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if record.pop("of", None) == state.hexdigest():
                found.append(Run(**record))
                continue
            form = name.removeprefix(FROZEN)
            run = pretrained(name, seed, data)[0] if form == name else tuned(form, seed, data)
            write_whole(path, json.dumps({"of": state.hexdigest(), **asdict(run)}))
            progress(f"{name}, seed {seed}: {run.validation:.4f} nats per byte, {run.cpu_seconds:.0f} CPU s")
            found.append(run)
    return found
