"""Where the points of a study run: named ways to get a `concurrent.futures.Executor`.

An executor must be able to pickle `simulate_point` and its arguments, or run them in this process. Each way is a
context manager that is given the number of workers and closes what it opened.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager

Opener = Callable[[int], AbstractContextManager[Executor]]


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Fresh interpreters: a fork would hold open the pipes by which the others see that this process died."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave ^C to the parent, and do not outlive it: a killed parent cannot tell its workers to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a worker
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


#: By the name that `hwsim study --executor` takes.
EXECUTORS: dict[str, Opener] = {
    "processes": processes,
}
