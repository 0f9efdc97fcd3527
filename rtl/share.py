"""Units that a design holds many of: their modules are written once, and placed by name."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["place"]


def place(m: Module, kind: str, name: str, unit: wiring.Component, reset: Value):
    """One `unit`, a component of streams, as submodule `name`: an instance of the module `kind`.

    reset: empties it, as the design's own reset does.
    Returns its streams, as attributes of the unit's names. The design holds {kind: unit} in `shared`, for `rtl.emit`.
    """
    streams = unit.signature.create(path=(name,))
    ports = []
    for port, member in unit.signature.members.items():
        stream = getattr(streams, port)
        forward, back = ("i", "o") if member.flow == In else ("o", "i")
        ports += [
            (forward, f"{port}__payload", Value.cast(stream.payload)),
            (forward, f"{port}__valid", stream.valid),
            (back, f"{port}__ready", stream.ready),
        ]
    m.submodules[name] = Instance(kind, ("i", "clk", ClockSignal()), ("i", "rst", ResetSignal() | reset), *ports)
    return streams
