"""Formats as published: which tensors of a released checkpoint are stored in what, by weight class and layer.

A format map is (key, format) pairs. A key is a weight class, a class of some layers only (`mamba_in@4,11`), or
`default` for the classes that it does not name; the more particular key wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hwsim.errors import InputError, nearest
from hwsim.workload.language.model import Model
from hwsim.workload.op import FIXED_CLASSES, WEIGHT_CLASSES

FormatMap = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Preset:
    """Formats of a published checkpoint. None: not published, the run's own rule.

    weights: format map; state: the SSM state, whose rounding (Super and Ultra: stochastic) is the run's business.
    """

    weights: FormatMap
    activations: str | None = None
    kv: str | None = None
    state: str | None = None


def _map(default: str, **formats: str) -> FormatMap:
    return (*formats.items(), ("default", default))


#: Nemotron 3 Nano, report arXiv 2512.20848, quantization: FP8 but for the attention layers, the Mamba-2 layer
#: directly before each of them, convolution, embedding and head, which stay BF16; KV in FP8, state in FP32.
_NANO_KEPT = "4,11,18,25,32,41"
_NANO_BF16 = {
    "attention_qkv": "bf16",
    "attention_out": "bf16",
    f"mamba_in@{_NANO_KEPT}": "bf16",
    f"mamba_out@{_NANO_KEPT}": "bf16",
    "embedding": "bf16",
    "head": "bf16",
}

_PRESETS: dict[str, dict[str, Preset]] = {
    "nemotron3-nano-30b-a3b": {
        "published-fp8": Preset(_map("fp8_e4m3", **_NANO_BF16), kv="fp8_e4m3", state="fp32"),
        # The NVFP4 checkpoint (quantization, then distillation) keeps the same layers, NVIDIA-NeMo/Nemotron.
        "published-nvfp4": Preset(_map("nvfp4", **_NANO_BF16), kv="fp8_e4m3", state="fp32"),
    },
    "nemotron3-super-120b-a12b": {
        # NVIDIA-NeMo/Nemotron, docs/nemotron/super3/quantization.md, "FP8 Checkpoint": experts, shared experts and
        # Mamba GEMMs in FP8; the rest of the GEMMs BF16; state in FP16.
        "published-fp8": Preset(
            _map(
                "bf16",
                experts="fp8_e4m3",
                shared_experts="fp8_e4m3",
                mamba_in="fp8_e4m3",
                mamba_out="fp8_e4m3",
            ),
            kv="fp8_e4m3",
            state="fp16",
        ),
        # Report arXiv 2604.12374: routed experts NVFP4; a search chose the rest layer by layer, between NVFP4, FP8
        # and BF16, down to 4.75 bits an element. Which layer got which is not printed: FP8 for shared experts and
        # Mamba, BF16 for attention and latent projections is ours (4.74 bits over all GEMMs of the layers).
        "published-nvfp4": Preset(
            _map(
                "bf16",
                experts="nvfp4",
                shared_experts="fp8_e4m3",
                mamba_in="fp8_e4m3",
                mamba_out="fp8_e4m3",
            ),
            kv="fp8_e4m3",
            state="fp16",
        ),
    },
    "nemotron3-ultra-550b-a55b": {
        # Report arXiv 2606.15007 and docs.nvidia.com/nemotron, ultra3/quantization: routed experts NVFP4 (weights and
        # activations), shared experts and Mamba linears FP8 per tensor, the rest of the GEMMs BF16; state in FP16.
        "published-nvfp4": Preset(
            _map(
                "bf16",
                experts="nvfp4",
                shared_experts="fp8_e4m3",
                mamba_in="fp8_e4m3",
                mamba_out="fp8_e4m3",
            ),
            kv="fp8_e4m3",
            state="fp16",
        ),
    },
    "gpt-oss-20b": {
        # Model card, arXiv 2508.10925, section 2.1: MoE weights MXFP4, all else BF16; activations BF16.
        "published-mxfp4": Preset(_map("bf16", experts="mxfp4_e2m1"), activations="bf16"),
    },
    "qwen3-30b-a3b-thinking-2507": {
        # quantization_config of the authors' FP8 checkpoint (quoted in vllm-project/llm-compressor issue 1758): all
        # linears but head and routers. Its scales, one FP32 a 128 x 128 tile, are counted as one a tensor.
        "published-fp8": Preset(_map("fp8_e4m3", embedding="bf16", head="bf16")),
    },
}


def preset_names(model: Model) -> list[str]:
    """Names of the model's presets, sorted."""
    return sorted(_PRESETS.get(model.name, {}))


def preset(model: Model, name: str) -> Preset:
    """The published formats of a shipped model. raises: InputError naming those there are."""
    names = preset_names(model)
    if not names:
        raise InputError(f"weights: {model.name} has no presets; these models have: {', '.join(_PRESETS)}")
    if name not in names:
        raise InputError(f"weights: unknown preset {name!r} of {model.name}{nearest(name, names)}")
    return _PRESETS[model.name][name]


def split_key(key: str) -> tuple[str, frozenset[int] | None]:
    """(weight class or "default", layers or None for all) of a format map's key. raises: InputError."""
    name, at, listed = key.partition("@")
    if name not in WEIGHT_CLASSES and name != "default":
        raise InputError(f"weights: unknown class {name!r}{nearest(name, WEIGHT_CLASSES)}")
    if not at:
        return name, None
    parts = listed.split(",")
    if name == "default" or not all(p.isascii() and p.isdecimal() and len(p) < 6 for p in parts):
        raise InputError(f"weights: {key!r}: write a class and layers counted from 0, for example `mamba_in@4,11`")
    return name, frozenset(map(int, parts))


def format_of(weights: Iterable[tuple[str, str]], name: str, layer: int = -1) -> str:
    """Format of one weight class in one layer (-1: outside the layers). raises: InputError for a bad key."""
    if name in FIXED_CLASSES:
        return FIXED_CLASSES[name]
    found: dict[int, str] = {}
    for key, fmt in weights:
        kind, layers = split_key(key)
        if kind == name and (layers is None or layer in layers):
            found.setdefault(1 if layers is None else 0, fmt)
        elif kind == "default":
            found.setdefault(2, fmt)
    if not found:
        raise InputError(f"weights: nothing for {name} and no `default`; write one")
    return found[min(found)]
