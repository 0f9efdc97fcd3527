"""Fit the shipped serving stacks: `make stacks` (`python -m hwsim.measured.stacks`) rewrites arch_configs/stacks/.

Each stack is fitted to the rows of datasets with `use: fitted` that name it; gpt-fast has rates only and is fitted to
those. `default` is not fitted: its error is that of all fitted rows under it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwsim.arch.stack import DEFAULT, load_stack, stack_folder
from hwsim.files.whole import write_whole
from hwsim.measured.served import Measured, Progress, Software, by_model, fit, left_out, mean, predict_all
from hwsim.measured.sets import Dataset, datasets

FITTED_TO_RATES = "gpt-fast"


def rows_of_stacks(rows: Sequence[Measured], fitted: Mapping[str, bool]) -> dict[str, list[Measured]]:
    """The rows that each stack is fitted to. fitted: whether a dataset is."""
    found: dict[str, list[Measured]] = {}
    for row in rows:
        if fitted[row.dataset] or row.stack == FITTED_TO_RATES:
            found.setdefault(row.stack, []).append(row)
    return found


def rewritten(text: str, software: Software, fit_text: str) -> str:
    """A stack's file with other numbers; everything else stays, comments too."""
    new = {"step": f"{1e3 * software.step:g} ms", "sequence": f"{1e6 * software.sequence:g} us", "fit": fit_text}
    for key, value in new.items():
        line = rf"^{key}:[^#\n]*?(?=\s*#|\s*$)"
        if not re.search(line, text, re.MULTILINE):
            text = re.sub(r"^source:", f"{key}:\nsource:", text, flags=re.MULTILINE)
        text = re.sub(line, f"{key}: {value}", text, flags=re.MULTILINE)
    return text


def fit_text(rows: Sequence[Measured], software: Software, others: Sequence[float]) -> str:
    """The entry `fit` of a stack's file."""
    inside = mean([float(row.errors(software.step, software.sequence)) for row in rows])
    out = f", left_out: {mean(others):.1f}" if len(others) else ""
    return f"{{rows: {len(rows)}, models: {len(by_model(rows))}, in_fit: {inside:.1f}{out}}}"


def of_stack(dataset: Dataset, name: str) -> Dataset:
    """The rows of one stack."""
    return replace(dataset, rows=tuple(row for row in dataset.rows if row["stack"] == name))


def with_stack(dataset: Dataset, name: str) -> Dataset:
    """The dataset as if every row had been served by the stack of that name."""
    return replace(dataset, rows=tuple({**row, "stack": name} for row in dataset.rows))


def main(progress: Progress = lambda name: print(f"  {name}", file=sys.stderr)) -> None:
    """Fit every stack and rewrite its file."""
    whole = [d for d in datasets() if d.kind in ("serving", "tpot")]
    rows = predict_all(
        [mine for d in whole if (mine := d if d.fitted else of_stack(d, FITTED_TO_RATES)).rows], progress
    )
    texts: dict[str, str] = {}
    for name, found in rows_of_stacks(rows, {d.name: d.fitted for d in whole}).items():
        software = fit(found)
        others = [error for _, error in left_out(found)]
        path = stack_folder() / f"{name}.yaml"
        texts[name] = rewritten(path.read_text(encoding="utf-8"), software, fit_text(found, software, others))
    under = predict_all([with_stack(d, DEFAULT) for d in whole if d.fitted], progress)
    error = f"{mean([row.error for row in under]):.1f}"
    summary = f"{{rows: {len(under)}, models: {len(by_model(under))}, in_fit: {error}, left_out: {error}}}"
    path = stack_folder() / f"{DEFAULT}.yaml"
    stack = load_stack(DEFAULT)
    numbers = Software(stack.step_seconds, stack.sequence_seconds)
    texts[DEFAULT] = rewritten(path.read_text(encoding="utf-8"), numbers, summary)
    for name, text in texts.items():
        write_whole(stack_folder() / f"{name}.yaml", text)
        line = re.search("^fit: (.*)$", text, re.MULTILINE)
        assert line is not None  # every text has just been given its `fit:`
        print(f"{name}: {line[1]}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
