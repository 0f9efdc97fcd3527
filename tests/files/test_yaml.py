"""The YAML subset: PyYAML's own loader is the oracle for what is accepted, and every refusal has a place."""

import time
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.errors import InputError
from hwsim.files.yaml import MAX_BYTES, parse, read


def problems(text):
    with pytest.raises(InputError) as caught:
        parse(text, "f.yaml")
    return list(caught.value.problems)


def test_plain_values_and_their_places():
    document = parse("a: 1\nb:\n  - c: 'x: y'\n    d: true\n  - 2.5\n", "f.yaml")
    assert document.data == {"a": 1, "b": [{"c": "x: y", "d": True}, 2.5]}
    assert document.problem(("b", 0, "d"), "oops") == "f.yaml:4:8: b.0.d: oops"
    assert document.problem(("b", 0, "d"), "oops", key=True) == "f.yaml:4:5: b.0.d: oops"
    assert document.problem(("b", 0, "gone"), "missing") == "f.yaml:3:5: b.0.gone: missing"


@pytest.mark.parametrize(
    "text, value",
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1e9", 1e9),
        ("1.0e9", 1e9),
        ("010", "010"),
        ("0x7f", "0x7f"),
    ]
    + [("1_000", "1_000"), (".inf", ".inf"), ("12:30", "12:30"), ("2026-11-24", "2026-11-24"), ("-7", -7)]
    + [("'1'", "1"), ('"true"', "true"), ("9" * 30, "9" * 30), ("=", "="), ("7.8 us", "7.8 us")],
)
def test_only_true_false_and_decimal_numbers_are_not_text(text, value):
    found = parse(f"a: {text}", "f.yaml").data["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ["f.yaml:1:1: empty; write lines of `key: value`"]),
        ("# only a comment\n", ["f.yaml:1:1: empty; write lines of `key: value`"]),
        ("- a\n", ["f.yaml:1:1: is a list, not a mapping; write lines of `key: value`"]),
        ("hello", ["f.yaml:1:1: is text, not a mapping; write lines of `key: value`"]),
        ("a: 1\na: 2\n", ["f.yaml:2:1: a: the same key twice (first at line 1); remove one"]),
        ("a:\n\tb: 1", ["f.yaml:2:1: a tab; indent with spaces"]),
        ("a:\t1", ["f.yaml:1:3: a tab; write spaces (or quote the text)"]),
        (
            "a:\nb: ~\n",
            ["f.yaml:1:3: a: empty; write a value or remove the key"]
            + ["f.yaml:2:4: b: empty; write a value or remove the key"],
        ),
        ("a: 1\n---\nb: 1\n", ["f.yaml:2:1: a second document begins; write one document per file"]),
    ],
)
def test_refused_at_its_place(text, expected):
    assert problems(text) == expected


@pytest.mark.parametrize(
    "text, place, words",
    [
        ("a: !!python/object/apply:os.system ['true']", "1:4", "the tag !!python/object/apply:os.system"),
        ("a: !!int 3", "1:4", "the tag !!int"),
        ("a: !own 3", "1:4", "the tag !own"),
        ("a: &x 1", "1:4", "the anchor &x"),
        ("a: *x", "1:4", "the alias *x"),
        ("&x a: 1", "1:1", "a key with an anchor"),
        ("<<: {a: 1}", "1:1", "the merge key"),
        ("? [a]\n: 1", "1:3", "a key that is not a word"),
        ("a: b: c", "1:5", "a `:` where no key is possible"),
        ("a: 1\nb\nc: 1", "2:1", "a line without `:`"),
        ("a: 1\nb\n", "2:1", "a line without `:`"),
        ("a: 1\n  b: 1", "2:4", "a `:` where no key is possible"),
        ("a:\n  b: 1\n c: 1", "3:2", "indent"),
        ("a: [1", "1:6", "check the brackets"),
        ("a: 'x", "1:6", "check the brackets, quotes"),
        ("a: @x", "1:4", "in quotes"),
        ("a: %x", "1:4", "in quotes"),
        ('a: "\\UFFFFFFFF"', "", "not YAML"),
        ('a: "\\ud800"', "1:4", "is not text"),
        ("a: \x00", "1:4", "a binary file?"),
        ("a: " + "[" * 5000, "", "levels deep"),
        ("- " * 5000, "", "levels deep"),
        ("%YAML 9.9\n---\na: 1", "1:1", "not YAML"),
    ],
)
def test_refused_with_words(text, place, words):
    first = problems(text)[0]
    assert words in first
    assert first.startswith(f"f.yaml:{place}")


