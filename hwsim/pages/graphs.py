"""`make graphs`: what irregular access costs in graph networks and recommendation: reports/graphs.md and its figure.

Times are simulated on machines without a step of software; values are computed by numpy in float32 and in each format.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path

from hwsim import __version__
from hwsim.files.figure import COLOURS, pyplot, save
from hwsim.files.whole import write_whole
from hwsim.pages import graph_formats, graph_growth, graph_published, graph_rows
from hwsim.pages.graph_growth import DOUBLED, MACHINES, METHODS, NODES, UNITS, Point, exponent

FOLDER = Path("reports")


def filled(page: str) -> str:
    """Paragraphs with lines of up to 120 letters; headings, tables, pictures and commands stay as they are."""
    parts = []
    for part in page.split("\n\n"):
        fixed = part.lstrip("\n").startswith(("#", "|", "!", "    "))
        parts.append(part if fixed else textwrap.fill(part, 120, break_long_words=False, break_on_hyphens=False))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def at(found: list[Point], method: str, nodes: int) -> Point:
    """One of the points."""
    return next(p for p in found if (p.method, p.nodes) == (method, nodes))


def share(found: list[Point], method: str, what: str, nodes: int = NODES[-1]) -> str:
    """The share of a part at one size, in percent."""
    one = at(found, method, nodes)
    return f"{100 * one.parts[what] / one.seconds:.0f} %"


def doubled(found: list[Point], method: str, sizes: tuple[int, int] = DOUBLED) -> float:
    """The exponent of the time between two sizes."""
    few, many = (at(found, method, n) for n in sizes)
    return exponent(few.seconds, many.seconds, many.nodes / few.nodes)


def growth_section(found: dict[str, list[Point]]) -> str:
    """What aggregations cost as graphs grow."""
    tables = "\n\n".join(
        f"**{name}**, {MACHINES[name]}:\n\n{graph_growth.growth_table(points)}" for name, points in found.items()
    )
    units = " ".join(f'--set "{name}={text}"' for name, text in UNITS.items())
    edge, tpu = found["edge-mx"], found["tpu-v4i"]
    times = ", ".join(f"{method} {at(edge, method, NODES[-1]).seconds * 1e6:,.0f}" for method in METHODS)
    last = DOUBLED[1], 2 * DOUBLED[1]
    loop, pooled = (at(edge, method, NODES[-1]).seconds for method in ("LFDS loop (hard)", "max or mean"))
    ratio = loop / pooled
    return f"""## Aggregation as the graph grows

Each network is run whole, one graph per batch: points or nodes through a local network, then the aggregation, then a
small classifier. The LFDS files are our reconstruction of arXiv 2108.07028. *Rows by index* are gathers, scatters and
the distribution of nodes to sites; a nearest-neighbour search counts as sorting, which takes most of it. The files of
both machines have neither a banked memory for rows by index nor a sorter; here both are given the same two, which
are **hypothetical**:

    hwsim run edge-mx --model lfds-loop --weights mxint8 --by op {units}

*Most work* is the server with the most work in the whole run; *exponent* is that of the time, from the size before.

{tables}

On edge-mx with {NODES[-1]:,} nodes the networks take, in us: {times}. All but DiffPool and the sort are linear once
the graph is large. LFDS with a loop takes {ratio:.1f} times as long as a maximum over the same local
features: it scores
each node against 64 sites and adds its row to one. In the loop rows by index take
{share(edge, "LFDS loop (hard)", "rows by index")} of the time on edge-mx and
{share(tpu, "LFDS loop (hard)", "rows by index")} on tpu-v4i: each node's row is added to that of its site, which is a
read and a write in a memory whose banks collide. Assignment by rank grows faster than linear, as the sorter does: it
takes {share(edge, "LFDS sequence (by rank)", "sorting", NODES[0])} at {NODES[0]} nodes and
{share(edge, "LFDS sequence (by rank)", "sorting")} at {NODES[-1]:,} on edge-mx. The search among the 64 sites of the
LFDS graph does not grow with the nodes. SortPool's own sort is cheap ({share(edge, "SortPool", "sorting")}); the
messages along the edges ahead of it are not ({share(edge, "SortPool", "rows by index")}). DiffPool has no
rows by index: it
is dense and cubic.

**Why DiffPool's exponent is below 3.** The multiply-adds are a sum of terms with n^3 (S^T A S and the assignment's
layers, whose width is n / 4) and with n^2 (the adjacency times features), so their number alone grows with the
exponent {graph_growth.multiplied():.3f} from {DOUBLED[0]:,} to {DOUBLED[1]:,} nodes. The time has
{doubled(edge, "DiffPool"):.3f} on edge-mx and {doubled(tpu, "DiffPool"):.3f} on tpu-v4i; from {last[0]:,} to
{last[1]:,} it is {doubled(edge, "DiffPool", last):.2f} and {doubled(tpu, "DiffPool", last):.2f}.
Softmax, sums and copies are passes over n^2 elements and pull it down further. The goal of 2.8 is met on edge-mx and
missed on tpu-v4i, which multiplies eight times as fast, so that what grows with n^2 weighs more there: features 64 and
89 wide fill half and two thirds of an array of 128 columns, while products of n by n fill all of it. It crosses 2.8 at
the next doubling.

