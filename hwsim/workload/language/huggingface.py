"""A Hugging Face config.json as a document in the layout of our model files; each value keeps its place in the JSON.

What is read is said by the table of the family (`families/`). A key is read, refused, or known to change nothing; any
other is an error, as it may change the shape.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.files.yaml import Document, Loc, Mark, raise_problems, short
from hwsim.workload.language.families import FAMILIES, OUTER
from hwsim.workload.language.families.given import Given, place_of
from hwsim.workload.language.families.silent import is_outer, is_silent
from hwsim.workload.language.families.table import MISSING, MOST_LAYERS, Choice, Family, Mtp, chosen
from hwsim.workload.language.model import BUILT_IN, LAYER_KINDS
from hwsim.workload.language.quantised import checkpoint

#: Files may be long: those of quantised releases list every module.
MAX_BYTES = 16 * 2**20

#: Objects that hold the language model of a file with several.
_INNER = ("text_config", "language_config", "llm_config", "thinker_config")

#: Keys that files of two types must share for one to be named beside the other.
_ENOUGH = 6

#: Letters for blocks that have no letter yet.
_LETTERS = "ABCDFGHIJKLNOPQRSTUVWZabcdefghijklmnopqrstuvwz"

#: Kind of part -> its weight classes that have a format.
_CLASSES = {
    **dict.fromkeys(("attention", "mla"), ("attention_qkv", "attention_out")),
    **dict.fromkeys(("gdn", "kda", "lightning", "mamba2", "mamba1", "shortconv"), ("mamba_in", "mamba_out")),
    "mlp": ("mlp",),
    "moe": ("experts", "shared_experts", "latent"),
}

#: Parts that a model file describes outside `parts`.
_OUTSIDE = ("attention", "mamba2", "mlp", "moe")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def read(path: Path) -> Document:
    """Read a config.json as a document in our layout. raises: InputError with every error found."""
    source, beside = str(path), path.parent / "hf_quant_config.json"
    text = read_text(path)
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    quantised = parsed(read_text(beside), str(beside)) if beside.is_file() else None
    return translate(text, source, name, quantised)


def read_text(path: Path) -> str:
    """The text of a JSON file. raises: InputError."""
    source = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{short(source, 200)}: cannot be read ({reason}); write the path of a config.json") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{source}: larger than {MAX_BYTES // 2**20} MiB; write the path of a config.json")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{source}: not UTF-8 text (a binary file?); write the path of a config.json") from None


def parsed(text: str, source: str) -> dict[str, Any]:
    """The object that a JSON text holds. raises: InputError."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{source}:{error.lineno}:{error.colno}"
        raise InputError(f"{place}: not JSON ({error.msg.lower()}); repair the file or download it again") from None
    except (ValueError, RecursionError):
        raise InputError(f"{source}: not JSON of a configuration; repair the file or download it again") from None
    if not isinstance(data, dict):
        raise InputError(f"{source}:1:1: not an object; write the path of a model's config.json")
    return data


def translate(text: str, source: str, name: str, quantised: Mapping[str, Any] | None = None) -> Document:
    """The JSON text of a configuration as a document of our layout; `name` becomes the model's name.

    quantised: the object in hf_quant_config.json beside it.
    """
    outer = parsed(text, source)
    inner = next((key for key in _INNER if isinstance(outer.get(key), dict) and _has_shape(outer[key])), None)
    given = outer[inner] if inner else outer
    kind = _kind(outer, given, text, source)
    config = _Config(FAMILIES[kind], kind, given, text, source)
    if inner:
        config.enter(outer, inner)
    config.data["name"] = re.sub("[^a-z0-9._-]", "-", name.lower()).strip("._-")[:64] or kind
    tower = ", without its tower" if any(key in outer for key in ("vision_config", "audio_config")) else ""
    part = f", {config.family.what}" if config.family.what else ""
    config.data["description"] = f"{source} ({kind}{tower}{part})"
    config.translate(quantised)
    if config.problems:
        raise_problems(list(dict.fromkeys(config.problems)))
    return Document(source, config.data, {}, config.values)


def _has_shape(inner: Mapping[str, Any]) -> bool:
    """Whether an object describes a language model, rather than names one."""
    return "hidden_size" in inner or "num_hidden_layers" in inner


