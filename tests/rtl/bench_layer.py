"""cocotb: the linear layers of the first block of all-MiniLM-L6-v2 on `hwsim_accel`; the rest of it in numpy.

The model's own forward pass runs; where it multiplies by a weight matrix, `rtl/driver.py` starts the unit.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import cocotb
import numpy as np
from cocotb.task import bridge

from hwsim import formats
from hwsim.formats import get_format
from hwsim.pages.minilm import load_encoder, tensor_class
from hwsim.specs import Accel, Gemm
from rtl.c_header import c_header
from rtl.driver import Accel as Driver
from tests.rtl.bench_accel import Registers, reset_on_bus

UNIT = Accel(Gemm("mxfp4_e2m1", "mxint8", 32, dot_units=2, fifo=32, k_max=1536, tile=3))
SENTENCE = "hello"


class OnUnit:
    """A matrix [N, K] of the model in MXFP4 where numpy expects an array: x @ matrix.T runs on the unit, tile by tile.

    found: takes, of each product, its matrix, shape [m, n, k], the number of wrong results, and the counters.
    """

    __array_ufunc__ = None

    def __init__(self, name: str, w: np.ndarray, driver: Driver, found: list[dict]):
        self.name, self.rows, self.driver, self.found = name, len(w), driver, found
        self.code, gemv = get_format(UNIT.gemv.weights).encode(w), UNIT.gemv
        self.stream = formats.stream(self.code, gemv.dot_units, gemv.interleave, gemv.beat_bytes)

    @property
    def T(self) -> "OnUnit":  # noqa: N802
        """Itself: `formats.matmul` and the unit take W as it is stored."""
        return self

    def __rmatmul__(self, x: np.ndarray) -> np.ndarray:
        tile = UNIT.gemv.tile
        return np.concatenate([self._product(x[first : first + tile]) for first in range(0, len(x), tile)])

    def _product(self, x: np.ndarray) -> np.ndarray:
        code, (m, k) = get_format(UNIT.gemv.activations).encode(np.ascontiguousarray(x)), x.shape
        y, counters = self.driver.multiply(code.to_bytes(), self.stream, self.rows, k, m)
        got = np.array(y, np.float32).reshape(self.rows, m).T.copy()
        want = formats.matmul(code, self.code, tensor_scale=False)
        wrong = int((got.view(np.uint32) != want.view(np.uint32)).sum())
        self.found.append({"name": self.name, "shape": (m, self.rows, k), "wrong": wrong, "counters": counters})
        return got


@cocotb.test()
async def layer(dut):
    """A sentence through the block, its linear layers on the unit."""
    out = Path(os.environ["HWSIM_LAYER_RESULTS"])
    header = out.with_name("hwsim_accel.h")
    header.write_text(c_header(UNIT, "hwsim_accel"))
    host, ram = await reset_on_bus(dut)
    found: list[dict] = []

    @bridge
    def embed() -> float:
        model = replace(load_encoder(), layers=1)
        driver = Driver(str(header), Registers(host), ram.mem, 0)
        linear = {
            name: OnUnit(name, w, driver, found)
            for name, w in model.weights.items()
            if ".layer.0." in name and tensor_class(name)
        }
        return float((model.embed([SENTENCE], linear) * model.embed([SENTENCE])).sum())

    cosine = await embed()
    out.write_text(json.dumps({"products": found, "cosine": cosine}))
