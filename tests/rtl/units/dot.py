"""The block dot unit under test."""

from functools import partial

from hwsim.formats.elements import E2M1, E4M3, E5M2, ELEMENTS, INT8
from hwsim.specs import BlockDot, operand
from rtl.catalog import DUAL
from tests.rtl.mutant import AT_LENGTH, Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.pipeline_changes import NEVER_WAITS, STOPS_EMPTY
from tests.rtl.tested import Tested, bdr, mx
from tests.verification.formal.blocks import node_model, product_model
from tests.verification.formal.enumeration import every_pair, every_scale
from tests.verification.formal.proof import Enumeration, Proof, handshake


def dot(name: str, a, b, lanes: int = 32) -> Tested:
    """A block dot product under test."""
    return Tested(name, BlockDot(a, b, lanes))


NVFP4 = mx(E2M1, "e4m3")
PUBLISHED = dot("dot_e2m1", mx(E2M1), mx(E2M1))
THREE = {name: dot(f"dot3_{name.lower()}", mx(element), mx(element), lanes=3) for name, element in ELEMENTS.items()}
ONE_E5M2_INT8 = dot("dot1_e5m2_int8", mx(E5M2), mx(INT8), lanes=1)
UNSIGNED_SCALE = dot("dot4_nvfp4_e5m2", NVFP4, mx(E5M2), lanes=4)

PACKED_SCALES = dot("dot_nvfp4", NVFP4, NVFP4, lanes=16)

TOGETHER = [
    PUBLISHED,
    PACKED_SCALES,
    dot("dot_mx4", bdr(2), bdr(2), lanes=16),
    *(dot(f"dot4_{name.lower()}", mx(element), mx(element), lanes=4) for name, element in ELEMENTS.items()),
    dot("dot4_e2m1_e4m3", mx(E2M1), mx(E4M3), lanes=4),
    dot("dot4_e2m1_int8", mx(E2M1), mx(INT8), lanes=4),
    dot("dot4_nvfp4_e4m3", NVFP4, mx(E4M3), lanes=4),
    *(dot(f"dot4_mx{bits + 2}", bdr(bits), bdr(bits), lanes=4) for bits in (7, 4)),
]
FULL = [
    *(dot(f"dot_{n.lower()}", mx(element), mx(element)) for n, element in ELEMENTS.items() if n != "E2M1"),
    dot("dot_e2m1_e4m3", mx(E2M1), mx(E4M3)),
    dot("dot_e2m1_int8", mx(E2M1), mx(INT8)),
    dot("dot_nvfp4_e4m3", NVFP4, mx(E4M3), lanes=16),
    *(dot(f"dot_mx{bits + 2}", bdr(bits), bdr(bits), lanes=16) for bits in (7, 4)),
    dot("dot_fp8", mx(E4M3, "none"), mx(E4M3, "none")),
    dot("dot_int8_dense", operand("int8")[0], operand("int8")[0]),
    dot("dot_e4m3_e5m2", mx(E4M3), mx(E5M2)),
    dot("dot_fp8_dual_64", DUAL.a, DUAL.b, lanes=64),
]
SMALL = [
    *THREE.values(),
    dot("dot1_e2m1", mx(E2M1), mx(E2M1), lanes=1),
    ONE_E5M2_INT8,
    dot("dot4_e5m2_e4m3", mx(E5M2), mx(E4M3), lanes=4),
    dot("dot4_int8_e4m3_unscaled", mx(INT8, "none"), mx(E4M3, "none"), lanes=4),
    UNSIGNED_SCALE,
    dot("dot5_mx9", bdr(7), bdr(7), lanes=5),
    dot("dot4_bdr_int8", bdr(7), mx(INT8), lanes=4),
    dot("dot4_bdr_deep_e4m3", bdr(4, 2, 2), mx(E4M3), lanes=4),
]

SUBNORMAL = Line("lane", "self.steps = Cat(exponent[0] | ~exponent.any(), exponent[1:])", "self.steps = exponent")
NAN_UNSEEN = Line("lane", "self.nan = magnitude.all()", "pass")
LEAST_IS_ZERO = Line("lane", "self.zero = ~code.any()", "pass")
NODE_PENDING = Line("tree", "sums.append(add(x, y, width, sub.value))", "sums.append(add(x, y, width, 0))")
NODE_WIDTH = Line("tree", "width, sums = self._node_bits(level), []",
                  "width, sums = self._node_bits(level) - (level == spec.levels), []")  # fmt: skip
HALF_CARRY = Line("tree", "sub.value.replicate(width), width, node[at]))", "sub.value.replicate(width), width, 0))")
ENTRY = Line("dot", "b.element.integers[i >> wa]", "(b.element.integers[i >> wa] or i == 1)")
ROW_CARRY = Line("lane", "upper = add(total[2 * j :].as_signed(), row, len(row) + 1, digits[j][2])",
                 "upper = add(total[2 * j :].as_signed(), row, len(row) + 1, 0)")  # fmt: skip
INF_SIGN = Line("dot", "Mux(inf, negative, sign)", "Mux(inf, ~negative, sign)")
SCALE_CARRY = Line("dot", "carry = high & (low | carry)", "carry = high & low")
MINUS_ONE = Line("dot", "as_signed(), digit[0]", "as_signed(), 0")
NODE_SIGN = Line("tree", "y if self.spec.both_integer else x ^ y", "y")

