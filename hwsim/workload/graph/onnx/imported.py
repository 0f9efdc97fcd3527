"""Imported: an ONNX file in the layout of a graph file, with its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwsim.files.yaml import Document, Mark
from hwsim.workload.graph.graph import Graph
from hwsim.workload.graph.load import graph
from hwsim.workload.graph.onnx.constant import Array


@dataclass(frozen=True)
class Imported:
    """An ONNX file in the layout of a graph file.

    inputs: ONNX inputs by the graph's names -> (name in the file, shape there). outputs: the graph's names, in the
    order of the file's results. notes: what a reader must know.
    """

    source: str
    data: dict[str, Any]
    inputs: dict[str, tuple[str, tuple[int, ...]]]
    outputs: tuple[str, ...]
    notes: tuple[str, ...]
    arrays: dict[str, Any]

    def text(self) -> str:
        """The graph file, one line per op."""
        import yaml

        def flow(value: Any) -> str:
            return str(
                yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
            ).strip()

        lines = [f"# {note}" for note in self.notes]
        for key, value in self.data.items():
            if key in ("ops", "inputs", "parameters"):
                lines.append(f"{key}:")
                if key == "ops":
                    lines += [f"  - {flow(op)}" for op in value]
                else:
                    lines += [f"  {flow({name: each})[1:-1]}" for name, each in value.items()]
            else:
                lines.append(flow({key: value})[1:-1])
        return "\n".join(lines) + "\n"

    def graph(self) -> Graph:
        """The graph. raises: InputError."""
        from dataclasses import replace

        document = Document(self.source, self.data, {}, {(): Mark(self.source)})
        found = graph(document)
        return replace(found, notes=(*self.notes, *found.notes))

    def weights(self) -> dict[str, Array]:
        """Every weight and parameter by the name that `values.evaluate` expects, in float32. raises: InputError."""
        return {name: make().astype("float32") for name, make in self.arrays.items()}
