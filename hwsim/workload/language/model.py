"""Model: the shape of a language model, and the counts that follow from it.

Counts are numbers of elements: parameters or cache entries. `Model.parameters` has the formulas. The model files
contain the totals that the authors publish, and tests compare the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from hwsim.workload.language.checkpoint import Checkpoint
from hwsim.workload.language.kinds import ALWAYS, WORDS, Part
from hwsim.workload.language.parts.attention import Attention
from hwsim.workload.language.parts.feedforward import Mlp
from hwsim.workload.language.parts.mamba2 import Mamba2
from hwsim.workload.language.parts.moe import Moe
from hwsim.workload.language.parts.step import Norm
from hwsim.workload.op import CACHES, Kept, Op, StepOptions, Stored

__all__ = ["LAYER_KINDS", "Attention", "Mamba2", "Mlp", "Model", "Moe", "Slot"]

#: Letters of a layer pattern, and the parts of such a layer. Each part has a norm before it. The letters M E * - are
#: those of the nemotron_h configurations; layers with lower-case letters use sliding-window attention. A model's
#: `blocks` may add letters, and give these another meaning.
LAYER_KINDS = {
    "M": ("mamba",),
    "E": ("moe",),
    "*": ("attention",),
    "-": ("mlp",),
    "X": ("attention", "mlp"),
    "Y": ("attention", "moe"),
    "x": ("window_attention", "mlp"),
    "y": ("window_attention", "moe"),
}

#: Names of the parts that a model file describes outside `parts`, and the mapping there.
BUILT_IN = {
    "attention": "attention",
    "window_attention": "attention",
    "mamba": "mamba2",
    "mlp": "mlp",
    "moe": "moe",
}


class Slot(NamedTuple):
    """A part in a layer.

    beside: it has the same input as the part before it, and their results are added. stored: the layer has weights of
    its own; if not, it reads those that an earlier layer stores.
    """

    name: str
    part: Part
    beside: bool = False
    stored: bool = True


@dataclass(frozen=True)
class Model:
    """A language model.

    layers:    kinds of the layers in order, as letters of `blocks` and LAYER_KINDS.
    max_context: the longest context that the model was made for (None: no limit is known).
    mtp:       layers of the multi-token-prediction block, as letters ("": none); not in the totals.
    published: parameter counts of the authors (None: not published); active counts include the head and, where the
               name says so, the embedding.
    parts:     further parts by name: one shape, or one per layer that contains the part.
    shared:    (name of a part, how often it is stored): its layers use the stored weights in turn.
    blocks:    further letters: the parts of such a layer by name, and whether each stands beside the one before it.
    norm, embedding_norm, final_norm: the norms around parts, after the embedding and before the head.
    head:      "lm", "none", "pooler" (one square matrix with a bias), or a number of labels; head_bias: logits add a
               bias; softcap: logits pass through a scaled tanh.
    positions: rows of a table of positions that is added to the embedding (0: none).
    mtp_tables: "shared", or "own": the checkpoint stores embedding and head once more for the block.
    checkpoint: the formats of a quantised release (None: 16 bits).
    ids:       names on the Hugging Face Hub of the releases that have this shape; no part of the configuration.
    """

    name: str
    description: str
    hidden: int
    vocab: int
    tied_embeddings: bool
    layers: str
    max_context: int | None = None
    attention: Attention | None = None
    mamba2: Mamba2 | None = None
    mlp: Mlp | None = None
    moe: Moe | None = None
    mtp: str = ""
    published_total: float | None = None
    published_active: float | None = None
    published_active_with_embedding: float | None = None
    parts: tuple[tuple[str, tuple[Part, ...]], ...] = ()
    blocks: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...] = ()
    shared: tuple[tuple[str, int], ...] = ()
    norm: Norm = Norm()
    embedding_norm: bool = False
    final_norm: bool = True
    head: str | int = "lm"
    head_bias: bool = False
    softcap: bool = False
    positions: int = 0
    mtp_tables: str = "shared"
    checkpoint: Checkpoint | None = None
    ids: tuple[str, ...] = field(default=(), compare=False)

    # -- layers ------------------------------------------------------------------------------------

    def block(self, letter: str) -> tuple[tuple[str, bool], ...]:
        """Names of the parts of a layer with this letter, and whether each stands beside the one before it."""
        own = dict(self.blocks).get(letter)
        return tuple((name, False) for name in LAYER_KINDS[letter]) if own is None else own

    def shapes_of(self, name: str) -> tuple[Part, ...]:
        """The shapes of a part by name: one, or one per layer that contains it; a file without it is refused."""
        own = dict(self.parts).get(name)
        if own is not None:
            return own
        part = getattr(self, BUILT_IN[name])
        assert part is not None, "the model has a layer whose shape it does not describe"
        if name == "attention" and part.window:
            return (replace(part, window=0),)  # the window is that of layers with window_attention
        return (part,)

    @cached_property
    def plan(self) -> tuple[tuple[Slot, ...], ...]:
        """The parts of each layer."""
        used: Counter[str] = Counter()
        return tuple(self._slots(letter, used) for letter in self.layers)

    @cached_property
    def mtp_plan(self) -> tuple[tuple[Slot, ...], ...]:
        """The parts of each layer of the multi-token-prediction block: shapes of the last layers that have them."""
        return tuple(self._slots(letter, None) for letter in self.mtp)

    def _slots(self, letter: str, used: Counter[str] | None) -> tuple[Slot, ...]:
        found, sets = [], dict(self.shared)
        for name, beside in self.block(letter):
            shapes = self.shapes_of(name)
            at = -1 if used is None else used[name] % len(shapes)
            stored = used is None or used[name] < sets.get(name, len(self.layers))
            found.append(Slot(name, shapes[at], beside, stored))
            if used is not None:
                used[name] += 1
        return tuple(found)

    @property
    def shapes(self) -> tuple[Part, ...]:
        """Every distinct shape in the layers and in the multi-token-prediction block."""
        return tuple(dict.fromkeys(slot.part for slots in (*self.plan, *self.mtp_plan) for slot in slots))

    @property
    def encoder(self) -> bool:
        """Whether some layer attends in both directions."""
        return any(isinstance(part, Attention) and not part.causal for part in self.shapes)

    # -- the answers of a workload -----------------------------------------------------------------

    @property
    def unit(self) -> str:
        """A step computes tokens."""
        return "token"

    def ops(self, step: StepOptions) -> tuple[Op, ...]:
        """The ops of one step in program order; see `lowering.lower`."""
        from hwsim.workload.language.lowering import lower

        return lower(self, step)

    def stored(self, step: StepOptions) -> tuple[Stored, ...]:
        """Weights in the memory of one chip, without the multi-token-prediction block."""
        from hwsim.workload.language.parallel import Parallel, chip_parameters

        return chip_parameters(self, Parallel(step.chips, step.parallel))

    def kept(self, step: StepOptions) -> tuple[Kept, ...]:
        """KV cache and states of one chip's sequences at the end of the step."""
        from hwsim.workload.language.parallel import Parallel, chip_model

        shared = Parallel(step.chips, step.parallel)
        model, sequences = chip_model(self, shared), -(-step.batch // shared.sequences)
        tokens = step.context + (step.phase in ("decode", "mixed"))
        found = [Kept(role, sequences * rows, row) for role, rows, row in model.kept_by_one(tokens, step.keep_windows)]
        if step.phase == "mixed":
            found += model.kept_by_one(step.done + -(-step.chunk // shared.sequences), step.keep_windows)
        return tuple(found)

    def kept_by_one(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """Caches and states of one sequence of `tokens`, by role and row, over all layers."""
        rows: Counter[tuple[str, int]] = Counter()
        for slots in self.plan:
            for slot in slots:
                for each in slot.part.kept(tokens, all_positions):
                    rows[each.role, each.row] += each.rows
        order = list(CACHES)
        found = sorted(rows.items(), key=lambda item: order.index(item[0][0]))
        return [Kept(role, n, row) for (role, row), n in found]

    def config(self) -> dict[str, Any]:
        """The model as plain data in the layout of its file, without absent parts; `load_model_text` can read it."""
        config: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "ids":
                continue
            if each.name.startswith("published_"):
                if value is not None:
                    config.setdefault("published", {})[each.name.removeprefix("published_")] = value
            elif each.name == "parts":
                config |= {"parts": {name: _part_config(shapes) for name, shapes in value}} if value else {}
            elif each.name == "shared":
                config |= {"shared": dict(value)} if value else {}
            elif each.name == "blocks":
                written = {letter: [[name] if beside else name for name, beside in block] for letter, block in value}
                config |= {"blocks": written} if value else {}
            elif each.name == "checkpoint":
                config |= {"checkpoint": value.config()} if value else {}
            elif each.name in _NEW:
                if value != each.default:
                    config[each.name] = _plain(value) if is_dataclass(value) else value
            elif value is not None and value != "":
                config[each.name] = value if isinstance(value, (str, int)) else _plain(value)
        return config

    # -- counts ------------------------------------------------------------------------------------

    def count(self, part: str) -> int:
        """Number of layers that contain the part of this name."""
        return sum(name == part for letter in self.layers for name, _ in self.block(letter))

    def parameters(self) -> tuple[tuple[str, int], ...]:
        """(weight class, elements) of the whole model, without the MTP block.

        Each kind of part has its formula (`parts/`); around each part is a norm (two where norms stand on both sides),
        one more before the head. With h hidden and V vocabulary: embedding V h, and head V h unless they are tied.
        """
        counts = Counter(dict(self._tables()))
        for row in self.layer_parameters():
            if row.weights not in ("embedding", "head"):
                counts[row.weights] += row.elements
        return tuple(counts.items())

    def _tables(self) -> list[tuple[str, int]]:
        """Embedding and head."""
        table, h = self.vocab * self.hidden, self.hidden
        sizes = {"lm": 0 if self.tied_embeddings else table, "none": 0, "pooler": h * h + h}
        head = sizes[self.head] if isinstance(self.head, str) else self.head * h
        head += self.vocab if self.head_bias else 0
        return [("embedding", table + self.positions * h), *([("head", head)] if head else [])]

    @property
    def _outer_norms(self) -> int:
        return self.norm.parameters(self.hidden) * (self.embedding_norm + self.final_norm)

    def layer_parameters(self) -> tuple[Stored, ...]:
        """Weights by class and layer, in program order; they sum to `parameters`."""
        rows = [Stored(name, -1, n) for name, n in self._tables()]
        for layer, slots in enumerate(self.plan):
            rows += [Stored(name, layer, n) for name, n in self.layer_counts(slots).items()]
        return (*rows, Stored("norm", -1, self._outer_norms))

    def layer_counts(self, slots: Iterable[Slot], active: bool = False) -> Counter[str]:
        """Elements by weight class that a layer with these parts stores. active: of experts that a token chooses."""
        counts: Counter[str] = Counter()
        norms = self.norm.parameters(self.hidden) * self.norm.per_part
        for slot in (slot for slot in slots if slot.stored):
            found = Counter({"norm": 0 if slot.beside else norms})
            for name, n in slot.part.parameters(self.hidden, active):
                found[name] += n
            for name, n in found.items():
                if n:
                    counts[name] += n
        return counts

    def mtp_parameters(self) -> int:
        """Parameters of the MTP block: fusion 2h x h, three norms, layers; embedding and head are shared."""
        return self._mtp(active=False)

    @property
    def mtp_stored(self) -> int:
        """Parameters of the MTP block in the checkpoint, which may repeat embedding and head."""
        again = 2 * self.vocab * self.hidden if self.mtp and self.mtp_tables == "own" else 0
        return self.mtp_parameters() + again

    @property
    def total(self) -> int:
        """All parameters, without the MTP block."""
        return sum(n for _, n in self.parameters())

    @property
    def active_body(self) -> int:
        """Parameters used per token, without embedding and head."""
        return self._outer_norms + sum(self.layer_counts(slots, active=True).total() for slots in self.plan)

    @property
    def active_with_head(self) -> int:
        """Parameters used per token, with the head, without the embedding."""
        if self.head == "lm":
            return self.active_body + self.vocab * (self.hidden + self.head_bias)
        return self.active_body + dict(self._tables()).get("head", 0)

    @property
    def active_with_embedding(self) -> int:
        """Parameters used per token, with the head and the whole embedding; a tied table counts once."""
        tied = self.tied_embeddings and self.head == "lm"
        return self.active_with_head + (0 if tied else self.vocab * self.hidden)

    @property
    def mtp_active(self) -> int:
        """Parameters of the MTP block used per draft token, without the head."""
        return self._mtp(active=True)

    def _mtp(self, active: bool) -> int:
        if not self.mtp:
            return 0
        h = self.hidden
        return 2 * h * h + 3 * h + sum(self.layer_counts(slots, active).total() for slots in self.mtp_plan)

    def kv_elements(self, tokens: int) -> int:
        """K and V elements kept for a sequence of `tokens`; layers with a window keep the window only."""
        return self._kept_elements("kv", tokens)

    @property
    def kv_elements_per_token(self) -> int:
        """K and V elements that each token adds permanently: those of the layers without a window."""
        return self.kv_elements(_LONG + 1) - self.kv_elements(_LONG)

    @property
    def ssm_state_elements(self) -> int:
        """SSM state elements of all layers, per sequence."""
        return self._kept_elements("ssm", 1)

    @property
    def conv_state_elements(self) -> int:
        """Convolution state elements of all layers, per sequence."""
        return self._kept_elements("conv", 1)

    def _kept_elements(self, role: str, tokens: int) -> int:
        return sum(k.rows * k.row for k in self.kept_by_one(tokens) if k.role == role)


#: More tokens than any window holds.
_LONG = 10**9

#: Fields that a configuration contains only where they differ from their defaults.
_NEW = ("norm", "embedding_norm", "final_norm", "head", "head_bias", "softcap", "positions", "mtp_tables")


def _plain(value: Any) -> dict[str, Any]:
    """A part as a mapping: its first fields always, the others where they differ from their defaults."""
    always, found = ALWAYS.get(type(value), 0), {}
    for i, f in enumerate(fields(value)):
        given = getattr(value, f.name)
        if i < always or f.default is MISSING or given != f.default:
            found[f.name] = _plain(given) if is_dataclass(given) else given
    return found


def _part_config(shapes: tuple[Part, ...]) -> dict[str, Any]:
    """A part of `parts` as a mapping; where its shapes differ, a value is a list of one number per layer."""
    every = [_plain(shape) for shape in shapes]
    keys = dict.fromkeys(key for each in every for key in each)
    columns = {key: [each.get(key) for each in every] for key in keys}
    if any(None in column for column in columns.values()):
        columns = {key: [getattr(shape, key) for shape in shapes] for key in keys}
    kind = WORDS[type(shapes[0])]
    return {"kind": kind} | {k: c[0] if all(v == c[0] for v in c) else c for k, c in columns.items()}
