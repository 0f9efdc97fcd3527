"""Translations of what moves data: shapes, slices, concatenation, enlarging, rows by index."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsim.workload.graph.onnx.building import Building, Call, Unsupported, bare

#: Most pieces that one node is cut into.
MOST_PIECES = 256


def same(b: Building, call: Call) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout: the same elements, in the shape of the result."""
    b.sole(call)
    b.finish(call, b.given(call.input(0)))


def transpose(b: Building, call: Call) -> None:
    """Another order of axes; where only axes of one element change places, nothing moves."""
    tensor = call.input(0)
    shape = b.shape(tensor)
    order = list(call.attributes.get("perm") or reversed(range(len(shape))))
    b.finish(call, _turned(b, call, b.whole(call, tensor) if shape else b.given(tensor), order))


def _turned(b: Building, call: Call, name: str, order: Sequence[int]) -> str:
    """Our tensor with its axes in another order; axes of one element take no part."""
    shape = b.made[name]
    long = [i for i, side in enumerate(shape) if side > 1]
    after = [i for i in order if shape[i] > 1]
    if after != long:
        name = b.shaped(call, name, [shape[i] for i in long])
        name = b.emit(call, "transpose", [name], [shape[i] for i in after], order=[long.index(i) for i in after])
    return b.shaped(call, name, [shape[i] for i in order])


def concat(b: Building, call: Call) -> None:
    """Tensors side by side; empty ones are left out."""
    tensors = [each for each in call.node.input if math.prod(b.shape(each))]
    out = b.shape(call.made(0))
    axis, lost = call.attributes["axis"] % len(out), len(out) - len(bare(out))
    names = [b.shaped(call, b.given(each), b.shape(each)[lost:]) for each in tensors]
    if len(names) == 1:
        b.finish(call, names[0])
        return
    b.finish(call, _joined(b, call, names, axis - lost))


def _joined(b: Building, call: Call, names: Sequence[str], axis: int) -> str:
    if len(names) == 1:
        return names[0]
    first = b.made[names[0]]
    shape = (*first[:axis], sum(b.made[name][axis] for name in names), *first[axis + 1 :])
    return b.emit(call, "concat", names, shape, axis=axis)


def _cut(b: Building, call: Call, name: str, axis: int, start: int, stop: int, step: int = 1) -> str:
    """A range along one axis of our tensor."""
    shape = b.made[name]
    length = len(range(start, stop, step))
    if length == shape[axis] and step == 1:
        return name
    if not length:
        raise Unsupported("leaves nothing")
    fields = {"axis": axis} if axis else {}
    fields |= {"start": start} if start else {}
    fields |= {"stop": stop} | ({"step": step} if step > 1 else {})
    return b.emit(call, "slice", [name], (*shape[:axis], length, *shape[axis + 1 :]), **fields)


def slice_(b: Building, call: Call) -> None:
    """Slice with constant bounds."""
    tensor, get = call.input(0), call.attributes.get
    shape = b.shape(tensor)
    starts = get("starts") or b.constant(call, 1, "start").numbers()
    ends = get("ends") or b.constant(call, 2, "end").numbers()
    axes = get("axes") or b.optional(call, 3, "axes") or list(range(len(starts)))
    steps = b.optional(call, 4, "steps") or [1] * len(starts)
    name = b.given(tensor)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        mine = b.axis(tensor, axis)
        side = shape[axis]
        if step < 0:
            places = list(range(*slice(start, end if end >= -side else None, step).indices(side)))
            if side > MOST_PIECES:
                raise Unsupported(f"turns {side} elements around")
            parts = [_cut(b, call, name, mine, i, i + 1) for i in places] if mine >= 0 else [name]
            name = _joined(b, call, parts, mine)
        elif mine >= 0:
            name = _cut(b, call, name, mine, *slice(start, end, step).indices(side))
        elif not range(*slice(start, end, step).indices(side)):
            raise Unsupported("leaves nothing")
    b.finish(call, name)


