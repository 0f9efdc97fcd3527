"""LFDS on a graph: local features of nodes are distributed to sites, and a latent network works on the sites.

Where the time of one sample goes on an edge NPU, by format, and how far the results are from those in float32.
"""

import sys
from pathlib import Path

import numpy as np

import hwsim
from hwsim.files.figure import OP_COLOURS, pyplot, save
from hwsim.workload.graph.values import evaluate, random_weights

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
FORMATS = ("mxint8", "mxfp8", "mxfp6", "mxfp4")

graph = hwsim.load_model("lfds-graph")
weights = random_weights(graph, seed=1)
points = np.random.default_rng(2).standard_normal((1024, 3)).astype(np.float32)
exact = evaluate(graph, {"points": points}, weights)["logits"]

results = {}
for name in FORMATS:
    form = hwsim.get_format(name)

    def quantize(x, what, form=form):
        """Operands of multiply-adds in the format; the vector unit keeps float32."""
        return x if what == "vector" else form.quantize(x)

    results[name] = hwsim.run("edge-mx", "lfds-graph", weights=name)
    rounded = evaluate(graph, {"points": points}, weights, quantize)["logits"]
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    per_second = 1 / results[name].seconds
    print(
        f"{name:8} {per_second:8,.0f} samples/s, limited by {results[name].limited_by}; error of the logits {error:.1%}"
    )

OUT.mkdir(parents=True, exist_ok=True)
plot = pyplot()
figure, axes = plot.subplots(figsize=(6, 2.8), layout="constrained")
for at, result in enumerate(results.values()):
    start = 0.0
    for row in result.by_op:
        width = 1e6 * result.seconds * row.cycles / result.cycles
        colour, hatch = OP_COLOURS[row.name]
        axes.barh(
            at, width, left=start, color=colour, hatch=hatch, edgecolor="white", label=row.name if at == 0 else None
        )
        start += width
axes.set(yticks=range(len(results)), yticklabels=results, xlabel="time of a sample, us", title="lfds-graph on edge-mx")
axes.legend(ncols=1, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
save(figure, OUT / "lfds_graph.svg")
print(OUT / "lfds_graph.svg")
