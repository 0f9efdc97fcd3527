"""The page to explore a study, as text and in a real browser: numbers, controls, choice, keys, paper, escapes."""

import json
import shutil

import pytest

from hwsim.errors import InputError
from hwsim.study import explore
from hwsim.study.grid import PREDICTED, read_grid
from hwsim.study.metrics import METRICS
from hwsim.study.page import write_html
from tests.browser import chromium, opened, until
from tests.study.test_study_report import small

pytest.importorskip("vl_convert")

HOSTILE = "</script><b id=owned>x</b><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two machines, two formats, three batches; m0 cannot make weights from seeds."""
    grid = {"machine": ["edge-mx", "m0"], "run.weights": ["int8", "seedlm4"], "run.batch": [1, 2, 16]}
    return small(tmp_path_factory.mktemp("explore"), grid, description="A question")


@pytest.fixture(scope="module")
def lines(folder):
    return [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]


def data_of(page):
    """The JSON in a page."""
    text = page.partition('id="data">')[2].partition("</script>")[0]
    return json.loads(text)


class TestText:
    def test_numbers_are_those_of_the_points(self, folder, lines):
        data = data_of(write_html(folder).read_text())
        by_settings = {tuple(map(str, line["point"].values())): line for line in lines}
        assert len(data["points"]) == len(lines) == 12
        names = [m["name"] for m in data["metrics"]]
        values = [["edge-mx", "m0"], ["int8", "seedlm4"], ["1", "2", "16"]]
        for point in data["points"]:
            line = by_settings[tuple(values[a][i] for a, i in enumerate(point["at"]))]
            if line["error"]:
                assert point["status"] == "failed" and point["error"] == line["error"]["message"]
                continue
            found = dict(zip(names, point["m"], strict=True))
            assert found["tokens_per_second"] == line["tokens_per_second"]
            assert found["seconds"] == line["seconds"] and found["dram_bytes"] == line["dram_bytes"]
            cycles = {row["name"]: row["cycles"] for row in line["by_op"]}
            for kind, seconds in point["ops"]:
                name = data["kinds"][kind]["name"].replace(" ", "_")
                assert seconds == pytest.approx(cycles[name] / line["cycles"] * line["seconds"], rel=1e-12)

    def test_a_page_of_1000_points_is_at_most_3_mb(self, folder, tmp_path):
        study = json.loads((folder / "study.json").read_text())
        line = next(li for li in map(json.loads, (folder / "points.jsonl").open()) if not li["error"])
        study |= {
            "axes": [{"path": "run.batch", "values": list(range(1, 1001))}],
            "keys": [f"{i:032}" for i in range(1000)],
        }
        (tmp_path / "study.json").write_text(json.dumps(study))
        rows = [
            json.dumps(line | {"key": key, "seconds": line["seconds"] + i / 3e7}) for i, key in enumerate(study["keys"])
        ]
        (tmp_path / "points.jsonl").write_text("\n".join(rows) + "\n")
        assert write_html(tmp_path).stat().st_size <= 3e6

    def test_too_many_points_name_the_table(self, folder, monkeypatch):
        monkeypatch.setattr(explore, "MOST", 10)
        with pytest.raises(InputError, match="has 12 points, .* at most 10; write `hwsim report .* --table"):
            write_html(folder)

    def test_it_asks_the_network_for_nothing(self, folder):
        text = write_html(folder).read_text()
        assert "default-src 'none'" in text and "connect-src" not in text and "unsafe-eval" not in text
        assert "<script src" not in text and '<link rel="icon" href="data:,">' in text


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def file(folder):
    return write_html(folder)


def cells(page, column):
    """Exact values of a column of the table, as shown."""
    return page.eval_on_selector_all(f'td[data-column="{column}"]', "e => e.map(c => c.dataset.value)")


