"""Running a study: worker processes simulate points, and this process writes one line per point.

A point is finished when its line is on the disk, so that a kill loses only the points that are being simulated.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwsim import __version__
from hwsim.arch import Arch, arch_config
from hwsim.arguments import typed
from hwsim.errors import InputError, nearest
from hwsim.jobs.options import Job, RunOptions
from hwsim.jobs.run import run_job
from hwsim.jobs.serving.job import serve_point
from hwsim.jobs.serving.options import ServeOptions
from hwsim.jobs.tile import TileJob
from hwsim.jobs.training.account import as_line
from hwsim.jobs.training.job import TrainJob
from hwsim.jobs.training.options import TrainOptions
from hwsim.result import SCHEMA, known_text
from hwsim.study.executors import EXECUTORS, fewer_collections
from hwsim.study.load import load_study
from hwsim.study.metrics import fits
from hwsim.study.points import Point, Study
from hwsim.study.record import Record
from hwsim.workload.op import Workload

POINTS, GRID = "points.jsonl", "study.json"

#: Tasks in the queue of each worker, and points in a task; a kill loses them, so there are few.
_QUEUED, _TOGETHER = 3, 2
_CLOSED = 50  # points per task where none is simulated

#: From so many points per worker on, all but the first few are walked by compiled code (`hwsim.sim.compiled`), whose
#: time and memory to load, and gain per point, `make bench` measures (docs/validation.md).
COMPILED, PLAIN_FIRST = 500, 20
_BEST = 3  # points that a summary names
_COMPARED = 100  # points that are as fast, of which the cheapest is named


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of one run of a study.

    points: points of the grid. ran: simulated now. kept: finished earlier. failed: with errors.
    file: the JSON Lines. errors: (message, number of points), the most frequent first.
    best: (tokens per second, or samples of a graph, settings) of the fastest points that fit in memory (of the
          fastest, where none fits); unit: which of the two. Of points that are as fast, the one with the least area,
          energy and memory, in this order; alike: how many more there are.
    known: how the times of each of the fastest are known, in words: `ideal`, `96 % measured, 4 % ideal`.
    """

    study: str
    points: int
    ran: int
    kept: int
    failed: int
    file: str
    errors: tuple[tuple[str, int], ...]
    best: tuple[tuple[float, dict[str, Any]], ...] = ()
    unit: str = "tokens"
    alike: tuple[int, ...] = ()
    known: tuple[str, ...] = ()


@typed
def run_study(
    study: Study | str | Path,
    out: str | Path,
    workers: int | None = None,
    executor: Executor | str = "processes",
    progress: Callable[[int, int], None] | None = None,
    shard: tuple[int, int] | None = None,
) -> Summary:
    """Simulate the points of `study` that are not in the folder `out` yet.

    study:    what `load_study` returned, the name of a shipped study, or the path of a YAML file.
    workers:  number of workers (None: one per core that this process may use). One worker process is this process.
    executor: a name of `study.executors`, or any `concurrent.futures.Executor`, on one machine or many.
    progress: called with (finished points, all points).
    shard:    (I, N): only every N-th point, beginning with the I-th (from 1), into a file of its own that
              `shards.merge` reads; shards may run at the same time on machines that share the folder.
    raises:   InputError if `out` cannot be written or is in use, or if a worker dies.
    """
    if not isinstance(study, Study):
        study = load_study(study)
    nodes, file = range(len(study.points)), POINTS
    if shard:
        nodes, file = nodes[shard[0] - 1 :: shard[1]], shard_file(*shard)
    with Session(study, Path(out), workers, executor, file) as session:
        kept, done = 0, 0
        for node in session.simulate(nodes):
            done += 1
            kept += node.kept
            if progress:
                progress(done, len(nodes))
    return session.summary(done - kept, kept)


def _price(line: Mapping[str, Any]) -> tuple[float, ...]:
    """Area, energy and memory of a point, what is not known behind what is."""
    found = line.get("area_mm2"), line.get("energy_joules"), (line.get("memory") or {}).get("total")
    return tuple(float("inf") if value is None else value for value in found)


def shard_file(part: int, parts: int) -> str:
    """Name of the file of a shard, `points.2-of-8.jsonl`."""
    return f"points.{part}-of-{parts}.jsonl"


@dataclass(frozen=True, slots=True)
class Done:
    """One point that is on the disk. kept: it was there before."""

    node: int
    key: str
    kept: bool


