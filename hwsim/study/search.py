"""`hwsim search`: the best points of a space that is too large to simulate, by Optuna's samplers.

Every trial is a point of a study: its line goes to `points.jsonl` before Optuna is told, and Optuna's journal, plain
JSON Lines, holds the trials. A search that was killed goes on: trials without an end are counted as failed, and a point
that has a line is never simulated again.
"""

from __future__ import annotations

import json
import operator
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim import __version__
from hwsim.errors import InputError, collect, nearest
from hwsim.extras import missing
from hwsim.files.whole import write_whole
from hwsim.quantities import EXAMPLES, quantity
from hwsim.result import SCHEMA
from hwsim.study.digest import code_digest
from hwsim.study.executors import EXECUTORS
from hwsim.study.points import Study
from hwsim.study.record import Record
from hwsim.study.space import Range, Space
from hwsim.study.work import GRID, POINTS, simulate_points

JOURNAL = "search.journal"
SAMPLERS = ("tpe", "nsga2", "random")
SHORT = {"area": "area_mm2", "energy": "energy_joules", "time": "seconds"}
"""Short names of metrics; every other one is a dotted path in a result, as in `--json`, or a setting, as in `grid:`."""
COSTS = {"area_mm2": "area", "energy_joules": "energy"}
"""Metrics that are sums of terms, and where in `cost` their terms are."""
MEANT = {
    "speed": "tokens_per_second", "throughput": "tokens_per_second", "rate": "tokens_per_second", "latency": "seconds",
}  # fmt: skip
"""What some words for objectives mean, to suggest it."""
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_TEST = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(?:(<=|>=|<|>)\s*([-+]?\d.*?))?\s*")

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limit:
    """A condition of `--subject-to`: a metric that must be true, or be on one side of a bound."""

    metric: str
    test: str | None = None
    bound: float = 0.0

    @classmethod
    def of(cls, text: str) -> Limit:
        """`memory.fits`, `seconds <= 0.01` or `seconds <= 10 ms`. raises: InputError."""
        found = _TEST.fullmatch(text)
        if not found:
            raise InputError(f"--subject-to: {text!r}: write a metric, or a metric and a bound: 'seconds <= 0.01'")
        name = SHORT.get(found[1], found[1])
        problems: list[str] = []
        with collect(problems, f"--subject-to: {text!r}: "):
            return cls(name, found[2], _bound(name, found[3]) if found[3] else 0.0)
        raise InputError(*problems)

    def __str__(self) -> str:
        return f"{self.metric} {self.test} {self.bound:.12g}" if self.test else self.metric

    def excess(self, line: Line) -> float:
        """How far a point is beyond the bound; 0 or less where it holds. raises: InputError."""
        value = metric(line, self.metric)
        if self.test is None:
            return 0.0 if value else 1.0
        if _TESTS[self.test](value, self.bound):
            return 0.0
        return abs(float(value) - self.bound) or 1e-9


#: Units that a bound may have, by what the metric is called.
_UNITS = (
    (re.compile(r"machine\..*"), tuple(EXAMPLES)),
    (re.compile(r"(.*_)?seconds|time_.*|(ttft|tpot|itl|e2e)(\..*)?"), ("s",)),
    (re.compile(r"(.*_)?bytes(\..*)?|memory\..*"), ("B",)),
    (re.compile(r"energy_joules.*"), ("J",)),
)


def _bound(name: str, text: str) -> float:
    """A bound in base units: a plain number, or a quantity of the metric's unit. raises: InputError."""
    with suppress(ValueError):
        return float(text)
    units = next((units for named, units in _UNITS if named.fullmatch(name)), ())
    if not units:
        raise InputError(f"{name} has no unit here; write a plain number, for example '{name} <= 0.01'")
    return float(quantity(text, *units, zero=True).value)


