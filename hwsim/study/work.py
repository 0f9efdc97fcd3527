"""Running a study: worker processes simulate points, and this process writes one line per point.

A point is finished when its line is on the disk, so that a kill loses only the points that are being simulated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwsim import __version__
from hwsim.arch import arch_config
from hwsim.errors import InputError, nearest
from hwsim.jobs.run import run_job
from hwsim.result import SCHEMA
from hwsim.study.executors import EXECUTORS
from hwsim.study.load import Point, Study
from hwsim.study.record import Record, read_points

POINTS, GRID = "points.jsonl", "study.json"

#: Points in the queue of each worker; a kill loses them, so there are few.
_QUEUED = 4


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of one run of a study.

    points: points of the grid. ran: simulated now. kept: finished earlier. failed: with errors.
    file: the JSON Lines. errors: (message, number of points), the most frequent first.
    """

    study: str
    points: int
    ran: int
    kept: int
    failed: int
    file: str
    errors: tuple[tuple[str, int], ...]


def run_study(
    study: Study,
    out: str | Path,
    workers: int | None = None,
    executor: Executor | str = "processes",
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Simulate the points of `study` that are not in the folder `out` yet.

    workers:  number of workers (None: one per core that this process may use). One worker process is this process.
    executor: a name of `study.executors`, or any `concurrent.futures.Executor`, on one machine or many.
    progress: called with (finished points, all points).
    raises:   InputError if `out` cannot be written or is in use, or if a worker dies.
    """
    if isinstance(executor, str) and executor not in EXECUTORS:
        raise InputError(f"executor: unknown {executor!r}{nearest(executor, EXECUTORS)}")
    folder, grid = Path(out), {point.key: point for point in study.points}
    with Record(folder / POINTS) as record:
        write_grid(study, folder / GRID)
        lines = read_points(folder / POINTS)
        kept = {key for key in grid if key in lines and _final(lines[key])}
        todo = [point for key, point in grid.items() if key not in kept]
        for done, line in enumerate(_lines(study.name, todo, workers, executor), 1):
            record.append(line)
            if progress:
                progress(len(kept) + done, len(grid))
    lines = read_points(folder / POINTS)
    errors: dict[str, int] = {}
    for key in grid:
        if lines[key]["error"]:
            message = lines[key]["error"]["message"]
            errors[message] = errors.get(message, 0) + 1
    return Summary(
        study=study.name,
        points=len(grid),
        ran=len(todo),
        kept=len(kept),
        failed=sum(errors.values()),
        file=str(folder / POINTS),
        errors=tuple(sorted(errors.items(), key=lambda item: -item[1])),
    )


def write_grid(study: Study, path: Path) -> None:
    """Write the axes of the study, and the keys of its points in grid order, for reports."""
    data = {
        "schema": SCHEMA,
        "name": study.name,
        "description": study.description,
        "source": study.source,
        "version": __version__,
        "axes": [asdict(axis) for axis in study.axes],
        "keys": [point.key for point in study.points],
    }
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def simulate_point(study: str, point: Point) -> str:
    """Simulate one point and return its line. A failure is recorded as `error` in the line, not raised."""
    line: dict[str, Any] = {"schema": SCHEMA, "study": study, "key": point.key, "point": point.settings, "error": None}
    if point.error is not None:
        line["error"] = {"kind": "InputError", "message": point.error}
        return json.dumps(line | {"config": None, "version": __version__}, separators=(",", ":"))
    arch, model, options = point.arch, point.model, point.options
    assert arch is not None and model is not None and options is not None, "a point without an error is resolved"
    try:
        result = run_job(arch, model, options).result().to_dict()
        del result["by_layer"]  # half of the line; by_op is kept, and `hwsim run --by layer` shows it
        line |= result
    except Exception as error:  # any failure concerns this point only; the other points run
        line["error"] = {"kind": type(error).__name__, "message": str(error)}
        line["config"] = options.config() | {"model": model.config(), "machine": arch_config(arch)}
        line["version"] = __version__
    return json.dumps(line, separators=(",", ":"))


def _final(line: dict[str, Any]) -> bool:
    """Whether running a point again would give the same line: it has a result, or an error in its input."""
    return line["error"] is None or line["error"]["kind"] == "InputError"


def _lines(name: str, todo: list[Point], workers: int | None, executor: Executor | str) -> Iterator[str]:
    """Lines of the points, in the order in which they finish."""
    if isinstance(executor, Executor):
        yield from _spread(executor, 2 * _QUEUED * (os.cpu_count() or 1), name, todo)
        return
    workers = min(workers or len(os.sched_getaffinity(0)), len(todo))
    if workers <= 1 and executor == "processes":
        yield from (simulate_point(name, point) for point in todo)
        return
    with EXECUTORS[executor](max(workers, 1)) as pool:
        yield from _spread(pool, _QUEUED * max(workers, 1), name, todo)


def _spread(executor: Executor, most: int, name: str, todo: Iterable[Point]) -> Iterator[str]:
    """Lines of the points, with at most `most` submitted at a time."""
    rest = iter(todo)
    submitted: set[Future[str]] = set()
    try:
        while True:
            for point in rest:
                submitted.add(executor.submit(simulate_point, name, point))
                if len(submitted) >= most:
                    break
            if not submitted:
                return
            done, submitted = wait(submitted, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process died, perhaps because memory ran out; the finished points are kept: "
            "run the same command again, with fewer --workers"
        ) from None
