"""Which suites may be skipped: `green.json`, the hash of a suite's sources, and what that hash must cover."""

import dataclasses
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from tests.verification import green, verify
from tests.verification.sources import ROOT, closure, digest, without_comments
from tests.verification.suite import Row, Suite
from tests.verification.watch import Watch

LOADED = """
import importlib, sys
importlib.import_module(sys.argv[1])
files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
print(*(file for file in files if file and file.startswith(sys.argv[2]) and ".venv" not in file), sep="\\n")
"""


@pytest.fixture
def package(tmp_path):
    """A repository of four modules: `top` imports `near` and, inside a function, `far`; `aside` is imported by none."""
    for name, text in {
        "p/__init__.py": "",
        "p/top.py": "from . import near\n\n\ndef late():\n    from p.far import value\n    return value\n",
        "p/near.py": "import json  # a comment\n",
        "p/far.py": "value = 1\n",
        "p/aside.py": "value = 2\n",
        "lazy/__init__.py": "import importlib\n_HOME = {'a': 'first', 'b': 'second'}\n\n\n"
        "def __getattr__(name):\n    return getattr(importlib.import_module(f'{__name__}.{_HOME[name]}'), name)\n",
        "lazy/first.py": "a = 1\n",
        "lazy/second.py": "b = 2\n",
        "q/__init__.py": "",
        "q/one.py": "from lazy import a\n",
        "q/all.py": "import lazy\n",
        "q/prefix.py": "import importlib\n\n\ndef load(name):\n    return importlib.import_module(f'p.{name}')\n",
        "q/text.py": "import importlib\nROW = 'p.far:Class'\nimportlib.import_module(ROW.split(':')[0])\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(root: Path, *entries: str) -> set[str]:
    return {str(file.relative_to(root)) for file in closure(entries, root)}


def test_closure_follows_every_import_and_nothing_else(package):
    assert names(package, "p.top") == {"p/__init__.py", "p/top.py", "p/near.py", "p/far.py"}


def test_closure_follows_names_loaded_on_first_use(package):
    assert names(package, "q.one") == {"q/__init__.py", "q/one.py", "lazy/__init__.py", "lazy/first.py"}
    assert names(package, "q.all") == names(package, "q.all") | {"lazy/first.py", "lazy/second.py"}
    assert "p/far.py" in names(package, "q.text") and "p/near.py" not in names(package, "q.text")
    assert "p/near.py" in names(package, "q.prefix")


def test_hash_changes_with_code_and_not_with_comments_or_other_files(package):
    def now():
        return digest(closure(["p.top"], package), package)

    before = now()
    (package / "p/aside.py").write_text("value = 3\n")
    (package / "p/near.py").write_text("# another comment\n\nimport json\n")
    assert now() == before
    (package / "p/far.py").write_text("value = '#1'\n")
    assert now() != before


def test_a_sign_in_a_text_is_no_comment():
    assert without_comments('a = "# no"  # yes\n\n\nb = 1 \n') == 'a = "# no"\nb = 1'


@pytest.mark.parametrize("suite", verify.SUITES.values(), ids=lambda suite: suite.name)
def test_hash_covers_what_the_suite_imports(suite):
    """What a fresh Python has loaded after the suite's module; rows are watched for the rest as they run."""
    command = [sys.executable, "-c", LOADED, suite.module, str(ROOT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    covered = {str(file) for file in green.files(suite)}
    loaded = set(done.stdout.split("\n")) - {""}
    assert len(loaded) > 20 and loaded <= covered, sorted(loaded - covered)


@pytest.mark.parametrize("suite", verify.SUITES.values(), ids=lambda suite: suite.name)
def test_hash_covers_the_units_and_leaves_the_reports_out(suite):
    covered = {str(file.relative_to(ROOT)) for file in green.files(suite)}
    assert {"rtl/pipe.py", "rtl/dot.py", "hwsim/specs/dot.py", "hwsim/formats/elements.py"} <= covered
    assert not [name for name in covered if name.split("/")[:2] in (["hwsim", "pages"], ["hwsim", "cli"])]


def test_a_module_loaded_beyond_the_hash_is_seen():
    sys.modules.pop("tests.rtl.side_by_side", None)
    watch = Watch()
    importlib.import_module("tests.rtl.side_by_side")

    assert "tests/rtl/side_by_side.py" in watch.beyond(set())
    assert "tests/rtl/side_by_side.py" not in watch.beyond({ROOT / "tests/rtl/side_by_side.py"})


def good(name: str) -> Row:
    return Row((name,), True, 0)


def bad(name: str) -> Row:
    raise AssertionError("a mismatch")


SUITE = Suite("toy", "nothing", good, ("a", "b"), "tests.verification.suite")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """`verify` with one suite, its rows and its green.json kept in a temporary folder; a function that runs it."""
    path = tmp_path / "green.json"

    def run(*options: str, work=good) -> int:
        monkeypatch.setattr(verify, "SUITES", {"toy": dataclasses.replace(SUITE, work=work)})
        return verify.main(list(options))

    monkeypatch.setattr(verify, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(verify, "differs", lambda suite: green.differs(suite, path))
    monkeypatch.setattr(verify, "record", lambda suite, now: green.record(suite, now, path))
    monkeypatch.setattr(verify, "PAGE", tmp_path / "page.md")
    return run, path


def test_a_suite_that_passed_is_skipped_and_says_so(toy, capfd):
    run, path = toy
    assert run("--stale", "--list") == 0
    assert run("--stale", "--record") == 0 and "toy: runs, it is not in green.json" in capfd.readouterr().out
    assert json.loads(path.read_text())["suites"]["toy"]["rows"] == 2
    assert run("--stale", "--list") == verify.NOTHING
    assert "toy: skipped, by green.json it has passed on these sources" in capfd.readouterr().out
    assert run(work=bad) == 1  # without --stale it runs
    path.write_text(re.sub(r'"lock": "..', '"lock": "zz', path.read_text()))
    assert run("--stale", "--list") == 0 and "toy: runs, its lock changed" in capfd.readouterr().out


def test_only_a_run_that_passed_is_recorded(toy, capfd):
    run, path = toy
    assert run("--record", work=bad) == 1 and not path.exists()
    assert "BAD toy" in capfd.readouterr().out
    assert run() == 0 and not path.exists()


def test_no_part_of_a_suite_is_recorded(toy):
    with pytest.raises(SystemExit):
        toy[0]("--record", "a")


def test_sources_that_change_while_the_suite_runs_are_not_recorded(tmp_path):
    with pytest.raises(RuntimeError, match="changed while it ran"):
        green.record(SUITE, {"sources": "0", "lock": "0"}, tmp_path / "green.json")


def test_committed_file_is_well_formed():
    saved = json.loads(green.GREEN.read_text())
    assert saved["about"] == green.ABOUT and saved["suites"].keys() <= verify.SUITES.keys()
    for name, suite in saved["suites"].items():
        assert suite.keys() == {"sources", "lock", "rows", "with"}, name
        assert re.fullmatch("[0-9a-f]{64}", suite["sources"]) and re.fullmatch("[0-9a-f]{64}", suite["lock"])
        assert suite["rows"] > 0 and suite["with"]