def split(b: Building, call: Call) -> None:
    """Split: a slice per result."""
    tensor = call.input(0)
    axis = call.attributes.get("axis", 0) % len(b.shape(tensor))
    mine, name, start = b.axis(tensor, axis), b.given(call.input(0)), 0
    for i, output in enumerate(call.node.output):
        if output:
            stop = start + b.shape(output)[axis]
            if output in b.taken:
                b.finish(call, _cut(b, call, name, mine, start, stop) if mine >= 0 else name, i)
            start = stop


def gather(b: Building, call: Call) -> None:
    """Gather: rows of a constant table are an embedding, constant indices are slices, others rows of a tensor."""
    table, index = call.input(0), call.input(1)
    axis = call.attributes.get("axis", 0) % max(1, len(b.shape(table)))
    if index in b.constants:
        side, numbers = b.shape(table)[axis], b.constants[index].numbers()
        far = next((i for i in numbers if not -side <= i < side), None)
        if far is not None:
            raise Unsupported(f"index {far} is beyond the {side} places of axis {axis}; export the model again")
        places = [i % side for i in numbers]
        name, cut = b.given(table), b.axis(table, axis)
        if cut >= 0:
            runs: list[list[int]] = []
            for i in places:
                if runs and i == runs[-1][1]:
                    runs[-1][1] += 1
                else:
                    runs.append([i, i + 1])
            if len(runs) > MOST_PIECES:
                raise Unsupported(f"takes {len(runs)} pieces at constant places; at most {MOST_PIECES} are cut")
            name = _joined(b, call, [_cut(b, call, name, cut, *run) for run in runs], cut)
        elif len(places) != 1:
            raise Unsupported("repeats the first axis")
        b.finish(call, name)
        return
    rows = b.constants.get(table)
    if axis or len(b.shape(table)) != 2:
        raise Unsupported("of rows that the data tell, of a tensor that is not [rows, width]")
    taken = b.given(index)
    b.indexed(call, index, b.shape(table)[0])
    width = b.shape(table)[1]
    shape = (*b.made[taken], width)
    if rows is None:
        b.finish(call, b.emit(call, "gather", [b.whole(call, table), taken], shape))
        return
    mine = b.emit(call, "embedding", [taken], shape, rows=rows.shape[0], out=width)
    b.arrays[f"{mine}.table"] = lambda: rows.array
    b.finish(call, mine)


def expand(b: Building, call: Call) -> None:
    """Expand, and Tile where it repeats."""
    tensor, name = call.input(0), b.given(call.input(0))
    out = b.shape(call.made(0))
    lost = len(out) - len(bare(out))
    shape = b.shape(tensor)
    if call.kind == "Tile":
        name = b.whole(call, tensor)
        repeats = b.constant(call, 1, "repeats").numbers()
        for i, n in enumerate(repeats):
            if n > 1 and shape[i] > 1:
                if n > MOST_PIECES:
                    raise Unsupported(f"repeats {n} times; at most {MOST_PIECES} copies are joined")
                name = _joined(b, call, [name] * n, i)
        shape = b.made[name]
    padded = (1,) * (len(out) - len(shape)) + tuple(shape)
    name = b.shaped(call, name, padded[lost:] or (1,))
    if b.made[name] != (bare(out)):
        name = b.emit(call, "expand", [name], bare(out), shape=list(bare(out)))
    b.finish(call, name)


