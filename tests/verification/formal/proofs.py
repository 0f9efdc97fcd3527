"""The table of proofs; each with a twin whose unit is mutated, which must end in FAIL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hwsim.formats.elements import ELEMENTS
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4
from hwsim.specs import BlockDot, LfsrBlock, Operand, Repacker
from tests.rtl.cases import BY_NAME
from tests.verification.changes import (
    ALWAYS_READY,
    BESIDE_FREE,
    FROM_SEED,
    HALF_CARRY,
    JOIN_READY,
    LEAST_IS_ZERO,
    NAN_UNSEEN,
    NODE_PENDING,
    NODE_WIDTH,
    NOT_HELD,
    ONES_TO_ZERO,
    SUBNORMAL,
    WORD_LATE,
)
from tests.verification.formal.blocks import lfsr_never_zero, lfsr_steps, node_model, product_model
from tests.verification.formal.enumeration import every_pair, every_seed
from tests.verification.formal.gearbox import gearbox_model
from tests.verification.formal.handshake import handshake_model
from tests.verification.formal.sby import Verdict, check
from tests.verification.mutation import Line, fresh


@dataclass(frozen=True)
class Enumeration:
    """A property shown by trying every case in simulation; `run` takes the modules of `rtl` to the verdict."""

    name: str
    claim: str
    run: Callable
    twin: Line

    def prove(self, folder: Path) -> Verdict:
        """The verdict on the unit."""
        return self.run(fresh())

    def refute(self, folder: Path) -> Verdict:
        """The verdict on the mutated unit: FAIL is wanted."""
        return self.run(fresh(self.twin))

    @property
    def engine(self) -> str:
        """For the table."""
        return "every case, in simulation"


@dataclass(frozen=True)
class Proof:
    """One property of one unit.

    model: from the modules of `rtl` to the model whose assertions are the property.
    depth: of k-induction, or for a model that is over after so many cycles ("bmc") all of them.
    twin:  the mutation of the unit; `twin_depth` cycles are searched, more than it takes to see it.
    """

    name: str
    claim: str
    model: Callable
    mode: str
    depth: int
    twin: Line
    twin_depth: int

    def prove(self, folder: Path) -> Verdict:
        """The verdict on the unit."""
        return check(self.model(fresh()), self.name, folder, self.mode, self.depth)

    def refute(self, folder: Path) -> Verdict:
        """The verdict on the mutated unit: FAIL is wanted."""
        return check(self.model(fresh(self.twin)), f"{self.name}_twin", folder, "bmc", self.twin_depth)

    @property
    def engine(self) -> str:
        """For the table."""
        if self.mode == "prove":
            return f"induction, k = {self.depth}"
        return f"all {self.depth} cycles" if self.depth > 1 else "no registers"


def mx(name: str, lanes: int, other: str = "") -> BlockDot:
    """The dot unit of an element with itself, or with another."""
    return BlockDot(Operand(ELEMENTS[name]), Operand(ELEMENTS[other or name]), lanes)


def lfsr(name: str, claim: str, model, codec, twin: Line) -> Proof:
    """A proof on an LFSR block by induction; one stage, so four cycles show any mistake."""
    return Proof(name, claim, partial(model, spec=LfsrBlock(codec)), "prove", 1, twin, 4)


def product(element: str, lane: int, twin: Line) -> Proof:
    """Every pair of codes through one lane of a pipelined unit: one pair is followed until it leaves."""
    spec = mx(element, lane + 1)
    claim = f"{element} x {element}, lane {lane} of {lane + 1}: the total is the product of the values, every pair"
    model = partial(product_model, spec=spec, lane=lane)
    depth = spec.timing.latency + 1
    return Proof(f"product_{element.lower()}_lane{lane}", claim, model, "bmc", depth, twin, depth + 3)


def every_product(element: str, lane: int, twin: Line, other: str = "") -> Enumeration:
    """Every pair of codes, of two elements where `other` is named."""
    claim = f"{element} x {other or element}, lane {lane} of {lane + 1}: the total is the product, every pair"
    special = {"E4M3": "NaN", "E5M2": "NaN, infinity"}.get(element, "")
    name = "_".join(part.lower() for part in ("pairs", element, other, f"lane{lane}") if part)
    run = partial(every_pair, spec=mx(element, lane + 1, other), lane=lane)
    return Enumeration(name, f"{claim}, {special}" if special else claim, run, twin)


def nodes(element: str, twin: Line) -> Proof:
    """The tree of the 32-lane unit, node by node; a model without registers."""
    claim = f"{element}, 32 lanes: each of the 31 tree nodes is the sum of its two operands"
    return Proof(f"nodes_{element.lower()}", claim, partial(node_model, spec=mx(element, 32)), "bmc", 1, twin, 2)


def handshake(unit_name: str, twin: Line) -> Proof:
    """The handshake of one unit at a published point, its whole pipeline."""
    unit = BY_NAME[unit_name]
    component, latency = unit.component.__name__, unit.spec.timing.latency
    stages = "1 stage" if latency == 1 else f"{latency} stages"
    claim = f"{component}, {stages}: offers held, payload stable, none lost, doubled or overtaken"
    model = partial(handshake_model, component=component, spec=unit.spec)
    return Proof(f"handshake_{unit_name}", claim, model, "prove", 1, twin, latency + 4)


def gearbox(claim: str, *widths: int) -> Proof:
    """The handshake of one gearbox, and its data."""
    spec = Repacker(*widths)
    name = f"gearbox_{spec.bits_in}_{spec.bits_out}"
    claim = f"RepackerUnit, {claim}: as above, its handshake from its ports alone, every unit of data in its place"
    return Proof(name, claim, partial(gearbox_model, spec=spec), "prove", 1, WORD_LATE, 8)


ENTRY = Line("dot", "b.element.integers[i >> wa]", "(b.element.integers[i >> wa] or i == 1)")
ROW_CARRY = Line("lane", "upper = add(total[2 * j :].as_signed(), row, len(row) + 1, digits[j][2])",
                 "upper = add(total[2 * j :].as_signed(), row, len(row) + 1, 0)")  # fmt: skip
INF_SIGN = Line("dot", "Mux(inf, negative, sign)", "Mux(inf, ~negative, sign)")
NODE_SIGN = Line("dot", "y if self.spec.both_integer else x ^ y", "y")
VALID_LOST = Line("pipe", "self._m.d.sync += valid.eq(self.valid)\n        self.valid = valid",
                  "self._m.d.sync += valid.eq(self.valid)\n        with self._m.Else():\n"
                  "            self._m.d.sync += valid.eq(0)\n        self.valid = valid")  # fmt: skip
NEVER_WAITS = Line("pipe", "self.advance.eq(sink.ready | ~sink.valid)", "self.advance.eq(1)")
KEEPS_ALL = Line("accumulate", "pipe.finish(keep=last.value)", "pipe.finish()")

PROOFS = [
    lfsr("lfsr_steps_seedlm4", "seedlm4: the 24 states are 24 single steps from the seed", lfsr_steps, SEEDLM4,
         FROM_SEED),
    *(lfsr(f"lfsr_never_zero_{name}", f"{name}: from a seed that is not 0 no state is 0", lfsr_never_zero, codec,
           ONES_TO_ZERO)
      for name, codec in (("seedlm4", SEEDLM4), ("seedlm3", SEEDLM3))),
    Enumeration("seeds_seedlm3", "seedlm3: the 48 states are 48 single steps from the seed, none 0, all 65,535 seeds",
                partial(every_seed, spec=LfsrBlock(SEEDLM3)),
                FROM_SEED),
    product("E2M1", 0, ENTRY), product("E2M1", 1, ENTRY),
    product("E2M3", 0, SUBNORMAL), product("E2M3", 1, SUBNORMAL),
    product("E3M2", 0, SUBNORMAL), product("E3M2", 1, SUBNORMAL),
    product("INT8", 0, ROW_CARRY), every_product("INT8", 1, ROW_CARRY),
    every_product("E4M3", 0, NAN_UNSEEN), every_product("E4M3", 1, SUBNORMAL),
    every_product("E5M2", 0, INF_SIGN), every_product("E5M2", 1, SUBNORMAL),
    every_product("E4M3", 0, SUBNORMAL, "E2M1"), every_product("E5M2", 0, LEAST_IS_ZERO, "INT8"),
    nodes("E2M1", NODE_PENDING), nodes("E2M3", NODE_SIGN), nodes("E3M2", NODE_WIDTH),
    nodes("E4M3", NODE_PENDING), nodes("E5M2", HALF_CARRY), nodes("INT8", NODE_PENDING),
    handshake("lfsr_seedlm4", ALWAYS_READY),
    handshake("decoder_seedlm4", NOT_HELD),
    handshake("requantizer_mxint8", VALID_LOST),
    handshake("dot_e2m1", NEVER_WAITS),
    handshake("acc_e4m3", KEEPS_ALL),
    handshake("mac_mxfp8", JOIN_READY),
    handshake("seed_mac_mxint8", BESIDE_FREE),
    gearbox("32-bit beats to the records of seedlm3", 32, 36, 4), gearbox("an odd number of units", 3, 4, 1, 1),
]  # fmt: skip
