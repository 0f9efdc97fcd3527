"""One row per point: every number against `points.jsonl`, units in the names, CSV and Parquet alike."""

import csv
import json

import pytest

from hwsim.errors import InputError
from hwsim.study.grid import PREDICTED, Axis, read_grid
from hwsim.study.tidy import column, rows, write_table
from tests.study.test_study_report import small


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    grid = {
        "machine": ["edge-mx", "m0"],
        "run.weights": ["int8", "seedlm4"],
        "machine.dram.bandwidth": ["50 GB/s", "0.1 TB/s"],
    }
    return small(tmp_path_factory.mktemp("tidy"), grid)


@pytest.fixture(scope="module")
def lines(folder):
    return {line["key"]: line for line in map(json.loads, (folder / "points.jsonl").open())}


def test_a_csv_has_every_point_with_its_numbers(folder, lines, tmp_path):
    assert write_table(read_grid(folder), tmp_path / "t.csv") == 8
    found = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert len(found) == len(lines) == 8
    for row in found:
        line = lines[row["key"]]
        assert (row["machine"], row["run_weights"]) == (line["point"]["machine"], line["point"]["run.weights"])
        bandwidth = {"50 GB/s": 50e9, "0.1 TB/s": 1e11}[line["point"]["machine.dram.bandwidth"]]
        assert float(row["machine_dram_bandwidth_bytes_per_second"]) == bandwidth
        if line["error"]:
            assert (
                row["status"] == "failed" and row["error"] == line["error"]["message"] and not row["tokens_per_second"]
            )
            continue
        assert row["status"] == "simulated" and row["fits"] == str(line["memory"]["fits"]).lower()
        assert float(row["tokens_per_second"]) == line["tokens_per_second"]
        assert float(row["seconds"]) == line["seconds"] and float(row["dram_bytes"]) == line["dram_bytes"]
        assert row["limited_by"] == line["limited_by"]
        shares = {name: float(share) for name, share, _ in (part.split() for part in row["op_limits"].split(", "))}
        assert sum(shares.values()) == pytest.approx(100, abs=0.2)  # of the whole time
        assert all(abs(share - 100 * line["limits"][name]) <= 0.05 for name, share in shares.items())


def test_parquet_holds_the_same(folder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(read_grid(folder), tmp_path / "t.parquet")
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.to_pylist() == list(rows(read_grid(folder)))
    kinds = {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)}
    assert kinds["energy_joules"] == "double" and kinds["fits"] == "bool" and kinds["error"] == "string"


def test_predicted_points_are_rows_that_say_so(folder, lines, tmp_path):
    gone = next(line for line in lines.values() if not line["error"])
    (tmp_path / "study.json").write_text((folder / "study.json").read_text())
    rest = [json.dumps(line) + "\n" for line in lines.values() if line is not gone]
    (tmp_path / "points.jsonl").write_text("".join(rest))
    assert len(list(rows(read_grid(tmp_path)))) == 7
    said = {"key": gone["key"], "point": gone["point"], "metric": "tokens_per_second", "value": 5.5}
    stated = {"tokens_per_second": {"confidence": 0.95, "quantile": 0.95, "relative_error": 0.031, "mean_error": 0.01}}
    header = {"predicted": True, "stated": stated}
    (tmp_path / PREDICTED).write_text("\n".join(map(json.dumps, (header, said))) + '\n{"key": "cut off')
    (words,) = read_grid(tmp_path).statements()
    assert words.startswith("tokens_per_second: with 95% confidence, 95% of the points") and words.endswith(
        "within 3.1%"
    )
    (row,) = [row for row in rows(read_grid(tmp_path)) if row["status"] == "predicted"]
    assert row["tokens_per_second"] == 5.5 and row["seconds"] is None
    assert (row["machine"], row["run_weights"]) == (gone["point"]["machine"], gone["point"]["run.weights"])
    (tmp_path / PREDICTED).write_text('{"key": "x"}\n')
    with pytest.raises(InputError, match=r"predicted.jsonl:1: is not a prediction"):
        read_grid(tmp_path)


def test_a_study_that_is_running_has_its_points_by_their_settings(folder, tmp_path):
    study = json.loads((folder / "study.json").read_text())
    (tmp_path / "points.jsonl").write_text((folder / "points.jsonl").read_text())
    expected = list(rows(read_grid(folder)))
    (tmp_path / "study.json").write_text(json.dumps(study | {"keys": None}))
    assert list(rows(read_grid(tmp_path))) == expected
    some = [key if i % 2 else None for i, key in enumerate(study["keys"])]  # others were not looked at
    (tmp_path / "study.json").write_text(json.dumps(study | {"keys": some}))
    assert list(rows(read_grid(tmp_path))) == expected[1::2] and read_grid(tmp_path).missing == 4


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("machine.dram.bandwidth", ("1 TB/s",), "machine_dram_bandwidth_bytes_per_second"),
        ("machine.regenerate.rate", ("660 block/cycle",), "machine_regenerate_rate_blocks_per_cycle"),
        ("machine.clock", ("1 GHz", "2 GHz"), "machine_clock_hertz"),
        ("machine.dram.latency", ("1 us", "0 ns"), "machine_dram_latency_seconds"),
        ("machine.dram.latency", ("1 us", "3 cycles"), "machine_dram_latency"),  # no unit in common
        ("run.batch", (1, 2), "run_batch"),
        ("run.weights", ("fp8", {"experts": "nvfp4", "default": "fp8"}), "run_weights"),
    ],
)
def test_units_are_in_the_names(path, values, expected):
    assert column(Axis(path, values)) == expected


def test_a_file_of_another_kind_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"--table: .*t.xlsx ends in neither .csv nor .parquet"):
        write_table(read_grid(folder), tmp_path / "t.xlsx")
    with pytest.raises(InputError, match="does not exist"):
        write_table(read_grid(folder), tmp_path / "no" / "t.csv")
