"""docs/adding.md (b): a new server, which checks every value on its way into the KV cache."""

import json

import pytest

from tests.docs.addition import Copy, listed

PART = '''class MineFile(FilePart):
    """Units that check what is written to the KV cache."""

    rate: ElementRate = Field(description="Elements checked, the whole chip.", examples=["4 element/cycle"])
    latency: Latency = Field(description="From an element to its check.", examples=["2 cycles"])


@dataclass(frozen=True, slots=True)
class Mine:
    """Units that check `elements_per_cycle` on their way to memory."""

    elements_per_cycle: Fraction
    latency_cycles: int

    @classmethod
    def of(cls, file: MineFile, clock: Fraction) -> Mine:
        """The file's units in cycles of the clock."""
        return cls(file.rate.per_cycle(clock), whole_cycles(file.latency, clock))

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The units as a machine file states them."""
        return {"rate": write(self.elements_per_cycle, "element/cycle"), "latency": cycles_text(self.latency_cycles)}


'''

TICKS = """        if arch.mine:
            rates.append(arch.mine.elements_per_cycle)
            latency[MINE] = arch.mine.latency_cycles"""

WORK = """    if opd.checked:
        work[SERVERS[MINE]] = Fraction(op.cached) / needed(arch.mine).elements_per_cycle"""


def add(copy: Copy) -> None:
    """The server, in the files that the page lists."""
    copy.before("hwsim/arch/servers.py", "class LaunchFile(FilePart):", PART)

    machine = "hwsim/arch/machine.py"
    copy.row(machine, "    Launch,", "    Mine,\n    MineFile,")
    copy.row(machine, "    round: RoundFile | None", '    mine: MineFile | None = Field(None, description="Checks.")')
    copy.row(machine, "    round: Round | None", "    mine: Mine | None = None")
    copy.row(
        machine, "            round=Round.of(", "            mine=Mine.of(file.mine, clock) if file.mine else None,"
    )
    copy.row(machine, '            "round": self.round,', '            "mine": self.mine,')

    program = "hwsim/mapping/program.py"
    copy.replace(program, '"round", "link"', '"round", "mine", "link"')
    copy.replace(program, "SORT, ROUND, LINK", "SORT, ROUND, MINE, LINK")
    copy.replace(program, '"sort_queue")', '"sort_queue", "mine_queue")')
    copy.replace(program, "SORT_QUEUE = range", "SORT_QUEUE, MINE_QUEUE = range")

    pipeline = "hwsim/mapping/pipeline.py"
    copy.row(pipeline, "    LAUNCH,", "    MINE,")
    copy.row(pipeline, "latency[ROUND] =", TICKS)
    copy.row(pipeline, "arch.buffers.outputs,", "                QUEUE_TILES,")
    copy.row(
        pipeline,
        "units[ROUND] =",
        "        if arch.mine:\n            units[MINE] = self._unit(arch.mine.elements_per_cycle)",
    )

    operands = "hwsim/mapping/operands.py"
    copy.row(operands, "    notes: tuple[str, ...] = ()", "    checked: bool = False")
    copy.row(operands, "        tuple(note for note in notes if note),", "        checked=checked,")
    copy.row(
        operands,
        "    stochastic = op.cache is not None",
        '    checked = arch.mine is not None and op.cache is not None and op.cache.role == "kv"',
    )

    traffic = "hwsim/mapping/traffic.py"
    copy.replace(traffic, "LINK, REGENERATE", "LINK, MINE, REGENERATE")
    copy.before(traffic, "    if op.dot_macs:", WORK)

    streams = "hwsim/mapping/streams.py"
    copy.row(streams, "    LINK,", "    MINE,\n    MINE_QUEUE,")
    copy.replace(streams, "SORT: SORT_QUEUE}", "SORT: SORT_QUEUE, MINE: MINE_QUEUE}")
    copy.replace(streams, " rounded, sent, write)", " rounded, op.cached * opd.checked, sent, write)")
    copy.row(streams, "        rounded: int,", "        mine: int,")
    copy.replace(streams, "ROUND: rounded, LINK", "ROUND: rounded, MINE: mine, LINK")


def test_a_server_is_seven_files(tmp_path):
    copy = Copy(tmp_path)
    add(copy)
    assert copy.touched == listed("(b) A server") and len(copy.touched) == 7
    text = (tmp_path / "arch_configs" / "edge-mx.yaml").read_text()
    part = "mine:\n  rate: 0.001 element/cycle\n  latency: 7 cycles\n\n"
    (tmp_path / "toy.yaml").write_text(text.replace("round:\n", part + "round:\n"))

    def run(machine: str, *more: str) -> dict:
        command = ("run", machine, "--model", "llama3-8b", "--weights", "mxfp4", "--context", "64", "--json")
        return json.loads(copy.run("-m", "hwsim", *command, *more))

    # A decode step writes the key and the value of one token, 8 heads of 128, in each of 32 layers.
    elements = 2 * 8 * 128 * 32
    slow = run("toy.yaml")
    assert slow["limited_by"] == "mine" and slow["bound_cycles"] == 1000 * elements <= slow["cycles"]
    assert slow["config"]["machine"]["mine"] == {"rate": "0.001 element/cycle", "latency": "7 cycles"}
    busy = slow["utilization"]["mine"] * slow["cycles"]
    assert busy == pytest.approx(1000 * elements, abs=1)  # each element once, none left out; cycles are whole
    fast, without = run("toy.yaml", "--set", "mine.rate=10000 element/cycle"), run("edge-mx")
    assert without["limited_by"] == fast["limited_by"] == "dram" and "mine" not in without["utilization"]
    assert without["cycles"] <= fast["cycles"] <= without["cycles"] + 32 * 8  # its latency, and a cycle, per layer
    walked = run("toy.yaml", "--engine", "walk")
    assert walked["cycles"] == slow["cycles"]
    assert run("toy.yaml", "--set", "mine.latency=107 cycles")["cycles"] >= slow["cycles"]
    assert "MineFile" in copy.run("-m", "hwsim", "schema", "machine")
