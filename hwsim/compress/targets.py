"""Layouts that can be written: which tensors a weight becomes, and the bytes of each, chunk by chunk.

    hwsim                one U8 tensor of records, any format and shape
    compressed-tensors   nvfp4 mxfp4 fp8 fp8_row fp8_block int8 int4_g128
    modelopt             nvfp4 fp8
    gpt-oss              mxfp4, stacks of experts
    deepseek             fp8_block

Servers load the last four by the entry `quantization_config` of config.json, which `quantization_config` gives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.compress.fp4 import COMPRESSED, GPT_OSS, MODELOPT
from hwsim.compress.fp8 import DEEPSEEK
from hwsim.compress.record import HWSIM
from hwsim.compress.writing import Part, Write
from hwsim.errors import InputError, nearest
from hwsim.formats.format import Encoded, Format, present
from hwsim.formats.layout import Layout


class Sink(ABC):
    """Takes the rows of one weight in order, and writes its tensors."""

    @abstractmethod
    def add(self, encoded: Encoded) -> None:
        """The next rows, [rows, K]."""

    @abstractmethod
    def close(self) -> None:
        """After the last row."""


@dataclass
class _Fields(Sink):
    """Tensors that each take bytes of every chunk; those after them are written once, at the end."""

    write: Write
    target: _ByFields
    last: Encoded | None = None

    def add(self, encoded: Encoded) -> None:
        for part, data in enumerate(self.target.fields(encoded)):
            self.write(part, data)
        self.last = encoded

    def close(self) -> None:
        assert self.last is not None, "a weight has rows"
        first = len(self.target.fields(self.last))
        for part, data in enumerate(self.target.scalars(self.last)):
            self.write(first + part, data)


@dataclass
class _Records(Sink):
    """hwsim's own tensor: records, then the scales of tiles or of the tensor."""

    write: Write
    tails: bytes = b""

    def add(self, encoded: Encoded) -> None:
        data = encoded.to_bytes()
        layout = encoded.format.layout
        body = encoded.rows * layout.codes_nbytes(encoded.row_length)
        self.write(0, memoryview(data)[:body])
        self.tails = self.tails + data[body:] if layout.tile_rows else data[body:]

    def close(self) -> None:
        self.write(0, self.tails)


class Target(ABC):
    """One layout. name: as an option has it. formats: names of the formats that it stores; empty: any.

    default: the format where none is named.
    """

    name: str = ""
    formats: tuple[str, ...] = ()
    default: str = ""

    def problems(self, name: str, layout: Layout, shape: Sequence[int]) -> list[str]:
        """Why a weight cannot be stored so, without its name; empty where it can. shape: K last."""
        wrong = []
        known = not self.formats or (not layout.definition and layout.name in self.formats)
        if not known:
            what = f"the layout {self.name} has no {layout.name}"
            wrong.append(f"{what}; it stores {', '.join(self.formats)}; the layout hwsim stores any format")
        wrong += self.shape_problems(name, shape)
        whole = layout.block if layout.kind == "block" and not layout.tile_rows else 1
        if self.formats and known and shape[-1] % whole:
            what = f"K = {shape[-1]} is no multiple of {whole}, the block of {layout.name}"
            wrong.append(
                f"{what}, and {self.name} stores whole blocks only; leave the weight out with --exclude (compress), "
                "or write the layout hwsim, which stores partial blocks"
            )
        return wrong

    def shape_problems(self, name: str, shape: Sequence[int]) -> list[str]:
        """What is wrong with the name and the axes."""
        if len(shape) != 2 or not name.endswith(".weight"):
            what = "stores matrices X.weight, one per expert"
            return [f"{len(shape)} axes; {self.name} {what}; exclude it, or write layout gpt-oss or hwsim"]
        return []

    @abstractmethod
    def parts(self, name: str, layout: Layout, shape: Sequence[int]) -> tuple[Part, ...]:
        """The tensors of a weight. shape: K last."""

    @abstractmethod
    def sink(self, write: Write) -> Sink:
        """A new sink for one weight."""

    def quantization_config(self, form: Format, ignored: list[str]) -> dict[str, Any]:
        """The entry of config.json; empty where there is none. ignored: modules that stay as they are."""
        return {}


def _halves(codes: np.ndarray) -> bytes:
    """Two codes per byte, the first in the low half."""
    return (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8).tobytes()


def _float(value: float) -> bytes:
    return np.array(value, "<f4").tobytes()


class Own(Target):
    """hwsim's own records."""

    name = HWSIM

    def shape_problems(self, name: str, shape: Sequence[int]) -> list[str]:
        """Any shape."""
        return []

    def parts(self, name: str, layout: Layout, shape: Sequence[int]) -> tuple[Part, ...]:
        """One tensor of bytes."""
        nbytes = layout.array_nbytes(shape)
        return (Part(name, "U8", (nbytes,), nbytes),)

    def sink(self, write: Write) -> Sink:
        """Records."""
        return _Records(write)


