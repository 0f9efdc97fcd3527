"""The values of a checkpoint's weights, whatever its layout: for measures of error and for other readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hwsim.compress.open import open_checkpoint
from hwsim.compress.parts import spans
from hwsim.compress.released import find_weights
from hwsim.errors import InputError


def read_importance(path: str | Path) -> dict[str, np.ndarray]:
    """Name of a weight -> float[K], of an NPZ file. raises: InputError for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except Exception as error:  # numpy raises of every kind for a damaged file
        raise InputError(f"{path}: not an NPZ file of arrays: {error}") from error


def matrices(path: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, float[rows, K]) of every weight of two axes or more, one at a time; quantised ones are decoded.

    raises: InputError as `inspect` does.
    """
    weights, _ = find_weights(open_checkpoint(path))
    for w in weights:
        if len(w.shape) > 1 and w.size:
            parts = [w.rows(a, b) for a, b in spans(w.shape, w.axis, w.tile_rows)]
            yield w.name, parts[0] if len(parts) == 1 else np.concatenate(parts)
