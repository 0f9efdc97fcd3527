"""The host's side of `rtl.ulx3s`: registers and memory over a serial line, as `rtl/driver.py` takes them.

    board = Board(serial.Serial("/dev/ttyUSB0", 1_000_000))  # pyserial, or anything that has its read and write
    accel = Accel("build/ulx3s/hwsim_accel.h", board.registers, board.memory(1 << 17), 0)

Plain Python; needs nothing of hwsim. Tried in simulation only, on no board.
"""

WRITE, READ = 1, 2
"""The first byte of a frame; a write's goes on with the word and the address, a read's with the address. Four bytes
each, the lowest first; a read is answered by four bytes."""
REGISTERS = 1 << 31
"""Where the registers begin; the memory begins at 0."""


class Board:
    """What lies behind a line. port: its `read(n)` gives n bytes, its `write(data)` sends them all."""

    def __init__(self, port):
        self._port, self.registers = port, Registers(self)

    def memory(self, size: int) -> "Memory":
        """The memory; size: in bytes, as it was built."""
        return Memory(self, size)

    def write(self, address: int, words: list[int]) -> None:
        """Words from a byte address on; no answer comes."""
        self._port.write(b"".join(
            bytes([WRITE]) + word.to_bytes(4, "little") + (address + 4 * i).to_bytes(4, "little")
            for i, word in enumerate(words)
        ))  # fmt: skip

    def read(self, address: int, count: int) -> bytes:
        """That many words from a byte address on."""
        self._port.write(b"".join(bytes([READ]) + (address + 4 * i).to_bytes(4, "little") for i in range(count)))
        return self._port.read(4 * count)


class Registers:
    """Words by their number."""

    def __init__(self, board: Board):
        self._board = board

    def __getitem__(self, number: int) -> int:
        return int.from_bytes(self._board.read(REGISTERS + 4 * number, 1), "little")

    def __setitem__(self, number: int, word: int) -> None:
        self._board.write(REGISTERS + 4 * number, [word])


class Memory:
    """Bytes by slices that begin at a word; the rest of the last word that is written becomes 0."""

    def __init__(self, board: Board, size: int):
        self._board, self._size = board, size

    def __getitem__(self, where: slice) -> bytes:
        begin, count = self._words(where)
        return self._board.read(begin, count)[: where.stop - begin]

    def __setitem__(self, where: slice, put: bytes) -> None:
        begin, count = self._words(where)
        if len(put) != where.stop - begin:
            raise ValueError(f"{len(put)} bytes for a slice of {where.stop - begin}")
        put += bytes(4 * count - len(put))
        self._board.write(begin, [int.from_bytes(put[i : i + 4], "little") for i in range(0, len(put), 4)])

    def _words(self, where: slice) -> tuple[int, int]:
        begin, stop = where.start, where.stop
        if begin % 4 or where.step not in (None, 1) or not 0 <= begin <= stop <= self._size:
            raise ValueError(f"bytes {begin} to {stop} of {self._size}: write a slice that begins at a multiple of 4")
        return begin, -(-(stop - begin) // 4)
