"""The tables of a result: what a terminal shows is the JSON's rows, summed."""

import re

import hwsim
from hwsim.report.text import alike, layers_table
from hwsim.result import Row


def test_layers_of_equal_work_and_time_share_a_line():
    """By hand: equal work within 0.1 % of the first; another time, other bytes, or a name of its own is a line."""
    times = {"0": 100_000, "1": 100_100, "2": 100_101, "3": 99_900}
    rows = [Row(name, 7, cycles, 10, 20, "dram") for name, cycles in times.items()]
    rows += [Row("4", 7, 100_000, 11, 20, "dram"), Row("5 head", 7, 100_000, 10, 20, "dram")]
    rows.append(Row("6", 7, 100_000, 10, 20, "dot"))
    groups = [[row.name for row in group] for group in alike(rows)]
    assert groups == [["0", "1", "3"], ["2"], ["4"], ["5 head"], ["6"]]


def test_the_table_of_a_hybrid_has_few_lines_that_sum_to_the_run():
    """52 layers of three kinds: the pattern is the model file's; sums are those of the rows in the JSON."""
    result = hwsim.run("h200-sxm", "nemotron3-nano-30b-a3b", engine="walk")
    lines = layers_table(result.by_layer, result).splitlines()
    body = [re.split(r" {2,}", line.strip()) for line in lines[3:]]
    assert lines[0].startswith("Layers of the same work") and len(body) <= 7
    count, ops, cycles = ([int(row[i].replace(",", "").replace("-", "0")) for row in body] for i in (1, 2, 3))
    assert sum(count[:-1]) == count[-1] == 52
    assert sum(ops[:-1]) == ops[-1] == sum(row.ops for row in result.by_layer)
    assert sum(cycles[:-1]) == cycles[-1] == result.cycles
    experts = next(row for row in body if row[0].startswith("1, 3, 6"))
    assert experts[1] == "23"  # E in MEMEM*EMEMEM*... of the published pattern
    assert len(result.to_dict()["by_layer"]) == 53  # every layer, and what is outside of them
