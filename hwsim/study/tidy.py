"""The results of a study as one table, one row per point, for DuckDB, pandas or polars: CSV or Parquet."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.extras import missing
from hwsim.files.whole import check_writable, write_whole
from hwsim.result import KNOWN, limits_text
from hwsim.study.grid import Axis, Grid
from hwsim.study.loads import LOAD_METRICS, under_load
from hwsim.study.metrics import METRICS, Line, fits
from hwsim.study.trained import TRAIN_METRICS, trained

#: Kinds of file, by the end of the name.
KINDS = (".csv", ".parquet")

Row = dict[str, str | float | int | bool | None]


def column(axis: Axis) -> str:
    """The name of an axis as a column: its path with `_` for `.`, and the unit if all values are quantities.

    `machine.dram.bandwidth` is `machine_dram_bandwidth_bytes_per_second`.
    """
    words = {"B": "bytes", "b": "bits", "MAC": "macs", "cycle": "cycles", "s": "seconds", "Hz": "hertz",
             "W": "watts", "J": "joules"}  # fmt: skip
    name = axis.path.replace(".", "_")
    if not axis.dimension:
        return name
    over, slash, under = axis.dimension.partition("/")
    unit = words.get(over, f"{over}s" if slash else over)
    singular = {"s": "second", "cycle": "cycle", "B": "byte"}
    return f"{name}_{unit}" + (f"_per_{singular.get(under, under)}" if slash else "")


def _cell(axis: Axis, i: int) -> str | float | int:
    """A value of an axis: a number in the base unit, the number itself, or text as `hwsim run` takes it."""
    value, numbers = axis.values[i], axis.numbers
    if numbers is not None:
        return value if isinstance(value, int) else numbers[i]
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items())
    return str(value)


def rows(grid: Grid) -> Iterator[Row]:
    """One row per point that has a result, an error or a predicted value, in grid order; the columns are the same.

    status: "simulated", "predicted" (only the predicted metrics have values) or "failed" (`error` says why).
    """
    metrics = LOAD_METRICS if under_load(grid) else (*METRICS, *TRAIN_METRICS) if trained(grid) else METRICS
    by_choice: dict[tuple[int, ...], tuple[str, Any]] = {c: ("simulated", line) for c, line in grid.lines.items()}
    by_choice |= {c: ("failed", line) for c, line in grid.failed.items()}
    by_choice |= {c: ("predicted", values) for c, values in grid.predicted.items()}
    for choice in sorted(by_choice):
        status, found = by_choice[choice]
        row: Row = {column(axis): _cell(axis, i) for axis, i in zip(grid.axes, choice, strict=True)}
        row["status"] = status
        line: Line | None = found if status == "simulated" else None
        values = found if status == "predicted" else {}
        row |= {m.name: _number(m.of(line)) if line else values.get(m.name) for m in metrics}
        row["limited_by"] = line["limited_by"] if line else None
        row["op_limits"] = limits_text(line.get("limits") or {}) or None if line else None
        row["fits"] = fits(line) if line else None
        row |= {f"{mark}_share": _number(line["provenance"].get(mark, 0.0)) if line else None for mark in KNOWN}
        row["notes"] = "; ".join(line["notes"]) if line else None
        row["error"] = found["error"]["message"] if status == "failed" else None
        row["key"] = found["key"] if status != "predicted" else None
        yield row


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def check_table(path: Path) -> None:
    """Refuse a table that cannot be written. raises: InputError; InputError without pyarrow for Parquet."""
    if path.suffix not in KINDS:
        hint = nearest(path.suffix, KINDS) if path.suffix else ""
        raise InputError(f"--table: {path} ends in neither {' nor '.join(KINDS)}{hint if 'did you' in hint else ''}")
    check_writable(path)
    if path.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise missing("tables in Parquet", "pyarrow", "table") from None


def write_table(grid: Grid, path: Path) -> int:
    """Write the table; return its number of rows. raises: InputError, InputError."""
    check_table(path)
    table = list(rows(grid))
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: str(v).lower() if isinstance(v, bool) else v for k, v in row.items()} for row in table)
        write_whole(path, text.getvalue())
    else:
        _write_parquet(table, path)
    return len(table)


def _write_parquet(table: list[Row], path: Path) -> None:
    """Columns without any value keep their type, so that files of several studies can be read as one."""
    import pyarrow as pa
    from pyarrow import parquet

    numbers = {m.name for m in (*METRICS, *LOAD_METRICS, *TRAIN_METRICS)} | {f"{mark}_share" for mark in KNOWN}
    types = {"fits": pa.bool_()} | dict.fromkeys(numbers, pa.float64())
    texts = dict.fromkeys(("status", "limited_by", "op_limits", "notes", "error", "key"), pa.string())
    columns = {name: pa.array([row[name] for row in table], (types | texts).get(name)) for name in table[0]}
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        parquet.write_table(pa.table(columns), file)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
