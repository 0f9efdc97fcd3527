"""Trials inside cocotb; the clock is driven here, so that all simulators sample alike."""

from cocotb.triggers import Timer


class Ports:
    """The stream ports and clock of a unit under `prefix` of the design."""

    def __init__(self, dut, source: str, sink: str, prefix: str = ""):
        def port(name):
            return getattr(dut, prefix + name)

        self.clk, self.rst = dut.clk, dut.rst
        self.in_valid, self.in_ready, self.in_payload = (port(f"{source}__{n}") for n in ("valid", "ready", "payload"))
        self.out_valid, self.out_ready, self.out_payload = (port(f"{sink}__{n}") for n in ("valid", "ready", "payload"))


async def reset(*ports: Ports) -> None:
    """Hold the synchronous reset for one edge."""
    for each in ports:
        each.in_valid.value, each.out_ready.value = 0, 0
    clk, rst = ports[0].clk, ports[0].rst
    rst.value, clk.value = 1, 0
    await Timer(1, "ns")
    clk.value = 1
    await Timer(1, "ns")
    rst.value = 0


async def run(pairs, limit: int | None = None) -> None:
    """Run trials side by side, [(ports, trial), ...], until each is done or for `limit` cycles."""
    clk, half = pairs[0][0].clk, Timer(1, "ns")
    shown = [None] * len(pairs)
    while any(trial.running for _, trial in pairs) if limit is None else limit > 0:
        for i, (port, trial) in enumerate(pairs):
            valid, payload, ready = now = trial.drive()
            was = shown[i] or (None, None, None)
            if valid != was[0]:
                port.in_valid.value = int(valid)
            if payload != was[1]:
                port.in_payload.value = payload
            if ready != was[2]:
                port.out_ready.value = int(ready)
            shown[i] = now
        clk.value = 0
        await half
        for port, trial in pairs:
            out_valid = bool(port.out_valid.value)
            trial.check(bool(port.in_ready.value), out_valid, int(port.out_payload.value) if out_valid else 0)
        clk.value = 1
        await half
        limit = None if limit is None else limit - 1
