"""Graphs through study, report, trace, energy and the page of a run."""

import json

import pytest
from typer.testing import CliRunner

from hwsim.cli import app

STUDY = """
name: nodes
machine: m0
model: lfds-loop
grid: {model.sizes.n: [64, 128, 256], run.weights: [int8]}
"""


def call(*words: str) -> str:
    found = CliRunner().invoke(app, list(words))
    assert found.exit_code == 0, found.output
    return found.output


def test_a_study_varies_a_size_and_reports(tmp_path):
    (tmp_path / "nodes.yaml").write_text(STUDY)
    call("study", str(tmp_path / "nodes.yaml"), "--out", str(tmp_path / "out"), "--workers", "1")
    lines = [json.loads(line) for line in (tmp_path / "out" / "points.jsonl").read_text().splitlines()]
    macs = sorted(line["macs"] for line in lines)
    # per node: 3 x 64 + 64 x 64 of the local layers, and the scores of 64 sites
    assert [b - a for a, b in zip(macs, macs[1:], strict=False)] == [
        64 * (3 * 64 + 2 * 64 * 64),
        128 * (3 * 64 + 2 * 64 * 64),
    ]
    call("report", str(tmp_path / "out"))
    page = (tmp_path / "out" / "nodes.md").read_text()
    assert (
        "lfds-loop on m0" in page and "Samples per second by" in page and "okens" not in page.replace("_tokens.svg", "")
    )
    assert "samples/s" in (tmp_path / "out" / "nodes_tokens.svg").read_text()
    html = call("report", str(tmp_path / "out"), "--html")
    data = (tmp_path / "out" / "nodes.html").read_text() if (tmp_path / "out" / "nodes.html").exists() else html
    assert "energy per sample, J" in data and "energy per token" not in data


def test_trace_energy_and_table(tmp_path):
    out = call(
        "run",
        "m0",
        "--model",
        "lfds-loop",
        "--weights",
        "int8",
        "--by",
        "op",
        "--energy",
        "--trace",
        str(tmp_path / "t.json"),
    )
    assert "samples/s" in out and "per sample" in out and "distribute" in out
    call("run", "m0", "--model", "lfds-loop", "--weights", "int8", "--html", str(tmp_path / "p.html"))
    assert "samples/s" in (tmp_path / "p.html").read_text() and "tokens/s" not in (tmp_path / "p.html").read_text()
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert any(event.get("name", "").startswith("site") for event in events)


@pytest.mark.parametrize("what", ["language", "graph"])
def test_models_are_listed_and_shown(what):
    name = {"language": "llama3-8b", "graph": "resnet50"}[what]
    assert name in call("model")
    assert {"language": "8,030,261,248", "graph": "25,557,032"}[what] in call("model", name)
