"""Given: the keys of a config.json, and the values that the specs of a family's table stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from hwsim.files.yaml import Mark, short
from hwsim.workload.language.families.table import Family


def place_of(text: str, source: str, key: str) -> Mark:
    """Place of the first occurrence of the key, or of the start of the file."""
    found = re.search(rf'"{re.escape(key)}"\s*:', text)
    if not found:
        return Mark(source, 1, 1)
    before = text[: found.start()]
    return Mark(source, before.count("\n") + 1, found.start() - before.rfind("\n"))


class Given:
    """The keys of a file, as the rules of a family see them (`families.table.Keys`); errors gather in `problems`."""

    def __init__(self, family: Family, given: Mapping[str, Any], text: str, source: str):
        self.family, self.text, self.source = family, text, source
        self.given = dict(given)
        self.problems: list[str] = []
        self.derived = {name: made(given) for name, made in family.derived.items()}

    def say(self, key: str, message: str) -> None:
        """Add an error at a key."""
        self.problems.append(f"{place_of(self.text, self.source, key.split('.')[-1])}: {short(key)}: {message}")

    def raw(self, key: str) -> Any:
        """The value of a key, which may be one of an inner object or derived; raises KeyError."""
        if key in self.derived:
            if self.derived[key] is None:
                raise KeyError(key)
            return self.derived[key]
        node: Any = self.given
        for step in key.split("."):
            if not isinstance(node, dict) or step not in node:
                raise KeyError(key)
            node = node[step]
        return node

    def same_everywhere(self, value: Any) -> Any:
        """The value of a list that has one for each layer, all the same; any other value as it is."""
        layers = self.given.get("num_hidden_layers")
        if isinstance(value, list) and len(value) == layers and layers > 1 and all(each == value[0] for each in value):
            return value[0]
        return value

    def found(self, spec: str) -> tuple[Any, str]:
        """(value, the key that it comes from; "" for a default) of a spec; (None, "") and an error without any."""
        for alternative in spec.split("|"):
            try:
                return self._alternative(alternative)
            except KeyError:
                continue
        first = re.split(r"[|*/+?>=]", spec)[0]
        missing = {"padded_vocab": "vocab_size", "dt_rank": "time_step_rank"}.get(first, first)
        self.problems.append(f"{self.source}:1:1: {missing}: missing; write the number of the model")
        return None, ""

    def _alternative(self, text: str) -> tuple[Any, str]:
        if text.startswith("=") or text.isdecimal() or _is_fraction(text):
            return _literal(text.removeprefix("=")), ""
        if "==" in text:
            key, wanted = text.split("==")
            return self.raw(key) == wanted, key
        if ">" in text:
            key, word = text.split(">")
            value = self.raw(key)
            return (word if value is True else value), key
        key, _, null = text.partition("?")
        terms = re.split(r"(//|[*/+])", key)
        if len(terms) == 1:
            value = self.same_everywhere(self.raw(key))
            if value is None and not null:
                raise KeyError(key)
            return (_literal(null) if value is None else value), key
        value = self._operand(terms[0])
        for sign, term in zip(terms[1::2], terms[2::2], strict=True):
            more = self._operand(term)
            if sign in ("/", "//"):
                more = max(more, 1)
                value = value // more if sign == "//" else value / more
                value = max(1, value) if sign == "//" else value
            else:
                value = value * more if sign == "*" else value + more
        return value, terms[0]

    def _operand(self, term: str) -> Any:
        """A whole number of a calculation; 1 and an error if the file has none there. raises: KeyError if absent."""
        if term.startswith("="):
            return int(term[1:])
        value = self.raw(term)
        if value is None:
            raise KeyError(term)
        return value if self._is_count(term, value) else 1

    def _is_count(self, key: str, value: Any) -> bool:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9:
            return True
        self.say(key, _not_a_count(value))
        return False

    def value(self, spec: str) -> Any:
        """See `Keys`."""
        return self.found(spec)[0]

    def count(self, spec: str) -> int:
        """See `Keys`."""
        value, key = self.found(spec)
        if value is None:
            return 0
        return value if self._is_count(key or spec, value) else 0

    def listed(self, key: str) -> list[Any] | None:
        """See `Keys`."""
        for each in key.split("|"):
            try:
                value = self.raw(each)
            except KeyError:
                continue
            if value is None:
                continue
            if isinstance(value, list):
                return value
            self.say(each, f"is not a list but {short(value)}; write one entry per layer")
        return None


def _not_a_count(value: Any) -> str:
    """Why a value of config.json counts nothing, and what to write."""
    if isinstance(value, str):
        return "is text; write the number of the model, without quotes"
    if isinstance(value, int) and not isinstance(value, bool):
        wrong = "is negative" if value < 0 else "is more than 10^9"
        return f"{wrong}; write the number of the model, which is positive"
    return "is not a whole number; write the number of the model"


def _is_fraction(text: str) -> bool:
    return re.fullmatch(r"\d+\.\d+", text) is not None


def _literal(text: str) -> Any:
    """A word of a table as a value."""
    if text in ("true", "false"):
        return text == "true"
    if text.isdecimal():
        return int(text)
    return float(text) if _is_fraction(text) else text


def is_count(value: Any) -> TypeGuard[int]:
    """Whether this is a whole number that a shape may contain."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9
