"""What each hardware unit is: its parameters, its value on integer codes and its timing.

A spec has four views. Value: call it (exact integers; the constants are those of `formats`). Time: `timing`, and
`cycle_model()` for each cycle. Gates: the component of the same name plus `Unit` in `rtl`. Cost: synthesis of those.

`stages` names the pipeline registers a unit has, in the order of its data path; the choices are its `cuts`. The
latency is their number: the RTL places exactly these, so another depth is another spec.
"""

from hwsim.specs.accumulate import FP32_INF, FP32_NAN, Accumulator, add_fp32, round_fp32
from hwsim.specs.dot import BlockDot, BlockSum, Operand, Side, operand
from hwsim.specs.gemv import Gemv, Repacker
from hwsim.specs.mac import MxMac, SeedMac
from hwsim.specs.requantize import Requantizer
from hwsim.specs.seed import LfsrBlock, SeedDecoder
from hwsim.specs.staged import Staged

__all__ = [
    "FP32_INF", "FP32_NAN", "Accumulator", "BlockDot", "BlockSum", "Gemv", "LfsrBlock", "MxMac", "Operand",
    "Repacker", "Requantizer", "SeedDecoder", "SeedMac", "Side", "Staged", "add_fp32", "operand", "round_fp32",
]  # fmt: skip
