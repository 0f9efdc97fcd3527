"""TrainJob: one optimiser step of a language model or a graph, priced kernel by kernel and simulated over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hwsim import __version__
from hwsim.arch import Arch, TileMachine, arch_config
from hwsim.errors import InputError, ModelError
from hwsim.formats.layout import Layout
from hwsim.jobs.training import tables
from hwsim.jobs.training.links import WIDE_BYTES, Fabric, exposed, group
from hwsim.jobs.training.memory import TrainMemory, stage_memory
from hwsim.jobs.training.notes import notes_of
from hwsim.jobs.training.options import OPTIMISERS, TrainOptions
from hwsim.jobs.training.pipeline import ItemTimes, Plan
from hwsim.jobs.training.price import Prices, added, busiest, prices, training_machine
from hwsim.jobs.training.recipe import Recipe
from hwsim.jobs.training.refusals import lacking, what_to_add
from hwsim.jobs.training.repeats import step_end
from hwsim.jobs.training.result import TrainResult
from hwsim.jobs.training.work import BACKWARD, FORWARD, RECOMPUTE, Work, Works, optimiser, works
from hwsim.mapping.paths import path_of
from hwsim.result import Result
from hwsim.workload.language.model import Model
from hwsim.workload.op import Workload
from hwsim.workload.training.block import Block, Collective
from hwsim.workload.training.options import TrainStep
from hwsim.workload.training.sites import Linear
from hwsim.workload.training.split import Split, split
from hwsim.workload.training.trainable import Trainable, blocks_of, flops_of, layers_of

#: The row of the table of times in which a chip waits for the host.
HOST = "waiting for host"


@dataclass(frozen=True)
class TrainJob:
    """One optimiser step, not yet simulated."""

    arch: TileMachine
    model: Trainable
    step: TrainStep
    options: TrainOptions

    @classmethod
    def of(cls, arch: Arch, workload: Workload, options: TrainOptions) -> TrainJob:
        """The step of a workload on a machine. raises: InputError."""
        bad = [*lacking(arch, options.degrees.chips), *options.refused(workload)]
        if bad or not isinstance(arch, TileMachine) or not isinstance(workload, Trainable):
            raise InputError(*bad)
        return cls(arch, workload, options.step(workload), options)

    @property
    def recipe(self) -> Recipe:
        """Formats of the linears."""
        return self.options.recipe

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return layers_of(self.model)

    @cached_property
    def blocks(self) -> dict[int, Block]:
        """Every item of the model on one chip."""
        return blocks_of(self.model, self.step)

    @cached_property
    def machine(self) -> TileMachine:
        """The machine as training uses it."""
        return training_machine(self.arch)

    @cached_property
    def chunks(self) -> list[list[Block]]:
        """Blocks of each chunk of the pipeline, in order of the model."""
        return [[replace(self.blocks[i], item=i) for i in items] for items in self.split.chunks]

    @cached_property
    def split(self) -> Split:
        """Items of each chunk, and a note."""
        return split(self.layers, self.step.degrees.pp * self.step.degrees.vp)

    @cached_property
    def work(self) -> dict[int, Works]:
        """The work of every item; layers with equal formats are one object."""
        known: dict[Any, Works] = {}
        found = {}
        for item, block in self.blocks.items():
            formats = tuple(
                self.recipe.of(site.weights, item, self.layers) for site in block.sites if isinstance(site, Linear)
            )
            key = id(block), formats
            if key not in known:
                m = self.step.micro_batches
                made = works(block.sites, self.recipe, item, self.layers, self.machine, m, self.options.small)
                rows = [work for bag in block.bags for work in tables.gradient(bag)]
                once = [work for bag in block.bags for work in tables.update(bag, m)]
                known[key] = Works(made.forward, (*made.backward, *rows), (*made.once, *once))
            found[item] = known[key]
        return found

    @cached_property
    def once(self) -> list[tuple[Work, ...]]:
        """The work of each stage per step: the optimiser, the encoding of its weights, and rows of tables."""
        d, (moment, _) = self.step.degrees, OPTIMISERS[self.options.optimizer]
        found = []
        for stage in range(d.pp):
            own = [b for number, chunk in enumerate(self.chunks) if number % d.pp == stage for b in chunk]
            dense, experts = sum(b.dense for b in own), sum(b.experts for b in own)
            divided = (d.replicas, d.expert_replicas) if self.step.shard else (1, 1)
            held = -(-dense // divided[0]) + -(-experts // divided[1])
            others = [work for b in own for work in self.work[b.item].once]
            found.append((optimiser(held, moment, self.recipe.reduction_bytes), *others))
        return found

    @cached_property
    def prices(self) -> Prices:
        """Every different kernel simulated once."""
        every = [w for made in self.work.values() for w in (*made.forward, *made.backward)]
        try:
            return prices(self.machine, [*every, *(w for stage in self.once for w in stage)])
        except InputError as error:
            raise InputError(*map(what_to_add, error.problems)) from None

    # -- one item ----------------------------------------------------------------------------------

    def _repeated(self, block: Block) -> tuple[Work, ...]:
        """The forward work that the backward pass repeats."""
        again = self.step.recomputed(block.item, self.layers) if block.item >= 0 else False
        made = self.work[block.item].forward
        if again:
            return tuple(w._replace(when=RECOMPUTE) for w in made)
        if self.step.selective and not self.recipe.fused:
            return tuple(w._replace(when=RECOMPUTE) for w in made if w.part == "attention")
        return ()

    def kernels(self, block: Block) -> tuple[Work, ...]:
        """All work of a block per micro-batch."""
        made = self.work[block.item]
        return (*made.forward, *self._repeated(block), *made.backward)

    def _hidden_by(self, collective: Collective, block: Block) -> float:
        """Seconds of what a collective runs beside."""
        if not collective.beside:
            return 0.0
        made = self.work[block.item]
        if collective.beside == "attention":
            some = made.forward if collective.forward else made.backward
            return sum(self.prices.seconds(w) for w in some if w.part == "attention")
        name = collective.beside if collective.forward else f"{collective.beside}_dgrad"
        some = made.forward if collective.forward else made.backward
        return sum(self.prices.seconds(w) for w in some if w.op.name == name)

    def _exposed(self, block: Block, forward: bool) -> float:
        """Seconds of the collectives of a pass that nothing hides."""
        fabric, total, behind = self.fabric, 0.0, 0.0
        if fabric is None:
            return total
        for one in block.collectives:
            chips, stride = group(one, self.step.degrees)
            if one.forward == forward and chips > 1:
                seconds = fabric.collective(one, chips, stride)
                if one.hidden:
                    behind += seconds
                else:
                    total += exposed(seconds, self._hidden_by(one, block), chips)
        return total + self._behind(block, forward, behind)

    def _behind(self, block: Block, forward: bool, seconds: float) -> float:
        """What is not hidden of exchanges that run beside the same layer of another micro-batch, in the other pass.

        The first forward pass and the last backward pass have none beside them.
        """
        made = self.work[block.item]
        beside = (*self._repeated(block), *made.backward) if forward else made.forward
        longer = max(0.0, seconds - sum(self.prices.seconds(w) for w in beside))
        return longer + (seconds - longer) / self.step.micro_batches

    @cached_property
    def fabric(self) -> Fabric | None:
        """The links between the chips."""
        return Fabric.of(self.arch)

    def _replicas(self, block: Block, kind: str, nbytes: int) -> float:
        """Seconds of a collective over the replicas that divide a block's weights. nbytes: per weight."""
        d, (inner, experts) = self.step.degrees, self.step.divided
        if self.fabric is None:
            return 0.0
        dense = self.fabric.seconds(kind, nbytes * block.dense, inner, d.tp)
        return dense + self.fabric.seconds(kind, nbytes * block.experts, experts, d.ep)

    def _groups(self, block: Block) -> float:
        """Seconds between groups that each divide the weights whole, once per step: gradients there, weights back."""
        d, total = self.step.degrees, 0.0
        if self.fabric is None or not self.step.within:
            return total
        held = ((block.dense, d.replicas, d.tp), (block.experts, d.expert_replicas, d.ep))
        for (n, replicas, stride), inner in zip(held, self.step.divided, strict=True):
            part, groups = -(-n // inner), replicas // inner
            for kind, nbytes in (("reduce_scatter", self.recipe.reduction_bytes), ("all_gather", WIDE_BYTES)):
                total += self.fabric.seconds(kind, nbytes * part, groups, stride * inner)
        return total

    def _waits(self, block: Block) -> dict[str, float]:
        """Seconds in which a chip waits for the host per micro-batch, by pass: a third forward, as with its kernels."""
        layers = sum(isinstance(site, Linear) and site.name == "experts_down" for site in block.sites)
        third = float(self.options.host * layers / 3)
        again = block.item >= 0 and self.step.recomputed(block.item, self.layers)
        return {FORWARD: third, BACKWARD: 2 * third, RECOMPUTE: third if again else 0.0}

    def times(self, block: Block) -> ItemTimes:
        """Seconds of one block per micro-batch, and of its weights and gradients between the replicas."""
        made = self.work[block.item]
        forward = sum(self.prices.seconds(w) for w in made.forward)
        backward = sum(self.prices.seconds(w) for w in (*self._repeated(block), *made.backward))
        waits = self._waits(block)
        forward, backward = forward + waits[FORWARD], backward + waits[BACKWARD] + waits[RECOMPUTE]
        shard, reduction = self.step.shard, self.recipe.reduction_bytes
        link, back = self._exposed(block, True), self._exposed(block, False)
        if block.item >= 0 and self.step.recomputed(block.item, self.layers):
            back += link
        return ItemTimes(
            forward,
            backward,
            link,
            back,
            self._replicas(block, "all_gather", WIDE_BYTES) if shard else 0.0,
            self._replicas(block, "reduce_scatter" if shard else "all_reduce", reduction)
            + self._groups(block) / self.step.micro_batches,
        )

    @cached_property
    def plan(self) -> Plan:
        """The step as passes of stages."""
        d = self.step.degrees
        known: dict[Any, ItemTimes] = {}
        chunks = []
        for blocks_ in self.chunks:
            items = []
            for block in blocks_:
                again = block.item >= 0 and self.step.recomputed(block.item, self.layers)
                key = id(self.blocks[block.item]), id(self.work[block.item]), again
                if key not in known:
                    known[key] = self.times(block)
                items.append(known[key])
            chunks.append(tuple(items))
        once = tuple(sum(self.prices.seconds(w) for w in stage) for stage in self.once)
        sent = 0.0
        if self.fabric and isinstance(self.model, Model) and d.pp > 1:
            nbytes = self.step.tokens * self.model.hidden * WIDE_BYTES // d.tp
            sent = self.fabric.sent(nbytes, d.tp * d.cp * d.dp)
        return Plan(d.pp, tuple(chunks), self.step.micro_batches, once, sent, self.step.shard == 3)

    def memory(self) -> TrainMemory:
        """The memory of the stage that needs most."""
        state = OPTIMISERS[self.options.optimizer][1]
        capacity = self.arch.dram.capacity_bytes
        stages = (
            stage_memory(stage, self.chunks, self.step, self.recipe, self.layers, state, capacity)
            for stage in range(self.step.degrees.pp)
        )
        return max(stages, key=lambda each: each.total)

    # -- the whole step ----------------------------------------------------------------------------

    def _spent(self) -> tuple[dict[tuple[str, str], float], dict[str, float], list[dict[str, float]]]:
        """Seconds by (part, when) over all stages, by mark, and of each server by stage."""
        rows: dict[tuple[str, str], float] = {}
        marks: dict[str, float] = {}
        stages: list[dict[str, float]] = [{} for _ in range(self.step.degrees.pp)]
        for stage, servers in enumerate(stages):
            for work, times in self.counted(stage):
                seconds = times * self.prices.seconds(work)
                key = work.part, work.when
                rows[key] = rows.get(key, 0.0) + seconds
                mark = self.prices.mark(work)
                marks[mark] = marks.get(mark, 0.0) + seconds
                added(servers, self.prices.servers(work), times)
        for chunk in self.chunks if self.options.host else ():
            for block in chunk:
                for when, seconds in self._waits(block).items():
                    if seconds:
                        rows[HOST, when] = rows.get((HOST, when), 0.0) + self.step.micro_batches * seconds
        return rows, marks, stages

    def counted(self, stage: int) -> Iterator[tuple[Work, int]]:
        """Every kernel of a stage, and how often a step runs it."""
        m = self.step.micro_batches
        for number, chunk in enumerate(self.chunks):
            if number % self.step.degrees.pp == stage:
                for block in chunk:
                    yield from ((work, m) for work in self.kernels(block))
        yield from ((work, 1) for work in self.once[stage])

    def result(self) -> Result:
        """The step as studies and reports read it. raises: ModelError as `trained`."""
        from hwsim.jobs.training.account import as_result

        return as_result(self)

    def _link_bound(self, stage: int) -> float:
        """Seconds of the bytes of a stage's collectives at the peak of the links."""
        d, fabric, total = self.step.degrees, self.fabric, 0.0
        if fabric is None:
            return total
        for number, chunk in enumerate(self.chunks):
            if number % d.pp == stage:
                for block in chunk:
                    for one in block.collectives:
                        total += self.step.micro_batches * fabric.least(one, *group(one, d))
        return total

    def trained(self) -> TrainResult:
        """Simulate and account. raises: ModelError for a time below the bound; InputError: see `step_end`."""
        step, d, plan = self.step, self.step.degrees, self.plan
        seconds, free = step_end(plan), step_end(plan.free)
        rows, marks, stages = self._spent()
        for stage, servers in enumerate(stages):
            servers["link"] = self._link_bound(stage)
        name, bound = max((busiest(servers) for servers in stages), key=lambda found: found[1])
        if seconds < bound * (1 - 1e-9):
            raise ModelError(f"{self.name}: {seconds} s beat the bound of {bound} s")
        tokens = step.batch * step.context
        flops = flops_of(self.model, step)
        pair, peak = self.peak()
        working = sum(rows.values()) / d.pp
        memory = self.memory()
        spent = {key: each / d.pp for key, each in rows.items()}
        whole = sum(marks.values())
        return TrainResult(
            name=self.name,
            machine=self.arch.name,
            chips=d.chips,
            seconds=seconds,
            tokens_per_second_per_chip=tokens / seconds / d.chips,
            bound_seconds=bound,
            limited_by=name,
            flops_per_token=flops,
            mfu=flops * tokens / seconds / d.chips / peak,
            mfu_pair=" x ".join(pair),
            peak_flops=peak,
            micro_batches=step.micro_batches,
            spent=tuple((part, when, each) for (part, when), each in spent.items()),
            exposed_seconds=seconds - free,
            idle_seconds=free - working,
            memory=memory,
            provenance={mark: each / whole for mark, each in marks.items()},
            notes=notes_of(self, memory),
            config=self.config,
            version=__version__,
        )

    @property
    def asked(self) -> tuple[Layout, Layout]:
        """The formats of weights and activations in the forward pass, as the recipe has them."""
        every = self.recipe.every
        return every.weights.form, every.activations.form

    def peak(self) -> tuple[tuple[str, str], float]:
        """The pair that the dot array multiplies for them, and its dense peak in FLOP/s."""
        pair = path_of(self.machine, *self.asked).pair
        rate = self.machine.dot.rate(*pair) if pair else None
        assert pair and rate, "the price of a GEMM refuses a pair without a rate"
        return pair, 2 * float(rate) * float(self.arch.clock_hz)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to repeat the step, as plain data."""
        found = {"model": self.model.config(), **self.options.config(), "machine": arch_config(self.arch)}
        if isinstance(self.model, Model):
            return found
        return {**{k: v for k, v in found.items() if k != "context"}, "unit": self.model.unit}

    @property
    def name(self) -> str:
        """What results print."""
        s = self.step
        size = f"{s.batch:,} x {s.context:,}" if isinstance(self.model, Model) else f"{s.batch:,}"
        chips = f"{s.degrees.chips:,} chips ({s.degrees})" if s.degrees.chips > 1 else "one chip"
        return f"train {self.model.name}, batch {size}, micro-batch {s.micro_batch}, recipe {self.recipe.name}, {chips}"
