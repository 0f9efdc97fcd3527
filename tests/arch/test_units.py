# ruff: noqa: E501 (tables of whole messages)
"""A machine that names a unit of the RTL waits as long as the unit's spec says."""

from fractions import Fraction

import pytest

from hwsim import gemm
from hwsim.arch import load_arch
from hwsim.errors import InputError
from hwsim.formats.lfsr import SEEDLM4
from hwsim.specs import Accumulator, BlockDot, Requantizer, SeedDecoder

DECODER = "{unit: seed_decoder, format: seedlm4}"
REQUANTIZER = "{unit: requantizer, format: seedlm4, target: mxint8}"
DOT = "{unit: block_dot, weights: mxfp4, activations: mxint8}"
ACCUMULATOR = "{unit: accumulator, weights: mxfp4, activations: mxint8}"


def regenerate(latency):
    return load_arch("seedlm-virtex7", [("regenerate.latency", latency)])


def dot(latency):
    return load_arch("edge-mx", [("dot.latency", latency)])


@pytest.mark.parametrize(
    "latency, specs",
    [
        (DECODER, [SeedDecoder(SEEDLM4)]),
        (f"[{DECODER}, {REQUANTIZER}]", [SeedDecoder(SEEDLM4), Requantizer(SEEDLM4, "mxint8")]),
        ("{unit: seed_decoder, format: seedlm4, stages: [stream, sum]}", [SeedDecoder(SEEDLM4, stages=("stream", "sum"))]),
    ],
)  # fmt: skip
def test_a_regenerator_waits_by_its_specs(latency, specs):
    """One stage, one cycle: the whole run is later by as many cycles as there are stages more."""
    stages = sum(len(spec.stages) for spec in specs)
    arch = regenerate(latency)
    assert arch.regenerate.latency_cycles == stages
    none = gemm(regenerate("0 cycles"), 1, 512, 512, "seedlm4", "fp16").cycles
    assert gemm(arch, 1, 512, 512, "seedlm4", "fp16").cycles == none + stages


def test_another_depth_of_the_spec_is_another_latency_of_the_machine(monkeypatch):
    """The spec's own registers, not a copy of their number, decide what the machine waits."""
    before = gemm(regenerate(DECODER), 1, 512, 512, "seedlm4", "fp16").cycles
    monkeypatch.setattr(SeedDecoder, "default_stages", property(lambda spec: ("sum",)))
    after = gemm(regenerate(DECODER), 1, 512, 512, "seedlm4", "fp16").cycles
    assert before - after == len(SeedDecoder(SEEDLM4).cuts) - 1 == 4


def test_a_dot_array_waits_by_its_specs():
    multiply = BlockDot.of("mxint8", "mxfp4_e2m1")
    stages = len(multiply.stages) + len(Accumulator(multiply).stages)
    assert dot(DOT).dot.latency_cycles == len(multiply.stages)
    arch = dot(f"[{DOT}, {ACCUMULATOR}]")
    assert arch.dot.latency_cycles == stages
    none = gemm(dot("0 cycles"), 1, 256, 512, "mxfp4", "mxint8").cycles
    assert gemm(arch, 1, 256, 512, "mxfp4", "mxint8").cycles == none + stages


def test_the_latency_counts_the_machine_s_clock():
    """A unit's cycles are cycles at any clock; a time is not."""
    slow = [("clock", "100 MHz"), ("regenerate.latency", DECODER)]
    assert load_arch("seedlm-virtex7", slow).regenerate.latency_cycles == 5
    slow[1] = ("regenerate.latency", "25 ns")
    assert load_arch("seedlm-virtex7", slow).regenerate.latency_cycles == 3
    assert load_arch("seedlm-virtex7", slow).clock_hz == Fraction(10**8)


def test_what_is_printed_is_the_cycles():
    """A result reads back to the same machine, whatever a later version's spec says."""
    assert regenerate(DECODER).file()["regenerate"]["latency"] == "5 cycles"
    assert regenerate(DECODER) == regenerate("5 cycles")


@pytest.mark.parametrize(
    "latency, said",
    [
        ("{unit: seed_decodr, format: seedlm4}", "latency.unit: `seed_decodr` is not known; write seed_decoder or requantizer"),
        ("{format: seedlm4}", "latency.unit: missing; write `unit: seed_decoder`"),
        ("{unit: seed_decoder}", "latency.format: missing; write `format: seedlm4`"),
        ("{unit: seed_decoder, formt: seedlm4}", "latency.formt: unknown; did you mean format?"),
        ("{unit: seed_decoder, format: seedlm4, stages: [smu]}", "SeedDecoder: no stage 'smu'; did you mean sum?"),
        ("{unit: requantizer, format: seedlm4, target: bf16}", "Requantizer: target 'bf16'; write mxint8 or mxfp4_e2m1"),
        (DOT, "latency.unit: `block_dot` is not known; write seed_decoder or requantizer"),
        ("[]", "has 0 items; write at least 1"),
        ("[6 cycles]", "latency.0: `6 cycles`; write a mapping"),
        ("seed_decoder", "`seed_decoder` is not a number and a unit; write a quantity in cycles or s"),
    ],
)  # fmt: skip
def test_units_that_are_refused(latency, said):
    with pytest.raises(InputError) as caught:
        regenerate(latency)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("--set regenerate.latency: ")
    assert said in caught.value.problems[0]