@dataclass(frozen=True, slots=True)
class Goal:
    """What is best. objectives: (metric, whether more is better). limits: all must hold."""

    objectives: tuple[tuple[str, bool], ...]
    limits: tuple[Limit, ...] = ()

    @classmethod
    def of(cls, maximize: str = "", minimize: str = "", subject_to: Sequence[str] = ()) -> Goal:
        """From the command line, metrics separated by commas. raises: InputError with every error found."""
        found = [
            (SHORT.get(name.strip(), name.strip()), more)
            for text, more in ((maximize, True), (minimize, False))
            for name in text.split(",")
            if name.strip()
        ]
        if not found:
            raise InputError("search: write what is best, for example --maximize tokens_per_second --minimize energy")
        if len({name for name, _ in found}) < len(found):
            raise InputError("search: a metric is asked for twice")
        return cls(tuple(found), tuple(map(Limit.of, subject_to)))

    def values(self, line: Line) -> list[float]:
        """The objectives of a point. raises: InputError for a metric that it does not have."""
        return [float(metric(line, name)) for name, _ in self.objectives]

    def lacking(self, lines: Sequence[Line]) -> dict[str, list[str]]:
        """Of each objective that is a sum, the terms that some of these points have no figure for, if there are any."""
        found = {
            name: sorted({term["name"] for line in lines for term in _terms(line, name) if term["value"] is None})
            for name, _ in self.objectives
            if name in COSTS
        }
        return {name: terms for name, terms in found.items() if terms}

    def front(self, lines: Sequence[Line]) -> list[Line]:
        """The points that keep the limits and that no other one beats in every objective, in the order given."""
        good = [line for line in lines if not line["error"] and all(limit.excess(line) <= 0 for limit in self.limits)]
        signs = [-1 if more else 1 for _, more in self.objectives]
        costs = [[s * v for s, v in zip(signs, self.values(line), strict=True)] for line in good]
        return [
            line
            for line, cost in zip(good, costs, strict=True)
            if not any(all(a <= b for a, b in zip(other, cost, strict=True)) and other != cost for other in costs)
        ]


def metric(line: Line, path: str) -> Any:
    """A number, or true or false, of a point: of its result by the dotted path, or a setting of the machine or the run.

    A setting is a path as in `grid:`, `machine.dram.bandwidth`; a quantity counts in base units, B/s. Energy and area
    without the figures of some terms are the sum of the others (`Goal.lacking` names them), but a term that decides,
    the memory's energy or a dot array's area, must be known.
    raises: InputError where the point has no such number; it names the terms that have no figure.
    """
    value = _at(line, path)
    if value is None:
        config = line.get("config") or {}
        within = config if path.startswith("machine.") else config | line.get("point", {})
        value = _at(within, path.removeprefix("run."))
        if value is None and path in line.get("point", {}):
            value = line["point"][path]
        with suppress(InputError):
            value = float(quantity(value, *EXAMPLES, zero=True).value) if isinstance(value, str) else value
    if value is None and path in COSTS and path in line:
        return _known(line, path)
    if value is None and "." not in path and path in line:
        raise InputError(f"search: {path} is not known on {line['machine']}")
    if value is None:
        raise InputError(f"search: a result has no metric {path}{_suggested(line, path)}")
    if not isinstance(value, (int, float)):
        raise InputError(f"search: {path} is no number")
    return value


def _suggested(line: Line, path: str) -> str:
    """The metric or setting that was meant, or all that this point has; not what identifies a line."""
    numbers = [
        k for k, v in line.items() if isinstance(v, (int, float)) and k not in ("schema", "seed", "hypothetical")
    ]
    names = []
    for name in (*numbers, *(short for short, long in SHORT.items() if long in line), *line.get("point", ())):
        with suppress(InputError):  # a format is no number, and a cost may lack a term that decides
            metric(line, SHORT.get(name, name))
            names.append(name)
    if "." in path:
        parts = {k: v for k, v in line.items() if isinstance(v, dict) and k not in ("config", "point", "cost", "error")}
        names += [f"{k}.{n}" for k, part in parts.items() for n, v in part.items() if isinstance(v, (int, float))]
    meant = [name for name in names if name.startswith(MEANT.get(path.lower(), "-"))]
    meant += [name for name in names if name.rpartition(".")[2] == path]
    return f"; did you mean {meant[0]}? known: {', '.join(names)}" if meant else nearest(path, names)


