"""Pages of searches and of training studies, and panels of studies with many axes, against the lines themselves."""

import csv
import json
import shlex
from dataclasses import replace
from itertools import product

import pytest
import yaml

import hwsim
from hwsim.study import figures as draw
from hwsim.study import load_study, run_study
from hwsim.study.by_op import by_op_figure
from hwsim.study.found import front_figure
from hwsim.study.grid import Axis, Grid, read_grid
from hwsim.study.loads_figures import users_figure
from hwsim.study.page import write_page
from hwsim.study.panels import left_out
from hwsim.study.search import Goal, run_search
from hwsim.study.space import load_space
from hwsim.study.tidy import write_table
from tests.study.test_study_report import small


@pytest.fixture(autouse=True)
def closed():
    """Close the figures of each test."""
    yield
    from matplotlib import pyplot

    pyplot.close("all")


SPACE = """\
name: found
machine: m0
model: mamba2-130m
run: {phase: decode, weights: int8, context: 64}
grid:
  run.batch: [1, 2, 4, 8]
  machine.dram.bandwidth: [0.5 GB/s, 1 GB/s, 2 GB/s]
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    (folder / "found.yaml").write_text(SPACE)
    goal = Goal.of("tokens_per_second", "dram_bytes", ["memory.fits", "seconds <= 100"])
    run_search(load_space(folder / "found.yaml"), folder / "o", goal, 9, "random", 5)
    return folder


def test_the_page_of_a_search_has_its_command_its_objectives_and_its_front(searched):
    page = write_page(searched / "o")[0].read_text()
    said = next(line.strip() for line in page.splitlines() if line.startswith("    hwsim search"))
    words = shlex.split(said)
    asked = dict(zip(words[3::2], words[4::2], strict=True))
    assert words[:2] == ["hwsim", "search"] and words[2].endswith("found.yaml")
    assert asked["--maximize"] == "tokens_per_second" and asked["--minimize"] == "dram_bytes"
    assert (asked["--seed"], asked["--sampler"], asked["--trials"]) == ("5", "random", "9")
    assert words.count("--subject-to") == 2 and "seconds <= 100" in words
    assert "no random numbers" not in page and "drawn by random from seed 5" in page
    lines = [json.loads(line) for line in (searched / "o" / "points.jsonl").read_text().splitlines()]
    pairs = [(line["tokens_per_second"], line["dram_bytes"]) for line in lines]
    best = {p for p in pairs if not any(a >= p[0] and b <= p[1] and (a, b) != p for a, b in pairs)}
    rows = [row for row in page.splitlines() if row.startswith("|")][2:]
    assert sum("**" in row for row in rows) == sum(p in best for p in pairs) and len(rows) == len(lines)
    assert "limited by | over bound | op limits | kernels" in page
    for line in lines:  # in the words of `hwsim run`
        above = f"{100 * (line['cycles'] - line['bound_cycles']) / line['bound_cycles']:.3g} %"
        first = max(line["limits"], key=line["limits"].get)
        assert any(f"| {line['limited_by']} | {above} | {first} " in row for row in rows)
    assert "tokens_per_second | dram_bytes" in page and "found_front.svg" in page and "pareto" not in page


def test_the_front_of_a_search_is_drawn_over_its_own_objectives(searched):
    grid = read_grid(searched / "o")
    figure = front_figure(grid, "tokens_per_second", "dram_bytes")
    (ax,) = figure.axes
    tried, front = ax.get_lines()
    assert len(tried.get_xdata()) + len(front.get_xdata()) == len(grid.lines)
    assert set(front.get_xdata()) <= {line["dram_bytes"] for line in grid.lines.values()}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("DRAM bytes per step, B", "tokens/s")


def many(line, idle):
    """Six axes; of `idle` no figure depends."""
    paths = ["run.batch", "run.weights", "machine.a.first", "machine.b.second", "machine.c.third", "machine.d.fourth"]
    axes = tuple(Axis(path, (1, 2) if path != "run.weights" else ("fp8", "mxfp4")) for path in paths)
    lines = {}
    for choice in product(range(2), repeat=len(axes)):
        slow = 1.0
        for axis, i in zip(axes, choice, strict=True):
            slow *= 1 + (0 if axis.path in idle else 0.3 * i)
        change = {"seconds": line["seconds"] * slow, "tokens_per_second": line["tokens_per_second"] / slow}
        lines[choice] = line | change
    return axes, lines


def test_axes_that_change_nothing_are_no_panels_and_titles_stay_above_theirs(tmp_path):
    folder = small(tmp_path, {"run.batch": [1, 2]})
    line = read_grid(folder).lines[0,]
    axes, lines = many(line, {"machine.b.second", "machine.d.fourth"})
    (tmp_path / "big").mkdir()
    keyed = {choice: one | {"key": f"{i:04}", "error": None} for i, (choice, one) in enumerate(lines.items())}
    data = {"schema": 2, "name": "big", "description": "", "source": "big", "version": "0"}
    data["axes"] = [{"path": axis.path, "values": axis.values} for axis in axes]
    data["keys"] = [one["key"] for one in keyed.values()]
    (tmp_path / "big" / "study.json").write_text(json.dumps(data))
    (tmp_path / "big" / "points.jsonl").write_text("".join(json.dumps(one) + "\n" for one in keyed.values()))
    grid = read_grid(tmp_path / "big")
    assert set(grid.idle) == {"machine.b.second", "machine.d.fourth"}
    assert len(grid.panels()) == 4 and all("second" not in grid.title(panel) for panel in grid.panels())
    assert "No figure changes by 0.1% with b.second, d.fourth." in left_out(grid, grid.panels())
    assert len({grid.title(panel, whole=True) for panel in grid.tables()}) == 16  # the tables tell all apart
    whole = replace(grid, idle=())
    for one in (grid, whole):
        for figure in (draw.lines_figure(one), by_op_figure(one), draw.roofline_figure(one)):
            figure.canvas.draw()
            legend = figure.legends[0].get_window_extent()
            titles = [ax.title.get_window_extent() for ax in figure.axes if ax.get_visible() and ax.get_title()]
            assert titles and not any(title.overlaps(legend) for title in titles)
            assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])


def test_the_title_of_a_figure_of_loads_is_not_under_its_legend(tmp_path):
    spread = dict.fromkeys(("mean", "p50", "p90", "p99"), 0.01)
    line = {
        "phase": "serve", "machine": "a-machine-with-a-long-name", "chips": 1, "hypothetical": False, "attained": 1.0,
        "config": {"model": {"name": "a-model-with-a-long-name"}, "load": {"rate": "8/s", "slo": "ttft=1s"}},
        "tokens_per_second_per_user": 50.0, "tokens_per_second_per_chip": 900.0, "ttft": spread, "tpot": spread,
    }  # fmt: skip
    axes = tuple(Axis(f"run.{name}", (10**6, 2 * 10**6)) for name in ("max_seqs", "kv_tokens", "budget", "block"))
    lines = {c: line | {"tokens_per_second_per_user": 50.0 + i} for i, c in enumerate(product(range(2), repeat=4))}
    figure = users_figure(Grid("t", "", "t", "0", axes, lines, {}, 0))
    figure.canvas.draw()
    title = figure._suptitle.get_window_extent()
    assert not title.overlaps(figure.legends[0].get_window_extent())
    assert not any(title.overlaps(ax.get_window_extent()) for ax in figure.axes)


def test_a_training_study_says_mfu_exposed_idle_and_memory(tmp_path):
    study = {"name": "plans", "machine": "h100-sxm", "model": "llama3-8b", "run": {"phase": "train", "batch": 16}}
    study["run"]["context"] = 1024
    study["grid"] = {"run.parallel": ["dp=8", "dp=4,tp=2", "dp=4,pp=2"]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    run_study(load_study(tmp_path / "s.yaml"), tmp_path / "o", workers=1)
    rows = [row for row in write_page(tmp_path / "o")[0].read_text().splitlines() if row.startswith("|")]
    write_table(read_grid(tmp_path / "o"), tmp_path / "o.csv")
    with (tmp_path / "o.csv").open() as file:
        table = {row["run_parallel"]: row for row in csv.DictReader(file)}
    for parallel in study["grid"]["run.parallel"]:
        found = hwsim.train("h100-sxm", "llama3-8b", 16, 1024, parallel=parallel)
        shares = found.exposed_seconds / found.seconds, max(0.0, found.idle_seconds) / found.seconds
        row = table[parallel]
        assert float(row["mfu"]) == found.mfu and int(float(row["memory_bytes"])) == found.memory.total
        assert (float(row["exposed_share"]), float(row["idle_share"])) == shares
        cells = next(cells for cells in rows if f"| {parallel} |" in cells and " GB" in cells)
        assert all(f"{100 * value:.1f} %" in cells for value in (found.mfu, *shares))
