# ruff: noqa: E501 (tables of whole messages)
"""Bad machine files: each mistake at its line and column, with what to write; nothing else ever comes out."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arch import Arch, load_arch, load_arch_text, load_tile_machine
from hwsim.arch.builtin import arch_folder
from hwsim.errors import InputError

GOOD = """\
name: small
description: a small machine
clock: 1 GHz
dram:
  bandwidth: 100 GB/s
  latency: 100 cycles
  beat: 64 B
  capacity: 16 GB
  refresh:
    kind: none
buffers:
  weights: 1 MiB
  activations: 1 MiB
  outputs: 1 MiB
activations: dram
dot:
  latency: 128 cycles
  rates:
    - weights: fp16
      activations: fp16
      rate: 1024 MAC/cycle
vector:
  rate: 128 element/cycle
  latency: 10 cycles
regenerate:
  rate: 16 block/cycle
  latency: 6 cycles
  feeds: fp16
tiles: [512x256x512]
"""


def problems(text, overrides=()):
    with pytest.raises(InputError) as caught:
        load_arch_text(text, "f.yaml", overrides)
    return list(caught.value.problems)


def test_the_good_one_is_good():
    assert load_arch_text(GOOD, "f.yaml").name == "small"


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("  latency: 100", "  latency_cycle: 100", "f.yaml:6:3: dram.latency_cycle: unknown; did you mean latency?"),
        ("clock: 1 GHz\n", "", "f.yaml:1:1: clock: missing; write `clock: 1.755 GHz`"),
        ("  beat: 64 B\n", "", "f.yaml:5:3: dram.beat: missing; write `beat: 64 B`"),
        (
            "100 GB/s",
            "100 GB",
            "f.yaml:5:14: dram.bandwidth: `100 GB` is a quantity in B, an amount and not a rate; "
            "write a quantity in B/s or B/cycle, for example `819 GB/s`",
        ),
        (
            "100 GB/s",
            "100 Gb/s",
            "f.yaml:5:14: dram.bandwidth: `100 Gb/s` is a quantity in b/s: b is bit, B is byte; "
            "write a quantity in B/s or B/cycle, for example `819 GB/s`",
        ),
        (
            "1 GHz",
            "1e9",
            "f.yaml:3:8: clock: `1e+09` has no unit; write a quantity in Hz, for example `1.755 GHz`",
        ),
        ("64 B", "0 B", "f.yaml:7:9: dram.beat: `0 B` is zero; write a quantity in B, for example `1 MiB`"),
        ("64 B", "0.5 B", "f.yaml:7:9: dram.beat: `0.5 B` is not a whole number of bytes; write for example `64 B`"),
        ("16 GB", "-16 GB", "f.yaml:8:13: dram.capacity: `-16 GB` is negative; write a quantity in B, for example `1 MiB`"),
        ("name: small", "name: 5", "f.yaml:1:7: name: `5` is not text; write text, for example `name: my-machine`"),
        ("clock: 1 GHz", "clock: 1 GHz\nhypothetical: no", "f.yaml:4:15: hypothetical: `no`; write true or false"),
        ("activations: dram", "activations: sram", "f.yaml:15:14: activations: `sram` is not known; write on_chip or dram"),
        (
            "- weights: fp16",
            "- weights: fp61",
            "f.yaml:19:16: dot.rates.0.weights: unknown format 'fp61'; did you mean fp16?",
        ),
        (
            "- weights: fp16",
            "- weights: ../x.yaml",
            "f.yaml:19:16: dot.rates.0.weights: ../x.yaml: no such file; write the path of a YAML file",
        ),
        (
            "feeds: fp16",
            "feeds: bf16",
            "f.yaml:28:10: regenerate.feeds: the dot array lists no rate for bf16 weights; write one of: fp16",
        ),
        (
            "dot:",
            "dot:\n  kind: systolc",
            "f.yaml:17:9: dot.kind: `systolc` is not known; write dot_array, tensor_cores or systolic",
        ),
        ("dot:", "dot:\n  kind: tensor_cores", "f.yaml:17:3: dot.shape: missing; write `shape: 16x8x16`"),
        ("dot:", "dot:\n  rowss: 16", "f.yaml:17:3: dot.rowss: unknown; did you mean rows?"),
        ("[512x256x512]", "[512x256]", "f.yaml:29:9: tiles.0: `512x256` is not a tile; write MxNxK, for example `512x256x512`"),
        ("[512x256x512]", "512x256x512", "f.yaml:29:8: tiles: `512x256x512`; write a list, for example `tiles: [512x256x512, 128x512x512]`"),
        ("kind: none", "kind: rows", "f.yaml:10:11: dram.refresh.kind: `rows` is not known; write none, spread or all_bank"),
        ("kind: none", "kind: spread", "f.yaml:10:5: dram.refresh.period: missing for `kind: spread`; write `period: 3.9 us`"),
        (
            "kind: none",
            "{kind: none, stall: 1 us}",
            "f.yaml:10:25: dram.refresh.stall: has no use under `kind: none`; remove it or write `kind: spread`",
        ),
        (
            "kind: none",
            "{kind: spread, period: 10 cycles, stall: 10 ns}",
            "f.yaml:10:46: dram.refresh.stall: is not shorter than the period; write a shorter time, for example `350 ns`",
        ),
        ("  beat: 64 B", "  beat: 64 B\n  row: 1 KiB", "f.yaml:8:8: dram.row: needs its partner; write both `row` and `row_miss`, or neither"),
        (
            "activations: 1 MiB",
            "activations: 100 KiB",
            "f.yaml:13:16: buffers.activations: 100 KiB is too small for every tile listed: 512x256x512 needs two "
            "slots of 256 KiB; write `activations: 512 KiB` or list a smaller tile",
        ),
        ("clock: 1 GHz", "clock: 1 GHz\nkv: seedlm4", "f.yaml:4:5: kv: seedlm4 holds weights only; write another format, for example bf16"),
    ],
)  # fmt: skip
def test_one_mistake_one_line(old, new, expected):
    assert old in GOOD
    assert problems(GOOD.replace(old, new, 1)) == [expected]


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("dram:\n", "dram: []\nmore:\n", "dram: is a list; write a mapping with the keys bandwidth, latency"),
        ("dram:\n", "dram: fast\nmore:\n", "dram: `fast`; write a mapping with the keys bandwidth, latency"),
        ("    - weights: fp16\n      activations: fp16\n      rate: 1024 MAC/cycle\n", "    []\n", "dot.rates: "),
        ("tiles: [512x256x512]\n", "tiles: []\n", "tiles: has 0 items; write at least 1"),
        ("tiles: [512x256x512]\n", "tiles: [0x2x3]\n", "tiles.0: `0x2x3` is not a tile"),
        ("name: small", "name: ../evil", "name: "),
        ("name: small", "name: [a]", "name: is a list; write text"),
        ("1024 MAC/cycle", "1 TFLOPS", "1 MAC is 2 operations"),
        ("      rate: 1024 MAC/cycle\n", "      rate: 1 MAC/cycle\n    - {weights: fp16, activations: fp16, rate: 1 MAC/s}\n", "fp16 x fp16 is listed twice"),
        ("      activations: fp16", "      activations: seedlm4", "seedlm4 holds weights only"),
    ],
)  # fmt: skip
def test_refused_with_words(old, new, words):
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert any(words in line for line in found), found
    assert all(re.match(r"f\.yaml:\d+:\d+: ", line) for line in found)


def test_a_seed_rate_needs_the_decoder():
    text = GOOD.replace("weights: fp16", "weights: seedlm4", 1).replace(
        GOOD[GOOD.index("regen") : GOOD.index("tiles")], ""
    )
    assert problems(text) == [
        "f.yaml:19:16: dot.rates.0.weights: seedlm4 needs the units that decode it; add `regenerate:`"
    ]


def test_all_mistakes_at_once_in_the_order_of_the_file():
    text = (
        GOOD.replace("1 GHz", "1 s")
        .replace("64 B", "1 KB")
        .replace("outputs", "output")
        .replace("feeds: fp16", "feeds: x")
    )
    found = problems(text)
    assert [line.split(": ")[1] for line in found] == [
        "clock",
        "dram.beat",
        "buffers.output",
        "regenerate.feeds",
    ]


def test_an_empty_mapping_lists_every_missing_field():
    found = problems("{}")
    assert {line.split(": ")[1] for line in found} == {
        *("name", "description", "clock", "dram", "buffers", "activations", "dot", "tiles")
    }


def test_unknown_machine_names_the_nearest():
    with pytest.raises(
        InputError,
        match=r"^unknown machine 'h200-smx'; did you mean 'h200-sxm'\? \(a path to a YAML file also works\)$",
    ):
        load_arch("h200-smx")
    with pytest.raises(InputError, match="nowhere.yaml: no such file"):
        load_arch("nowhere.yaml")


def test_a_path_and_its_text_give_the_same_machine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert load_arch(path) == load_arch(str(path)) == load_arch_text(GOOD)
    path.write_text("name: x\n")
    with pytest.raises(InputError) as caught:
        load_arch(path)
    assert all(line.startswith(f"{path}:1:1: ") for line in caught.value.problems)


def test_overrides():
    fast = load_arch_text(GOOD, overrides=[("dram.bandwidth", "9.6 TB/s"), ("vector", "null"), ("tiles.0", "1x2x3")])
    assert fast.dram.bytes_per_cycle == 9600 and fast.vector is None and fast.tiles == ((1, 2, 3),)
    assert load_arch_text(GOOD, overrides=[("launch.interval", "2 us")]).launch.interval_cycles == 2000
    found = problems(GOOD, [("dram.bandwith", "1 GB/s"), ("dot.rates.0.rate", "1 GB/s"), ("clock", "5 GHz")])
    assert found == [
        "--set dot.rates.0.rate: `1 GB/s` is a quantity in B/s; write a quantity in MAC/s or MAC/cycle, "
        "for example `495 TMAC/s`",
        "--set dram.bandwith: unknown; did you mean bandwidth?",
    ]
    assert problems(GOOD, [("clok", "1 GHz")]) == ["--set clok: unknown; did you mean clock?"]
    assert problems(GOOD, [("clock.x", "1"), ("tiles.9", "1x1x1")]) == [
        "--set clock.x: a plain value has no keys; leave out `.x`",
        "--set tiles.9: `9` is not an index of this list; write a number (0 to 0)",
    ]


def test_warnings_say_what_the_sizes_cost():
    small = load_arch_text(GOOD, overrides=[("buffers.weights", "256 KiB"), ("dram.latency", "5243 cycles")])
    few, slow = small.warnings
    assert "holds 2 slots of the smallest tile 512x256x512" in few and "512 KiB would do" in few
    assert "latency, not bandwidth, will set the speed: at most 50.0 % of the bandwidth" in slow
    assert load_arch_text(GOOD).warnings == ()
    # two-sided: 4 slots are enough, and bytes in flight equal to bandwidth x latency are enough
    assert load_arch_text(GOOD, overrides=[("buffers.weights", "512 KiB")]).warnings == ()
    assert len(load_arch_text(GOOD, overrides=[("buffers.weights", "524287 B")]).warnings) == 1
    exact = [("dram.bandwidth", "1024 B/cycle"), ("dram.latency", "1024 cycles")]
    assert load_arch_text(GOOD, overrides=exact).warnings == ()
    assert len(load_arch_text(GOOD, overrides=[*exact, ("dram.latency", "1025 cycles")]).warnings) == 1


def test_a_tile_fits_exactly_at_two_slots():
    sizes = [
        ("buffers.weights", 2 * 256 * 512),
        ("buffers.activations", 2 * 512 * 512),
        ("buffers.outputs", 8 * 512 * 256),
    ]
    assert load_arch_text(GOOD, overrides=[(path, f"{size} B") for path, size in sizes])
    for short_path, _ in sizes:
        found = problems(GOOD, [(path, f"{size - (path == short_path)} B") for path, size in sizes])
        assert len(found) == 1 and found[0].startswith(f"--set {short_path}: ")


def test_times_become_whole_cycles_rounded_up_and_rates_stay_exact():
    arch = load_arch_text(GOOD, overrides=[("clock", "1.5 GHz"), ("dram.latency", "1 ns"), ("dot.latency", "0 cycles")])
    assert arch.dram.latency_cycles == 2 and arch.dot.latency_cycles == 0
    assert arch.dram.bytes_per_cycle * 3 == 200


def test_bad_files_are_quick():
    begin = time.process_time()
    many = GOOD + "".join(f"k{i}: {i}\n" for i in range(15000))
    assert len(problems(many)) == 51
    rows = "".join("    - {weights: x, activations: y, rate: z}\n" for _ in range(4000))
    assert problems(GOOD.replace("vector:", rows + "vector:"))
    assert time.process_time() - begin < 20


def _mutations():
    lines = GOOD.splitlines()
    keys = [
        "clock",
        "dram.bandwidth",
        "dram",
        "buffers.weights",
        "tiles",
        "dot.rates",
        "dot.rates.0.rate",
        "kv",
        "x.y",
        "vector",
    ]
    values = st.sampled_from(
        [
            "1",
            "1 B",
            "0 B/s",
            "1e9",
            "no",
            "null",
            "[]",
            "{}",
            "[1x1x1]",
            "-1 cycles",
            "*a",
            "!!int 3",
            "1 KB",
        ]
    )
    values |= st.text(max_size=12)
    swap = st.tuples(st.integers(0, len(lines) - 1), st.integers(0, 40), st.text("ab:-[]{}#&*!\t\"' 01", max_size=4))
    return st.lists(swap, max_size=3), st.lists(
        st.tuples(st.sampled_from(keys) | st.text(max_size=8), values), max_size=3
    )


@settings(max_examples=150, deadline=None)
@given(*_mutations())
def test_only_a_machine_or_an_input_error_comes_out(edits, overrides):
    lines = GOOD.splitlines()
    for row, column, text in edits:
        lines[row] = lines[row][:column] + text + lines[row][column + 2 :]
    try:
        found = load_arch_text("\n".join(lines), "f.yaml", overrides)
    except InputError as error:
        assert all(line.startswith(("f.yaml", "--set", "...")) for line in error.problems)
    else:
        assert isinstance(found, Arch)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200)
    | st.builds(lambda i, b: _shipped()[:i] + b + _shipped()[i:], st.integers(0, 900), st.binary(max_size=3))
)
def test_any_bytes_in_a_file(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)
    try:
        assert isinstance(load_arch(path), Arch)
    except InputError as error:
        assert all(line.startswith((str(path), "...")) for line in error.problems)


def _shipped():
    return (arch_folder() / "m0.yaml").read_bytes()


GEMV = """\
name: small
description: a machine
clock: 100 MHz
dram:
  bandwidth: 8 B/cycle
  latency: 20 cycles
  beat: 8 B
  capacity: 1 GB
  refresh: {kind: none}
