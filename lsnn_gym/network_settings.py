"""``NetworkSettings``: what a recurrent network of spiking neurons is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from lsnn_gym.neurons import CELL_MODELS, CellModel, TimeConstant
from lsnn_gym.settings import Settings
from lsnn_gym.wiring import WiringSettings

CellName = Literal["lsnn", "lsnn-paper", "eprop-a", "eprop-b", "eprop-c"]


class NetworkSettings(Settings):
    """A recurrent network of LIF and ALIF neurons. Times are in ms."""

    regular_neurons: int = Field(default=80, ge=0, description="LIF neurons, without adaptation")
    adaptive_neurons: int = Field(default=48, ge=0, description="ALIF neurons, with an adaptive threshold")
    tau_membrane: TimeConstant = Field(
        default=20.0, description="membrane time constant, or a range drawn from"
    )
    tau_adaptation: TimeConstant = Field(
        default=700.0, description="adaptation time constant, or a range drawn from"
    )
    threshold: float = Field(default=0.01, gt=0, description="baseline threshold, in units of voltage")
    beta: float = Field(default=1.8, ge=0, description="adaptation strength of the ALIF neurons")
    refractory_period: float = Field(
        default=5.0, ge=0, description="time after a spike in which no other follows"
    )
    delay: tuple[int, int] = Field(
        default=(1, 1), description="lowest and highest synaptic delay, in simulation steps"
    )
    dampening_factor: float = Field(default=0.3, ge=0, description="height of the pseudo-derivative")
    noise_std: float = Field(
        default=0.0, ge=0, description="initial standard deviation of the noise current; 0: none"
    )
    train_noise: bool = Field(default=True, description="whether the noise's standard deviation is trained")
    input_scale: float = Field(
        default=1.0, gt=0, description="factor on the initial input weights N(0, 1)/sqrt(inputs)"
    )
    recurrent_scale: float = Field(default=1.0, ge=0, description="factor on the initial recurrent weights")
    wiring: WiringSettings = WiringSettings()
    cell: CellName = Field(
        default="lsnn", description="which published neuron model; see lsnn_gym.neurons.CELL_MODELS"
    )
    rule: Literal["bptt", "eprop"] = Field(
        default="bptt",
        description="backpropagation through time, or e-prop: not through spikes between neurons",
    )
    feedback: Literal["symmetric", "random", "adaptive"] = Field(
        default="symmetric",
        description="errors come back by the readout weights, by fixed random ones, or by ones learnt alike",
    )
    dt: float = Field(default=1.0, gt=0, description="simulation step")
    engine: Literal["native", "triton", "unrolled", "reference"] | None = Field(
        default=None, description="how the recurrence is computed; by default LSNN_GYM_ENGINE, or the fastest"
    )

    checkpointing: bool = Field(
        default=False,
        description="for T steps keep about sqrt(T) states and compute the steps between anew for the gradient: "
        "less memory, more time, the same numbers",
    )

    @property
    def cell_model(self) -> CellModel:
        """Return the neuron model, with its gradient as the rule wants it."""
        return replace(CELL_MODELS[self.cell], stops_spike_gradient=self.rule == "eprop")

    @property
    def num_neurons(self) -> int:
        """Return the number of neurons, regular and adaptive."""
        return self.regular_neurons + self.adaptive_neurons

    @model_validator(mode="after")
    def _check(self) -> NetworkSettings:
        if self.num_neurons == 0:
            raise ValueError("regular_neurons and adaptive_neurons are both 0: expected at least one neuron")
        if self.delay[0] > self.delay[1]:
            raise ValueError(f"delay is {list(self.delay)}: expected the lower value first")
        if self.delay[0] < 1:
            raise ValueError(f"delay is {list(self.delay)}: expected delays of at least 1 simulation step")
        return self
