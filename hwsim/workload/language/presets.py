"""Published formats: the format of each weight class in a released checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.errors import InputError, nearest
from hwsim.workload.language.checkpoint import Checkpoint
from hwsim.workload.language.model import Model
from hwsim.workload.load import load_model
from hwsim.workload.op import Workload


@dataclass(frozen=True, slots=True)
class Preset:
    """Formats of a published checkpoint. None: not published, so that the defaults of a run apply.

    weights: names of formats by the keys of a format map (`workload.formatmap`).
    state:   format of the SSM state; stochastic rounding (which Super and Ultra use) is an option of the run.
    """

    weights: Mapping[str, str | Mapping[str, object]]
    activations: str | None = None
    kv: str | None = None
    state: str | None = None


def _map(default: str, **formats: str) -> Mapping[str, str]:
    return {**formats, "default": default}


#: Nemotron 3 Nano, report arXiv 2512.20848, quantization: FP8, except that the attention layers, the
#: Mamba-2 layer directly before each of them, convolution, embedding and head are BF16; KV in FP8, state in FP32.
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
        # Mamba GEMMs in FP8; the other GEMMs in BF16; state in FP16.
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
        # Report arXiv 2604.12374: routed experts NVFP4; a search chose NVFP4, FP8 or BF16 for each other layer,
        # down to 4.75 bits per element. The choice is not published: FP8 for shared experts and Mamba, and BF16 for
        # attention and latent projections, is our assumption (4.74 bits per element over all GEMMs of the layers).
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
        # activations), shared experts and Mamba linears FP8 per tensor, the other GEMMs BF16; state in FP16.
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
        # Model card, arXiv 2508.10925, section 2.1: MoE weights MXFP4, everything else BF16; activations BF16.
        "published-mxfp4": Preset(_map("bf16", experts="mxfp4_e2m1"), activations="bf16"),
    },
    "gpt-oss-120b": {
        "published-mxfp4": Preset(_map("bf16", experts="mxfp4_e2m1"), activations="bf16"),  # same model card
    },
    "qwen3-30b-a3b-thinking-2507": {
        # quantization_config of the authors' FP8 checkpoint (quoted in vllm-project/llm-compressor issue 1758): all
        # linears except head and routers, with one FP32 scale per 128 x 128 tile.
        "published-fp8": Preset(_map("fp8_block", embedding="bf16", head="bf16")),
    },
    # quantization_config of the authors' other FP8 checkpoints (Qwen/Qwen3-235B-A22B-FP8 and so on): the same rule.
    **{
        name: {"published-fp8": Preset(_map("fp8_block", embedding="bf16", head="bf16"))}
        for name in ("qwen3-235b-a22b", "qwen3-8b", "qwen3-32b", "qwen3-coder-480b-a35b")
    },
}


def released(model: Workload) -> Preset:
    """The formats in which a model is released: those that its file names, else 16 bits."""
    found = getattr(model, "checkpoint", None)
    if not isinstance(found, Checkpoint):
        return Preset({"default": "bf16"})
    return Preset(found.table(), found.activations, found.kv)


def released_note(model: Workload) -> tuple[str, ...]:
    """A note on the formats that the model's file names, for a run that names none."""
    found = getattr(model, "checkpoint", None)
    if not isinstance(found, Checkpoint):
        return ()
    return (f"weights in the formats of the release ({found.method or 'as its file says'}); --weights overrides them",)


def _presets(model: Workload) -> dict[str, Preset]:
    """The presets of a model: of its name, or those of the shipped model whose layers have the same weights."""
    if model.name in _PRESETS or not isinstance(model, Model):
        return _PRESETS.get(model.name, {})
    mine = (model.hidden, model.layer_parameters())
    for name, presets in _PRESETS.items():
        shipped = load_model(name)
        if isinstance(shipped, Model) and (shipped.hidden, shipped.layer_parameters()) == mine:
            return presets
    return {}


def preset_names(model: Workload) -> list[str]:
    """Names of the model's presets, sorted."""
    return sorted(_presets(model))


def preset(model: Workload, name: str) -> Preset:
    """The published formats of a shipped model, or of a file that has its shape.

    raises: InputError with the presets that exist.
    """
    presets = _presets(model)
    names = sorted(presets)
    if not names:
        raise InputError(f"weights: {model.name} has no presets; these models have presets: {', '.join(_PRESETS)}")
    if name not in names:
        raise InputError(f"weights: unknown preset {name!r} of {model.name}{nearest(name, names)}")
    return presets[name]
