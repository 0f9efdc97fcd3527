"""Tensors of an ONNX file that do not depend on its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.graph.tensor import Shape

Array = np.ndarray[Any, np.dtype[Any]]

#: Elements of the largest constant that is computed; larger ones keep their shape only.
MOST_ELEMENTS = 2**28
#: Elements of a constant that counts as small: it is computed at once, and may tell a shape.
SMALL = 1024


@dataclass(frozen=True)
class Constant:
    """A tensor that no input changes; its elements are computed when they are asked for.

    kind: ONNX's number of its element type.
    """

    shape: Shape
    kind: int
    make: Callable[[], Array]

    @property
    def size(self) -> int:
        """Elements."""
        size = 1
        for side in self.shape:
            size *= side
        return size

    @property
    def small(self) -> bool:
        """Whether it may be computed on the way."""
        return self.size <= SMALL

    @cached_property
    def array(self) -> Array:
        """The elements. raises: InputError if they are too many, or in another file."""
        if self.size > MOST_ELEMENTS:
            raise InputError(f"a constant has {self.size:,} elements; at most {MOST_ELEMENTS:,} are computed")
        return self.make()

    def numbers(self) -> list[int]:
        """The elements of a small constant as whole numbers."""
        return [int(each) for each in np.atleast_1d(self.array).reshape(-1)]


def stored(tensor: Any) -> Constant:
    """The constant of a TensorProto."""
    from onnx import TensorProto, numpy_helper

    def make() -> Array:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise InputError(
                f"`{tensor.name[:60]}` is stored in another file; save the model as one file with "
                "`onnx.save_model(onnx.load(path), path, save_as_external_data=False)`"
            )
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"`{tensor.name[:60]}` cannot be read ({error}); export the model again") from None

    return Constant(tuple(tensor.dims), tensor.data_type, make)


def computed(node: Any, opsets: Any, given: dict[str, Constant], shape: Shape, kind: int, output: str) -> Constant:
    """The result of a node whose inputs are constants, by the reference evaluator of the `onnx` library."""

    def make() -> Array:
        from onnx import TensorProto, helper
        from onnx.reference import ReferenceEvaluator

        inputs = [helper.make_tensor_value_info(name, each.kind, each.shape) for name, each in given.items()]
        outputs = [helper.make_tensor_value_info(output, kind or TensorProto.FLOAT, None)]
        model = helper.make_model(helper.make_graph([node], "constant", inputs, outputs), opset_imports=list(opsets))
        try:
            found: Any = ReferenceEvaluator(model).run(None, {name: each.array for name, each in given.items()})
        except InputError:
            raise
        except Exception as error:  # the evaluator raises whatever numpy does
            raise InputError(f"{node.op_type} of constants cannot be computed ({error})") from None
        return np.asarray(found[0])

    return Constant(shape, kind, make)
