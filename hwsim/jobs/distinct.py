"""The different ops of a step: layers repeat, so a few dozen ops stand for hundreds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter

from hwsim.mapping.operands import Formats
from hwsim.workload.op import Op, StepOptions, Workload

#: All of an op that decides its time and its bytes: everything but name and layer, which only say where it is.
_shape = attrgetter(*(field.name for field in fields(Op) if field.name not in ("name", "layer")))


@dataclass(frozen=True, slots=True)
class Distinct:
    """ops: each different op once, the first of its kind. order: their numbers, in program order of the step."""

    ops: tuple[Op, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, ops: Sequence[Op], formats: Formats) -> Distinct:
        """Ops are equal if only names and layers differ, and not the formats of their weights."""
        keys = list(map(_shape, ops))
        if formats.by_layer:
            stored = [formats.of_class(op.weights, op.layer) if op.weights else None for op in ops]
            keys = list(zip(keys, stored, strict=True))
        numbers: dict[tuple, int] = {}
        first: list[Op] = []
        order = []
        for key, op in zip(keys, ops, strict=True):
            number = numbers.setdefault(key, len(first))
            if number == len(first):
                first.append(op)
            order.append(number)
        return cls(tuple(first), tuple(order))

    @property
    def counts(self) -> list[int]:
        """How often each of them comes."""
        counts = [0] * len(self.ops)
        for number in self.order:
            counts[number] += 1
        return counts


@lru_cache(maxsize=16)  # the points of a study ask for the same step again and again
def lowered(workload: Workload, step: StepOptions, formats: Formats) -> tuple[tuple[Op, ...], Distinct]:
    """The ops of one step, and those that differ.

    raises: InputError for a step that the workload cannot take, and for formats of classes and layers that it lacks.
    """
    ops = workload.ops(step)
    formats.check(workload, step, ops)
    return ops, Distinct.of(ops, formats)


@lru_cache(maxsize=64)
def runs(order: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The numbers of an order as blocks, and how often each stands there in a row: the layers of a model, for example.

    From the left, the block whose repetitions are longest; where nothing repeats, one number.
    """
    found, at = [], 0
    while at < len(order):
        length, times = 1, 1
        for each in range(1, (len(order) - at) // 2 + 1):
            count = 1
            while order[at : at + each] == order[at + count * each : at + (count + 1) * each]:
                count += 1
            if count > 1 and count * each > length * times:
                length, times = each, count
        found.append((order[at : at + length], times))
        at += length * times
    return tuple(found)
