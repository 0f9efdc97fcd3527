"""Writing files piece by piece, so that a killed run can resume. A file has its final name only when it is complete.

Data is written to `NAME.part`, which has its full size from the start, in chunks, so that no tensor is in memory as a
whole. A journal next to it has one line per finished piece with the checksums of its bytes. A run that finds the
journal of an equal run keeps the pieces whose checksums are still correct. When all files are complete, each is renamed
to its final name.

The header is written here because the safetensors library can write only a model that is in memory as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeAlias

from hwsim.errors import InputError

_CRC_CHUNK = 1 << 24
_OLD_IDENTITY = re.compile("[0-9a-f]{64}")  # of a journal of record version 1, which had nothing before the digest


class OldJournal(InputError):
    """The journal of an unfinished run of an older version; nothing of it is touched."""


Tell: TypeAlias = Callable[[int], None]
"""Takes the number of values of a piece that are done."""

Write: TypeAlias = Callable[[int, memoryview | bytes], None]
"""Takes the number of a part of the piece and the next bytes of that part."""


@dataclass(frozen=True)
class Part:
    """One tensor to be written. nbytes: its size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def width(self) -> int:
        """Bytes of one value; 0 where there is none, or where several share a byte."""
        values = math.prod(self.shape)
        return self.nbytes // values if values else 0


@dataclass(frozen=True)
class Piece:
    """One weight to be written, as one or several tensors: its codes, its scales.

    make: writes all bytes of every part, in order within a part, and returns a note for the header of exactly
        `note_length` characters; it may tell the number of values that are done.
    values: number of values, for the progress. copied: it is copied and takes no work.
    """

    name: str
    parts: tuple[Part, ...]
    values: int
    make: Callable[[Tell, Write], str]
    note_length: int = 0
    copied: bool = False