Other ways, from {DOUBLED[0]:,} to {DOUBLED[1]:,} nodes: neither the other dataflow nor a network that multiplies the
adjacency with the features once for both of its halves reaches 2.8 on tpu-v4i. The aggregation alone, which is what
DiffPool adds to a graph network (the assignment's softmax, S^T X and S^T A S), does on both machines.

{graph_growth.ways_table()}

By kind of op:

edge-mx:

{graph_growth.diffpool_table(edge)}

tpu-v4i:

{graph_growth.diffpool_table(tpu)}
"""


def formats_section(found: dict[tuple[str, str], graph_formats.Change]) -> str:
    """What formats change."""
    loop = {name: found["lfds-loop", name] for name in graph_formats.FORMATS}
    moved = {name: one.moved or 0.0 for name, one in loop.items()}
    eight = [name for name in ("int8", "mx9", "mxint8", "mxfp8_e4m3", "fp8_row")]
    listed = ", ".join(f"{name} {100 * moved[name]:.1f} %" for name in eight)
    four = ", ".join(f"{name} {100 * moved[name]:.0f} %" for name in ("nvfp4", "mxfp4_e2m1", "mx4"))
    ranked = found["lfds-sequence", "mx9"]
    softer = [one.sites / found["lfds-graph", name].sites for name, one in loop.items()]
    return f"""## Number formats: moved nodes and values

{graph_formats.CLOUDS} clouds of {graph_formats.NODES:,} points on a noisy sphere, random weights, seeds 0 to
{graph_formats.CLOUDS - 1}; weights and activations of every multiply-add are cast to the format, nothing is retrained.
*Moved*: share of the nodes that another site gets, in percent; *by the scores alone*: only the assignment is cast, and
its inputs are exact. *Error*: root mean square over that of float32, in percent. These networks are not trained, so the
figures say how far a format disturbs an assignment, not what accuracy it costs. `hwsim graph FILE --sites N
--format F` counts moved nodes for a user's own graphs.

{graph_formats.formats_table(found)}

A hard assignment turns a small error of two close scores into another site: with the whole network cast, {listed} move,
and {four}. What the sites hold changes by more than the cast of a value does, as a moved node leaves one mean and
enters another. In the soft assignment of lfds-graph no such step exists: errors at the sites are {min(softer):.1f} to
{max(softer):.0f} times smaller. Ranks are most sensitive, as one node that passes others shifts all of them:
mx9 already
moves {100 * (ranked.moved or 0.0):.0f} % of the nodes of the sequence, {100 * ranked.near:.0f} % of these by one site.
"""


def rows_section() -> str:
    """DLRM and random reads."""
    return f"""## DLRM: rows of tables by format

{graph_rows.MODEL} on {graph_rows.CHIP}, a batch of {graph_rows.BATCH:,} pairs, {graph_rows.PAIRS} pairs per sample;
tables in each format, all other weights in BF16, kernels ideal (`--set cores=null`). 214 rows of {graph_rows.WIDTH}
per pair; blocks run along a row, so a row is whole blocks and no gather splits one. *Burst use*: bytes of a
row over those
of its whole beats of 64 B. *Of the peak*: useful bytes per second of rows at unrelated addresses. *Found in
cache*: by the
closed form for a warm cache of 25 MiB and rows drawn by zipf(1.1).

    hwsim run h100-sxm --model dlrm-v2 --batch 600000 --weights embedding=mxfp4,default=bf16 --set cores=null --by layer

{graph_rows.rows_table("ideal kernels")}

Rows of 68 or 72 B take two beats, as rows of 100 B do, so below six bits a narrower format saves capacity here and no
time. Packing does not change that: at a stride of 68 or 72 B a row touches two beats in the mean too. Random
rows of 256 B
reach about a third of the peak: each opens DRAM rows in several banks, and these limit it, not its bytes (FP32
rows are twice as long and not twice as slow).

**What bounds it.** The multiply-adds of the cross network, not the gathers, once popular rows are found in the cache.
The file assumes the middle one of the three power laws of HugeCTR's data generator; the table has all of them, and rows
drawn evenly. With each power law the cross network takes longer than the gathers; with even rows, which find
only small tables in the cache, BF16 gathers take about as long. MLPerf's data is skewed as Criteo's clicks are,
but its several
indices per table were drawn evenly around them, so it lies between the rows of this table. All weights are in the
named format. MLPerf Inference, datacenter, offline: samples/s per H100 SXM, 70,346 (one chip, 99 % of the accuracy) and
an eighth of 354,151 (eight chips, 99.9 %, FP16).

{graph_rows.popularity_table()}

With calibrated kernels FP8 GEMMs are slower than BF16's here, as each quantises its activations by kernels of its own,
which read and write all of them; a fused network would not. The ideal ones spare that.

## Random reads

Random reads of whole rows through a simulated gather, on one channel of the machine's memory, beside Ramulator 2.1 with
the same timing (`tests/arch/test_memory.py` has DDR3 and DDR4 too). The gap between reads is fitted to 1 KiB; the other
sizes follow.

{graph_rows.reads_table()}
"""


def published_section() -> str:
    """Gemmini and Eyeriss."""
    found = graph_published.gemmini()
    low, high = graph_published.GEMMINI
    over = [
        f"{cause} {100 * n / found.bound_cycles:.1f} %" for cause, n in found.stalls.items() if n and cause != "busy"
    ]
    return f"""## Published chips

**Gemmini, ResNet-50, batch {graph_published.BATCH}** (`hwsim run gemmini --model resnet50 --batch 4 --weights int8`):
{found.cycles / 1e6:.1f} M cycles, limited by {found.limited_by}; over the bound: {", ".join(over)}. Simulations in
RTL report {low / 1e6:.0f} to {high / 1e6:.0f} M cycles for the whole network, {low / found.cycles:.1f} to
{high / found.cycles:.1f} times as many. The cause: the Rocket core, which issues each tile and computes what the array
cannot, is not modelled. So this figure is a bound of the array and its memory, not a prediction of the chip.

**Eyeriss, the convolutions of AlexNet, batch {graph_published.BATCH}** (Chen et al., JSSC 52(1), 2017: processing
times at 200 MHz), on a machine with Eyeriss's numbers: 168 units, their filter scratchpads, 100 KiB for maps and sums;
its memory's rate is assumed.

{graph_published.eyeriss_table()}

hwsim has no row-stationary mapping: it fills 168 units with any GEMM. Eyeriss places filter rows times output rows, so
conv1 and conv2 leave units idle: *units in use busy* is the bound that follows, and the chip takes longer than it by
causes that are not separated here. In conv3 to conv5 hwsim waits for the assumed memory: equal tiles read the
filters once per tile of places, three times in all for conv3, where the chip keeps them. So hwsim is right
in the sum by
chance; layer by layer it is no model of this chip.
"""


def report(
    found: dict[str, list[Point]], changes: dict[tuple[str, str], graph_formats.Change], progress: Callable[[str], None]
) -> str:
    """The page."""
    progress("rows of tables")
    rows = rows_section()
    progress("published chips")
    return f"""# Irregular access: graph networks, point clouds, recommendation

`make graphs` (hwsim {__version__}) wrote this page. Nothing in it is measured on hardware except where it says so.

![time by aggregation as the graph grows](graphs.svg)

{growth_section(found)}
{formats_section(changes)}
{rows}
{published_section()}"""


def figure(found: dict[str, list[Point]], path: Path) -> None:
    """Time against nodes, one line per aggregation, one panel per machine."""
    plt = pyplot(8)
    drawing, panels = plt.subplots(1, len(found), figsize=(9, 3.4), sharey=True, layout="constrained")
    for panel, (name, points) in zip(panels, found.items(), strict=True):
        for i, method in enumerate(METHODS):
            mine = [p for p in points if p.method == method]
            times = [1e6 * p.seconds for p in mine]
            panel.plot(NODES, times, color=COLOURS[i % len(COLOURS)], marker="os^vD*x"[i], ms=4, label=method)
        panel.set(title=f"{name} with gather and sort units", xscale="log", yscale="log", xlabel="nodes")
        panel.set_xticks(NODES, [f"{n:,}" for n in NODES])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("one graph, us")
    panels[0].legend(frameon=False, fontsize=6)
    save(drawing, path, "make graphs")


def main() -> None:
    """`make graphs`."""

    def progress(what: str) -> None:
        print(f"  {what}", flush=True)

    found = {}
    for name in MACHINES:
        progress(name)
        found[name] = graph_growth.points(name)
    changes: dict[tuple[str, str], graph_formats.Change] = {}
    for net in graph_formats.NETS:
        progress(f"{net} in {len(graph_formats.FORMATS)} formats")
        changes |= {(net, form): graph_formats.change(net, form) for form in graph_formats.FORMATS}
    figure(found, FOLDER / "graphs.svg")
    write_whole(FOLDER / "graphs.md", filled(report(found, changes, progress)))
    print(FOLDER / "graphs.md")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
