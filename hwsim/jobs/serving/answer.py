"""The question of `hwsim serve` under load, checked and answered, for the command and for Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hwsim.errors import InputError, collect
from hwsim.jobs.serving.capacity import find_rate, with_rate
from hwsim.jobs.serving.file import load_of, over, read_load
from hwsim.jobs.serving.load import Load, Run
from hwsim.jobs.serving.requests import Sequence
from hwsim.jobs.serving.traffic import Traffic


def asked_load(load: str | None, given: Mapping[str, Any], problems: list[str]) -> Load:
    """The load of a file's name or path with options over it. problems: the caller's, to which its own are added.

    raises: InputError with all of them where the file cannot be read.
    """
    below: dict[str, Any] = {}
    before = len(problems)
    with collect(problems):
        below = read_load(load) if load else {}
    if len(problems) > before:
        raise InputError(*problems)
    return load_of(over(below, {name: value for name, value in given.items() if value is not None}))


def without_load(given: Mapping[str, Any], sources: str, shown: Callable[[str], str]) -> list[str]:
    """Errors of options of a load where none is asked for. sources: what would ask for one; shown: an option's name."""
    return [
        f"{shown(name)}: needs requests that arrive; write {sources} too"
        for name, value in given.items()
        if value is not None and value is not False
    ]


def under_load(
    traffic: Traffic,
    find: bool = False,
    said: Callable[[str], None] = lambda text: None,
    watched: Callable[[int], Callable[[Sequence], None]] = lambda total: lambda seq: None,
) -> Run:
    """Serve a load; find: at the highest rate that meets its limits, which is then searched for first.

    said: is told of each run of that search. watched: of the number of requests, what is told of each that ends.
    raises: InputError.
    """
    if not find:
        return traffic.run(watch=watched(traffic.total))
    capacity = find_rate(traffic, said=said)
    traffic.load = with_rate(traffic.load, capacity)
    run = traffic.run(capacity.rate, watch=watched(traffic.total))
    return replace(run, served=replace(run.served, capacity=capacity))
