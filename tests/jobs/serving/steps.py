"""Step times by formula: what a pass takes in the tests that need no machine."""

from hwsim.jobs.serving.curve import Cell
from hwsim.jobs.serving.steptimes import StepTimes


class Formula(StepTimes):
    """base + token seconds per token + read seconds per cached token, times 1.5 beside prompts."""

    def __init__(self, base=1e-3, token=1e-5, read=1e-8, cell=64):
        super().__init__()
        self.base, self.token, self.read, self.width = base, token, read, cell

    def matrices(self, tokens):
        return self.base + self.token * tokens

    def head(self, sequences):
        return 0.0

    def attention(self, sequences, context, mixed):
        low = int(context) // self.width * self.width
        factor = self.read * sequences * (1.5 if mixed else 1.0)
        return Cell(low, low + self.width, factor * low, factor * (low + self.width))

    def prompts(self, chunks):
        return sum(self.read * chunk * (done + chunk / 2) for chunk, done in chunks)

    def software(self, sequences, chunks):
        return 0.0
