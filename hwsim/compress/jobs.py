"""`compress`, `decompress` and `convert`: weight by weight, in chunks of rows, in little memory; resumable."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import hwsim
from hwsim.compress.checkpoint import FLOATS, Checkpoint, Shard, Tensor, narrow
from hwsim.compress.gguf import QUANT
from hwsim.compress.open import open_checkpoint
from hwsim.compress.parts import CHUNK, Held, moved, spans
from hwsim.compress.record import HWSIM, KEY, NOTE_LENGTH, VERSION, Record, error_note, write_records
from hwsim.compress.released import find_weights
from hwsim.compress.selection import read_map, select, settled_rules
from hwsim.compress.table import Inspection, inspect
from hwsim.compress.targets import Target, target_of
from hwsim.compress.weights import PLAIN, PackedWeight, Spec, Weight, settled, spec_text
from hwsim.compress.writing import NewFile, Part, Piece, Progress, Tell, Write, write_files
from hwsim.errors import InputError
from hwsim.files.whole import check_writable
from hwsim.formats import get_format
from hwsim.formats.format import Encoded, Format
from hwsim.formats.seed import SeedFormat

_FLOAT64 = 1 << 20  # number of values whose errors are in float64 at the same time
_COPY = 1 << 25  # bytes of a tensor that are copied at once
_SHOWN = 8  # names in an error
_CODED = ("F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8")  # types of codes without their scales


def compress(
    in_path: str | Path,
    out_path: str | Path,
    format: Spec | None = None,
    mapping: str | Path | Mapping[str, Spec] | None = None,
    *,
    layout: str = HWSIM,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    axes: Mapping[str, int] | None = None,
    decode: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Inspection:
    """Write a compressed copy of a model and return its table.

    in_path: a .safetensors file, an index of shards, or a folder with either.
    out_path: a file; for a sharded model, a folder for the shards and index, which keep their names (or the path
        of the new index).
    format: one format for all selected weights; None without a map: the usual one of the layout.
    mapping: used instead of `format`: globs to formats, as a mapping or the path of a YAML file. The first glob
        that matches a weight wins; the format `keep` leaves the weight unchanged.
    layout: "hwsim" (records of any format), or what serving engines load: see `targets`.
    include, exclude: globs, see `selection.select`.
    axes: globs to the axis K of weights whose file stores it elsewhere than `orientation` knows.
    decode: weights that are quantised already are decoded and compressed anew; else they are an error, unless `include`
        or a map leaves them alone.
    progress: called before each weight, during a long search, and once at the end.
    raises: InputError for input that cannot be read or is quantised already, weights that are NaN or infinite, unknown
        formats, globs that match nothing, weights that the layout cannot hold, and an output that cannot be written; no
        files are left behind. The same call resumes a run that was killed.
    """
    target = target_of(layout)
    if format is not None and mapping is not None:
        raise InputError("compress: both are given; write either a format or a map of globs to formats")
    if format is None and mapping is None and not target.default:
        raise InputError("compress: no format is given; write either a format or a map of globs to formats")
    source = open_checkpoint(in_path)
    weights, rest = find_weights(source)
    coded = [w for w in weights if w.layout != PLAIN]
    if coded and not decode and not include and mapping is None:
        raise InputError(*_quantised(in_path, coded))
    rules = None
    if mapping is not None:
        rules = settled_rules(mapping if isinstance(mapping, Mapping) else read_map(mapping))
    able = weights if decode else [w for w in weights if w.layout == PLAIN]
    _check_stray(in_path, able, rest)
    chosen = select(
        able, None if rules is not None else settled(format or target.default), rules, include, exclude, axes,
        stacks=True if target.name == "gpt-oss" else None, names=[*(h.name for h in rest), *(w.name for w in weights)],
    )  # fmt: skip
    by_name = {w.name: replace(w, axis=chosen[w.name].axis) for w in weights if w.name in chosen}
    forms = cache(lambda text: get_format(json.loads(text), threads=threads))
    made = {name: forms(spec_text(chosen[name].format)) for name in by_name}
    problems = [
        problem
        for name, w in by_name.items()
        for problem in target.problems(name, made[name].layout, moved(w.shape, w.axis))
    ]
    if problems:
        raise InputError(*problems[:20])
    _check_finite(by_name.values())
    jobs = {name: _Encode(w, chosen[name].format, made[name], target) for name, w in by_name.items()}
    plan = {
        "compress": {name: [spec_text(c.format), c.axis] for name, c in sorted(chosen.items())},
        "layout": target.name, "decode": decode,
    }  # fmt: skip
    notes = _write(source, weights, out_path, dict(jobs), plan, progress, target if target.name != HWSIM else None)
    return replace(inspect(out_path), notes=notes)


def decompress(
    in_path: str | Path,
    out_path: str | Path,
    *,
    dtype: str | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Inspection:
    """Decode every compressed or quantised weight to plain values.

    dtype: F32, F16, BF16 or None: the original type that hwsim recorded; F32, which is exact, for released layouts.
    Paths, progress and errors: as in `compress`; a GGUF file is read too.
    raises: InputError also for files without a compressed or quantised weight.
    """
    if dtype is not None and dtype not in FLOATS:
        raise InputError(f"dtype: unknown {dtype!r}; write one of {', '.join(FLOATS)}")
    source = open_checkpoint(in_path)
    weights, _ = find_weights(source)
    coded = [w for w in weights if w.layout != PLAIN]
    if not coded:
        what = "contains no tensor that hwsim compressed, and none in a released layout"
        raise InputError(f"{in_path}: {what}; write the output of `hwsim compress`, or a quantised checkpoint")
    jobs: dict[str, _Job] = {}
    for weight in coded:
        kind = dtype or (weight.record.dtype if isinstance(weight, PackedWeight) else "F32")
        jobs[weight.name] = _Decode(weight, kind)
    _write(source, weights, out_path, jobs, {"decompress": dtype}, progress, None)
    return inspect(out_path)


def convert(
    in_path: str | Path,
    out_path: str | Path,
    layout: str,
    format: Spec | None = None,
    *,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Inspection, dict[str, str]]:
    """Write the quantised weights of a model in another layout: (the new table, how each weight was converted).

    layout: as in `compress`. format: of all quantised weights; None: each keeps its own where the layout stores it,
        else the usual one of the layout.
    how: "exact" (every value is the same), "exact codes, tensor scale rounded" (a factor becomes a divisor or the
        other way round: values differ by one part in 2^23 at most), or "re-encoded from FORMAT".
    raises: InputError as `compress`, and for a model without quantised weights.
    """
    target = target_of(layout)
    source = open_checkpoint(in_path)
    weights, _ = find_weights(source)
    coded = [w for w in weights if w.layout != PLAIN]
    if not coded:
        raise InputError(f"{in_path}: no weight is quantised, so nothing is converted; use `hwsim compress`")
    wanted = None if format is None else settled(format)
    jobs: dict[str, _Encode] = {}
    how: dict[str, str] = {}
    problems: list[str] = []
    for weight in coded:
        spec, form, words = _converted(weight, target, wanted, threads)
        problems += target.problems(weight.name, form.layout, moved(weight.shape, weight.axis))
        how[weight.name] = words
        kind = _Encode if words.startswith("re-encoded") else _Move
        jobs[weight.name] = kind(weight, spec, form, target)
    if problems:
        raise InputError(*problems[:20])
    specs = {job.weight.name: spec_text(job.spec) for job in jobs.values()}
    plan = {"convert": dict(sorted(specs.items())), "layout": target.name}
    notes = _write(source, weights, out_path, dict(jobs), plan, progress, target if target.name != HWSIM else None)
    return replace(inspect(out_path), notes=notes), how


def _converted(weight: Weight, target: Target, wanted: Spec | None, threads: int | None) -> tuple[Spec, Format, str]:
    """(format's name or definition, the format, how) of a weight in another layout."""
    own = weight.format
    spec: Spec = wanted or ""
    if wanted is None:
        resolved = own.layout.resolved() if own is not None else target.default or "bf16"
        stored = own is not None and (not target.formats or own.name in target.formats)
        spec = resolved if stored else target.default or resolved
    form = get_format(spec, threads=threads)
    if own is None or own.layout != form.layout:
        return spec, form, f"re-encoded from {weight.words}"
    divisors = (getattr(weight, "divisor", False), target.name == "compressed-tensors" and form.name == "nvfp4")
    if divisors[0] != divisors[1]:
        scale = weight.codes(0, min(1, weight.row_count)).tensor_number
        other = float(np.float32(1) / np.float32(scale))
        if divisors[0] and Fraction(float(weight.global_scale)) * Fraction(scale) != 1:  # type: ignore[attr-defined]
            return spec, form, "exact codes, tensor scale rounded"
        if divisors[1] and Fraction(other) * Fraction(scale) != 1:
            return spec, form, "exact codes, tensor scale rounded"
    return spec, form, "exact"


@dataclass
class _Job:
    """What becomes of one weight."""

    weight: Weight

    def piece(self) -> Piece:
        """The tensors to write."""
        raise NotImplementedError

    def record(self) -> Record | None:
        """The entry of the header; None for plain values."""
        return None


@dataclass
class _Encode(_Job):
    """A weight encoded from its values."""

    spec: Spec
    form: Format
    target: Target

    def piece(self) -> Piece:
        shape = moved(self.weight.shape, self.weight.axis)
        parts = self.target.parts(self.weight.name, self.form.layout, shape)
        return Piece(self.weight.name, parts, self.weight.size, self.make, NOTE_LENGTH)

    def record(self) -> Record:
        weight = self.weight
        plain = weight.parts[0].tensor.dtype if weight.layout == PLAIN else "F32"
        kind = weight.record.dtype if isinstance(weight, PackedWeight) else plain
        return Record(self.spec, weight.shape, kind, None, weight.axis, self.target.name)

    def make(self, tell: Tell, write: Write) -> str:
        """Encode, write, and give the relative error as text."""
        weight, sink = self.weight, self.target.sink(write)
        noise = power = 0.0
        with named(weight):
            form = self.form.fitted(rows for _, rows in chunks(weight, self.form))
            for first, rows in chunks(weight, self.form):
                encoded = self._encoded(form, rows, first * weight.k, tell)
                sink.add(encoded)
                more = _squares(rows, encoded.decode())
                noise, power = noise + more[0], power + more[1]
            sink.close()
        if not math.isfinite(noise):
            what = f"its largest weights would become infinite in {self.form.name}; exclude it, or use another format"
            raise InputError(f"{weight.place}: {what}")
        return error_note(math.sqrt(noise / power) if power else 0.0)

    def _encoded(self, form: Format, rows: np.ndarray, before: int, tell: Tell) -> Encoded:
        """The codes of a chunk. before: values of the chunks before it."""
        if isinstance(form, SeedFormat):
            return form.find(rows, tell=lambda done: tell(before + done))[0]
        encoded = form.encode(rows)
        tell(before + rows.size)
        return encoded


@dataclass
class _Move(_Encode):
    """A weight whose codes are moved to another layout as they are."""

    def make(self, tell: Tell, write: Write) -> str:
        """The error is 0: of the quantised values, not of those that they once were."""
        sink = self.target.sink(write)
        with named(self.weight):
            for first, last in spans(self.weight.shape, self.weight.axis, self._tiles()):
                sink.add(self.weight.codes(first, last))
                tell(last * self.weight.k)
            sink.close()
        return error_note(0.0)

    def _tiles(self) -> int:
        return max(self.weight.tile_rows, self.form.layout.tile_rows)


@dataclass
class _Decode(_Job):
    """A weight as plain values. dtype: F32, F16 or BF16."""

    dtype: str

    def piece(self) -> Piece:
        w = self.weight
        part = Part(w.name, self.dtype, w.shape, w.size * FLOATS[self.dtype].itemsize)
        return Piece(w.name, (part,), w.size, self.make)

    def make(self, tell: Tell, write: Write) -> str:
        """Rows in the order of the file; where K is not the last axis, a matrix at a time."""
        w = self.weight
        with named(w):
            if w.axis == len(w.shape) - 1:
                for first, rows in chunks(w):
                    write(0, narrow(_float32(rows), self.dtype).reshape(-1).view(np.uint8).data)
                    tell(first * w.k)
                return ""
            after = math.prod(w.shape[w.axis + 1 :])
            for matrix in range(0, w.row_count, after):
                parts = [narrow(_float32(w.rows(a, b)), self.dtype) for a, b in _within(w, matrix, matrix + after)]
                whole = np.ascontiguousarray(np.concatenate(parts).T)
                write(0, whole.reshape(-1).view(np.uint8).data)
                tell(matrix * w.k)
        return ""


def _float32(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows, np.float32)


def _within(weight: Weight, first: int, last: int) -> Iterator[tuple[int, int]]:
    step = max(1, CHUNK // max(1, weight.k))
    step = max(weight.tile_rows, step // weight.tile_rows * weight.tile_rows) if weight.tile_rows else step
    for at in range(first, last, step):
        yield at, min(at + step, last)


def chunks(weight: Weight, form: Format | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, float[rows, K]) of all rows, cut where the tiles of either side allow it."""
    tile_rows = max(weight.tile_rows, form.layout.tile_rows if form else 0)
    for first, last in spans(weight.shape, weight.axis, tile_rows):
        yield first, weight.rows(first, last)


def _squares(rows: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
    """(|w - q|^2, |w|^2), summed in float64."""
    noise = power = 0.0
    step = max(1, _FLOAT64 // max(1, rows.shape[1]))
    for at in range(0, len(rows), step):
        exact = rows[at : at + step].astype(np.float64)
        power += float(np.sum(exact * exact))
        exact -= decoded[at : at + step]
        noise += float(np.sum(exact * exact))
    return noise, power


def _quantised(path: str | Path, coded: Sequence[Weight]) -> list[str]:
    """The errors for a checkpoint that is quantised already, one per layout and format."""
    groups: dict[tuple[str, str], list[str]] = {}
    for weight in coded:
        groups.setdefault((weight.layout, weight.words), []).append(weight.name)
    found = []
    for (layout, words), names in groups.items():
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        if layout == HWSIM:
            what = f"already compressed by hwsim ({words}): {', '.join(names[:2])}{more}; decompress it first"
        else:
            what = f"is quantised already ({words} of {layout}): {', '.join(names[:2])}{more}"
        found.append(f"{path}: {what}; decode its weights first with --decode, or name others with --include")
    return found


def _check_stray(path: str | Path, able: Sequence[Weight], rest: Sequence[Held]) -> None:
    """Refuse a checkpoint whose weights are of a type that is not read, where no other weight is there."""
    if any(len(w.shape) >= 2 and w.size for w in able):
        return
    # Integers of 32 and 64 bits are indices and masks; bytes and small floats were weights.
    coded = [h for h in rest if len(h.tensor.shape) >= 2 and h.tensor.dtype in _CODED]
    kinds = sorted({h.tensor.dtype for h in coded})
    if kinds:
        names = [h.name for h in coded]
        shown = ", ".join(names[:2]) + (" ..." if len(names) > 2 else "")
        what = f"has weights of {', '.join(kinds)} without the scales of a layout that hwsim knows ({shown})"
        raise InputError(f"{path}: {what}; compress reads {', '.join(FLOATS)} and the layouts in docs/formats.md")


def _check_finite(weights: Any) -> None:
    """Check all weights before the search, which can take hours. raises: InputError for weights with NaN or Inf."""
    problems = []
    for weight in weights:
        bad = sum(rows.size - int(np.count_nonzero(np.isfinite(rows))) for _, rows in chunks(weight))
        if bad:
            what = f"{bad} of {weight.size} weights are NaN or infinite; exclude the tensor, or repair it"
            problems.append(f"{weight.place}: {what}")
    if problems:
        raise InputError(*problems[:20])


@contextlib.contextmanager
def named(weight: Weight) -> Iterator[None]:
    """Put the file and weight in front of every error raised inside."""
    try:
        yield
    except InputError as error:
        place = f"{weight.place}: "
        raise InputError(*(p if p.startswith(place) else place + p for p in error.problems)) from error


def _write(
    source: Checkpoint,
    weights: Sequence[Weight],
    out_path: str | Path,
    jobs: Mapping[str, _Job],
    plan: dict[str, Any],
    progress: Callable[[Progress], None] | None,
    target: Target | None,
) -> tuple[str, ...]:
    """Write all files; tensors of weights without a job are copied. Returns notes for the reader."""
    out = _targets(source, Path(out_path))
    made_folder = source.index is not None and not any(out[0].parent.iterdir())
    by_name = {w.name: w for w in weights}
    replaced = {part.name for name in jobs for part in by_name[name].parts}
    homes: dict[Path, list[_Job]] = {}
    for name, job in jobs.items():
        homes.setdefault(by_name[name].parts[0].shard.path, []).append(job)
    kept_records = _kept_records(source, jobs)
    files: list[NewFile] = []
    places: dict[str, str] = {}
    for shard, path in zip(source.shards, out, strict=True):
        here = homes.get(shard.path, [])
        made = [job.piece() for job in here]
        made += [_copy(shard, tensor) for tensor in shard.tensors if tensor.name not in replaced]
        records = {job.weight.name: record for job in here if (record := job.record())} | kept_records[shard.path]
        kept = {key: value for key, value in shard.metadata.items() if key != KEY}

        def metadata(
            notes: dict[str, str], kept: dict[str, str] = kept, records: dict[str, Record] = records
        ) -> dict[str, str]:
            if not records:
                return kept
            return kept | {KEY: write_records(records, notes, f"hwsim {hwsim.__version__}")}

        files.append(NewFile(path, tuple(made), metadata))
        places |= dict.fromkeys((part.name for piece in made for part in piece.parts), path.name)
    _check_names(files)
    texts: list[tuple[Path, str]] = []
    if source.index:
        index = {
            "metadata": {"total_size": sum(file.nbytes for file in files)},
            "weight_map": dict(sorted(places.items())),
        }
        texts.append((out[0].parent / source.index.name, json.dumps(index, indent=2) + "\n"))
    notes: tuple[str, ...] = ()
    if target is not None:
        more, notes = _config(source, weights, jobs, target, out[0].parent)
        texts = more + texts  # the index comes last: it says that everything is there
    inputs = [(str(s.path.resolve()), *s.stamp) for s in source.shards]
    digest = hashlib.sha256(json.dumps([VERSION, hwsim.__version__, plan, inputs]).encode()).hexdigest()
    first = out[0].parent / source.index.name if source.index else out[0]
    try:
        write_files(files, first.with_suffix(".resume"), f"hwsim-{VERSION} {digest}", progress, texts)
    except InputError:
        if made_folder:
            with contextlib.suppress(OSError):
                out[0].parent.rmdir()
        raise
    return notes


def _kept_records(source: Checkpoint, jobs: Mapping[str, _Job]) -> dict[Path, dict[str, Record]]:
    """The records of weights that are copied as they are."""
    from hwsim.compress.record import read_records

    return {
        shard.path: {name: r for name, r in read_records(shard).items() if name not in jobs} for shard in source.shards
    }


def _check_names(files: Sequence[NewFile]) -> None:
    """Refuse two tensors of one name, such as a new scale and one that is there already."""
    for file in files:
        names = [part.name for piece in file.pieces for part in piece.parts]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            what = "is a tensor already, and the layout needs a new one of that name; write another layout"
            raise InputError(*(f"{file.path}: {name}: {what}" for name in twice[:_SHOWN]))


def _config(
    source: Checkpoint, weights: Sequence[Weight], jobs: Mapping[str, _Job], target: Target, folder: Path
) -> tuple[list[tuple[Path, str]], tuple[str, ...]]:
    """(texts to write beside the files, notes): what a server needs in config.json."""
    forms = {job.form.name: job.form for job in jobs.values() if isinstance(job, _Encode)}
    if len(forms) != 1:
        return [], (f"the weights have {len(forms)} formats: write quantization_config of config.json by hand",)
    ignored = sorted(
        w.name.removesuffix(".weight") for w in weights if w.name not in jobs and len(w.shape) >= 2 and w.size
    )
    entry = target.quantization_config(next(iter(forms.values())), ignored)
    before = source.shards[0].path.parent / "config.json"
    after = folder / "config.json"
    if source.config and not (after.exists() and after.samefile(before)):
        text = json.dumps(source.config | {"quantization_config": entry}, indent=2) + "\n"
        return [(after, text)], ("config.json beside the output has the quantization_config that servers read",)
    where = "config.json of the input is in the same folder and stays as it is" if source.config else "no config.json"
    return [], (f"{where}; a server needs this in it: {json.dumps({'quantization_config': entry})}",)


def _targets(source: Checkpoint, out: Path) -> list[Path]:
    """Output path of each shard. raises: InputError if it cannot be written, or is the input."""
    if source.index is None:
        name = source.shards[0].path.with_suffix(".safetensors").name
        out = out / name if out.is_dir() else out
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
    if tensor.dtype.startswith(QUANT):
        what = "is not read; Q8_0, Q4_0, MXFP4, NVFP4 and plain floats are"
        raise InputError(f"{shard.path}: {tensor.name}: {tensor.dtype} {what}")

    def make(_: Tell, write: Write) -> str:
        for at in range(0, tensor.nbytes, _COPY):
            write(0, shard.data(tensor, at, min(at + _COPY, tensor.nbytes)).data)
        return ""

    part = Part(tensor.name, tensor.dtype, tensor.shape, tensor.nbytes)
    return Piece(tensor.name, (part,), tensor.size, make, copied=True)
