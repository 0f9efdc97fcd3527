"""`hwsim train` of graphs: rows of tables, their gradients and row-wise Adagrad, memory, and what is printed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import hwsim
from hwsim.jobs.train import checked_train
from hwsim.jobs.training.account import as_result
from hwsim.jobs.training.tables import distinct, gradient, memory, touched, update
from hwsim.workload.training.block import Bag

DLRM_ROWS = 204_184_588  # facebookresearch/dlrm, torchrec_dlrm: 26 tables


def bag(**changes) -> Bag:
    given = {"rows": (1000, 50), "hot": (3, 1), "width": 16, "distribution": "uniform", "samples": 64}
    return Bag("tables", 0, **(given | changes))


# -- how many rows ---------------------------------------------------------------------------------------


def test_distinct_rows_of_even_draws():
    """n draws of R rows name R (1 - (1 - 1/R)^n) of them."""
    for rows, draws in ((1000, 192), (50, 64), (3, 10), (1, 5)):
        assert distinct(rows, draws, "uniform") == pytest.approx(rows * (1 - (1 - 1 / rows) ** draws), rel=1e-12)
    assert distinct(1000, 30, "sequential") == 30


@pytest.mark.parametrize("draws", [10, 1000, 100_000])
def test_distinct_rows_by_popularity(draws):
    """The sum over ranks r of 1 - (1 - p)^n, p as 1 / r^1.1; ranks beyond 64 are taken together, which costs 0.5 %."""
    weights = [rank**-1.1 for rank in range(1, 5001)]
    whole = sum(weights)
    exact = sum(1 - (1 - w / whole) ** draws for w in weights)
    assert distinct(5000, draws, "zipf(1.1)") == pytest.approx(exact, rel=5e-3)


def test_chips_that_divide_tables_read_for_all():
    """Whole tables over 8 chips: each sees the indices of all chips, and an eighth of the rows that they name."""
    whole = 1000 * (1 - 0.999 ** (8 * 64 * 3)) + 50 * (1 - 0.98 ** (8 * 64))
    assert touched(bag(chips=8)) == round(whole / 8)
    assert bag(chips=8).indices == bag().indices == 64 * 4


# -- bytes -----------------------------------------------------------------------------------------------


def test_gradient_of_a_bag():
    """A gradient row per index is read, and one per row that was read is written, in FP32."""
    sort, sums = (work.op for work in gradient(bag()))
    rows = touched(bag())
    assert rows == round(1000 * (1 - 0.999**192) + 50 * (1 - 0.98**64))
    assert (sort.sorting.lists, sort.sorting.keys, 2 * sort.inputs) == (1, 256, 8 * 256)
    assert 2 * sums.inputs == 256 * 16 * 2
    assert 2 * sums.outputs == rows * 16 * 4
    assert sums.vector == 256 * 16  # one addition per element
    assert (sums.irregular.rows, sums.irregular.of) == (256, 64 * 2)


def test_row_wise_adagrad_moves_three_rows_and_its_state():
    """Gradient and row read, row written: 3 rows of FP32; one FP32 number per row read and written."""
    rows = touched(bag())
    weights, state = (work.op for work in update(bag(), 1))
    moved = 2 * weights.inputs + 4 * weights.irregular.rows * weights.irregular.row
    assert moved == 3 * rows * 16 * 4
    assert 4 * state.irregular.rows * state.irregular.row == 2 * rows * 4


def test_several_micro_batches():
    """Each leaves its gradient; the rows of the whole step are updated once."""
    weights, _ = (work.op for work in update(bag(), 4))
    assert 2 * weights.inputs == 4 * touched(bag()) * 64
    assert weights.irregular.rows == 2 * round(1000 * (1 - 0.999**768) + 50 * (1 - 0.98**256))
    assert memory(bag(), 4)[1] == 4 * touched(bag()) * 64


def test_simulated_bytes_of_the_update():
    """What the simulator moves of the rows on a machine without a cache of rows."""
    job = checked_train("edge-mx", "dlrm-v1", batch=256, micro_batch=256)
    works = [w for w in job.once[0] if w.op.kind == "embedding"]
    (one,) = [b for block in job.blocks.values() for b in block.bags]
    moved = [job.prices.parts(work)[0][0].moved.weights for work in works]
    assert moved == [2 * touched(one) * 128 * 4, 2 * touched(one) * 4]


# -- memory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chips", [1, 8])
def test_memory_of_dlrm(chips):
    """104.54 GB of tables in FP32 and 4 bytes of state per row, divided; 18 or 6 + 12/8 bytes per other weight."""
    parallel = f"dp={chips},ep={chips}"
    found = checked_train("b200", "dlrm-v2", batch=1024 * chips, micro_batch=1024, parallel=parallel).memory()
    others = hwsim.load_model("dlrm-v2").total - DLRM_ROWS * 128
    rows = -(-DLRM_ROWS // chips)
    assert DLRM_ROWS * 128 * 4 == pytest.approx(104.54e9, rel=1e-4)
    assert found.weights == rows * 128 * 4 + 2 * others
    assert found.optimiser == pytest.approx(rows * 4 + 12 * others / chips, abs=8)


# -- the step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model,batch,parallel",
    [
        ("dlrm-v2", 65_536, "dp=8,ep=8"),
        ("resnet50", 512, "dp=2"),
        ("dgcnn", 32, None),
        ("vit-b16", 64, None),
        ("diffpool-dd", 32, None),
    ],
)
def test_parts_sum_to_the_step(model, batch, parallel):
    chips = 8 if model == "dlrm-v2" else 2 if parallel else 1
    job = checked_train("h100-sxm", model, batch=batch, micro_batch=batch // chips, parallel=parallel)
    result = job.trained()
    parts = sum(s for _, _, s in result.spent)
    assert parts + result.exposed_seconds + result.idle_seconds == pytest.approx(result.seconds)
    assert result.bound_seconds <= result.seconds
    assert result.tokens_per_second_per_chip == pytest.approx(batch / result.seconds / chips)
    assert result.unit == "sample" and "context" not in result.config
    line = as_result(job)
    assert sum(row.cycles for row in line.by_op) == line.cycles


def test_replicas_reduce_the_gradients_of_other_weights():
    """Data parallel: the links carry gradients of all weights but the tables', which no other chip holds."""
    alone, two = (
        checked_train("h100-sxm", "resnet50", batch=64 * n, micro_batch=64, parallel=f"dp={n}").trained()
        for n in (1, 2)
    )
    assert alone.exposed_seconds == 0 < two.exposed_seconds


