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
from pathlib import Path

from hwsim.errors import InputError, collect
from hwsim.files.tables import markdown
from hwsim.files.whole import write_whole
from hwsim.formats.names import NAMES
from hwsim.formats.names import layout as layout_of
from hwsim.pages import real_models
from hwsim.pages.layouts import read_layouts
from hwsim.pages.minilm import PACKAGE, VERSION, load_encoder, model_folder
from hwsim.pages.weight_errors import SENTENCES, FormatAccuracy, accuracy, draw, similarity, summary


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


def at_work(progress: Callable[[str], None] = lambda text: None) -> str:
    """The section about the models at work: what they are, points per format, where a format loses more than it may."""
    every = real_models.tasks(SENTENCES)
    found = [real_models.scored(name, every, progress) for name in NAMES]
    found.append(real_models.scored("mxfp8_e4m3", every, progress, alone=True))
    lost = "\n".join(real_models.losses(every, found)) or "* nowhere"
    what = "\n".join(f"* {t.kind}: {t.name}, {t.metric}, {t.samples} of them" for t in every)
    return f"""## At work: direct cast

Weights and the other operand of every multiply-add are rounded with blocks along the reduction; results of the vector
unit (norms, functions, sums, biases, depthwise convolutions) are rounded to BF16, and once more not at all. Nothing is
retrained or calibrated.

Rows of one table compare with each other. Formats of weights alone (INT4, seeds) round one operand and not both, so
they have tables of their own, in which activations are in the format of the vector unit. FP32 and MXFP8 have rows in
all tables.

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

    tools = f"Python {platform.python_version()}, numpy {version('numpy')}, numba {version('numba')}"
    place = f"{len(os.sched_getaffinity(0))} processors ({platform.machine()}, shared with other work)"
    memory, size, whole = run.resident_bytes / 1e6, run.file_bytes / 1e6, run.source_bytes / 1e6
    return f"""# Number formats on real models

    make accuracy      # hwsim {__version__}, {tools}, {PACKAGE} {VERSION}, {real_models.versions()}; seeds 1 and 2

{section}
## Weight by weight: all-MiniLM-L6-v2

![QSNR and lost similarity over bits per weight](accuracy.svg)

The sentence encoder has 22.5 million matrix weights, published in FP32. Each tensor is encoded with blocks along the
reduction, without calibration or fine-tuning. The forward pass and the activations are FP32 in every row, so that only
the weights are judged. The first table gives the relative error ||W - Q|| / ||W|| and the QSNR in dB (rows are vectors)
by class of tensors; bits include everything that is stored. The second gives the cosine similarity of
{len(SENTENCES)} sentence embeddings with those of the FP32 model (mean and smallest), and the change of the similarity
of two sentences (mean over all pairs): first with the linear layers in the format, then with the embeddings too. Its
last column is the CPU time to encode all tensors.

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
