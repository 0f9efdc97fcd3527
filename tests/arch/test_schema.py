"""The JSON Schema that editors read, checked by the jsonschema library."""

import json

import jsonschema
import pytest
import yaml

from hwsim.arch import arch_names, json_schema
from hwsim.arch.builtin import arch_folder


def errors(data):
    return list(jsonschema.Draft202012Validator(json_schema(engine="engine" in data)).iter_errors(data))


def shipped(name):
    return yaml.safe_load((arch_folder() / f"{name}.yaml").read_text())


def test_the_committed_schemas_are_those_that_are_printed():
    assert json.loads((arch_folder() / "machine.schema.json").read_text()) == json_schema()
    assert json.loads((arch_folder() / "engine.schema.json").read_text()) == json_schema(engine=True)


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


@pytest.mark.parametrize("engine", [False, True])
def test_every_field_has_a_description_and_every_plain_one_an_example(engine):
    schema = json_schema(engine)
    for part in (schema, *schema["$defs"].values()):
        assert part["description"]
        for name, field in part["properties"].items():
            assert field["description"], name
            assert field.get("examples") or {"$ref", "oneOf"} & set(field), name
