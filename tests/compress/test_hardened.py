"""Memory that does not grow with a tensor, kills of every job over shards, and damaged files of every layout."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hwsim.compress import compress, convert, decompress, inspect
from hwsim.errors import InputError
from tests.compress.oracles import write
from tests.compress.test_killed import final_files, start
from tests.compress.test_released import CASES

MEMORY = """
import resource, sys
import numpy as np
from hwsim.compress import compress, decompress
from hwsim.formats import get_format
source, small, out, form = sys.argv[1:]
compress(small, out, form)  # compiles and loads everything
decompress(out, small + ".back.safetensors")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
compress(source, out, form)
decompress(out, source + ".back.safetensors")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("form, axis", [("nvfp4", 2), ("fp8_block", 2), ("mxfp4", 1)])
def test_memory_does_not_grow_with_a_tensor(tmp_path, form, axis):
    """A stack of 168 MB in bfloat16 needs less than itself above the start, read, encoded and decoded."""
    name = "x.experts.w" if axis == 2 else "x.experts.down_proj"
    paths = [tmp_path / "big.safetensors", tmp_path / "small.safetensors"]
    for path, count in zip(paths, (20, 1), strict=True):
        shape = [count, 2048, 2048]
        nbytes = 2 * count * 2048 * 2048
        header = json.dumps({name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, nbytes]}}).encode()
        header += b" " * (-len(header) % 8)
        values = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
        one = (values.view(np.uint32) >> 16).astype("<u2")
        with path.open("wb") as f:
            f.write(len(header).to_bytes(8, "little") + header)
            for _ in range(count):
                f.write(one.tobytes())
    command = [sys.executable, "-c", MEMORY, *map(str, paths), str(tmp_path / "out.safetensors"), form]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 168e6


def sharded(folder, quantised):
    """12 weights over three shards, plain or as modelopt's NVFP4."""
    rng, tensors = np.random.default_rng(1), {}
    for i in range(12):
        name = f"layers.{i:02}.weight"
        if quantised:
            tensors[name] = rng.integers(0, 256, (96, 64), np.uint8)
            tensors[f"{name}_scale"] = CASES["modelopt nvfp4"][0]["x.weight_scale"][:1, :8].repeat(96, axis=0)
            tensors[f"{name}_scale_2"] = np.float32(0.5)
        else:
            tensors[name] = rng.standard_normal((96, 128)).astype(np.float32)
        tensors[f"layers.{i:02}.norm.weight"] = np.ones(32, np.float32)
    inside, places = folder / "in", {}
    inside.mkdir()
    for n in range(3):
        part = dict(sorted(tensors.items())[n::3])
        write(inside / f"s{n}.safetensors", part)
        places |= dict.fromkeys(part, f"s{n}.safetensors")
    (inside / "m.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (inside / "config.json").write_text("{}")
    return inside


JOBS = {
    "compress": lambda source, out: compress(source, out, "nvfp4", layout="modelopt"),
    "convert": lambda source, out: convert(source, out, "compressed-tensors"),
    "decompress": lambda source, out: decompress(source, out),
}


def kill(tmp_path, job, kills):
    """Kill at `kills` moments, uniform over a run; return how many hit a running process."""
    run, source = JOBS[job], sharded(tmp_path, job != "compress")
    run(source, tmp_path / "whole")
    whole = final_files(tmp_path / "whole")
    seconds = []
    for i in range(3):
        begin = time.perf_counter()
        os.waitpid(start(lambda i=i: run(source, tmp_path / f"timed{i}")), 0)
        seconds.append(time.perf_counter() - begin)
    rng, hit = random.Random(0), 0
    for i in range(kills):
        out = tmp_path / f"out{i}"
        child = start(lambda out=out: run(source, out))
        time.sleep(rng.uniform(0, sorted(seconds)[1]))
        os.kill(child, signal.SIGKILL)
        hit += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        found = final_files(out)
        assert all(whole[name] == data for name, data in found.items())  # whole or absent
        assert "m.safetensors.index.json" not in found or set(found) == set(whole)
        run(source, out)
        assert final_files(out) == whole
        assert sorted(p.name for p in out.iterdir()) == sorted(whole)
    return hit


@pytest.mark.parametrize("job", JOBS)
def test_a_few_kills_of_every_job(tmp_path, job):
    kill(tmp_path, job, 3)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_hundred_kills_of_every_job(tmp_path, job):
    """The times of kills follow from a measured run: where the machine's load changed since, it is measured again."""
    hits = []
    for attempt in range(3):
        (tmp_path / str(attempt)).mkdir()
        hits.append(kill(tmp_path / str(attempt), job, 100))
        if hits[-1] > 25:
            break
    print(f"{job}: {hits} of 100 kills hit a running process")
    assert hits[-1] > 25


def mutated(data, rng):
    """A file with one change: a byte, a cut, a digit of the header, a name, or a piece twice."""
    data = bytearray(data)
    length = int.from_bytes(data[:8], "little")
    kind = rng.randrange(6)
    if kind == 0:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[rng.randrange(len(data)) :]
    elif kind == 2:
        digits = [i for i in range(8, 8 + length) if 48 <= data[i] <= 57]
        data[rng.choice(digits)] = 48 + rng.randrange(10)
    elif kind == 3:
        letters = [i for i in range(8, 8 + length) if 97 <= data[i] <= 122]
        data[rng.choice(letters)] = 97 + rng.randrange(26)
    elif kind == 4:
        at = rng.randrange(8, 8 + length)
        data[at : at + rng.randrange(1, 9)] = bytes(rng.randrange(256) for _ in range(rng.randrange(9)))
    else:
        data[rng.randrange(8)] = rng.randrange(256)
    return bytes(data)


def mutate(tmp_path, count):
    rng, path, refused = random.Random(3), tmp_path / "in.safetensors", 0
    files = []
    for tensors, *_ in CASES.values():
        write(path, {**tensors, "y.weight": np.ones((4, 32), np.float32)})
        files.append(path.read_bytes())
    write(path, {"y.weight": np.linspace(0, 1, 128, dtype=np.float32).reshape(4, 32)})
    for form in ("nvfp4", "seedlm4", "fp8_block"):
        compress(path, tmp_path / "own.safetensors", form)
        files.append((tmp_path / "own.safetensors").read_bytes())
        (tmp_path / "own.safetensors").unlink()
    out = tmp_path / "out.safetensors"
    for i in range(count):
        path.write_bytes(mutated(files[i % len(files)], rng))
        for job in (
            lambda: inspect(path), lambda: decompress(path, out), lambda: convert(path, out, "hwsim"),
            lambda: compress(path, out, "mxfp4", decode=True),
        ):  # fmt: skip
            try:
                job()
            except InputError:
                refused += 1
                assert not out.exists()
            assert {p.name for p in tmp_path.iterdir()} <= {"in.safetensors", "out.safetensors"}
            out.unlink(missing_ok=True)
    return refused


def test_a_few_damaged_files(tmp_path):
    assert mutate(tmp_path, 100) > 100


@pytest.mark.slow
def test_many_damaged_files(tmp_path):
    assert mutate(tmp_path, 1000) > 1000
