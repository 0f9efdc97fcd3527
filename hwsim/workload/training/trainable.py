"""What training asks of a workload: its layers, its blocks on one chip, its model FLOP; language models and graphs."""

from __future__ import annotations

from hwsim.workload.graph.graph import Graph
from hwsim.workload.language.model import Model
from hwsim.workload.op import Workload
from hwsim.workload.training.block import Block
from hwsim.workload.training.graphs import check_graph, graph_blocks, graph_flops, layer_count
from hwsim.workload.training.lowering import blocks, check_model, flops_per_token
from hwsim.workload.training.options import TrainStep

Trainable = Model | Graph


def trainable(workload: Workload) -> list[str]:
    """Why a workload cannot be trained, whatever the step."""
    if isinstance(workload, Trainable):
        return []
    return [f"{workload.name}: only language models and graphs can be trained; name one (`hwsim model` lists them)"]


def layers_of(workload: Trainable) -> int:
    """Number of layers."""
    return len(workload.layers) if isinstance(workload, Model) else layer_count(workload)


def check_step(workload: Trainable, step: TrainStep) -> None:
    """raises: InputError with every reason why the chips cannot train the workload so."""
    if isinstance(workload, Model):
        check_model(workload, step)
    else:
        check_graph(workload, step)


def blocks_of(workload: Trainable, step: TrainStep) -> dict[int, Block]:
    """What each item is on one chip. raises: InputError."""
    return blocks(workload, step) if isinstance(workload, Model) else graph_blocks(workload, step)


def flops_of(workload: Trainable, step: TrainStep) -> int:
    """Model FLOP per token, or per sample of a graph."""
    if isinstance(workload, Model):
        return flops_per_token(workload, step.context, step.mtp)
    return graph_flops(workload)
