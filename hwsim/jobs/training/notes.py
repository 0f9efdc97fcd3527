"""What a reader of a training step must know: what was approximated, chosen or left out, and what does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.jobs.training.memory import TrainMemory
from hwsim.jobs.training.work import MX_EXPERTS_WGRAD, MX_SLOWER
from hwsim.workload.language.model import Model

if TYPE_CHECKING:
    from hwsim.jobs.training.job import TrainJob

#: Chips of the usual node: more than these are hardly joined by one level of links.
NODE = 8


def notes_of(job: TrainJob, memory: TrainMemory) -> tuple[str, ...]:
    """The notes of a step. memory: of the chip that needs most."""
    notes: list[str] = []
    if job.split.note:
        notes.append(job.split.note)
    if job.step.selective and job.recipe.fused:
        notes.append(
            "selective recompute drops the scores of attention; fused attention keeps none, so nothing changes"
        )
    experts = any(block.experts for block in job.blocks.values())
    if experts and not job.options.host and job.machine.cores:
        notes.append(
            "the host is taken to keep ahead; software that reads each layer's token counts adds about 8 ms per layer "
            "with experts and micro-batch (--host-wait 8)"
        )
    if any(block.bags for block in job.blocks.values()):
        notes.append("tables are FP32, updated by row-wise Adagrad; the exchange of indices is hidden")
    if isinstance(job.model, Model) and job.model.mtp and not job.step.mtp:
        notes.append("the multi-token-prediction block is not trained; write --mtp")
    notes += job.prices.notes
    asked, (pair, _) = tuple(form.name for form in job.asked), job.peak()
    if pair != asked:
        notes.append(
            f"MFU is of the peak of {' x '.join(pair)}: {job.arch.name} has no rate for {' x '.join(asked)} "
            "and multiplies that instead"
        )
    every = [w for made in job.work.values() for w in (*made.forward, *made.backward)]
    if any(w.op.gemms and w.slower != 1 for w in every):
        notes.append(
            f"GEMMs in MX take {float(MX_SLOWER):g} times as long as those of the kernels that stand in for them, "
            f"wgrad of experts {float(MX_EXPERTS_WGRAD):g} times (torchao's kernels)"
        )
    link, chips = job.machine.link, job.step.degrees.chips
    if link and not link.span and chips > NODE:
        notes.append(
            f"{job.arch.name} has one level of links, which joins all {chips} chips here; "
            "for nodes and racks, give `link` a list of levels (docs/machines.md)"
        )
    notes += job.arch.warnings
    if not memory.fits:
        more = "recompute more, divide more, or shard more"
        notes.append(
            f"does not fit: needs {memory.total / 1e9:.1f} GB, one chip has {memory.capacity / 1e9:.1f} GB; {more}"
        )
    return tuple(dict.fromkeys(notes))
