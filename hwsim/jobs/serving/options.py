"""Options of a point under load in a study: everything about it except the machine and the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, collect
from hwsim.jobs.options import RunOptions
from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving.file import FIELDS, SOURCES, TABLES, load_of, over, placed, read_load
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.traces import read_trace
from hwsim.mapping.operands import Formats


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """steady: formats, chips and software; its model and lengths are not used. find_rate: the highest rate too."""

    steady: Steady
    load: Load
    formats: Formats
    find_rate: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], folder: Path) -> ServeOptions:
        """From the options of a study's `run`, and of the load file that it names. Paths are relative to `folder`.

        raises: InputError, each problem with the name of its option ahead.
        """
        problems: list[str] = []
        own = placed({name: given[name] for name in FIELDS if given.get(name) is not None}, folder)
        below: dict[str, Any] = {}
        if given.get("load"):
            text = str(given["load"])
            with collect(problems, "load: "):
                below = read_load(folder / text if text.endswith((".yaml", ".yml")) else text)
        stated = [name for name in SOURCES if name in own]
        if len(stated) > 1:
            problems.append(f"{stated[1]}: stands beside {stated[0]}; write one of them")
        elif not problems and not stated and not any(name in below for name in SOURCES):
            problems.append("phase: serve needs requests that arrive; write run.rate, run.trace or run.concurrency")
        load = load_of(over(below, own))
        for name, path in (("trace", load.trace), ("lengths", load.lengths)):
            if path and (name == "trace" or path.endswith(TABLES)):
                with collect(problems, f"{name}: "):
                    read_trace(Path(path), lengths=name == "lengths")
        if load.lengths is None and load.trace is None:
            problems.append("lengths: missing; write, for example, `lengths: 1024/256`")
        if given["find_rate"] and (load.rate is None or load.slo is None):
            problems.append("find_rate: needs limits and drawn arrivals; write slo, and rate as the rate to begin at")
        if problems:
            raise InputError(*problems)
        stack = given.get("stack")
        if stack and stack.endswith((".yaml", ".yml")):
            stack = str(folder / stack)
        steady = Steady(
            "", 1, 1, given["weights"], given["activations"], given["kv"], given["state"], given["chips"],
            given["parallel"], given["skew"], given["drafts"], tuple(given["acceptance"]), None, stack, given["mla"],
        )  # fmt: skip
        formats = RunOptions.of(
            weights=steady.weights, activations=steady.activations, kv=steady.kv, state=steady.state
        ).formats
        return cls(steady, load, formats, given["find_rate"])

    def config(self) -> dict[str, Any]:
        """Plain data; files of requests by their content too."""
        s, files = self.steady, {}
        for name in ("trace", "lengths"):
            path = getattr(self.load, name)
            if path and (name == "trace" or path.endswith(TABLES)):
                files[name] = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
        load = {name: value for name, value in asdict(self.load).items() if value is not None}
        return {
            "phase": "serve",
            "chips": s.chips,
            "parallel": s.parallel,
            "skew": s.skew,
            **({"mla": s.mla} if s.mla else {}),
            **({"drafts": s.drafts, "acceptance": list(s.acceptance)} if s.drafts else {}),
            **({"stack": s.stack} if s.stack else {}),
            "formats": self.formats.config(),
            "load": load,
            **({"files": files} if files else {}),
            **({"find_rate": True} if self.find_rate else {}),
        }

    def steps_key(self) -> str:
        """What the times of its passes depend on, beside machine, model, engine and seats."""
        config = self.config()
        return json.dumps({name: config[name] for name in sorted(config) if name not in ("load", "files", "find_rate")})
