"""Every number format on real models of four kinds at work: bytes, vision, speech and text, for reports/accuracy.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import sqrt

from hwsim.files.tables import table
from hwsim.formats.names import layout
from hwsim.jobs.run import run
from hwsim.pages.direct_cast import Cast, weights_only
from hwsim.pages.minilm import load_encoder, tensor_class
from hwsim.pages.onnx_models import FILES, Task, bytes_task, imported, speech_task
from hwsim.pages.text_models import finding_task, reading_task, turning_task

#: Formats that the papers cast to directly, and the loss in points up to which they take FP32's place here.
DROP_IN, MOST_LOST = ("mxfp8_e4m3", "mxint8", "mx9"), 0.5
#: Machines that the imported models are simulated on, with the formats of their weights.
MACHINES = (("tpu-v4i", "int8"), ("h100-sxm", "fp8"))


#: The metric that is no share of right decisions.
COSINE = "cosine with FP32"

#: What the packages are under.
LICENCES = "magika and rapidocr-onnxruntime: Apache-2.0; silero-vad: MIT; all-MiniLM-L6-v2: Apache-2.0"


def versions() -> str:
    """Names and versions of the packages that hold the ONNX files."""
    return ", ".join(f"{name} {version(name)}" for name in ("magika", "rapidocr-onnxruntime", "silero-vad", "onnx"))


def text_task(sentences: Sequence[str]) -> Task:
    """Sentence embeddings: the mean cosine with those of FP32, in percent."""
    encoder = load_encoder()
    reference = encoder.embed(sentences)

    def score(cast: Cast) -> float:
        weights = {
            name: cast.matrix(w) if tensor_class(name) else cast.quantize(w, "vector")
            for name, w in encoder.weights.items()
        }
        found = encoder.embed(sentences, weights, None if cast.exact else cast.quantize)
        return 100 * float((found * reference).sum(1).mean())

    return Task("all-MiniLM-L6-v2", "text", COSINE, len(sentences), score)


def tasks(sentences: Sequence[str]) -> list[Task]:
    """The six tasks on models of four kinds. raises: InputError if a package is missing."""
    return [bytes_task(), reading_task(), finding_task(), turning_task(), speech_task(), text_task(sentences)]


@dataclass(frozen=True)
class Scored:
    """One format: points by task, with the vector unit in BF16 and in FP32.

    alone: weights only; activations are in the format of the vector unit.
    """

    format: str
    bf16: tuple[float, ...]
    fp32: tuple[float, ...]
    alone: bool = False


def scored(
    name: str, every: Sequence[Task], progress: Callable[[str], None] = lambda text: None, alone: bool = False
) -> Scored:
    """A format on every task. alone: weights only."""

    def points(vector: str) -> tuple[float, ...]:
        progress(f"{name}, vector {vector}")
        return tuple(task.score(Cast(name, vector, alone)) for task in every)

    return Scored(layout(name).name, points("bf16"), points("fp32"), alone or weights_only(name))


def scores_text(every: Sequence[Task], found: Sequence[Scored]) -> str:
    """Tables with a row per format: both operands in it, and the weights alone; each with the vector unit in BF16 and
    in FP32. FP32 has a row in all of them; a kind of table without another format is left out.
    """
    header = ["format", *(task.kind for task in every)]
    sections = []
    for alone, what in ((False, "weights and activations in the format"), (True, "weights in the format, activations")):
        rows = [row for row in found if row.alone == alone or row.format == "fp32"]
        if all(row.format == "fp32" for row in rows) and any(row.format != "fp32" for row in found):
            continue
        for vector, points in (("BF16", [row.bf16 for row in rows]), ("FP32", [row.fp32 for row in rows])):
            said = f"{what} and vector unit in {vector}" if alone else f"{what}, vector unit in {vector}"
            cells = [[row.format, *(f"{p:.2f}" for p in each)] for row, each in zip(rows, points, strict=True)]
            sections.append(f"{said}\n\n{table(header, cells)}")
    return "\n\n".join(sections)


def wilson(points: float, samples: int, z: float = 1.959964) -> tuple[float, float]:
    """Points of the 95 % interval of a share of independent decisions. source: Wilson, JASA 22 (1927), p. 209."""
    p, square = points / 100, z * z / samples
    middle, half = p + square / 2, z * sqrt(p * (1 - p) / samples + square / (4 * samples))
    return 100 * (middle - half) / (1 + square), 100 * (middle + half) / (1 + square)


def steps_text(every: Sequence[Task], exact: Scored) -> str:
    """What one decision of each task is in points, and the interval of FP32's own; cosines have neither."""
    rows = []
    for task, points in zip(every, exact.bf16, strict=True):
        if task.metric != COSINE:
            low, high = wilson(points, task.samples)
            rows.append(
                [task.kind, str(task.samples), f"{100 / task.samples:.2f}", f"{points:.2f}", f"{low:.1f} to {high:.1f}"]
            )
    return table(["task", "decisions", "points of one", "fp32", "95 % interval"], rows)


def losses(every: Sequence[Task], found: Sequence[Scored]) -> list[str]:
    """Where a drop-in format loses more than `MOST_LOST` points against FP32, a line each."""
    (exact,) = [row for row in found if row.format == "fp32"]
    lines = []
    for row in found:
        for vector, mine, wanted in (("BF16", row.bf16, exact.bf16), ("FP32", row.fp32, exact.fp32)):
            lines += [
                f"* {row.format} on {task.kind}, vector unit in {vector}: {have:.2f} against {want:.2f}"
                for task, have, want in zip(every, mine, wanted, strict=True)
                if row.format in DROP_IN and not row.alone and want - have > MOST_LOST
            ]
    return lines


def simulated() -> str:
    """The table of the ONNX files: size, work, licence, time of one sample on two machines."""
    rows = []
    for name, (_, file, _, licence) in FILES.items():
        graph = imported(name).graph()
        counts = graph.counts()
        times = []
        for machine, weights in MACHINES:
            result = run(machine, graph, weights=weights)
            times.append(f"{result.seconds * 1e6:.0f} us, {result.limited_by}")
        rows.append([name, file.rsplit("/", 1)[-1], licence, f"{graph.total:,}", f"{counts.macs:,}", *times])
    machines = [f"{machine}, {weights}" for machine, weights in MACHINES]
    return table(["model", "file", "licence", "weights", "MAC", *machines], rows)
