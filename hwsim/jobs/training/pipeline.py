"""A training step over time: passes of layers on the stages of a pipeline, and what their links carry meanwhile.

Each stage is two servers that serve in order: its compute, and its links to the other replicas. The first micro-batch
waits for each layer's weights (gathered after the optimiser of the step before), the last backward pass hands each
layer's gradients on as soon as it has them; with shard 3 every pass gathers weights, one layer ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.sim.schedule import Turn, order
from hwsim.sim.tasks import Task, Timeline, timeline


@dataclass(frozen=True, slots=True)
class ItemTimes:
    """Seconds of one layer (or the embedding, or the head) on one chip, per micro-batch.

    forward, backward: with recompute. forward_link, backward_link: of collectives that nothing hides.
    gather:   of its weights from the other replicas. scatter: of its gradients to them.
    """

    forward: float
    backward: float
    forward_link: float = 0.0
    backward_link: float = 0.0
    gather: float = 0.0
    scatter: float = 0.0

    @property
    def free(self) -> ItemTimes:
        """The same with links that cost nothing."""
        return ItemTimes(self.forward, self.backward)


@dataclass(frozen=True, slots=True)
class Plan:
    """Passes of the chunks of a model over micro-batches, on the stages of a pipeline.

    chunks: items of each chunk, chunk i on stage i mod stages. sent: seconds of a hand-over between stages.

    once: seconds of each stage per step, behind all its gradients. every: whether each pass gathers weights (shard 3).
    """

    stages: int
    chunks: tuple[tuple[ItemTimes, ...], ...]
    micro_batches: int
    once: tuple[float, ...]
    sent: float = 0.0
    every: bool = False

    @property
    def free(self) -> Plan:
        """The same with links that cost nothing."""
        return replace(self, chunks=tuple(tuple(i.free for i in chunk) for chunk in self.chunks), sent=0.0)

    def run(self) -> Timeline:
        """The step over time; server 2 s is the compute of stage s, server 2 s + 1 its links."""
        return Build(self).run()


class Build:
    """The task list of a step: every pass of every stage, then what the links carry, then the optimiser."""

    def __init__(self, plan: Plan):
        self.plan = plan
        each = len(plan.chunks) // plan.stages
        self.turns = [order(stage, plan.stages, each, plan.micro_batches) for stage in range(plan.stages)]
        self.pieces = [[(turn, piece) for turn in turns for piece in self._pieces(turn)] for turns in self.turns]
        self.tasks: list[Task] = []
        self.turn_of: list[tuple[int, int]] = []  # of each task: its stage and the place of its pass there; -1: of none
        self.orders: list[list[int]] = [[] for _ in range(2 * plan.stages)]

    def run(self) -> Timeline:
        """Lay the tasks out, and serve them."""
        starts = self._compute()
        for stage, start in enumerate(starts):
            self._links(stage, start)
        return timeline(self.tasks, self.orders)

    def _pieces(self, turn: Turn) -> list[ItemTimes]:
        """The items of a pass one by one where the links need to know, else as one."""
        items = self.plan.chunks[turn.chunk]
        items = items if turn.forward else items[::-1]
        if any(self._carries(turn, item) for item in items):
            return list(items)
        names = ("forward", "backward", "forward_link", "backward_link")
        return [ItemTimes(*(sum(getattr(item, name) for item in items) for name in names))]

    def _gathers(self, turn: Turn, item: ItemTimes) -> bool:
        """Whether the pass over this item waits for weights of other replicas."""
        return bool(item.gather) and (self.plan.every or (turn.forward and turn.micro == 0))

    def _scatters(self, turn: Turn, item: ItemTimes) -> bool:
        """Whether the pass over this item hands gradients on."""
        last = turn.micro == self.plan.micro_batches - 1
        return bool(item.scatter) and not turn.forward and (self.plan.every or last)

    def _carries(self, turn: Turn, item: ItemTimes) -> bool:
        return self._gathers(turn, item) or self._scatters(turn, item)

    def _compute(self) -> list[int]:
        """The passes of every stage, each behind the stage that it waits for; numbers of the first of each stage."""
        ends: dict[Turn, int] = {}
        starts, number = [], 0
        for pieces in self.pieces:
            starts.append(number)
            for turn, _ in pieces:
                ends[turn] = number  # of the last piece
                number += 1
        for stage, pieces in enumerate(self.pieces):
            seen: Turn | None = None
            place = -1
            for turn, piece in pieces:
                before = self._before(turn) if turn != seen else None
                place += turn != seen
                seen = turn
                length = piece.forward + piece.forward_link if turn.forward else piece.backward + piece.backward_link
                lag = self.plan.sent if before and self.plan.stages > 1 else 0.0
                self.orders[2 * stage].append(len(self.tasks))
                self.turn_of.append((stage, place))
                self.tasks.append(Task(2 * stage, length, (ends[before],) if before else (), lag))
        return starts

    def _before(self, turn: Turn) -> Turn | None:
        """The pass of the next chunk that this one waits for; its own forward pass is earlier on its stage."""
        if turn.forward:
            return turn._replace(chunk=turn.chunk - 1) if turn.chunk else None
        return turn._replace(chunk=turn.chunk + 1) if turn.chunk + 1 < len(self.plan.chunks) else None

    def _links(self, stage: int, start: int) -> None:
        """What the links of a stage carry, in the order of its passes; then its optimiser, behind all gradients."""
        links = 2 * stage + 1
        held: Task | None = None
        last: tuple[int, ...] = ()
        for number, (turn, piece) in enumerate(self.pieces[stage], start):
            if self._gathers(turn, piece):
                # with shard 3 one layer ahead: when the layer before the last has freed its place
                free = (number - 2,) if self.plan.every and number - 2 >= start else ()
                waits = self.tasks[number]
                self.tasks[number] = waits._replace(after=(*waits.after, len(self.tasks)))
                self._carry(Task(links, piece.gather, free), number)
            if held:  # gradients go behind the weights that the next pass waits for
                last = self._carry(held, number - 1)
            held = Task(links, piece.scatter, (number,)) if self._scatters(turn, piece) else None
        if held:
            last = self._carry(held, held.after[0])
        self.orders[2 * stage].append(len(self.tasks))
        self.turn_of.append((stage, -1))
        self.tasks.append(Task(2 * stage, self.plan.once[stage], last))

    def _carry(self, task: Task, beside: int) -> tuple[int, ...]:
        """On the links, for the compute task `beside`."""
        self.orders[task.server].append(len(self.tasks))
        self.turn_of.append(self.turn_of[beside])
        self.tasks.append(task)
        return (len(self.tasks) - 1,)
