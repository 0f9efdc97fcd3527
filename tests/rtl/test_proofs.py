"""The table of proofs without its solver: twins' changes still apply, models of products and gearboxes are made."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from amaranth.back import rtlil

from tests.verification.formal.proofs import PROOFS, Proof
from tests.verification.mutation import fresh


def test_names_are_unique():
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_twin_applies_exactly_once(proof):
    fresh(proof.twin)


@pytest.mark.parametrize(
    "proof",
    [p for p in PROOFS if isinstance(p, Proof) and p.name.startswith(("product", "gearbox"))],
    ids=lambda proof: proof.name,
)
def test_model_asserts_and_differs_from_its_twin(proof):
    texts = [rtlil.convert(proof.model(fresh(line)), ports=(), emit_src=False) for line in (None, proof.twin)]
    assert "$check" in texts[0] and texts[0] != texts[1]
