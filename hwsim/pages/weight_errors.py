"""Formats of weights on all-MiniLM-L6-v2, weight by weight: activations stay FP32, so that only the weights are judged.

Relative error and QSNR by class of tensors; cosine similarity of sentence embeddings with those of the FP32 model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from hwsim.files.figure import pyplot, save
from hwsim.files.tables import table
from hwsim.formats import get_format
from hwsim.formats.names import NAMES
from hwsim.formats.quality import decibels, error_ratios
from hwsim.pages.minilm import Encoder, load_encoder, tensor_class

CLASSES = ("attention_qkv", "attention_out", "mlp", "embedding")
LINEARS = CLASSES[:3]  # the tensors that `hwsim compress` selects by default
# Placement of figure labels that would overlap: side of the text at the point, and shift in typographic points.
LABELS = {
    "seedlm3": ("right", (-5, 2)), "seedlm4": ("right", (-5, 2)), "int4_g128": ("left", (5, -5)),
    "int8": ("right", (-5, 2)), "mx6": ("right", (-5, -3)),
}  # fmt: skip

# Long and short sentences, some about the same topic, with numbers and names: similarities from near 0 to near 1.
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
    """One class of tensors in one format: ||W - Q|| / ||W|| over all values; QSNR in dB, with rows as vectors."""

    relative_error: float
    qsnr_db: float


@dataclass(frozen=True)
class Similarity:
    """Embeddings against FP32: mean and smallest cosine; mean change of the similarity of two sentences."""

    mean: float
    least: float
    pair_change: float


@dataclass(frozen=True)
class FormatAccuracy:
    """One format on the model.

    bits: stored bits per value, including padding and the scales of rows and tensors.
    classes: errors by class. linears, all_weights: similarity with linear layers, or all of `CLASSES`, in the format.
    cpu_seconds, seconds: time to encode all tensors: CPU time (all threads) and wall-clock time.
    """

    format: str
    bits: float
    classes: dict[str, ClassError]
    linears: Similarity
    all_weights: Similarity
    cpu_seconds: float
    seconds: float


def measure(name: str, encoder: Encoder, reference: np.ndarray, sentences: Sequence[str]) -> FormatAccuracy:
    """Encode and decode every weight matrix, and run the model with the decoded weights."""
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
    """Compare two arrays of embeddings, float[sentences, hidden], with rows of length 1."""
    reference, embeddings = reference.astype(np.float64), embeddings.astype(np.float64)
    cosines = (reference * embeddings).sum(axis=1)
    one, two = (np.array([a @ b for a, b in combinations(e, 2)]) for e in (reference, embeddings))
    return Similarity(float(cosines.mean()), float(cosines.min()), float(np.abs(one - two).mean()))


def accuracy(
    formats: Sequence[str] = NAMES, progress: Callable[[str, int, int], None] | None = None
) -> list[FormatAccuracy]:
    """Every format on the model. raises: InputError if the model's package is missing."""
    encoder = load_encoder()
    reference = encoder.embed(SENTENCES)
    found: list[FormatAccuracy] = []
    for name in formats:
        if progress:
            progress(name, len(found), len(formats))
        found.append(measure(name, encoder, reference, SENTENCES))
    return found


def summary(found: Sequence[FormatAccuracy]) -> str:
    """The two tables: errors by class, and embeddings."""
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


def draw(found: Sequence[FormatAccuracy], path: Path) -> None:
    """Two plots over bits per weight: QSNR of the linear layers, and lost similarity of the embeddings."""
    plt = pyplot()
    shown = [f for f in found if f.bits < 10]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for f in shown:
        colour = "C3" if f.format.startswith("seedlm") else "C0"
        for plane, y in ((left, f.classes["mlp"].qsnr_db), (right, 1 - f.linears.mean)):
            plane.plot(f.bits, y, "o", color=colour, markersize=5)
            side, place = LABELS.get(f.format, ("left", (5, 2)))
            plane.annotate(f.format, (f.bits, y), xytext=place, textcoords="offset points", fontsize=7, ha=side)
    left.set_ylabel("QSNR of the MLP weights, dB (higher is better)")
    right.set_ylabel("1 - mean cosine similarity (lower is better)")
    right.set_yscale("log")
    for plane in (left, right):
        plane.set_xlabel("stored bits per weight")
        plane.set_xlim(2, 10)
        plane.grid(alpha=0.3)
    figure.suptitle("all-MiniLM-L6-v2, linear layers in the format; seed formats in red", fontsize=10)
    save(figure, path)
