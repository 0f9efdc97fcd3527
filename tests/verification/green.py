"""`green.json`: the suites that have passed, with hashes of sources and lock; only a run that passed adds a suite."""

from __future__ import annotations

import json
from pathlib import Path

from hwsim.files.whole import write_whole
from tests.verification.sources import LOCK, closure, digest, with_data
from tests.verification.suite import Suite

GREEN = Path(__file__).with_name("green.json")
ABOUT = "written by `make green` and `make verification` alone: suites whose every row passed on these sources"


def files(suite: Suite) -> list[Path]:
    """All that a suite's result depends on, but the lock."""
    return with_data(closure([suite.module, *suite.also]), suite.data)


def state(suite: Suite) -> dict[str, str]:
    """Hashes of the sources and of the lock, as they are now."""
    return {"sources": digest(files(suite)), "lock": digest([LOCK])}


def read(path: Path = GREEN) -> dict[str, dict]:
    """The suites that have passed."""
    return json.loads(path.read_text())["suites"] if path.exists() else {}


def differs(suite: Suite, path: Path = GREEN) -> str:
    """Why a suite has to run; empty where it has passed on these sources and this lock, every row of it."""
    known, now = read(path).get(suite.name), state(suite)
    if known is None:
        return "it is not in green.json"
    changed = [what for what in now if known[what] != now[what]]
    if not changed and known["rows"] != len(suite.names):
        return f"it has {len(suite.names)} rows, in green.json {known['rows']}"
    return f"its {' and its '.join(changed)} changed" if changed else ""


def record(suite: Suite, passed_on: dict[str, str], path: Path = GREEN) -> None:
    """Note that every row of a suite has passed.

    raises: RuntimeError where its sources are no longer those it ran on.
    """
    if state(suite) != passed_on:
        raise RuntimeError(f"{suite.name}: its sources changed while it ran; run it again")
    suites = read(path) | {suite.name: {**passed_on, "rows": len(suite.names), "with": suite.tools()}}
    text = json.dumps({"about": ABOUT, "suites": dict(sorted(suites.items()))}, indent=1)
    write_whole(path, f"{text}\n")
