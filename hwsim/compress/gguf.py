"""GGUF files, read: plain floats, Q8_0, Q4_0, MXFP4 and NVFP4; the names of tensors stay llama.cpp's.

    Q8_0    float16 scale, 32 int8                        x = q d
    Q4_0    float16 scale, 16 bytes                       x = (q - 8) d
    MXFP4   E8M0 byte, 16 bytes                           x = E2M1 2^(byte - 127)
    NVFP4   4 E4M3 bytes without sign, 4 x 8 bytes        x = E2M1 scale [x the tensor X.scale, where there is one]

Byte j of n bytes holds element j in its low half and element j + n in its high half. Blocks follow along K, the last
axis of the shape as it is shown here (GGUF lists axes the other way round).

source: ggml's ggml-common.h and ggml-quants.c; the package `gguf` reads the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim.compress.checkpoint import Checkpoint, Shard, Tensor
from hwsim.compress.parts import Held
from hwsim.compress.weights import Weight
from hwsim.errors import InputError
from hwsim.extras import missing
from hwsim.files.yaml import short
from hwsim.formats import get_format
from hwsim.formats.elements import E2M1, E4M3, E8M0_VALUES
from hwsim.formats.format import Encoded, Format

GGUF = "gguf"
_E2M1 = np.array(E2M1.values)
_E8M0 = np.array(E8M0_VALUES)
_E4M3 = np.array([abs(E4M3.values[code & 0x7F]) for code in range(256)])
_BLOCKS = {"Q8_0": (32, 34), "Q4_0": (32, 18), "MXFP4": (32, 17), "NVFP4": (64, 36)}
"""Values and bytes of a block."""
_WORDS = {"Q8_0": "q8_0", "Q4_0": "q4_0", "MXFP4": "mxfp4_e2m1", "NVFP4": "nvfp4"}
_PLAIN = {"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"}
QUANT = "GGUF "
"""Start of the data type of a tensor in blocks: its name follows."""


def read_gguf(path: Path) -> Checkpoint:
    """The tensors of a file. raises: InputError for a file that is no GGUF or damaged; InputError without `gguf`."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise missing("GGUF files", "gguf", "gguf") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        reader = GGUFReader(path)
        tensors = []
        for t in reader.tensors:
            kind = t.tensor_type.name
            shape = tuple(int(n) for n in reversed(t.shape.tolist()))
            dtype = kind if kind in _PLAIN else QUANT + kind
            tensors.append(Tensor(str(t.name), dtype, shape, int(t.data_offset), int(t.n_bytes)))
        stat = path.stat()
    except Exception as error:  # the package checks little, and a damaged file may raise anything
        raise InputError(f"{path}: not a GGUF file that can be read: {short(repr(error), 200)}") from error
    names = [t.name for t in tensors]
    outside = [t.name for t in tensors if t.start + t.nbytes > stat.st_size]
    if outside or len(set(names)) < len(names):
        raise InputError(f"{path}: a damaged GGUF file: tensors of one name, or beyond its end")
    return Checkpoint((Shard(path, tuple(tensors), {}, (stat.st_size, stat.st_mtime_ns)),))


@dataclass(frozen=True)
class GgufWeight(Weight):
    """One tensor in blocks. kind: GGUF's name of the type. parts: the tensor, and X.scale of NVFP4 if there is one."""

    kind: str

    @property
    def tensor_scale(self) -> np.float32:
        """The factor of an NVFP4 tensor: X.scale, or 1."""
        return np.float32(self.parts[1].floats().reshape(-1)[0]) if len(self.parts) > 1 else np.float32(1)

    @property
    def format(self) -> Format | None:
        """MXFP4 and NVFP4 are formats of hwsim; their blocks are stored in another order of bytes alone."""
        if self.kind == "MXFP4":
            return get_format("mxfp4")
        if self.kind == "NVFP4" and 0 < self.tensor_scale < np.inf:
            return get_format("nvfp4", tensor_scale=float(self.tensor_scale))
        return None

    def _blocks(self, first: int, last: int) -> np.ndarray:
        """uint8[rows, blocks, bytes of a block]."""
        values, size = _BLOCKS[self.kind]
        row = self.k // values * size
        held = self.parts[0]
        data = held.shard.data(held.tensor, first * row, last * row)
        return np.array(data).reshape(last - first, -1, size)

    def rows(self, first: int, last: int) -> np.ndarray:
        """Values, rounded once."""
        blocks = self._blocks(first, last)
        if self.kind in ("MXFP4", "NVFP4"):
            codes, scales = self._codes(blocks)
            values = _E2M1[codes].reshape(*scales.shape, -1)
            # ggml gives an NVFP4 scale of 0x7F the value 0, where the hardware and `codes` have NaN.
            table = _E8M0 if self.kind == "MXFP4" else np.where(np.isnan(_E4M3), 0.0, _E4M3) * float(self.tensor_scale)
            with np.errstate(over="ignore", invalid="ignore"):
                return (values * table[scales][..., None]).astype(np.float32).reshape(last - first, self.k)
        d = blocks[..., :2].copy().view("<f2").astype(np.float64)
        body = blocks[..., 2:]
        q = body.view(np.int8).astype(np.float64) if self.kind == "Q8_0" else _halves(body).astype(np.float64) - 8
        return (q * d).astype(np.float32).reshape(last - first, self.k)

    def _codes(self, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(E2M1 codes [rows, K], scale bytes [rows, scaled blocks])."""
        rows = len(blocks)
        if self.kind == "MXFP4":
            return _halves(blocks[..., 1:]).reshape(rows, -1), blocks[..., 0]
        quarters = blocks[..., 4:].reshape(rows, -1, 8)
        return _halves(quarters).reshape(rows, -1), blocks[..., :4].reshape(rows, -1)

    def codes(self, first: int, last: int) -> Encoded:
        """Codes and scales in the order of hwsim."""
        form = self.format
        if form is None:
            return super().codes(first, last)
        codes, scales = self._codes(self._blocks(first, last))
        tensor = self.tensor_scale if self.kind == "NVFP4" else None
        return Encoded(form, (last - first, self.k), 1, codes, np.ascontiguousarray(scales), None, tensor)


def _halves(data: np.ndarray) -> np.ndarray:
    """[..., 2 n] codes of n bytes: all low halves, then all high ones."""
    return np.concatenate([data & 15, data >> 4], axis=-1)


def find_gguf(tensors: dict[str, Held], method: str) -> list[Weight]:
    """Weights of the types that are read. raises: InputError where a row is no whole number of blocks."""
    found: list[Weight] = []
    for name, held in tensors.items():
        kind = held.tensor.dtype.removeprefix(QUANT)
        if not held.tensor.dtype.startswith(QUANT) or kind not in _BLOCKS or not held.tensor.shape:
            continue
        values, size = _BLOCKS[kind]
        shape = held.tensor.shape
        if shape[-1] % values or held.tensor.size // values * size != held.tensor.nbytes:
            raise InputError(f"{held.place}: {kind} of shape {shape} in {held.tensor.nbytes} bytes; it is damaged")
        scale = tensors.get(name.removesuffix(".weight") + ".scale") if kind == "NVFP4" else None
        whole = (scale,) if scale is not None and scale.tensor.dtype == "F32" and scale.tensor.size == 1 else ()
        found.append(GgufWeight(name, GGUF, _WORDS[kind], shape, len(shape) - 1, (held, *whole), kind))
    return found
