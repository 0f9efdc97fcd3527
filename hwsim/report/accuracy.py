"""`make accuracy`: what every number format costs a real model, all-MiniLM-L6-v2.

Per format and class of tensors the relative error and the QSNR; for the whole the cosine similarity of sentence
embeddings with those of the FP32 model. Prints; `--page` writes reports/accuracy.md.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from hwsim.formats import get_format
from hwsim.formats.layout import NAMES
from hwsim.formats.quality import decibels, error_ratios
from hwsim.report.files import write_whole
from hwsim.report.minilm import PACKAGE, Encoder, load_encoder, model_folder, tensor_class
from hwsim.report.text import table

CLASSES = ("attention_qkv", "attention_out", "mlp", "embedding")
LINEARS = CLASSES[:3]  # what `hwsim compress` takes by default

# Topics in pairs and on their own, long and short, with numbers and names: similarities from near 0 to near 1.
SENTENCES = (
    "That is a happy person.", "That is a very happy person.", "That is a happy dog.", "Today is a sunny day.",
    "The weather forecast predicts rain for tomorrow afternoon.", "Bring an umbrella, it will be wet tomorrow.",
    "The memory bandwidth of the accelerator limits how many tokens it can generate per second.",
    "Generating text is slow because the weights must be read from DRAM for every token.",
    "A hash table gives constant-time lookup on average.", "How do I sort a list of numbers in Python?",
    "Use the sorted function to put the numbers in order.", "The stock market fell sharply on Monday.",
    "Shares lost 3.4 percent as investors sold technology companies.", "The central bank raised interest rates again.",
    "She adopted two kittens from the animal shelter.", "Cats sleep for most of the day.",
    "The recipe needs flour, three eggs and a pinch of salt.", "Bake the cake for forty minutes at 180 degrees.",
    "Where can I find a good Italian restaurant nearby?", "The pasta at the place around the corner is excellent.",
    "The patient was given antibiotics for a chest infection.", "Vaccines train the immune system against a virus.",
    "The spacecraft entered orbit around Mars in February 2021.", "Jupiter has more than ninety known moons.",
    "The committee postponed its decision until next year.", "Parliament voted against the new tax law.",
    "He scored twice in the final and won the cup.", "The marathon runner collapsed just before the finish line.",
    "Photosynthesis turns sunlight, water and carbon dioxide into sugar.", "Plants make their own food from light.",
    "The orchestra played Beethoven's seventh symphony.", "A quiet melody for piano opened the concert.",
    "My train was late, so I missed the meeting.", "The flight to Tokyo was delayed by six hours.",
    "The old bridge over the river was closed for repairs.", "Engineers found cracks in the concrete pillars.",
    "Shakespeare wrote thirty-seven plays and many sonnets.", "The novel tells the story of a whaling captain.",
    "Prices of used cars have doubled since 2019.", "Please reset my password, I cannot log in.",
)  # fmt: skip


@dataclass(frozen=True)
class ClassError:
    """One class of tensors under one format: ||W - Q|| / ||W|| of all its values; QSNR in dB, vectors are rows."""

    relative_error: float
    qsnr_db: float


@dataclass(frozen=True)
class Similarity:
    """Embeddings against FP32: mean and least cosine; mean change of the similarity of two sentences."""

    mean: float
    least: float
    pair_change: float


@dataclass(frozen=True)
class FormatAccuracy:
    """One format on the model.

    bits: stored bits a value, scales of rows and tensors and padding included.
    classes: by class. linears, all_weights: similarity with the linears or all of `CLASSES` in the format.
    cpu_seconds, seconds: encoding of all of them, on the CPU (all threads) and on the clock.
    """

    format: str
    bits: float
    classes: dict[str, ClassError]
    linears: Similarity
    all_weights: Similarity
    cpu_seconds: float
    seconds: float


def measure(name: str, encoder: Encoder, reference: np.ndarray, sentences: Sequence[str]) -> FormatAccuracy:
    """Encode and decode every weight matrix, run the model with them."""
    form = get_format(name)
    noise, power = dict.fromkeys(CLASSES, 0.0), dict.fromkeys(CLASSES, 0.0)
    ratios: dict[str, list[np.ndarray]] = {kind: [] for kind in CLASSES}
    decoded, nbytes, values, cpu, wall = {}, 0, 0, 0.0, 0.0
    for tensor, w in encoder.weights.items():
        kind = tensor_class(tensor)
        if not kind:
            continue
        cpu_start, start = time.process_time(), time.perf_counter()
        encoded = form.encode(w)
        cpu, wall = cpu + time.process_time() - cpu_start, wall + time.perf_counter() - start
        q = decoded[tensor] = encoded.decode()
        nbytes, values = nbytes + encoded.nbytes, values + w.size
        noise[kind] += float(np.square(w - q, dtype=np.float64).sum())
        power[kind] += float(np.square(w, dtype=np.float64).sum())
        found = error_ratios(w, q)
        ratios[kind].append(found[~np.isnan(found)])
    classes = {
        kind: ClassError(
            float(np.sqrt(noise[kind] / power[kind])), decibels(float(np.concatenate(ratios[kind]).mean()))
        )
        for kind in CLASSES
    }
    linears = {tensor: q for tensor, q in decoded.items() if tensor_class(tensor) in LINEARS}
    return FormatAccuracy(
        form.name,
        8 * nbytes / values,
        classes,
        similarity(reference, encoder.embed(sentences, linears)),
        similarity(reference, encoder.embed(sentences, decoded)),
        cpu,
        wall,
    )


def similarity(reference: np.ndarray, embeddings: np.ndarray) -> Similarity:
    """Of two sets of embeddings, float[sentences, hidden], rows of length 1."""
    reference, embeddings = reference.astype(np.float64), embeddings.astype(np.float64)
    cosines = (reference * embeddings).sum(axis=1)
    one, two = (np.array([a @ b for a, b in combinations(e, 2)]) for e in (reference, embeddings))
    return Similarity(float(cosines.mean()), float(cosines.min()), float(np.abs(one - two).mean()))


def accuracy(
    formats: Sequence[str] = NAMES, progress: Callable[[str, int, int], None] | None = None
) -> list[FormatAccuracy]:
    """Every format on the model. raises: InputError where the model's package is missing."""
    encoder = load_encoder()
    reference = encoder.embed(SENTENCES)
    found = []
    for name in formats:
        if progress:
            progress(name, len(found), len(formats))
        found.append(measure(name, encoder, reference, SENTENCES))
    return found


