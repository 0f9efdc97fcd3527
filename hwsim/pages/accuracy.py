"""`make accuracy`: the accuracy of every number format on real models of four kinds, with nothing retrained.

The models at work, weights and activations in the format: points per task. Then one of them, all-MiniLM-L6-v2, weight
by weight: relative error and QSNR by class of tensors, cosine similarity of sentence embeddings with those of the FP32
model. Prints the tables; `--page` writes reports/accuracy.md. With names or files of formats, prints theirs alone,
beside FP32: `python -m hwsim.pages.accuracy mine.yaml`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np

from hwsim.errors import InputError, collect
from hwsim.files.figure import pyplot, save
from hwsim.files.tables import markdown, table
from hwsim.files.whole import write_whole
from hwsim.formats import get_format
from hwsim.formats.names import NAMES
from hwsim.formats.names import layout as layout_of
from hwsim.formats.quality import decibels, error_ratios
from hwsim.pages import real_models
from hwsim.pages.layouts import read_layouts
from hwsim.pages.minilm import PACKAGE, VERSION, Encoder, load_encoder, model_folder, tensor_class

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


@dataclass(frozen=True)
class CompressRun:
    """One run of `hwsim compress` as a separate process. resident_bytes: peak. source_bytes, file_bytes: file sizes."""

    seconds: float
    cpu_seconds: float
    resident_bytes: int
    source_bytes: int
    file_bytes: int


def compress_run() -> CompressRun:
    """Compress the model to seedlm4. Call this first: Linux counts this process's memory in its child's peak."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = model_folder() / "model.safetensors", Path(folder) / "minilm-seedlm4.safetensors"
        options = [source, "--format", "seedlm4", "-o", out]
        start = time.perf_counter()
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "hwsim", "compress", *map(str, options)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        )
        _, status, used = os.wait4(child, 0)
        if status:
            raise InputError("hwsim compress failed; its error is printed above")
        seconds = time.perf_counter() - start
        cpu, sizes = used.ru_utime + used.ru_stime, (source.stat().st_size, out.stat().st_size)
        return CompressRun(seconds, cpu, used.ru_maxrss * 1024, *sizes)


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


def at_work(progress: Callable[[str], None] = lambda text: None) -> str:
    """The section about the models at work: what they are, points per format, where a format loses more than it may."""
    every = real_models.tasks(SENTENCES)
    found = [real_models.scored(name, every, progress) for name in NAMES]
    found.append(real_models.scored("mxfp8_e4m3", every, progress, alone=True))
    lost = "\n".join(real_models.losses(every, found)) or "* nowhere"
    what = "\n".join(f"* {t.kind}: {t.name}, {t.metric}, {t.samples} of them" for t in every)
    return f"""## At work: direct cast

Weights and the other operand of every multiply-add are rounded with blocks along the reduction; results of the vector
unit (norms, functions, sums, biases, depthwise convolutions) are rounded to BF16, in the second table not at all.
Nothing is retrained or calibrated. Where a format is one of weights (marked w), activations are those of the vector
unit.

{what}

Files are those of Python's standard library and documents and archives made for the task; text is rendered in DejaVu
Sans; speech is synthesised, pulses through resonators, so that truth is known; sentences are those below.

```
{real_models.scores_text(every, found)}
```

{STEPS}

```
{real_models.steps_text(every, next(row for row in found if row.format == "fp32"))}
```

Where MXFP8, MXINT8 or MX9 lose more than {real_models.MOST_LOST} points against FP32:

{lost}

{WHY}

The same files, imported by `hwsim import`, one sample on two machines ({real_models.LICENCES}):

```
{real_models.simulated()}
```
"""


#: What a difference of points means.
STEPS = """Two formats whose points lie in one interval are not told apart by so few decisions. The interval is Wilson's
for a share of independent ones; frames of one recording are not independent, so that theirs is wider."""

#: Why; measured by leaving single ops of the model in FP32.
WHY = """Why, by leaving single ops in FP32. Bytes: with the vector unit in FP32 nothing is lost in any of the three
formats. The file writes its layer norms as E[x^2] - E[x]^2 in single ops; with these squares, sums and differences in
FP32 and all else in BF16, BF16 loses nothing either, and a vector unit that keeps a norm inside in FP32 does the same.
Reading: MXFP8 has three mantissa bits, and the dense convolutions need more: with those in FP32 and the linear layers
in MXFP8 the model reads every character. MXINT8 and MX9 have seven bits. Turning: MXFP8 with a BF16 vector
unit, and MXINT8 with an FP32 one, lose a line of 24 to which FP32 itself gives no more than 0.71. Text: the loss is
that of the same three bits."""