class _ByFields(Target):
    """A layout whose first tensors each take bytes of every chunk of rows."""

    @abstractmethod
    def fields(self, encoded: Encoded) -> list[bytes]:
        """Bytes of a chunk's rows for each of the first tensors."""

    def scalars(self, encoded: Encoded) -> list[bytes]:
        """Bytes of the other tensors, from the last chunk."""
        return []

    def sink(self, write: Write) -> Sink:
        """Fields, then scalars."""
        return _Fields(write, self)


class GptOss(_ByFields):
    """MXFP4 of gpt-oss: blocks and scales of stacks of experts."""

    name, formats, default = GPT_OSS, ("mxfp4_e2m1",), "mxfp4"

    def shape_problems(self, name: str, shape: Sequence[int]) -> list[str]:
        """Stacks of experts alone."""
        if len(shape) != 3:
            return [f"{len(shape)} axes; gpt-oss stores stacks of experts [E, N, K]; write another layout"]
        return []

    def parts(self, name: str, layout: Layout, shape: Sequence[int]) -> tuple[Part, ...]:
        """X_blocks [E, N, K / 32, 16] and X_scales [E, N, K / 32]."""
        scales = (*shape[:-1], shape[-1] // 32)
        count = int(np.prod(scales, dtype=np.int64))
        blocks = (*scales, 16)
        return Part(f"{name}_blocks", "U8", blocks, 16 * count), Part(f"{name}_scales", "U8", scales, count)

    def fields(self, encoded: Encoded) -> list[bytes]:
        """Blocks and scales."""
        return [_halves(encoded.codes), present(encoded.scales).tobytes()]

    def quantization_config(self, form: Format, ignored: list[str]) -> dict[str, Any]:
        """As gpt-oss has it."""
        return {"quant_method": "mxfp4", "modules_to_not_convert": ignored}


class ModelOpt(_ByFields):
    """NVFP4 and FP8 of NVIDIA's Model-Optimizer."""

    name, formats, default = MODELOPT, ("nvfp4", "fp8_e4m3"), "nvfp4"

    def parts(self, name: str, layout: Layout, shape: Sequence[int]) -> tuple[Part, ...]:
        """X.weight, X.weight_scale and, for NVFP4, X.weight_scale_2."""
        n, k = shape
        if layout.name == "fp8_e4m3":
            return Part(name, "F8_E4M3", (n, k), n * k), Part(f"{name}_scale", "F32", (), 4)
        return (
            Part(name, "U8", (n, k // 2), n * k // 2),
            Part(f"{name}_scale", "F8_E4M3", (n, k // 16), n * k // 16),
            Part(f"{name}_scale_2", "F32", (), 4),
        )

    def fields(self, encoded: Encoded) -> list[bytes]:
        """Codes, and block scales."""
        if encoded.scales is None:
            return [encoded.codes.tobytes()]
        return [_halves(encoded.codes), encoded.scales.tobytes()]

    def scalars(self, encoded: Encoded) -> list[bytes]:
        """The tensor scale, a factor."""
        return [_float(encoded.tensor_number)]

    def quantization_config(self, form: Format, ignored: list[str]) -> dict[str, Any]:
        """As Model-Optimizer exports it."""
        algorithm = "NVFP4" if form.name == "nvfp4" else "FP8"
        found: dict[str, Any] = {"quant_method": "modelopt", "quant_algo": algorithm, "ignore": ignored}
        return found | ({"group_size": 16} if algorithm == "NVFP4" else {})


class CompressedTensors(_ByFields):
    """The formats of compressed-tensors, as vLLM loads them."""

    name, default = COMPRESSED, "nvfp4"
    formats = ("nvfp4", "mxfp4_e2m1", "fp8_e4m3", "fp8_row", "fp8_block", "int8", "int4_g128")

    def parts(self, name: str, layout: Layout, shape: Sequence[int]) -> tuple[Part, ...]:
        """See the module `fp4`, `fp8` and `int4`, which read them."""
        n, k = shape
        scale = f"{name}_scale"
        byte = Part(name, "I8" if layout.name == "int8" else "F8_E4M3", (n, k), n * k)
        halves = Part(f"{name}_packed", "U8", (n, k // 2), n * k // 2)
        if layout.name == "nvfp4":
            scales = Part(scale, "F8_E4M3", (n, k // 16), n * k // 16)
            return halves, scales, Part(f"{name}_global_scale", "F32", (1,), 4)
        if layout.name == "mxfp4_e2m1":
            return halves, Part(scale, "U8", (n, k // 32), n * k // 32)
        if layout.name == "int4_g128":
            words = Part(f"{name}_packed", "I32", (n, k // 8), n * k // 2)
            return words, Part(scale, "F16", (n, k // 128), n * k // 64), Part(f"{name}_shape", "I64", (2,), 16)
        if layout.name == "fp8_block":
            tiles = (-(-n // 128), -(-k // 128))
            return byte, Part(scale, "F32", tiles, 4 * tiles[0] * tiles[1])
        if layout.name in ("fp8_row", "int8"):
            return byte, Part(scale, "F32", (n, 1), 4 * n)
        return byte, Part(scale, "F32", (1,), 4)

    def fields(self, encoded: Encoded) -> list[bytes]:
        """Codes, and scales of blocks, rows or tiles."""
        form, codes, scales = encoded.format.name, encoded.codes, encoded.scales
        if form == "int4_g128":
            unsigned = ((codes + np.uint8(8)) & np.uint8(15)).astype(np.uint8)  # q + 8
            return [_halves(unsigned), present(scales).astype("<u2").tobytes()]
        if form in ("nvfp4", "mxfp4_e2m1"):
            return [_halves(codes), present(scales).tobytes()]
        if scales is None:
            return [codes.tobytes()]
        return [codes.tobytes(), scales.view(np.uint32).astype("<u4").tobytes()]

    def scalars(self, encoded: Encoded) -> list[bytes]:
        """The divisor of NVFP4, the factor of FP8, the shape of int4."""
        if encoded.format.name == "nvfp4":
            return [_float(float(np.float32(1) / np.float32(encoded.tensor_number)))]
        if encoded.format.name == "fp8_e4m3":
            return [_float(encoded.tensor_number)]
        return []

    def sink(self, write: Write) -> Sink:
        """With the shape of packed integers."""
        return _WithShape(write, self)

    def quantization_config(self, form: Format, ignored: list[str]) -> dict[str, Any]:
        """One group of all linear modules but the ignored ones."""
        kinds = {
            "nvfp4": ("nvfp4-pack-quantized", "float", 4, "tensor_group", 16),
            "mxfp4_e2m1": ("mxfp4-pack-quantized", "float", 4, "group", 32),
            "fp8_e4m3": ("float-quantized", "float", 8, "tensor", None),
            "fp8_row": ("float-quantized", "float", 8, "channel", None),
            "fp8_block": ("float-quantized", "float", 8, "block", None),
            "int8": ("int-quantized", "int", 8, "channel", None),
            "int4_g128": ("pack-quantized", "int", 4, "group", 128),
        }
        kind, numbers, bits, strategy, group = kinds[form.name]
        weights: dict[str, Any] = {
            "num_bits": bits, "type": numbers, "strategy": strategy, "group_size": group, "symmetric": True,
            "dynamic": False,
        }  # fmt: skip
        if strategy == "block":
            weights["block_structure"] = [128, 128]
        group_0 = {"targets": ["Linear"], "weights": weights, "input_activations": None, "format": kind}
        return {
            "quant_method": "compressed-tensors", "quantization_status": "compressed", "format": kind,
            "config_groups": {"group_0": group_0}, "ignore": ignored,
        }  # fmt: skip


@dataclass
class _WithShape(_Fields):
    """Counts the rows, which X.weight_shape of int4 says at the end."""

    rows: int = 0

    def add(self, encoded: Encoded) -> None:
        super().add(encoded)
        self.rows += encoded.rows

    def close(self) -> None:
        super().close()
        if self.last is not None and self.last.format.name == "int4_g128":
            self.write(2, np.array([self.rows, self.last.row_length], "<i8").tobytes())


class DeepSeek(_ByFields):
    """FP8 in tiles of 128 x 128, as DeepSeek-V3's weights."""

    name, formats, default = DEEPSEEK, ("fp8_block",), "fp8_block"

    def parts(self, name: str, layout: Layout, shape: Sequence[int]) -> tuple[Part, ...]:
        """X.weight and X.weight_scale_inv, which is a factor."""
        n, k = shape
        tiles = (-(-n // 128), -(-k // 128))
        return (
            Part(name, "F8_E4M3", (n, k), n * k),
            Part(f"{name}_scale_inv", "F32", tiles, 4 * tiles[0] * tiles[1]),
        )

    def fields(self, encoded: Encoded) -> list[bytes]:
        """Codes and factors."""
        return [encoded.codes.tobytes(), present(encoded.scales).astype("<f4").tobytes()]

    def quantization_config(self, form: Format, ignored: list[str]) -> dict[str, Any]:
        """As DeepSeek-V3 has it."""
        return {
            "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic",
            "modules_to_not_convert": ignored,
        }  # fmt: skip


TARGETS: tuple[Target, ...] = (Own(), CompressedTensors(), ModelOpt(), GptOss(), DeepSeek())


def target_of(name: str) -> Target:
    """The layout of that name. raises: InputError with the nearest one."""
    for target in TARGETS:
        if target.name == name:
            return target
    names = [target.name for target in TARGETS]
    raise InputError(f"layout: {name!r}{nearest(name, names)}; write one of {', '.join(names)}")
