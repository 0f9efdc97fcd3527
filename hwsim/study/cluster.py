"""`study --dask tcp://HOST:8786`: the points of a study on the workers of a Dask cluster.

Dask's scheduler and workers are used as they are. A worker must compute what this process would: its code of hwsim,
its minor version of Python and its schema of results are compared when it joins, and again with every result, so that
neither an old installation nor one that is changed under a running worker gives a line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from hwsim.errors import InputError
from hwsim.extras import missing
from hwsim.result import SCHEMA
from hwsim.study.digest import code_digest


def identity() -> dict[str, str]:
    """What two processes must have in common to give the same lines."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"hwsim code": code_digest()[:12], "Python": version, "schema of results": str(SCHEMA)}


def checked(expected: dict[str, str], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function on a worker. raises: InputError where the worker is not like the client."""
    refuse_unlike(expected, identity())
    return function(*args)


def refuse_unlike(expected: dict[str, str], found: dict[str, str], worker: str = "a worker") -> None:
    """raises: InputError naming every difference."""
    unlike = [
        f"{name} {found.get(name)} instead of {value}" for name, value in expected.items() if found.get(name) != value
    ]
    if unlike:
        raise InputError(f"--dask: {worker} has {', '.join(unlike)}; install the same hwsim there as here")


class _OnCluster(Executor):
    """Tasks on a cluster, as an executor; every task is checked where it runs, and retried if its worker dies."""

    def __init__(self, client: Any):
        self.client, self.expected = client, identity()
        self.seen: set[str] = set()

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        """One task."""
        self.refuse_joined()
        return _future(self.client.submit(checked, self.expected, function, *args, pure=False, retries=3))

    def refuse_joined(self) -> None:
        """Send away the workers that have joined since the last call and are not like this process, and say so."""
        joined = set(self.client.scheduler_info(n_workers=-1)["workers"]) - self.seen
        self.seen |= joined
        for worker, found in (self.client.run(identity, workers=sorted(joined)) if joined else {}).items():
            try:
                refuse_unlike(self.expected, found, f"worker {worker}")
            except InputError as error:
                print(f"hwsim: {error}; it is sent away", file=sys.stderr)
                self.client.retire_workers([worker], close_workers=True)


def _future(theirs: Any) -> Future[Any]:
    """A future of `concurrent.futures` that follows one of Dask's, which this keeps alive."""
    ours: Future[Any] = Future()
    ours.set_running_or_notify_cancel()

    def end(done: Any) -> None:
        if done.cancelled():
            ours.set_exception(InputError("--dask: the cluster dropped a task; run the same command again to go on"))
        elif (error := done.exception()) is not None:
            ours.set_exception(error if isinstance(error, InputError) else _lost(error))
        else:
            ours.set_result(done.result())

    theirs.add_done_callback(end)
    return ours


def _lost(error: BaseException) -> InputError:
    return InputError(
        f"--dask: a task failed on the cluster ({type(error).__name__}: {error}); the finished points are kept: "
        f"run the same command again to go on"
    )


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """An executor on the cluster whose scheduler has this address, `tcp://HOST:8786`.

    raises: InputError if Dask is missing, nobody answers, or a worker is not like this process.
    """
    try:
        from distributed import Client
    except ImportError:
        raise missing("studies on a Dask cluster", "distributed", "dask") from None
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"--dask {address}: no scheduler answers ({type(error).__name__}); write tcp://HOST:8786, the address that "
            f"`dask scheduler` prints"
        ) from None
    with client:
        for worker, found in client.run(identity).items():
            refuse_unlike(identity(), found, f"worker {worker}")
        yield _OnCluster(client)
