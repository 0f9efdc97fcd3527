"""What a training step must hold in the memory of one chip of each pipeline stage.

With P weights per chip in 16 bits, gradients and Adam's master and moments in FP32: 2 + 4 + 12 bytes per weight, or
6 + 12/d where d = dp cp chips divide the optimiser's state, or 18/d where they divide everything (Rajbhandari et al.,
arXiv 1910.02054). A recipe may sum gradients in 16 bits, 2 bytes fewer per weight, or keep the encoded weights alone
(Megatron-Core: grad_reduce_in_fp32, fp8_param_gather). A micro-batch's activations stay from its forward to its
backward pass; how many there are at once follows from the schedule.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from hwsim.jobs.training import tables
from hwsim.jobs.training.recipe import Recipe
from hwsim.sim.schedule import order
from hwsim.workload.training.block import Block
from hwsim.workload.training.options import TrainStep
from hwsim.workload.training.sites import BYTE, COPY, INPUT, SINGLE, WIDE, Linear, Saved

#: Bytes per weight: in 16 bits, its gradient in FP32.
WEIGHT_BYTES, GRADIENT_BYTES = 2, 4


@dataclass(frozen=True, slots=True)
class TrainMemory:
    """Bytes at the same time on one chip of the stage that needs most.

    buffers: encoded weights, and with shard 3 the weights of two layers, gathered.
    """

    weights: int
    gradients: int
    optimiser: int
    activations: int
    buffers: int
    capacity: int

    @property
    def total(self) -> int:
        """Bytes needed."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.buffers

    @property
    def fits(self) -> bool:
        """Whether they fit."""
        return self.total <= self.capacity

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the total and the verdict."""
        return {**asdict(self), "total": self.total, "fits": self.fits}


def saved_bytes(saved: Saved, recipe: Recipe, layer: int, layers: int) -> Fraction:
    """Bytes of what a site keeps."""
    if saved.stored in (INPUT, COPY):
        tensor = recipe.of(saved.weights, layer, layers).activations
        if saved.stored == COPY:
            return Fraction(0) if tensor.high else saved.elements * tensor.value_bytes
        return saved.elements * (Fraction(2) if tensor.high else tensor.value_bytes)
    return Fraction(saved.elements * {WIDE: 2, SINGLE: 4, BYTE: 1}[saved.stored])


def activation_bytes(block: Block, recipe: Recipe, layers: int, selective: bool = False) -> int:
    """Bytes that a block keeps from the forward pass of a micro-batch. selective: without the scores of attention."""
    kept = (s for site in block.sites for s in site.saved if not (selective and s.stored == BYTE))
    return ceil(sum(saved_bytes(s, recipe, block.item, layers) for s in kept))


def encoded_bytes(block: Block, recipe: Recipe, layers: int) -> int:
    """Bytes of the encoded copies of a block's weights."""
    total = Fraction(0)
    for site in block.sites:
        if isinstance(site, Linear):
            tensor = recipe.of(site.weights, block.item, layers).weights
            total += tensor.copies * tensor.value_bytes * site.matrices
    return ceil(total)


def spared_bytes(block: Block, recipe: Recipe, layers: int) -> int:
    """Bytes of a block's weights in 16 bits that are not held where the recipe keeps encoded ones alone."""
    if recipe.wide:
        return 0
    linears = [site for site in block.sites if isinstance(site, Linear)]
    encoded = [site for site in linears if recipe.of(site.weights, block.item, layers).weights.copies]
    return WEIGHT_BYTES * sum(site.matrices for site in encoded)


def peak(stage: int, stages: int, chunks: int, micro_batches: int, sizes: dict[int, int]) -> int:
    """The most bytes of activations at once on a stage. sizes: of a micro-batch, by chunk of the model.

    It is reached in the first rounds of as many micro-batches as stages: less than three fill the pipeline, the next
    one has each chunk in turn, and those behind it are as that one.
    """
    held = most = 0
    for turn in order(stage, stages, chunks, min(micro_batches, 6 * stages)):
        held += sizes[turn.chunk] if turn.forward else -sizes[turn.chunk]
        most = max(most, held)
    return most


def states(
    dense: int, experts: int, step: TrainStep, state_bytes: int, gradient_bytes: int = GRADIENT_BYTES
) -> tuple[int, int, int]:
    """(weights, gradients, optimiser) in bytes of one chip. state_bytes: of the optimiser, per weight."""
    d = step.degrees
    found = [0, 0, 0]
    for n, replicas, inner in zip((dense, experts), (d.replicas, d.expert_replicas), step.divided, strict=True):
        everything = inner if step.shard == 3 else 1
        found[0] += ceil(Fraction(WEIGHT_BYTES * n, everything))
        found[1] += ceil(Fraction(gradient_bytes * n, everything))
        found[2] += ceil(Fraction(state_bytes * n, replicas if step.shard else 1))
    return found[0], found[1], found[2]


def stage_memory(
    stage: int, chunks: list[list[Block]], step: TrainStep, recipe: Recipe, layers: int, state_bytes: int, capacity: int
) -> TrainMemory:
    """The memory of one stage. chunks: the blocks of all chunks of the model, in order."""
    d = step.degrees
    own = [block for number, blocks in enumerate(chunks) if number % d.pp == stage for block in blocks]
    sizes, working = {}, 0
    for number, blocks in enumerate(chunks):
        if number % d.pp == stage:
            sizes[number] = 0
            for block in blocks:
                whole = activation_bytes(block, recipe, layers, step.selective)
                if block.item >= 0 and step.recomputed(block.item, layers):
                    working = max(working, whole)
                    whole = 2 * step.tokens // d.tp * block.hidden
                sizes[number] += whole
    dense, experts = sum(b.dense for b in own), sum(b.experts for b in own)
    weights, gradients, optimiser = states(dense, experts, step, state_bytes, recipe.reduction_bytes)
    for bag in (bag for block in own for bag in block.bags):
        more = tables.memory(bag, step.micro_batches)
        weights, gradients, optimiser = weights + more[0], gradients + more[1], optimiser + more[2]
    activations = peak(stage, d.pp, d.vp, step.micro_batches, sizes) + working
    buffers = sum(encoded_bytes(block, recipe, layers) for block in own)
    spared = sum(spared_bytes(block, recipe, layers) for block in own)
    if step.shard == 3:
        buffers = ceil(Fraction(buffers, step.divided[0]))
        spared //= step.divided[0]
        buffers += 2 * WEIGHT_BYTES * max((b.dense + b.experts for b in own if b.item >= 0), default=0)
    return TrainMemory(weights - spared, gradients, optimiser, activations, buffers, capacity)
