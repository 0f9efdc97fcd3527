"""Translations of convolutions, pools, matrix products, norms of batches and recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.workload.graph.onnx.building import Building, Call, Unsupported, bare
from hwsim.workload.graph.onnx.constant import Array, Constant


def _map(b: Building, call: Call) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """A feature map [1, channels, sides]: (our tensor, its sides, those of the result)."""
    name = call.input(0)
    shape, found = b.shape(name), b.shape(call.made(0))
    if not 3 <= len(shape) <= 5:
        raise Unsupported(f"takes {len(shape)} axes; there are convolutions in one to three dimensions")
    if shape[0] != 1:
        raise Unsupported(f"its first axis is {shape[0]}; make it 1 with --size, `--batch` adds the samples")
    return b.given(name), shape[2:], found[2:]


def _window(call: Call, sides: tuple[int, ...], kernel: list[int]) -> dict[str, Any]:
    """Fields of the window of a convolution or pool."""
    n, get = len(kernel), call.attributes.get
    stride, dilation = list(get("strides") or [1] * n), list(get("dilations") or [1] * n)
    pads, auto = list(get("pads") or [0] * 2 * n), get("auto_pad", "NOTSET")
    if min(pads, default=0) < 0:
        raise Unsupported("pads with a negative number")
    if auto in ("SAME_UPPER", "SAME_LOWER") and call.kind != "ConvTranspose":
        pads = [0] * 2 * n
        for i, (side, k, s, d) in enumerate(zip(sides, kernel, stride, dilation, strict=True)):
            more = max(0, (-(-side // s) - 1) * s + d * (k - 1) + 1 - side)
            first = more // 2 if auto == "SAME_UPPER" else more - more // 2
            pads[i], pads[n + i] = first, more - first
    elif auto not in ("NOTSET", "VALID", ""):
        raise Unsupported(f"auto_pad={auto}")
    edges = [[pads[i], pads[n + i]] for i in range(n)]
    fields: dict[str, Any] = {"kernel": _plain(kernel)}
    if any(each != 1 for each in stride):
        fields["stride"] = _plain(stride)
    elif call.kind.endswith("Pool"):
        fields["stride"] = 1  # a graph's pool steps by its kernel if nothing is said
    if any(map(any, edges)):
        fields["pad"] = _plain([each[0] for each in edges]) if all(a == z for a, z in edges) else edges
    if any(each != 1 for each in dilation):
        fields["dilation"] = _plain(dilation)
    return fields


def _plain(numbers: list[int]) -> int | list[int]:
    return numbers[0] if len(set(numbers)) == 1 else numbers


def conv(b: Building, call: Call) -> None:
    """Conv and ConvTranspose; weights [out, channels of a group, taps] become [out, taps x channels of a group]."""
    weight = b.constant(call, 1, "weight")
    bias = b.constant(call, 2, "bias") if call.has(2) else None
    name, sides, found = _map(b, call)
    back, groups, kernel = call.kind == "ConvTranspose", call.attributes.get("group", 1), list(weight.shape[2:])
    out = weight.shape[1] * groups if back else weight.shape[0]
    fields = {"out": out} | _window(call, sides, kernel)
    if back:
        n, pads = len(kernel), call.attributes.get("pads") or [0] * 2 * len(kernel)
        if call.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in call.attributes:
            raise Unsupported("auto_pad or output_shape of a transposed convolution")
        stride, dilation = call.attributes.get("strides") or [1] * n, call.attributes.get("dilations") or [1] * n
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        reach = [(sides[i] - 1) * stride[i] + spans[i] - pads[i] - pads[n + i] for i in range(n)]
        extra = [want - has for want, has in zip(found, reach, strict=True)]
        fields |= {"transposed": True} | ({"extra": _plain(extra)} if any(extra) else {})
    if groups == b.made[name][0] and groups > 1:
        fields["depthwise"] = True
    elif groups > 1:
        fields["groups"] = groups
    mine = b.emit(call, "conv", [name], (out, *found), **fields, bias=bias is not None)
    b.arrays[f"{mine}.weight"] = lambda: _matrix(weight.array, groups, back)
    if bias is not None:
        b.arrays[f"{mine}.bias"] = lambda: bias.array.reshape(-1)
    b.finish(call, mine)


def _matrix(w: Array, groups: int, transposed: bool) -> Array:
    if transposed:  # [channels, out of a group, taps]
        w = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).transpose(0, 2, 3, 1)
        return w.reshape(w.shape[0] * w.shape[1], -1)
    w = w.reshape(*w.shape[:2], -1).transpose(0, 2, 1)
    return w.reshape(len(w), -1)


def pool(b: Building, call: Call) -> None:
    """MaxPool and AveragePool."""
    b.sole(call)
    name, sides, found = _map(b, call)
    fields: dict[str, Any] = {"function": "max" if call.kind == "MaxPool" else "mean"}
    fields |= _window(call, sides, list(call.attributes["kernel_shape"]))
    fields |= {"ceil": True} if call.attributes.get("ceil_mode") else {}
    fields |= {"counted": True} if call.attributes.get("count_include_pad") else {}
    b.finish(call, b.emit(call, "pool", [name], (b.made[name][0], *found), **fields))


def global_pool(b: Building, call: Call) -> None:
    """GlobalAveragePool and GlobalMaxPool: a reduction over all places."""
    name, sides, _ = _map(b, call)
    function = "max" if call.kind == "GlobalMaxPool" else "mean"
    shape = (b.made[name][0], *(1 for _ in sides))
    axes = list(range(1, len(shape)))
    b.finish(call, b.emit(call, "reduce", [name], shape, function=function, axes=axes, keep=True))


def batch_norm(b: Building, call: Call) -> None:
    """BatchNormalization: the statistics are folded into a gain and a shift."""
    b.sole(call)
    scale, shift, mean, variance = (b.constant(call, i, "statistics") for i in range(1, 5))
    epsilon, name, shape = call.attributes.get("epsilon", 1e-5), call.input(0), b.shape(call.input(0))
    if shape[0] != 1 and len(shape) != 2:
        raise Unsupported(f"its first axis is {shape[0]}; make it 1 with --size, `--batch` adds the samples")
    mine = b.given(name)
    fields = {"channels": "first"} if shape[0] == 1 else {}
    found = b.emit(call, "norm", [mine], b.made[mine], kind="batch", **fields)

    def gain() -> Array:
        root = np.sqrt(variance.array.astype(np.float64) + epsilon)
        return (scale.array / root).astype(np.float32)

    b.arrays[f"{found}.gain"] = gain
    b.arrays[f"{found}.shift"] = lambda: (shift.array - mean.array * gain().astype(np.float64)).astype(np.float32)
    b.finish(call, found)


def _linear(b: Building, call: Call, name: str, n: int, weight: Any, bias: Constant | None, scale: float = 1.0) -> str:
    """A linear layer of our tensor; weight: function that gives [out, width]."""
    mine = b.emit(call, "linear", [name], (*b.made[name][:-1], n), out=n, bias=bias is not None)
    b.arrays[f"{mine}.weight"] = weight
    if bias is not None:
        b.arrays[f"{mine}.bias"] = lambda: (np.broadcast_to(bias.array.reshape(-1), (n,)) * scale).astype(np.float32)
    return mine


def matmul(b: Building, call: Call) -> None:
    """MatMul: a linear layer where the second operand is a constant matrix."""
    one, other = call.input(0), call.input(1)
    shape = bare(b.shape(call.made(0)))
    weight = b.constants.get(other)
    if weight is not None and len(weight.shape) == 2 and one not in b.constants:
        b.finish(call, _linear(b, call, b.given(one), weight.shape[1], lambda: weight.array.T, None))
        return
    sides = [b.shape(each) for each in (one, other)]
    names = [b.given(each) for each in (one, other)]
    if min(len(b.made[name]) for name in names) < 2 or len({len(side) - len(bare(side)) for side in sides}) > 1:
        shape = b.shape(call.made(0))
        if min(map(len, sides)) < 2:  # a vector is a matrix of one row or column
            sides[0] = sides[0] if len(sides[0]) > 1 else (1, *sides[0])
            sides[1] = sides[1] if len(sides[1]) > 1 else (*sides[1], 1)
            shape = (*np.broadcast_shapes(sides[0][:-2], sides[1][:-2]), sides[0][-2], sides[1][-1])
        names = [b.shaped(call, name, side) for name, side in zip(names, sides, strict=True)]
    b.finish(call, b.emit(call, "matmul", names, shape))


def gemm(b: Building, call: Call) -> None:
    """Gemm: alpha A B + beta C, either matrix transposed."""
    get = call.attributes.get
    alpha, beta, turn_a, turn_b = get("alpha", 1.0), get("beta", 1.0), get("transA", 0), get("transB", 0)
    one, other, n = call.input(0), call.input(1), b.shape(call.made(0))[1]
    weight = b.constants.get(other)
    name = b.given(one) if weight is not None and not turn_a else b.whole(call, one)
    c = b.constants.get(call.input(2)) if call.has(2) else None
    folded = c is not None and c.size in (1, n) and (len(c.shape) < 2 or c.shape[-1] == c.size)
    if weight is not None:
        if turn_a:
            name = b.emit(call, "transpose", [name], b.made[name][::-1], order=[1, 0])
            name = b.shaped(call, name, bare(b.made[name]))
        mine = _linear(
            b, call, name, n, lambda: alpha * (weight.array if turn_b else weight.array.T), c if folded else None, beta
        )
        if folded or not call.has(2):
            b.finish(call, mine)
            return
    else:
        flags = {"transpose_a": bool(turn_a)} if turn_a else {}
        flags |= {"transpose_b": True} if turn_b else {}
        mine = b.emit(call, "matmul", [name, b.whole(call, other)], b.shape(call.made(0)), **flags)
        if alpha != 1.0:
            mine = b.emit(call, "elementwise", [mine], b.made[mine], function="mul", constant=alpha)
        if not call.has(2):
            b.finish(call, mine)
            return
    more = b.given(call.input(2))
    if beta != 1.0:
        more = b.emit(call, "elementwise", [more], b.made[more], function="mul", constant=beta)
    b.finish(call, b.emit(call, "elementwise", [mine, more], b.made[mine], function="add"))


def recurrent(b: Building, call: Call) -> None:
    """LSTM and GRU of one sequence, with their default functions."""
    get, lstm = call.attributes.get, call.kind == "LSTM"
    steps, samples, _ = b.shape(call.input(0))
    if get("layout", 0):
        raise Unsupported("layout=1")
    if samples != 1:
        raise Unsupported(f"its batch axis is {samples}; make it 1 with --size, `--batch` adds the samples")
    default = ["Sigmoid", "Tanh", "Tanh"] if lstm else ["Sigmoid", "Tanh"]
    functions = [each.decode() if isinstance(each, bytes) else each for each in get("activations") or []]
    if functions and functions != default * (len(functions) // len(default)):
        raise Unsupported(f"activations {', '.join(functions)}; there are {', '.join(default)}")
    if "clip" in call.attributes or get("input_forget", 0) or call.has(7):
        raise Unsupported("clip, input_forget or peepholes")
    if call.has(4) and any(each != steps for each in b.constant(call, 4, "sequence lengths").numbers()):
        raise Unsupported("a sequence shorter than the input")
    w, r = b.constant(call, 1, "weight"), b.constant(call, 2, "weight")
    bias = b.constant(call, 3, "bias") if call.has(3) else None
    directions, hidden = r.shape[0], r.shape[2]
    given = [b.shaped(call, b.given(call.input(0)), (steps, w.shape[2]))]
    states = [i for i in ((5, 6) if lstm else (5,)) if call.has(i)]
    if lstm and len(states) == 1:
        raise Unsupported("one of its two states is missing")
    given += [b.shaped(call, b.given(call.input(i)), (directions * hidden,)) for i in states]
    fields: dict[str, Any] = {"hidden": hidden}
    fields |= {"directions": 2} if directions == 2 else {}
    fields |= {"reverse": True} if get("direction") == "reverse" else {}
    fields |= {"bias": False} if bias is None else {}
    fields |= {"before_reset": True} if not lstm and get("linear_before_reset", 0) else {}
    rows = steps + lstm
    mine = b.emit(call, "lstm" if lstm else "gru", given, (rows, directions * hidden), **fields)
    b.arrays[f"{mine}.input"] = lambda: w.array.reshape(-1, w.shape[2])
    b.arrays[f"{mine}.recurrent"] = lambda: r.array.reshape(-1, hidden)
    if bias is not None:
        b.arrays[f"{mine}.bias"] = lambda: bias.array.reshape(-1)
    outputs = [call.made(i) for i in range(3)]
    if outputs[0]:
        whole = _rows(b, call, mine, 0, steps)
        if directions == 2:  # [steps, directions, 1, hidden]: the same order
            whole = b.shaped(call, whole, (steps, 2, 1, hidden))
        b.finish(call, whole)
    if outputs[1]:
        last = 0 if get("direction") == "reverse" else steps - 1
        end = _rows(b, call, mine, last, last + 1)
        if directions == 2:
            halves = (end, _rows(b, call, mine, 0, 1))
            parts = [
                b.emit(call, "slice", [row], (1, hidden), axis=1, start=i * hidden, stop=(i + 1) * hidden)
                for i, row in enumerate(halves)
            ]
            end = b.emit(call, "concat", parts, (2, hidden), axis=0)
        b.finish(call, end, 1)
    if outputs[2]:
        b.finish(call, _rows(b, call, mine, steps, steps + 1), 2)


def _rows(b: Building, call: Call, name: str, start: int, stop: int) -> str:
    """Rows of a tensor of two axes; all of them are the tensor itself."""
    rows, width = b.made[name]
    if (start, stop) == (0, rows):
        return name
    return b.emit(call, "slice", [name], (stop - start, width), **({"start": start} if start else {}), stop=stop)
