"""The MX MAC and the seed MAC under test."""

from hwsim.formats.elements import E2M1, E4M3, E5M2, INT8
from hwsim.formats.lfsr import SEEDLM4, SeedCodec
from hwsim.specs import Accumulator, BlockDot, MxMac, Requantizer, SeedMac
from tests.rtl.mutant import AT_LENGTH, Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.tested import Tested, mx
from tests.rtl.units.accumulate import TIES_AWAY
from tests.rtl.units.requantize import STICKY_LOST
from tests.rtl.units.seed import MINUS_8
from tests.verification.formal.proof import handshake


def mx_mac(name: str, spec: BlockDot, interleave: int | None = None) -> Tested:
    """A dot unit with accumulator under test."""
    return Tested(name, MxMac(Accumulator(spec, interleave)))


def seed_mac(name: str, codec: SeedCodec, target: str, activations) -> Tested:
    """A seed path with dot unit and accumulator under test."""
    return Tested(name, SeedMac(Requantizer(codec, target), activations))


PUBLISHED = mx_mac("mac_mxfp8", BlockDot(mx(E4M3), mx(E4M3)))
PUBLISHED_SEED = seed_mac("seed_mac_mxint8", SEEDLM4, "mxint8", mx(INT8))
MAC = mx_mac("mac3_int8", BlockDot(mx(INT8), mx(INT8), lanes=3))
MAC_E5M2 = mx_mac("mac1_e5m2", BlockDot(mx(E5M2), mx(E5M2), lanes=1), interleave=17)
SEED = seed_mac("seed_mac_small", SeedCodec(C=32, P=1, K=5), "mxfp4_e2m1", mx(E2M1))

TOGETHER = [
    seed_mac("seed_mac_c32", SeedCodec(C=32, P=1, K=5), "mxfp4_e2m1", mx(E2M1)),
    mx_mac("mac_mxfp4", BlockDot(mx(E2M1), mx(E2M1), lanes=8)),
]
FULL = [
    PUBLISHED_SEED,
    seed_mac("seed_mac_mxfp4_e4m3", SEEDLM4, "mxfp4_e2m1", mx(E4M3)),
    PUBLISHED,
    mx_mac("mac_nvfp4", BlockDot(mx(E2M1, "e4m3"), mx(E2M1, "e4m3"), lanes=16)),
]
SMALL = [MAC, MAC_E5M2, SEED]

JOIN_READY = Line("mac", "source.ready.eq(sink.ready)", "source.ready.eq(1)")
BESIDE_FREE = Line("mac", 'held(m, beside, port.ready, "held")', 'held(m, beside, port.valid, "held")')

MUTANTS = [
    Mutant(MAC, "a stage fewer", "timing", Without("tree1")),
    Mutant(MAC, "ties away from zero", "rounding", TIES_AWAY, AT_LENGTH),
    Mutant(MAC, "NaN scale not seen", "special",
           Line("lane", "return None, code, code.all()", "return None, code, Const(0, 1)"),
           AT_LENGTH),
    Mutant(MAC, "accepts between the units in a stall", "back-pressure", JOIN_READY),
    Mutant(MAC, "a row's end one stage early", "data",
           Line("dot", "            last.value,\n", "            pair.last,\n")),
    Mutant(MAC_E5M2, "overflow one binade late", "special",
           Line("accumulate", "overflow = (field.value >= 255)", "overflow = (field.value > 255)"), AT_LENGTH),

    Mutant(SEED, "a stage fewer", "timing", Without("clamp")),
    Mutant(SEED, "sticky bit of the requantizer lost", "rounding", STICKY_LOST),
    Mutant(SEED, "coefficient -8 taken as -7", "special", MINUS_8),
    Mutant(SEED, "activations move on with the source", "back-pressure", BESIDE_FREE),
    Mutant(SEED, "activations one stage early", "data",
           Line("mac", "for _ in range(unit.spec.timing.latency):",
                "for _ in range(unit.spec.timing.latency - (unit is requantizer)):")),
]  # fmt: skip

PROOFS = [handshake(PUBLISHED, JOIN_READY), handshake(PUBLISHED_SEED, BESIDE_FREE)]
