"""FP4 weights of released checkpoints: gpt-oss (MXFP4), modelopt (NVFP4, MXFP4), compressed-tensors (NVFP4, MXFP4).

Two codes share a byte in all of them: element 2j is the low half of byte j, element 2j + 1 the high half.

source: the model code of gpt-oss in transformers (integrations/mxfp4); NVIDIA Model-Optimizer's export to Hugging Face;
compressed-tensors' compressors nvfp4-pack-quantized and mxfp4-pack-quantized.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.compress.parts import Held
from hwsim.compress.weights import Weight
from hwsim.errors import InputError
from hwsim.formats import get_format
from hwsim.formats.format import Encoded, Format

GPT_OSS, MODELOPT, COMPRESSED = "gpt-oss", "modelopt", "compressed-tensors"


@dataclass(frozen=True)
class Fp4Weight(Weight):
    """E2M1 codes, two per byte, and a scale per block.

    parts: the codes, the block scales, then scalars. block: 32 (E8M0 scales, MXFP4) or 16 (E4M3 scales, NVFP4).
    divisor: the scale of the tensor divides (compressed-tensors), and is not a factor (modelopt).
    """

    block: int
    divisor: bool

    @cached_property
    def form(self) -> Format:
        """MXFP4, or NVFP4 with the tensor scale of the file."""
        return get_format("mxfp4") if self.block == 32 else get_format("nvfp4", tensor_scale=float(self.tensor_scale))

    @property
    def format(self) -> Format | None:
        """MXFP4; NVFP4 where a factor gives the values of the divisor (they differ in the last bit at times)."""
        return self.form

    @cached_property
    def global_scale(self) -> np.float32:
        """The scale of the tensor as the file has it; 1 for MXFP4."""
        if self.block == 32:
            return np.float32(1)
        value = self.parts[2].floats().reshape(-1)
        if value.size != 1 or not 0 < value[0] < np.inf:
            raise InputError(f"{self.parts[2].place}: is not one positive number; the file is damaged")
        return np.float32(value[0])

    @property
    def tensor_scale(self) -> np.float32:
        """The factor that values are multiplied by: fl32(1 / g) for a divisor g."""
        return np.float32(1) / self.global_scale if self.divisor else self.global_scale

    def codes(self, first: int, last: int) -> Encoded:
        """Codes and scales of rows."""
        packed = self.parts[0].array().reshape(self.row_count, -1)[first:last]
        halves = np.empty((last - first, self.k), np.uint8)
        halves[:, 0::2], halves[:, 1::2] = packed & 15, packed >> 4
        scales = np.array(self.parts[1].array().reshape(self.row_count, -1)[first:last])
        tensor = None if self.block == 32 else self.tensor_scale
        return Encoded(self.form, (last - first, self.k), 1, halves, scales, None, tensor)

    def rows(self, first: int, last: int) -> np.ndarray:
        """Values, rounded once: fl32(q s_b s_t), or fl32(q s_b / g)."""
        encoded = self.codes(first, last)
        if not self.divisor:
            return encoded.decode()
        # q s_b has at most 6 significant bits, so the float64 quotient by a float32 is never a midpoint that the exact
        # one misses: it would have to lie within 2^-52 of it, and two such numbers differ by 2^-31 or more.
        plain = Encoded(encoded.format, encoded.shape, 1, encoded.codes, encoded.scales, None, np.float32(1)).decode()
        with np.errstate(over="ignore"):
            return (plain.astype(np.float64) / np.float64(self.global_scale)).astype(np.float32)


def _checked(held: Held, shape: tuple[int, ...]) -> Held:
    if held.tensor.shape != shape:
        raise InputError(f"{held.place}: has shape {held.tensor.shape}, and its weight needs {shape}")
    return held


def find_gpt_oss(tensors: dict[str, Held], method: str) -> list[Weight]:
    """X_blocks uint8[..., rows, K / 32, 16] and X_scales uint8[..., rows, K / 32]: the weight X."""
    found: list[Weight] = []
    for name, blocks in tensors.items():
        scales = tensors.get(name.removesuffix("_blocks") + "_scales")
        shape = blocks.tensor.shape
        if not name.endswith("_blocks") or scales is None or blocks.tensor.dtype != "U8" or shape[-1:] != (16,):
            continue
        _checked(scales, shape[:-1])
        values = (*shape[:-2], 32 * shape[-2])
        parts = (blocks, scales)
        found.append(
            Fp4Weight(name.removesuffix("_blocks"), GPT_OSS, "mxfp4_e2m1", values, len(values) - 1, parts, 32, False)
        )
    return found


def find_modelopt_fp4(tensors: dict[str, Held], method: str) -> list[Weight]:
    """X.weight uint8[..., K / 2], X.weight_scale, X.weight_scale_2 (NVFP4): the weight X.weight."""
    found: list[Weight] = []
    for name, held in tensors.items():
        if not name.endswith(".weight") or held.tensor.dtype != "U8" or f"{name}_scale" not in tensors:
            continue
        weight = _fp4(tensors, name, held, name, f"{name}_scale_2", MODELOPT, divisor=False)
        found += [weight] if weight else []
    return found


def find_compressed_fp4(tensors: dict[str, Held], method: str) -> list[Weight]:
    """X.weight_packed uint8[..., K / 2], X.weight_scale, X.weight_global_scale (NVFP4): the weight X.weight."""
    found: list[Weight] = []
    for name, held in tensors.items():
        if not name.endswith(".weight_packed") or held.tensor.dtype != "U8":
            continue
        real = name.removesuffix("_packed")
        weight = _fp4(tensors, name, held, real, f"{real}_global_scale", COMPRESSED, divisor=True)
        found += [weight] if weight else []
    return found


def _fp4(
    tensors: dict[str, Held], name: str, held: Held, real: str, tensor_scale: str, layout: str, divisor: bool
) -> Fp4Weight | None:
    scale, whole = tensors.get(f"{real}_scale"), tensors.get(tensor_scale)
    shape = held.tensor.shape
    if scale is None or len(shape) < 2:
        return None
    values = (*shape[:-1], 2 * shape[-1])
    axis = len(values) - 1
    if scale.tensor.dtype == "F8_E4M3" and whole is not None:
        _checked(scale, (*shape[:-1], -(-values[-1] // 16)))
        return Fp4Weight(real, layout, "nvfp4", values, axis, (held, scale, whole), 16, divisor)
    if scale.tensor.dtype in ("U8", "F8_E8M0"):
        _checked(scale, (*shape[:-1], -(-values[-1] // 32)))
        return Fp4Weight(real, layout, "mxfp4_e2m1", values, axis, (held, scale), 32, False)
    return None
