"""`make formal`, `make green`, `make verification`: the suites that take too long for every change.

python -m tests.verification.verify [--suite NAME] [--without NAME] [--stale] [--record] [--page] [--list] [WORD ...]

`--suite` and `--without` may be given more than once. Words pick the rows whose names contain one of them. `--stale`
leaves out suites that have passed on the present sources and lock by `green.json`, and says so. `--record` notes in it
the suites whose every row passes; `--page` also writes reports/verification.md. Both take rows that passed before on
the same sources from build/verification/, so that a run that was interrupted goes on. The status is 1 when a row is not
as it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from hwsim.files.whole import write_whole
from tests.verification import emitted, exhaustive, gemv_at_length, survey, units_at_length, watch
from tests.verification.formal import proofs
from tests.verification.green import differs, files, record, state
from tests.verification.suite import Row, Suite
from tests.verification.verification_page import PAGE, page

KEPT = Path("build/verification")
NOTHING = 3
"""Status of `--list` where no suite would run."""
SUITES = {
    suite.name: suite
    for suite in (
        proofs.SUITE,
        survey.SUITE,
        *exhaustive.SUITES,
        units_at_length.SUITE,
        emitted.SUITE,
        gemv_at_length.SUITE,
    )
}


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """What this process and those it starts print goes to a file."""
    sys.stdout.flush()
    kept = [os.dup(1), os.dup(2)]
    with log.open("wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        for number, was in zip((1, 2), kept, strict=True):
            os.dup2(was, number)
            os.close(was)


def run_row(suite: Suite, name: str) -> Row:
    """One row, in a process of the pool; an AssertionError is a row that is not as it must be."""
    watched, covered = watch.Watch(), set(files(suite))
    try:
        with quiet(log(suite, name)):
            row = suite.work(name)
    except AssertionError as error:
        return Row((name, " ".join(str(error).split())[:500]), False, 0)
    if beyond := watched.beyond(covered):
        return Row((name, f"depends on {', '.join(beyond)}, which the suite's hash does not cover"), False, 0)
    return row


def log(suite: Suite, name: str) -> Path:
    """Where what a row printed is kept."""
    plain = re.sub(r"\W", "_", name)
    return KEPT / f"{suite.name}-{plain}.log"


def kept(suite: Suite, name: str, now: dict[str, str]) -> Path:
    """Where a row that passed is kept."""
    return log(suite, name).with_suffix(f".{now['sources'][:12]}-{now['lock'][:12]}.json")


def said(log: Path, lines: int = 40) -> list[str]:
    """The last lines of a log."""
    return log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []


def collect(suite: Suite, names: list[str], reuse: bool) -> list[Row]:
    """All rows in the suite's order, from as many processes as there are cores; a line is printed as each comes.

    reuse: take rows that passed in an earlier run on the same sources.
    """
    rows: dict[str, Row] = {}
    begin, now = time.monotonic(), state(suite)
    for name in names if reuse else ():
        if (path := kept(suite, name, now)).exists():
            saved = json.loads(path.read_text())
            rows[name] = Row(tuple(saved["cells"]), saved["good"], saved["cpu_seconds"])
    before = f"; {len(rows)} of {len(names)} rows passed before on the same sources" if rows else ""
    print(f"{suite.name}: {suite.about}{before}", flush=True)
    KEPT.mkdir(parents=True, exist_ok=True)
    cores = int(os.environ.get("HWSIM_JOBS", 0)) or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, initializer=watch.begin) as pool:
        waiting = {pool.submit(run_row, suite, name): name for name in names if name not in rows}
        for done in as_completed(waiting):
            name, row = waiting[done], done.result()
            rows[name] = row
            if row.good:
                write_whole(kept(suite, name, now), json.dumps(asdict(row)))
            mark = "ok " if row.good else "BAD"
            print(f"{mark} {suite.name} {len(rows)}/{len(names)} {name}: {' | '.join(row.cells[1:])}", flush=True)
            if not row.good:
                print(f"the end of {log(suite, name)}:", *said(log(suite, name)), sep="\n", flush=True)
    cpu = sum(row.cpu_seconds for row in rows.values())
    print(f"{suite.name}: {len(rows)} rows, {cpu:.0f} CPU s, {time.monotonic() - begin:.0f} s", flush=True)
    return [rows[name] for name in names]


def chosen(options: argparse.Namespace) -> list[Suite]:
    """The suites to run; says why one is left out."""
    found = []
    for suite in SUITES.values():
        if suite.name in options.without or (options.suite and suite.name not in options.suite):
            continue
        why = differs(suite) if options.stale else ""
        if options.stale and not why:
            print(f"{suite.name}: skipped, by green.json it has passed on these sources and this lock")
        elif not options.list and (lacking := suite.missing()):
            print(f"{suite.name}: skipped, it cannot run here: {lacking}")
        else:
            if options.stale:
                print(f"{suite.name}: runs, {why}")
            found.append(suite)
    return found


def main(arguments: list[str]) -> int:
    """Run what is asked; the number of rows that are not as they must be decides the status."""
    parser = argparse.ArgumentParser(prog="python -m tests.verification.verify", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", action="append", default=[], choices=list(SUITES), help="default: all")
    parser.add_argument("--without", action="append", default=[], choices=list(SUITES), help="suites to leave out")
    parser.add_argument("--stale", action="store_true", help="leave out suites that green.json has")
    parser.add_argument("--record", action="store_true", help="note in green.json what passes")
    parser.add_argument("--page", action="store_true", help="all suites; write reports/verification.md")
    parser.add_argument("--list", action="store_true", help="run nothing; the status is 3 when nothing would run")
    parser.add_argument("words", nargs="*", metavar="WORD", help="of the rows' names")
    options = parser.parse_args(arguments)
    if (options.record or options.page) and options.words:
        parser.error("--record and --page are of whole suites; leave the words away")
    if options.page and (options.suite or options.without or options.stale):
        parser.error("--page is of all suites")
    suites = chosen(options)
    if options.list:
        return 0 if suites else NOTHING
    tables, bad = {}, 0
    for suite in suites:
        names = [name for name in suite.names if not options.words or any(word in name for word in options.words)]
        now = state(suite)
        tables[suite.name] = rows = collect(suite, names, options.record or options.page)
        wrong = sum(not row.good for row in rows)
        bad += wrong
        if options.record and not wrong:
            record(suite, now)
    counts = ", ".join(f"{name} {len(table)}" for name, table in tables.items() if table)
    print(f"{counts or 'nothing to run'}: {bad} rows are not as they must be")
    if options.page and not bad:
        write_whole(PAGE, page(tables))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
