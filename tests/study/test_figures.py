"""Figures of studies: no label lies on another or on a mark, nothing is cut; series and panels follow their rules."""

import json
from dataclasses import replace
from itertools import combinations, product

import pytest
import yaml

from hwsim.files.figure import OP_COLOURS, op_style
from hwsim.study import figures as draw
from hwsim.study import load_study, page, run_study
from hwsim.study.by_op import by_op_caption, by_op_figure
from hwsim.study.cache import cache_figure, cache_rows
from hwsim.study.grid import Axis, Grid, read_grid
from hwsim.study.metrics import METRICS
from hwsim.study.page import write_page
from hwsim.study.panels import left_out, series_labels, series_title
from hwsim.study.roofs import cap, machine_roof
from hwsim.workload.op import KINDS
from tests.study.test_study_report import small

MODELS = ["nemotron3-nano-30b-a3b", "nemotron3-super-120b-a12b", "nemotron3-ultra-550b-a55b", "llama3-70b"]
FORMATS = ["fp8", "nvfp4", "seedlm4", "seedlm3"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The natural question: four models, four formats, three batches."""
    out = tmp_path_factory.mktemp("asked")
    study = {"name": "seeds-or-fp4", "machine": "h200-sxm-regen"}
    study["grid"] = {"model": MODELS, "run.weights": FORMATS, "run.batch": [1, 8, 64]}
    (out / "s.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    run_study(load_study(out / "s.yaml"), out / "o", workers=1)
    return out / "o"


def made(line, axes):
    """A grid of copies of one line, slower point by point, as a study of these axes would give."""
    axes = tuple(Axis(path, tuple(values)) for path, values in axes.items())
    lines = {}
    for i, choice in enumerate(product(*(range(len(a.values)) for a in axes))):
        slow = 1 + 0.07 * i
        change = {"seconds": line["seconds"] * slow, "tokens_per_second": line["tokens_per_second"] / slow}
        lines[choice] = line | change | {"dram_bytes": round(line["dram_bytes"] * (1 + i % 7))}
    return Grid("made", "", "made", "0", axes, lines, {}, 0)


@pytest.fixture(scope="module")
def line(asked):
    return read_grid(asked).lines[0, 2, 0]


@pytest.fixture(autouse=True)
def closed():
    """Close the figures of each test."""
    yield
    from matplotlib import pyplot

    pyplot.close("all")


RATES = (132, 198, 264, 300, 330, 396, 528, 600, 1320, 2640)
GRIDS = {
    "formats": {"run.weights": [f"a-format-{i}" for i in range(10)], "run.batch": [2**i for i in range(9)],
                "machine.dram.bandwidth": [f"{i} TB/s" for i in range(1, 11)]},
    "rates": {"run.weights": ["seedlm4", "seedlm3"],
              "machine.dram.bandwidth": ["2.4 TB/s", "4.8 TB/s", "9.6 TB/s"],
              "machine.regenerate.rate": [f"{n} block/cycle" for n in RATES]},
    "names": {"run.weights": ["fp8", "nvfp4"], "model": ["one", "another"]},
    "five": {"run.weights": ["fp8", "nvfp4"], "run.batch": [1, 2], "run.context": [1024, 8192, 1 << 20],
             "model": list("abcde")},
}  # fmt: skip


def figures(grid):
    """Every figure of a grid, by name."""
    found = {"by_op": by_op_figure(grid), "roofline": draw.roofline_figure(grid)}
    if grid.x:
        found |= {"tokens": draw.lines_figure(grid), "relative": draw.lines_figure(grid, relative=True)}
    if draw.traded(grid):
        found["pareto"] = draw.pareto_figure(grid)
    if cache_rows(grid):
        found["cache"] = cache_figure(grid, cache_rows(grid))
    return found


def boxes(figure):
    """(text, box in pixels) of every text that is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    hidden = {id(label) for ax in figure.axes for label in out_of_view(ax)}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and id(t) not in hidden]
    return [(t, tuple(t.get_window_extent(renderer).extents), t.get_text()) for t in texts]


