"""What a suite depends on: the closure of its imports inside this repository, and a hash of it.

Imports are read from the sources, wherever they stand in a file. A package that loads names on first use (PEP 562) is
followed for the names that are taken from it, or whole where the package itself is. Beside Python, every other file in
a folder with a module of the closure counts, and the data that a suite names.

Comments and blank lines do not count: no test can depend on them.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "fpga.txt"
"""The largest lock; it holds the pins of the others, but for pytest-xdist, which no suite uses."""

EVERYTHING = "*"


def file_of(module: str, root: Path = ROOT) -> Path | None:
    """The file of a module or a package of this repository; None for one from elsewhere."""
    path = root.joinpath(*module.split("."))
    found = path.with_suffix(".py"), path / "__init__.py"
    return next((each for each in found if each.is_file()), None)


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _names_modules(tree: ast.Module) -> bool:
    """Whether modules are imported by their names, as texts."""
    return any(isinstance(node, ast.Attribute | ast.Name) and "import_module" in ast.unparse(node)
               for node in ast.walk(tree))  # fmt: skip


def _named(tree: ast.Module, package: str, wanted: str, root: Path) -> Iterator[str]:
    """Modules that texts of the file name; `wanted`: of a table of names that one alone, or `EVERYTHING`."""
    tables = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    pairs = [(key, value) for table in tables for key, value in zip(table.keys, table.values, strict=True)]
    of_key = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == wanted]
    inside = of_key if wanted != EVERYTHING else [tree]
    for node in (each for start in inside for each in ast.walk(start)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.split(":")[0]
            for module in (text, f"{package}.{text.removeprefix('.')}"):
                if all(part.isidentifier() for part in module.split(".")) and file_of(module, root):
                    yield module


def _prefixed(tree: ast.Module, root: Path) -> Iterator[str]:
    """All modules of the packages that a text such as f"hwsim.formats.{module}" begins with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            package = node.values[0].value.removesuffix(".")
            if all(part.isidentifier() for part in package.split(".")) and (file := file_of(package, root)):
                yield from (f"{package}.{path.stem}" for path in file.parent.glob("*.py") if path.stem != "__init__")


def _imports(module: str, root: Path) -> Iterator[tuple[str, str]]:
    """(module, the name taken from it: "" for none, `EVERYTHING` where the module itself is used)."""
    file = file_of(module, root)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    tree = _parsed(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, EVERYTHING) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for each in node.names:
                inner = f"{origin}.{each.name}"
                yield (inner, EVERYTHING) if file_of(inner, root) else (origin, each.name)
    if _names_modules(tree) and file.name != "__init__.py":
        yield from ((each, EVERYTHING) for each in _named(tree, package, EVERYTHING, root))
        yield from ((each, EVERYTHING) for each in _prefixed(tree, root))


def _lazily(package: str, name: str, root: Path) -> Iterator[str]:
    """What a package that imports by name loads for a name, or for all of them; without a table all its modules."""
    file = file_of(package, root)
    if file.name != "__init__.py" or not _names_modules(tree := _parsed(file)):
        return
    if any(_named(tree, package, EVERYTHING, root)):
        yield from _named(tree, package, name, root)
    else:
        yield from (f"{package}.{path.stem}" for path in file.parent.glob("*.py") if path.stem != "__init__")


def closure(entries: Iterable[str], root: Path = ROOT) -> set[Path]:
    """The files of all modules that the entries import, directly or not, in this repository.

    raises: LookupError for an entry that is no module.
    """
    todo = [(entry, EVERYTHING) for entry in entries]
    if strange := [entry for entry, _ in todo if file_of(entry, root) is None]:
        raise LookupError(f"no modules of this repository: {', '.join(strange)}")
    seen, read = set(), set()
    while todo:
        module, name = todo.pop()
        if (module, name) in seen or file_of(module, root) is None:
            continue
        seen.add((module, name))
        if name:
            todo += [(each, EVERYTHING) for each in _lazily(module, name, root)]
        if module not in read:
            read.add(module)
            todo += _imports(module, root)
            todo += [(module.rsplit(".", n)[0], "") for n in range(1, module.count(".") + 1)]
    return {file_of(module, root) for module in read}


def with_data(modules: set[Path], data: Iterable[str] = (), root: Path = ROOT) -> list[Path]:
    """The modules, the files that are no Python beside those of `rtl`, and `data` (patterns); sorted."""
    beside = {path for folder in {file.parent for file in modules} for path in folder.iterdir() if path.suffix == ".v"}
    return sorted(modules | beside | {path for pattern in data for path in root.glob(pattern)})


def without_comments(text: str) -> str:
    """Python without comments, blank lines and spaces at the ends of lines."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def digest(files: Iterable[Path], root: Path = ROOT) -> str:
    """SHA-256 of names and contents."""
    found = hashlib.sha256()
    for file in sorted(files):
        text = file.read_text()
        text = without_comments(text) if file.suffix == ".py" else text
        found.update(f"{file.relative_to(root)}\0{text}\0".encode())
    return found.hexdigest()
