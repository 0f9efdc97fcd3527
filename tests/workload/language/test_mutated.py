"""Damaged configurations: each is refused in words, or read without loss; none ends in a traceback."""

import json
import random

import pytest

from hwsim.errors import InputError
from hwsim.workload import load_model
from hwsim.workload.language.families import FAMILIES
from hwsim.workload.language.families.silent import is_outer, is_silent
from tests.workload.language.released import MODELS

#: Values that are no number, word or list of any configuration.
GARBAGE = ["x" * 200, -1, -(10**30), 10**30, 1.5e300, [], [[]], {}, {"a": [{}]}, [None, 7], "\0", [True] * 3000]
CASES = 2000


def inner(config):
    return config.get("text_config", config)


def family(config):
    outer = config.get("model_type")
    kind = inner(config).get("model_type") or ("state-spaces" if outer is None else outer)
    return FAMILIES[kind]


def mutated(random):
    """(what was done, the key, the configuration before, and after)."""
    config = json.loads(json.dumps(MODELS[random.choice(sorted(MODELS))]))
    before = json.loads(json.dumps(config))
    node = inner(config)
    key = random.choice(sorted(node))
    what = random.choice(["drop", "null", "garbage", "garbage", "garbage", "extra", "outer", "huge", "flip", "inside"])
    if what == "drop":
        del node[key]
    elif what == "null":
        node[key] = None
    elif what == "garbage":
        node[key] = random.choice(GARBAGE)
    elif what == "extra":
        key = f"new_{random.choice(['size', 'layers', 'heads'])}"
        node[key] = random.choice([4, True, "x", [1]])
    elif what == "outer":
        key = "new_config"
        config[key] = random.choice([4, True, "x", [1], {}])
    elif what == "huge":
        node[key] = 10 ** random.randint(9, 40)
    elif what == "flip":
        node[key] = not node[key] if isinstance(node[key], bool) else [node[key]]
    else:
        where = [k for k, v in node.items() if isinstance(v, list | dict) and v]
        key = random.choice(sorted(where)) if where else key
        if where and isinstance(node[key], list):
            node[key][random.randrange(len(node[key]))] = random.choice(GARBAGE)
        elif where:
            node[key][random.choice(sorted(node[key]))] = random.choice(GARBAGE)
    return what, key, before, config


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated") / "config.json"


def read(path, config):
    path.write_text(json.dumps(config))
    return load_model(path)


#: Keys whose value is a name: any other is another file.
NAMES = {"model_type", "architectures"}


@pytest.mark.parametrize("part", [n if n < 3 else pytest.param(n, marks=pytest.mark.slow) for n in range(8)])
def test_damaged_files(part, path):
    rng = random.Random(part)
    accepted = 0
    for _ in range(CASES // 8):
        what, key, before, config = mutated(rng)
        if config == before:
            continue
        try:
            model = read(path, config)
        except InputError as error:
            assert error.problems
            assert all(len(problem) < 600 and "\n" not in problem for problem in error.problems), (what, key)
            continue
        accepted += 1
        changed = model != read(path, before)
        table, value = family(before), inner(config).get(key)
        assert what not in ("extra", "outer"), (what, key)
        known = is_silent(key) or is_outer(key) or key in table.silent or key in table.refuse
        if what in ("garbage", "inside") and value != [] and key not in NAMES:
            # a damaged value is never taken; it may stand where nothing reads it
            assert not changed, (what, key, value)
            assert known or _unread(table, key), (what, key, value)
    assert 0 < accepted < CASES // 8


def _unread(table, key):
    """Whether only parts read the key that some models of the family lack, or it is one of several names."""
    return any(key in spec for fields in table.parts.values() for spec in fields.values())
