"""Translations of what the vector unit computes: functions, arithmetic, comparisons, reductions, softmax, norms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hwsim.workload.graph.onnx.building import Building, Call, Unsupported
from hwsim.workload.graph.onnx.constant import Array
from hwsim.workload.graph.tensor import Misfit, broadcast

#: The largest number of float32, in place of a bound that is missing.
MOST = 3.4028234663852886e38

#: Operators that are one function of a graph.
FUNCTIONS = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Erf": "erf",
    "Abs": "abs", "Neg": "neg", "Reciprocal": "reciprocal", "Floor": "floor", "Softplus": "softplus",
    "HardSwish": "hard_swish", "Gelu": "gelu",
}  # fmt: skip
#: Operators that are one arithmetic function of a graph.
ARITHMETIC = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Max": "max", "Min": "min", "Sum": "add",
    "Mean": "add", "Equal": "equal", "Less": "less", "Greater": "greater", "And": "min", "Or": "max",
    "LessOrEqual": "greater", "GreaterOrEqual": "less", "Where": "where",
}  # fmt: skip
#: Reductions: the function of a graph.
REDUCTIONS = {
    "ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min", "ReduceL1": "sum",
    "ReduceL2": "sum", "ReduceSumSquare": "sum", "ReduceLogSumExp": "sum", "ReduceLogSum": "sum",
}  # fmt: skip


def activate(b: Building, call: Call, name: str, function: str, **fields: Any) -> str:
    """A function of our tensor."""
    return b.emit(call, "activation", [name], b.made[name], function=function, **fields)


def by_number(b: Building, call: Call, name: str, function: str, number: float) -> str:
    """Arithmetic of our tensor and a number."""
    return b.emit(call, "elementwise", [name], b.made[name], function=function, constant=number)


def function(b: Building, call: Call) -> None:
    """One function of each element."""
    if call.attributes.get("approximate", "none") == "tanh":
        b.note(f"Gelu `{call.node.name or call.made(0)}` by tanh is imported as the exact gelu, within 5e-4 of it")
    b.finish(call, activate(b, call, b.given(call.input(0)), FUNCTIONS[call.kind]))


def sloped(b: Building, call: Call) -> None:
    """LeakyRelu, Elu, PRelu."""
    name = b.given(call.input(0))
    if call.kind != "PRelu":
        default, mine = (0.01, "leaky_relu") if call.kind == "LeakyRelu" else (1.0, "elu")
        b.finish(call, activate(b, call, name, mine, alpha=float(call.attributes.get("alpha", default))))
        return
    low = by_number(b, call, name, "min", 0.0)
    low = b.emit(call, "elementwise", [low, b.given(call.input(1))], b.made[name], function="mul")
    high = activate(b, call, name, "relu")
    b.finish(call, b.emit(call, "elementwise", [high, low], b.made[name], function="add"))


def hard_sigmoid(b: Building, call: Call) -> None:
    """max(0, min(1, alpha x + beta)); that of a graph has alpha 1/6."""
    alpha, beta = call.attributes.get("alpha", 0.2), call.attributes.get("beta", 0.5)
    name = b.given(call.input(0))
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        b.finish(call, activate(b, call, name, "hard_sigmoid"))
        return
    line = by_number(b, call, by_number(b, call, name, "mul", float(alpha)), "add", float(beta))
    b.finish(call, activate(b, call, line, "clip", bounds=[0.0, 1.0]))


def clip(b: Building, call: Call) -> None:
    """Clip with constant bounds."""
    bounds = [-MOST, MOST]
    for i, word in enumerate(("min", "max")):
        if word in call.attributes:
            bounds[i] = float(call.attributes[word])
        elif call.has(i + 1):
            bounds[i] = float(b.constant(call, i + 1, "bound").array.reshape(-1)[0])
    low, high = (min(MOST, max(-MOST, each)) for each in bounds)
    name = b.given(call.input(0))
    if low == 0 and high in (6.0, MOST):
        b.finish(call, activate(b, call, name, "relu6" if high == 6 else "relu"))
    else:
        b.finish(call, activate(b, call, name, "clip", bounds=[low, high]))


def arithmetic(b: Building, call: Call) -> None:
    """Arithmetic with broadcasting; a constant of one element that stands last is written as a number."""
    inputs = list(call.node.input)
    if call.attributes.get("fmod"):
        raise Unsupported("fmod")
    mine, fields = ARITHMETIC[call.kind], {}
    if call.kind in ("Add", "Mul", "Max", "Min", "Sum", "And", "Or") and inputs[0] in b.constants:
        inputs.append(inputs.pop(0))  # the order does not matter, and a number stands last
    number = b.scalar(inputs[-1])
    if number is not None and len(inputs) > 1 and len(b.shape(inputs[-1])) <= len(b.shape(call.made(0))):
        fields["constant"] = number
        inputs.pop()
    names = [b.given(each) for each in inputs]
    try:
        shape = broadcast([b.made[name] for name in names])
    except Misfit as error:
        raise Unsupported(error.message) from None
    if len(names) + len(fields) == 1:  # Sum of one
        b.finish(call, names[0])
        return
    found = b.emit(call, "elementwise", names, shape, function=mine, **fields)
    if call.kind == "Mean":
        found = by_number(b, call, found, "mul", 1 / len(call.node.input))
    if call.kind.endswith("OrEqual"):
        found = by_number(b, call, found, "equal", 0.0)
    b.finish(call, found)


def negate(b: Building, call: Call) -> None:
    """Not: 1 where there is 0."""
    b.finish(call, by_number(b, call, b.given(call.input(0)), "equal", 0.0))


def ceil(b: Building, call: Call) -> None:
    """-floor(-x)."""
    name = activate(b, call, b.given(call.input(0)), "neg")
    b.finish(call, activate(b, call, activate(b, call, name, "floor"), "neg"))


def cast(b: Building, call: Call) -> None:
    """Another element type: nothing moves; to whole numbers, the fraction is dropped, to bool, all but 0 are 1."""
    from onnx import TensorProto as T

    name, to, kind = b.given(call.input(0)), call.attributes["to"], b.kinds.get(call.input(0), T.FLOAT)
    real = (T.FLOAT, T.FLOAT16, T.DOUBLE, T.BFLOAT16)
    if to == T.BOOL and kind != T.BOOL:
        name = by_number(b, call, by_number(b, call, name, "equal", 0.0), "equal", 0.0)
    elif to not in (*real, T.BOOL) and kind in real:
        b.note(f"Cast `{call.node.name or call.made(0)}` to whole numbers is imported as floor")
        name = activate(b, call, name, "floor")
    b.finish(call, name)


def reduce(b: Building, call: Call) -> None:
    """A reduction; the axis that ours lacks has one element, so there is nothing to reduce."""
    tensor = call.input(0)
    axes = call.attributes.get("axes")
    if axes is None:
        axes = b.optional(call, 1, "axes")
    if not axes and call.attributes.get("noop_with_empty_axes", 0):
        b.finish(call, b.given(tensor))
        return
    keep, name = bool(call.attributes.get("keepdims", 1)), b.given(tensor)
    rank = len(b.shape(tensor))
    mine = sorted({b.axis(tensor, axis) for axis in (axes or range(rank))} - {-1})
    kind, before = call.kind, b.made[name]
    if kind in ("ReduceL2", "ReduceSumSquare"):
        name = b.emit(call, "elementwise", [name, name], before, function="mul")
    elif kind == "ReduceL1":
        name = activate(b, call, name, "abs")
    elif kind == "ReduceLogSumExp":
        name = activate(b, call, name, "exp")
    if mine:
        shape = tuple(1 if i in mine else side for i, side in enumerate(before) if keep or i not in mine) or (1,)
        name = b.emit(call, "reduce", [name], shape, function=REDUCTIONS[kind], axes=mine, keep=keep)
    if kind == "ReduceL2":
        name = activate(b, call, name, "sqrt")
    elif kind in ("ReduceLogSumExp", "ReduceLogSum"):
        name = activate(b, call, name, "log")
    b.finish(call, name)


def argmax(b: Building, call: Call) -> None:
    """ArgMax: indices along one axis."""
    if call.attributes.get("select_last_index", 0):
        raise Unsupported("select_last_index")
    tensor, keep = call.input(0), bool(call.attributes.get("keepdims", 1))
    axis, name = b.axis(tensor, call.attributes.get("axis", 0)), b.given(call.input(0))
    if axis < 0:
        raise Unsupported("along an axis of one element")
    shape = tuple(1 if i == axis else side for i, side in enumerate(b.made[name]) if keep or i != axis) or (1,)
    b.finish(call, b.emit(call, "reduce", [name], shape, function="argmax", axes=[axis], keep=keep))


def softmax(b: Building, call: Call) -> None:
    """Softmax and LogSoftmax; before opset 13, over all axes from the one that is named."""
    tensor = call.input(0)
    shape, name = b.shape(tensor), b.given(tensor)
    axis = call.attributes.get("axis", -1 if call.version >= 13 else 1) % max(1, len(shape))
    whole = call.version < 13 and math.prod(shape[axis + 1 :]) > 1
    before = b.made[name]
    if whole or axis < b.lost(tensor):
        rows = math.prod(shape[:axis])
        name = b.shaped(call, name, (rows, math.prod(shape[axis:])) if whole else (*shape, 1)[: len(shape)])
        mine = -1 if whole else axis
    else:
        mine = axis - b.lost(tensor)
    fields = {} if mine in (-1, len(b.made[name]) - 1) else {"axis": mine}
    name = b.emit(call, "softmax", [name], b.made[name], **fields)
    if call.kind == "LogSoftmax":
        name = activate(b, call, name, "log")
    b.finish(call, b.shaped(call, name, before))


def local_norm(b: Building, call: Call) -> None:
    """LRN, x / (bias + alpha mean)^beta: the mean of squares over `size` channels is a pool of [channels, places]."""
    get, name = call.attributes.get, b.given(call.input(0))
    shape, size = b.made[name], int(call.attributes["size"])
    if b.shape(call.input(0))[0] != 1:
        raise Unsupported("its first axis is not 1; make it 1 with --size, `--batch` adds the samples")
    flat = (1, shape[0], math.prod(shape[1:]))
    squares = b.emit(call, "elementwise", [name, name], shape, function="mul")
    pad = [[(size - 1) // 2, size // 2], [0, 0]]
    fields = {"function": "mean", "kernel": [size, 1], "stride": 1, "pad": pad, "counted": True}
    mean = b.emit(call, "pool", [b.shaped(call, squares, flat)], flat, **fields)
    mean = by_number(b, call, b.shaped(call, mean, shape), "mul", float(get("alpha", 1e-4)))
    mean = by_number(b, call, by_number(b, call, mean, "add", float(get("bias", 1.0))), "pow", float(get("beta", 0.75)))
    b.finish(call, b.emit(call, "elementwise", [name, mean], shape, function="div"))


def layer_norm(b: Building, call: Call) -> None:
    """LayerNormalization and RMSNormalization of the last axis."""
    b.sole(call)
    tensor, name = call.input(0), b.given(call.input(0))
    if call.attributes.get("axis", -1) not in (-1, len(b.shape(tensor)) - 1):
        raise Unsupported("over more axes than the last")
    rms = call.kind == "RMSNormalization"
    _norm(b, call, name, "rms" if rms else "layer", {"shift": 2} if not rms else {}, {})


def instance_norm(b: Building, call: Call) -> None:
    """InstanceNormalization."""
    if b.shape(call.input(0))[0] != 1:
        raise Unsupported("its first axis is not 1; make it 1 with --size, `--batch` adds the samples")
    _norm(b, call, b.given(call.input(0)), "instance", {"shift": 2}, {"channels": "first"})


def _norm(b: Building, call: Call, name: str, kind: str, shifts: dict[str, int], fields: dict[str, Any]) -> None:
    epsilon = float(call.attributes.get("epsilon", 1e-5))
    gain = b.constant(call, 1, "gain")
    shift = b.constant(call, 2, "shift") if shifts and call.has(2) else None
    mine = b.emit(call, "norm", [name], b.made[name], kind=kind, **fields, epsilon=epsilon)
    b.arrays[f"{mine}.gain"] = lambda: gain.array.reshape(-1)

    def zeros() -> Array:
        return np.zeros(gain.size, np.float32)

    if kind != "rms":
        b.arrays[f"{mine}.shift"] = (lambda: shift.array.reshape(-1)) if shift is not None else zeros
    b.finish(call, mine)
