"""Trials inside cocotb; the clock is driven here, so that all simulators sample alike."""

from cocotb.triggers import Timer

from rtl.axi import AxiStreamUnit


class Ports:
    """The AXI4-Stream ports and the clock of a unit under `prefix` of the design; `last` stands where the payload has
    it.
    """

    def __init__(self, dut, unit: AxiStreamUnit, prefix: str = ""):
        def port(name):
            return [getattr(dut, f"{prefix}{name}_{signal}") for signal in ("tvalid", "tready", "tdata", "tlast")]

        self.clk, self.rst = dut.clk, dut.rst
        self.in_valid, self.in_ready, self.in_data, self.in_last = port(unit.s_axis)
        self.out_valid, self.out_ready, self.out_data, self.out_last = port(unit.m_axis)
        self._last_in, self._last_out = unit.last_at
        self._keep_in, self._keep_out = unit.keep
        self._data_in = len(self.in_data)
        self.in_keep = getattr(dut, f"{prefix}{unit.s_axis}_tkeep") if self._keep_in else None
        self.out_keep = getattr(dut, f"{prefix}{unit.m_axis}_tkeep") if self._keep_out else None
        self._shown = (None, None, None)

    def idle(self) -> None:
        """Neither offer nor take."""
        self.in_valid.value, self.in_last.value, self.out_ready.value = 0, 0, 0
        self._shown = (None, None, None)

    def drive(self, valid: bool, payload: int, ready: bool) -> None:
        """Set what has changed."""
        was, self._shown = self._shown, (valid, payload, ready)
        if valid != was[0]:
            self.in_valid.value = int(valid)
        if payload != was[1] and self._last_in is None:
            self.in_data.value = payload
        elif payload != was[1]:
            body = payload & ((1 << self._last_in) - 1)
            self.in_last.value = payload >> self._last_in & 1
            self.in_data.value = body & ((1 << self._data_in) - 1)
            if self._keep_in:
                self.in_keep.value = body >> self._data_in
        if ready != was[2]:
            self.out_ready.value = int(ready)

    def sample(self) -> tuple[bool, bool, int]:
        """(ready for an input, an output is offered, its payload)."""
        if not bool(self.out_valid.value):
            return bool(self.in_ready.value), False, 0
        payload, last = int(self.out_data.value), int(self.out_last.value)
        if self._keep_out:
            payload |= int(self.out_keep.value) << len(self.out_data)
        if self._last_out is not None:
            payload |= last << self._last_out
        else:
            assert last == (self._last_in is not None), "a sum is a packet; no other packet was driven"
        return bool(self.in_ready.value), True, payload


async def reset(*ports: Ports) -> None:
    """Hold the synchronous reset for one edge."""
    for each in ports:
        each.idle()
    clk, rst = ports[0].clk, ports[0].rst
    rst.value, clk.value = 1, 0
    await Timer(1, "ns")
    clk.value = 1
    await Timer(1, "ns")
    rst.value = 0


async def run(pairs, limit: int | None = None) -> None:
    """Run trials side by side, [(ports, trial), ...], until each is done or for `limit` cycles."""
    clk, half = pairs[0][0].clk, Timer(1, "ns")
    while any(trial.running for _, trial in pairs) if limit is None else limit > 0:
        for port, trial in pairs:
            port.drive(*trial.drive())
        clk.value = 0
        await half
        for port, trial in pairs:
            trial.check(*port.sample())
        clk.value = 1
        await half
        limit = None if limit is None else limit - 1