def out_of_view(ax):
    """Tick labels that exist but are not drawn: beyond the limits of their axis, or of a panel that is not used."""
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = (high - low) * 1e-6
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            drawn = ax.get_visible() and low - slack <= tick.get_loc() <= high + slack
            yield from () if drawn else (tick.label1, tick.label2)
        if not ax.get_visible():
            yield axis.label
    yield from () if ax.get_visible() else (ax.title,)


def touching(figure):
    """Pairs of texts of which more than a pixel lies on the other."""
    found = boxes(figure)
    return [
        (a, b)
        for (_, p, a), (_, q, b) in combinations(found, 2)
        if min(p[2], q[2]) - max(p[0], q[0]) > 1 and min(p[3], q[3]) - max(p[1], q[1]) > 1
    ]


def cut(figure):
    """Texts of an axes' area that cross its left edge or leave the picture."""
    bad = []
    width, height = figure.get_size_inches() * figure.dpi
    for text, box, words in boxes(figure):
        if type(text).__name__ == "Annotation" and box[0] < text.axes.get_window_extent().x0:
            bad.append(words)
        if text.axes is None and (box[0] < -1 or box[2] > width + 1 or box[1] < -1 or box[3] > height + 1):
            bad.append(words)
    return bad


class TestLabels:
    @pytest.mark.parametrize("name", GRIDS)
    def test_no_label_lies_on_another(self, line, name):
        for figure in figures(made(line, GRIDS[name])).values():
            assert touching(figure) == [] and cut(figure) == []

    def test_nor_in_the_study_of_four_models(self, asked):
        for figure in figures(read_grid(asked)).values():
            assert touching(figure) == [] and cut(figure) == []

    def test_the_test_sees_a_label_on_another_and_one_that_is_cut(self, asked):
        figure = draw.lines_figure(read_grid(asked))
        ax = figure.axes[0]
        ax.annotate("on top", (8, 1000))
        ax.annotate("over the edge", (1, 1000), xytext=(-9, 0), textcoords="offset points", ha="right")
        assert cut(figure) == ["over the edge"]
        ax.annotate("another", (8, 1000))
        assert ("on top", "another") in touching(figure)

    def test_titles_say_machine_model_and_step(self, asked, line):
        assert read_grid(asked).heading() == "4 models on h200-sxm-regen (hypothetical), decode, context 8,192"
        one = made(line, {"run.batch": [1, 2]})
        assert one.heading() == f"{MODELS[0]} on h200-sxm-regen (hypothetical), decode, context 8,192"
        for figure in figures(one).values():
            said = [words for _, _, words in boxes(figure)]
            assert one.heading() in said


class TestRules:
    def test_formats_are_the_series_when_they_vary(self, asked):
        grid = read_grid(asked)
        assert (grid.series.path, grid.x.path, [a.path for a in grid.others]) == ("run.weights", "run.batch", ["model"])
        assert len(grid.panels()) == 4

    def test_panels_are_all_choices_while_they_are_few(self, line):
        assert len(made(line, GRIDS["rates"]).panels()) == 3
        kept = made(line, GRIDS["formats"])
        assert [p["machine.dram.bandwidth"] for p in kept.panels()] == [0, 5, 9]
        assert "3 of 10 choices of memory bandwidth" in left_out(kept, kept.panels())
        five = made(line, GRIDS["five"])  # five models, and the middle context
        assert [(p["model"], p["run.context"]) for p in five.panels()] == [(i, 1) for i in range(5)]

    def test_values_of_different_dimensions_are_no_axis_of_numbers(self):
        assert Axis("machine.dram.latency", ("10 cycles", "1 us")).numbers is None
        assert Axis("machine.dram.latency", ("10 us", "1 us")).numbers == (1e-5, 1e-6)

    def test_every_op_kind_has_its_own_colour_everywhere(self):
        assert set(KINDS) <= set(OP_COLOURS) and len({c for c, _ in OP_COLOURS.values()}) == len(OP_COLOURS)
        assert op_style("pooling") == op_style("pooling") != op_style("experts")

    def test_colours_of_ops_in_a_figure(self, asked):
        figure = by_op_figure(read_grid(asked))
        (legend,) = figure.legends
        from matplotlib.colors import to_hex

        for patch, text in zip(legend.get_patches(), legend.get_texts(), strict=True):
            assert to_hex(patch.get_facecolor()).upper() == op_style(text.get_text().replace(" ", "_"))[0]