class Session:
    """The folder of a study, while one process fills it. raises: InputError as `run_study`.

    keys: of the points that were looked at, by their place in grid order.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        workers: int | None = None,
        executor: Executor | str = "processes",
        file: str = POINTS,
    ):
        if isinstance(executor, str) and executor not in EXECUTORS:
            raise InputError(f"executor: unknown {executor!r}{nearest(executor, EXECUTORS)}")
        self.study, self.folder, self.workers, self.executor, self.file = study, folder, workers, executor, file
        self.keys: dict[int, str] = {}

    def __enter__(self) -> Session:
        self.record = Record(self.folder / self.file)
        if self.file == POINTS:
            write_grid(self.study, {}, self.folder / GRID)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.file == POINTS:
                write_grid(self.study, self.keys, self.folder / GRID)
        finally:
            self.record.close()

    def simulate(self, nodes: Sequence[int]) -> Iterator[Done]:
        """Simulate the points that have no line yet; each is on the disk when it is yielded."""
        for node, key, line in _spread(self.study, nodes, self.record, self.workers, self.executor):
            self.keys[node] = key
            new = line is not None and key not in self.record
            if line is not None and new:
                self.record.append(line)
            yield Done(node, key, not new)

    def _unit(self) -> str:
        """What the first points with a model make; a study of language models and graphs has both, and says tokens."""
        models = {point.model.unit for point in self.study.points[:_QUEUED] if point.model}
        return f"{models.pop()}s" if len(models) == 1 else "tokens"

    def closed(self) -> list[tuple[float, int | None] | None]:
        """Per point (least seconds by its roofline, tokens of its step), without a simulation; None where unknown."""
        nodes = range(len(self.study.points))
        tasks = [nodes[i : i + _CLOSED] for i in range(0, len(nodes), _CLOSED)]
        workers = max(1, min(self.workers or len(os.sched_getaffinity(0)), len(tasks)))
        if isinstance(self.executor, Executor):
            parts = list(self.executor.map(closed_forms, itertools.repeat(self.study), tasks))
        elif workers == 1 and self.executor == "processes":
            parts = [closed_forms(self.study, nodes)]
        else:
            with EXECUTORS[self.executor](workers) as pool:
                parts = list(pool.map(closed_forms, itertools.repeat(self.study), tasks))
        return [found for part in parts for found in part]

    def line(self, node: int) -> dict[str, Any]:
        """The line of a point that was simulated."""
        return self.record.line(self.keys[node])

    def _fastest(self, speeds: Mapping[str, float]) -> list[tuple[str, int]]:
        """(key, how many more are as fast) of the fastest points that fit in memory; of the fastest if none does."""
        order = sorted((key for key in self.keys.values() if key in speeds), key=speeds.__getitem__, reverse=True)
        found: list[tuple[str, int]] = []
        for fitting in (True, False):
            for _, group in itertools.groupby(order, speeds.__getitem__):
                alike = list(dict.fromkeys(group))
                lines = ((key, self.record.line(key)) for key in alike[:_COMPARED])
                some = [
                    (_price(line), place, key) for place, (key, line) in enumerate(lines) if fits(line) or not fitting
                ]
                if some:
                    found.append((min(some)[2], len(some) - 1 + len(alike[_COMPARED:])))
                if len(found) == _BEST:
                    return found
            if found:
                break
        return found

    def summary(self, ran: int, kept: int) -> Summary:
        """What happened, for all points that were looked at."""
        found = [self.record.errors[key] for key in self.keys.values() if key in self.record.errors]
        speeds = self.record.speeds
        fast = self._fastest(speeds)
        return Summary(
            study=self.study.name,
            points=len(self.study.points),
            ran=ran,
            kept=kept,
            failed=len(found),
            file=str(self.folder / self.file),
            errors=tuple(Counter(found).most_common()),
            best=tuple((speeds[key], self.record.line(key)["point"]) for key, _ in fast),
            unit=self._unit(),
            alike=tuple(more for _, more in fast),
            known=tuple(known_text(self.record.line(key).get("provenance") or {}) for key, _ in fast),
        )


def write_grid(study: Study, keys: Mapping[int, str], path: Path) -> None:
    """Write the axes of the study, and the keys of its points in grid order, for reports; null: not looked at yet."""
    data = {
        "schema": SCHEMA,
        "name": study.name,
        "description": study.description,
        "source": study.source,
        "version": __version__,
        "axes": [asdict(axis) for axis in study.axes],
        "keys": [keys.get(node) for node in range(len(study.points))] if keys else None,
    }
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def point_job(
    arch: Arch, model: Workload, options: RunOptions | TrainOptions, compiled: bool = False
) -> Job | TrainJob:
    """The job of a point; compiled: with compiled code, where that exists. raises: InputError."""
    if isinstance(options, TrainOptions):
        return TrainJob.of(arch, model, options)
    job = run_job(arch, model, options)
    if compiled and isinstance(job, TileJob) and not job.arch.cores:
        from hwsim.sim.compiled import compiled as simulator

        job.simulator = simulator
    return job


def simulate_point(study: str, point: Point, compiled: bool = False) -> str:
    """Simulate one point and return its line. A failure is recorded as `error` in the line, not raised."""
    line: dict[str, Any] = {"schema": SCHEMA, "study": study, "key": point.key, "point": point.settings, "error": None}
    if point.error is not None:
        line["error"] = {"kind": "InputError", "message": point.error}
        return json.dumps(line | {"config": None, "version": __version__}, separators=(",", ":"))
    arch, model, options = point.arch, point.model, point.options
    assert arch is not None and model is not None and options is not None, "a point without an error is resolved"
    try:
        if isinstance(options, ServeOptions):
            result = serve_point(arch, model, options)
        else:
            job = point_job(arch, model, options, compiled)
            if isinstance(job, TrainJob):
                result = as_line(job)
            else:
                if isinstance(job, TileJob):
                    job.layers = False
                result = job.result().to_dict()
            del result["by_layer"]  # half of the line; by_op is kept, and `hwsim run --by layer` shows it
        line |= result
    except Exception as error:  # any failure concerns this point only; the other points run
        line["error"] = {"kind": type(error).__name__, "message": str(error)}
        line["config"] = options.config() | {"model": model.config(), "machine": arch_config(arch)}
        line["version"] = __version__
    return json.dumps(line, separators=(",", ":"))


Found = tuple[int, str, str | None]
"""(place in grid order, key, line), without a line where the key was known."""

_studies: dict[str, Study] = {}


def simulate_points(study: Study, nodes: Sequence[int], known: frozenset[str], compiled: bool = False) -> list[Found]:
    """Resolve some points of a study, and simulate those whose keys are not known; for workers."""
    study = _studies.setdefault(study.digest, study)  # the one of an earlier call has resolved its neighbours
    found: list[Found] = []
    for node in nodes:
        point = study.points[node]
        found.append((node, point.key, None if point.key in known else simulate_point(study.name, point, compiled)))
    return found


def closed_forms(study: Study, nodes: Sequence[int]) -> list[tuple[float, int | None] | None]:
    """(least seconds, tokens) of some points; None for a point with an error, or whose machine has no roofline."""
    study = _studies.setdefault(study.digest, study)
    found: list[tuple[float, int | None] | None] = []
    for node in nodes:
        point = study.points[node]
        if point.arch is None or point.model is None or point.options is None:
            found.append(None)
            continue
        if isinstance(point.options, ServeOptions):
            found.append(None)
            continue
        try:
            job = point_job(point.arch, point.model, point.options)
        except InputError:
            found.append(None)
            continue
        if isinstance(job, TileJob):
            found.append((job.arch.seconds(job.bound.roofline_cycles), job.tokens))
        else:
            found.append(None)
    return found


def _spread(
    study: Study, nodes: Sequence[int], record: Record, workers: int | None, executor: Executor | str
) -> Iterator[Found]:
    """The points, in the order in which they finish. Few are submitted at a time, and few wait for their neighbours."""
    if isinstance(executor, Executor):
        yield from _submitted(executor, 2 * _QUEUED * (os.cpu_count() or 1), study, nodes, record)
        return
    workers = max(1, min(workers or len(os.sched_getaffinity(0)), len(nodes)))
    plain = PLAIN_FIRST * workers if len(nodes) - record.finished >= COMPILED * workers else len(nodes)
    if workers == 1 and executor == "processes":
        with fewer_collections():
            for number, node in enumerate(nodes):
                yield from simulate_points(study, [node], record.known(study.settings(node)), number >= plain)
        return
    with EXECUTORS[executor](workers) as pool:
        yield from _submitted(pool, _QUEUED * workers, study, nodes, record, plain)


def _submitted(
    executor: Executor, most: int, study: Study, nodes: Sequence[int], record: Record, plain: int | None = None
) -> Iterator[Found]:
    """With at most `most` tasks submitted at a time. plain: so many points come before compiled code (None: all)."""
    rest, begun = iter(nodes), 0
    submitted: set[Future[list[Found]]] = set()
    try:
        while True:
            while len(submitted) < most and (some := list(itertools.islice(rest, _TOGETHER))):
                known = frozenset().union(*(record.known(study.settings(node)) for node in some))
                compiled, begun = plain is not None and begun >= plain, begun + len(some)
                submitted.add(executor.submit(simulate_points, study, some, known, compiled))
            if not submitted:
                return
            done, submitted = wait(submitted, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process died, perhaps because memory ran out; the finished points are kept: "
            "run the same command again, with fewer --workers"
        ) from None
