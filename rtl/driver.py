"""A driver of `hwsim_accel` in plain Python: it reads the C header beside the Verilog, and needs nothing of hwsim.

    registers = device(0x4000_0000, 256).cast("I")
    accel = Accel("hwsim_accel_....h", registers, device(0x1000_0000, 1 << 24), 0x1000_0000)
    y, counters = accel.multiply(x, w, rows, k)

x: the bytes of `Encoded.to_bytes()` of 1 to a tile of rows, each padded to whole blocks; w: those of `formats.stream`.
"""

import mmap
import os
import re
import struct
from pathlib import Path


def device(base: int, size: int) -> memoryview:
    """Physical addresses from `base` on, past the caches; of Linux, for root."""
    return memoryview(mmap.mmap(os.open("/dev/mem", os.O_RDWR | os.O_SYNC), size, offset=base))


class Accel:
    """A unit. header: its `.h`; registers: their words; memory: bytes that the unit sees at address `base`, a page."""

    def __init__(self, header: str, registers, memory, base: int):
        text = Path(header).read_text()
        self.at = {name: int(at, 16) // 4 for name, at in re.findall(r"define HWSIM_ACCEL_(\w+) (0x\w+)", text)}
        self.unit = {name: int(value) for name, value in re.findall(r"\.(\w+) = \*/ (\d+),", text)}
        self.registers, self.memory, self.base = registers, memory, base
        if registers[self.at["ID"]] != self.unit["id"]:
            raise RuntimeError(f"{header} is not the header of this unit")

    def sizes(self, rows: int, k: int, m: int = 1) -> dict[str, int]:
        """What the registers hold for a matrix of [rows, k] and `m` rows of x, as `hwsim_accel_shape` in the header."""
        u = self.unit
        blocks, beat = -(-k // u["block"]), 8 * u["beat_bytes"]
        bits, columns = u["group_rows"] * blocks * u["block_bits"], blocks * u["parts"]
        group_beats, x_blocks = -(-bits // beat), -(-columns // u["x_parts"])
        return {
            "ROWS": rows, "COLUMNS": columns, "BEATS": -(-rows // u["group_rows"]) * group_beats,
            "GROUP_BEATS": group_beats, "TAIL": (bits - (group_beats - 1) * beat) // u["unit_bits"],
            "X_BLOCKS": x_blocks, "M": m, "X_BEATS": -(-m * x_blocks * u["x_record_bytes"] // u["beat_bytes"]),
        }  # fmt: skip

    def multiply(self, x: bytes, w: bytes, rows: int, k: int, m: int = 1) -> tuple[list[float], dict[str, int]]:
        """y, for each row of W the `m` rows of x, and the counters. x, w, y take pages from the memory's begin on."""
        values, place, count = self.sizes(rows, k, m), [0], rows * m
        for size in (len(x), len(w)):
            place.append(place[-1] + -(-size // 4096) * 4096)
        for name, begin, put in zip("XWY", place, (x, w, b""), strict=True):
            self.memory[begin : begin + len(put)] = put
            address = self.base + begin
            values |= {f"{name}_LOW": address & 0xFFFFFFFF, f"{name}_HIGH": address >> 32, "CONTROL": 1}
        for name in sorted(values, key=lambda name: name == "CONTROL"):  # which starts it, last
            self.registers[self.at[name]] = values[name]
        while (status := self.registers[self.at["STATUS"]]) & 1:
            pass
        if status >> 2:
            raise RuntimeError(f"STATUS {status:#x}: the memory answered with an error")
        counters = {name: self.registers[at] for name, at in self.at.items() if at >= self.at["CYCLES"]}
        return list(struct.unpack(f"<{count}f", self.memory[place[2] : place[2] + 4 * count])), counters
