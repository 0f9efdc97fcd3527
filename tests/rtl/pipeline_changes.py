"""Changes of the pipeline that all units are built on, for mutants and for the broken copies of proofs."""

from tests.rtl.mutation import Line

ALWAYS_READY = Line("pipe", "source.ready.eq(self.advance)", "source.ready.eq(1)")
NOT_HELD = Line("pipe", "return held(self._m, value, self.advance, name)",
                "return held(self._m, value, Const(1), name)")  # fmt: skip
STOPS_EMPTY = Line("pipe", "self.advance.eq(sink.ready | ~sink.valid)", "self.advance.eq(sink.ready)")
NEVER_WAITS = Line("pipe", "self.advance.eq(sink.ready | ~sink.valid)", "self.advance.eq(1)")
VALID_STAYS = Line("pipe", 'valid = Signal(name=f"{stage}_valid")',
                   'valid = Signal(name=f"{stage}_valid", reset_less=True)')  # fmt: skip
VALID_LOST = Line("pipe", "self._m.d.sync += valid.eq(self.valid)\n        self.valid = valid",
                  "self._m.d.sync += valid.eq(self.valid)\n        with self._m.Else():\n"
                  "            self._m.d.sync += valid.eq(0)\n        self.valid = valid")  # fmt: skip
