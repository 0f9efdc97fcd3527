"""Recurrent layers: LSTM and GRU over a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hwsim.workload import vector as passes
from hwsim.workload.graph.node import Node, OpFile, Weight, made
from hwsim.workload.graph.tensor import Given, Misfit, ranked, shown
from hwsim.workload.op import Gemm, Op

#: Gates of each kind.
GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent(Node):
    """A layer whose every step takes the result of the one before, by the definitions of ONNX's operators.

    It takes X [steps, width] and, where it begins with a state, h (and c for an lstm) of [directions x hidden]. Its
    result is [steps, directions x hidden]; an lstm has one more row, its last cell state. Gates are in the order input,
    output, forget, cell (lstm) or update, reset, hidden (gru).
    reverse: it runs from the last step to the first. before_reset: the reset gate multiplies after the linear layer.
    """

    KIND: ClassVar[str] = "recurrent"

    kind: str
    hidden: int
    directions: int
    reverse: bool
    bias: bool
    before_reset: bool

    @property
    def steps(self) -> int:
        """Length of the sequence."""
        return self.given[0].shape[0]

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Of each direction and gate: W [hidden, width], R [hidden, hidden], and the biases of both."""
        rows = self.directions * GATES[self.kind] * self.hidden
        matrices = (
            Weight("input", (rows, self.given[0].shape[1]), "linear"),
            Weight("recurrent", (rows, self.hidden), "linear"),
        )
        return (*matrices, Weight("bias", (2 * rows,), "linear")) if self.bias else matrices

    def gemms(self, batch: int = 1) -> tuple[Gemm, ...]:
        """Both GEMMs of each direction; all steps share the weights, which are read once."""
        rows, m = GATES[self.kind] * self.hidden, batch * self.steps
        sizes = (self.given[0].shape[1], self.hidden)
        return tuple(Gemm(m, rows, k, self.directions) for k in sizes)

    def macs(self, batch: int = 1) -> int:
        """Of both GEMMs."""
        return sum(each.macs for each in self.gemms(batch))

    def vector(self, batch: int = 1) -> int:
        """Per step and hidden element: a sum per gate and bias, a function per gate, and the arithmetic of the state.

        An lstm: three sigmoids, two tanh, three multiplies, one add; a gru: two sigmoids, a tanh, three multiplies, two
        adds (one minus the update gate, the sum).
        """
        gates, f = GATES[self.kind], passes.FUNCTION
        each = gates * (1 + 2 * self.bias * passes.BIAS)
        each += 3 * f["sigmoid"] + 2 * f["tanh"] + 4 if self.kind == "lstm" else 2 * f["sigmoid"] + f["tanh"] + 5
        return each * batch * self.steps * self.directions * self.hidden

    def op(self, batch: int, layer: int) -> Op:
        """Two GEMMs per direction."""
        bias = next((each.shape[0] for each in self.weights if each.name == "bias"), 0)
        return Op(
            self.name,
            "recurrent",
            layer,
            "linear",
            self.gemms(batch),
            vector=self.vector(batch),
            params=bias,
            inputs=self.inputs(batch),
            outputs=self.outputs(batch),
        )


class _RecurrentFile(OpFile):
    hidden: Annotated[int, Field(ge=1, le=10**6)] = Field(description="Elements of the state.", examples=[128])
    directions: Literal[1, 2] = Field(1, description="2: one more layer that runs backwards, its result beside.")
    reverse: bool = Field(False, description="Whether it runs from the last step to the first.")
    bias: bool = Field(True, description="Whether there are biases, one of the input and one of the state.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        steps, _ = ranked(given[0], 2, "[steps, width]")
        width = self.directions * self.hidden
        for state in given[1:]:
            if ranked(state, 1, "[directions x hidden]") != (width,):
                raise Misfit("in", f"`{state.name}` has the shape {shown(state.shape)}; a state is {shown([width])}")
        kind = type(self).__name__.removesuffix("File").lower()
        if self.reverse and self.directions == 2:
            raise Misfit("reverse", "is for one direction; remove it")
        return [
            Recurrent(
                name=name,
                given=given,
                made=made((steps + (kind == "lstm"), width), given),
                kind=kind,
                hidden=self.hidden,
                directions=self.directions,
                reverse=self.reverse,
                bias=self.bias,
                before_reset=bool(getattr(self, "before_reset", False)),
            )
        ]


class LstmFile(_RecurrentFile):
    """An LSTM on [steps, width], and optionally h and c: [steps + 1, directions x hidden], the last row is c."""

    TAKES: ClassVar[tuple[int, int]] = (1, 3)

    op: Literal["lstm"] = Field(description="Long short-term memory.", examples=["lstm"])  # type: ignore[assignment]


class GruFile(_RecurrentFile):
    """A GRU on [steps, width], and optionally h: [steps, directions x hidden]."""

    TAKES: ClassVar[tuple[int, int]] = (1, 2)

    op: Literal["gru"] = Field(description="Gated recurrent unit.", examples=["gru"])  # type: ignore[assignment]
    before_reset: bool = Field(False, description="Whether the reset gate multiplies after the linear layer.")
