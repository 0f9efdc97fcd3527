"""Compressed models: safetensors files with weights in any number format, and back.

    compress("model.safetensors", "small.safetensors", "seedlm4", progress=print)
    decompress("small.safetensors", "again.safetensors")
    print(inspect_text(inspect("small.safetensors")))

A compressed tensor is stored under its own name as a uint8 tensor with the bytes of `Encoded.to_bytes()`; the
metadata entry `hwsim` records its format, shape, data type and error. Every other tensor is copied.
"""

from hwsim.compress.jobs import compress, convert, decompress
from hwsim.compress.selection import KEEP, read_map
from hwsim.compress.table import Inspection, TensorRow, inspect, inspect_text
from hwsim.compress.writing import Progress

__all__ = [
    "KEEP", "Inspection", "Progress", "TensorRow",
    "compress", "convert", "decompress", "inspect", "inspect_text", "read_map",
]  # fmt: skip
