"""The files of a job: weights that change, everything else copied, the index, and a server's config.json."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hwsim
from hwsim.compress.checkpoint import Checkpoint, Shard, Tensor
from hwsim.compress.coding import Encode, Job
from hwsim.compress.gguf import QUANT
from hwsim.compress.record import KEY, VERSION, Record, read_records, write_records
from hwsim.compress.targets import Target
from hwsim.compress.weights import Weight
from hwsim.compress.writing import NewFile, Part, Piece, Progress, Tell, Write, write_files
from hwsim.errors import InputError
from hwsim.files.whole import check_writable

_COPY = 1 << 25  # bytes of a tensor that are copied at once
QUANTISED = "quantization_config"
_SHOWN = 8  # names in an error


def write_output(
    source: Checkpoint,
    weights: Sequence[Weight],
    out_path: str | Path,
    jobs: Mapping[str, Job],
    plan: dict[str, Any],
    progress: Callable[[Progress], None] | None,
    target: Target | None,
    *,
    folder: bool = False,
    plain: bool = False,
) -> tuple[Path, tuple[str, ...]]:
    """Write all files; tensors of weights without a job are copied. Returns (what to open, notes for the reader).

    folder: the input was named as a folder, so that a name without an ending is a folder too. plain: no weight stays
    quantised: config.json is copied without its entry.
    """
    out = _targets(source, Path(out_path), folder)
    made_folder = (folder or source.index is not None) and not any(out[0].parent.iterdir())
    replaced_files = [path for path in out if path.exists()]
    by_name = {w.name: w for w in weights}
    replaced = {part.name for name in jobs for part in by_name[name].parts}
    homes: dict[Path, list[Job]] = {}
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
    else:
        more, notes = _plain_config(source, out[0].parent, plain or folder, bool(replaced_files))
    texts = more + texts  # the index comes last: it says that everything is there
    if replaced_files:
        notes = (*notes, f"replaced what was there: {', '.join(map(str, replaced_files[:_SHOWN]))}")
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
    return (first if source.index else out[0]), notes


def _kept_records(source: Checkpoint, jobs: Mapping[str, Job]) -> dict[Path, dict[str, Record]]:
    """The records of weights that are copied as they are."""
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
    source: Checkpoint, weights: Sequence[Weight], jobs: Mapping[str, Job], target: Target, folder: Path
) -> tuple[list[tuple[Path, str]], tuple[str, ...]]:
    """(texts to write beside the files, notes): what a server needs in config.json."""
    forms = {job.form.name: job.form for job in jobs.values() if isinstance(job, Encode)}
    if len(forms) != 1:
        return [], (f"the weights have {len(forms)} formats: write quantization_config of config.json by hand",)
    ignored = sorted(
        w.name.removesuffix(".weight") for w in weights if w.name not in jobs and len(w.shape) >= 2 and w.size
    )
    entry = target.quantization_config(next(iter(forms.values())), ignored)
    before = source.shards[0].path.parent / "config.json"
    after = folder / "config.json"
    if source.config and not _is_another(after, before, source.config):
        text = json.dumps(source.config | {QUANTISED: entry}, indent=2) + "\n"
        return [(after, text)], ("config.json beside the output has the quantization_config that servers read",)
    where = f"{after} is the input's or another model's and stays as it is" if source.config else "no config.json"
    return [], (f"{where}; a server needs this in it: {json.dumps({QUANTISED: entry})}",)


def _plain_config(
    source: Checkpoint, folder: Path, plain: bool, replaced: bool
) -> tuple[list[tuple[Path, str]], tuple[str, ...]]:
    """(texts to write beside the files, notes) where no server's layout is written: no config.json says that one is.

    plain: the input's config.json is copied, without its entry: the values are floats again, or a folder is copied.
    replaced: files were there. raises: InputError where the config of another model would describe the new weights.
    """
    after, before = folder / "config.json", source.shards[0].path.parent / "config.json"
    if after.exists() and before.exists() and after.samefile(before):
        return [], ()
    lies = after.exists() and f'"{QUANTISED}"' in after.read_text(encoding="utf-8", errors="replace")
    if source.config and not _is_another(after, before, source.config) and (plain or lies):
        text = json.dumps({k: v for k, v in source.config.items() if k != QUANTISED}, indent=2) + "\n"
        return [(after, text)], (f"config.json beside the output is the input's, without {QUANTISED}",)
    if not lies:
        return [], ()
    if replaced:
        what = f"has a {QUANTISED}, which would be wrong for the new weights"
        raise InputError(f"{after}: {what}; write to another folder, or remove it")
    return [], (f"{after} is another model's: its {QUANTISED} does not describe the new file",)


def _is_another(after: Path, before: Path, config: dict[str, Any]) -> bool:
    """Whether a config.json stays: the input's own, or that of another model, which nobody named as an output."""
    if not after.exists():
        return False
    try:
        there = json.loads(after.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    mine = {key: value for key, value in config.items() if key != QUANTISED}
    if after.samefile(before) or not isinstance(there, dict):
        return True
    return {key: value for key, value in there.items() if key != QUANTISED} != mine


def _targets(source: Checkpoint, out: Path, folder_in: bool) -> list[Path]:
    """Output path of each shard; folder_in: the input was named as a folder.

    raises: InputError if it cannot be written, or is the input.
    """
    if source.index is None:
        name = source.shards[0].path.with_suffix(".safetensors").name
        if folder_in and not out.suffix and not out.exists():
            _make_folder(out)
        out = out / name if out.is_dir() else out
        if out.suffix != ".safetensors":
            raise InputError(f"{out}: is not a safetensors file; write a name that ends in .safetensors")
        paths = [out]
    else:
        folder = out.parent if out.suffix == ".json" else out
        if folder.suffix == ".safetensors":
            raise InputError(f"{out}: the input is in shards; write a folder")
        _make_folder(folder)
        paths = [folder / shard.path.name for shard in source.shards]
    for path in paths:
        check_writable(path)
        if path.exists() and any(path.samefile(each.path) for each in source.shards):
            raise InputError(f"{path}: is the input; write another name")
    return paths


def _make_folder(folder: Path) -> None:
    """raises: InputError if it cannot be made."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be created: {error.strerror}") from error


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
