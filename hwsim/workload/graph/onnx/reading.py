"""An ONNX file is read, and its nodes are translated one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, collect, nearest
from hwsim.extras import missing
from hwsim.files.yaml import raise_problems, short
from hwsim.workload.graph.onnx.building import Building, Call, Skip, Unsupported
from hwsim.workload.graph.onnx.constant import Constant, computed, stored
from hwsim.workload.graph.onnx.imported import Imported
from hwsim.workload.graph.onnx.operators import TRANSLATIONS
from hwsim.workload.graph.tensor import MOST_ELEMENTS

#: Operator sets that are read.
OPSETS = (7, 28)
#: A protocol buffer holds no more.
MOST_BYTES = 2**31 - 1
#: Most nodes of one operator that a message names.
MOST_NAMED = 8


def read_onnx(path: str | Path, sizes: Mapping[str, int] | None = None) -> Imported:
    """The file in the layout of a graph file.

    sizes: numbers of axes by their name in the file or as `input.axis`, and values of whole-number inputs of one
    element. raises: InputError with every problem found; InputError without the `onnx` library.
    """
    model = _model(Path(path))
    return _Reading(short(path, 200), model, dict(sizes or {})).imported(Path(path))


def _model(path: Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise missing("ONNX files", "onnx", "onnx") from None
    name = short(path, 200)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{name}: larger than 2 GiB, which no ONNX file can be; store its weights in other files")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: cannot be read ({why}); write the path of an ONNX file") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(raw)
    except DecodeError:
        raise InputError(f"{name}: not a whole ONNX file; download or export it again") from None
    if not model.graph.node:
        raise InputError(f"{name}: holds no nodes, so it is no ONNX model; download or export it again")
    if any(isinstance(text, bytes) for text in _texts(model.graph)):
        raise InputError(f"{name}: holds names that are not UTF-8 text; download or export it again")
    if model.functions:
        from onnx import inliner

        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # whatever the library raises about a broken file
            raise InputError(f"{name}: its functions cannot be inlined ({_line(error)}); export it without") from None
    return model


def _texts(whole: Any) -> Iterator[str | bytes]:
    """Names in a graph and in its branches; the library gives bytes where they are no text."""
    for each in (*whole.input, *whole.output):
        yield from (each.name, *(side.dim_param for side in each.type.tensor_type.shape.dim))
    yield from (each.name for each in whole.initializer)
    for node in whole.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            yield from _texts(attribute.g)


def _line(error: BaseException) -> str:
    """The first line of an error."""
    return short(str(error).strip().split("\n")[0], 200)


class _Reading:
    """One file being translated."""

    def __init__(self, source: str, model: Any, sizes: dict[str, int]) -> None:
        self.source, self.model, self.sizes = source, model, sizes
        self.b = Building()
        self.problems: list[str] = []
        self.refused: Counter[str] = Counter()
        self.version = max([each.version for each in model.opset_import if each.domain in ("", "ai.onnx")], default=1)

    def say(self, where: str, message: str) -> None:
        """Add a problem."""
        self.problems.append(f"{self.source}: {where}{': ' if where else ''}{message}")

    def imported(self, path: Path) -> Imported:
        """The translation. raises: InputError."""
        b, whole = self.b, self.model.graph
        if not OPSETS[0] <= self.version <= OPSETS[1]:
            raise InputError(
                f"{self.source}: opset {self.version}; hwsim reads {OPSETS[0]} to {OPSETS[1]}: convert it with "
                "onnx.version_converter.convert_version(model, 17)"
            )
        for tensor in whole.initializer:
            self._known(tensor.name, stored(tensor))
        originals = self._inputs(whole)
        b.taken |= {each.name for each in whole.output} | set(_taken(whole))
        if not self.problems:
            self._nodes(whole.node, "")
        for kind, n in self.refused.items():
            if n > MOST_NAMED:
                self.say("", f"and {n - MOST_NAMED} more nodes {kind} that are not supported")
        outputs = [] if self.problems else self._outputs(whole)
        if self.problems:
            raise_problems(self.problems)
        needed, ops = set(outputs), []
        for op in reversed(b.ops):
            if op["name"] in needed:
                ops.append(op)
                needed |= {*op["in"]}
        if not any(op["op"] not in ("reshape", "slice") for op in ops):
            why = "its nodes move data and compute nothing" if ops else "its results do not depend on its inputs"
            raise InputError(f"{self.source}: {why}; there is nothing to simulate")
        inputs = {name: shape for name, shape in b.inputs.items() if name in needed}
        data: dict[str, Any] = {
            "name": _slug(path.stem),
            "description": f"{short(path.name, 80)}, opset {self.version}"[:200],
            "inputs": {
                name: {"shape": list(shape), "rows": b.rows[name]} if name in b.rows else list(shape)
                for name, shape in inputs.items()
            },
        }
        parameters = {name: list(shape) for name, shape in b.parameters.items() if name in needed}
        if parameters:
            data["parameters"] = parameters
        data |= {"ops": ops[::-1], "outputs": list(dict.fromkeys(outputs))}
        kept = {*parameters, *(op["name"] for op in ops)}
        arrays = {name: make for name, make in b.arrays.items() if name in kept or name.rpartition(".")[0] in kept}
        return Imported(
            self.source,
            data,
            {name: originals[name] for name in inputs},
            tuple(outputs),
            tuple(b.notes),
            arrays,
        )

    # -- what enters and leaves --------------------------------------------------------------------

    def _inputs(self, whole: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Declare the inputs; (name in the file, shape) by the graph's name."""
        import numpy as np
        from onnx import TensorProto, helper

        known, found, used = {each.name for each in whole.initializer}, {}, set()
        samples = {axes[0].dim_param for each in whole.input if (axes := each.type.tensor_type.shape.dim)} - {""}
        for each in whole.input:
            if each.name in known:
                continue
            if not each.type.HasField("tensor_type"):
                self.say(f"input `{short(each.name)}`", "is no tensor; export the model with tensors only")
                continue
            kind, shape = each.type.tensor_type.elem_type, []
            for i, side in enumerate(each.type.tensor_type.shape.dim):
                keys = [key for key in (f"{each.name}.{i}", side.dim_param) if key in self.sizes]
                used |= {*keys[:1], *([side.dim_param] if side.dim_param in self.sizes else [])}
                if keys:
                    shape.append(self.sizes[keys[0]])
                elif side.dim_value > 0:
                    shape.append(side.dim_value)
                elif i == 0 or side.dim_param in samples:  # the batch axis
                    shape.append(1)
                else:
                    named = side.dim_param and side.dim_param.isidentifier()
                    key = side.dim_param if named else f"{each.name}.{i}"
                    self.say(f"input `{short(each.name)}`", f"axis {i} has no size; write --size {key}=N")
                    shape.append(1)
            if not shape and not each.type.tensor_type.HasField("shape"):
                self.say(f"input `{short(each.name)}`", "has no rank; export the model with its shape")
            n = int(np.prod(shape, dtype=object))
            real = kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
            if n == 1 and not real and each.name in self.sizes:
                used.add(each.name)
                value = np.full(shape, self.sizes[each.name], helper.tensor_dtype_to_np_dtype(kind))
                self._known(each.name, Constant(tuple(shape), kind, lambda value=value: value))  # type: ignore[misc]
                continue
            if n > MOST_ELEMENTS:
                self.say(f"input `{short(each.name)}`", f"has {n:,} elements; write at most {MOST_ELEMENTS:,}")
            mine = self.b.unique(each.name)
            self.b.shapes[each.name], self.b.kinds[each.name], self.b.names[each.name] = tuple(shape), kind, mine
            from hwsim.workload.graph.onnx.building import bare

            self.b.inputs[mine] = self.b.made[mine] = bare(shape)
            found[mine] = (each.name, tuple(shape))
        names = sorted(
            {d.dim_param for each in whole.input for d in each.type.tensor_type.shape.dim if d.dim_param}
            | {f"{each.name}.{i}" for each in whole.input for i in range(len(each.type.tensor_type.shape.dim))}
        )
        for key in self.sizes.keys() - used:
            near = nearest(key[:60], names)
            self.problems.append(f"--size {short(key)}: no axis of {self.source} has this name{near}")
        return found

    def _outputs(self, whole: Any) -> list[str]:
        found = []
        for each in whole.output:
            name = self.b.names.get(each.name)
            if each.name in self.b.constants:
                self.b.note(f"result `{short(each.name)}` does not depend on the inputs and is left out")
            elif name is None:
                self.say(f"result `{short(each.name)}`", "is made by no node; export the model again")
            else:
                found.append(name)
        return found

    # -- nodes -------------------------------------------------------------------------------------

    def _known(self, name: str, constant: Constant) -> None:
        b = self.b
        b.constants[name], b.shapes[name], b.kinds[name] = constant, constant.shape, constant.kind
        b.names.pop(name, None)

    def _nodes(self, nodes: Sequence[Any], prefix: str) -> None:
        for i, node in zip(count(), nodes, strict=False):
            self._node(Call(node, f"{prefix}{i}", self.version))

    def _node(self, call: Call) -> None:
        node, b = call.node, self.b
        where = f"node {call.number}" + (f" `{short(node.name)}`" if node.name else "") + f" ({short(node.op_type)})"
        try:
            for name in filter(None, node.input):
                if name not in b.shapes and name not in b.names:
                    raise Unsupported(f"takes `{short(name)}`, which no node before it makes; export the model again")
            for name in filter(None, node.output):
                if name in b.names or name in b.constants:
                    raise Unsupported(f"makes `{short(name)}`, which is there already; give each tensor its own name")
            if node.op_type == "If" and not node.domain:
                self._branch(call, where)
                return
            if self._folded(call):
                return
            self._inferred(call)
            translate = TRANSLATIONS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if translate is None:
                self._refuse(call, where)
                return
            translate(b, call)
        except Unsupported as error:
            self.say(where, str(error))
        except Skip:
            pass
        except InputError as error:
            self.problems += [f"{self.source}: {where}: {problem}" for problem in error.problems]
        except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
            self.say(where, f"is malformed ({type(error).__name__}: {_line(error)}); export the model again")
        for name in filter(None, node.output):
            if name not in b.constants:
                b.names.setdefault(name, None)

    def _refuse(self, call: Call, where: str) -> None:
        kind = f"{call.node.domain}.{call.kind}" if call.node.domain not in ("", "ai.onnx") else call.kind
        self.refused[kind] += 1
        if self.refused[kind] <= MOST_NAMED:
            self.say(where, f"the operator {short(kind)} is not supported")

    def _branch(self, call: Call, where: str) -> None:
        """If with a condition that the inputs do not change: the nodes of its branch take its place."""
        condition = self.b.constant(call, 0, "condition")
        taken = bool(condition.array.reshape(-1)[0])
        branch = call.attributes["then_branch" if taken else "else_branch"]
        for tensor in branch.initializer:
            self._known(tensor.name, stored(tensor))
        self._nodes(branch.node, f"{call.number}.")
        b = self.b
        for output, inner in zip(call.node.output, branch.output, strict=True):
            if inner.name in b.constants:
                self._known(output, b.constants[inner.name])
            else:
                b.names[output] = b.names.get(inner.name)
                if inner.name in b.shapes:
                    b.shapes[output], b.kinds[output] = b.shapes[inner.name], b.kinds.get(inner.name, 1)
        which = "then" if taken else "else"
        b.note(f"{where}: its condition does not depend on the inputs; the {which} branch is imported")

    def _folded(self, call: Call) -> bool:
        """Compute a node that no input changes."""
        import numpy as np
        from onnx import AttributeProto, TensorProto

        node, b = call.node, self.b
        if node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type in ("Shape", "Size"):
            shape = b.shape(call.input(0))
            whole = np.array(shape, np.int64)
            get = call.attributes.get
            value = whole[slice(get("start", 0), get("end"))] if node.op_type == "Shape" else np.prod(whole)
            self._known(call.made(0), Constant(value.shape, TensorProto.INT64, lambda: np.asarray(value)))
            return True
        if any(each.type == AttributeProto.GRAPH for each in node.attribute):
            return False
        if node.op_type in ("RandomNormal", "RandomUniform") or not all(n in b.constants for n in node.input if n):
            return False
        if node.op_type == "Constant" and "value" in call.attributes:
            self._known(call.made(0), stored(call.attributes["value"]))
            return True
        given = {name: b.constants[name] for name in node.input if name}
        small = all(each.small for each in given.values())
        try:
            self._inferred(call)
        except Unsupported:
            if not small:
                raise
        for output in filter(None, node.output):
            sides = b.shapes.get(output)
            constant = computed(node, self.model.opset_import, given, sides or (), b.kinds.get(output, 0), output)
            if sides is None or (small and constant.small):
                array = constant.array  # small, or of a shape that only its elements tell
                constant = Constant(array.shape, b.kinds.get(output, 1), lambda array=array: array)  # type: ignore[misc]
            self._known(output, constant)
        return True

    def _inferred(self, call: Call) -> None:
        """Shapes of a node's outputs, by the `onnx` library. raises: Unsupported if they depend on data."""
        from onnx import defs, helper, numpy_helper, shape_inference

        node, b = call.node, self.b
        try:
            schema = defs.get_schema(node.op_type, self.version, "" if node.domain == "ai.onnx" else node.domain)
        except Exception:  # an operator that the library does not know: `_refuse` says so
            return
        if schema.deprecated and node.op_type == "Upsample":
            schema = defs.get_schema("Upsample", 9)
        types, data = {}, {}
        unread: list[str] = []
        for name in filter(None, node.input):
            if name not in b.shapes:
                raise Skip
            types[name] = helper.make_tensor_type_proto(b.kinds.get(name, 1), b.shapes[name])
            if name in b.constants and b.constants[name].small:
                with collect(unread):  # an error only if a shape depends on it
                    data[name] = numpy_helper.from_array(b.constants[name].array, name)
        try:
            found = shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=list(self.model.opset_import), ir_version=self.model.ir_version
            )
        except Exception as error:  # the library raises its own error, and others on broken nodes
            raise Unsupported(f"its shapes do not match ({_line(error)}); export the model again") from None
        for output in filter(None, node.output):
            tensor: Any = found[output].tensor_type if output in found else None
            whole = tensor is not None and tensor.HasField("shape")
            sides = [side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim] if whole else []
            if not whole or min(sides, default=0) < 0:
                if unread:
                    raise InputError(*unread)
                if output in b.taken:
                    raise Unsupported(f"the shape of `{short(output)}` depends on data; write it out in the model")
                continue
            b.shapes[output], b.kinds[output] = tuple(sides), tensor.elem_type


def _taken(whole: Any) -> Iterator[str]:
    """Names that nodes take, those in branches included."""
    for node in whole.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _taken(attribute.g)
                yield from (each.name for each in attribute.g.output)


def _slug(text: str) -> str:
    """A text as the name of a graph."""
    name = "".join(c if c.isascii() and c.isalnum() or c in "._-" else "-" for c in text.lower()).lstrip("._-")[:60]
    return name or "net"
