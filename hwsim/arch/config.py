"""A machine as plain data in the layout of its file: a Result carries it, `load_arch_text` reads it back."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from hwsim.arch.compute import SystolicArray, TensorCores
from hwsim.arch.machine import Arch, Dram
from hwsim.quantities import write

if TYPE_CHECKING:
    from hwsim.arch.gemv import EngineArch

_LONG = 16


def arch_config(arch: Arch | EngineArch) -> dict[str, Any]:
    """The whole machine, defaults filled in, every quantity exact and with its unit; ready for JSON or YAML.

    The text follows from the machine's numbers alone: equal machines give equal bytes, however their files
    spell them.
    """
    clock = arch.clock_hz
    if not isinstance(arch, Arch):
        from hwsim.arch.gemv import engine_config

        return engine_config(arch, _dram(arch.dram, clock))

    def rate(per_cycle: Fraction, base: str) -> str:
        return write(per_cycle, f"{base}/cycle")

    def cycles(n: int | Fraction) -> str:
        return write(n, "cycle")

    config: dict[str, Any] = {
        "name": arch.name,
        "description": arch.description,
        "hypothetical": arch.hypothetical,
        "clock": write(clock, "Hz"),
        "dram": _dram(arch.dram, clock),
        "buffers": {
            name: write(getattr(arch.buffers, name), "B") for name in ("weights", "activations", "outputs")
        },
        "activations": arch.activations,
        "kv": arch.kv,
        "state": arch.state,
        "dot": {
            "kind": "dot_array",
            "latency": cycles(arch.dot.latency_cycles),
            "accumulator": write(arch.dot.accumulator_bytes, "B"),
            "rates": [
                {"weights": r.weights, "activations": r.activations, "rate": rate(r.macs_per_cycle, "MAC")}
                for r in arch.dot.rates
            ],
        },
    }
    if isinstance(arch.dot, TensorCores):
        config["dot"] |= {"kind": "tensor_cores", "shape": "x".join(map(str, arch.dot.shape))}
    if isinstance(arch.dot, SystolicArray):
        geometry = ("rows", "columns", "arrays", "dataflow", "double_buffered", "shift_exposed")
        config["dot"] |= {"kind": "systolic"} | {name: getattr(arch.dot, name) for name in geometry}
    if arch.vector:
        unit = arch.vector
        config["vector"] = {
            "rate": rate(unit.elements_per_cycle, "element"),
            "latency": cycles(unit.latency_cycles),
        }
    if arch.dequantise:
        unit = arch.dequantise
        config["dequantise"] = {
            "rate": rate(unit.weights_per_cycle, "weight"),
            "latency": cycles(unit.latency_cycles),
        }
    if arch.regenerate:
        unit = arch.regenerate
        config["regenerate"] = {
            "rate": rate(unit.blocks_per_cycle, "block"),
            "latency": cycles(unit.latency_cycles),
            "feeds": unit.feeds,
        }
    if arch.round:
        unit = arch.round
        config["round"] = {
            "rate": rate(unit.elements_per_cycle, "element"),
            "latency": cycles(unit.latency_cycles),
        }
    if arch.link:
        config["link"] = {
            "bandwidth": _shorter(
                write(arch.link.bytes_per_cycle * clock, "B/s"), write(arch.link.bytes_per_cycle, "B/cycle")
            ),
            "latency": _duration(arch.link.latency_cycles, clock),
            "topology": arch.link.topology,
        }
    if arch.launch:
        config["launch"] = {"interval": _duration(arch.launch.interval_cycles, clock)}
    if arch.cores:
        cores = arch.cores
        config["cores"] = {"count": cores.count, "memory": write(cores.memory_bytes, "B"), "kernels": cores.kernels}
        if cores.calibration:
            config["cores"]["calibration"] = cores.calibration
    if arch.stack:
        parts = ("launch", "layer", "step", "sequence")
        config["stack"] = {p: write(Fraction(str(getattr(arch.stack, f"{p}_seconds"))), "s") for p in parts}
    if arch.technology:
        config["technology"] = arch.technology
    if arch.idle_watts is not None:
        config["idle"] = write(arch.idle_watts, "W")
    config["tiles"] = ["x".join(map(str, tile)) for tile in arch.tiles]
    return config


def _dram(dram: Dram, clock: Fraction) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bandwidth": _shorter(
            write(dram.bytes_per_cycle * clock, "B/s"),
            write(dram.bytes_per_cycle, "B/cycle"),
        ),
        "latency": write(dram.latency_cycles, "cycle"),
        "beat": write(dram.beat_bytes, "B"),
        "capacity": write(dram.capacity_bytes, "B"),
        "refresh": {"kind": dram.refresh.kind},
    }
    if dram.refresh.kind != "none":
        config["refresh"]["period"] = _duration(dram.refresh.period_cycles, clock)
        config["refresh"]["stall"] = _duration(dram.refresh.stall_cycles, clock)
    if dram.row_bytes:
        config["row"] = write(dram.row_bytes, "B")
        config["row_miss"] = write(dram.row_miss_cycles, "cycle")
    if dram.turnaround_cycles:
        config["turnaround"] = write(dram.turnaround_cycles, "cycle")
    return config


def _duration(cycles: Fraction, clock: Fraction) -> str:
    return _shorter(write(cycles / clock, "s"), write(cycles, "cycle"))


def _shorter(first: str, second: str) -> str:
    """The first text, unless it is long or has a fraction and the second is better."""
    return min((first, second), key=lambda text: ("/" in text.split(" ")[0], len(text) > _LONG))