def summary(found: Sequence[FormatAccuracy]) -> str:
    """The two tables: error by class, and embeddings."""
    header = ["format", "bits", *(f"{kind}" for kind in CLASSES)]
    errors = [
        [f.format, f"{f.bits:.3f}", *(f"{c.relative_error:.4f} {c.qsnr_db:6.2f}" for c in f.classes.values())]
        for f in found
    ]
    names = ["format", "cosine", "least", "pairs", "cosine, all", "least, all", "pairs, all", "CPU s"]
    embeddings = [
        [f.format]
        + [
            text
            for s in (f.linears, f.all_weights)
            for text in (f"{s.mean:.5f}", f"{s.least:.5f}", f"{s.pair_change:.4f}")
        ]
        + [f"{f.cpu_seconds:.1f}"]
        for f in found
    ]
    return table(header, errors) + "\n\n" + table(names, embeddings)


_COMPRESS = """
import json, resource, sys, time
from hwsim.compress import compress
start = time.perf_counter()
compress(sys.argv[1], sys.argv[2], "seedlm4")
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""


def compress_figures() -> tuple[float, float, int, int]:
    """(seconds, CPU seconds, largest resident bytes, bytes of the file) of compressing the model to seedlm4."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "minilm-seedlm4.safetensors"
        command = [sys.executable, "-c", _COMPRESS, str(model_folder() / "model.safetensors"), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, cpu, resident = json.loads(done.stdout)
        return seconds, cpu, resident, out.stat().st_size


def page_text(found: Sequence[FormatAccuracy], compressed: tuple[float, float, int, int]) -> str:
    """The committed page."""
    from hwsim import __version__

    seconds, cpu, resident, size = compressed
    return f"""# Number formats on a real model: all-MiniLM-L6-v2

    make accuracy      # hwsim {__version__}, numpy {np.__version__}, {PACKAGE} 0.1.0; no random numbers

22.5 million weights of the sentence encoder, FP32 as published, encoded tensor by tensor with blocks along the
reduction; no calibration and no fine-tuning. First table: relative error ||W - Q|| / ||W|| and QSNR in dB (vectors
are rows), by class of tensors; bits count all that is stored. Second: cosine similarity of {len(SENTENCES)} sentence
embeddings with those of the FP32 model, mean and least, and how much the similarity of two sentences moves (mean
over all pairs), once with the linear layers in the format, once with the embeddings too; CPU seconds to encode.
The forward pass itself is FP32, with FP32 activations.

```
{summary(found)}
```

`hwsim compress` of the whole file to seedlm4 (default choice of tensors, exact search): {seconds:.0f} s on
{len(os.sched_getaffinity(0))} processors ({platform.machine()}, shared with other work), {cpu:.0f} CPU s with start-up,
at most {resident / 1e6:.0f} MB resident; {size / 1e6:.1f} MB written.
"""


def main(page: bool = False) -> None:
    """Measure with a progress bar; print, or write the page."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("formats", total=len(NAMES))
        found = accuracy(NAMES, lambda name, done, _: bar.update(task, description=name, completed=done))
    if page:
        path = Path("reports") / "accuracy.md"
        write_whole(path, page_text(found, compress_figures()))
        print(f"written: {path}")
    else:
        print(summary(found))


if __name__ == "__main__":
    main(sys.argv[1:] == ["--page"])
