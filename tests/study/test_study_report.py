"""Pages of studies: the crossover by a formula, equal bytes on a second run, figures with their commands."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from hwsim.errors import InputError
from hwsim.study import load_study, run_study
from hwsim.study.cache import cache_rows, crossing
from hwsim.study.figures import front
from hwsim.study.grid import Axis, ends, number, read_grid
from hwsim.study.load import study_folder
from hwsim.study.page import enough, write_page
from hwsim.study.panels import tick

ROOT = Path(__file__).parents[2]


def small(tmp_path, grid, **changes):
    """Results of a small study in `tmp_path`/o."""
    base = {"name": "t", "machine": "m0", "model": "mamba2-130m", "run": {"weights": "int8", "context": 64}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(base | changes | {"grid": grid}, sort_keys=False))
    run_study(load_study(tmp_path / "s.yaml"), tmp_path / "o", workers=1)
    return tmp_path / "o"


class TestCrossover:
    """From the published shapes alone: state elements x 4 B against K and V elements per token x 1 B."""

    NANO = 23 * 64 * 64 * 128 * 4 / (6 * 2 * 2 * 128)  # 15.7 K
    SUPER = 40 * 128 * 64 * 128 * 4 / (8 * 2 * 2 * 128)  # 41.0 K

    def test_the_formula_gives_the_published_figures(self):
        assert (round(self.NANO / 1e3, 1), round(self.SUPER / 1e3, 1)) == (15.7, 41.0)

    @pytest.mark.parametrize("contexts", [[1024, 16384, 131072]])
    def test_the_points_of_the_shipped_study_cross_there(self, tmp_path, contexts):
        asked = yaml.safe_load((study_folder() / "context.yaml").read_text())
        asked["grid"]["run.context"] = contexts  # the whole grid is in the slow test
        (tmp_path / "s.yaml").write_text(yaml.safe_dump(asked))
        self.check(tmp_path / "s.yaml", tmp_path / "o")

    @pytest.mark.slow
    def test_the_whole_shipped_study_crosses_there(self, tmp_path):
        self.check("context", tmp_path / "o")

    def check(self, study, out):
        run_study(load_study(study), out, workers=1)
        held = cache_rows(read_grid(out))
        for s, formula in enumerate((self.NANO, self.SUPER)):
            tokens, _ = crossing(held[s])
            assert tokens + 1 == pytest.approx(formula, rel=1e-9)  # the step adds one to those cached before it
            moved, _ = crossing([(c, kv, 2 * state) for c, kv, state in held[s]])
            assert moved + 1 == pytest.approx(2 * formula, rel=1e-9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    bandwidths = ["50 GB/s", "0.1 TB/s"]
    grid = {"run.weights": ["int8", "seedlm4"], "run.batch": [1, 2, 8], "machine.dram.bandwidth": bandwidths}
    return small(tmp_path_factory.mktemp("page"), grid)


class TestPage:
    def test_page_and_figures(self, folder, tmp_path):
        written = write_page(folder, tmp_path / "p")
        assert {p.name for p in written} >= {"t.md", "t_tokens.svg", "t_by_op.svg", "t_roofline.svg"}
        page = (tmp_path / "p" / "t.md").read_text()
        command = f"hwsim study {folder.parent}/s.yaml --out {folder}\n    hwsim report {folder}"
        assert page.startswith(f"# t\n\n    {command}")
        assert "12 points, 6 failed" in page and "needs a `regenerate` server" in page
        for path in written[1:]:
            assert f"]({path.name})" in page
            text = " ".join(ElementTree.parse(path).getroot().itertext())
            assert "hwsim study" in text and "dc:date" not in path.read_text()

    def test_the_same_bytes_again_in_another_process(self, folder, tmp_path):
        first = {p.name: p.read_bytes() for p in write_page(folder)}
        args = [sys.executable, "-m", "hwsim", "report", folder]
        done = subprocess.run(list(map(str, args)), cwd=ROOT, capture_output=True, text=True, check=True)
        assert {Path(name).name for name in done.stdout.split()} == set(first)
        assert {name: (folder / name).read_bytes() for name in first} == first

    def test_tokens_of_the_table_are_those_of_the_points(self, folder):
        grid = read_grid(folder)
        line = grid.lines[(0, 1, 1)]
        assert line["point"] == {"run.weights": "int8", "run.batch": 2, "machine.dram.bandwidth": "0.1 TB/s"}
        write_page(folder)
        table = (folder / "t.md").read_text().partition("memory bandwidth 0.1 TB/s:")[2]
        rows = [row.split(" | ") for row in table.splitlines() if row.startswith("| int8 ")]
        assert rows[0][2] == f"{line['tokens_per_second']:,.0f}"

    def test_each_row_says_how_its_times_are_known(self, tmp_path):
        out = small(tmp_path, {"run.weights": ["int8", "mxfp4"], "run.batch": [1, 2]}, machine="b200")
        write_page(out)
        rows = [line for line in (out / "t.md").read_text().splitlines() if line.startswith("| ")]
        head, body = rows[0].split(" | "), [row.split(" | ") for row in rows if row.startswith(("| int8", "| mxfp4"))]
        assert head[-1] == "kernels |" and len(body) == 2
        lines = read_grid(out).lines.values()
        for row, weights in zip(body, ("int8", "mxfp4_e2m1"), strict=True):
            some = [li["provenance"]["ideal"] for li in lines if li["config"]["formats"]["weights"] == weights]
            least, most = (f"{100 * share:.3g}" for share in (min(some), max(some)))
            assert row[-1].endswith(f"{least} to {most} % ideal |") and least != most

    def test_no_results_no_page(self, tmp_path):
        with pytest.raises(InputError, match="contains no results of a study; run `hwsim study STUDY --out"):
            write_page(tmp_path / "of" / "nothing")

    def test_a_misspelled_folder(self, folder):
        with pytest.raises(InputError, match="contains no results of a study; did you mean .*/o[?]"):
            write_page(folder.with_name("oo"))

    @pytest.mark.parametrize(
        "grid",
        [
            {"run.weights": ["int8"]},
            {"run.phase": ["decode", "prefill"]},
            {"run.batch": [1, 2]},
            {"run.context": [16, 32], "model": ["mamba2-130m", "llama3-8b"]},
            {"machine.dram.latency": ["10 cycles", "1 us", "0 cycles"], "run.batch": [3]},
            {"run.batch": [1, 2, 3], "run.context": [1, 9, 90], "run.weights": ["int8"]},
        ],
    )
    def test_grids_of_every_shape_are_drawn(self, tmp_path, grid):
        assert write_page(small(tmp_path, grid))[0].read_text().startswith("# t\n")


class TestParts:
    def test_front_has_the_points_that_no_other_dominates(self):
        points = [(x, y, None) for x, y in [(1, 1), (2, 3), (2, 2), (3, 3), (4, 9), (5, 8), (1, 0)]]
        beaten = [p for p in points if any(q[0] <= p[0] and q[1] >= p[1] and q[:2] != p[:2] for q in points)]
        assert front(points) == sorted(set(points) - set(beaten))

    def test_numbers_of_values(self):
        assert number("2.4 TB/s") == 2.4e12 and number(8) == 8 and number("fp8") is None and number(True) is None
        assert Axis("run.batch", (1, 2)).numbers == (1, 2) and Axis("a", ("x", 1)).numbers is None

    def test_ends(self):
        assert [ends(3, 3), ends(10, 3), ends(11, 3), ends(5, 1)] == [[0, 1, 2], [0, 5, 9], [0, 5, 10], [2]]

    def test_ticks(self):
        assert [tick(n) for n in (1024, 1 << 20, 192, 2.4e12, 0.5)] == ["1 Ki", "1 Mi", "192", "2.4 T", "0.5"]

    def test_enough_is_the_smallest_x_that_gives_99_percent(self, tmp_path):
        rates = ["10 GB/s", "100 GB/s", "50 TB/s", "500 TB/s"]
        grid = read_grid(small(tmp_path, {"machine.dram.bandwidth": rates}))
        found = {x: line for _, x, line in grid.at(grid.panels()[0])}
        speeds = [found[x]["tokens_per_second"] for x in range(4)]
        assert speeds[1] < 0.99 * speeds[3] < speeds[2]
        assert enough(grid, found) == 2


class TestSearch:
    """Points that a search chose: few of the combinations, and a value that not every point has."""

    def folder(self, tmp_path):
        out = small(tmp_path, {"run.batch": [1, 2], "machine.dram.bandwidth": [f"{n} GB/s" for n in (70, 50, 90)]})
        lines = [json.loads(line) for line in (out / "points.jsonl").read_text().splitlines()]
        kept = [line for line in lines if line["point"] != {"run.batch": 1, "machine.dram.bandwidth": "90 GB/s"}]
        del kept[0]["point"]["machine.dram.bandwidth"]
        study = json.loads((out / "study.json").read_text()) | {"keys": None, "search": [line["key"] for line in kept]}
        (out / "study.json").write_text(json.dumps(study))
        (out / "points.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:-1] + kept))
        return out, kept

    def test_only_the_points_of_the_search_are_there(self, tmp_path):
        out, kept = self.folder(tmp_path)
        grid = read_grid(out)
        assert {line["key"] for line in grid.lines.values()} == {line["key"] for line in kept} and grid.missing == 0
        assert grid.axes[1].values == ("50 GB/s", "70 GB/s", "90 GB/s", None)
        for choice, line in grid.lines.items():
            found = {a.path: a.values[i] for a, i in zip(grid.axes, choice, strict=True) if a.values[i] is not None}
            assert found == line["point"]

    def test_the_page_lists_each_of_them(self, tmp_path):
        out, kept = self.folder(tmp_path)
        page = write_page(out)[0].read_text()
        rows = [row.strip("| ").split(" | ") for row in page.splitlines() if row.startswith("| ")][2:]
        assert len(rows) == len(kept) == 5 and "5 points, chosen by a search" in page
        speeds = sorted((line["tokens_per_second"] for line in kept), reverse=True)
        assert [row[2] for row in rows] == [f"{speed:,.0f}" for speed in speeds]
        assert sum(row[1] == "not set" for row in rows) == 1


def test_a_context_study_of_a_model_of_parts_has_its_page(tmp_path):
    """Its recurrent states are not Mamba-2's; they count whole beside the KV cache."""
    path = tmp_path / "s.yaml"
    grid = {"run.context": [1024, 8192]}
    path.write_text(yaml.safe_dump({"name": "t", "machine": "h200-sxm", "model": "qwen3-next-80b-a3b", "grid": grid}))
    run_study(load_study(path), tmp_path / "out", workers=1)
    (page, *_) = write_page(tmp_path / "out", tmp_path / "out")
    assert "KV" in page.read_text(encoding="utf-8")
