"""The language of a family's table: where a value stands in a config.json, and which parts a layer has.

A *spec* is a text that says where a value stands. Alternatives are separated by `|`, and the first whose keys the file
has is taken; without any, the key is missing, which is an error.

    "head_dim|hidden_size//num_attention_heads"   a key, or the quotient of two, rounded down (`/`: as a fraction)
    "n_shared_experts*moe_intermediate_size"      the product of two; `+` the sum; `n_embd*=4` four times a key
    "linear_attn_config.num_heads"                a key of an inner object
    "sliding_window?0|4096"                       a key, where null means 0 (elsewhere null means the default)
    "attention_bias>qkv|=false"                   a word instead of true
    "position_embedding_type==rope|=false"        whether a key has a value
    "=head" "=true" "128"                         a word or number that the family fixes, or a default

A *rule* chooses the parts of each layer, as names separated by spaces; `+name` stands beside the part before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hwsim.files.yaml import short

#: Layers that a model may have at most.
MOST_LAYERS = 2000


class Keys(Protocol):
    """The keys of a file, as a rule sees them; every key that it asks for counts as read."""

    def value(self, spec: str) -> Any:
        """The value that a spec stands for; None, and an error, if the file lacks it."""

    def count(self, spec: str) -> int:
        """The same as a whole number from 0 to 10^9; 0, and an error, if it is none."""

    def listed(self, key: str) -> list[Any] | None:
        """The list under a key; None if there is none, and an error if it is no list."""

    def say(self, key: str, message: str) -> None:
        """Add an error at a key."""


class Rule(Protocol):
    """Chooses the parts of each of `layers` layers."""

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """Names of the parts of each layer."""

    def names(self) -> list[str]:
        """Every choice that it can make."""


Choice = str | Rule


def chosen(choice: Choice, keys: Keys, layers: int) -> list[str]:
    """The parts of each layer: one choice for all, or those of a rule."""
    return [choice] * layers if isinstance(choice, str) else choice.parts(keys, layers)


def choices(choice: Choice) -> list[str]:
    """Every choice that may be made."""
    return [choice] if isinstance(choice, str) else choice.names()


@dataclass(frozen=True)
class Types:
    """A list of words, one per layer, where the file has it; else another rule."""

    key: str
    words: Mapping[str, str]
    other: Choice

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """See `Rule`."""
        listed = keys.listed(self.key)
        otherwise = chosen(self.other, keys, layers)  # read in any case, so that its keys count as known
        if listed is None:
            return otherwise
        listed = [str(word) if isinstance(word, int) else word for word in listed]
        unknown = [word for word in listed if not isinstance(word, str) or word not in self.words]
        if unknown:
            keys.say(self.key, f"has {short(unknown[0])}, which this family has not; known: {', '.join(self.words)}")
        elif len(listed) != layers:
            keys.say(self.key, f"has {len(listed)} entries for {layers} layers; write one per layer")
        else:
            return [self.words[word] for word in listed]
        return otherwise

    def names(self) -> list[str]:
        """See `Rule`."""
        return [*self.words.values(), *choices(self.other)]


@dataclass(frozen=True)
class Pattern:
    """A text with one letter per layer, or a list of words."""

    key: str
    letters: Mapping[str, str]
    other: Choice

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """See `Rule`."""
        text = keys.value(f"{self.key}|=")
        otherwise = chosen(self.other, keys, layers)
        if not text:
            return otherwise
        if not isinstance(text, str) or set(text) - self.letters.keys():
            keys.say(self.key, f"is not a text of the letters {''.join(self.letters)}; write one letter per layer")
        elif len(text) != layers:
            keys.say(self.key, f"has {len(text)} letters for {layers} layers; write one per layer")
        else:
            return [self.letters[letter] for letter in text]
        return otherwise

    def names(self) -> list[str]:
        """See `Rule`."""
        return [*self.letters.values(), *choices(self.other)]


@dataclass(frozen=True)
class Every:
    """One layer of every `step`, that at `offset` (a spec; "": the last of them), has `then`; the others `other`."""

    step: str
    then: Choice
    other: Choice
    offset: str = ""

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """See `Rule`."""
        step = max(1, keys.count(self.step))
        offset = keys.count(self.offset) if self.offset else step - 1
        then, other = chosen(self.then, keys, layers), chosen(self.other, keys, layers)
        return [then[i] if i % step == offset else other[i] for i in range(layers)]

    def names(self) -> list[str]:
        """See `Rule`."""
        return [*choices(self.then), *choices(self.other)]


@dataclass(frozen=True)
class First:
    """The first `count` layers have `then`, the others `other`."""

    count: str
    then: Choice
    other: Choice

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """See `Rule`."""
        n = keys.count(self.count)
        then, other = chosen(self.then, keys, layers), chosen(self.other, keys, layers)
        return [then[i] if i < n else other[i] for i in range(layers)]

    def names(self) -> list[str]:
        """See `Rule`."""
        return [*choices(self.then), *choices(self.other)]


@dataclass(frozen=True)
class At:
    """The layers in a list of indices, counted from `base`, have `then`, the others `other`; without a list, `absent`.

    base: the index of the first layer. absent: a rule for files without the list ("": that of `other`).
    """

    key: str
    then: Choice
    other: Choice
    absent: Choice = ""
    base: int = 0

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """See `Rule`."""
        at = keys.listed(self.key)
        then, other = chosen(self.then, keys, layers), chosen(self.other, keys, layers)
        absent = chosen(self.absent or self.other, keys, layers)
        if at is None:
            return absent
        last = layers + self.base - 1
        if not all(isinstance(i, int) and self.base <= i <= last for i in at):
            keys.say(self.key, f"is not a list of layers from {self.base} to {last}; write their numbers")
        return [then[i] if i + self.base in at else other[i] for i in range(layers)]

    def names(self) -> list[str]:
        """See `Rule`."""
        return [*choices(self.then), *choices(self.other), *choices(self.absent or self.other)]


@dataclass(frozen=True)
class Flags:
    """A list of 0 and 1, one per layer: 1 has `then`, 0 `other`; without a list, another rule."""

    key: str
    then: Choice
    other: Choice
    otherwise: Choice

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """See `Rule`."""
        flags = keys.listed(self.key)
        then, other = chosen(self.then, keys, layers), chosen(self.other, keys, layers)
        absent = chosen(self.otherwise, keys, layers)
        if flags is None:
            return absent
        if len(flags) != layers or any(flag not in (0, 1) for flag in flags):
            keys.say(self.key, f"is not a list of {layers} times 0 or 1; write one per layer")
            return absent
        return [then[i] if flags[i] else other[i] for i in range(layers)]

    def names(self) -> list[str]:
        """See `Rule`."""
        return [*choices(self.then), *choices(self.other), *choices(self.otherwise)]


@dataclass(frozen=True)
class If:
    """One rule if a value is neither 0 nor false, else another."""

    spec: str
    then: Choice
    other: Choice

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """See `Rule`."""
        then, other = chosen(self.then, keys, layers), chosen(self.other, keys, layers)
        value = keys.value(self.spec)
        if isinstance(value, int) and 0 <= value <= 10**9:
            return then if value else other
        keys.say(self.spec.split("|")[0].split("?")[0], "is neither true, false nor a whole number; write one of them")
        return other

    def names(self) -> list[str]:
        """See `Rule`."""
        return [*choices(self.then), *choices(self.other)]


@dataclass(frozen=True)
class Missing:
    """An error: the file lacks a key that says what its layers are."""

    key: str

    def parts(self, keys: Keys, layers: int) -> list[str]:
        """See `Rule`; it counts only where nothing else says what the layers are."""
        return [MISSING] * layers

    def names(self) -> list[str]:
        """See `Rule`."""
        return []


#: The part of a layer that the file should describe and does not.
MISSING = "?"


@dataclass(frozen=True)
class Mtp:
    """The multi-token-prediction block: how many layers (0: none), their parts, whether its tables are stored again.

    listed, text: keys that name each layer, as words or as letters; their number then need not be `count`.
    """

    count: str
    mixer: str = ""
    ffn: str = ""
    tables: str = "shared"
    listed: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    letters: Mapping[str, str] = field(default_factory=dict)
    default: str = ""


@dataclass(frozen=True)
class Family:
    """How to read the config.json of the models of some `types`.

    parts:  part -> its fields, each a spec; `kind` is the kind of part.
    mixer, ffn: the parts of each layer: those of the mixer, then those of the feed-forward rule.
    top:    further fields of the model file -> spec (`norm.place`).
    tied:   whether embedding and head are one matrix if the file does not say.
    refuse: key -> the values that are modelled; a file with another value is refused.
    silent: keys that change neither shape nor work.
    hidden, vocab, layers: specs of width, rows of the embedding, number of layers; context and tie_key: keys.
    bare_head: the head of files whose architecture is a model without one.
    what:   which part of the file's model is read, if not all of it.
    derived: names that specs may use -> function of the file's keys, for a value that is computed (None: absent).
    """

    types: tuple[str, ...]
    parts: Mapping[str, Mapping[str, str]]
    mixer: Choice
    ffn: Choice = ""
    top: Mapping[str, str] = field(default_factory=dict)
    tied: bool = False
    mtp: Mtp | None = None
    refuse: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    silent: Sequence[str] = ()
    hidden: str = "hidden_size"
    vocab: str = "vocab_size"
    layers: str = "num_hidden_layers"
    context: str = "max_position_embeddings"
    tie_key: str = "tie_word_embeddings"
    bare_head: str = "none"
    what: str = ""
    derived: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