def _kind(outer: Mapping[str, Any], given: Mapping[str, Any], text: str, source: str) -> str:
    """The `model_type` whose table reads the file. raises: InputError for an unknown one."""
    kind, ssm = given.get("model_type"), given.get("ssm_cfg")
    if kind is None and isinstance(outer.get("model_type"), str):
        kind = OUTER.get(outer["model_type"], outer["model_type"])
    if kind is None and isinstance(ssm, dict) and ssm.get("layer") == "Mamba2":
        return "state-spaces"
    known = f"{len(FAMILIES) - 1} types, which docs/models.md lists"
    if not isinstance(kind, str):
        raise InputError(f"{source}:1:1: model_type: missing; known: {known}")
    if kind not in FAMILIES or kind == "state-spaces":
        place = place_of(text, source, "model_type")
        alike = _with_the_same_keys(given)
        also = f"; every key is one that a {alike} file has" if alike else ""
        also = f"; did you mean {misspelt}?" if (misspelt := _misspelt(kind)) else also
        raise InputError(f"{place}: model_type: unknown architecture {short(kind)}{also}; known: {known}")
    return kind


def _misspelt(kind: str) -> str:
    """A known type of nearly the same letters and the same digits: `qwen4` is a newer architecture, no slip; ""."""
    digits = re.sub(r"\D", "", kind)
    close = difflib.get_close_matches(kind, [known for known in FAMILIES if known != "state-spaces"], 3, 0.9)
    return next((known for known in close if re.sub(r"\D", "", known) == digits), "")


def _with_the_same_keys(given: Mapping[str, Any]) -> str:
    """A family that knows every key of the file, and reads most of them ("": there is none)."""
    loud = {key for key in given if not is_silent(key)}
    if len(loud) < _ENOUGH:
        return ""
    fits = [(len(loud & family_keys(f)), kind) for kind, f in FAMILIES.items() if loud <= family_keys(f)]
    return max(fits)[1] if fits else ""


def family_keys(family: Family) -> set[str]:
    """Every key that the table of a family names."""
    specs = [spec for fields in family.parts.values() for spec in fields.values()]
    specs += [*family.top.values(), family.hidden, family.vocab, family.layers]
    if family.mtp:
        specs += [family.mtp.count, family.mtp.listed, family.mtp.text]
    found = {name for spec in (*specs, *_specs(family.mixer), *_specs(family.ffn)) for name in _NAME.findall(spec)}
    return {name.split(".")[0] for name in found} | {*family.refuse, *family.silent, family.context, family.tie_key}


def _specs(choice: Choice) -> list[str]:
    """The keys and specs of a rule, and of the rules in it."""
    if isinstance(choice, str):
        return []
    found: list[str] = []
    for key, value in vars(choice).items():
        if isinstance(value, str) and key in ("key", "step", "offset", "count", "spec"):
            found.append(value)
        elif hasattr(value, "parts"):
            found += _specs(value)
    return found


