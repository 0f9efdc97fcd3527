"""The JSON Schema that editors read, checked by the jsonschema library."""

import json

import jsonschema
import pytest
import yaml

from hwsim.arch import arch_names, json_schema
from hwsim.arch.builtin import arch_folder


def errors(data):
    return list(jsonschema.Draft202012Validator(json_schema()).iter_errors(data))


def shipped(name):
    return yaml.safe_load((arch_folder() / f"{name}.yaml").read_text())


def test_the_committed_schema_is_the_one_that_is_printed():
    assert json.loads((arch_folder() / "machine.schema.json").read_text()) == json_schema()


def test_it_is_a_schema_of_its_draft():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", arch_names())
def test_every_shipped_machine_is_valid(name):
    assert errors(shipped(name)) == []


@pytest.mark.parametrize(
    "path, value",
    [
        (("clock",), "1 GB"),
        (("clock",), 10**9),
        (("dram", "bandwidth"), "100 GB"),
        (("dram", "bandwith"), "100 GB/s"),
        (("dram", "refresh", "kind"), "rows"),
        (("dot", "rates"), []),
        (("dot", "rates", 0, "weights"), "int9"),
        (("dot", "kind"), "systolic"),
        (("dot", "rows"), 16),
        (("tiles", 0), "512x256"),
        (("hypothetical",), "no"),
        (("vector",), None),
        (("buffers",), []),
    ],
)
def test_bad_machines_are_not(path, value):
    machine = shipped("m0")
    *parents, last = path
    here = machine
    for part in parents:
        here = here[part]
    here[last] = value
    assert errors(machine)


@pytest.mark.parametrize(
    "path, value",
    [
        (("gemv", "weights"), "int9"),
        (("gemv", "decoders"), "16"),
        (("gemv", "fifos"), 64),
        (("dram", "beat"), 64),
        (("buffers",), {"weights": "1 MiB", "activations": "1 MiB", "outputs": "1 MiB"}),
        (("dot",), {"latency": "1 cycle", "rates": []}),
        (("engine",), {"weights": "mxint8"}),
    ],
)
def test_bad_gemv_machines_are_not(path, value):
    machine = shipped("gemv-engine")
    assert not errors(machine)
    *parents, last = path
    here = machine
    for part in parents:
        here = here[part]
    here[last] = value
    assert errors(machine)


def test_the_error_of_a_machine_is_that_of_its_kind():
    """An editor shows what is wrong with the kind that the file is of, not that it is of no kind."""
    machine = shipped("gemv-engine")
    machine["gemv"]["fifo"] = "many"
    (error,) = errors(machine)
    assert list(error.path) == ["gemv", "fifo"]
    machine = shipped("m0")
    machine["dot"]["latency"] = "many"
    (error,) = errors(machine)
    assert list(error.path) == ["dot"]


def test_latencies_may_name_units():
    machine = shipped("edge-mx")
    machine["regenerate"]["latency"] = [
        {"unit": "seed_decoder", "format": "seedlm4"},
        {"unit": "requantizer", "format": "seedlm4", "target": "mxint8", "stages": ["round"]},
    ]
    machine["dot"]["latency"] = {"unit": "block_dot", "weights": "mxint8", "activations": "mxint8"}
    assert errors(machine) == []
    machine["regenerate"]["latency"][0]["unit"] = "block_dot"
    assert errors(machine)


def test_every_field_has_a_description_and_every_plain_one_an_example():
    for part in json_schema()["$defs"].values():
        assert part["description"]
        for name, field in part["properties"].items():
            assert field["description"], name
            assert field.get("examples") or {"$ref", "oneOf"} & set(field), name
