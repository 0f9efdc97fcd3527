"""The C header of `hwsim_accel`: registers, the numbers of one unit, and functions that start it and wait."""

from hwsim import __version__
from hwsim.specs import Accel

from .registers import SHAPE, STATUS, identity, registers

__all__ = ["c_header", "numbers"]

FUNCTIONS = """\
/* What the registers hold for a matrix of [rows, k] and m rows of x. All are at least 1, k at most u->k_max, m at most
   u->tile: more rows of x are one product per tile. */
static inline struct hwsim_accel_shape hwsim_accel_shape(const struct hwsim_accel *u, uint32_t rows, uint32_t k,
                                                         uint32_t m)
{
    uint32_t row_blocks = (k + u->block - 1) / u->block;
    uint64_t group_bits = (uint64_t)u->group_rows * row_blocks * u->block_bits;
    uint64_t beat_bits = 8 * (uint64_t)u->beat_bytes;
    struct hwsim_accel_shape s;
    s.rows = rows;
    s.columns = row_blocks * u->parts;
    s.group_beats = (uint32_t)((group_bits + beat_bits - 1) / beat_bits);
    s.beats = (rows + u->group_rows - 1) / u->group_rows * s.group_beats;
    s.tail = (uint32_t)((group_bits - (s.group_beats - 1) * beat_bits) / u->unit_bits);
    s.x_blocks = (s.columns + u->x_parts - 1) / u->x_parts;
    s.m = m;
    s.x_beats = (m * s.x_blocks * u->x_record_bytes + u->beat_bytes - 1) / u->beat_bytes;
    return s;
}

/* Start a product; the addresses are multiples of 4096. 0, or -1 where the registers belong to another unit. */
static inline int hwsim_accel_start(volatile uint32_t *registers, const struct hwsim_accel *u,
                                    const struct hwsim_accel_shape *s, uint64_t x, uint64_t w, uint64_t y)
{
    if (registers[HWSIM_ACCEL_ID / 4] != u->id)
        return -1;
ADDRESSES
SIZES
    registers[HWSIM_ACCEL_CONTROL / 4] = 1;
    return 0;
}

/* Wait until the product is done. 0, or the bits of STATUS that say what failed. */
static inline uint32_t hwsim_accel_wait(volatile uint32_t *registers)
{
    uint32_t status;
    do
        status = registers[HWSIM_ACCEL_STATUS / 4];
    while (status & HWSIM_ACCEL_STATUS_BUSY);
    return status & (HWSIM_ACCEL_STATUS_READ_FAILED | HWSIM_ACCEL_STATUS_WRITE_FAILED);
}
"""


def numbers(spec: Accel) -> dict[str, int]:
    """What a driver has to know of one unit, by the name of the C field.

    block: elements of a block of the weight stream. block_bits: its bits. parts: blocks of a dot unit that it makes.
    x_parts: blocks of a dot unit in a block of x. unit_bits: what TAIL counts.
    """
    gemv = spec.gemv
    return {
        "id": identity(spec),
        "k_max": gemv.k_max,
        "beat_bytes": gemv.beat_bytes,
        "tile": gemv.tile,
        "group_rows": gemv.group_rows,
        "block": gemv.layout.block * gemv.shape(1, 1).block_records,
        "block_bits": gemv.shape(1, 1).block_bits,
        "parts": gemv.parts,
        "unit_bits": gemv.unpack.unit,
        "x_parts": gemv.x_parts,
        "x_record_bytes": spec.x_record_bytes,
    }


def c_header(spec: Accel, name: str) -> str:
    """The text of `name`.h. Any number of such headers may be included together: the map is that of all units."""
    known = numbers(spec)
    lines = [
        f"/* Registers of {name} and what drives it, by hwsim {__version__}. */",
        "#ifndef HWSIM_ACCEL_REGISTERS",
        "#define HWSIM_ACCEL_REGISTERS",
        "#include <stdint.h>",
        "",
        "/* Offsets in bytes */",
        *(f"#define HWSIM_ACCEL_{r.name} {r.offset:#04x} /* {r.about} */" for r in registers(spec)),
        "",
        "/* Bits of STATUS */",
        *(f"#define HWSIM_ACCEL_STATUS_{bit} {1 << i}" for i, bit in enumerate(STATUS)),
        "",
        "/* One unit */",
        f"struct hwsim_accel {{ uint32_t {', '.join(known)}; }};",
        "/* A matrix on it */",
        f"struct hwsim_accel_shape {{ uint32_t {', '.join(SHAPE).lower()}; }};",
        "",
        FUNCTIONS.replace("ADDRESSES", "\n".join(_addresses())).replace("SIZES", "\n".join(_sizes())),
        "#endif",
        "",
        f"static const struct hwsim_accel {name} = {{",
        *(f"    /* .{field} = */ {value}," for field, value in known.items()),
        "};",
    ]
    return "\n".join([*lines, ""])


def _addresses() -> list[str]:
    return [
        f"    registers[HWSIM_ACCEL_{name.upper()}_{half} / 4] = (uint32_t){value};"
        for name in "xwy"
        for half, value in (("LOW", name), ("HIGH", f"({name} >> 32)"))
    ]


def _sizes() -> list[str]:
    return [f"    registers[HWSIM_ACCEL_{name} / 4] = s->{name.lower()};" for name in SHAPE]
