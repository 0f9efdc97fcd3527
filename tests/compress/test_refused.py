"""Inputs that compress, decompress and inspect refuse: one clear error, and no files left behind."""

import errno
import fcntl
import json
import os
import resource
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hwsim.compress import compress, decompress, inspect
from hwsim.errors import InputError


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.safetensors"
    rng = np.random.default_rng(0)
    save_file({f"layers.{i}.weight": rng.standard_normal((16, 32)).astype(np.float32) for i in range(4)}, path)
    return path


@pytest.fixture
def refused(tmp_path):
    """The call must raise InputError with all these texts, and leave the folder unchanged."""

    def check(call, *texts):
        before = sorted(str(p) for p in tmp_path.rglob("*"))
        with pytest.raises(InputError) as raised:
            call()
        for text in texts:
            assert text in str(raised.value)
        assert sorted(str(p) for p in tmp_path.rglob("*")) == before
        return str(raised.value)

    return check


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def raw(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


HOSTILE = {
    "empty": b"",
    "short": b"abc",
    "no header": struct.pack("<Q", 8),
    "huge length": raw({}, length=2**62),
    "length beyond the file": raw({}, length=1000),
    "not JSON": raw(b"{bad}   "),
    "not an object": raw(b"[1,2,3] "),
    "not UTF-8": raw(b'{"\xff": 1}'),
    "truncated data": raw({"a": entry([4], 0, 16)}, b"12345678"),
    "data after the end": raw({"a": entry([1], 0, 4)}, b"12345678"),
    "overlap": raw({"a": entry([1], 0, 4), "b": entry([1], 2, 6)}, b"12345678"),
    "gap": raw({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, b"x" * 12),
    "backwards": raw({"a": entry([1], 4, 0)}, b"1234"),
    "wrong size": raw({"a": entry([3], 0, 8)}, b"12345678"),
    "overflow": raw({"a": entry([2**62, 2**62], 0, 8)}, b"12345678"),
    "negative shape": raw({"a": entry([-2], 0, 8)}, b"12345678"),
    "unknown type": raw({"a": entry([2], 0, 8, "F31")}, b"12345678"),
    "deep nesting": raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "metadata is no text": raw({"__metadata__": {"hwsim": 3}}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_headers(tmp_path, refused, what):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(HOSTILE[what])
    for call in (compress, decompress):
        message = refused(lambda call=call: call(path, tmp_path / "out.safetensors", *["mxfp4"][: call is compress]))
        assert message.startswith(f"{path}: ") and len(message) < 500
    refused(lambda: inspect(path), str(path))


def test_every_truncation_of_a_header_is_refused(source, tmp_path, refused):
    whole = source.read_bytes()
    path = tmp_path / "cut.safetensors"
    length = 8 + int.from_bytes(whole[:8], "little")
    for n in (*range(0, length, 7), length, len(whole) - 1):
        path.write_bytes(whole[:n])
        refused(lambda: inspect(path), str(path))


@pytest.mark.parametrize("form", ["mxfp4", "seedlm4", "fp16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinite_weights(source, tmp_path, refused, form, bad):
    tensors = load_file(source)
    tensors["layers.2.weight"][3, 4:6] = bad
    save_file(tensors, source)
    refused(
        lambda: compress(source, tmp_path / "o.safetensors", form),
        "layers.2.weight",
        "2 of 512 weights are NaN",
    )
    compress(source, tmp_path / "o.safetensors", form, exclude=["layers.2.*"])


def test_weights_beyond_a_format(source, tmp_path, refused):
    tensors = load_file(source)
    tensors["layers.1.weight"][2, 3] = 1e38
    save_file(tensors, source)
    refused(
        lambda: compress(source, tmp_path / "o.safetensors", "fp16"),
        "layers.1.weight: its largest weights would become infinite in fp16",
    )
    compress(source, tmp_path / "o.safetensors", "bf16")


def test_nan_is_found_before_any_work(source, tmp_path, refused):
    tensors = load_file(source)
    for i, bad in ((1, np.nan), (3, -np.inf)):
        tensors[f"layers.{i}.weight"][15, 31] = bad
    save_file(tensors, source)
    seen = []
    refused(
        lambda: compress(source, tmp_path / "o.safetensors", "mxfp4", progress=seen.append),
        "layers.1.weight: 1 of 512 weights",
        "layers.3.weight: 1 of 512 weights",
    )
    assert not seen


def test_names_of_formats_and_globs(source, tmp_path, refused):
    out = tmp_path / "o.safetensors"
    refused(lambda: compress(source, out, "seedlm5"), "seedlm5", "did you mean seedlm")
    refused(lambda: compress(source, out, mapping={"*": "mxfp44"}), "did you mean mxfp4")
    refused(
        lambda: compress(source, out, mapping={"*.wait": "mxfp4", "no.such": "mxfp4"}),
        "'*.wait' matches",
        "'no.such'",
    )
    refused(lambda: compress(source, out, mapping={"*": "keep"}), "no tensor to compress")
    refused(lambda: compress(source, out, mapping={}), "no tensor to compress")
    refused(lambda: compress(source, out, "mxfp4", include=["layer.0.weight"]), "did you mean layers.0.weight?")
    refused(lambda: compress(source, out, "mxfp4", exclude=["embed*"]), "exclude: 'embed*'")
    refused(lambda: compress(source, out, "mxfp4", exclude=["*"]), "no tensor to compress")
    refused(lambda: compress(source, out), "write a format (--format) or a map")
    refused(lambda: compress(source, out, "mxfp4", mapping={"*": "mxfp4"}), "write either a format or a map")
    refused(lambda: compress(source, out, tmp_path.name + ".yaml"), "no such file")
    (tmp_path / "map.yaml").write_text('"*": 3\n')
    refused(lambda: compress(source, out, mapping=tmp_path / "map.yaml"), "map.yaml:1:6", "write a format name")
    refused(
        lambda: compress(source, out, mapping={"*": {"element": "E9M9", "block": 32, "scale": "e8m0"}}),
        "element",
    )


def test_nothing_to_compress(tmp_path, refused):
    path = tmp_path / "in.safetensors"
    save_file({"norm.weight": np.ones(8, np.float32), "ids": np.ones((4, 4), np.int32)}, path)
    refused(lambda: compress(path, tmp_path / "o.safetensors", "mxfp4"), "no tensor to compress")


def test_places_that_cannot_be_written(source, tmp_path, refused):
    (tmp_path / "file").write_text("")
    refused(lambda: compress(source, tmp_path / "none" / "o.safetensors", "mxfp4"), "does not exist")
    refused(lambda: compress(source, tmp_path / "file" / "o.safetensors", "mxfp4"), "file")
    refused(lambda: compress(source, "/proc/o.safetensors", "mxfp4"), "/proc")
    refused(lambda: compress(source, tmp_path / "o.bin", "mxfp4"), "ends in .safetensors")
    refused(lambda: compress(source, source, "mxfp4"), "is the input")
    (tmp_path / "link.safetensors").symlink_to(source)
    refused(lambda: compress(source, tmp_path / "link.safetensors", "mxfp4"), "is the input")
    refused(lambda: compress(tmp_path / "none.safetensors", tmp_path / "o.safetensors", "mxfp4"), "no such file")
    refused(lambda: inspect(tmp_path / "nothing"), "no such file")


def test_a_real_limit_on_file_size(source, tmp_path):
    """The system itself refuses the space, in a child whose files may have 500 bytes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
            compress(source, tmp_path / "o.safetensors", "mxfp8")
        except InputError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    message = os.read(reading, 10_000).decode()
    assert "cannot be written: File too large; 2112 bytes are needed" in message
    assert [p.name for p in tmp_path.iterdir()] == ["in.safetensors"]


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync", "replace"])
def test_a_disk_that_fills_up(source, tmp_path, refused, monkeypatch, call):
    out = tmp_path / "o.safetensors"
    compress(source, out, "mxfp4")
    before = out.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    refused(lambda: compress(source, out, "mxfp8"), "No space left on device; 2112 bytes are needed")
    assert out.read_bytes() == before


def test_two_runs_at_once(source, tmp_path, refused):
    journal = tmp_path / "o.resume"
    with journal.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(lambda: compress(source, tmp_path / "o.safetensors", "mxfp4"), "another run is writing these files")
    compress(source, tmp_path / "o.safetensors", "mxfp4")
    assert not journal.exists()


def test_indexes_that_contradict_their_files(source, tmp_path, refused):
    index = tmp_path / "m.safetensors.index.json"
    for text, say in [
        ("", "not an index"),
        ("[]", "not an index"),
        ('{"weight_map": 3}', "weight_map"),
        ('{"weight_map": {}}', "weight_map"),
        ('{"weight_map": {"a": "../in.safetensors"}}', "not the name of a .safetensors file in the same folder"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "not the name"),
        ('{"weight_map": {"a": "none.safetensors"}}', "no such file"),
        ('{"weight_map": {"a": "in.safetensors"}}', "a is not in in.safetensors"),
        ("[" * 100_000, "not an index"),
    ]:
        index.write_text(text)
        refused(lambda: compress(index, tmp_path / "out", "mxfp4"), say)
    (tmp_path / "two.safetensors").write_bytes(source.read_bytes())
    places = {"layers.0.weight": "in.safetensors", "layers.1.weight": "two.safetensors"}
    index.write_text(json.dumps({"weight_map": places}))
    refused(lambda: compress(index, tmp_path / "out", "mxfp4"), "more than one file")
    index.unlink()
    refused(lambda: inspect(tmp_path), "in.safetensors, two.safetensors; write the path of one file")


def test_a_failure_in_one_shard_leaves_no_shard(source, tmp_path, refused, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    tensors, places = load_file(source), {}
    for i, (name, w) in enumerate(sorted(tensors.items())):
        save_file({name: w}, folder / f"{i}.safetensors")
        places[name] = f"{i}.safetensors"
    (folder / "m.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    left = [4]  # headers and data of two shards

    def full_in_the_third(handle, data, at, write=os.pwrite):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full_in_the_third)
        refused(lambda: compress(folder, tmp_path / "out", "mxfp4"), "No space left on device")
    assert left[0] < 0
    refused(lambda: compress(folder, tmp_path / "out.safetensors", "mxfp4"), "in shards; write a folder")


def test_damaged_compressed_files(source, tmp_path, refused):
    out, bad = tmp_path / "o.safetensors", tmp_path / "bad.safetensors"
    refused(lambda: decompress(source, bad), "contains no tensor that hwsim compressed")
    compress(source, out, "seedlm4")
    refused(lambda: compress(out, bad, "mxfp4"), "is compressed by hwsim already")
    refused(lambda: decompress(out, tmp_path / "b.safetensors", dtype="fp32"), "dtype")
    stored = load_file(out)
    text = json.loads(
        json.loads(out.read_bytes()[8 : 8 + int.from_bytes(out.read_bytes()[:8], "little")])["__metadata__"]["hwsim"]
    )

    def damaged(change, say, tensors=stored):
        changed = json.loads(json.dumps(text))
        change(changed["tensors"]["layers.0.weight"] if change.__code__.co_varnames[0] == "t" else changed)
        save_file(tensors, bad, metadata={"hwsim": json.dumps(changed)})
        before = bad.read_bytes()
        refused(lambda: decompress(bad, tmp_path / "b.safetensors"), str(bad), say)
        assert bad.read_bytes() == before

    damaged(lambda whole: whole.update(version=3), "version 3")
    damaged(lambda whole: whole.pop("tensors"), "damaged")
    damaged(
        lambda whole: whole["tensors"].update({"x": whole["tensors"]["layers.0.weight"]}),
        "x: its record contradicts the tensor",
    )
    damaged(lambda t: t.pop("shape"), "damaged")
    damaged(lambda t: t.update(shape=[16, "many"]), "damaged")
    damaged(lambda t: t.update(shape=[2**40, 2**40]), "its format and shape need")
    damaged(lambda t: t.update(shape=[0, 32]), "contradicts the tensor")
    damaged(lambda t: t.update(dtype="I8"), "contradicts the tensor")
    damaged(lambda t: t.update(format="seedlm3"), "its format and shape need")
    damaged(lambda t: t.update(format="/etc/hostname.yaml"), "is not a format")
    damaged(lambda t: t.update(format=4), "is not a format")
    zeros = stored | {"layers.0.weight": np.zeros_like(stored["layers.0.weight"])}
    damaged(lambda t: None, "layers.0.weight: seedlm4: a record has seed 0", zeros)
    save_file(stored, bad, metadata={"hwsim": "{"})
    refused(lambda: inspect(bad), "damaged")


def test_a_refusal_speaks_of_the_format_that_was_written(tmp_path, refused):
    """A format that the layout does not store is the only error: its block is nobody's concern then."""
    path, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({"a.weight": np.ones((4, 100), np.float32), "b.weight": np.ones((4, 96), np.float32)}, path)
    own = {"name": "mine", "element": "E3M1", "block": 24, "scale": "e4m3"}
    for form, name in ((own, "mine"), ("mx9", "mx9"), ("mxfp6", "mxfp6_e2m3")):
        message = refused(lambda form=form: compress(path, out, form, layout="compressed-tensors"))
        assert message.startswith(f"a.weight, b.weight: the layout compressed-tensors has no {name}; it stores nvfp4, ")
        assert "K = " not in message and "block of" not in message
    message = refused(lambda: compress(path, out, layout="compressed-tensors"), "a.weight: K = 100 is no multiple")
    assert "b.weight" not in message and "--exclude" in message and "the layout hwsim, which stores partial" in message
    compress(path, out, layout="compressed-tensors", exclude=["a.weight"])
    compress(path, out, own)  # what the message advises


def test_a_map_says_where_its_formats_are_wrong(source, tmp_path, refused):
    (tmp_path / "m.yaml").write_text('"*.0.*": nvfp5\n"*.1.*": {element: E2M1, block: 8}\n"*": keep\n')
    message = refused(lambda: compress(source, tmp_path / "out.safetensors", mapping=tmp_path / "m.yaml"))
    first, second = message.splitlines()
    assert first.endswith("m.yaml:1:10: *.0.*: unknown format 'nvfp5'; did you mean nvfp4?")
    assert "m.yaml:2:10: *.1.*: " in second and "scale: missing" in second
