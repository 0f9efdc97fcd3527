"""docs/adding.md (d): a measured dataset is one CSV and one entry of sets.yaml, scored by a command and on the page."""

import json

from tests.docs.addition import Copy, listed

ENTRY = """\
  - name: mine
    file: mine.csv
    source: my own bench
    licence: CC0-1.0
    what: two GEMMs in bf16
    machine: h100-sxm
    kind: gemm
    use: held_out
    goal: 10
    columns: {dtype: bfloat16}
    rename: {m: tokens}
"""

PAGE = """\
from hwsim.measured.page import dataset_table, held_out_table
from hwsim.measured.score import score_named
print(held_out_table(score_named("mine")), dataset_table(), sep="\\n")
"""


def test_a_dataset_is_a_csv_and_an_entry(tmp_path):
    copy = Copy(tmp_path)
    copy.new("hwsim/data/groundtruth/mine.csv", "tokens,n,k,us\n64,4096,4096,20\n64,4096,4096,40\n")
    copy.before("hwsim/measured/sets.yaml", "  - name: e2e_tpot", ENTRY.rstrip())
    assert copy.touched == listed("(d)")
    sizes = ("--m", "64", "--n", "4096", "--k", "4096", "--weights", "bf16")
    seconds = json.loads(copy.run("-m", "hwsim", "gemm", "h100-sxm", *sizes, "--json"))["seconds"]
    signed = [seconds / us * 1e6 - 1 for us in (20, 40)]
    mean, bias = 50 * sum(map(abs, signed)), 50 * sum(signed)
    found = copy.run("-m", "hwsim", "validate", "--only", "mine")
    assert found == f"mine: 2 rows, mean error {mean:.1f} %, bias {bias:+.1f} %\n"
    written = copy.run("-c", PAGE)
    assert f"| h100-sxm | mine | 2 | **{mean:.1f}** |" in written
    assert "| mine | h100-sxm | 2 | held out | two GEMMs in bf16 | my own bench | CC0-1.0 |" in written
