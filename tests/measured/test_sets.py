"""sets.yaml: every entry is complete, and a wrong one is refused at its place."""

import pytest

from hwsim.errors import InputError
from hwsim.measured import sets

ENTRY = """\
datasets:
  - name: mine
    file: mine.csv
    source: my own bench
    licence: CC0-1.0
    what: a few GEMMs
    machine: h100-sxm
    kind: gemm
    use: held_out
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.csv").write_text("m,n,k,us\n1,4096,4096,16\n")
    return tmp_path


def refused(folder, text):
    path = folder / "sets.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        sets._checked(path, folder)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_columns_that_the_kind_needs_come_from_the_file_or_the_entry(folder):
    assert refused(folder, ENTRY) == [
        "3:11: datasets.0.file: mine.csv has no column dtype; write it under `rename` or `columns`"
    ]
    path = folder / "sets.yaml"
    path.write_text(ENTRY + "    columns: {dtype: bfloat16}\n")
    (entry,) = sets._checked(path, folder).datasets
    (dataset,) = sets._datasets(entry, folder)
    assert dataset.rows == ({"m": "1", "n": "4096", "k": "4096", "us": "16", "dtype": "bfloat16"},)
    assert not dataset.fitted and dataset.overhead is None


def test_problems_are_told_at_their_place_and_together(folder):
    text = ENTRY.replace("mine.csv", "yours.csv") + ENTRY.removeprefix("datasets:\n")
    text += "    columns: {dtype: bfloat16}\n    rename: {m: rows}\n    parts: [{where: {layre: x}}]\n"
    found = refused(folder, text)
    assert [p.split(": ")[1] for p in found] == [
        "datasets.0.file", "datasets.1.name", "datasets.1.parts.0.where.layre", "datasets.1.rename.m"
    ]  # fmt: skip
    assert refused(folder, ENTRY.replace("gemm", "gem"))[0].startswith("8:11: datasets.0.kind: `gem` is not known")


def test_rows_are_renamed_and_chosen(folder):
    (folder / "mine.csv").write_text("layer,tokens,us\na,1,5\nb,2,6\nb,3,7\nc,4,8\n")
    path = folder / "sets.yaml"
    path.write_text(
        ENTRY
        + "    columns: {dtype: bfloat16, k: 64}\n    rename: {m: tokens}\n"
        + "    parts: [{name: ab, where: {layer: [a, b]}, columns: {n: 8}}, {where: {layer: c}, columns: {n: 9}}]\n"
    )
    (entry,) = sets._checked(path, folder).datasets
    first, second = sets._datasets(entry, folder)
    assert [(r["m"], r["n"], r["k"]) for r in first.rows] == [("1", "8", "64"), ("2", "8", "64"), ("3", "8", "64")]
    assert first.label == "mine ab" and second.label == "mine" and list(second.seconds) == [8e-6]


#: Files of whole runs, which modules of their own score: `measured.training`, `measured.traffic` and `kernelsteps`.
RUNS = {"training.csv", "training_kernels.csv", "training_encodes.csv"} | {
    f"{card}_llama31_8b_{what}.csv" for card in ("rtx4090", "rtxpro6000") for what in ("attention", "requests")
}


def test_every_file_of_the_ground_truth_is_listed():
    listed = {d.file for d in sets.datasets()}
    assert listed | RUNS == {p.name for p in sets.FOLDER.glob("*.csv")} and not listed & RUNS


def test_rows_of_the_ground_truth_are_positive():
    for d in sets.datasets():
        column = {"cycles": "cycles", "serving": "tokens_per_second", "tpot": "tpot_ms"}.get(d.kind, "us")
        assert (d.column(column) > 0).all(), d.label


def test_an_unknown_dataset_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="unknown dataset 'h100_gem'; did you mean h100_gemm"):
        sets.find("h100_gem")


def test_held_out_rows_are_whole_shapes_cells_channels_sizes_layers():
    """Counted from the files: a quarter of the GEMM shapes, a third of the rest; experts by layer or above 512."""
    shares = {"gemm": 1 / 4, "prefill": 1 / 3, "decode": 1 / 3, "conv_prefill": 1 / 3, "conv_decode": 1 / 3}
    shares["all_reduce"] = 1 / 3
    by = {"gemm": ("n", "k"), "prefill": ("batch", "tokens"), "decode": ("batch", "tokens"), "all_reduce": ("size",)}
    for d in sets.datasets():
        if d.kind in ("serving", "tpot"):  # fitted by leaving a model out
            continue
        if not d.fitted:
            assert all(d.held) and not d.fit_rows
        elif d.kind == "experts":
            for row, held in zip(d.rows, d.held, strict=True):
                bf16 = d.kernel == "bfloat16"
                assert held == (row["model"] == "nemotron3-nano" if bf16 else int(row["tokens"]) > 512)
        else:
            columns = by.get(d.kind, ("channels",))
            cells = {tuple(row[c] for c in columns): held for row, held in zip(d.rows, d.held, strict=True)}
            assert sum(cells.values()) == pytest.approx(shares[d.kind] * len(cells), abs=0.5)
            seen = {tuple(row[c] for c in columns) for row in d.fit_rows}
            assert seen.isdisjoint(cell for cell, held in cells.items() if held)


def test_a_held_out_column_that_is_not_there_is_told(folder):
    text = ENTRY + "    columns: {dtype: bfloat16}\n    held_out: {columns: [m, nn], values: [[1, 2]]}\n"
    assert refused(folder, text) == ["11:15: datasets.0.held_out: mine.csv has no column nn; did you mean n?"]
