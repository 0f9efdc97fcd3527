"""The proofs without their solver: broken copies can be made, and so can the models of products and gearboxes."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from amaranth.back import rtlil

from tests.rtl.mutation import fresh
from tests.rtl.units import PROOFS
from tests.verification.formal.proof import Proof


def test_names_are_unique():
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_broken_copy_can_be_made(proof):
    fresh(proof.broken)


@pytest.mark.parametrize(
    "proof",
    [p for p in PROOFS if isinstance(p, Proof) and p.name.startswith(("product", "gearbox"))],
    ids=lambda proof: proof.name,
)
def test_model_asserts_and_differs_from_that_of_the_broken_copy(proof):
    texts = [rtlil.convert(proof.model(fresh(line)), ports=(), emit_src=False) for line in (None, proof.broken)]
    assert "$check" in texts[0] and texts[0] != texts[1]
