"""Operator of ONNX -> the function that translates it."""

from __future__ import annotations

from collections.abc import Callable

from hwsim.workload.graph.onnx import dense, elementwise, layout
from hwsim.workload.graph.onnx.building import Building, Call

TRANSLATIONS: dict[str, Callable[[Building, Call], None]] = {
    "Conv": dense.conv,
    "ConvTranspose": dense.conv,
    "MaxPool": dense.pool,
    "AveragePool": dense.pool,
    "GlobalAveragePool": dense.global_pool,
    "GlobalMaxPool": dense.global_pool,
    "BatchNormalization": dense.batch_norm,
    "MatMul": dense.matmul,
    "Gemm": dense.gemm,
    "LSTM": dense.recurrent,
    "GRU": dense.recurrent,
    **dict.fromkeys(elementwise.FUNCTIONS, elementwise.function),
    **dict.fromkeys(elementwise.ARITHMETIC, elementwise.arithmetic),
    **dict.fromkeys(elementwise.REDUCTIONS, elementwise.reduce),
    "LeakyRelu": elementwise.sloped,
    "Elu": elementwise.sloped,
    "PRelu": elementwise.sloped,
    "HardSigmoid": elementwise.hard_sigmoid,
    "Clip": elementwise.clip,
    "Not": elementwise.negate,
    "Ceil": elementwise.ceil,
    "Cast": elementwise.cast,
    "ArgMax": elementwise.argmax,
    "Softmax": elementwise.softmax,
    "LogSoftmax": elementwise.softmax,
    "LayerNormalization": elementwise.layer_norm,
    "RMSNormalization": elementwise.layer_norm,
    "LRN": elementwise.local_norm,
    "InstanceNormalization": elementwise.instance_norm,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"), layout.same),
    "Transpose": layout.transpose,
    "Concat": layout.concat,
    "Slice": layout.slice_,
    "Split": layout.split,
    "Gather": layout.gather,
    "Expand": layout.expand,
    "Tile": layout.expand,
    "Pad": layout.pad,
    "Resize": layout.resize,
    "Upsample": layout.resize,
    "DepthToSpace": layout.blocks,
    "SpaceToDepth": layout.blocks,
    "TopK": layout.topk,
}
