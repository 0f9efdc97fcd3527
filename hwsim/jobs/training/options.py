"""Options of a training step: everything about it except the machine and the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, collect
from hwsim.jobs.options import check_choice, check_most
from hwsim.jobs.training.recipe import Recipe, load_recipe
from hwsim.workload.language.model import Model
from hwsim.workload.language.parts.moe import Moe
from hwsim.workload.language.routing import skew_exponent
from hwsim.workload.op import Workload
from hwsim.workload.training.options import (
    PER_EXPERT,
    SHARDS,
    Degrees,
    TrainStep,
    exchange_words,
    recompute_layers,
)
from hwsim.workload.training.trainable import Trainable, check_step, layers_of, trainable

#: Optimiser -> (bytes per moment, bytes of its state per weight: an FP32 master and two moments).
OPTIMISERS = {"adam-fp32": (4, 12), "adam-bf16": (2, 8)}


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """See `hwsim.train`. recompute: the word or number as it was written. host: seconds per layer with experts."""

    batch: int
    context: int
    micro_batch: int
    recipe: Recipe
    recompute: str
    degrees: Degrees
    optimizer: str
    shard: int
    skew: str
    mtp: int = 0
    exchange: tuple[str, ...] = (PER_EXPERT,)
    small: Fraction = Fraction(1)
    within: int = 0
    host: Fraction = Fraction(0)

    @classmethod
    def of(
        cls,
        batch: int = 1,
        context: int = 8192,
        micro_batch: int = 1,
        recipe: Recipe | str | Path = "bf16",
        recompute: str | int = "none",
        parallel: str | Mapping[str, int] | Degrees | None = None,
        optimizer: str = "adam-fp32",
        shard: int = 1,
        skew: str = "even",
        mtp: bool | int = False,
        exchange: str = PER_EXPERT,
        small_kernels: float = 1.0,
        shard_within: int = 0,
        host_wait: float = 0.0,
        *,
        model: Workload | None = None,
        found: list[str] | None = None,
    ) -> TrainOptions:
        """Options from the arguments of `hwsim.train`, checked against the model where it is known.

        found: errors that the caller has found already; they are reported with the others. raises: InputError.
        """
        bad = list(found or ())
        given, degrees = None, Degrees()
        with collect(bad):
            given = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        with collect(bad):
            degrees = Degrees.of(parallel)
        with collect(bad):
            check_most(batch=batch, context=context, micro_batch=micro_batch)
        with collect(bad):
            check_choice("optimizer", optimizer, tuple(OPTIMISERS))
        with collect(bad):
            skew_exponent(skew)
        words: tuple[str, ...] = (PER_EXPERT,)
        with collect(bad):
            words = exchange_words(exchange)
        if not 1 <= small_kernels <= 100:
            bad.append(f"small-kernels: {small_kernels!r} is not between 1 (ideal) and 100; write, for example, 3.3")
        if not 0 <= host_wait <= 1000:
            bad.append(f"host-wait: {host_wait!r} ms is not between 0 (none) and 1000; write, for example, 8")
        if int(mtp) < 0:
            bad.append(f"mtp: {mtp} is below 0; write 1 or more, or leave it out")
        if shard not in SHARDS:
            bad.append(f"shard: unknown {shard!r}; write 0, 1 or 3")
        if given is None:
            given = load_recipe("bf16")
        options = cls(
            batch,
            context,
            micro_batch,
            given,
            str(recompute),
            degrees,
            optimizer,
            shard,
            skew,
            int(mtp),
            words,
            Fraction(str(small_kernels)),
            shard_within,
            Fraction(str(host_wait)) / 1000,
        )
        bad = [*bad, *(options.refused(model) if model else ())]
        if bad:
            raise InputError(*dict.fromkeys(bad))
        return options

    def refused(self, model: Workload) -> list[str]:
        """Why this model cannot be trained so."""
        if not isinstance(model, Trainable):
            return trainable(model)
        bad: list[str] = []
        with collect(bad):
            recompute_layers(self.recompute, layers_of(model))
        with collect(bad):
            check_step(model, self._step(model, 0))
        if self.host and not (isinstance(model, Model) and any(isinstance(part, Moe) for part in model.shapes)):
            bad.append(f"host-wait: {model.name} has no experts, for whose token counts the host waits; leave it out")
        return bad

    def step(self, model: Trainable) -> TrainStep:
        """The step of this model. raises: InputError."""
        return self._step(model, recompute_layers(self.recompute, layers_of(model)))

    def _step(self, model: Trainable, layers: int) -> TrainStep:
        # a sample of a graph is one token long: it has no context
        sizes = self.batch, self.context if isinstance(model, Model) else 1, self.micro_batch
        return TrainStep(
            *sizes,
            degrees=self.degrees,
            recompute=layers,
            shard=self.shard,
            fused=self.recipe.fused,
            skew=self.skew,
            mtp=self.mtp,
            exchange=self.exchange,
            within=self.within,
        )

    def config(self) -> dict[str, Any]:
        """Plain data."""
        d = self.degrees
        return {
            "phase": "train",
            "batch": self.batch,
            "context": self.context,
            "micro_batch": self.micro_batch,
            "recipe": self.recipe.config(),
            "recompute": self.recompute,
            "parallel": {name: getattr(d, name) for name in ("dp", "tp", "pp", "vp", "ep", "cp")},
            "optimizer": self.optimizer,
            "shard": self.shard,
            "skew": self.skew,
            **({"mtp": True if self.mtp == 1 else self.mtp} if self.mtp else {}),
            **({"shard_within": self.within} if self.within else {}),
            **({"small_kernels": float(self.small)} if self.small != 1 else {}),
            **({"host_wait": float(1000 * self.host)} if self.host else {}),
            **({"exchange": ",".join(self.exchange)} if self.exchange != (PER_EXPERT,) else {}),
        }
