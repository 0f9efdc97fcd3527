"""Quantities: exact against rational arithmetic written out here, and refused with messages that help."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import InputError
from hwsim.quantities import DURATION, EXAMPLES, Quantity, pattern, quantity, rate, write

DIMENSIONS = sorted(EXAMPLES)
DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


@pytest.mark.parametrize(
    "text, value, dimension",
    [
        ("819 GB/s", 819 * 10**9, "B/s"),
        ("4.8 TB/s", 4_800_000_000_000, "B/s"),
        ("64 B/cycle", 64, "B/cycle"),
        ("1.755 GHz", 1_755_000_000, "Hz"),
        ("230 cycles", 230, "cycle"),
        ("1 cycle", 1, "cycle"),
        ("7.8 us", Fraction(78, 10**7), "s"),
        ("7.8 µs", Fraction(78, 10**7), "s"),
        ("7.8 μs", Fraction(78, 10**7), "s"),
        ("300 ns", Fraction(3, 10**7), "s"),
        ("1 MiB", 2**20, "B"),
        ("1 kB", 1000, "B"),
        ("1 KiB", 1024, "B"),
        ("4096 MAC/cycle", 4096, "MAC/cycle"),
        ("495 TMAC/s", 495 * 10**12, "MAC/s"),
        ("16 block/cycle", 16, "block/cycle"),
        ("128 element/cycle", 128, "element/cycle"),
        ("128 weight/cycle", 128, "weight/cycle"),
        ("1e3 GB/s", 10**12, "B/s"),
        ("2.5e-1 GHz", 25 * 10**7, "Hz"),
        ("64B", 64, "B"),
        ("2 B/ns", 2 * 10**9, "B/s"),
        ("64000/3 MAC/cycle", Fraction(64000, 3), "MAC/cycle"),
        ("1/3GHz", Fraction(10**9, 3), "Hz"),
    ],
)
def test_value_and_dimension_are_exact(text, value, dimension):
    assert quantity(text, dimension) == Quantity(Fraction(value), dimension)
    assert re.search(pattern(dimension), text)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_example_has_its_dimension(dimension):
    assert quantity(EXAMPLES[dimension], dimension).dimension == dimension
    assert re.search(pattern(dimension), EXAMPLES[dimension])


@pytest.mark.parametrize(
    "text, asked, words",
    [
        (
            "819 GB",
            rate("B"),
            "`819 GB` is a quantity in B, an amount and not a rate; write a quantity in B/s or B/cycle",
        ),
        ("819 Gb/s", rate("B"), "b is bit, B is byte"),
        ("819 Gbit/s", rate("B"), "b is bit, B is byte"),
        ("8 KB", ("B",), "kB is 1000 bytes, KiB is 1024"),
        ("3 gb/s", rate("B"), "unknown unit gb; did you mean GB?"),
        ("1 GB/sec", rate("B"), "unknown unit sec"),
        ("989 TFLOPS", rate("MAC"), "1 MAC is 2 operations"),
        ("5 GHz", DURATION, "in Hz; write a quantity in cycles or s, for example `230 cycles`"),
        ("5 /s", rate("B"), "a unit is missing"),
        ("5", ("Hz",), "has no unit; write a quantity in Hz, for example `1.755 GHz`"),
        (5, ("Hz",), "has no unit"),
        (1e9, ("Hz",), "has no unit"),
        ("0 B", ("B",), "is zero"),
        ("-1 B", ("B",), "is negative"),
        ("nan B", ("B",), "is not a number and a unit"),
        ("inf B/s", rate("B"), "is not a number and a unit"),
        (".inf", ("B",), "is not a number and a unit"),
        ("1,000 B", ("B",), "no separators between digits"),
        ("1_000 B", ("B",), "no separators between digits"),
        ("1e30 B", ("B",), "too large to be meant"),
        ("1e-30 Hz", ("Hz",), "too small to be meant"),
        ("9" * 5000 + " B", ("B",), "is not a number and a unit"),
        ("1e999999999 B", ("B",), "is not a number and a unit"),
        ("1/0 GHz", ("Hz",), "is not a number and a unit"),
        ("1/3/5 GHz", ("Hz",), "is not a number and a unit"),
        ("1.5/3 GHz", ("Hz",), "is not a number and a unit"),
        ("-1/3 GHz", ("Hz",), "is negative"),
        ("1/3", ("Hz",), "has no unit"),
        ("3 GHz + 1", ("Hz",), "is not a number and a unit"),
        ("1\nB\x07", ("B",), "`1 B ` is not a number and a unit"),
        ("", ("B",), "is not a number and a unit"),
        (True, ("B",), "not a quantity"),
        (None, ("B",), "not a quantity"),
        (["1 B"], ("B",), "not a quantity"),
    ],
)
def test_refused_with_what_is_wrong_and_what_to_write(text, asked, words):
    with pytest.raises(InputError) as caught:
        quantity(text, *asked)
    (message,) = caught.value.problems
    assert words in message
    assert "write a quantity in" in message and "for example `" in message
    assert len(message) < 300


def test_zero_only_where_it_makes_sense():
    assert quantity("0 cycles", *DURATION, zero=True).value == 0
    with pytest.raises(InputError, match="is zero"):
        quantity("0 cycles", *DURATION)
    with pytest.raises(InputError, match="is negative"):
        quantity("-0.5 ns", *DURATION, zero=True)


def test_time_and_rate_follow_the_clock_exactly():
    clock = quantity("200 MHz", "Hz").value
    assert quantity("7.8 us", *DURATION).cycles(clock) == 1560
    assert quantity("230 cycles", *DURATION).cycles(clock) == 230
    assert quantity("12.8 GB/s", *rate("B")).per_cycle(clock) == 64
    assert quantity("64 B/cycle", *rate("B")).per_cycle(clock) == 64
    assert quantity("4.8 TB/s", *rate("B")).per_cycle(quantity("1.755 GHz", "Hz").value) == Fraction(4800000, 1755)


@given(
    st.integers(1, 10**6),
    st.integers(0, 6),
    st.sampled_from(sorted(DECIMAL)),
    st.sampled_from(["B", "MAC", "Hz"]),
)
def test_any_decimal_is_exact(digits, places, prefix, base):
    text = f"{digits // 10**places}.{digits % 10**places:0{places}d}" if places else str(digits)
    asked = Fraction(digits, 10**places) * DECIMAL[prefix]
    dimension = "Hz" if base == "Hz" else f"{base}/s"
    assert quantity(f"{text} {prefix}{dimension}", dimension).value == asked


@given(st.integers(1, 10**15), st.integers(0, 9), st.integers(0, 9), st.integers(1, 999), st.sampled_from(DIMENSIONS))
def test_written_quantities_read_back(numerator, twos, fives, others, dimension):
    value = Fraction(numerator, 2**twos * 5**fives * others)
    text = write(value, dimension)
    assert quantity(text, dimension) == Quantity(value, dimension)
    assert re.search(pattern(dimension), text)


@given(
    st.text(max_size=40) | st.from_regex(r"[0-9.eE+-]{1,12} ?[a-zA-Z/µ]{0,12}", fullmatch=True),
    st.sampled_from(DIMENSIONS),
)
def test_any_text_gives_a_quantity_or_an_input_error(text, dimension):
    try:
        found = quantity(text, dimension)
    except InputError as error:
        assert error.problems and "\n" not in error.problems[0]
    else:
        assert found.value > 0 and found.dimension == dimension
        assert re.search(pattern(dimension), text.strip())


def test_the_module_needs_only_the_standard_library():
    import subprocess
    import sys

    code = "import sys, hwsim.quantities; print(*{'yaml', 'pydantic', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""
