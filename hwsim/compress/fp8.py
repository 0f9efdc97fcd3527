"""FP8 and int8 weights of released checkpoints: DeepSeek's tiles of 128 x 128, a scale per row, a scale per tensor.

    X.weight_scale_inv   float32 or E8M0 [ceil(N / 128), ceil(K / 128)]: a factor, in spite of its name (DeepSeek)
    X.weight_scale       one number, [N] or [N, 1], or tiles as above (modelopt, compressed-tensors)

source: DeepSeek-V3's README.md of its weights and inference/kernel.py; compressed-tensors' compressor float-quantized;
NVIDIA Model-Optimizer's export to Hugging Face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.compress.fp4 import COMPRESSED, MODELOPT
from hwsim.compress.parts import Held
from hwsim.compress.weights import Weight
from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.elements import E4M3, E5M2
from hwsim.formats.format import Encoded, Format

DEEPSEEK = "deepseek"
TILE = 128

_TABLES = {
    "F8_E4M3": np.array(E4M3.values),
    "F8_E5M2": np.array(E5M2.values),
    "I8": np.array([*range(128), *range(-128, 0)], np.float64),
}


@dataclass(frozen=True)
class ByteWeight(Weight):
    """One byte per value, and a factor per tensor, row or tile.

    parts: the codes, then the scales. per: "tensor", "row" or "tile".
    """

    per: str

    @cached_property
    def factors(self) -> np.ndarray:
        """float32[], [rows] or [stack, tiles, tiles]: the factors as the file has them."""
        scales = self.parts[1].floats().astype(np.float32)
        if self.per == "tile":
            return scales.reshape(-1, *scales.shape[-2:])
        return scales.reshape(-1)

    @property
    def tile_rows(self) -> int:
        """128 for tiles."""
        return TILE if self.per == "tile" else 0

    @cached_property
    def form(self) -> Format | None:
        """fp8_e4m3, fp8_e5m2, fp8_row, fp8_block or int8; None for what is none of them."""
        kind = {"F8_E4M3": "e4m3", "F8_E5M2": "e5m2", "I8": "int8"}[self.parts[0].tensor.dtype]
        name = {
            ("e4m3", "tensor"): "fp8_e4m3", ("e5m2", "tensor"): "fp8_e5m2", ("e4m3", "row"): "fp8_row",
            ("e4m3", "tile"): "fp8_block", ("int8", "row"): "int8",
        }.get((kind, self.per))  # fmt: skip
        if name is None or (self.per == "row" and len(self.factors) != self.row_count):
            return None
        if self.per != "tensor":
            return get_format(name)
        scale = float(self.factors[0])
        return get_format(name, tensor_scale=scale) if 0 < scale < np.inf else None

    @property
    def format(self) -> Format | None:
        """See `form`."""
        return self.form

    def _bytes(self, first: int, last: int) -> np.ndarray:
        return np.array(self.parts[0].array().reshape(self.row_count, self.k)[first:last]).view(np.uint8)

    def _tiles(self, first: int, last: int) -> np.ndarray:
        """float32[rows of tiles, tiles in a row] of rows that lie in one matrix and begin at a tile."""
        matrix, row = divmod(first, self.shape[-2])
        tiles: np.ndarray = self.factors[matrix, row // TILE : -(-(row + last - first) // TILE)]
        return tiles

    def rows(self, first: int, last: int) -> np.ndarray:
        """float32(code x factor), rounded once."""
        values = _TABLES[self.parts[0].tensor.dtype][self._bytes(first, last)]
        if self.per == "tensor":
            factors = self.factors[:1].astype(np.float64)
        elif self.per == "row":
            rows = np.broadcast_to(self.factors, self.row_count) if self.factors.size == 1 else self.factors
            factors = rows[first:last, None].astype(np.float64)
        else:
            wide = np.repeat(self._tiles(first, last), TILE, axis=0)[: last - first]
            factors = np.repeat(wide, TILE, axis=1)[:, : self.k].astype(np.float64)
        with np.errstate(over="ignore"):
            return (values * factors).astype(np.float32)

    def codes(self, first: int, last: int) -> Encoded:
        """The bytes and their factors, where `format` is one."""
        if self.form is None:
            return super().codes(first, last)
        codes, shape = self._bytes(first, last), (last - first, self.k)
        if self.per == "tensor":
            return Encoded(self.form, shape, 1, codes, None, None, np.float32(self.factors[0]))
        if self.per == "row":
            return Encoded(self.form, shape, 1, codes, self.factors[first:last].view(np.uint32).copy())
        return Encoded(self.form, shape, 1, codes, self._tiles(first, last).copy())


def find_fp8(tensors: dict[str, Held], method: str) -> list[Weight]:
    """FP8 weights with their scales. raises: InputError for scales that fit no known way of sharing them."""
    found: list[Weight] = []
    for name, held in tensors.items():
        shape = held.tensor.shape
        if held.tensor.dtype not in ("F8_E4M3", "F8_E5M2") or len(shape) < 2:
            continue
        inverse, scale = tensors.get(f"{name}_scale_inv"), tensors.get(f"{name}_scale")
        if inverse is not None:
            _tile_shape(inverse, shape)
            found.append(_byte_weight(name, DEEPSEEK, held, inverse, "tile"))
        elif scale is not None:
            plain = MODELOPT if scale.tensor.shape == () else COMPRESSED
            layout = {"modelopt": MODELOPT, "compressed-tensors": COMPRESSED}.get(method, plain)
            found.append(_byte_weight(name, layout, held, scale, _shared(scale, shape)))
    return found


def find_int8(tensors: dict[str, Held], method: str) -> list[Weight]:
    """X.weight int8[N, K] and X.weight_scale: a factor per row or tensor (compressed-tensors, int-quantized)."""
    found: list[Weight] = []
    for name, held in tensors.items():
        scale = tensors.get(f"{name}_scale")
        if held.tensor.dtype == "I8" and len(held.tensor.shape) >= 2 and scale is not None:
            if f"{name}_zero_point" in tensors:
                raise InputError(f"{held.place}: int8 with zero points is not read; use a symmetric checkpoint")
            found.append(_byte_weight(name, COMPRESSED, held, scale, _shared(scale, held.tensor.shape)))
    return found


def _byte_weight(name: str, layout: str, held: Held, scale: Held, per: str) -> ByteWeight:
    kind = {"F8_E4M3": "fp8_e4m3", "F8_E5M2": "fp8_e5m2", "I8": "int8"}[held.tensor.dtype]
    if kind == "fp8_e4m3":
        words = {"tensor": "fp8_e4m3", "row": "fp8_row", "tile": "fp8_block"}[per]
    else:
        words = kind if (kind, per) in (("fp8_e5m2", "tensor"), ("int8", "row")) else f"{kind} per {per}"
    shape = held.tensor.shape
    return ByteWeight(name, layout, words, shape, len(shape) - 1, (held, scale), per)


def _shared(scale: Held, shape: tuple[int, ...]) -> str:
    """How values share a scale: by its shape."""
    have = scale.tensor.shape
    if scale.tensor.size == 1:
        return "tensor"
    if have in (shape[:-1], (*shape[:-1], 1)):
        return "row"
    _tile_shape(scale, shape)
    return "tile"


def _tile_shape(scale: Held, shape: tuple[int, ...]) -> None:
    tiles = (*shape[:-2], -(-shape[-2] // TILE), -(-shape[-1] // TILE))
    if scale.tensor.shape != tiles:
        have = f"has shape {scale.tensor.shape}; a weight of {shape}"
        raise InputError(
            f"{scale.place}: {have} has scales per tensor, per row {shape[:-1]} or per tile of 128 x 128 {tiles}"
        )