def _at(tree: Any, path: str) -> Any:
    """The value at a dotted path of mappings and lists; None where there is none."""
    for name in path.split("."):
        if isinstance(tree, list) and name.isdecimal() and int(name) < len(tree):
            tree = tree[int(name)]
        else:
            tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _terms(line: Line, path: str) -> list[dict[str, Any]]:
    return list((line.get("cost") or {}).get(COSTS[path]) or ())


def _known(line: Line, path: str) -> float:
    """The sum of the terms that have a figure. raises: InputError where one that decides has none."""
    terms = _terms(line, path)
    lacking = [term for term in terms if term["value"] is None and term["name"].startswith(("dram", "dot "))]
    if lacking or not terms:
        why = "".join(f"; {term['name']}: {term['source']}" for term in lacking)
        raise InputError(f"search: {path} is not known on {line['machine']}{why}")
    return sum(term["value"] for term in terms if term["value"] is not None)


@dataclass(frozen=True, slots=True)
class Found:
    """trials: of this and earlier runs. ran: simulated now. failed: with errors. front: lines of the best points.

    errors: (message, points that have it), the most frequent first. points: different ones among the trials.
    """

    study: str
    trials: int
    ran: int
    failed: int
    file: str
    front: tuple[Line, ...]
    errors: tuple[tuple[str, int], ...] = ()
    points: int = 0


def run_search(
    space: Space,
    out: str | Path,
    goal: Goal,
    trials: int = 100,
    sampler: str = "tpe",
    seed: int = 0,
    workers: int = 1,
    executor: Executor | str = "processes",
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Search until the folder `out` holds `trials` trials of this space and goal.

    sampler:  tpe (tree-structured Parzen estimators), nsga2 or random, each with the seed.
    workers:  points at a time; with one, equal seeds give equal trials.
    raises:   InputError if `out` cannot be written or is in use, for an unknown sampler, and for a metric that the
              points do not have.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"--sampler: unknown {sampler!r}{nearest(sampler, SAMPLERS)}")
    folder = Path(out)
    ran = 0
    with Record(folder / POINTS) as record:
        optuna, asked = _open(space, folder, goal, sampler, seed)
        before = asked.get_trials(deepcopy=False)
        for trial in before:
            if not trial.state.is_finished():  # its process died
                asked.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        told = sum(trial.state != optuna.trial.TrialState.FAIL or "key" in trial.user_attrs for trial in before)
        keys = [trial.user_attrs["key"] for trial in before if "key" in trial.user_attrs]
        running: dict[Future[Any], Any] = {}
        with _executor(executor, workers) as pool:
            while told < trials or running:
                while told + len(running) < trials and len(running) < max(1, workers):
                    trial = asked.ask()
                    running[_submit(pool, space.point_study(_suggest(space, trial)), record)] = trial
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    trial = running.pop(future)
                    [(_, key, line)] = future.result()
                    if line is not None and key not in record:
                        record.append(line)
                        ran += 1
                    trial.set_user_attr("key", key)
                    keys.append(key)
                    found = record.line(key) if key in record else json.loads(line or "null")
                    _tell(optuna, asked, trial, goal, found)
                    told += 1
                    if progress:
                        progress(told, trials)
        lines = [record.line(key) for key in dict.fromkeys(keys) if key in record]
    front = goal.front(lines)
    asked_for = {
        "command": command(space.study.source, folder, goal, trials, sampler, seed),
        "sampler": sampler,
        "seed": seed,
        "objectives": goal.objectives,
        "front": [line["key"] for line in front],
    }
    _write_grid(space, lines, folder, asked_for)
    errors = Counter(line["error"]["message"] for line in lines if line["error"])
    counts, file = tuple(errors.most_common()), str(folder / POINTS)
    return Found(space.study.name, told, ran, errors.total(), file, tuple(front), counts, len(lines))


def command(source: str, folder: Path, goal: Goal, trials: int, sampler: str, seed: int) -> str:
    """The command that gives the same trials, on one worker."""
    words = ["hwsim", "search", source]
    for option, wanted in (("--maximize", True), ("--minimize", False)):
        names = [name for name, more in goal.objectives if more is wanted]
        words += [option, ",".join(names)] if names else []
    words += [word for limit in goal.limits for word in ("--subject-to", str(limit))]
    words += ["--trials", str(trials), "--sampler", sampler, "--seed", str(seed), "--out", str(folder)]
    return shlex.join(words)


