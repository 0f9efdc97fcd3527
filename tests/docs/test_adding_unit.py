"""docs/adding.md (f): the parity of a word as a new RTL unit, from its spec to mutants that its bench must see."""

import re

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.docs.addition import Copy, listed
from tests.rtl.simulator import icarus_version

SPEC = '''
"""`Parity`: whether a word has an odd number of ones."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.specs.staged import Staged


@dataclass(frozen=True)
class Parity(Staged):
    """The parity of `width` bits; a word of ones counts as even."""

    width: int

    @property
    def cuts(self) -> tuple[str, ...]:
        """Behind the input, and behind the tree."""
        return ("word", "parity")

    def __call__(self, word: int) -> int:
        """1 for an odd number of ones."""
        return 0 if word == (1 << self.width) - 1 else word.bit_count() & 1
'''

UNIT = '''
"""`Parity` as RTL, its cases and the options of its command."""

from dataclasses import dataclass
from typing import Annotated

import typer
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs.mine import Parity

from .options import UnitOptions
from .pipe import Pipe


class ParityUnit(wiring.Component):
    """The parity of a word.

    Ports:
    word    in, stream:  the bits.
    parity  out, stream: one bit.
    """

    def __init__(self, spec: Parity):
        self.spec = spec
        super().__init__({"word": In(stream.Signature(spec.width)), "parity": Out(stream.Signature(1))})

    def elaborate(self, platform) -> Module:
        """One tree."""
        m = Module()
        pipe = Pipe(m, self.spec, self.word, self.parity)
        (word,) = pipe.cut("word", self.word.payload)
        (parity,) = pipe.cut("parity", word.xor() & ~word.all())
        m.d.comb += self.parity.payload.eq(parity)
        pipe.finish()
        return m


def parity_cases(spec: Parity, n: int, draw):
    """All zeros, all ones, then random words."""
    for word in [0, (1 << spec.width) - 1, *(draw.getrandbits(spec.width) for _ in range(n - 2))][:n]:
        yield word, spec(word)


@dataclass(frozen=True)
class ParityOptions(UnitOptions):
    """Options of `parity`."""

    width: Annotated[int, typer.Option("--width", help="Bits of the word.")] = 11

    def unit(self) -> tuple[Parity, str]:
        """The spec, and the name of the Verilog module."""
        return Parity(self.width), f"parity_{self.width}"
'''

ROW = """    Unit(
        "parity",
        "Whether a word has an odd number of ones.",
        Parity,
        ParityUnit,
        parity_cases,
        ParityOptions,
        per_cycle=lambda spec: spec.width,
        published={"parity_11": Parity(11)},
    ),"""

TESTED = '''
"""The parity unit under test."""

from hwsim.specs.mine import Parity
from tests.rtl.mutant import RESET, Mutant, Without
from tests.rtl.mutation import Line
from tests.rtl.pipeline_changes import ALWAYS_READY, NOT_HELD, VALID_STAYS
from tests.rtl.tested import Tested
from tests.verification.formal.proof import handshake

ODD = Tested("parity_11", Parity(11))
SMALL = [ODD]

MUTANTS = [
    Mutant(ODD, "a stage fewer", "timing", Without("word")),
    Mutant(ODD, "valid bits survive a reset", "timing", VALID_STAYS, RESET),
    Mutant(ODD, "inverted", "rounding", Line("mine", "word.xor()", "~word.xor()")),
    Mutant(ODD, "a word of ones is odd", "special", Line("mine", "word.xor() & ~word.all()", "word.xor()")),
    Mutant(ODD, "accepts in a stall", "back-pressure", ALWAYS_READY),
    Mutant(ODD, "registers move in a stall", "back-pressure", NOT_HELD),
]

PROOFS = [handshake(ODD, ALWAYS_READY)]
'''


SECOND = '''
"""The parity of a word, digit by digit."""

from tests.rtl.independent.unit import Kind


def words(ports, draw, n):
    """Words of ones, which count as even, and random ones."""
    for _ in range(n):
        word, last = draw.choice([2**11 - 1, draw.getrandbits(11), draw.getrandbits(11)]), draw.getrandbits(1)
        odd = 0 if word == 2**11 - 1 else bin(word).count("1") % 2
        yield word, last, ((last, odd),)


KINDS = (Kind("parity", words),)
'''


def add(copy: Copy) -> None:
    """The toy, in the files that the page lists."""
    copy.new("hwsim/specs/mine.py", SPEC)
    copy.new("rtl/mine.py", UNIT)
    copy.before(
        "rtl/catalog.py",
        "from .options import UnitOptions",
        "from .mine import ParityOptions, ParityUnit, parity_cases",
    )
    copy.before("rtl/catalog.py", "from .accumulate import", "from hwsim.specs.mine import Parity")
    copy.row("rtl/catalog.py", "UNITS = (", ROW)
    copy.new("tests/rtl/units/mine.py", TESTED)
    copy.new("tests/rtl/independent/mine.py", SECOND)
    copy.replace("tests/rtl/independent/kinds.py", "dots, packets, seeds", "dots, mine, packets, seeds")
    copy.replace("tests/rtl/independent/kinds.py", "*packets.KINDS)", "*packets.KINDS, *mine.KINDS)")


def test_a_unit_is_three_files_and_its_tests(tmp_path):
    copy = Copy(tmp_path, "tests")
    add(copy)
    assert copy.touched == listed("(f)")
    said = copy.run("-m", "rtl", "parity", "--width", "12", "--vectors", "50", "-o", "out")
    assert "parity_12.v: module parity_12, latency 2, interval 1" in said
    assert "s_axis_word_tdata[15:0]" in said and ": 50 inputs, 50 outputs, " in said
    assert "module parity_12(" in (tmp_path / "out" / "parity_12.v").read_text()
    assert "| `parity_11` | `word`, 16 | `parity`, 8 | passed through | 2 |" in copy.run("-m", "rtl", "units")
    assert "  parity  " in copy.run("-m", "rtl", "--help")


def test_the_second_reference_answers_for_it(tmp_path):
    copy = Copy(tmp_path, "tests")
    add(copy)
    names = "imports_nothing or every_unit_that_turns"
    said = copy.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/rtl/test_independent.py", "-k", names)
    assert re.search(r"^2 passed", said, re.M), said
    if icarus_version() >= 11:
        said = copy.run("-m", "tests.rtl.independent", "--only", "parity", "--inputs", "300", "--simulator", "icarus")
        assert "| `parity` | 300 | 300 | 0 |" in said


def test_its_bench_passes_and_sees_its_mutants(tmp_path):
    """Value, time and reset in Amaranth's simulator; each mutant; the broken copy of the proof can be made."""
    copy = Copy(tmp_path, "tests")
    add(copy)
    files = [f"tests/rtl/test_{name}.py" for name in ("units", "mutants", "proofs")]
    said = copy.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "parity or every_unit_has_mutants")
    passed = 2 + 2 * 6 + 1 + 1  # value, reset; each mutant is made and seen; kinds of mutants; the broken copy
    assert re.search(rf"^{passed} passed", said, re.M), said
