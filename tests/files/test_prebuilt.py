"""Prebuilt machines and models are those of their files; without them, or with broken ones, all works as well."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from hwsim.arch import arch_names, load_arch
from hwsim.arch.load import arch_document, arch_of
from hwsim.errors import InputError
from hwsim.files import prebuilt
from hwsim.files.prebuilt import decoded, encoded
from hwsim.files.yaml import read
from hwsim.workload import load_model, model_names
from hwsim.workload.load import _load, graph_folder, graph_names, model_folder

ROOT = Path(__file__).resolve().parents[2]
GEMM = "gemm h100-sxm --m 64 --n 512 --k 512 --weights bf16 --json"
RUN = "run h200-sxm --model nemotron3-nano-30b-a3b --weights mxfp4 --json"


def of_its_file(name):
    """A shipped model by the schema of its file."""
    return _load(read(model_folder() / f"{name}.yaml"), ())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hwsim"


@pytest.mark.parametrize(
    "load, parsed, names",
    [(load_arch, lambda name: arch_of(arch_document(name)), arch_names()), (load_model, of_its_file, model_names())],
    ids=["machines", "models"],
)
def test_every_shipped_file_is_the_same_both_ways(cache, monkeypatch, load, parsed, names):
    """First from the file, which is kept; then from what was kept, with the file's parser out of order."""
    wanted = {name: parsed(name) for name in names}
    assert {name: load(name) for name in names} == wanted
    assert len(list(cache.iterdir())) == len(names)

    def broken(*_):
        raise AssertionError("the file was read")

    monkeypatch.setattr(f"{load.__module__}.read", broken)
    again = {name: load(name) for name in names}
    assert again == wanted
    assert {name: hash(each) for name, each in again.items()} == {name: hash(each) for name, each in wanted.items()}


@pytest.mark.parametrize("name", graph_names())
def test_values_of_every_kind_of_file_survive(name):
    graph = load_model(graph_folder() / f"{name}.yaml")
    assert decoded(json.loads(json.dumps(encoded(graph)))) == graph


def test_numbers_keep_their_kind():
    value = (
        1,
        1.0,
        True,
        None,
        "1",
        Fraction(1, 3),
        Fraction(2),
        {"a": (0.1,)},
        {1: "b"},
        frozenset({"y", "x"}),
        [1, 2],
    )
    again = decoded(json.loads(json.dumps(encoded(value))))
    assert again == value and list(map(type, again)) == list(map(type, value))
    assert again[7]["a"][0].hex() == (0.1).hex()


@pytest.mark.parametrize("value", [{1, 2}, b"x", 1j, Path("x"), int])
def test_what_is_not_plain_is_refused(value):
    with pytest.raises(TypeError):
        encoded((value,))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1, 2",
        "null",
        "[1]",
        '"m0"',
        '{"of": "1/3"}',
        '{"": "fraction", "of": "1/0"}',
        '{"": "hwsim.arch.machine:Nothing"}',
        '{"": "hwsim.arch.machine:TileMachine"}',
        '{"": "hwsim.arch.nowhere:TileMachine"}',
        '{"": "os:system", "command": "false"}',
        '{"": "hwsim.arch.load:load_arch", "name_or_path": "m0"}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_a_broken_file_is_made_again(cache, text):
    wanted = load_arch("m0")
    (kept,) = cache.iterdir()
    kept.write_text(text)
    assert load_arch("m0") == wanted
    assert decoded(json.loads(kept.read_text())) == wanted


def test_a_cache_that_is_no_folder_changes_nothing(cache):
    cache.write_text("a file in its place")
    assert load_arch("m0") == arch_of(arch_document("m0"))
    assert cache.read_text() == "a file in its place"


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert load_arch("m0") == arch_of(arch_document("m0"))


def test_a_shipped_file_that_cannot_be_read_is_the_error_of_reading_it(cache, tmp_path):
    def make():
        raise InputError("cannot be read")

    with pytest.raises(InputError, match="cannot be read"):
        prebuilt.prebuilt(tmp_path / "absent.yaml", [], int, make)


def test_overrides_and_files_of_the_user_are_read_and_not_kept(cache, tmp_path):
    assert load_arch("m0", [("clock", "2 GHz")]).clock_hz == 2 * 10**9
    (tmp_path / "m0.yaml").write_text(Path(arch_document("m0").source).read_text())
    assert load_arch(tmp_path / "m0.yaml").name == "m0"
    assert not cache.exists()


def test_a_name_follows_the_file_and_the_code(cache, tmp_path):
    """Each edit of one of them gives another name; four files of a name are kept, and those of other names."""
    file, code = tmp_path / "a.yaml", tmp_path / "code"
    code.mkdir()
    file.write_text("x: 1")
    (code / "reader.py").write_text("1")
    cache.mkdir()
    (cache / "a-b-0-py311.json").write_text("of a file called a-b")
    made = iter(range(100))

    def value():
        return prebuilt.prebuilt(file, [code], int, lambda: next(made))

    assert [value(), value()] == [0, 0]
    file.write_text("x: 2")
    assert [value(), value()] == [1, 1]
    (code / "reader.py").write_text("2")
    assert [value(), value()] == [2, 2]
    (code / "more.py").write_text("")
    assert [value(), value()] == [3, 3]
    file.write_text("x: 1")
    (code / "more.py").unlink()
    (code / "reader.py").write_text("1")
    assert value() == 0
    for content in "3456":
        file.write_text(content)
        value()
    assert len(list(cache.glob("a-*"))) == 5 and (cache / "a-b-0-py311.json").exists()


def modules(command, home):
    """(standard output, names of the modules that a command has loaded)."""
    code = (
        f"import sys\nsys.argv = ['hwsim', *{command.split()}]\nfrom hwsim.cli import main\n"
        "try:\n main()\nfinally:\n print(*sys.modules, file=sys.stderr)"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("command", [GEMM, RUN])
def test_a_second_run_loads_no_schema_of_files(tmp_path, command):
    heavy = {"hwsim.workload.language.schema", "hwsim.arch.kernel_library", "hwsim.arch.technology_file"}
    first, loaded = modules(command, tmp_path)
    second, again = modules(command, tmp_path)
    assert first == second
    assert loaded & heavy and not again & heavy


def test_a_run_where_no_cache_can_be_written(tmp_path):
    kept, _ = modules(GEMM, tmp_path / "a")
    (tmp_path / "b").write_text("")
    without, _ = modules(GEMM, tmp_path / "b")
    assert without == kept