gemv:
  weights: mxint8
  fifo: 16
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fifo: 16", "fifo: 1", "f.yaml:12:9: gemv.fifo: fifo 1; write 4 to 4096 beats"),
        ("fifo: 16", "fifos: 16", "f.yaml:12:3: gemv.fifos: unknown; did you mean fifo?"),
        ("beat: 8 B", "beat: 24 B", "f.yaml:7:9: dram.beat: beat_bytes 24; write 4, 8, 16, 32 or 64"),
        ("weights: mxint8", "weights: fp16", "f.yaml:11:3: gemv: fp16: not an operand"),
        (
            "latency: 20 cycles",
            "latency: 0 cycles",
            "f.yaml:6:12: dram.latency: a memory with a clocked port needs at least one",
        ),
        ("refresh: {kind: none}", "refresh: {kind: all_bank}", "dram.refresh.period: missing"),
        ("refresh: {kind: none}", "turnaround: 10 ns\n  refresh: {kind: none}", "not modelled beat by beat; remove it"),
        ("gemv:\n", "gemv:\n  decoders: 2\n", "f.yaml:11:13: gemv.decoders: decoders 2 with mxint8; write 0"),
    ],
)
def test_bad_gemv_machines_are_answered_at_their_place(old, new, said):
    assert load_arch_text(GEMV, "f.yaml").gemv.fifo == 16
    with pytest.raises(InputError) as caught:
        load_arch_text(GEMV.replace(old, new), "f.yaml")
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


