"""A small set of graphs in TUDataset's text format: points in a square, joined where they are near.

`python -m tests.workload.graph.generated` writes the set that ships, `tests/workload/graph/NEAR/`.
"""

from __future__ import annotations

import random
from pathlib import Path

FOLDER = Path(__file__).parent / "NEAR"
GRAPHS = 12


def graphs(seed: int = 1) -> list[tuple[list[tuple[float, float]], list[int], list[tuple[int, int]]]]:
    """(places, labels, directed edges) of each graph; from 4 to 30 nodes."""
    draw = random.Random(seed)
    found = []
    for _ in range(GRAPHS):
        n = draw.randint(4, 30)
        places = [(round(draw.random(), 3), round(draw.random(), 3)) for _ in range(n)]
        labels = [draw.randint(0, 2) for _ in range(n)]
        near = 0.3**2
        edges = [
            (i, j)
            for i in range(n)
            for j in range(n)
            if i != j and sum((a - b) ** 2 for a, b in zip(places[i], places[j], strict=True)) < near
        ]
        found.append((places, labels, edges))
    return found


def texts(seed: int = 1) -> dict[str, str]:
    """File names and their texts."""
    adjacency, indicator, attributes, labels, classes, first = [], [], [], [], [], 1
    for number, (places, kinds, edges) in enumerate(graphs(seed), 1):
        adjacency += [f"{i + first}, {j + first}" for i, j in edges]
        indicator += [str(number)] * len(places)
        attributes += [f"{x}, {y}" for x, y in places]
        labels += map(str, kinds)
        classes.append(str(len(places) % 2))
        first += len(places)
    parts = {
        "A": adjacency,
        "graph_indicator": indicator,
        "node_attributes": attributes,
        "node_labels": labels,
        "graph_labels": classes,
    }
    return {f"NEAR_{name}.txt": "\n".join(lines) + "\n" for name, lines in parts.items()}


def main() -> None:
    """Write the set."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