def _open(space: Space, folder: Path, goal: Goal, sampler: str, seed: int) -> tuple[Any, Any]:
    """(optuna, its study in the journal), going on from the trials that are there."""
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise missing("searches", "optuna", "search") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    described = json.dumps(
        [space.study.digest, repr(space.axes), repr(goal), sampler, seed, __version__, code_digest()]
    )
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    kinds = optuna.study.StudyDirection
    directions = [kinds.MAXIMIZE if more else kinds.MINIMIZE for _, more in goal.objectives]
    asked = optuna.create_study(study_name=described, storage=storage, directions=directions, load_if_exists=True)
    count = len(asked.get_trials(deepcopy=False))  # the samplers draw anew after an interruption, not the same again
    seeded = seed + 1000003 * count
    asked.sampler = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seeded),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seeded),
        "random": lambda: optuna.samplers.RandomSampler(seed=seeded),
    }[sampler]()
    return optuna, asked


def _suggest(space: Space, trial: Any) -> dict[str, Any]:
    """The settings of a trial: numbers by their place in the order given, names as categories."""
    settings: dict[str, Any] = {}
    for axis in space.axes:
        if not axis.holds(settings):
            continue
        values = axis.values
        if isinstance(values, Range):
            if values.whole:
                number: float = trial.suggest_int(axis.path, int(values.low), int(values.high), log=values.log)
            else:
                number = trial.suggest_float(axis.path, values.low, values.high, log=values.log)
            settings[axis.path] = values.value(number)
        elif len(values) == 1:
            settings[axis.path] = values[0]
        elif any(isinstance(v, (dict, bool)) or (isinstance(v, str) and not v[:1].isdigit()) for v in values):
            settings[axis.path] = values[trial.suggest_categorical(axis.path, range(len(values)))]
        else:
            settings[axis.path] = values[trial.suggest_int(axis.path, 0, len(values) - 1)]
    return settings


def _submit(pool: Executor | None, study: Study, record: Record) -> Future[Any]:
    """The simulation of a study of one point, unless its line is there."""
    known = record.known(study.settings(0))
    if pool is not None:
        return pool.submit(simulate_points, study, [0], known)
    future: Future[Any] = Future()
    future.set_result(simulate_points(study, [0], known))
    return future


def _executor(executor: Executor | str, workers: int) -> AbstractContextManager[Executor | None]:
    if isinstance(executor, Executor):
        return nullcontext(executor)
    if executor not in EXECUTORS:
        raise InputError(f"executor: unknown {executor!r}{nearest(executor, EXECUTORS)}")
    return nullcontext() if workers <= 1 and executor == "processes" else EXECUTORS[executor](workers)


def _tell(optuna: Any, asked: Any, trial: Any, goal: Goal, line: Line) -> None:
    """A point with an error is a failed trial; one beyond a limit is a trial that Optuna keeps away from."""
    if line["error"]:
        asked.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    for i, limit in enumerate(goal.limits):
        trial.set_constraint(f"{i} {limit.metric}", limit.excess(line))
    asked.tell(trial, goal.values(line))


def _write_grid(space: Space, lines: Sequence[Line], folder: Path, asked: Mapping[str, Any]) -> None:
    """The axes with the values that were tried, for reports; a search has few of the combinations. asked: `Grid`'s."""
    axes: list[dict[str, Any]] = []
    for axis in space.axes:
        values: dict[str, Any] = {}
        for line in lines:
            if axis.path in line["point"]:
                values.setdefault(json.dumps(line["point"][axis.path]), line["point"][axis.path])
        kept = list(values.values())
        axes.append({"path": axis.path, "values": kept})
    data: Mapping[str, Any] = {
        "schema": SCHEMA,
        "name": space.study.name,
        "description": space.study.description,
        "source": space.study.source,
        "version": __version__,
        "axes": axes,
        "search": [line["key"] for line in lines],
        "asked": asked,
        "keys": None,
    }
    write_whole(folder / GRID, json.dumps(data, indent=1) + "\n")
