"""Checkpoints on disk: one safetensors file, or shards with an index; names, shapes and bytes of tensors.

The safetensors library checks every header before this module uses it. Data is read through a memory map, so that
only the current tensor is in memory.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.extras import missing
from hwsim.files.yaml import short

FLOATS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Data types of plain weights, and how numpy reads them; bfloat16 is read as its bits."""

_INDEX = ".safetensors.index.json"
_MAX_INDEX_BYTES = 64 << 20
_MAX_BF16 = np.uint32(0x7F7F0000).view(np.float32)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file. start: offset in the file, in bytes. nbytes: stored size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Shard:
    """One safetensors file. metadata: its text entries. stamp: (size in bytes, time of the last change in ns)."""

    path: Path
    tensors: tuple[Tensor, ...]
    metadata: dict[str, str]
    stamp: tuple[int, int]

    def data(self, tensor: Tensor, first: int = 0, last: int | None = None) -> np.ndarray:
        """uint8[last - first]: bytes of a tensor, mapped from the file. raises: InputError if it cannot be read."""
        count = (tensor.nbytes if last is None else last) - first
        if not count:
            return np.empty(0, np.uint8)
        try:
            return np.memmap(self.path, np.uint8, "r", tensor.start + first, (count,))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: {tensor.name} cannot be read: {error}") from error

    def values(self, tensor: Tensor) -> np.ndarray:
        """float32[shape] or float16[shape] of a tensor whose type is in `FLOATS`; bfloat16 becomes float32, exactly."""
        stored = self.data(tensor).view(FLOATS[tensor.dtype]).reshape(tensor.shape)
        return widen(stored) if tensor.dtype == "BF16" else stored


@dataclass(frozen=True)
class Checkpoint:
    """All files of a model. index: path of the index if the model is sharded, else None."""

    shards: tuple[Shard, ...]
    index: Path | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The `config.json` beside the files; empty where there is none. raises: InputError for one that is no JSON."""
        path = self.shards[0].path.parent / "config.json"
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: cannot be read: {short(error, 120)}") from error
        return found if isinstance(found, dict) else {}

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file."""
        return self.shards[0].path.suffix == ".gguf"

    @property
    def method(self) -> str:
        """How the config says that the model is quantised: "modelopt", "compressed-tensors", "gptq_v2", or ""."""
        said = self.config.get("quantization_config")
        if not isinstance(said, dict):
            return ""
        if said.get("checkpoint_format") == "gptq_v2":
            return "gptq_v2"
        return str(said.get("quant_method", ""))

    @property
    def tensors(self) -> list[Tensor]:
        """Tensors of all shards."""
        return [tensor for shard in self.shards for tensor in shard.tensors]


def widen(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bits, uint16[...], as float32[...], exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values in a type of `FLOATS`, rounded to nearest even; finite values stay finite."""
    if dtype == "F32":
        return values.astype(FLOATS[dtype], copy=False)
    top = _MAX_BF16 if dtype == "BF16" else np.float32(65504)
    values = np.where(np.isinf(values), values, np.clip(values, -top, top))
    if dtype == "F16":
        return values.astype(FLOATS[dtype])
    bits = values.view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + even) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(FLOATS[dtype])


def read_shard(path: Path) -> Shard:
    """Read the header of one file.

    raises: InputError for a file that safetensors rejects; InputError if that library is missing.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise missing("compressed models", "safetensors", "scale") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with path.open("rb") as f:
            start = f.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if start == b"GGUF":
        raise InputError(
            f"{path}: is a GGUF file; `hwsim inspect` and `hwsim decompress` read it under a name in .gguf"
        )
    try:
        with safe_open(path, framework="numpy"):
            pass  # raises unless the header is well formed: no overlap, no gap, nothing past the end
        stat = path.stat()
        with path.open("rb") as f:
            length = int.from_bytes(f.read(8), "little")
            header = json.loads(f.read(length))
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file: {short(error, 200)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {short(error, 200)}") from error
    metadata = header.pop("__metadata__", None) or {}
    tensors = [
        Tensor(name, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0],
               entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
    ]  # fmt: skip
    tensors.sort(key=lambda t: (t.start, t.nbytes, t.name))
    return Shard(path, tuple(tensors), metadata, (stat.st_size, stat.st_mtime_ns))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a `.safetensors` file, an index (`.json`), or a folder that contains either.

    raises: InputError for anything else, and for an index that is malformed, names files outside its folder, or
        names tensors that are not in its files.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("*" + _INDEX)) or sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            names = ", ".join(p.name for p in found[:4]) or "no .safetensors file"
            raise InputError(f"{path}: contains {names}; write the path of one file, or of an index")
        path = found[0]
    if path.suffix == ".json":
        return _read_index(path)
    return Checkpoint((read_shard(path),))


def _read_index(path: Path) -> Checkpoint:
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise InputError(
                f"{path}: an index of more than {_MAX_INDEX_BYTES >> 20} MiB is not read; write the path of an index"
            )
        index = json.loads(path.read_bytes())
        places = index["weight_map"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not an index of shards: {short(repr(error), 120)}") from error
    if not isinstance(places, dict) or not places or not all(isinstance(n, str) for n in places.values()):
        raise InputError(f"{path}: weight_map: is not a mapping of tensors to files; write {{tensor: file name}}")
    outside = sorted({n for n in places.values() if PurePath(n).name != n or not n.endswith(".safetensors")})
    if outside:
        what = "is not the name of a .safetensors file in the same folder"
        raise InputError(*(f"{path}: weight_map: {short(n)!r} {what}" for n in outside))
    shards = tuple(read_shard(path.parent / name) for name in sorted(set(places.values())))
    held = {(shard.path.name, tensor.name) for shard in shards for tensor in shard.tensors}
    problems = [f"{path}: {short(t)} is not in {n}" for t, n in places.items() if (n, t) not in held]
    names = [name for _, name in held]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    problems += [f"{path}: {short(t)} is in more than one file" for t in twice]
    if problems:
        raise InputError(*problems[:20])
    return Checkpoint(shards, path)
