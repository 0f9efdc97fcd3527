"""A checkpoint written in the layouts of other projects and read again: what is stored, and what the model keeps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

import numpy as np

from hwsim.compress import compress, decompress
from hwsim.formats import get_format
from hwsim.pages.minilm import model_folder

#: Layout -> formats that it can hold; gpt-oss holds experts only, which this model has not.
LAYOUTS = {
    "compressed-tensors": ("fp8_e4m3", "fp8_row", "fp8_block", "int8", "int4_g128", "mxfp4", "nvfp4"),
    "modelopt": ("fp8_e4m3", "nvfp4"),
}


def written_and_read(layout: str, name: str, folder: Path) -> tuple[float, dict[str, np.ndarray]]:
    """(stored bits per value, values by name as float32) of the linear layers of the model.

    folder: where the files are written.
    """
    from safetensors.numpy import load_file

    out, back = folder / f"{layout}-{name}.safetensors", folder / f"{layout}-{name}-values.safetensors"
    report = compress(model_folder() / "model.safetensors", out, format=name, layout=layout)
    rows = [row for row in report.rows if row.layout == layout]
    decompress(out, back, dtype="F32")
    values = load_file(back)
    bits = 8 * sum(row.nbytes for row in rows) / sum(prod(row.shape) for row in rows)
    return bits, {row.name: values[row.name] for row in rows}


def read_layouts(weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, float, float, dict[str, np.ndarray]]]:
    """(layout, format, bits per value, largest difference, values) of every layout and format.

    weights: those of the model. The difference is that from the format's own values, as a share of the largest value.
    """
    with tempfile.TemporaryDirectory() as folder:
        for layout, names in LAYOUTS.items():
            for name in names:
                bits, values = written_and_read(layout, name, Path(folder))
                form, worst = get_format(name), 0.0
                for tensor, read in values.items():
                    own = form.encode(weights[tensor]).decode()
                    worst = max(worst, float(np.abs(read - own).max() / np.abs(own).max()))
                yield layout, form.name, bits, worst, values