def test_recompute_repeats_layers():
    plain, full = (
        checked_train("h100-sxm", "resnet50", batch=64, micro_batch=64, recompute=r).trained() for r in ("none", "full")
    )
    assert full.memory.activations < plain.memory.activations
    assert full.seconds > plain.seconds


def test_encodes_of_a_graph():
    """A recipe's encodes are priced as those of a language model; without any in 16 bits."""
    wide, narrow = (
        checked_train("b200", "vit-b16", batch=64, micro_batch=64, recipe=r).trained().by_when()
        for r in ("bf16", "mxfp8")
    )
    assert "encode" not in wide and narrow["encode"] > 0


def test_command_line():
    words = ["train", "h100-sxm", "--model", "dlrm-v2", "--batch", "4096", "--micro-batch", "512"]
    words += ["--parallel", "dp=8,ep=8"]
    done = subprocess.run([sys.executable, "-m", "hwsim", *words], capture_output=True, text=True, check=True)
    assert "samples/s" in done.stdout and "per sample" in done.stdout and "row-wise Adagrad" in done.stdout
    found = subprocess.run(
        [sys.executable, "-m", "hwsim", *words, "--json"], capture_output=True, text=True, check=True
    )
    result = hwsim.train("h100-sxm", "dlrm-v2", 4096, micro_batch=512, parallel="dp=8,ep=8")
    assert json.loads(found.stdout) == json.loads(json.dumps(result.to_dict()))