MUTANTS = [
    Mutant(THREE["E4M3"], "a stage fewer", "timing", Without("tree1")),
    Mutant(THREE["E4M3"], "subnormals one exponent too low", "rounding", SUBNORMAL),
    Mutant(THREE["E4M3"], "NaN elements not seen", "special", NAN_UNSEEN),
    Mutant(THREE["E5M2"], "infinities of both signs are infinite", "special",
           Line("dot", "nan = bits[0] | (bits[1] & bits[2])", "nan = bits[0]"), AT_LENGTH),
    Mutant(THREE["E5M2"], "infinity times zero is infinite", "special",
           Line("dot", "nans.append(undefined)", "nans.append(undefined & a.inf & b.inf)"), AT_LENGTH),
    Mutant(ONE_E5M2_INT8, "infinity times the least integer is undefined", "special", LEAST_IS_ZERO, AT_LENGTH),
    Mutant(THREE["E4M3"], "stops when empty", "back-pressure", STOPS_EMPTY),
    Mutant(THREE["INT8"], "pending carry of a product lost", "data", NODE_PENDING),
    Mutant(THREE["E5M2"], "carry between the halves of a sum lost", "data", HALF_CARRY),
    Mutant(THREE["E2M1"], "last level one bit too narrow", "rounding", NODE_WIDTH),
    Mutant(PACKED_SCALES, "carry between digits of the scales lost", "data", SCALE_CARRY),
    Mutant(PACKED_SCALES, "digit -1 of the scales taken as 0", "data", MINUS_ONE),
    Mutant(UNSIGNED_SCALE, "bit 7 of the scale taken as a sign", "special",
           Line("dot", "products = self._shifted(pipe, lanes)",
                "first = pipe.carry(first.value ^ pair.a.scale[7])\n"
                "            products = self._shifted(pipe, lanes)")),
]  # fmt: skip


def lanes_of(element: str, lanes: int, other: str = "") -> BlockDot:
    """The dot unit of an element with itself, or with another."""
    return BlockDot(mx(ELEMENTS[element]), mx(ELEMENTS[other or element]), lanes)


def product(element: str, lane: int, broken: Line) -> Proof:
    """Every pair of codes through one lane of a pipelined unit: one pair is followed until it leaves."""
    spec = lanes_of(element, lane + 1)
    claim = f"{element} x {element}, lane {lane} of {lane + 1}: the total is the product of the values, every pair"
    model = partial(product_model, spec=spec, lane=lane)
    depth = spec.timing.latency + 1
    return Proof(f"product_{element.lower()}_lane{lane}", claim, model, "bmc", depth, broken, depth + 3)


def every_product(element: str, lane: int, broken: Line, other: str = "") -> Enumeration:
    """Every pair of codes, of two elements where `other` is named."""
    claim = f"{element} x {other or element}, lane {lane} of {lane + 1}: the total is the product, every pair"
    special = {"E4M3": "NaN", "E5M2": "NaN, infinity"}.get(element, "")
    name = "_".join(part.lower() for part in ("pairs", element, other, f"lane{lane}") if part)
    run = partial(every_pair, spec=lanes_of(element, lane + 1, other), lane=lane)
    return Enumeration(name, f"{claim}, {special}" if special else claim, run, broken)


def nodes(element: str, broken: Line) -> Proof:
    """The tree of the 32-lane unit, node by node; a model without registers."""
    claim = f"{element}, 32 lanes: each of the 31 tree nodes is the sum of its two operands"
    model = partial(node_model, spec=lanes_of(element, 32))
    return Proof(f"nodes_{element.lower()}", claim, model, "bmc", 1, broken, 2)


PROOFS = [
    product("E2M1", 0, ENTRY), product("E2M1", 1, ENTRY),
    product("E2M3", 0, SUBNORMAL), product("E2M3", 1, SUBNORMAL),
    product("E3M2", 0, SUBNORMAL), product("E3M2", 1, SUBNORMAL),
    product("INT8", 0, ROW_CARRY), every_product("INT8", 1, ROW_CARRY),
    every_product("E4M3", 0, NAN_UNSEEN), every_product("E4M3", 1, SUBNORMAL),
    every_product("E5M2", 0, INF_SIGN), every_product("E5M2", 1, SUBNORMAL),
    every_product("E4M3", 0, SUBNORMAL, "E2M1"), every_product("E5M2", 0, LEAST_IS_ZERO, "INT8"),
    Enumeration("scales_nvfp4", "E2M1 under E4M3 scales: the total is the product, every pair of scales, NaN, and "
                "every pair of codes under every pair of significands",
                partial(every_scale, spec=BlockDot(NVFP4, NVFP4, 1)), SCALE_CARRY),
    nodes("E2M1", NODE_PENDING), nodes("E2M3", NODE_SIGN), nodes("E3M2", NODE_WIDTH),
    nodes("E4M3", NODE_PENDING), nodes("E5M2", HALF_CARRY), nodes("INT8", NODE_PENDING),
    handshake(PUBLISHED, NEVER_WAITS),
]  # fmt: skip
