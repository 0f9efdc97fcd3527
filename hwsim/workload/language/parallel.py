"""How a model is divided among chips: what cannot be shared, the part on one chip, and its weights."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from hwsim.errors import InputError
from hwsim.workload.language.model import Model, Slot
from hwsim.workload.language.parts.latent import Latent
from hwsim.workload.language.parts.moe import Moe
from hwsim.workload.language.share import KINDS, Parallel
from hwsim.workload.op import Stored

__all__ = ["KINDS", "Parallel", "check", "chip_model", "chip_parameters"]


def check(model: Model, parallel: Parallel) -> None:
    """raises: InputError if the chips cannot share the model in this way."""
    if parallel.kind not in KINDS:
        raise InputError(f"parallel: unknown {parallel.kind!r}; expected one of {', '.join(KINDS)}")
    problems: dict[str, None] = {}
    if parallel.chips > 1 and parallel.kind != "tensor" and not any(isinstance(p, Moe) for p in model.shapes):
        problems["parallel: MODEL has no experts to divide; write tensor"] = None
    for part in model.shapes:
        problems |= dict.fromkeys(part.problems(parallel))
    if problems:
        raise InputError(*(p.replace("MODEL", model.name) for p in problems))


def chip_model(model: Model, parallel: Parallel) -> Model:
    """The part of the model on one chip: its heads, widths and rows of the vocabulary, at the same hidden width."""
    if parallel.tensors == 1:
        return model
    parts = {name: getattr(model, name) for name in ("attention", "mamba2", "mlp", "moe")}
    return replace(
        model,
        vocab=parallel.share(model.vocab),
        parts=tuple((name, tuple(p.on_chip(parallel) for p in shapes)) for name, shapes in model.parts),
        **{name: part and part.on_chip(parallel) for name, part in parts.items()},
    )


@lru_cache(maxsize=16)  # the points of a study ask for the same weights again and again
def chip_parameters(model: Model, parallel: Parallel) -> tuple[Stored, ...]:
    """Weights in the memory of one chip, by class and layer; see `Model.layer_parameters`."""
    chip = chip_model(model, parallel)
    rows = [row for row in chip.layer_parameters() if row.layer < 0 and row.weights != "norm"]
    for layer, (slots, whole) in enumerate(zip(chip.plan, model.plan, strict=True)):
        found: dict[str, int] = {}
        for name, n in chip.layer_counts(slots).items():
            found[name] = n
        for slot, before in zip(slots, whole, strict=True):
            for name, more in _corrections(model.hidden, slot, before, parallel).items():
                found[name] = found.get(name, 0) + more
        rows += [Stored(name, layer, n) for name, n in found.items() if n]
    return (*rows, *(row for row in chip.layer_parameters() if row.layer < 0 and row.weights == "norm"))


def _corrections(hidden: int, slot: Slot, whole: Slot, parallel: Parallel) -> dict[str, int]:
    """What the memory of a chip holds more or less than the weights of the part on it, by class."""
    part = slot.part
    if not slot.stored:
        return {}
    if isinstance(part, Moe):
        lacking = part.experts - -(-part.experts // parallel.experts)
        latent = 2 * hidden * (part.latent - parallel.share(part.latent))
        return {"experts": -lacking * part.expert(hidden), "latent": -latent}
    if isinstance(part, Latent):
        return {"absorbed": part.absorbed}  # the 16-bit copies that the absorbed form multiplies
    return {}
