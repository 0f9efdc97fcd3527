"""The adder tree of a dot unit, whose nodes add or subtract by deferred signs."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Value

from hwsim.specs import BlockDot

from .arith import add, extend, signed_bits
from .pipe import Carried, Pipe

__all__ = ["AdderTree"]


class AdderTree:
    """Sums `spec.lanes` products; a node subtracts where its two signs differ and passes the first one on.

    spec: has the tree's cuts, the bit `split` at which long sums are cut in two, and the range of a product.
    late: what is left to do to an odd lane's product before it is added.
    """

    def __init__(self, spec: BlockDot, late: Callable[[Value], Value]):
        self.spec, self._late = spec, late

    def second(self, pipe: Pipe, signs: list[Value]) -> list[list[Carried]]:
        """For each level of the tree, what each node does with its second operand, carried there.

        Of two deferred signs, whether they differ; in two's complement, the pending carry of the second one.
        """
        levels = []
        for _ in range(self.spec.levels):
            pairs = zip(signs[::2], signs[1::2], strict=False)
            levels.append([pipe.carry(y if self.spec.both_integer else x ^ y) for x, y in pairs])
            signs = signs[::2]
        return levels

    def sum(self, pipe: Pipe, products: list[Value], first: Carried, second: list[list[Carried]]) -> Value:
        """The sum, up to the sign of the first lane; in two's complement, `first` is that lane's pending carry."""
        spec = self.spec
        if spec.split:
            return self._split(pipe, products, second)
        nodes = self._leaves(products)
        if spec.both_integer:
            nodes[0] = add(0, nodes[0], len(nodes[0]), first.value)
            pipe.drop([first])
        for level, held in enumerate(second, 1):
            width, sums = self._node_bits(level), []
            for x, y, sub in zip(nodes[::2], nodes[1::2], held, strict=False):
                if not spec.both_integer:
                    y = extend(y, width) ^ sub.value.replicate(width)
                sums.append(add(x, y, width, sub.value))
            if len(nodes) % 2:
                sums.append(nodes[-1])
            pipe.drop(held)
            nodes = [Value.cast(node) for node in pipe.cut(f"tree{level}", *sums)]
            nodes = [node if node.shape().signed else extend(node, width).as_signed() for node in nodes]
        return nodes[0] if nodes[0].shape().signed else Cat(nodes[0], Const(0, 1)).as_signed()

    def _split(self, pipe: Pipe, products: list[Value], second: list[list[Carried]]) -> Value:
        """The same with each sum cut in two at bit `split`: the bits above are added one stage after those below.

        So the upper tree runs a level behind the lower one, whose nodes hand it their carries.
        """
        at, levels = self.spec.split, self.spec.levels
        kept = [pipe.carry(product) for product in products]
        lower, upper = self._leaves(products), []
        for level in range(1, levels + 2):
            low, high = [], []
            if level <= levels:
                for x, y, sub in zip(lower[::2], lower[1::2], second[level - 1], strict=False):
                    low.append(add(x[:at], y[:at] ^ sub.value.replicate(at), at + 1, sub.value))
            if level > 1:
                width = self._node_bits(level - 1) - at
                for x, y, sub, node in zip(upper[::2], upper[1::2], second[level - 2], lower, strict=False):
                    high.append(add(x, extend(y, width) ^ sub.value.replicate(width), width, node[at]))
                high += [extend(node, width).as_signed() for node in upper[2 * len(high) :]]
                pipe.drop(second[level - 2])
            low += [extend(node[:at], at + 1) for node in lower[2 * len(low) :]]
            held = pipe.cut(f"tree{level}" if level <= levels else "upper", *low, *high)
            lower, upper = held[: len(low)], held[len(low) :]
            if level == 1:
                upper = [leaf[at:] for leaf in self._leaves([each.value for each in kept])]
                pipe.drop(kept)
        return Cat(lower[0][:at], upper[0]).as_signed()

    def _leaves(self, products: list[Value]) -> list[Value]:
        """What the first level adds: an odd lane's product with the end of its shift."""
        if "shift" not in self.spec.cuts:
            return list(products)
        return [self._late(product) if i % 2 else product for i, product in enumerate(products)]

    def _node_bits(self, level: int) -> int:
        """Bits of a node after `level` levels."""
        return signed_bits(min(1 << level, self.spec.lanes) * self.spec.product_max)