def pad(b: Building, call: Call) -> None:
    """Pad with zeros, the edge or its reflection."""
    tensor, mode = call.input(0), call.attributes.get("mode", "constant")
    shape = b.shape(tensor)
    pads = call.attributes.get("pads") or b.constant(call, 1, "pads").numbers()
    axes = b.optional(call, 3, "axes") or list(range(len(shape)))
    if mode not in ("constant", "edge", "reflect"):
        raise Unsupported(f"mode {mode}")
    if min(pads) < 0:
        raise Unsupported("a negative pad")
    edges = [[0, 0] for _ in shape]
    for i, axis in enumerate(axes):
        edges[axis % len(shape)] = [pads[i], pads[len(axes) + i]]
    value = call.attributes.get("value", 0.0)
    if mode == "constant" and call.has(2):
        found = b.constant(call, 2, "value").array.reshape(-1)
        value = found[0] if found.size else 0
    if value != 0:
        raise Unsupported(f"with {value:g}; there are zeros")
    name = b.given(tensor)
    if any(edges[0]) and b.lost(tensor):
        name = b.whole(call, tensor)
    mine = edges[len(shape) - len(b.made[name]) :]
    if any(map(any, mine)):
        grown = [side + sum(edge) for side, edge in zip(b.made[name], mine, strict=True)]
        name = b.emit(call, "pad", [name], grown, edges=mine, **({} if mode == "constant" else {"mode": mode}))
    b.finish(call, name)


def resize(b: Building, call: Call) -> None:
    """Resize and Upsample by whole factors; interpolation between neighbours is imported as repetition, with a note."""
    tensor = call.input(0)
    shape, out, get = b.shape(tensor), b.shape(call.made(0)), call.attributes.get
    if any(big % side for side, big in zip(shape, out, strict=True)):
        raise Unsupported(f"from {list(shape)} to {list(out)}; there are whole factors")
    factors = [big // side for side, big in zip(shape, out, strict=True)]
    where = get("coordinate_transformation_mode", "half_pixel" if call.kind == "Resize" else "asymmetric")
    near = get("nearest_mode", "round_prefer_floor" if call.kind == "Resize" else "floor")
    exact = where in ("half_pixel", "pytorch_half_pixel") and near.startswith("round")
    exact = exact or where == "asymmetric" and (near == "floor" or near == "round_prefer_floor" and max(factors) == 2)
    if get("mode", "nearest") != "nearest" or not exact:
        b.note(
            f"{call.kind} `{call.node.name or call.made(0)}` ({get('mode', 'nearest')}, {where}) is imported as "
            "repetition: its counts are those of a copy, its values differ"
        )
    lost = b.lost(tensor)
    name = b.given(tensor)
    if max(factors) > 1:
        name = b.emit(call, "resize", [name], out[lost:], factors=factors[lost:])
    b.finish(call, name)


def blocks(b: Building, call: Call) -> None:
    """DepthToSpace and SpaceToDepth: a change of shape, of order, and of shape again."""
    n, c, h, w = b.shape(call.input(0))
    s, name = call.attributes["blocksize"], b.given(call.input(0))
    if n != 1:
        raise Unsupported(f"its first axis is {n}; make it 1 with --size, `--batch` adds the samples")
    if call.kind == "SpaceToDepth":
        name = b.shaped(call, name, (c, h // s, s, w // s, s))
        order = (2, 4, 0, 1, 3)
    elif call.attributes.get("mode", "DCR") == "DCR":
        name = b.shaped(call, name, (s, s, c // s**2, h, w))
        order = (2, 3, 0, 4, 1)
    else:
        name = b.shaped(call, name, (c // s**2, s, s, h, w))
        order = (0, 3, 1, 4, 2)
    b.finish(call, _turned(b, call, name, order))


def topk(b: Building, call: Call) -> None:
    """TopK whose indices are used and whose values are not."""
    if call.made(0) in b.taken:
        raise Unsupported("its values are used; there are indices of the largest")
    tensor, keep = call.input(0), b.constant(call, 1, "number").numbers()[0]
    if not call.attributes.get("largest", 1) or call.attributes.get("axis", -1) not in (-1, len(b.shape(tensor)) - 1):
        raise Unsupported("of the smallest, or along another axis than the last")
    name = b.given(tensor)
    b.finish(call, b.emit(call, "topk", [name], (*b.made[name][:-1], keep), keep=keep), 1)
