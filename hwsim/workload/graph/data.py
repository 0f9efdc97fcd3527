"""Graphs read from files: NPZ with edges and features, and the text format of TUDataset.

NPZ:  `edges` [e, 2] or [2, e], from and to, counted from 0; `features` [n, d]; nothing pickled.
Text: a folder NAME with NAME_A.txt (a line `from, to` per directed edge, nodes counted from 1 over all graphs),
      NAME_graph_indicator.txt (the graph of each node) and, where there are any, NAME_node_attributes.txt,
      NAME_node_labels.txt and NAME_graph_labels.txt (Morris et al., arXiv 2007.08663).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.files.yaml import raise_problems, short

Array = np.ndarray[Any, np.dtype[Any]]

#: No text file has more lines, and no NPZ file more elements.
MOST = 200_000_000


@dataclass(frozen=True, eq=False)
class GraphData:
    """One graph: features [n, d] float32, and directed edges [2, e], from and to, counted from 0."""

    features: Array
    edges: Array
    label: int | None = None

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.features)

    @property
    def degrees(self) -> Array:
        """Edges that end in each node."""
        return np.bincount(self.edges[1], minlength=self.nodes)


def read_graphs(path: str | Path) -> list[GraphData]:
    """The graphs of an NPZ file, or of a folder in TUDataset's text format. raises: InputError."""
    path = Path(path)
    if path.is_dir():
        return _read_text(path)
    if not path.is_file():
        raise InputError(f"{short(path, 200)}: no such file; write the path of an NPZ file or of a TUDataset folder")
    return [_read_npz(path)]


def _read_npz(path: Path) -> GraphData:
    name = short(path, 200)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise InputError(f"{name}: holds one array; write an NPZ file with `edges` and `features`")
            missing = [key for key in ("edges", "features") if key not in arrays.files]
            if missing:
                there = ", ".join(map(short, arrays.files)) or "nothing"
                raise InputError(f"{name}: has no {' and no '.join(missing)} (it has {there}); add [e, 2] and [n, d]")
            edges, features = arrays["edges"], arrays["features"]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{name}: no NPZ file of plain arrays ({short(error)}); write one with numpy.savez") from None
    problems = []
    if features.ndim != 2 or not features.size or features.dtype.kind not in "fiub":
        problems.append(
            f"{name}: features: has the shape {list(features.shape)} of {features.dtype}; write numbers [n, d]"
        )
    if edges.ndim != 2 or 2 not in edges.shape or edges.dtype.kind not in "iu":
        problems.append(
            f"{name}: edges: has the shape {list(edges.shape)} of {edges.dtype}; write whole numbers [e, 2]"
        )
    if not problems:
        edges = (edges.T if edges.shape[1] == 2 and edges.shape[0] != 2 else edges).astype(np.int64)
        problems += _beyond(f"{name}: edges", edges, len(features))
    if problems:
        raise InputError(*problems)
    return GraphData(features.astype(np.float32), edges)


def _beyond(where: str, edges: Array, nodes: int) -> list[str]:
    wrong = edges[(edges < 0) | (edges >= nodes)]
    return (
        [f"{where}: node {int(wrong[0])} is beyond the {nodes:,} nodes; write 0 to {nodes - 1}"] if wrong.size else []
    )


def _read_text(folder: Path) -> list[GraphData]:
    found = sorted(folder.glob("*_A.txt"))
    if len(found) != 1:
        raise InputError(f"{short(folder, 200)}: has {len(found)} files *_A.txt; name a folder with one")
    stem = found[0].name.removesuffix("_A.txt")
    problems: list[str] = []

    def numbers(part: str, columns: int | None, kind: type = int) -> Array | None:
        return _numbers(folder / f"{stem}_{part}.txt", columns, kind, problems)

    edges, indicator = numbers("A", 2), numbers("graph_indicator", 1)
    attributes, labels, classes = (
        numbers("node_attributes", None, float),
        numbers("node_labels", None),
        numbers("graph_labels", None),
    )
    for part, array in (("A", edges), ("graph_indicator", indicator)):
        if array is None and not problems:
            problems.append(f"{short(folder / f'{stem}_{part}.txt', 200)}: no such file; it is needed")
    if problems or edges is None or indicator is None:
        raise_problems(problems)
    of = indicator[:, 0]
    n = len(of)
    for part, array in (("node_attributes", attributes), ("node_labels", labels)):
        if array is not None and len(array) != n:
            problems.append(f"{stem}_{part}.txt: has {len(array):,} lines for {n:,} nodes; write one per node")
    if np.any(np.diff(of) < 0):
        problems.append(f"{stem}_graph_indicator.txt: the graphs are not in order; sort the nodes by graph")
    problems += _beyond(f"{stem}_A.txt, nodes counted from 0", edges - 1, n)
    if not problems and np.any(of[edges[:, 0] - 1] != of[edges[:, 1] - 1]):
        problems.append(f"{stem}_A.txt: an edge joins two graphs; remove it")
    if problems:
        raise_problems(problems)
    parts = [] if attributes is None else [attributes]
    for column in () if labels is None else labels.T:
        kinds = np.unique(column)
        parts.append((column[:, None] == kinds).astype(np.float64))
    features = (np.concatenate(parts, 1) if parts else np.ones((n, 1))).astype(np.float32)
    edges = edges[np.argsort(of[edges[:, 0] - 1], kind="stable")] - 1
    graphs = []
    for i, number in enumerate(np.unique(of)):
        first, last = np.searchsorted(of, [number, number + 1])
        low, high = np.searchsorted(of[edges[:, 0]], [number, number + 1])
        label = int(classes[i, 0]) if classes is not None and i < len(classes) else None
        graphs.append(GraphData(features[first:last], edges[low:high].T - first, label))
    return graphs


def _numbers(path: Path, columns: int | None, kind: type, problems: list[str]) -> Array | None:
    """Numbers of a text file, a line per row; None if there is no such file, or if it is wrong (said)."""
    if not path.is_file():
        return None
    name, rows = short(path, 200), []
    wanted = columns
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                cells = line.split(",")
                wanted = wanted or len(cells)
                try:
                    row = [kind(cell) for cell in cells]
                except ValueError:
                    row = []
                if len(row) != wanted:
                    what = "numbers" if kind is float else "whole numbers"
                    problems.append(f"{name}:{number}: `{short(line.strip(), 40)}` is not {wanted} {what}; write them")
                    if len(problems) > 50:
                        break
                rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{name}: cannot be read ({short(error)}); write a text file")
    if problems or not rows:
        return None if rows or problems else np.zeros((0, wanted or 1), np.int64)
    return np.array(rows, np.float64 if kind is float else np.int64)
