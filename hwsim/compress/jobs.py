"""`compress` and `decompress`: tensor by tensor, so that one tensor at a time is in memory; resumable."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import hwsim
from hwsim.compress.checkpoint import FLOATS, Checkpoint, Shard, Tensor, narrow, read_checkpoint, widen
from hwsim.compress.record import KEY, NOTE_LENGTH, VERSION, Record, error_note, read_records, write_records
from hwsim.compress.selection import Spec, read_map, select
from hwsim.compress.table import Inspection, inspect
from hwsim.compress.writing import NewFile, Piece, Progress, Tell, Written, write_files
from hwsim.errors import InputError
from hwsim.files.whole import check_writable
from hwsim.formats import get_format
from hwsim.formats.format import Format
from hwsim.formats.seed import SeedFormat

_CHUNK = 1 << 20  # number of values whose errors are in float64 at the same time


def compress(
    in_path: str | Path,
    out_path: str | Path,
    format: Spec | None = None,
    mapping: str | Path | Mapping[str, Spec] | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Inspection:
    """Write a compressed copy of a model and return its table.

    in_path: a .safetensors file, an index of shards, or a folder with either.
    out_path: a file; for a sharded model, a folder for the shards and index, which keep their names (or the path
        of the new index).
    format: one format for all selected tensors.
    mapping: used instead of `format`: globs to formats, as a mapping or the path of a YAML file. The first glob
        that matches a tensor wins; the format `keep` leaves the tensor unchanged.
    include, exclude: globs, see `selection.select`.
    progress: called before each tensor, during a long search, and once at the end.
    raises: InputError for input that cannot be read, weights that are NaN or infinite, unknown formats, globs that
        match nothing, and an output that cannot be written; no files are left behind. The same call resumes a run
        that was killed.
    """
    if (format is None) == (mapping is None):
        raise InputError("compress: write either a format or a map of globs to formats")
    source = read_checkpoint(in_path)
    packed = [shard.path for shard in source.shards if KEY in shard.metadata]
    if packed:
        raise InputError(*(f"{path}: already compressed; decompress it first" for path in packed))
    if mapping is None:
        assert format is not None, "without a map there is a format, as checked above"
        chosen = select(source.tensors, _settled(format), include=include, exclude=exclude)
    else:
        given = mapping if isinstance(mapping, Mapping) else read_map(mapping)
        rules = {glob: _settled(spec) for glob, spec in given.items()}
        chosen = select(source.tensors, rules=rules, include=include, exclude=exclude)
    _check_finite(source, chosen)
    forms = cache(lambda spec: get_format(json.loads(spec), threads=threads))

    def pieces(shard: Shard) -> tuple[list[Piece], dict[str, Record]]:
        made: list[Piece] = []
        records: dict[str, Record] = {}
        for tensor in shard.tensors:
            if tensor.name not in chosen:
                made.append(_copy(shard, tensor))
                continue
            spec = chosen[tensor.name]
            form = forms(json.dumps(spec))
            nbytes = form.layout.array_nbytes(tensor.shape)
            records[tensor.name] = Record(spec, tensor.shape, tensor.dtype)

            def make(tell: Tell, tensor: Tensor = tensor, form: Format = form) -> Written:
                return _encoded(shard, tensor, form, tell)

            made.append(Piece(tensor.name, "U8", (nbytes,), nbytes, tensor.size, make, NOTE_LENGTH))
        return made, records

    plan = {"compress": {name: chosen[name] for name in sorted(chosen)}}
    _write(source, out_path, pieces, plan, progress)
    return inspect(out_path)


def decompress(
    in_path: str | Path,
    out_path: str | Path,
    *,
    dtype: str | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Inspection:
    """The inverse of `compress`: decode every compressed tensor to its original data type, or to `dtype`.

    dtype: F32, F16, BF16 or None. Paths, progress and errors: as in `compress`.
    raises: InputError also for files that hwsim did not compress.
    """
    if dtype is not None and dtype not in FLOATS:
        raise InputError(f"dtype: unknown {dtype!r}; write one of {', '.join(FLOATS)}")
    source = read_checkpoint(in_path)
    records = {shard.path: read_records(shard) for shard in source.shards}
    if not any(records.values()):
        raise InputError(f"{in_path}: contains no tensor that hwsim compressed; write the output of `hwsim compress`")
    forms = cache(lambda spec: get_format(json.loads(spec), threads=threads))

    def pieces(shard: Shard) -> tuple[list[Piece], dict[str, Record]]:
        made = []
        for tensor in shard.tensors:
            record = records[shard.path].get(tensor.name)
            if record is None:
                made.append(_copy(shard, tensor))
                continue
            kind = dtype or record.dtype
            size = math.prod(record.shape)

            def make(_: Tell, tensor: Tensor = tensor, record: Record = record, kind: str = kind) -> Written:
                form = forms(json.dumps(record.format))
                with _named(shard, tensor):
                    encoded = form.from_bytes(shard.data(tensor).tobytes(), record.shape)
                    return narrow(encoded.decode(), kind).reshape(-1).view(np.uint8).data, ""

            made.append(Piece(tensor.name, kind, record.shape, size * FLOATS[kind].itemsize, size, make))
        return made, {}

    _write(source, out_path, pieces, {"decompress": dtype}, progress)
    return inspect(out_path)


def _settled(spec: Spec) -> Spec:
    """A format as the output file records it: its canonical name, or the content of its YAML file."""
    if isinstance(spec, str) and spec.endswith((".yaml", ".yml")):
        from hwsim.files.yaml import read

        spec = dict(read(spec).data)
    if isinstance(spec, str) and spec == "keep":
        return spec
    form = get_format(spec)
    return form.name if isinstance(spec, str) else dict(spec)


def _write(
    source: Checkpoint,
    out_path: str | Path,
    pieces: Callable[[Shard], tuple[list[Piece], dict[str, Record]]],
    plan: dict[str, Any],
    progress: Callable[[Progress], None] | None,
) -> None:
    out = _targets(source, Path(out_path))
    made_folder = source.index is not None and not any(out[0].parent.iterdir())
    files: list[NewFile] = []
    places: dict[str, str] = {}
    total = 0
    for shard, path in zip(source.shards, out, strict=True):
        made, records = pieces(shard)
        kept = {key: value for key, value in shard.metadata.items() if key != KEY}

        def metadata(
            notes: dict[str, str], kept: dict[str, str] = kept, records: dict[str, Record] = records
        ) -> dict[str, str]:
            if not records:
                return kept
            return kept | {KEY: write_records(records, notes, f"hwsim {hwsim.__version__}")}

        files.append(NewFile(path, tuple(made), metadata))
        places |= dict.fromkeys((piece.name for piece in made), path.name)
        total += sum(piece.nbytes for piece in made)
    last = None
    if source.index:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        last = (out[0].parent / source.index.name, json.dumps(index, indent=2) + "\n")
    inputs = [(str(s.path.resolve()), *s.stamp) for s in source.shards]
    identity = hashlib.sha256(json.dumps([VERSION, hwsim.__version__, plan, inputs]).encode()).hexdigest()
    journal = (last[0] if last else out[0]).with_suffix(".resume")
    try:
        write_files(files, journal, identity, progress, last)
    except InputError:
        if made_folder:
            with contextlib.suppress(OSError):
                out[0].parent.rmdir()
        raise


def _targets(source: Checkpoint, out: Path) -> list[Path]:
    """Output path of each shard. raises: InputError if it cannot be written, or is the input."""
    if source.index is None:
        out = out / source.shards[0].path.name if out.is_dir() else out
        if out.suffix != ".safetensors":
            raise InputError(f"{out}: is not a safetensors file; write a name that ends in .safetensors")
        paths = [out]
    else:
        folder = out.parent if out.suffix == ".json" else out
        if folder.suffix == ".safetensors":
            raise InputError(f"{out}: the input is in shards; write a folder")
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be created: {error.strerror}") from error
        paths = [folder / shard.path.name for shard in source.shards]
    for path, shard in zip(paths, source.shards, strict=True):
        check_writable(path)
        if path.exists() and path.samefile(shard.path):
            raise InputError(f"{path}: is the input; write another name")
    return paths


def _copy(shard: Shard, tensor: Tensor) -> Piece:
    def make(_: Tell) -> Written:
        return shard.data(tensor).data, ""

    return Piece(tensor.name, tensor.dtype, tensor.shape, tensor.nbytes, tensor.size, make, copied=True)


@contextlib.contextmanager
def _named(shard: Shard, tensor: Tensor) -> Iterator[None]:
    """Put the file and tensor in front of every error raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(*(f"{shard.path}: {tensor.name}: {p}" for p in error.problems)) from error