def choose_from(page, label, value):
    """Choose from a list, and wait until the figure is drawn again."""
    before = page.get_attribute("#figure", "data-drawn")
    page.locator("label.field", has_text=label).locator("select").first.select_option(value)
    until(page, "d => document.getElementById('figure').dataset.drawn !== d", before)


def marks(page):
    return page.locator('#figure [aria-roledescription="point"]')


@pytest.mark.slow
class TestBrowser:
    def test_the_table_has_every_number_of_every_point(self, browser, file, lines):
        with opened(browser, file) as page:
            assert page.locator("tbody tr").count() == 12
            assert page.inner_text("#rows") == "12 of 12 points shown"
            for metric in METRICS:
                expected = [metric.of(line) for line in lines if not line["error"]]
                found = [float(v) for v in cells(page, metric.name) if v is not None]
                assert sorted(found) == sorted(e for e in expected if e is not None)
            text = page.locator('td[data-column="tokens_per_second"]').all_inner_texts()
            shown = sorted(float(t.replace(",", "")) for t in text if t != "-")
            speeds = sorted(line["tokens_per_second"] for line in lines if not line["error"])
            assert shown == pytest.approx(speeds, rel=1e-5)  # six digits are shown

    @pytest.mark.parametrize("view", ["lines", "pareto", "roofline"])
    def test_every_point_is_a_mark(self, browser, file, view):
        with opened(browser, file, f"#view={view}") as page:
            assert marks(page).count() == 9  # three failed
            said = page.inner_text("#says")
            assert "12 of 12 points in the figure; 3 of them without a value" in said or view == "roofline"

    def test_controls_change_the_figure_and_the_address(self, browser, file, lines):
        with opened(browser, file) as page:
            choose_from(page, "Up", "seconds")
            assert "y=seconds" in page.url and "time of a step, s" in page.inner_text("#figure")
            labels = " ".join(marks(page).evaluate_all("e => e.map(m => m.getAttribute('aria-label'))"))
            assert "time of a step, s" in labels
            choose_from(page, "Panels", "")
            assert "machine m0" not in page.text_content("#figure svg")
            page.locator("fieldset", has_text="Only").locator("select").nth(2).select_option("0")
            until(page, "document.querySelectorAll('tbody tr').length === 4")
            assert set(page.locator('td[data-column="run.batch"]').all_inner_texts()) == {"1"}
            address = page.url
        with opened(browser, file, "#" + address.partition("#")[2]) as page:  # the link opens the same view
            assert page.locator("tbody tr").count() == 4 and "time of a step, s" in page.inner_text("#figure")
            page.click("#reset")
            until(page, "document.querySelectorAll('tbody tr').length === 12")
            assert "#" not in page.url or page.url.endswith("#")

    def test_unknown_words_in_the_address_are_the_defaults(self, browser, file):
        with opened(
            browser, file, "#view=nonsense&x=__proto__&series=model&only.run.batch=99&chosen=9999.a-b&sort=q"
        ) as page:
            assert page.locator("tbody tr").count() == 12

    def test_sort_and_filter(self, browser, file, lines):
        with opened(browser, file) as page:
            page.click('th[data-column="tokens_per_second"] button')
            found = [float(v) for v in cells(page, "tokens_per_second") if v]
            assert found == sorted(line["tokens_per_second"] for line in lines if not line["error"])
            page.click('th[data-column="tokens_per_second"] button')
            assert [float(v) for v in cells(page, "tokens_per_second") if v] == found[::-1]
            assert page.get_attribute('th[data-column="tokens_per_second"]', "aria-sort") == "descending"
            page.fill("input[type=search]", "int8 simulated m0")
            assert page.inner_text("#rows") == "3 of 12 points shown"
            assert set(page.locator('td[data-column="run.weights"]').all_inner_texts()) == {"int8"}

    def test_a_drag_chooses_the_points_under_it(self, browser, file, lines):
        with opened(browser, file, "#view=pareto&panel=") as page:
            boxes = [m.bounding_box() for m in marks(page).all()]
            centres = sorted((b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes)
            edge = next((a[0] + b[0]) / 2 for a, b in zip(centres[3:], centres[4:], strict=False) if b[0] > a[0] + 4)
            inside = [c for c in centres if c[0] <= edge]
            page.mouse.move(min(x for x, _ in centres) - 9, min(y for _, y in centres) - 9)
            page.mouse.down()
            page.mouse.move(edge, max(y for _, y in centres) + 9, steps=5)
            page.mouse.up()
            until(page, f"document.querySelectorAll('tr.chosen').length === {len(inside)}")
            assert page.inner_text("#rows") == f"{len(inside)} of 12 points shown" and "chosen=" in page.url
            faint = marks(page).evaluate_all("e => e.filter(m => Number(m.getAttribute('opacity')) < 0.5).length")
            assert faint == 9 - len(inside)
            page.click("#clear")
            until(page, "document.querySelectorAll('tbody tr').length === 12")

    def test_hover_tells_the_whole_point(self, browser, file, lines):
        with opened(browser, file) as page:
            marks(page).first.hover(force=True)
            page.wait_for_selector(".tip:not([hidden])")
            said = page.inner_text(".tip")
            for word in ("weights", "batch", "machine", "tokens/s", "limited by", "time by op", "formats"):
                assert word in said
            page.mouse.move(2, 2)
            page.wait_for_selector(".tip", state="hidden")

    def test_the_front_is_what_no_point_beats(self, browser, file, lines):
        with opened(browser, file, "#view=pareto&panel=") as page:
            ids = page.evaluate("[...BUILD.pareto(kept(), 900).front]")
            data = data_of(file.read_text())
        place = {m.name: i for i, m in enumerate(METRICS)}
        cost, gain = place["dram_bytes_per_token"], place["tokens_per_second_per_sequence"]
        known = {i: p["m"] for i, p in enumerate(data["points"]) if p["status"] == "simulated"}
        pairs = {i: (m[cost], m[gain]) for i, m in known.items()}
        best = {
            i
            for i, (c, g) in pairs.items()
            if not any(d <= c and h >= g and (d, h) != (c, g) for d, h in pairs.values())
        }
        assert {pairs[i] for i in ids} == {pairs[i] for i in best}

    def test_by_keyboard_alone(self, browser, file):
        with opened(browser, file) as page:
            page.focus("input[name=view][value=lines]")
            page.keyboard.press("ArrowRight")
            until(page, "location.hash.includes('view=pareto')")
            assert page.evaluate("document.activeElement.value") == "pareto"
            page.focus('th[data-column="tokens_per_second"] button')
            page.keyboard.press("Enter")
            assert page.get_attribute('th[data-column="tokens_per_second"]', "aria-sort") == "ascending"
            page.focus("tbody tr:nth-child(2) input")
            page.keyboard.press("Space")
            until(page, "document.querySelectorAll('tr.chosen').length === 1")

    def test_dark_narrow_and_paper(self, browser, file):
        ink = "getComputedStyle(document.body).color"
        with opened(browser, file, width=390, scheme="dark") as page:
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 25)"
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.emulate_media(media="print")
            assert page.evaluate(ink) == "rgb(0, 0, 0)"
            assert not page.is_visible(".controls") and page.locator("tbody tr").count() == 12
            line = page.evaluate("getComputedStyle(document.querySelector('#figure svg text')).fill")
            assert line == "rgb(0, 0, 0)"
            page.set_viewport_size({"width": 1030, "height": 700})  # A4 across, less its margins
            until(page, "document.querySelector('#figure svg').getBoundingClientRect().width > 600")
            assert page.evaluate("document.documentElement.scrollWidth") <= 1030  # no column is cut

    def test_time_by_op_sums_to_the_step(self, browser, file, lines):
        with opened(browser, file, "#view=ops") as page:
            bars = page.locator('#figure [aria-roledescription="bar"]')
            assert bars.count() >= 9 * 3
            page.locator("label.field", has_text="Bars").locator("select").select_option("share")
            until(page, "document.getElementById('figure').innerText.includes('share of a step, %')")

    def test_predicted_points_are_hollow(self, browser, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "o")
        rows = [json.loads(row) for row in (tmp_path / "o/points.jsonl").read_text().splitlines()]
        gone = next(row for row in rows if not row["error"])
        (tmp_path / "o/points.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows if r is not gone))
        said = {"key": gone["key"], "point": gone["point"], "metric": "tokens_per_second", "value": 123.456}
        (tmp_path / "o" / PREDICTED).write_text(json.dumps(said) + "\n")
        assert len(read_grid(tmp_path / "o").predicted) == 1
        with opened(browser, write_html(tmp_path / "o")) as page:
            fills = marks(page).evaluate_all("e => e.map(m => m.getAttribute('fill'))")
            assert len(fills) == 9 and sum(f in (None, "none", "transparent") for f in fills) == 1
            assert "123.456" in cells(page, "tokens_per_second")
            assert page.locator('td[data-column="status"]').all_inner_texts().count("predicted") == 1

    def test_text_from_files_is_only_text(self, browser, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "o")
        study = json.loads((tmp_path / "o/study.json").read_text())
        study |= {
            "name": f"n{HOSTILE}".replace("/", "_"),
            "description": HOSTILE,
            "source": HOSTILE,
            "version": HOSTILE,
        }
        study["axes"][0] = {"path": f"run.{HOSTILE}", "values": [HOSTILE, {"default": HOSTILE}]}
        (tmp_path / "o/study.json").write_text(json.dumps(study))
        rows = [json.loads(row) for row in (tmp_path / "o/points.jsonl").read_text().splitlines()]
        for row in rows:
            if row["error"]:
                row["error"]["message"] = HOSTILE
            else:
                row |= {"notes": [HOSTILE], "machine": HOSTILE, "limited_by": HOSTILE, "name": HOSTILE}
                row["by_op"][0]["name"] = HOSTILE
                row["config"]["formats"]["weights"] = HOSTILE
                row["config"]["model"]["name"] = HOSTILE
        (tmp_path / "o/points.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        file = write_html(tmp_path / "o", tmp_path / "x.html")
        assert "<b id" not in file.read_text()
        for view in ("lines", "ops", "roofline"):
            with opened(browser, file, f"#view={view}") as page:
                page.wait_for_timeout(200)
                assert page.locator("#owned").count() == 0 and page.locator("img").count() == 0
                assert HOSTILE in page.inner_text("h1") and HOSTILE in page.inner_text("tbody")
                page.locator('#figure :is([aria-roledescription="point"], [aria-roledescription="bar"])').last.hover(
                    force=True
                )
                page.wait_for_selector(".tip:not([hidden])")
                assert page.locator("#owned").count() == 0 and HOSTILE in page.inner_text(".tip")


@pytest.mark.slow
def test_lines_of_one_colour_are_told_apart_by_panels_or_by_names(browser, tmp_path):
    """Two machines, two models, two formats: four panels, one for each machine and model; without panels, names."""
    grid = {
        "machine": ["edge-mx", "m0"], "model": ["mamba2-130m", "llama3-8b"], "run.weights": ["int8", "seedlm4"],
        "run.batch": [1, 2],
    }  # fmt: skip
    folder = small(tmp_path, grid)
    with opened(browser, write_html(folder)) as page:
        drawn = page.text_content("#figure svg")
        assert all(f"machine {m}, {model}" in drawn for m in grid["machine"] for model in grid["model"])
        assert "of one colour differ" not in page.inner_text("#says")
        choose_from(page, "Panels", "")
        assert "differ in machine, model" in page.inner_text("#says")
        assert "edge-mx · llama3-8b" in page.text_content("#figure svg")
