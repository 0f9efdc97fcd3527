"""Values of graph ops, one sample at a time: float32, or with operands rounded by a `quantize` function.

`quantize(x, what)` returns x rounded along its last axis, which is the reduction of the op; `what` is "weights",
"activations" (the other operand of a multiply-add) or "vector" (a result of the vector unit). Of `hwsim.workload` only
this package, `graph.data` and `graph.onnx` import numpy, none of which a run without values or files loads.
"""

from hwsim.workload.graph.values.evaluate import evaluate, random_weights, value
from hwsim.workload.graph.values.functions import Quantize

__all__ = ["Quantize", "evaluate", "random_weights", "value"]