class TestTimeByOp:
    @pytest.fixture
    def grid(self, line):
        """Ten formats, nine batches, ten bandwidths; eleven kinds, whose times change from point to point."""
        grid = made(line, GRIDS["formats"])
        lines = {}
        for at, (choice, one) in enumerate(grid.lines.items()):
            cycles = {kind: 10_000 // (1 + (i + at // 40) % 11) for i, kind in enumerate(KINDS[:11])}
            cycles[KINDS[11]] = 10  # below 2 % everywhere
            rows = [{"name": kind, "cycles": n} for kind, n in cycles.items()]
            lines[choice] = one | {"by_op": rows, "cycles": sum(cycles.values())}
        return replace(grid, lines=lines)

    def test_no_more_bars_than_can_be_read(self, grid):
        figure = by_op_figure(grid)
        assert len(figure.axes) == 4 and sum(len(one) for one in map(lengths, figure.axes)) == 40
        said = by_op_caption(grid)
        assert "2 of 10 choices of memory bandwidth; 2 of 9 values of batch" in said and "the 5 kinds" in said
        few = made(next(iter(grid.lines.values())), {"run.weights": ["a", "b"], "run.batch": [1, 2, 4, 8]})
        assert len(by_op_figure(few).axes) == 3 and "3 of 4 values of batch" in by_op_caption(few)

    def test_a_panel_has_its_five_largest_kinds_and_the_rest(self, grid):
        """Its bars by kind, read back from the picture, against the lines: shares of the slowest bar."""
        places = [(bandwidth, batch) for bandwidth in (0, 9) for batch in (0, 8)]
        for ax, (bandwidth, batch) in zip(by_op_figure(grid).axes, places, strict=True):
            some = [grid.lines[s, batch, bandwidth] for s in range(10)]
            seconds = [{r["name"]: r["cycles"] / one["cycles"] * one["seconds"] for r in one["by_op"]} for one in some]
            totals = {kind: sum(times[kind] for times in seconds) for kind in KINDS[:12]}
            largest = sorted(totals, key=lambda kind: -totals[kind])[:5]
            slowest = max(sum(times.values()) for times in seconds)
            drawn = lengths(ax)
            for s, times in enumerate(seconds):
                want = {op_style(kind)[0]: 100 * times[kind] / slowest for kind in largest}
                want[op_style("other")[0]] = 100 * sum(t for kind, t in times.items() if kind not in largest) / slowest
                assert drawn[9 - s] == pytest.approx(want)


def lengths(ax):
    """What a panel of stacked bars shows: place on y -> {colour: length}."""
    from matplotlib.colors import to_hex

    found = {}
    for patch in ax.patches:
        y = round(patch.get_y() + patch.get_height() / 2)
        found.setdefault(y, {})[to_hex(patch.get_facecolor()).upper()] = patch.get_width()
    return found


class TestEveryPoint:
    def test_all_48_points_are_in_the_tables(self, asked):
        write_page(asked)
        text = (asked / "seeds-or-fp4.md").read_text()
        speeds = {(model, weights, batch): None for model in MODELS for weights in FORMATS for batch in (1, 8, 64)}
        for line in map(json.loads, (asked / "points.jsonl").open()):
            p = line["point"]
            speeds[p["model"], p["run.weights"], p["run.batch"]] = line["tokens_per_second"], line["memory"]["fits"]
        for model, weights in product(MODELS, FORMATS):
            table = text.partition(f"Tokens per second, model {model}:\n")[2].partition("\n\nT")[0]
            (row,) = [r for r in table.splitlines() if r.startswith(f"| {weights} |")]
            cells = [c.strip() for c in row.strip("|").split("|")]
            expected = [speeds[model, weights, batch] for batch in (1, 8, 64)]
            assert cells[1:4] == [f"{v:,.0f}" + ("" if fits else r"\*") for v, fits in expected]
            assert cells[4].split()[0] in ("dram", "dot", "vector", "regenerate") and cells[7] == "ideal"
            assert cells[5].endswith(" %") and cells[4].split()[0].rstrip(",") in cells[6]  # it limits some op

    def test_a_page_that_leaves_points_out_says_how_many(self, asked, monkeypatch):
        monkeypatch.setattr(page, "MOST_POINTS", 10)
        monkeypatch.setattr(Grid, "panels", lambda grid, most=6: [{"model": 0}, {"model": 3}])
        write_page(asked)
        text = (asked / "seeds-or-fp4.md").read_text()
        assert "24 of 48 points shown; all are in" in text and "--table points.parquet" in text
        assert text.count("Tokens per second, model") == 2

    def test_text_from_files_is_escaped(self, line, tmp_path):
        grid = made(line, {"run.weights": ["a|b", "<b>"], "run.batch": [1, 2]})
        text = page._tables(grid, tmp_path)
        assert "| a\\|b |" in text and "| &lt;b> |" in text and "<b>" not in text


class TestRoofs:
    def test_a_point_is_under_the_roof_of_the_server_that_limits_it(self, tmp_path):
        rates = ["4 block/cycle", "400 block/cycle"]
        grid = read_grid(
            small(tmp_path, {"machine.regenerate.rate": rates}, machine="h200-sxm-regen",
                  run={"weights": "seedlm4", "context": 64})
        )  # fmt: skip
        slow, fast = grid.lines[0,], grid.lines[1,]
        assert slow["limited_by"] == "regenerate"
        roof, reached = cap(slow), slow["macs"] / slow["seconds"]
        assert reached <= roof == reached / slow["utilization"]["regenerate"]
        blocks = roof / slow["macs"] * slow["memory"]["weights"] / 4  # seedlm4: four bytes per block
        clock = 1.83e9
        assert blocks == pytest.approx(4 * clock, rel=0.35)  # weights that are not from seeds are in the memory too
        assert cap(fast) is None or fast["limited_by"] not in ("dram", "dot")
        figure = draw.roofline_figure(grid)
        assert "roof of regenerate" in [t.get_text() for t in figure.legends[0].get_texts()]

    def test_peaks_are_inside_the_axes(self, asked):
        grid = read_grid(asked)
        top = max(max(machine_roof(line)[1].values()) for line in grid.lines.values())
        for ax in draw.roofline_figure(grid).axes:
            assert ax.get_ylim()[1] > top / 1e12 and ax.get_xlim()[1] > top / 4.8e12 / 3


class TestProvenance:
    def test_series_carry_it_where_they_differ(self, line):
        grid = made(line, {"run.weights": ["fp8", "nvfp4"], "run.batch": [1, 2]})
        assert list(series_labels(grid).values()) == ["fp8", "nvfp4"]
        assert series_title(grid) == "weights (kernels: ideal)"
        for choice, one in grid.lines.items():
            if choice[0] == 0:
                grid.lines[choice] = one | {"provenance": {"measured": 1.0}}
        assert list(series_labels(grid).values()) == ["fp8 (measured)", "nvfp4 (ideal)"]
        assert series_title(grid) == "weights"


def test_metrics_by_arithmetic(line):
    found = {m.name: m.of(line) for m in METRICS}
    assert found["seconds"] == line["seconds"]
    assert found["tokens_per_second"] == pytest.approx(line["config"]["batch"] / line["seconds"])
    assert found["dram_bytes_per_token"] == pytest.approx(line["dram_bytes"] / line["config"]["batch"])
    assert found["over_bound"] == pytest.approx(line["cycles"] / line["bound_cycles"] - 1)
    assert found["macs_per_dram_byte"] == line["macs"] / line["dram_bytes"]


def test_a_peak_without_finite_decimals_per_cycle_is_a_roof():
    """32 TMAC/s at 1.5 GHz are 64000/3 MAC/cycle."""
    rates = [{"weights": "int8", "activations": "int8", "rate": "64000/3 MAC/cycle"}]
    machine = {"clock": "1.5 GHz", "dram": {"bandwidth": "91 B/cycle"}, "dot": {"rates": rates}}
    assert machine_roof({"config": {"machine": machine}}) == (136.5e9, {"int8": 32e12})
