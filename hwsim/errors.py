"""The error tree: errors in the user's input, and errors of hwsim itself.

HwsimError
+-- InputError      the user's input: printed without a traceback, exit status 2
+-- ModelError      hwsim's own (a result below its bound): always with a traceback
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HwsimError(Exception):
    """Base of every error that hwsim raises on purpose."""


class InputError(HwsimError):
    """The user's input cannot be used; `problems` holds every finding, not just the first."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@contextmanager
def collect(problems: list[str], prefix: str = "") -> Iterator[None]:
    """Add the problems of an InputError raised inside to `problems`, so that the caller reports all of them at once.

    prefix: what each of them is about, for example "weights: ".
    """
    try:
        yield
    except InputError as error:
        problems += [prefix + problem for problem in error.problems]


class ModelError(HwsimError):
    """The model contradicts itself, for example a result faster than its bound."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`"; did you mean X?"`, or the list of known words where none is near.

    A known word that begins with `word` is nearer than one that merely resembles it.
    """
    known = list(known)
    longer = [name for name in known if len(word) > 2 and name.startswith(word)]
    close = longer[:1] or difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