GEMM = GEMV.replace("gemv:", "gemm:\n  tile: 2")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tile: 2", "tile: 65", "f.yaml:11:9: gemm.tile: tile 65; write 1 to 64 rows of x"),
        ("tile: 2", "tiles: 2", "f.yaml:11:3: gemm.tiles: unknown; did you mean tile?"),
        ("fifo: 16", "fifo: 1", "f.yaml:13:9: gemm.fifo: fifo 1; write 4 to 4096 beats"),
        ("weights: mxint8", "weights: fp16", "f.yaml:11:3: gemm: fp16: not an operand"),
        ("fifo: 16", "fifo: 16\ngemv:\n  weights: mxint8", "f.yaml:10:1: gemm: unknown"),
    ],
)
def test_bad_gemm_machines_are_answered_at_their_place(old, new, said):
    found = load_arch_text(GEMM, "f.yaml")
    assert (found.gemv.tile, found.KEY) == (2, "gemm") and "tile" in found.file()["gemm"]
    assert load_arch_text(GEMM.replace("fifo: 16", "fifo: 8"), "f.yaml").warnings[0].startswith("gemm.fifo of 8 beats")
    with pytest.raises(InputError) as caught:
        load_arch_text(GEMM.replace(old, new), "f.yaml")
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_engine_is_the_old_name_of_gemv():
    """Files and --set of the last release are read, with a note; places are those of the file."""
    new, old = load_arch_text(GEMV, "f.yaml"), load_arch_text(GEMV.replace("gemv:", "engine:"), "f.yaml")
    *others, note = old.warnings
    assert new == replace(old, warnings=tuple(others))
    assert note.startswith("`engine:` is now `gemv:`; write `gemv:`")
    override = load_arch_text(GEMV, "f.yaml", [("engine.fifo", "32")])
    assert (override.gemv.fifo, override.warnings) == (32, (note,))
    both_old = load_arch_text(GEMV.replace("gemv:", "engine:"), "f.yaml", [("engine.fifo", "32")])
    assert both_old == override
    assert load_arch_text(GEMV.replace("gemv:", "engine:"), "f.yaml", [("gemv.fifo", "32")]) == override
    assert problems(GEMV.replace("gemv:", "engine:").replace("fifo: 16", "fifo: 1")) == [
        "f.yaml:12:9: gemv.fifo: fifo 1; write 4 to 4096 beats"
    ]
    assert problems(GEMV, [("engine.fifo", "1")]) == ["--set gemv.fifo: fifo 1; write 4 to 4096 beats"]
    twice = GEMV + "engine:\n  weights: mxint8\n"
    (problem,) = problems(twice)
    assert problem.startswith("f.yaml:13:1: engine: unknown; known: name, ") and problem.endswith("gemv")


def test_what_needs_a_tile_machine_says_so():
    assert load_tile_machine("m0", [("clock", "2 GHz")]) == load_arch("m0", [("clock", "2 GHz")])
    with pytest.raises(InputError, match="^gemv-engine: a machine with `gemv:`; name one with `dot:`$"):
        load_tile_machine("gemv-engine")
