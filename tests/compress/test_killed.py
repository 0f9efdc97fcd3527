"""Runs killed at any moment: no incomplete file has a final name, and the next run ends as if uninterrupted."""

import json
import os
import random
import signal
import time

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.compress import compress, writing


def small_model(folder, shards=1):
    """12 weights and 12 norms in one file, or spread over shards with an index."""
    rng, tensors = np.random.default_rng(1), {}
    for i in range(12):
        tensors[f"layers.{i:02}.weight"] = rng.standard_normal((96, 32)).astype(np.float32)
        tensors[f"layers.{i:02}.norm.weight"] = np.ones(32, np.float32)
    if shards == 1:
        save_file(tensors, folder / "in.safetensors")
        return folder / "in.safetensors"
    inside, places = folder / "in", {}
    inside.mkdir()
    for n in range(shards):
        part = dict(sorted(tensors.items())[n::shards])
        save_file(part, inside / f"s{n}.safetensors")
        places |= dict.fromkeys(part, f"s{n}.safetensors")
    (inside / "m.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return inside


def start(call):
    """Run `call` in a child process; return its process id."""
    child = os.fork()
    if child == 0:
        try:
            call()
        finally:
            os._exit(0)
    return child


def final_files(out):
    """Name -> bytes of the files with a final name."""
    paths = [out] if out.suffix else sorted(out.glob("*")) if out.exists() else []
    return {p.name: p.read_bytes() for p in paths if p.exists() and p.suffix in (".safetensors", ".json")}


def kill_and_resume(tmp_path, shards, kills):
    """Kill at `kills` moments, uniform over a run; return how many hit, and the values reused after each."""
    source = small_model(tmp_path, shards)
    suffix = "" if shards > 1 else ".safetensors"
    compress(source, tmp_path / f"whole{suffix}", "seedlm4")
    whole = final_files(tmp_path / f"whole{suffix}")
    seconds = []
    for i in range(3):
        begin = time.perf_counter()
        os.waitpid(start(lambda i=i: compress(source, tmp_path / f"timed{i}{suffix}", "seedlm4")), 0)
        seconds.append(time.perf_counter() - begin)
    rng, hit, taken_over = random.Random(0), 0, []
    for i in range(kills):
        out = tmp_path / f"out{i}{suffix}"
        child = start(lambda out=out: compress(source, out, "seedlm4"))
        time.sleep(rng.uniform(0, sorted(seconds)[1]))
        os.kill(child, signal.SIGKILL)
        hit += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        found = final_files(out)
        assert all(whole.get(name.replace(f"out{i}", "whole")) == data for name, data in found.items())
        # an index exists only when every file that it names has its final name
        assert not any(name.endswith(".json") for name in found) or len(found) == len(whole)
        seen = []
        compress(source, out, "seedlm4", progress=seen.append)
        taken_over.append(seen[-1].resumed_values)
        resumed = final_files(out)
        assert {name.replace(f"out{i}", "whole"): data for name, data in resumed.items()} == whole
        left = [p.name for p in (out.iterdir() if shards > 1 else tmp_path.glob(f"out{i}.*"))]
        assert sorted(left) == sorted(resumed)
    return hit, taken_over


def test_a_few_kills(tmp_path):
    kill_and_resume(tmp_path, 1, 4)


@pytest.mark.slow
def test_a_hundred_kills_of_a_file(tmp_path):
    hit, taken_over = kill_and_resume(tmp_path, 1, 100)
    print(f"{hit} of 100 kills hit a running process; {sum(v > 0 for v in taken_over)} resumes had a start")
    assert hit > 50 and sum(v > 0 for v in taken_over) > 30


@pytest.mark.slow
def test_kills_of_a_sharded_model(tmp_path):
    hit, _ = kill_and_resume(tmp_path, 3, 25)
    assert hit > 10


class Cut(BaseException):
    """Ends a run as a kill does: no clean-up code catches it."""


def cut_after(monkeypatch, name, calls):
    """Make an os function end the run, as a kill would, after this many calls."""
    original, left = getattr(os, name), [calls]

    def counted(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Cut
        return original(*args, **kwargs)

    monkeypatch.setattr(writing.os, name, counted)


@pytest.mark.parametrize(
    "name, calls", [("pwrite", n) for n in (0, 1, 7, 23, 24)] + [("replace", 0), ("fsync", 0), ("fsync", 1)]
)
def test_cut_at_every_kind_of_step(tmp_path, monkeypatch, name, calls):
    source = small_model(tmp_path)
    compress(source, tmp_path / "whole.safetensors", "mxfp4")
    with monkeypatch.context() as patch:
        cut_after(patch, name, calls)
        with pytest.raises(Cut):
            compress(source, tmp_path / "out.safetensors", "mxfp4")
    seen = []
    compress(source, tmp_path / "out.safetensors", "mxfp4", progress=seen.append)
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    written = calls if name == "pwrite" else 24
    assert len({p.resumed_values for p in seen} - {0}) == written
    assert not (tmp_path / "out.safetensors.part").exists() and not (tmp_path / "out.resume").exists()


@pytest.mark.parametrize("names_given", range(4))
def test_cut_between_the_names_of_shards(tmp_path, monkeypatch, names_given):
    source = small_model(tmp_path, 3)
    compress(source, tmp_path / "whole", "mxfp4")
    compress(source, tmp_path / "out", "mxfp8")  # an older model in the same place
    with monkeypatch.context() as patch:
        cut_after(patch, "replace", names_given)
        with pytest.raises(Cut):
            compress(source, tmp_path / "out", "mxfp4")
    assert not (tmp_path / "out" / "m.safetensors.index.json").exists()
    seen = []
    compress(source, tmp_path / "out", "mxfp4", progress=seen.append)
    assert seen[-1].resumed_values == seen[-1].values
    assert final_files(tmp_path / "out") == final_files(tmp_path / "whole")


@pytest.mark.parametrize("where", ["header", "data", "length", "nothing"])
def test_a_file_changed_after_a_kill_is_written_again(tmp_path, monkeypatch, where):
    """Killed between the rename and the end of the journal, then the file is changed."""
    source, out = small_model(tmp_path), tmp_path / "out.safetensors"
    compress(source, tmp_path / "whole.safetensors", "mxfp4")
    with monkeypatch.context() as patch:
        cut_after(patch, "fsync", 1)
        with pytest.raises(Cut):
            compress(source, out, "mxfp4")
    whole = bytearray(out.read_bytes())
    assert whole == (tmp_path / "whole.safetensors").read_bytes()
    changed = bytearray(whole)
    if where == "header":
        at = changed.index(b"e-0")  # the exponent of an error
        changed[at - 1] ^= 1
    elif where == "data":
        changed[-1] ^= 1
    elif where == "length":
        changed += b"x"
    out.write_bytes(changed)
    seen = []
    compress(source, out, "mxfp4", progress=seen.append)
    assert out.read_bytes() == whole
    assert (seen[-1].resumed_values == seen[-1].values) == (where == "nothing")


def interrupted(source, out, form="mxfp4", after=9):
    """A run that is interrupted before tensor number `after` + 1."""
    count = []

    def stop(progress):
        count.append(progress)
        if len(count) > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(source, out, form, progress=stop)


def test_ctrl_c_says_how_to_resume(tmp_path, monkeypatch):
    source, out = small_model(tmp_path), tmp_path / "out.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "fsync", lambda _: signal.raise_signal(signal.SIGINT))
        call = ["compress", str(source), "--format", "mxfp4", "-o", str(out)]
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
        try:
            stopped = CliRunner().invoke(app, call)
        finally:
            signal.signal(signal.SIGINT, before)
    assert stopped.exit_code == 130 and "run the same command again to resume" in stopped.stderr
    assert not out.exists() and resumed_values(source, out) > 0


def resumed_values(source, out, form="mxfp4"):
    seen = []
    compress(source, out, form, progress=seen.append)
    return seen[-1].resumed_values


def test_what_the_next_run_cannot_reuse(tmp_path):
    source, out = small_model(tmp_path), tmp_path / "out.safetensors"
    compress(source, tmp_path / "whole.safetensors", "mxfp4")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    part, journal = tmp_path / "out.safetensors.part", tmp_path / "out.resume"

    interrupted(source, out)
    assert resumed_values(source, out) > 0 and out.read_bytes() == whole
    out.unlink()

    interrupted(source, out, "mxfp8")  # another format
    assert resumed_values(source, out) == 0 and out.read_bytes() == whole
    out.unlink()

    interrupted(source, out)
    os.utime(source, ns=(1, 1))  # another input
    assert resumed_values(source, out) == 0 and out.read_bytes() == whole
    out.unlink()

    interrupted(source, out)
    part.unlink()  # the data is gone
    assert resumed_values(source, out) == 0 and out.read_bytes() == whole
    out.unlink()

    interrupted(source, out, after=3)
    data = bytearray(part.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    data[header + 10] ^= 1  # one bit of the first norm
    part.write_bytes(data)
    assert resumed_values(source, out) == 2 * 32 and out.read_bytes() == whole
    out.unlink()

    for cut in (0, 10, 70, 100, 200):  # a journal that ends anywhere
        interrupted(source, out)
        journal.write_bytes(journal.read_bytes()[:cut])
        resumed_values(source, out)
        assert out.read_bytes() == whole
        out.unlink()
    interrupted(source, out)
    with journal.open("a") as f:
        f.write('[0, "layers.00.norm.weight"]\n{"a": 1}\nnonsense\n[]\n3\n[[],1,2,3]\n')
    assert resumed_values(source, out) > 0 and out.read_bytes() == whole
