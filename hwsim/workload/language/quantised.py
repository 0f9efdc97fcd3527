"""The formats of a quantised release, from `quantization_config` or hf_quant_config.json.

Rules: every linear of the layers is quantised unless the file leaves it out by name; embedding, router and norms never
are; the head is with modelopt and compressed-tensors, unless it is left out. Where the modules of one class differ in a
layer, the class has the format of most of its elements. Unknown methods and unknown widths are refused.

Sources: huggingface/transformers, quantizers; neuralmagic/compressed-tensors, quantization/quant_args.py;
NVIDIA/Model-Optimizer, torch/export.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hwsim.errors import InputError
from hwsim.files.yaml import short
from hwsim.workload.language.checkpoint import Checkpoint
from hwsim.workload.language.modules import Module, Patterns, modules_of, outside

#: modelopt's `quant_algo` -> format of the weights, and of the activations where they stay wide.
_ALGOS = {
    "FP8": ("fp8_e4m3", None),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8_row", None),
    "FP8_PB_WO": ("fp8_block", None),
    "NVFP4": ("nvfp4", None),
    "NVFP4_AWQ": ("nvfp4", None),
    "W4A16_NVFP4": ("nvfp4", "bf16"),
    "MXFP4": ("mxfp4_e2m1", None),
    "MXFP8": ("mxfp8_e4m3", None),
    "W4A16_AWQ": ("int4_g128", "bf16"),
}
_CACHES = {"FP8": "fp8_e4m3", "NVFP4": "nvfp4", "NONE": None}


class _Scheme(NamedTuple):
    """Modules that fit `named` (None: all) and not `left_out` have one format."""

    format: str
    activations: str | None
    left_out: Patterns
    named: Patterns | None = None
    head: bool = False


def checkpoint(given: Mapping[str, Any], kinds: Sequence[Sequence[str]], classes: set[str]) -> Checkpoint | None:
    """The formats that a quantisation mapping means; None where it names no format (a plain `{}`).

    kinds:   kinds of the parts of each layer.
    classes: the weight classes that the model has.
    raises:  InputError, with messages that begin with the key in question.
    """
    problems: list[str] = []
    method = given.get("quant_method") or ("modelopt" if "quant_algo" in given or "quantization" in given else None)
    if not given:
        return None
    readers = {
        "fp8": _fp8, "fbgemm_fp8": _fbgemm, "compressed-tensors": _groups, "modelopt": _modelopt, "mxfp4": _mxfp4,
        "awq": _integers, "gptq": _integers,
    }  # fmt: skip
    if not isinstance(method, str) or method not in readers:
        known = ", ".join(readers)
        raise InputError(f"quant_method: {short(method)} is not known; known: {known}; write --weights for a run")
    inner = given.get("quantization")
    settings = inner if method == "modelopt" and isinstance(inner, dict) else given
    try:
        schemes = readers[method](settings, problems)
    except re.error as error:
        raise InputError(f"ignore: is not a regular expression ({error}); repair the file") from None
    kv = _cache(settings, problems)
    if problems:
        raise InputError(*problems)
    modules = [*modules_of(kinds, classes), *(m for m in outside(len(kinds)) if m.weights in classes)]
    table = _table(modules, schemes)
    wide = {scheme.activations for scheme in schemes}
    return Checkpoint(tuple(table.items()), wide.pop() if len(wide) == 1 else None, kv, method)


def _table(modules: Iterable[Module], schemes: Sequence[_Scheme]) -> dict[str, str]:
    """The format map: one format per class, and keys with layers where they differ."""
    votes: dict[str, dict[int, Counter[str]]] = {}
    for module in modules:
        count = votes.setdefault(module.weights, {}).setdefault(module.layer, Counter())
        count[_format(module, schemes)] += module.share
    table: dict[str, str] = {}
    for weights, layers in sorted(votes.items()):
        chosen = {layer: count.most_common(1)[0][0] for layer, count in layers.items()}
        usual = Counter(chosen.values()).most_common(1)[0][0]
        table[weights] = usual
        for other in sorted(set(chosen.values()) - {usual}):
            at = ",".join(str(layer) for layer in sorted(chosen) if chosen[layer] == other)
            table[f"{weights}@{at}"] = other
    default = Counter(form for key, form in table.items() if "@" not in key).most_common(1)
    usual = default[0][0] if default else "bf16"
    kept = {key for key in table if "@" in key or table[key] != usual}
    whole = {key.split("@")[0] for key in kept if "@" in key}
    return {key: form for key, form in table.items() if key in kept or key in whole} | {"default": usual}


def _format(module: Module, schemes: Sequence[_Scheme]) -> str:
    if module.weights == "embedding":
        return "bf16"
    for scheme in schemes:
        if module.weights == "head" and not scheme.head:
            continue
        if scheme.named is not None and not scheme.named.fit_any(module.names):
            continue
        if not scheme.left_out.fit_any(module.names):
            return scheme.format
    return "bf16"


def _names(given: Mapping[str, Any], problems: list[str], *keys: str) -> list[str]:
    """The list of names under the first of the keys that the mapping has."""
    for key in keys:
        value = given.get(key)
        if value is None:
            continue
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return value
        problems.append(f"{key}: is not a list of names; repair the file")
    return []


def _fp8(given: Mapping[str, Any], problems: list[str]) -> list[_Scheme]:
    block = given.get("weight_block_size")
    if block not in (None, [128, 128]):
        problems.append(f"weight_block_size: {short(block)} is not modelled, only [128, 128] and null are")
    names = _names(given, problems, "modules_to_not_convert", "ignored_layers")
    return [_Scheme("fp8_block" if block else "fp8_e4m3", None, Patterns(names))]


def _fbgemm(given: Mapping[str, Any], problems: list[str]) -> list[_Scheme]:
    return [_Scheme("fp8_row", None, Patterns(_names(given, problems, "modules_to_not_convert")))]


def _mxfp4(given: Mapping[str, Any], problems: list[str]) -> list[_Scheme]:
    names = _names(given, problems, "modules_to_not_convert")
    return [_Scheme("mxfp4_e2m1", "bf16", Patterns(names), Patterns(["experts"]))]


def _integers(given: Mapping[str, Any], problems: list[str]) -> list[_Scheme]:
    bits, group = given.get("bits", given.get("w_bit")), given.get("group_size", given.get("q_group_size"))
    if bits != 4 or not _is_group(group):
        problems.append(f"bits: {short(bits)} in groups of {short(group)} is not modelled; only 4 bits in groups are")
    names = _names(given, problems, "modules_to_not_convert")
    return [_Scheme(f"int4_g{group}", "bf16", Patterns(names))]


def _is_group(group: Any) -> bool:
    return isinstance(group, int) and not isinstance(group, bool) and 8 <= group <= 4096


def _groups(given: Mapping[str, Any], problems: list[str]) -> list[_Scheme]:
    """The groups of compressed-tensors; the first whose target fits a module decides."""
    groups = given.get("config_groups")
    if not isinstance(groups, dict) or not groups or not all(isinstance(g, dict) for g in groups.values()):
        problems.append("config_groups: is not a mapping of groups; repair the file")
        return []
    left_out = Patterns(_names(given, problems, "ignore"))
    schemes = []
    for name, group in groups.items():
        targets = _names(group, problems, "targets")
        classes = [target for target in targets if re.fullmatch("[A-Z][A-Za-z]*", target)]
        if set(classes) - {"Linear"}:
            problems.append(f"{short(name)}: targets {short(classes)} are not modelled, only Linear and names are")
        form = _numbers(group.get("weights"), str(name), problems)
        inputs = "bf16" if group.get("input_activations") is None else None
        named = None if "Linear" in targets or not targets else Patterns(targets)
        schemes.append(_Scheme(form, inputs, left_out, named, head=True))
    return schemes


def _numbers(weights: Any, name: str, problems: list[str]) -> str:
    """The format that a group's `weights` describe."""
    if isinstance(weights, dict):
        what = weights.get("type"), weights.get("num_bits")
        strategy, size = weights.get("strategy"), weights.get("group_size")
        if what == ("float", 8):
            found = {"tensor": "fp8_e4m3", "channel": "fp8_row", "block": "fp8_block", None: "fp8_e4m3"}.get(strategy)
            if found and weights.get("block_structure") in (None, [128, 128], "128x128"):
                return found
        if what == ("float", 4) and size in (16, 32):
            return "nvfp4" if size == 16 else "mxfp4_e2m1"
        if what == ("int", 4) and _is_group(size):
            return f"int4_g{size}"
        if what == ("int", 8) and strategy in ("channel", "tensor"):
            return "int8"
        shown = f"{what[0]} of {what[1]} bits, {strategy or 'no strategy'}, group size {size}"
        problems.append(f"{short(name)}: weights ({short(shown)}) are not modelled; write --weights for a run")
    else:
        problems.append(f"{short(name)}: has no mapping `weights`; repair the file")
    return "bf16"


