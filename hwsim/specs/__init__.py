"""Specs: the parameters of each hardware unit, its value on integer codes and its timing.

A spec has four views. Value: call it (exact integers; the constants are those of `formats`). Time: `timing`, and
`cycle_model()`, cycle by cycle. RTL: the component in `rtl` with the same name plus `Unit`. Cost: synthesis of that.

`stages` names the pipeline registers of a unit, in the order of its data path; the choices are its `cuts`. The
latency is their number: the RTL places exactly these registers, so another depth is another spec.
"""

from hwsim.specs.accel import Accel
from hwsim.specs.accumulate import FP32_INF, FP32_NAN, Accumulator, add_fp32, round_fp32
from hwsim.specs.adapter import Adapter, SkidBuffer
from hwsim.specs.dot import BlockDot, BlockSum, Operand, Side, operand
from hwsim.specs.encode import Encoder, MxEncoder, Nvfp4Encoder
from hwsim.specs.gemv import Gemm, Gemv, Repacker
from hwsim.specs.mac import MxMac, SeedMac
from hwsim.specs.requantize import Requantizer
from hwsim.specs.scale import Scale
from hwsim.specs.seed import LfsrBlock, SeedDecoder
from hwsim.specs.staged import Staged

__all__ = [
    "FP32_INF", "FP32_NAN", "Accel", "Accumulator", "Adapter", "BlockDot", "BlockSum", "Encoder", "Gemm", "Gemv",
    "LfsrBlock", "MxEncoder", "MxMac", "Nvfp4Encoder", "Operand", "Repacker", "Requantizer", "Scale", "SeedDecoder",
    "SeedMac", "Side", "SkidBuffer", "Staged", "add_fp32", "operand", "round_fp32",
]  # fmt: skip