class _Config(Given):
    """The given JSON, and the document in our layout that is made from it."""

    def __init__(self, family: Family, kind: str, given: Mapping[str, Any], text: str, source: str):
        super().__init__(family, given, text, source)
        self.kind = kind
        self.data: dict[str, Any] = {}
        self.values: dict[Loc, Mark] = {(): Mark(source, 1, 1)}
        self.architectures = given.get("architectures")
        self.kinds: list[list[str]] = []

    def enter(self, outer: Mapping[str, Any], inner: str) -> None:
        """Take from the file around the language model what the inner object lacks; refuse what is unknown there."""
        for key in ("tie_word_embeddings", "quantization_config", "compression_config", "vocab_size"):
            if key in outer:
                self.given.setdefault(key, outer[key])
        self.architectures = outer.get("architectures", self.architectures)
        for key in outer:
            if key != inner and key not in self.given and not is_outer(key):
                self.unknown(key)

    def put(self, where: str, spec: str) -> None:
        """Set a dotted path of our layout to the value of a spec."""
        value, key = self.found(spec)
        if value is None:
            return
        self.write(tuple(where.split(".")), value, key)

    def write(self, loc: tuple[str, ...], value: Any, key: str = "") -> None:
        """Set a place of our layout, which came from a key ("": from none)."""
        node = self.data
        for i, parent in enumerate(loc[:-1]):
            node = node.setdefault(parent, {})
            self.values.setdefault(loc[: i + 1], Mark(self.source, 1, 1))
        node[loc[-1]] = value
        self.values[loc] = place_of(self.text, self.source, key.split(".")[-1]) if key else Mark(self.source, 1, 1)

    # -- the document ------------------------------------------------------------------------------

    def translate(self, quantised: Mapping[str, Any] | None) -> None:
        """Fill the document; errors are in `problems`. quantised: the object in hf_quant_config.json."""
        family = self.family
        self._refuse()
        self.put("hidden", family.hidden)
        self.put("vocab", family.vocab)
        if self.given.get(family.context) is not None:
            self.put("max_context", family.context)
        self.put("tied_embeddings", f"{family.tie_key}|={'true' if family.tied else 'false'}")
        layers = self.count(family.layers)
        if layers > MOST_LAYERS:
            self.say(family.layers, f"is more than the {MOST_LAYERS:,} layers that hwsim reads; write fewer")
            return
        blocks = self._blocks(chosen(family.mixer, self, layers), chosen(family.ffn, self, layers))
        mtp = self._mtp(family.mtp) if family.mtp else []
        known = self._letters(dict.fromkeys([*blocks, *mtp]))
        key = next((k for k in ("layer_types", "layers_block_type", "hybrid_override_pattern") if k in self.given), "")
        self.write(("layers",), "".join(known[block] for block in blocks), key or family.layers)
        if mtp and family.mtp:
            found = next((k for k in (family.mtp.listed, family.mtp.text) if k and k in self.given), "")
            self.write(
                ("mtp",), "".join(known[block] for block in mtp), found or _NAME.findall(family.mtp.count + " x")[0]
            )
            if family.mtp.tables != "shared":
                self.write(("mtp_tables",), family.mtp.tables)
        self._parts({name.lstrip("+") for block in (*blocks, *mtp) for name in block.split()})
        for where, spec in family.top.items():
            self.put(where, spec)
        self._head()
        names = [[name.lstrip("+") for name in block.split()] for block in blocks]
        self._checkpoint(quantised, [[self._kind_of(name) for name in block] for block in names], bool(mtp))

    def _kind_of(self, name: str) -> str:
        """The kind of a part by its name."""
        kind = self.family.parts.get(name, {}).get("kind")
        return kind or {"mamba": "mamba2", "window_attention": "attention"}.get(name, name)

    def _checkpoint(self, beside: Mapping[str, Any] | None, kinds: list[list[str]], mtp: bool) -> None:
        """The formats of a quantised release."""
        keys = ("quantization_config", "compression_config")
        settings: list[tuple[str, Any]] = [(key, self.given[key]) for key in keys if self.given.get(key) is not None]
        if any(not isinstance(value, dict) for _, value in settings):
            self.say(settings[0][0], "is not an object; repair the file")
            return
        if beside is not None:
            settings.append(("hf_quant_config.json", beside))
        classes = {"embedding", "head"} | {name for block in kinds for kind in block for name in _CLASSES[kind]}
        classes |= {"mtp"} if mtp else set()
        moe = self.data.get("moe", {})
        classes -= {
            name for name, key in (("shared_experts", "shared_intermediate"), ("latent", "latent")) if not moe.get(key)
        }
        found = []
        for key, value in settings:
            try:
                found.append((key, checkpoint(value, kinds, classes)))
            except InputError as error:
                for problem in error.problems:
                    self.say(key, problem)
                return
        first = found[0][1] if found else None
        for key, other in found[1:]:
            if first and other and (first.weights, first.kv) != (other.weights, other.kv):
                self.say(found[0][0], f"names other formats than {key}; repair one of the files")
        if first:
            self.write(("checkpoint",), first.config(), found[0][0])

    def _refuse(self) -> None:
        """Keys with values that are not modelled, and keys that nothing is known about."""
        for key, allowed in self.family.refuse.items():
            value = self.same_everywhere(self.given.get(key))
            if value is not None and value not in allowed:
                wanted = " or ".join(json.dumps(a) for a in allowed if a is not None) or "null"
                shown = f"{short(json.dumps(value))} is not modelled, only {wanted} is"
                self.say(key, f"{shown}; write the model as a YAML file if it can be")
        known = family_keys(self.family) | set(self.family.derived)
        for key, value in self.given.items():
            if value is not None and key not in known and not is_silent(key):
                self.unknown(key, known)
        nested = {n for spec in _all_specs(self.family) for n in _NAME.findall(spec) if "." in n}
        nested |= {key for key in self.family.silent if "." in key}
        for top in {name.split(".")[0] for name in nested}:
            inner = self.given.get(top)
            for key in inner if isinstance(inner, dict) else ():
                if f"{top}.{key}" not in nested:
                    self.unknown(f"{top}.{key}", nested)

    def unknown(self, key: str, known: set[str] | frozenset[str] = frozenset()) -> None:
        """Add an error for a key that may change the shape."""
        near = nearest(short(key), sorted(known)) if known else ""
        meant = near if "did you mean" in near else ""
        self.say(
            key,
            f"is no key of {self.kind} files that hwsim knows, and may change the shape{meant}; leave it out if it "
            "changes nothing, or write the model as a YAML file",
        )

    def _blocks(self, mixers: list[str], ffns: list[str]) -> list[str]:
        """Names of the parts of each layer."""
        found = [" ".join(f"{m} {f}".split()) for m, f in zip(mixers, ffns, strict=True)]
        if any(MISSING in block.split() for block in found):
            keys = _specs(self.family.mixer)
            if not any(key in self.given for key in keys):
                self.problems.append(f"{self.source}:1:1: {keys[-1]}: missing; write the layers of the model")
            elif not self.problems:
                self.say(keys[-1], "does not say what every layer is; write one entry per layer")
            return []
        return found

    def _mtp(self, mtp: Mtp) -> list[str]:
        """Names of the parts of each layer of the multi-token-prediction block."""
        n = self.count(mtp.count)
        if not n:
            return []
        if not mtp.text:
            return [" ".join(f"{mtp.mixer} {mtp.ffn}".split())] * min(n, MOST_LAYERS)
        words = self.listed(mtp.listed)
        letters = self.value(f"{mtp.text}|={mtp.default}")
        if words is not None:
            if all(isinstance(word, str) and word in mtp.words for word in words):
                return [mtp.words[word] for word in words]
            self.say(mtp.listed, f"is not a list of {', '.join(mtp.words)}; write one per layer")
        elif isinstance(letters, str) and set(letters) <= mtp.letters.keys():
            return [mtp.letters[letter] for letter in letters]
        else:
            self.say(mtp.text, f"is not a text of the letters {''.join(mtp.letters)}; write one per layer")
        return []

    def _letters(self, blocks: Mapping[str, Any]) -> dict[str, str]:
        """A letter for each block: that of today where there is one, else a new one, described under `blocks`."""
        built_in = {" ".join(names): letter for letter, names in LAYER_KINDS.items()}
        own = set(self.family.parts) - set(_OUTSIDE)
        free = iter(_LETTERS)
        found = {}
        for block in blocks:
            names = block.split()
            if block in built_in and not own & set(names):
                found[block] = built_in[block]
                continue
            found[block] = letter = next(free)
            listed = [[name[1:]] if name.startswith("+") else name for name in names]
            self.write(("blocks", letter), listed)
        return found

    def _parts(self, used: set[str]) -> None:
        """The shape of each part that some layer has."""
        needed = {BUILT_IN.get(name, name) if name not in self.family.parts else name for name in used}
        for name, fields in self.family.parts.items():
            if name not in needed:
                continue
            where = name if name in _OUTSIDE else f"parts.{name}"
            for field, spec in fields.items():
                if field == "kind":
                    self.write(("parts", name, "kind"), spec)
                elif not (name == "attention" and field == "window" and "window_attention" not in used):
                    self.put(f"{where}.{field}", spec)

    def _head(self) -> None:
        """The head that the architecture names."""
        listed = self.architectures
        if listed is None or listed == []:
            return
        if not isinstance(listed, list) or not all(isinstance(a, str) for a in listed):
            self.say("architectures", "is not a list of names; write the model's class")
            return
        name = listed[0]
        if name.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")):
            return
        if name.endswith(("ForSequenceClassification", "ForRewardModel", "RewardModel")):
            labels = self.given.get("num_labels", len(self.given.get("id2label") or ()) or None)
            self.write(("head",), labels or (1 if "Reward" in name else 2), "architectures")
        elif name.endswith(("Model", "ForMaskedLM")):
            self.write(("head",), self.family.bare_head, "architectures")
        else:
            self.say("architectures", f"{short(name)} has a head that is not modelled; write the model as a YAML file")


def _all_specs(family: Family) -> list[str]:
    fields = [spec for part in family.parts.values() for spec in part.values()]
    return [*fields, *_specs(family.mixer), *_specs(family.ffn), *family.top.values()]
