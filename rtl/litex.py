"""A written unit in LiteX: `StreamUnit(Path("build/rtl/block_dot_nvfp4.v"))` has its streams as LiteX endpoints.

LiteX and Migen come with the extra `dev`, or with `pip install litex`. The wrapper has been generated, linted and
simulated; it has run on no board.
"""

from __future__ import annotations

import re
from pathlib import Path

from litex.soc.interconnect import stream
from migen import ClockSignal, Instance, Module, ResetSignal, Signal

from hwsim.errors import InputError

__all__ = ["StreamUnit"]


class StreamUnit(Module):
    """The unit of a Verilog file that `python -m rtl` wrote.

    verilog: the file; its comment says which ports the unit has.
    sinks, sources: endpoints by the streams' names, as sinks["pair"]: `data` is tdata, `last` is tlast.
    raises: InputError where the file says of no ports.
    """

    def __init__(self, verilog: Path):
        self.verilog, self.name = verilog, verilog.stem
        said = verilog.read_text().partition("Ports, in order:\n")[2].partition("\n\n")[0]
        ports = {
            port: int(high or 0) + 1
            for high, port in re.findall(r"^  (?:in|out)put +(?:\[(\d+):0\] )?(\w+)$", said, re.M)
        }
        if "clk" not in ports:
            raise InputError(f"{verilog}: no table of ports; write a file of `python -m rtl`")
        reset = "rst_n" if "rst_n" in ports else "rst"
        wires = {"i_clk": ClockSignal(), f"i_{reset}": ~ResetSignal() if reset == "rst_n" else ResetSignal()}
        self.sinks, self.sources = {}, {}
        for tdata in (port for port in ports if port.endswith("_tdata")):
            prefix = tdata.removesuffix("_tdata")
            way, back, ends = ("i", "o", self.sinks) if prefix.startswith("s_") else ("o", "i", self.sources)
            end = stream.Endpoint([("data", ports[tdata])], name=prefix)
            ends[prefix.split("_axis_")[1]] = end
            setattr(self, prefix, end)
            wires |= {f"{way}_{prefix}_tvalid": end.valid, f"{back}_{prefix}_tready": end.ready}
            wires[f"{way}_{tdata}"] = end.data
            if f"{prefix}_tlast" in ports:
                wires[f"{way}_{prefix}_tlast"] = end.last
            if bits := ports.get(f"{prefix}_tkeep"):
                # All ones in, and ignored out: every word is whole.
                wires[f"{way}_{prefix}_tkeep"] = (1 << bits) - 1 if way == "i" else Signal(bits)
        self.specials += Instance(self.name, **wires)

    def add_sources(self, platform) -> None:
        """Give the Verilog to a LiteX platform."""
        platform.add_source(str(self.verilog))
