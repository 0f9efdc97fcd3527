"""Code blocks of a page: fenced ones, and lines of commands that are indented by four spaces.

A YAML block whose first line is a comment with a file name, `# npu.yaml`, is a file that later commands use. A block
without a language is what the first command above it prints; a line `...` in it stands for any lines. A line
`<!-- slow -->` above a block leaves it to `make test-all`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from hwsim.cli import app

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][\w-]*):.*?## ", MAKEFILE, re.M))
LANGUAGES = {"python", "yaml", "", "text"}


@dataclass(frozen=True)
class Block:
    """Lines of one language; `commands` for indented ones. line: where it begins."""

    page: str
    line: int
    language: str
    text: str
    slow: bool

    @property
    def file(self) -> str | None:
        """The name of the file that the block is."""
        found = re.match(r"# ([\w./-]+\.yaml)\b", self.text) if self.language == "yaml" else None
        return found[1] if found else None

    @property
    def commands(self) -> list[str]:
        """Commands without their comments."""
        lines = self.text.splitlines() if self.language == "commands" else []
        return [re.split(r"\s+# ", line)[0].strip() for line in lines if line.strip()]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, a path below the root, in their order."""
    found: list[Block] = []
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        start = at
        fence = re.match(r"```(\w*)$", lines[at])
        if fence:
            at = lines.index("```", at + 1)
            kind, inside = fence[1], lines[start + 1 : at]
            at += 1
        elif lines[at].startswith("    ") and (at == 0 or lines[at - 1].strip() in ("", "<!-- slow -->")):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at]):
                at += 1
            kind, inside = "commands", [line[4:] for line in lines[start:at]]
        else:
            at += 1
            continue
        slow = start > 0 and lines[start - 1] == "<!-- slow -->"
        found.append(Block(page, start + 1, kind, "\n".join(inside).rstrip("\n") + "\n", slow))
    return found


def run_command(command: str) -> str:
    """What a command prints. It runs in this folder, hwsim inside this process; of `make`, the target must exist."""
    words = shlex.split(command)
    target = None
    if ">" in words:
        target, words = words[words.index(">") + 1], words[: words.index(">")]
    if words[0] == "make":
        assert words[1] in TARGETS, command
        return ""
    if words[:2] == ["pip", "install"]:
        return ""  # tests/test_packaging.py installs
    if words[0] == "hwsim":
        done = CliRunner().invoke(app, words[1:], env={"COLUMNS": "200"})
        assert done.exit_code == 0, f"{command}\n{done.output}{done.exception!r}"
        out = done.stdout
    else:
        assert words[:3] == ["python", "-m", "rtl"], f"{command}: tests/docs/blocks.py does not know how to run this"
        line = [sys.executable, *words[1:]]
        ran = subprocess.run(line, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"
        out = ran.stdout
    if target:
        Path(target).write_text(out)
    return out


def assert_printed(shown: str, printed: str, where: str) -> None:
    """The lines that a page shows are those that its command prints; `...` stands for any lines."""
    parts = [re.escape("\n".join(part)) for part in pieces(shown.rstrip("\n").splitlines())]
    pattern = r"(?:.*\n)*?".join(parts)
    assert re.fullmatch(pattern + r"\s*", printed), f"{where}\npage:\n{shown}\ncommand:\n{printed}"


def pieces(lines: list[str]) -> list[list[str]]:
    """The runs of lines between lines `...`; the runs before and after one end and begin at a line's end."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line == "...":
            found[-1] = [*found[-1], ""] if found[-1] else []
            found.append([])
        else:
            found[-1].append(line)
    return found


def run_page(page: str, folder: Path, slow: bool) -> int:
    """Run the blocks of a page in the current folder, in order; the slow ones only if asked for. Returns how many."""
    ran, printed = 0, None
    for block in blocks(page):
        where = f"{page}:{block.line}"
        assert block.language in LANGUAGES | {"commands"}, f"{where}: unknown language {block.language}"
        if block.file:
            (folder / block.file).write_text(block.text)
            continue
        if block.slow and not slow:
            printed = None
            continue
        if block.language == "python":
            exec(compile(block.text, where, "exec"), {"__name__": "page"})  # noqa: S102
        elif block.language == "commands":
            outputs = [run_command(command) for command in block.commands]
            printed = outputs[0]
        elif block.language == "" and printed is not None:
            assert_printed(block.text, printed, where)
        ran += 1
    return ran
