"""Graph files to `Graph`: shapes are inferred op by op, and all errors are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hwsim.errors import InputError, nearest
from hwsim.files.fields import validate
from hwsim.files.yaml import Document, Loc, raise_problems, short
from hwsim.workload.graph.graph import Graph
from hwsim.workload.graph.node import Node, OpFile
from hwsim.workload.graph.recurrent import Recurrent
from hwsim.workload.graph.schema import (
    ENTERS,
    SIZED,
    AnyInput,
    AnyOp,
    GraphFile,
    IndexFile,
    RepeatFile,
    Shape,
    named,
)
from hwsim.workload.graph.tensor import MOST_ELEMENTS, Given, Misfit, Tensor

#: No graph has more nodes than this.
MOST_NODES = 20_000


def graph(document: Document) -> Graph:
    """The graph that a document describes. raises: InputError with every error found."""
    try:
        file = validate(_sized(document), GraphFile)
    except InputError as error:
        raise_problems(list(dict.fromkeys([*error.problems, *_without_tensor(document), *_misfits(_sized(document))])))
    building = _Building(document)
    inputs = [Given(name, _input(each)) for name, each in file.inputs.items()]
    parameters = [Given(name, Tensor(tuple(shape), batched=False)) for name, shape in file.parameters.items()]
    known: dict[str, Given | None] = {}
    for kind, several in (("inputs", inputs), ("parameters", parameters)):
        for each in several:
            building.checked(each.name, (kind, each.name), known, key=True)
            building.small(each.tensor, (kind, each.name))
            known[each.name] = each
    building.body(file.ops, ("ops",), known, "")
    taken = {g.name for node in building.nodes for g in node.given}
    outputs = []
    for i, name in enumerate(file.outputs or []):
        found = building.found(name, ("outputs", i), known)
        outputs += [found.name] if found else []
    if not building.problems and not any(not node.FREE for node in building.nodes):
        building.say(("ops",), "move and compute nothing; add an op that does")
    if building.problems:
        raise_problems(building.problems)
    return Graph(
        name=file.name,
        description=file.description,
        inputs=tuple(inputs),
        parameters=tuple(parameters),
        nodes=tuple(building.nodes),
        outputs=tuple(outputs or (node.name for node in building.nodes if node.name not in taken)),
        published_parameters=file.published.parameters,
        published_macs=file.published.macs,
        file=document.data,
        notes=tuple(_waiting(building.nodes)),
    )


def _waiting(nodes: Iterable[Node]) -> list[str]:
    """A note on the steps of recurrent ops; a single step waits for none."""
    longest = max((node for node in nodes if isinstance(node, Recurrent)), key=lambda node: node.steps, default=None)
    if longest is None or longest.steps == 1:
        return []
    return [
        f"{longest.kind} {longest.name}: its {longest.steps:,} steps are computed together; that each waits for the "
        "one before is not modelled, so recurrent ops take longer than shown on machines that one step does not fill"
    ]


def _without_tensor(document: Document) -> list[str]:
    """Errors of tensors that are made nowhere, in a file that is not a graph's for another reason."""
    data, found = document.data, []

    def walk(ops: Any, loc: Loc, outer: set[str]) -> None:
        listed = [(i, op) for i, op in enumerate(ops) if isinstance(op, dict)] if isinstance(ops, list) else []
        known = outer | {op["name"] for _, op in listed if isinstance(op.get("name"), str)}
        for i, op in listed:
            for j, name in enumerate(op["in"] if isinstance(op.get("in"), list) else []):
                if isinstance(name, str) and name not in known:
                    found.append(document.problem((*loc, i, "in", j), _no_tensor(name, sorted(known))))
            walk(op.get("ops"), (*loc, i, "ops"), known | {ENTERS})

    named = [data.get(part) for part in ("inputs", "parameters")]
    if data.get("inputs"):
        walk(data.get("ops"), ("ops",), {name for part in named if isinstance(part, dict) for name in part})
    return found


def _misfits(document: Document) -> list[str]:
    """Errors of shapes in a file that is not a graph's for another reason: of whole ops on tensors that are known."""
    building = _Building(document)
    known: dict[str, Given | None] = {}
    for part, kind in (("inputs", AnyInput), ("parameters", Shape)):
        listed = document.data.get(part)
        for name, value in listed.items() if isinstance(listed, dict) else ():
            entry: Any = _whole(kind, value)
            if entry is not None:
                known[name] = Given(name, replace(_input(entry), batched=part == "inputs"))
    ops = document.data.get("ops")
    for i, value in enumerate(ops if isinstance(ops, list) else ()):
        op = _whole(AnyOp, value)
        if op is not None:
            given = [known.get(name) for name in op.in_]
            known[op.name] = building.made(op, ("ops", i), given, known, "")
    return [line for line in building.problems if "` is no tensor" not in line]  # those are said already