def layouts_section() -> str:
    """The section about checkpoints written in the layouts of other projects, and read again."""
    encoder = load_encoder()
    reference, lines = encoder.embed(SENTENCES), []
    for layout, name, bits, worst, values in read_layouts(encoder.weights):
        kept = similarity(reference, encoder.embed(SENTENCES, values))
        cells = [layout, name, f"{bits:.3f}", f"{worst:.1e}" if worst else "0", f"{kept.mean:.5f}", f"{kept.least:.5f}"]
        lines.append(cells)
    header = ["layout", "format", "bits", "difference", "cosine", "least"]
    return f"""## Layouts of other projects, written and read

    hwsim compress model.safetensors --format nvfp4 --layout compressed-tensors -o served.safetensors
    hwsim decompress served.safetensors -o values.safetensors

The linear layers and the pooler, as files that serving engines load. *Difference*: the largest between a value that is
read and the format's own, over the largest value. Compressed-tensors stores NVFP4's tensor scale as a divisor, which
rounds once more. Cosines as above.

{markdown(header, lines)}
"""


def page_text(found: Sequence[FormatAccuracy], run: CompressRun, section: str, layouts: str) -> str:
    """The committed page. section: that of the models at work. layouts: that of the layouts of other projects."""
    from hwsim import __version__

    tools = f"Python {platform.python_version()}, numpy {np.__version__}, numba {version('numba')}"
    place = f"{len(os.sched_getaffinity(0))} processors ({platform.machine()}, shared with other work)"
    memory, size, whole = run.resident_bytes / 1e6, run.file_bytes / 1e6, run.source_bytes / 1e6
    return f"""# Number formats on real models

    make accuracy      # hwsim {__version__}, {tools}, {PACKAGE} {VERSION}, {real_models.versions()}; seeds 1 and 2

{section}
## Weight by weight: all-MiniLM-L6-v2

![QSNR and lost similarity over bits per weight](accuracy.svg)

The sentence encoder has 22.5 million matrix weights, published in FP32. Each tensor is encoded with blocks along the
reduction, without calibration or fine-tuning. The forward pass and the activations are FP32, so that only the weights
are judged. The first table gives the relative error ||W - Q|| / ||W|| and the QSNR in dB (rows are vectors) by class
of tensors; bits include everything that is stored. The second gives the cosine similarity of {len(SENTENCES)} sentence
embeddings with those of the FP32 model (mean and smallest), and the change of the similarity of two sentences (mean
over all pairs): first with the linear layers in the format, then with the embeddings too. Its last column is the CPU
time to encode all tensors.

```
{summary(found)}
```

{layouts}
## Compressing the file

    hwsim compress model.safetensors --format seedlm4 -o minilm-seedlm4.safetensors

Exact search for the default selection of tensors (the linear layers), as a whole process with start-up (and
compilation, in a new environment): {run.seconds:.0f} s on {place}, {run.cpu_seconds:.0f} CPU s,
at most {memory:.0f} MB of resident memory; {whole:.1f} MB were compressed to {size:.1f} MB.
"""


def of_formats(names: Sequence[str], progress: Callable[[str], None] = lambda text: None) -> str:
    """The tables of these formats alone, by name or file, beside FP32. raises: InputError for unknown ones."""
    problems: list[str] = []
    for name in names:
        with collect(problems):
            layout_of(name)
    if problems:
        raise InputError(*problems)
    every = real_models.tasks(SENTENCES)
    found = [real_models.scored(name, every, progress) for name in ("fp32", *names)]
    steps = real_models.steps_text(every, found[0])
    weights = accuracy(names, lambda name, done, count: progress(name))
    return f"{real_models.scores_text(every, found)}\n\n{STEPS}\n\n{steps}\n\n{summary(weights)}"


def main(page: bool = False, formats: Sequence[str] = ()) -> None:
    """Measure with a progress bar; print the tables, those of `formats` alone if there are any, or write the page."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    start, run = time.process_time(), compress_run() if page else None
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        if formats:
            task = bar.add_task("formats", total=3 * len(formats) + 2)
            print(of_formats(formats, lambda text: bar.update(task, description=text, advance=1)))
            return
        task = bar.add_task("formats", total=len(NAMES))
        found = accuracy(NAMES, lambda name, done, _: bar.update(task, description=name, completed=done))
        task = bar.add_task("models at work", total=2 * len(NAMES) + 2)
        section = at_work(lambda text: bar.update(task, description=text, advance=1))
    if run:
        draw(found, Path("reports") / "accuracy.svg")
        path = Path("reports") / "accuracy.md"
        write_whole(path, page_text(found, run, section, layouts_section()))
        seconds = time.process_time() - start
        print(f"written: {path}, {path.with_suffix('.svg')}; {seconds:.0f} CPU s")
    else:
        print(section + summary(found))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--page", action="store_true", help="write reports/accuracy.md, do not print the tables")
    options.add_argument("formats", nargs="*", metavar="FORMAT", help="a name or a format's file; all if none")
    given = options.parse_args()
    if given.page and given.formats:
        options.error("the page has all formats: write --page, or formats to print")
    try:
        main(given.page, given.formats)
    except InputError as error:
        sys.exit("\n".join(error.problems))
