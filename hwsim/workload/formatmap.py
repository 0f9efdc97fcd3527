"""Format maps: the format in which each weight class of each layer is stored.

A key is a weight class, a class in some layers only (`mamba_in@4,11`), or `default` for the classes that no other key
names; the most specific key that matches decides. A format may be a name or a layout here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from hwsim.errors import InputError, collect, nearest
from hwsim.workload.op import WEIGHT_CLASSES

F = TypeVar("F")
DEFAULT = "default"


class Rule(NamedTuple, Generic[F]):
    """One entry: the key as written, its weight class or "default", its layers (None: all), the format."""

    key: str
    weights: str
    layers: frozenset[int] | None
    format: F


@dataclass(frozen=True)
class FormatMap(Generic[F]):
    """Rules; exactly one of them is the default."""

    rules: tuple[Rule[F], ...]

    @classmethod
    def of(cls, table: Mapping[str, F]) -> FormatMap[F]:
        """The map of {key: format}, sorted by key. raises: InputError for every bad key and for a missing default."""
        problems: list[str] = []
        rules = []
        for key, form in sorted(table.items(), key=lambda item: item[0]):
            with collect(problems):
                rules.append(Rule(key, *split_key(key), form))
        if DEFAULT not in table:
            problems.append("there is no `default`; write one, for example {experts: nvfp4, default: fp8}")
        if problems:
            raise InputError(*problems)
        return cls(tuple(rules))

    @property
    def default(self) -> F:
        """The format of the classes that no key names."""
        return next(rule.format for rule in self.rules if rule.weights == DEFAULT)

    def of_class(self, name: str, layer: int = -1) -> F:
        """The format of one weight class in one layer (-1: outside the layers)."""
        whole = None
        for rule in self.rules:
            if rule.weights == name:
                if rule.layers is None:
                    whole = rule
                elif layer in rule.layers:
                    return rule.format
        return self.default if whole is None else whole.format


def split_key(key: str) -> tuple[str, frozenset[int] | None]:
    """(weight class or "default", layers or None for all) of a key. raises: InputError."""
    name, at, listed = key.partition("@")
    if name not in WEIGHT_CLASSES and name != DEFAULT:
        raise InputError(f"unknown class {name!r}{nearest(name, WEIGHT_CLASSES)}")
    if not at:
        return name, None
    parts = listed.split(",")
    if name == DEFAULT or not all(p.isascii() and p.isdecimal() and len(p) < 6 for p in parts):
        raise InputError(f"{key!r}: write a class and layers counted from 0, for example `mamba_in@4,11`")
    return name, frozenset(map(int, parts))