def _modelopt(given: Mapping[str, Any], problems: list[str]) -> list[_Scheme]:
    algo = given.get("quant_algo")
    if algo is None and "config_groups" in given:
        return _groups(given, problems)
    left_out = Patterns(_names(given, problems, "exclude_modules", "ignore"))
    if algo != "MIXED_PRECISION":
        return [_Scheme(*_algo(algo, problems), left_out, head=True)]
    layers = given.get("quantized_layers")
    if not isinstance(layers, dict):
        problems.append("quantized_layers: is not a mapping of modules; repair the file")
        return []
    by_algo: dict[str, list[str]] = {}
    for name, settings in layers.items():
        kind = settings.get("quant_algo") if isinstance(settings, dict) else None
        by_algo.setdefault(kind if isinstance(kind, str) else "", []).append(name)
    return [_Scheme(*_algo(a, problems), left_out, Patterns(names), head=True) for a, names in by_algo.items()]


def _algo(algo: Any, problems: list[str]) -> tuple[str, str | None]:
    if isinstance(algo, str) and algo in _ALGOS:
        return _ALGOS[algo]
    problems.append(f"quant_algo: {short(algo)} is not known; known: {', '.join(_ALGOS)}")
    return "bf16", None


def _cache(given: Mapping[str, Any], problems: list[str]) -> str | None:
    """The format of the KV cache."""
    scheme, algo = given.get("kv_cache_scheme"), given.get("kv_cache_quant_algo")
    if isinstance(scheme, dict):
        if (scheme.get("num_bits"), scheme.get("type")) == (8, "float"):
            return "fp8_e4m3"
        problems.append(f"kv_cache_scheme: {short(scheme)} is not modelled, only 8-bit floats are")
    elif scheme is not None:
        problems.append("kv_cache_scheme: is not a mapping; repair the file")
    if algo is not None and (not isinstance(algo, str) or algo not in _CACHES):
        problems.append(f"kv_cache_quant_algo: {short(algo)} is not known; known: {', '.join(_CACHES)}")
        return None
    return _CACHES[algo] if algo else None
