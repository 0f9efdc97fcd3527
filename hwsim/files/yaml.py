"""YAML text to a tree that knows the place of each value; all errors are reported at once.

    document = read("my.yaml")                    # or parse(text, source)
    document = document.override("dram.bandwidth", "9.6 TB/s")      # or a value of another file, Placed(...)
    document.problem(("dram", "beat"), "is zero; write ...")    # one line for an InputError of your own

Everything here raises InputError, and each problem reads
`file:line:column: path: what is wrong; what to write instead`. The YAML is a plain subset: mappings, lists
and scalars. `true`, `false`, decimal integers and decimal floats mean themselves, all else is text (`no`,
`0x7f`, `1_000`), whatever the YAML version. Anchors, aliases, tags, merges, empty values and second documents
are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from hwsim.errors import InputError

Loc = tuple[str | int, ...]

MAX_BYTES = 256 * 1024
_MAX_DEPTH = 16
_MAX_PROBLEMS = 50

_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{0,18}([eE][-+]?[0-9]{1,2})?|[eE][-+]?[0-9]{1,2})")
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INDENT_TAB = re.compile(r"^ *\t", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a source: line and column from 1; line 0 where the source is not a text (`--set`)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """`file:line:column`, or the source alone."""
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Document:
    """A parsed file: plain data, with the place of every key and value."""

    source: str
    data: dict[str, Any]
    keys: dict[Loc, Mark]
    values: dict[Loc, Mark]

    def mark(self, loc: Loc, key: bool = False) -> Mark:
        """Place of the value (or the key) at `loc`, else of the nearest part of the tree above it."""
        if key and loc in self.keys:
            return self.keys[loc]
        while loc not in self.values:
            loc = loc[:-1]
        return self.values[loc]

    def problem(self, loc: Loc, message: str, key: bool = False) -> str:
        """One line for an InputError: `place: path: message`."""
        mark, path = self.mark(loc, key), dotted(loc)
        if not path or mark.source == f"--set {path}":
            return f"{mark}: {message}"
        return f"{mark}: {path}: {message}"

    def override(self, path: str, text: str | Placed) -> Document:
        """A document with the value at a path (`dot.rates.0.rate`) replaced, added or, by `null`, removed.

        Whether the path is known is the model's question: `validate` answers it.
        """
        mark = text.document.mark(text.key, key=True) if isinstance(text, Placed) else Mark(f"--set {path}")
        loc = tuple(int(p) if p.isdecimal() and len(p) < 6 else p for p in path.split("."))
        if "" in loc:
            raise InputError(f"{mark}: write a dotted path, for example `dram.bandwidth`")
        keys = {k: v for k, v in self.keys.items() if k[: len(loc)] != loc}
        values = {k: v for k, v in self.values.items() if k[: len(loc)] != loc}
        if not isinstance(text, Placed) and text.strip() in ("null", "~"):
            return replace(self, data=_with(self.data, loc, None, str(mark)), keys=keys, values=values)
        for end in range(1, len(loc) + 1):
            keys.setdefault(loc[:end], mark)
            values.setdefault(loc[:end], mark)
        if isinstance(text, Placed):
            value, at = text.value, len(text.loc)
            keys |= {loc + k[at:]: v for k, v in text.document.keys.items() if k[:at] == text.loc and k[at:]}
            values |= {loc + k[at:]: v for k, v in text.document.values.items() if k[:at] == text.loc}
        else:
            builder = _Builder(mark.source, placed=False)
            value = builder.build(text)
            builder.finish()
            keys |= {loc + k: v for k, v in builder.keys.items()}
            values |= {loc + k: v for k, v in builder.values.items()}
        return replace(self, data=_with(self.data, loc, value, str(mark)), keys=keys, values=values)


@dataclass(frozen=True)
class Placed:
    """The value at `loc` in a document; `key` is the place where its path is written (a study's grid)."""

    document: Document
    loc: Loc
    key: Loc

    @property
    def value(self) -> Any:
        """The value itself."""
        node: Any = self.document.data
        for part in self.loc:
            node = node[part]
        return node


def dotted(loc: Loc) -> str:
    """`("dot", "rates", 0)` as `dot.rates.0`; a key that is not a plain word is shortened."""
    return ".".join(short(str(part)) for part in loc)


def short(text: object, most: int = 60) -> str:
    """The text on one line, cut to `most` characters: errors never echo a whole file."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)[: most + 1])
    return line if len(line) <= most else line[: most - 3] + "..."


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> Document:
    """Parse a file, at most `max_bytes` long."""
    source, path = str(path), Path(path)
    try:
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "no such file"
            raise InputError(f"{short(source, 200)}: {what}; write the path of a YAML file")
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{short(source, 200)}: cannot be read ({reason}); write the path of a YAML file") from None
    if len(raw) > max_bytes:
        raise InputError(f"{source}: larger than {max_bytes // 1024} KiB; write a YAML file, by hand")
    try:
        return parse(raw.decode("utf-8-sig"), source)
    except UnicodeDecodeError as error:
        place = _place(raw[: error.start].decode("utf-8-sig", "replace"))
        raise InputError(f"{source}:{place}: not UTF-8 text (a binary file?); write a YAML text file") from None


def parse(text: str, source: str, max_chars: int = MAX_BYTES) -> Document:
    """Parse the text of a file whose top level is a mapping."""
    if len(text) > max_chars:
        raise InputError(f"{source}: longer than {max_chars // 1024} Ki characters; write a YAML file, by hand")
    builder = _Builder(source)
    data = builder.build(text)
    if not isinstance(data, dict) and not builder.problems:
        what = "empty" if data is None else f"is {kind(data)}, not a mapping"
        builder.problems.append(f"{builder.values.get((), Mark(source, 1, 1))}: {what}; write lines of `key: value`")
    builder.finish()
    return Document(source, data, builder.keys, builder.values)


def kind(value: object) -> str:
    """The kind of a value, in the words of the messages: `a list`, `text`, ..."""
    names = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        bool: "true/false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "empty")


def raise_problems(problems: list[str]) -> NoReturn:
    """Raise them as one InputError, at most 50 and how many more there were."""
    more = len(problems) - _MAX_PROBLEMS
    if more > 0:
        problems = [*problems[:_MAX_PROBLEMS], f"... and {more} more"]
    raise InputError(*problems)


def _with(node: Any, loc: Loc, value: Any, source: str) -> Any:
    """A copy of the tree with `value` at `loc`; None removes."""
    head, rest = loc[0], loc[1:]
    if isinstance(node, list):
        if not isinstance(head, int) or head >= len(node):
            have = f"0 to {len(node) - 1}" if node else "none"
            raise InputError(f"{source}: `{head}` is not an index of this list; write a number ({have})")
        if value is None and not rest:
            return node[:head] + node[head + 1 :]
        return [*node[:head], _with(node[head], rest, value, source) if rest else value, *node[head + 1 :]]
    if not isinstance(node, dict):
        raise InputError(f"{source}: a plain value has no keys; leave out `.{dotted(loc)}`")
    head = str(head)
    if value is None and not rest:
        return {k: v for k, v in node.items() if k != head}
    if value is None and head not in node:
        return node
    return node | {head: _with(node.get(head, {}), rest, value, source) if rest else value}


def _place(before: str) -> str:
    """`line:column` of the character after the text `before`."""
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


class _Builder:
    """Events of PyYAML's parser to plain data; problems are gathered, only broken syntax stops it."""

    def __init__(self, source: str, placed: bool = True):
        self.source, self.placed = source, placed
        self.problems: list[str] = []
        self.keys: dict[Loc, Mark] = {}
        self.values: dict[Loc, Mark] = {}

    def finish(self) -> None:
        """Raise the problems found, if there are any."""
        if self.problems:
            raise_problems(self.problems)

    def build(self, text: str) -> Any:
        """The data of the only document in `text`, None for an empty one."""
        for name, found in (
            ("this character is not text (a binary file?); write a YAML text file", _NOT_TEXT.search(text)),
            ("a tab; indent with spaces", _INDENT_TAB.search(text)),
        ):
            if found:
                raise InputError(f"{self._where(text[: found.end() - 1])}: {name}")
        try:
            events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
            next(events)  # the start of the stream
            event, data = next(events), None
            if isinstance(event, yaml.DocumentStartEvent):
                data = self._node(next(events), events, ())
                next(events)
                event = next(events)
            if not isinstance(event, yaml.StreamEndEvent):
                self._say(event, (), "a second document begins; write one document per file")
            return data
        except yaml.MarkedYAMLError as error:
            at = error.problem_mark or error.context_mark
            if "expected ':'" in (error.problem or ""):
                at = error.context_mark
            place = f"{self.source}:{at.line + 1}:{at.column + 1}" if self.placed and at else self.source
            raise_problems([*self.problems, f"{place}: {_syntax(error)}"])
        except (
            yaml.YAMLError,
            ValueError,
            OverflowError,
        ) as error:  # the last two: \U escapes outside Unicode
            raise_problems([*self.problems, f"{self.source}: not YAML ({short(error)}); write lines of `key: value`"])

    def _where(self, before: str) -> str:
        return f"{self.source}:{_place(before)}" if self.placed else self.source

    def _mark(self, event: yaml.Event) -> Mark:
        start = event.start_mark
        return Mark(self.source, start.line + 1, start.column + 1) if self.placed and start else Mark(self.source)

    def _say(self, event: yaml.Event, loc: Loc, message: str) -> None:
        path = f"{dotted(loc)}: " if loc else ""
        self.problems.append(f"{self._mark(event)}: {path}{message}")

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], loc: Loc) -> Any:
        self.values[loc] = self._mark(event)
        if len(loc) > _MAX_DEPTH:
            self._say(event, loc[:3], f"more than {_MAX_DEPTH} levels deep; write a flatter file")
            self.finish()
        if isinstance(event, yaml.AliasEvent):
            self._say(event, loc, f"the alias *{short(event.anchor)}; write the value out, files have no aliases")
            return ""
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)  # nothing else begins a node
        if event.anchor is not None:
            self._say(event, loc, f"the anchor &{short(event.anchor)}; remove it, files have no anchors or aliases")
        if event.tag is not None:
            tag = short(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self._say(event, loc, f"the tag {tag}; remove it, values are plain text and numbers")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, loc)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._node(event, events, (*loc, len(items))))
            return items
        return self._mapping(events, loc)

    def _mapping(self, events: Iterator[yaml.Event], loc: Loc) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._say(event, loc, "a key that is not a word; write `key: value`")
                self._node(event, events, (*loc, "?"))
                self._node(next(events), events, (*loc, "?"))
                continue
            key, here = event.value, (*loc, event.value)
            if event.anchor is not None or event.tag is not None or _NOT_TEXT.search(key):
                self._say(event, loc, "a key with an anchor, a tag or an escape; write the plain key")
            if key == "<<":
                self._say(event, loc, "the merge key `<<`; write the keys out, files have no inheritance")
            elif here in self.keys:
                first = f" (first at line {self.keys[here].line})" if self.placed else ""
                self._say(event, here, f"the same key twice{first}; remove one")
            self.keys.setdefault(here, self._mark(event))
            value = self._node(next(events), events, here)
            data.setdefault(key, value)
        return data

    def _scalar(self, event: yaml.ScalarEvent, loc: Loc) -> Any:
        text = event.value
        if _NOT_TEXT.search(text):
            self._say(event, loc, "an escape for something that is not text; remove it")
        if not event.implicit[0]:  # quoted, a block of text, or tagged
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            if loc:
                self._say(event, loc, "empty; write a value or remove the key")
            return "" if loc or text else None
        if text in ("true", "false"):
            return text == "true"
        if _INT.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's complaint in our words."""
    problem = short(error.problem or error.context or "", 120)
    if "\\t" in problem:
        return "a tab; write spaces (or quote the text)"
    if "mapping values are not allowed" in problem:
        return "a `:` where no key is possible; indent keys like their neighbours, quote text that holds `: `"
    if "could not find expected ':'" in problem:
        return "a line without `:`; write `key: value`"
    if "block end" in problem:
        return "the indentation does not match the lines above; indent the keys of one mapping alike"
    if "cannot start any token" in problem:
        return f"not YAML ({problem}); put text that begins with a special character in quotes"
    return f"not YAML ({problem}); check the brackets, quotes and indentation"
