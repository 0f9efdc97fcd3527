"""Arguments of the public functions, checked against their type hints before anything is loaded.

A wrong type is a `TypeError` that names the argument.
"""

from __future__ import annotations

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from hwsim.arch.machine import Machine
from hwsim.arch.stack import ServingStack
from hwsim.errors import nearest
from hwsim.workload.op import Workload

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def typed(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """The function with its arguments checked against its type hints; whole numbers of numpy become `int`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        name = function.__name__
        unknown = [key for key in kwargs if key not in signature.parameters]
        if unknown:
            hints = [
                f"{key}{hint if 'did you' in (hint := nearest(key, signature.parameters)) else ''}" for key in unknown
            ]
            known = "" if all("did you" in hint for hint in hints) else f"; known: {', '.join(signature.parameters)}"
            raise TypeError(f"hwsim.{name} has no argument {', '.join(hints)}{known}")
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"hwsim.{name}: {error}") from None
        hints_of = _hints(function)
        for key, value in bound.arguments.items():
            if signature.parameters[key].kind is inspect.Parameter.VAR_POSITIONAL:
                continue
            if accepted(int, value) and accepted(hints_of[key], operator.index(value)):
                bound.arguments[key] = operator.index(value)
            elif not accepted(hints_of[key], value):
                given = f"{brief(value)} is {article(value)}{aside(value)}"
                raise TypeError(f"hwsim.{name}: {key} is {words(hints_of[key])}, and {given}")
        return function(*bound.args, **bound.kwargs)

    return checked


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The hints of the arguments; that of the answer may name what is imported only where it is made."""
    arguments = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    return typing.get_type_hints(types.SimpleNamespace(__annotations__=arguments), function.__globals__)


def accepted(hint: Any, value: object) -> bool:
    """Whether a value is of the type that a hint says; what is inside a container is left to its reader."""
    if hint is Any:
        return True
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(accepted(each, value) for each in typing.get_args(hint))
    kind = origin or hint
    if kind is int:
        return not isinstance(value, bool) and hasattr(value, "__index__") and getattr(value, "shape", ()) == ()
    if kind is float:
        return isinstance(value, float) or accepted(int, value)
    if kind in (Sequence, Iterable) and isinstance(value, str):
        return False
    if kind is Workload:
        return hasattr(value, "ops")
    return isinstance(value, kind)


#: What a type is called in an error.
WORDS = {
    int: "a whole number", str: "a text", float: "a number", bool: "True or False", type(None): "None", Path: "a path",
    Mapping: "a mapping", Callable: "a function", tuple: "a pair", Sequence: "a list", Iterable: "a list",
    Workload: "a workload", ServingStack: "a stack",
}  # fmt: skip


def words(hint: Any) -> str:
    """`a text, a mapping or None`."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    found = [
        "a machine"
        if isinstance(kind, type) and issubclass(kind, Machine)
        else WORDS.get(of := typing.get_origin(kind) or kind) or f"{_before(of.__name__)} {of.__name__}"
        for kind in kinds
    ]
    found = list(dict.fromkeys(found))
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"


def brief(value: object, most: int = 60) -> str:
    """A value in an error: its first line, cut where it is long (results and models print as tables)."""
    text = repr(value)
    line = text.partition("\n")[0][:most]
    return line if line == text else f"{line}..."


def article(value: object) -> str:
    """`a list`, `an int`."""
    name = type(value).__name__
    return f"{_before(name)} {name}"


def _before(name: str) -> str:
    return "an" if name[0].lower() in "aeiou" else "a"


def aside(value: object) -> str:
    """What to write instead, where several values are wanted at once or a format stands for a mapping."""
    if hasattr(value, "own_layout"):
        return '; write {"default": ...} around it'
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return "; for several values, call it in a loop or run a study (hwsim.run_study)" if several else ""