def _check_finite(source: Checkpoint, chosen: Mapping[str, Spec]) -> None:
    """Check all weights before the search, which can take hours. raises: InputError for tensors with NaN or Inf."""
    problems = []
    for shard in source.shards:
        for tensor in shard.tensors:
            if tensor.name in chosen:
                stored = shard.data(tensor).view(FLOATS[tensor.dtype])
                parts = (stored[at : at + _CHUNK] for at in range(0, tensor.size, _CHUNK))
                values = (widen(part) if tensor.dtype == "BF16" else part for part in parts)
                bad = sum(part.size - np.count_nonzero(np.isfinite(part)) for part in values)
                if bad:
                    what = f"{bad} of {tensor.size} weights are NaN or infinite; exclude the tensor, or repair it"
                    problems.append(f"{shard.path}: {tensor.name}: {what}")
    if problems:
        raise InputError(*problems[:20])


def _encoded(shard: Shard, tensor: Tensor, form: Format, tell: Tell) -> tuple[bytes, str]:
    """(bytes of a tensor in a format, its relative error as text)."""
    w = shard.values(tensor)
    rows = w.reshape(-1, w.shape[-1])
    step = max(1, _CHUNK // rows.shape[1])
    with _named(shard, tensor):
        encoded = form.find(w, tell=tell)[0] if isinstance(form, SeedFormat) else form.encode(w)
    data = encoded.to_bytes()
    decoded = encoded.decode().reshape(rows.shape)
    noise = power = 0.0
    for at in range(0, len(rows), step):
        exact = rows[at : at + step].astype(np.float64)
        power += float(np.sum(exact * exact))
        exact -= decoded[at : at + step]
        noise += float(np.sum(exact * exact))
    if not math.isfinite(noise):
        what = f"its largest weights would become infinite in {form.name}; exclude it, or use another format"
        raise InputError(f"{shard.path}: {tensor.name}: {what}")
    return data, error_note(math.sqrt(noise / power) if power else 0.0)
