"""Study files to points: a combination of the grid is resolved to a machine, a model and run options when asked for.

A value that no point can use is an error, with its place in the file, before anything runs: every value has a witness,
a combination in which it works. A combination of values that contradict one another, but work in other combinations,
becomes a point with an error; the other points run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hwsim import __version__
from hwsim.arch import Arch, arch_config, arch_names
from hwsim.arch.builtin import arch_folder
from hwsim.arch.load import arch_document, arch_of
from hwsim.arch.machine import TileMachineFile
from hwsim.errors import InputError, nearest
from hwsim.files.fields import validate
from hwsim.files.yaml import Document, Loc, Placed, kind, raise_problems, read, short
from hwsim.jobs.options import RunOptions
from hwsim.jobs.serving.options import ServeOptions
from hwsim.jobs.training.options import TrainOptions
from hwsim.study.digest import code_digest, digest_of
from hwsim.study.points import Axis, Choice, Point, Study
from hwsim.study.schema import OF_A_STEP, OTHERS, SERVING, TRAINING, RunFile, StudyFile
from hwsim.workload import load_model, workload_names
from hwsim.workload.language.schema import ModelFile
from hwsim.workload.language.share import KINDS
from hwsim.workload.op import Workload

MAX_POINTS = 100_000
_TRIED = 2_000  # combinations in which a value is tried before it is refused
_CACHED = 500  # machines, models and options of earlier points that are kept

#: First parts of paths that users often write without the prefix `machine.`, `model.` or `run.`.
_PARTS = {"machine": TileMachineFile.model_fields, "model": ModelFile.model_fields, "run": RunFile.model_fields}


def study_folder() -> Path:
    """The folder of the shipped studies."""
    return arch_folder() / "studies"


def study_names() -> list[str]:
    """Names of the shipped studies, sorted."""
    return sorted(path.stem for path in study_folder().glob("*.yaml"))


def load_study(name_or_path: str | Path) -> Study:
    """The shipped study of that name, or the study in a YAML file. raises: InputError with every error found.

    Machine and model paths in the file are relative to its folder.
    """
    text = str(name_or_path)
    if text in study_names():
        return Reader(read(study_folder() / f"{text}.yaml"), text).study()
    if not text.endswith((".yaml", ".yml")) and "/" not in text:
        hint = nearest(text[:60], study_names())
        raise InputError(f"unknown study {short(text)}{hint} (a path to a YAML file also works)")
    return Reader(read(name_or_path), text).study()


class Reader:
    """One study document. Equal choices on the same axes are resolved once, and a machine's file is read once."""

    def __init__(self, document: Document, asked: str):
        self.document, self.asked = document, asked
        self.known: dict[tuple[Any, ...], Any] = {}
        self.files: dict[str, Document] = {}
        self.machines = arch_names()
        grid = self.document.data.get("grid")
        listed = grid.items() if isinstance(grid, dict) else ()
        self.axes = [Axis(path, tuple(values)) for path, values in listed if isinstance(values, list)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"known": {}, "files": {}}

    def study(self) -> Study:
        """raises: InputError."""
        problems: list[str] = []
        try:
            file = validate(self.document, StudyFile)
        except InputError as error:
            problems += error.problems
        problems += self._refused()
        if problems:
            raise_problems(problems)
        self._refuse_useless()
        return Study(file.name, file.description, self.asked, tuple(self.axes), self)

    def _refused(self) -> Iterator[str]:
        """Errors of the grid: unknown axes, repeated values, too many points."""
        say, size = self.document.problem, 1
        for axis in self.axes:
            here = ("grid", axis.path)
            head, _, rest = axis.path.partition(".")
            options = [f"run.{name}" for name in RunFile.model_fields]
            if head not in ("machine", "model", "run") or axis.path == "run":
                below = {name: f"{part}.{axis.path}" for part, names in _PARTS.items() for name in names}
                close = nearest(axis.path, [*options, "machine", "model"])
                hint = f"; did you mean {below[head]}?" if head in below else close
                hint = hint if "did you mean" in hint else "; write machine.PATH, model.PATH or run.OPTION"
                yield say(here, f"is not a setting of machine, model or run{hint}", key=True)
            elif head == "run" and rest.split(".")[0] not in RunFile.model_fields:
                yield say(here, f"unknown{nearest(axis.path, options)}", key=True)
            for i, value in enumerate(axis.values):
                if axis.path in ("machine", "model") and not isinstance(value, str):
                    yield say((*here, i), f"is {kind(value)}; write the name or path of a {head}")
                if any(_same(value, earlier) for earlier in axis.values[:i]):
                    yield say((*here, i), "is listed twice; remove one")
            size *= len(axis.values)
        for part, names in (("machine", arch_names()), ("model", workload_names())):
            if isinstance(self.document.data.get(part), str):
                try:
                    self._source(part, [], names)
                except InputError as error:
                    yield from error.problems
            elif part not in self.document.data and part not in [axis.path for axis in self.axes]:
                examples = StudyFile.model_fields[part].examples
                assert examples, "every field of a file has an example"
                yield say((), f"{part}: missing; write `{part}: {examples[0]}`")
        if size > MAX_POINTS:
            yield say(("grid",), f"has {size:,} points; write a grid with at most {MAX_POINTS:,}", key=True)

    def _refuse_useless(self) -> None:
        """raises: InputError for values that work in no combination."""
        witness = next((choice for choice in self._choices() if not self._problems(choice)), None)
        problems: dict[str, None] = {}
        for i, axis in enumerate(self.axes):
            for j in range(len(axis.values)):
                found = [self._problems(choice) for choice in self._near(witness, i, j)] if witness else []
                if witness and not all(found):
                    continue
                for choice in self._choices((i, j)):
                    found.append(self._problems(choice))
                    if not found[-1]:
                        break
                else:
                    shortest = min(found, key=lambda lines: len(lines))
                    problems |= dict.fromkeys(shortest)
        if problems:
            raise_problems(list(problems))

    def _near(self, witness: Choice, i: int, j: int) -> Iterator[Choice]:
        """The witness with value j on axis i, if that works, or it with one more value exchanged."""
        first = (*witness[:i], j, *witness[i + 1 :])
        yield first
        if self._problems(first):
            for k, axis in enumerate(self.axes):
                yield from ((*first[:k], other, *first[k + 1 :]) for other in range(len(axis.values)) if k != i)

    def _choices(self, fixed: tuple[int, int] | None = None) -> Iterator[Choice]:
        """Combinations, at most `_TRIED`; `fixed` is an axis and the place of the only value on it."""
        shape = [range(len(axis.values)) for axis in self.axes]
        if fixed:
            shape[fixed[0]] = range(fixed[1], fixed[1] + 1)
        return itertools.islice(itertools.product(*shape), _TRIED)

    def _problems(self, choice: Choice) -> tuple[str, ...]:
        return self._resolved(choice)[1]

    def point(self, choice: Choice) -> Point:
        """The point of one combination, a place per axis."""
        settings = self.settings(choice)
        parts, problems = self._resolved(choice)
        if problems:
            key = digest_of(settings, self.asked, __version__, code_digest())
            return Point(settings, key, error="\n".join(problems))
        (arch, arch_key), (model, model_key), (options, run_key) = parts
        key = digest_of(arch_key, model_key, run_key, __version__, code_digest())
        return Point(settings, key, arch, model, options)

    def settings(self, choice: Choice) -> dict[str, Any]:
        """Value by axis."""
        return {axis.path: axis.values[j] for axis, j in zip(self.axes, choice, strict=True)}

    def _resolved(self, choice: Choice) -> tuple[list[Any], tuple[str, ...]]:
        """([machine, model, run options], errors)."""
        parts: list[Any] = []
        problems: list[str] = []
        for part, load in (("machine", self._machine), ("model", self._model), ("run", self._run)):
            value, found = self._part(part, choice, load)
            parts.append(value)
            problems += found
        return parts, tuple(problems or self._preset_problems(choice, *parts[1:]))

    def _part(
        self, part: str, choice: Choice, load: Callable[[list[tuple[str, int]]], Any]
    ) -> tuple[Any, tuple[str, ...]]:
        """(value, errors) of `load` for the axes that change `part`; each choice on them is loaded once."""
        mine = [(axis.path, j) for axis, j in zip(self.axes, choice, strict=True) if axis.path.split(".")[0] == part]
        key = (part, *mine)
        if key not in self.known:
            if len(self.known) >= _CACHED:
                del self.known[next(iter(self.known))]
            try:
                self.known[key] = load(mine), ()
            except InputError as error:
                self.known[key] = None, error.problems
        return self.known[key]

    def _placed(self, mine: list[tuple[str, int]], drop: str) -> tuple[tuple[str, Placed], ...]:
        """The values of the axes whose path begins with `drop`, as overrides."""
        return tuple(
            (path.removeprefix(drop), Placed(self.document, ("grid", path, j), ("grid", path)))
            for path, j in mine
            if path.startswith(drop)
        )

    def _source(self, part: str, mine: list[tuple[str, int]], names: list[str]) -> str:
        """The name or file path of a point's machine or model."""
        loc: Loc = next((("grid", path, j) for path, j in mine if path == part), (part,))
        name = Placed(self.document, loc, loc).value
        if name in names:
            return name
        path = Path(self.document.source).parent / name
        if path.exists() and not (path.is_dir() and part == "machine"):
            return str(path)
        hint = nearest(name[:60], names)
        raise InputError(self.document.problem(loc, f"`{short(name)}`: no such {part} and no such file{hint}"))

    def _machine(self, mine: list[tuple[str, int]]) -> tuple[Arch, str]:
        source = self._source("machine", mine, self.machines)
        if source not in self.files:
            self.files[source] = arch_document(Path(source) if source not in self.machines else source)
        arch = arch_of(self.files[source], self._placed(mine, "machine."))
        return arch, digest_of(arch_config(arch))

    def _model(self, mine: list[tuple[str, int]]) -> tuple[Workload, str]:
        source = self._source("model", mine, workload_names())
        model = load_model(Path(source) if source not in workload_names() else source, self._placed(mine, "model."))
        return model, digest_of(model.config())

    def _run(self, mine: list[tuple[str, int]]) -> tuple[RunOptions | TrainOptions | ServeOptions, str]:
        document = self.document
        for path, placed in self._placed(mine, "run."):
            document = document.override(f"run.{path}", placed)
        run = validate(document, StudyFile).run
        options: RunOptions | TrainOptions | ServeOptions
        self._refuse_other_phase(document, run)
        if run.phase == "serve":
            try:
                options = ServeOptions.of(run.model_dump(), Path(document.source).parent)
            except InputError as error:
                raise InputError(*(self._at_option(document, problem) for problem in error.problems)) from None
        elif run.phase == "train":
            given = run.model_dump(exclude={*OTHERS, *({"parallel"} if run.parallel in KINDS else ())})
            options = TrainOptions.of(**given)
        else:
            options = RunOptions.of(**run.model_dump(exclude={*TRAINING, *SERVING}))
        return options, digest_of(options.config())

    def _refuse_other_phase(self, document: Document, run: RunFile) -> None:
        """raises: InputError for options that are set and mean nothing in this phase."""
        serve = run.phase == "serve"
        foreign = {*OF_A_STEP, *TRAINING} if serve else set(SERVING)
        why = {
            "batch": "write max_seqs for the most sequences at once",
            "context": "write lengths, the tokens of prompts and answers",
            "engine": "leave it out",
        }
        rest = "leave it out" if serve else "write `phase: serve`, or leave it out"
        said = "under load there is no such option" if serve else f"is an option of a load, not of phase {run.phase}"
        found = [name for name in RunFile.model_fields if name in foreign and name in run.model_fields_set]
        if found:
            raise InputError(
                *(document.problem(("run", n), f"{said}; {why.get(n, rest) if serve else rest}") for n in found)
            )

    @staticmethod
    def _at_option(document: Document, problem: str) -> str:
        """A problem at the place of the option whose name stands ahead of it."""
        name, _, message = problem.partition(": ")
        stated = name in document.data["run"]
        return document.problem(("run", name) if stated else ("run",), message if stated else problem)

    def _preset_problems(
        self, choice: Choice, model: tuple[Workload, str], run: tuple[RunOptions | TrainOptions | ServeOptions, str]
    ) -> list[str]:
        """Errors for a published format map that the model does not have, or a training step that it cannot take."""
        if isinstance(run[0], TrainOptions):
            return [self.document.problem(("run",), line) for line in run[0].refused(model[0])]
        try:
            run[0].formats.of_workload(model[0])
        except InputError as error:
            places = (("grid", a.path, j) for a, j in zip(self.axes, choice, strict=True) if a.path == "run.weights")
            loc = next(places, ("run", "weights"))
            return [self.document.problem(loc, p.removeprefix("weights: ")) for p in error.problems]
        return []


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b
