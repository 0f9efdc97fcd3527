"""The kinds of part that a layer may be made of: the word in a model file -> the class."""

from __future__ import annotations

from hwsim.workload.language.parts.attention import Attention
from hwsim.workload.language.parts.delta import DeltaNet, Kda
from hwsim.workload.language.parts.feedforward import Mlp
from hwsim.workload.language.parts.latent import Latent
from hwsim.workload.language.parts.lightning import Lightning
from hwsim.workload.language.parts.mamba1 import Mamba1
from hwsim.workload.language.parts.mamba2 import Mamba2
from hwsim.workload.language.parts.moe import Moe
from hwsim.workload.language.parts.shortconv import ShortConv

Part = Attention | Latent | DeltaNet | Kda | Lightning | Mamba2 | Mamba1 | ShortConv | Mlp | Moe

KINDS: dict[str, type[Part]] = {
    "attention": Attention,
    "mla": Latent,
    "gdn": DeltaNet,
    "kda": Kda,
    "lightning": Lightning,
    "mamba2": Mamba2,
    "mamba1": Mamba1,
    "shortconv": ShortConv,
    "mlp": Mlp,
    "moe": Moe,
}

#: Word of each class.
WORDS = {made: word for word, made in KINDS.items()}

#: Fields that a model's configuration always contains; it contains the others where they differ from their defaults.
ALWAYS = {Attention: 8, Mamba2: 6, Mlp: 4, Moe: 8}
