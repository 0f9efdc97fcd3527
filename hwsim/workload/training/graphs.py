"""Graph -> what one chip computes of a training step: a block per layer, the tables' rows apart.

Each op of the file is a kernel of its own here, forward and backward, as in software that computes op by op; nothing is
joined. A layer begins with each op that has weights of its own (`Graph.layers`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from hwsim.errors import InputError, collect
from hwsim.workload import vector as passes
from hwsim.workload.graph.graph import Graph
from hwsim.workload.graph.irregular import Table
from hwsim.workload.graph.node import Node
from hwsim.workload.language.routing import skew_exponent
from hwsim.workload.op import Op
from hwsim.workload.training.backward import RESULT, gives, keeps, known, of_node
from hwsim.workload.training.block import Bag, Block, Collective
from hwsim.workload.training.options import PER_EXPERT, Degrees, TrainStep, problems
from hwsim.workload.training.sites import BYTE, COPY, INPUT, SINGLE, WIDE, Plain, Saved, Site
from hwsim.workload.training.split import EMBEDDING, HEAD

#: Degrees that a graph cannot be divided by.
UNKNOWN = ("tp", "pp", "vp", "cp")


def layer_count(graph: Graph) -> int:
    """Layers of a graph."""
    return max(graph.layers, default=-1) + 1


def scored(graph: Graph) -> list[str]:
    """Outputs that a loss is taken of: all but indices."""
    indices = {node.name for node in graph.nodes if node.made.rows}
    return [name for name in graph.outputs if name not in indices]


def pooled(node: Node) -> bool:
    """Whether the node is pooled tables, which are updated row by row."""
    return isinstance(node, Table) and bool(node.function)


@dataclass(frozen=True)
class Flow:
    """How gradients go through a graph.

    needs: names of tensors that something trained has made. gradients: by name, how many reach a tensor.
    alike: name of a tensor that is another's elements -> that other.
    """

    needs: frozenset[str]
    gradients: dict[str, int]
    alike: dict[str, str]

    @classmethod
    def of(cls, graph: Graph) -> Flow:
        """Forward: what is trained; backward: where gradients arrive."""
        alike: dict[str, str] = {}
        for node in graph.nodes:
            if node.FREE:
                first = node.given[0].name
                alike[node.name] = alike.get(first, first)
        needs = {each.name for each in graph.parameters}
        for node in graph.nodes:
            paths = zip(node.given, gives(node), strict=True)
            if node.weights and not node.made.rows or any(ok and alike.get(g.name, g.name) in needs for g, ok in paths):
                needs.add(alike.get(node.name, node.name))
        gradients: Counter[str] = Counter(alike.get(name, name) for name in scored(graph))
        for node in reversed(graph.nodes):
            if node.FREE or not gradients[node.name]:
                continue
            for given, ok in zip(node.given, gives(node), strict=True):
                name = alike.get(given.name, given.name)
                if ok and name in needs:
                    gradients[name] += 1
        return cls(frozenset(needs), dict(gradients), alike)

    def name(self, name: str) -> str:
        """The tensor that holds the elements of this one."""
        return self.alike.get(name, name)

    def need(self, node: Node) -> tuple[bool, ...]:
        """By input of a node: whether it gets a gradient."""
        return tuple(ok and self.name(g.name) in self.needs for g, ok in zip(node.given, gives(node), strict=True))

    def reaching(self, node: Node) -> int:
        """Gradients that reach the result of a node."""
        return self.gradients.get(node.name, 0)


def check_graph(graph: Graph, step: TrainStep, found: Iterable[str] = ()) -> None:
    """raises: InputError with every reason why a graph cannot be trained so."""
    d = step.degrees
    divided = replace(step, degrees=Degrees(dp=d.dp, ep=d.ep))
    bad = [*found, *(line.replace("sequences", "samples") for line in problems(divided, layer_count(graph)))]
    with collect(bad):
        skew_exponent(step.skew)
    for name in UNKNOWN:
        if getattr(d, name) > 1:
            bad.append(f"parallel: {name}: {graph.name} is a graph, whose samples and tables are divided; leave it out")
    bags = [node for node in graph.nodes if pooled(node)]
    if bags and d.ep != d.dp:
        bad.append(f"parallel: {graph.name} has tables, which are divided over the chips of dp {d.dp}; write ep={d.dp}")
    if not bags and d.ep > 1:
        bad.append(f"parallel: ep: {graph.name} has no tables to divide; leave it out")
    if step.exchange != (PER_EXPERT,):
        bad.append(f"exchange: {graph.name} has no experts; leave it out")
    if step.mtp:
        bad.append(f"mtp: {graph.name} has no multi-token-prediction block; leave it out")
    flow = Flow.of(graph)
    unknown = sorted({node.KIND for node in graph.nodes if not known(node)})
    if unknown:
        bad.append(f"{graph.name}: no backward pass is known for {', '.join(unknown)}; leave such ops out")
    stuck = [
        node.name
        for node in graph.nodes
        if known(node) and node.weights and (node.made.rows or not flow.reaching(node))
    ]
    if stuck:
        bad.append(
            f"{graph.name}: no gradient reaches the weights of {', '.join(stuck)}: a choice of indices has none; train "
            "a soft assignment, or a graph without these ops"
        )
    if bad:
        raise InputError(*dict.fromkeys(bad))


@lru_cache(maxsize=64)
def graph_blocks(graph: Graph, step: TrainStep) -> dict[int, Block]:
    """What each item of the graph is on one chip: layers, what is ahead of them, the loss. raises: InputError."""
    check_graph(graph, step)
    return _Lowering(graph, step).blocks()


def graph_flops(graph: Graph) -> int:
    """Model FLOP per sample of one step: six per multiply-add that has a gradient, two per other."""
    flow = Flow.of(graph)
    trained = sum(n.macs() for n in graph.nodes if flow.reaching(n) and (n.weights or any(flow.need(n))))
    return 6 * trained + 2 * (sum(node.macs() for node in graph.nodes) - trained)


class _Lowering:
    def __init__(self, graph: Graph, step: TrainStep):
        self.graph, self.batch, self.chips = graph, step.micro_batch, step.degrees.ep
        self.fused = step.fused
        self.flow = Flow.of(graph)
        kept = [(node, each) for node in graph.nodes if self._back(node) for each in keeps(node)]
        #: Tensors that something keeps in 16 bits.
        self.wide = {self._kept(node, each.tensor)[0] for node, each in kept if each.stored == WIDE}
        self.seen: set[tuple[str, str]] = set()

    def _back(self, node: Node) -> bool:
        flow = self.flow
        return bool(flow.reaching(node)) and (bool(node.weights) or any(flow.need(node)))

    def _kept(self, node: Node, tensor: int) -> tuple[str, int]:
        """(name, elements) of a tensor that a node keeps."""
        if tensor == RESULT:
            return node.name, node.outputs(self.batch)
        given = node.given[tensor]
        return self.flow.name(given.name), given.tensor.elements(self.batch)

    def blocks(self) -> dict[int, Block]:
        """By item."""
        graph = self.graph
        members: dict[int, list[Node]] = {EMBEDDING: [], **{i: [] for i in range(layer_count(graph))}}
        for node, layer in zip(graph.nodes, graph.layers, strict=True):
            members[layer if layer >= 0 else EMBEDDING].append(node)
        found = {item: self._block(item, nodes) for item, nodes in members.items()}
        found[HEAD] = self._head()
        constants = sum(each.tensor.size for each in graph.parameters)
        if constants:
            ahead = found[EMBEDDING]
            found[EMBEDDING] = replace(ahead, held=(*ahead.held, ("constant", constants)))
        return found

    def _block(self, item: int, nodes: list[Node]) -> Block:
        made: list[Site] = []
        links: list[Collective] = []
        held: Counter[str] = Counter()
        bags: list[Bag] = []
        inside = {self.flow.name(node.name) for node in nodes}
        outside: dict[str, int] = {}
        for node in nodes:
            outside |= {
                name: g.tensor.elements(1) for g in node.given if (name := self.flow.name(g.name)) not in inside
            }
            if node.FREE:
                continue
            flow = self.flow
            first, *others = of_node(node, self.batch, max(item, -1), flow.need(node), flow.reaching(node), self.fused)
            own = (s for s in first.saved if s.stored in (SINGLE, BYTE))  # of attention
            saved = (*self._saved(node), *own) if self._back(node) else ()
            made += [replace(first, saved=saved), *others]
            if isinstance(node, Table) and node.function:
                width = node.made.shape[-1]
                rows, hot = node.rows_of, node.hot
                bags.append(Bag(node.name, item, rows, hot, width, node.distribution, self.batch, self.chips))
                if self.chips > 1:
                    n = self.batch * len(hot) * width
                    links += [Collective("all_to_all", "ep", n, forward) for forward in (True, False)]
            else:
                for each in node.weights:
                    held[each.weights] += _size(each.shape)
        return Block(item, sum(outside.values()), tuple(made), tuple(links), tuple(held.items()), tuple(bags))

    def _saved(self, node: Node) -> tuple[Saved, ...]:
        """What a node keeps and none before it has kept."""
        found: list[Saved] = []
        for each in keeps(node):
            name, n = self._kept(node, each.tensor)
            weights = node.weights[0].weights if each.stored == INPUT and node.weights else ""
            form = each.stored
            if form == INPUT and name in self.wide:
                if (name, WIDE) not in self.seen:
                    self.seen.add((name, WIDE))
                    found.append(Saved(n))
                form = COPY
            key = (name, form if form in (WIDE, COPY, INPUT) else f"{form} {each.tensor == RESULT}")
            if key not in self.seen:
                self.seen.add(key)
                found.append(Saved(n, form, weights))
        return tuple(found)

    def _head(self) -> Block:
        """The loss of every output: it reads the results and leaves their gradients there."""
        made: list[Site] = []
        nodes = {node.name: node for node in self.graph.nodes}
        for name in scored(self.graph):
            n = nodes[name].outputs(self.batch)
            op = Op("loss", "softmax", vector=passes.SOFTMAX * n, inputs=n, outputs=n)
            made.append(Plain("loss", op, None, (Saved(n),)))
        return Block(HEAD, 0, tuple(made), (), ())


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
