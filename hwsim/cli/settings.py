"""Errors of `--set` as a user can paste them: the suggestion is the whole path of the setting, not its last name."""

from __future__ import annotations

import re

#: The errors that suggest another name, as `hwsim.files` words them: the path that was given, where in it, the name.
_SUGGESTED = re.compile(r"--set ([\w.-]+): (?:([\w.-]+): )?unknown; did you mean (\w+)\?")


def whole_path(problem: str) -> str:
    """The same error, which suggests `dram.bandwidth` instead of `bandwidth`; any other error as it is."""
    found = _SUGGESTED.fullmatch(problem)
    if not found:
        return problem
    given, wrong = found[1].split("."), (found[2] or found[1]).split(".")
    if given[: len(wrong)] != wrong:
        return problem
    meant = ".".join([*wrong[:-1], found[3], *given[len(wrong) :]])
    return f"--set {found[1]}: unknown; did you mean {meant}?"