def _whole(kind: Any, value: Any) -> Any:
    """A part of a file as what it describes, or None if it is wrong."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None


def _no_tensor(name: str, known: Iterable[str]) -> str:
    return f"`{short(name)}` is no tensor{nearest(name[:60], known)}"


def _input(given: list[int] | IndexFile) -> Tensor:
    return Tensor(tuple(given.shape), given.rows) if isinstance(given, IndexFile) else Tensor(tuple(given))


def _sized(document: Document) -> Document:
    """The document with the names of sizes replaced by their numbers wherever a number may be written."""
    sizes = document.data.get("sizes")
    if not isinstance(sizes, dict):
        return document
    numbers = {name: n for name, n in sizes.items() if isinstance(n, int)}

    def walk(value: Any, key: str, whole: bool) -> Any:
        if isinstance(value, dict):
            return {name: walk(each, name, whole) for name, each in value.items()}
        if whole or key in SIZED:
            return named(value, numbers)
        return [walk(each, "", False) for each in value] if isinstance(value, list) else value

    parts = {
        key: walk(value, key, key in ("inputs", "parameters"))
        for key, value in document.data.items()
        if key in ("inputs", "parameters", "ops")
    }
    return replace(document, data=document.data | parts)


class _Building:
    """Nodes in the making, and what is wrong with them."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes: list[Node] = []
        self.problems: list[str] = []

    def say(self, loc: Loc, message: str, key: bool = False) -> None:
        """Add a problem at a place, once."""
        line = self.document.problem(loc, message, key)
        if line not in self.problems:
            self.problems.append(line)

    def checked(self, name: str, loc: Loc, known: dict[str, Given | None], key: bool = False) -> None:
        """A name must be new."""
        if name in known or name == ENTERS:
            why = "is what enters a repeated body" if name == ENTERS else "is the name of another tensor"
            self.say(loc, f"`{short(name)}` {why}; write another name", key)

    def small(self, tensor: Tensor, loc: Loc) -> None:
        """A tensor must have no more elements than the limit."""
        if tensor.size > MOST_ELEMENTS:
            self.say(loc, f"has {tensor.size:,} elements; write at most {MOST_ELEMENTS:,}")

    def found(self, name: str, loc: Loc, known: dict[str, Given | None]) -> Given | None:
        """The tensor of a name; None where there is none (said) or where an earlier op has failed."""
        if name not in known:
            self.say(loc, _no_tensor(name, known))
            return None
        return known[name]

    def body(
        self, ops: Sequence[OpFile | RepeatFile], loc: Loc, known: dict[str, Given | None], prefix: str
    ) -> Given | None:
        """The nodes of some ops, added in order; the result of the last. `known` gets their results."""
        numbers = {op.name: i for i, op in enumerate(ops)}
        last: Given | None = None
        for i, op in enumerate(ops):
            here = (*loc, i)
            self.checked(op.name, (*here, "name"), known)
            given = [self._taken(name, (*here, "in", j), known, ops, numbers, i) for j, name in enumerate(op.in_)]
            last = self.made(op, here, given, known, prefix)
            known[op.name] = last
            if len(self.nodes) > MOST_NODES:
                self.say(loc, f"make more than {MOST_NODES:,} nodes; write fewer")
                return None
        return last

    def _taken(
        self,
        name: str,
        loc: Loc,
        known: dict[str, Given | None],
        ops: Sequence[OpFile | RepeatFile],
        numbers: dict[str, int],
        at: int,
    ) -> Given | None:
        if name in known or numbers.get(name, -1) < at:
            return self.found(name, loc, known)
        cycle = _path(ops, numbers, name, ops[at].name)
        if cycle:
            self.say(
                loc, f"a cycle: {' -> '.join([*cycle, cycle[0]])}; no op may take what is made from its own result"
            )
        else:
            self.say(loc, f"`{short(name)}` is made by a later op; list the ops in the order in which they run")
        return None

    def made(
        self, op: OpFile | RepeatFile, loc: Loc, given: list[Given | None], known: dict[str, Given | None], prefix: str
    ) -> Given | None:
        """The result of one op; None where it has failed, or one that it takes has."""
        try:
            op.check_count(given)
            ready = tuple(each for each in given if each is not None)
            if len(ready) < len(given):
                return None
            if isinstance(op, RepeatFile):
                return self._repeated(op, loc, ready[0], known, prefix)
            nodes = op.nodes(prefix + op.name, ready)
        except Misfit as error:
            self.say((*loc, error.key) if error.key else loc, error.message)
            return None
        for node in nodes:
            self.small(node.made, loc)
        self.nodes += nodes
        return Given(nodes[-1].name, nodes[-1].made)

    def _repeated(
        self, op: RepeatFile, loc: Loc, given: Given, known: dict[str, Given | None], prefix: str
    ) -> Given | None:
        last: Given | None = given
        for i in range(op.times):
            inside = known | {ENTERS: last}
            last = self.body(op.ops, (*loc, "ops"), inside, f"{prefix}{op.name}.{i}.")
            if last is None:
                break
        return last


def _path(ops: Sequence[OpFile | RepeatFile], numbers: dict[str, int], start: str, goal: str) -> list[str]:
    """Names from `goal` to `start`, each taken by the next; empty if `start` is not made from `goal`."""
    seen, paths = {start}, [[start]]
    while paths:
        path = paths.pop()
        if path[-1] == goal:
            return path[::-1]
        for name in ops[numbers[path[-1]]].in_:
            if name in numbers and name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return []
