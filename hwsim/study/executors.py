"""Executors that run the points of a study, by name; each is a `concurrent.futures.Executor`.

An executor must either pickle `simulate_point` and its arguments or run them in this process. Each entry is a context
manager that takes the number of workers, yields the executor, and closes it at the end.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

#: Objects made between two searches for cycles. A point makes some 10,000, few of them in cycles, and what is kept for
#: the points to come is much: with Python's own 700, a fifth of the time went into looking through it.
OBJECTS = 50_000

Opener = Callable[[int], AbstractContextManager[Executor]]


@contextmanager
def fewer_collections() -> Iterator[None]:
    """This process looks for cycles once in `OBJECTS` objects."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Alone(SpawnProcess):
    """A new interpreter that leaves the user's main module alone.

    Python would run that module again in each worker: a script without `if __name__ == "__main__"` would run its study
    once more, and one from stdin could not be read. All that the workers need is in hwsim.
    """

    def start(self) -> None:
        """Start it, while the main module says nothing of where it came from."""
        main: dict[str, Any] = vars(sys.modules["__main__"])
        hidden: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
        main.pop("__file__", None)
        main["__spec__"] = None
        try:
            super().start()
        finally:
            del main["__spec__"]
            main.update(hidden)


class _Interpreters(SpawnContext):
    Process = _Alone  # type: ignore[assignment]  # a subclass of the context's own


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """New interpreters. Forked workers would keep open the pipes by which the others notice that this process died."""
    pool = ProcessPoolExecutor(workers, _Interpreters(), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and exit when it dies: a killed parent cannot stop its workers."""
    gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # this function runs in a worker

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


#: Executors by the name that `hwsim study --executor` takes.
EXECUTORS: dict[str, Opener] = {
    "processes": processes,
}