def test_all_problems_come_at_once_and_are_capped():
    assert len(problems("a: *x\nb: &y 1\nc: !t 1\nd:\nd: 1\n")) == 5
    many = problems("\n".join(f"k{i}:" for i in range(1000)))
    assert len(many) == 51 and many[-1] == "... and 950 more"


def test_an_alias_bomb_costs_nothing():
    bomb = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in pairwise("abcdefghijk"))
    begin = time.process_time()
    assert any("alias" in line for line in problems(bomb))
    assert time.process_time() - begin < 1


def test_files_that_cannot_be_read(tmp_path):
    cases = {
        tmp_path / "missing.yaml": "no such file",
        tmp_path: "is a directory",
        tmp_path / ("x" * 5000): "",
        tmp_path / "nul\0.yaml": "",
        "/dev/zero": "no such file",
    }
    binary, large, bom = tmp_path / "b.yaml", tmp_path / "large.yaml", tmp_path / "bom.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\xfe\x00")
    large.write_bytes(b"a: 1\n" * MAX_BYTES)
    bom.write_bytes(b"\xef\xbb\xbfa: 1\n")
    cases |= {binary: ":2:4: not UTF-8 text (a binary file?)", large: "larger than 256 KiB"}
    for path, words in cases.items():
        with pytest.raises(InputError) as caught:
            read(path)
        assert words in str(caught.value)
    assert read(bom).data == {"a": 1}


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "'",
        '"',
        "!",
        "&a ",
        "*a ",
        "%",
        "|\n",
        "a\n",
        "\\",
        "#",
        "a: b\n",
        "-\n",
        ", ",
        "{a: ",
    ],
)
def test_no_text_is_slow(piece):
    begin = time.process_time()
    try:
        parse(piece * (MAX_BYTES // len(piece)), "f.yaml")
    except InputError:
        pass
    assert time.process_time() - begin < 20


def test_override_replaces_adds_and_removes():
    document = parse("a: {b: 1}\nc: [{d: 1}, {d: 2}]\n", "f.yaml")
    changed = document.override("a.b", "7 us").override("c.1.d", "[1, {e: no}]").override("x.y", "true")
    assert changed.data == {"a": {"b": "7 us"}, "c": [{"d": 1}, {"d": [1, {"e": "no"}]}], "x": {"y": True}}
    assert document.data == {"a": {"b": 1}, "c": [{"d": 1}, {"d": 2}]}
    assert changed.problem(("a", "b"), "oops") == "--set a.b: oops"
    assert changed.problem(("c", 1, "d", 1, "e"), "oops") == "--set c.1.d: c.1.d.1.e: oops"
    assert changed.problem(("c", 0, "d"), "oops") == "f.yaml:2:9: c.0.d: oops"
    assert document.override("a", "null").override("z.z", "null").data == {"c": [{"d": 1}, {"d": 2}]}
    assert document.override("c.0", "null").data["c"] == [{"d": 2}]


@pytest.mark.parametrize(
    "path, text, words",
    [
        ("", "1", "--set : write a dotted path"),
        ("a..b", "1", "write a dotted path"),
        ("a.b.c", "1", "--set a.b.c: a plain value has no keys; leave out `.c`"),
        ("c.5", "1", "`5` is not an index of this list; write a number (0 to 1)"),
        ("c.x", "1", "is not an index of this list"),
        ("a.b", "[1", "--set a.b: not YAML"),
        ("a.b", "*x", "--set a.b: the alias *x"),
        ("a.b", "{c: 1, c: 2}", "the same key twice"),
    ],
)
def test_override_refused(path, text, words):
    with pytest.raises(InputError) as caught:
        parse("a: {b: 1}\nc: [{d: 1}, {d: 2}]\n", "f.yaml").override(path, text)
    assert words in str(caught.value)


_words = st.text("abcxyz", min_size=1, max_size=6)
_tree = st.recursive(
    st.integers(-(10**9), 10**9) | _words | st.booleans(),
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(_words, inner, min_size=1, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_words, _tree, min_size=1), st.booleans())
def test_equal_to_the_safe_loader_on_plain_trees(tree, flow):
    text = yaml.safe_dump(tree, default_flow_style=flow)
    assert parse(text, "f.yaml").data == yaml.safe_load(text) == tree


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text("ab:- \n\t[]{}&*!|>'\"%@#?,<~0", max_size=60))
def test_any_text_gives_a_document_or_an_input_error(text):
    try:
        assert isinstance(parse(text, "f.yaml").data, dict)
    except InputError as error:
        assert all(line.startswith("f.yaml") for line in error.problems)
