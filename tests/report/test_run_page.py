"""The page of one run: sums of its timeline against the result, and the page in a real browser."""

import json
from dataclasses import replace

import pytest

from hwsim.jobs.run import checked_job
from hwsim.jobs.trace import trace_events
from hwsim.report.run_page import page_data, write_run_page
from tests.browser import chromium, opened, until

pytest.importorskip("vl_convert")

HOSTILE = "</script><b id=owned>x</b><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def job():
    return checked_job("edge-mx", "mamba2-130m", context=64, weights="seedlm4", engine="walk")


@pytest.fixture(scope="module")
def result(job):
    return job.result()


@pytest.fixture(scope="module")
def file(job, result, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "p.html"
    write_run_page(path, job, result)
    return path


class TestData:
    def test_spans_hold_every_tile_of_the_trace_once(self, job, result):
        trace = trace_events(job)
        found = page_data(result, trace)
        events = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["pid"] == 1 and e["cat"] != "stall"]
        assert sum(s["tiles"] for s in found["spans"]) == len(events) > len(found["spans"])
        busy = sum(e["dur"] for e in events)
        assert sum(s["occupied"] for s in found["spans"]) == pytest.approx(busy, rel=1e-12)
        assert max(s["end"] for s in found["spans"]) == max(e["ts"] + e["dur"] for e in events)

    def test_time_on_each_server_is_its_utilization(self, job, result):
        found = page_data(result, trace_events(job))
        busy = {s: sum(x["occupied"] for x in found["spans"] if x["server"] == s) for s in found["servers"]}
        expected = {server: 1e6 * result.seconds * share for server, share in result.utilization.items()}
        assert busy == pytest.approx(expected, rel=1e-5)

    def test_spans_hold_their_busy_time_and_the_waits_within(self, job, result):
        for span in page_data(result, trace_events(job))["spans"]:
            inside = span["occupied"] + sum(span["waits"].values())
            assert inside == pytest.approx(span["end"] - span["start"], abs=1e-5 * (span["tiles"] + 1)), span

    def test_parts_sum_to_the_time(self, job, result):
        found = page_data(result, trace_events(job))["by"]
        for part in ("op", "layer", "cause"):
            assert sum(row["us"] for row in found[part]) == pytest.approx(1e6 * result.seconds, rel=1e-12)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.mark.slow
class TestBrowser:
    def test_every_span_is_a_bar_and_every_op_a_row(self, browser, file, job, result):
        found = page_data(result, trace_events(job))
        with opened(browser, file) as page:
            assert page.locator('#figure [aria-roledescription="bar"]').count() == len(found["spans"])
            assert page.locator("tbody tr").count() == len({(s["name"], s["layer"]) for s in found["spans"]})
            assert f"{result.cycles:,}" in page.inner_text("main") and f"{result.dram_bytes:,}" in page.inner_text(
                "main"
            )
            shown = page.eval_on_selector_all('td[data-column="occupied.dram"]', "e => e.map(c => c.dataset.value)")
            busy = sum(s["occupied"] for s in found["spans"] if s["server"] == "dram")
            assert sum(float(v) for v in shown if v) == pytest.approx(busy, rel=1e-9)

    @pytest.mark.parametrize("view", ["op", "layer", "cause"])
    def test_other_views(self, browser, file, view, result):
        rows = {"op": result.by_op, "layer": result.by_layer, "cause": [n for n in result.stalls.values() if n]}[view]
        with opened(browser, file, f"#view={view}", width=400, scheme="dark") as page:
            assert page.locator('#figure [aria-roledescription="bar"]').count() == len(rows)
            assert page.evaluate("document.documentElement.scrollWidth") <= 400

    def test_layers_and_a_closer_look(self, browser, file):
        with opened(browser, file) as page:
            page.locator("label.field", has_text="Layer").locator("select").last.select_option("3")
            until(page, "document.querySelectorAll('tbody tr').length < 20")
            assert set(page.locator('td[data-column="layer"]').all_inner_texts()) == {"3"} and "layer=3" in page.url
            box = page.locator("#figure svg .background").first.bounding_box()
            page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=5)
            page.mouse.up()
            until(page, "location.hash.includes('from=') && location.hash.includes('to=')")
            until(page, "!document.getElementById('whole').disabled")
            page.click("#whole")
            until(page, "!location.hash.includes('from=')")

    def test_text_from_files_is_only_text(self, browser, job, result, tmp_path):
        row = replace(result.by_op[0], name=HOSTILE)
        bad = replace(
            result, name=HOSTILE, machine=HOSTILE, notes=(HOSTILE,), tiling=HOSTILE, by_op=(row, *result.by_op[1:])
        )
        write_run_page(tmp_path / "p.html", job, bad)
        assert "<b id" not in (tmp_path / "p.html").read_text()
        with opened(browser, tmp_path / "p.html", "#view=op") as page:
            assert page.locator("#owned").count() == 0 and page.locator("img").count() == 0
            assert HOSTILE in page.inner_text("h1") and HOSTILE in page.inner_text("main")


def test_the_command_writes_it(tmp_path, capsys, monkeypatch):
    from typer.testing import CliRunner

    from hwsim.cli import app

    args = ["run", "edge-mx", "--model", "mamba2-130m", "--context", "64", "--html", str(tmp_path / "p.html")]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0 and "open it in a browser" in done.stdout
    text = (tmp_path / "p.html").read_text()
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert {s["server"] for s in data["spans"]} >= {"dram", "dot"} and not data["truncated"]
