"""Released checkpoints: the layouts in which models are published, and which of a file's tensors belong together.

    gpt-oss              X_blocks, X_scales                                         MXFP4
    modelopt             X.weight, X.weight_scale, X.weight_scale_2                 NVFP4; FP8 with one scale
    compressed-tensors   X.weight_packed or X.weight, X.weight_scale, ...           NVFP4, MXFP4, FP8, int8, int4
    deepseek             X.weight, X.weight_scale_inv                               FP8, a scale per 128 x 128
    gptq, awq            X.qweight, X.qzeros, X.scales                              int4, read only
    gguf                 one tensor of blocks                                       Q8_0 Q4_0 MXFP4 NVFP4, read only

A tensor that belongs to a weight is never a weight by itself: nothing quantises a scale.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from hwsim.compress.awq import find_awq, find_gptq
from hwsim.compress.checkpoint import FLOATS, Checkpoint
from hwsim.compress.fp4 import find_compressed_fp4, find_gpt_oss, find_modelopt_fp4
from hwsim.compress.fp8 import find_fp8, find_int8
from hwsim.compress.gguf import find_gguf
from hwsim.compress.int4 import find_compressed_int4
from hwsim.compress.orientation import k_axis
from hwsim.compress.parts import Held
from hwsim.compress.record import HWSIM, Record, read_records
from hwsim.compress.weights import PLAIN, PlainWeight, Weight, packed_weight

Tensors = dict[str, Held]

FINDERS: tuple[Callable[[Tensors, str], list[Weight]], ...] = (
    find_gpt_oss, find_modelopt_fp4, find_compressed_fp4, find_compressed_int4, find_gptq, find_awq, find_fp8,
    find_int8, find_gguf,
)  # fmt: skip
"""One function per layout: from all tensors that are left, and the checkpoint's quantisation method as its config says
it ("" if nothing says it), to the weights that they are."""

SCALE_NAMES = (
    "*_scale", "*_scale_inv", "*_scale_2", "*_scales", "*.scales", "*.qzeros", "*.g_idx", "*zero_point*", "*.absmax",
    "*.quant_map", "*.nested_absmax", "*global_scale",
)  # fmt: skip
"""Names of tensors that are scales of other tensors, also where nothing else of their layout is known."""


def looks_like_a_scale(name: str) -> bool:
    """Whether a tensor of that name is never a weight."""
    return any(fnmatchcase(name.lower(), glob) for glob in SCALE_NAMES)


def find_weights(source: Checkpoint) -> tuple[list[Weight], list[Held]]:
    """(every weight of a checkpoint, by name, the tensors that are no weight): integers, unknown types, stray scales.

    A plain tensor of floats is a weight, vectors too. raises: InputError for a damaged record, or parts of a weight
    that contradict one another.
    """
    left: Tensors = {t.name: Held(shard, t) for shard in source.shards for t in shard.tensors}
    found: list[Weight] = []
    for shard in source.shards:
        for name, record in read_records(shard).items():
            if record.layout == HWSIM:
                found.append(packed_weight(left.pop(name), record))
    for find in FINDERS:
        for weight in find(left, source.method):
            found.append(weight)
            for part in weight.parts:
                left.pop(part.name)
    shapes = {name: held.tensor.shape for name, held in left.items()}
    rest = []
    for name, held in left.items():
        if held.tensor.dtype in (*FLOATS, "F64") and held.tensor.shape and not looks_like_a_scale(name):
            axis = k_axis(name, shapes)
            found.append(PlainWeight(name, PLAIN, held.tensor.dtype, held.tensor.shape, axis, (held,)))
        else:
            rest.append(held)
    return sorted(found, key=lambda w: w.name), sorted(rest, key=lambda h: h.name)


def records_of(source: Checkpoint) -> dict[str, Record]:
    """The records of all files by the weight's name."""
    return {name: record for shard in source.shards for name, record in read_records(shard).items()}