@dataclass(frozen=True)
class NewFile:
    """One safetensors file to be written. metadata: notes by piece name -> text entries of the header."""

    path: Path
    pieces: tuple[Piece, ...]
    metadata: Callable[[dict[str, str]], dict[str, str]]

    @property
    def part(self) -> Path:
        """Path of the file until it is complete."""
        return self.path.with_name(self.path.name + ".part")

    def ordered(self) -> list[Part]:
        """Tensors in file order: wide elements first, so that all are aligned, then by name."""
        return sorted((part for piece in self.pieces for part in piece.parts), key=lambda p: (-p.width, p.name))

    def places(self) -> dict[str, int]:
        """Offset in the file of each tensor."""
        at, found = len(self.header(self.blank())), {}
        for part in self.ordered():
            found[part.name] = at
            at += part.nbytes
        return found

    def in_turn(self) -> list[Piece]:
        """Pieces in the order of their first bytes in the file."""
        rank = {part.name: n for n, part in enumerate(self.ordered())}
        return sorted(self.pieces, key=lambda piece: min(rank[part.name] for part in piece.parts))

    def blank(self) -> dict[str, str]:
        """Notes that are not known yet."""
        return {piece.name: " " * piece.note_length for piece in self.pieces}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(part.nbytes for piece in self.pieces for part in piece.parts)

    def header(self, notes: dict[str, str]) -> bytes:
        """Length and JSON, padded to 8 bytes; the length does not depend on the content of the notes."""
        entries: dict[str, object] = {}
        metadata = self.metadata(notes)
        if metadata:
            entries["__metadata__"] = metadata
        at = 0
        for part in self.ordered():
            offsets = [at, at + part.nbytes]
            entries[part.name] = {"dtype": part.dtype, "shape": list(part.shape), "data_offsets": offsets}
            at += part.nbytes
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    tensor: the current tensor; empty once all are done. done_values, values: finished values, and values in all.
    resumed_values, copied_values: finished values that took no work, because an interrupted run had finished them, or
        because they are copied.
    """

    tensor: str
    done_values: int
    values: int
    resumed_values: int
    copied_values: int


def write_files(
    files: Sequence[NewFile],
    journal: Path,
    identity: str,
    progress: Callable[[Progress], None] | None = None,
    texts: Sequence[tuple[Path, str]] = (),
) -> None:
    """Write all files, then rename them to their final names, then write `texts` in their order (path, text).

    journal: the file that records the finished pieces; it is removed at the end.
    identity: text that is the same for two runs with equal inputs, formats and version.
    raises: InputError for a full disk, a path that cannot be written, or another run that writes there; and
        whatever a piece raises. Then parts and journal are removed; after a kill or Ctrl-C they remain, so that the
        next run can resume.
    """
    try:
        with _locked(journal) as log:
            try:
                _write(files, log, identity, progress, texts)
            except OldJournal:
                raise
            except Exception:
                for file in files:
                    file.part.unlink(missing_ok=True)
                journal.unlink(missing_ok=True)
                raise
            journal.unlink()
    except OSError as error:
        what = f"{files[0].path}: cannot be written: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            what += f"; {sum(f.nbytes for f in files)} bytes are needed"
        raise InputError(what) from error


@contextlib.contextmanager
def _locked(journal: Path) -> Iterator[TextIO]:
    """The journal, open for reading and writing, and locked; the system releases the lock of a process that dies."""
    while True:
        log = open(journal, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.close()
            what = "another run is writing these files; wait for it to end, or write to another place"
            raise InputError(f"{journal}: {what}") from None
        if journal.exists() and os.path.samestat(os.fstat(log.fileno()), journal.stat()):
            break
        log.close()  # the other run ended between open and lock, and removed the journal
    try:
        yield log
    finally:
        log.close()


def _write(
    files: Sequence[NewFile],
    log: TextIO,
    identity: str,
    progress: Callable[[Progress], None] | None,
    texts: Sequence[tuple[Path, str]],
) -> None:
    done = _read_journal(log, identity)
    total = sum(piece.values for file in files for piece in file.pieces)
    at_value = resumed = copied = 0
    notes: list[dict[str, str]] = []
    opened: list[tuple[NewFile, int | None]] = []

    def tell(done: int) -> None:
        if progress:
            progress(Progress(piece.name, at_value + done, total, resumed, copied))

    try:
        for number, file in enumerate(files):  # reserve the space of all files before doing any work
            opened.append((file, _open_part(file, done.get(number, {}))))
        for number, (file, part) in enumerate(opened):
            finished = done.get(number, {})
            found: dict[str, str] = {}
            places = file.places()
            for piece in file.in_turn():
                tell(0)
                kept = finished.get(piece.name)
                if kept and (part is None or _sums(part, piece, places) == kept[1]):
                    note = kept[0]
                    resumed += piece.values
                else:
                    assert part is not None, "a file without a part is whole: the journal has all of its pieces"
                    note, sums = _make(piece, part, places, tell)
                    copied += piece.values if piece.copied else 0
                    log.write(json.dumps([number, piece.name, note, sums]) + "\n")
                    log.flush()
                found[piece.name] = note
                at_value += piece.values
            notes.append(found)
            if part is not None:
                _write_at(part, memoryview(file.header(found)), 0)
                os.fsync(part)
    finally:
        for _, part in opened:
            if part is not None:
                os.close(part)
    if progress:
        progress(Progress("", at_value, total, resumed, copied))
    for path, _ in texts:
        path.unlink(missing_ok=True)  # an index must never name files of two different runs
    for file, part in opened:
        if part is not None:
            os.replace(file.part, file.path)
    for path, text in texts:
        unnamed = path.with_name(path.name + ".part")
        unnamed.write_text(text, encoding="utf-8")
        os.replace(unnamed, path)
    for folder in {file.path.parent for file in files}:
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _make(piece: Piece, handle: int, places: dict[str, int], tell: Tell) -> tuple[str, list[int]]:
    """Write a piece at its places; (its note, the checksum of each of its tensors)."""
    done, sums = [0] * len(piece.parts), [0] * len(piece.parts)

    def write(part: int, data: memoryview | bytes) -> None:
        view = memoryview(data).cast("B")
        if done[part] + len(view) > piece.parts[part].nbytes:
            raise AssertionError(f"{piece.parts[part].name}: more bytes than planned")
        _write_at(handle, view, places[piece.parts[part].name] + done[part])
        done[part] += len(view)
        sums[part] = zlib.crc32(view, sums[part])

    note = piece.make(tell, write)
    if done != [part.nbytes for part in piece.parts] or len(note) != piece.note_length:
        raise AssertionError(f"{piece.name}: {done} bytes, expected {[part.nbytes for part in piece.parts]}")
    return note, sums


def _sums(handle: int, piece: Piece, places: dict[str, int]) -> list[int]:
    """The checksum of each tensor of a piece, as it is on disk."""
    return [_crc(handle, places[part.name], part.nbytes) for part in piece.parts]


def _open_part(file: NewFile, finished: dict[str, tuple[str, list[int]]]) -> int | None:
    """The part file with its space reserved; None if a killed run had already renamed it to its final name."""
    size = len(file.header(file.blank())) + file.nbytes
    if not file.part.exists() and all(piece.name in finished for piece in file.pieces) and _is_whole(file, finished):
        return None
    part = os.open(file.part, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.ftruncate(part, size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(part, 0, size)
    except BaseException:
        os.close(part)
        raise
    return part


def _is_whole(file: NewFile, finished: dict[str, tuple[str, list[int]]]) -> bool:
    """Whether the file under the final name is exactly the one that the journal describes."""
    with contextlib.suppress(OSError):
        whole = os.open(file.path, os.O_RDONLY)
        try:
            header = file.header({name: note for name, (note, _) in finished.items()})
            if os.pread(whole, len(header), 0) != header or os.fstat(whole).st_size != len(header) + file.nbytes:
                return False
            places = file.places()
            return all(_sums(whole, piece, places) == finished[piece.name][1] for piece in file.pieces)
        finally:
            os.close(whole)
    return False


def _write_at(handle: int, data: memoryview, at: int) -> None:
    while data:
        n = os.pwrite(handle, data[: 1 << 30], at)
        data, at = data[n:], at + n


def _crc(handle: int, at: int, nbytes: int) -> int:
    """Checksum of `nbytes` bytes from offset `at`, as they are on disk."""
    crc, end = 0, at + nbytes
    while at < end:
        data = os.pread(handle, min(_CRC_CHUNK, end - at), at)
        if not data:
            break
        crc, at = zlib.crc32(data, crc), at + len(data)
    return crc


def _read_journal(log: TextIO, identity: str) -> dict[int, dict[str, tuple[str, list[int]]]]:
    """File number -> piece -> (note, checksum) of an equal run; the journal of a different run is emptied."""
    log.seek(0)
    lines = log.read().split("\n")
    if _OLD_IDENTITY.fullmatch(lines[0]):
        what = "an older hwsim began these files and did not finish; remove this file and the .part files beside it"
        raise OldJournal(f"{log.name}: {what}, then run the command again")
    done: dict[int, dict[str, tuple[str, list[int]]]] = {}
    if lines[0] == identity:
        for line in lines[1:]:  # the last line may be incomplete
            with contextlib.suppress(ValueError, TypeError):
                number, name, note, sums = json.loads(line)
                done.setdefault(number, {})[name] = (note, list(sums))
    log.seek(0)
    log.truncate()
    log.write(identity + "\n")
    for number, pieces in done.items():
        for name, (note, sums) in pieces.items():
            log.write(json.dumps([number, name, note, sums]) + "\n")
    log.flush()
    return done
