"""Three models of PP-OCRv4 on rendered text: where lines are, which way up a line is, and what it says.

Files: in rapidocr-onnxruntime (PaddleOCR and RapidAI, Apache-2.0). Truth is known, as the text is rendered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

import numpy as np

from hwsim.files.figure import pyplot
from hwsim.pages.direct_cast import Array, Cast
from hwsim.pages.onnx_models import Task, imported, model_path, running

FONT = "DejaVu Sans"

LINES = (
    "The quick brown fox jumps", "over 13 lazy dogs at 7:45", "Invoice no. 2024-08871", "Total: 1,294.50 EUR",
    "Keep away from children", "Gate B17 boards 18:30", "hwsim run tpu-v4i --batch 8", "Serial 9F3A-77C2-E041",
    "Made of 100% wool, wash 30", "Room 512: ring twice", "Fragile! This side up", "Call (020) 7946 0018",
)  # fmt: skip


def rendered(text: str, height: int = 48, width: int = 320) -> Array:
    """A line of text as the models of lines take it: [3, height, width] from -1 to 1; the right edge is zeros."""
    figure = _figure(height, width)
    label = figure.text(4 / width, 0.5, text, fontsize=height / 3, va="center", family=FONT)
    figure.canvas.draw()
    taken = label.get_window_extent().width
    if taken > width - 8:
        label.set_fontsize(height / 3 * (width - 8) / taken)
    grey = _grey(figure)
    end = min(width, int(label.get_window_extent().x1) + 4)
    found = np.zeros((3, height, width), np.float32)
    found[:, :, :end] = (grey[:, :end] - 0.5) / 0.5
    return found


def _figure(height: int, width: int) -> Any:
    """An empty figure of so many pixels."""
    pyplot()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    return figure


def _grey(figure: Any) -> Array:
    """The figure's pixels, 0 black to 1 white."""
    figure.canvas.draw()
    pixels: Array = np.asarray(figure.canvas.buffer_rgba())[..., 0].astype(np.float32) / 255
    return pixels


def alphabet() -> list[str]:
    """Characters by class: nothing, those that the file names, the space."""
    import onnx

    model = onnx.load(model_path("text recognition"))
    (lines,) = [each.value for each in model.metadata_props if each.key == "character"]
    return ["", *lines.split("\n"), " "]


def spelled(classes: Array, characters: Sequence[str]) -> str:
    """The text of the most likely classes by place: repetitions are one, class 0 separates."""
    before = (-1, *classes[:-1])
    kept = (c for c, last in zip(classes, before, strict=True) if c != last and c < len(characters))
    return "".join(characters[c] for c in kept)


def distance(a: str, b: str) -> int:
    """Least insertions, deletions and changes that make one text of the other (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def reading_task() -> Task:
    """Characters of rendered lines: 100 % less the character error rate."""
    model, characters = imported("text recognition"), alphabet()
    (given,), (result,) = model.inputs, model.outputs
    images = [rendered(line) for line in LINES]
    total = sum(map(len, LINES))

    def score(cast: Cast) -> float:
        run = running("text recognition", cast)
        wrong = 0
        for line, image in zip(LINES, images, strict=True):
            found = run(**{given: image})[result]
            wrong += min(len(line), distance(line, spelled(found.reshape(-1, found.shape[-1]).argmax(-1), characters)))
        return 100 * (1 - wrong / total)

    return Task("text recognition", "reading", "characters read right", total, score)


# -- where lines are -------------------------------------------------------------------------------

#: Side of a page in pixels, and what colours are less and divided by: those of ImageNet (PaddleOCR, `det` settings).
SIDE, MEAN, SPREAD = 320, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: A pixel belongs to a line from this probability (PaddleOCR's `thresh`); a line is found where half its middle does.
TEXT, FOUND, EMPTY = 0.3, 0.5, 0.05
PAGES, ON_A_PAGE = 3, 4


def page(lines: Sequence[str], size: float = 15) -> tuple[Array, list[tuple[int, int, int, int]]]:
    """Lines below each other as the model takes them [3, SIDE, SIDE], and the box of each: top, bottom, left, right."""
    figure, step = _figure(SIDE, SIDE), 1 / len(lines)
    labels = [
        figure.text(0.04 + 0.02 * i, 1 - (i + 0.5) * step, line, fontsize=size, va="center", family=FONT)
        for i, line in enumerate(lines)
    ]
    grey = _grey(figure)
    boxes = []
    for label in labels:
        box = label.get_window_extent()
        boxes.append((SIDE - ceil(box.y1), SIDE - floor(box.y0), floor(box.x0), min(SIDE, ceil(box.x1))))
    return np.stack([(grey - mean) / std for mean, std in zip(MEAN, SPREAD, strict=True)]), boxes


def decided(chances: Array, boxes: Sequence[tuple[int, int, int, int]]) -> list[bool]:
    """Of each line, whether it is found, and of each gap between two, whether it is empty. chances: [SIDE, SIDE]."""
    text = chances > TEXT
    lines = [text[(top + bottom) // 2, left:right].mean() >= FOUND for top, bottom, left, right in boxes]
    gaps = [text[(a[1] + b[0]) // 2].mean() <= EMPTY for a, b in zip(boxes, boxes[1:], strict=False)]
    return [bool(each) for each in (*lines, *gaps)]


def finding_task() -> Task:
    """Lines of rendered pages that are found, and gaps between them that are empty."""
    model = imported("text detection")
    (given,), (result,) = model.inputs, model.outputs
    pages = [page(LINES[i * ON_A_PAGE : (i + 1) * ON_A_PAGE]) for i in range(PAGES)]

    def score(cast: Cast) -> float:
        run = running("text detection", cast)
        right = [each for x, boxes in pages for each in decided(run(**{given: x})[result].reshape(SIDE, SIDE), boxes)]
        return 100 * float(np.mean(right))

    return Task("text detection", "finding", "lines found, gaps left empty", PAGES * (2 * ON_A_PAGE - 1), score)


# -- which way up ----------------------------------------------------------------------------------


def turning_task() -> Task:
    """Rendered lines, upright and turned by half a circle: the share whose direction is recognised."""
    model = imported("text orientation")
    (given,), (result,) = model.inputs, model.outputs
    upright = [rendered(line[:16], 48, 192) for line in LINES]
    samples = [(x, 0) for x in upright] + [(turned(x), 1) for x in upright]

    def score(cast: Cast) -> float:
        run = running("text orientation", cast)
        return 100 * float(np.mean([int(run(**{given: x})[result].argmax()) == way for x, way in samples]))

    return Task("text orientation", "turning", "lines whose direction is recognised", len(samples), score)


def turned(x: Array) -> Array:
    """The line upside down; the empty right edge stays where it is."""
    end = int(np.flatnonzero(np.abs(x).sum((0, 1)))[-1]) + 1
    found = x.copy()
    found[:, :, :end] = x[:, ::-1, :end][:, :, ::-1]
    return found
