"""A spiking network as features extractor, for every algorithm of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal, get_args

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from torch import Tensor, nn

from lsnn_gym.agents.sb3.core import CoreSettings, SpikingCore
from lsnn_gym.errors import unknown
from lsnn_gym.rules.antlr.layers import dense as antlr_layer
from lsnn_gym.rules.antlr.network import AntlrNetwork
from lsnn_gym.rules.antlr.neuron import AntlrNeuron, AntlrRule
from lsnn_gym.rules.layers import LayeredNetwork
from lsnn_gym.rules.tssl_bp.layers import InputTraces
from lsnn_gym.rules.tssl_bp.layers import dense as tssl_bp_layer
from lsnn_gym.rules.tssl_bp.neuron import TSSLNeuron
from lsnn_gym.wiring import WiringSettings

Rule = Literal["bptt", "eprop", "tssl-bp", "antlr"]


class SpikingFeaturesExtractor(BaseFeaturesExtractor):
    """Layers of spiking neurons that see an observation for some simulation steps, and forget it.

    The observation, flattened (images through a convolutional network first), is the input current of the first
    layer, held for all steps. The features are the last layer's filtered spikes at the end or, of the rules
    ``"tssl-bp"`` and ``"antlr"``, the mean of what it sent. No state goes from one environment step to the next:
    ``RecurrentPPO`` with ``MlpLsnnPolicy`` is for that.

    To be given as ``policy_kwargs=dict(features_extractor_class=SpikingFeaturesExtractor,
    features_extractor_kwargs=dict(...))``; ``net_arch=[]`` leaves out the perceptrons that would follow.

    Args:
        observation_space: Any but tuples.
        features_dim: N, neurons of a layer, and features.
        layers: Layers, one above the other.
        steps: Simulation steps an observation lasts.
        rule: ``"bptt"`` or ``"eprop"``, adaptive neurons with pseudo-derivatives; ``"tssl-bp"`` or ``"antlr"``, the
            neurons and gradients of ``lsnn_gym.rules``, feedforward.
        recurrent: Whether the neurons of a layer are connected, for as long as an observation lasts; for ``"bptt"``
            and ``"eprop"``.
        kwargs: Of the neurons: those of ``CoreSettings``, of ``rules.tssl_bp.neuron.TSSLNeuron`` or of
            ``rules.antlr.neuron.AntlrNeuron``.

    Raises:
        ValueError: If the rule is unknown or cannot train this, or if ``wiring`` is given: connections and signs need
            an optimiser that keeps them, and the algorithm's own does not.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        features_dim: int = 64,
        *,
        layers: int = 1,
        steps: int = 8,
        rule: Rule = "bptt",
        recurrent: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, features_dim)
        _check_rule(rule)
        if recurrent and rule in LAYERED:
            raise ValueError(f"recurrent is True: expected False, as {rule} is for feedforward layers")
        self.front: BaseFeaturesExtractor = _front(observation_space)
        self.steps = steps
        inputs = self.front.features_dim
        if rule in LAYERED:
            sizes = [inputs + 1, *[features_dim] * layers]
            self.network: nn.Module = LAYERED[rule](sizes, kwargs)
        else:
            given = {"steps_per_observation": steps, "tau_readout": float(steps), "rule": rule, **kwargs}
            settings = CoreSettings(**given)
            _check_wiring(settings.wiring)
            self.network = _core(inputs, features_dim, layers, settings, recurrent=recurrent)

    def forward(self, observations: Any) -> Tensor:
        """Return features ``[B, N]``."""
        currents = self.front(observations)
        if isinstance(self.network, SpikingCore):
            rest = currents.new_zeros(len(currents), self.network.hidden_size)
            features, _ = self.network(currents[None], rest, currents.new_zeros(1, len(currents)))
            return features[0]
        # The layers have no biases, or small ones.
        held = nn.functional.pad(currents, (0, 1), value=1.0).expand(self.steps, -1, -1)
        return self.network(held)[-1].values.mean(0)


def _check_rule(rule: str) -> None:
    if rule == "st-rsbp":
        raise ValueError(
            f"rule is {rule!r}, which learns from spike trains, while observations are currents: expected "
            f"{', '.join(get_args(Rule))}"
        )
    if rule not in get_args(Rule):
        raise ValueError(unknown("rule", rule, get_args(Rule)))


def _check_wiring(wiring: WiringSettings) -> None:
    if wiring.managed:
        given = wiring.model_dump(exclude_defaults=True)
        raise ValueError(
            f"wiring is {given}: expected none, as the algorithm's optimiser would not keep it; RecurrentPPO with "
            "MlpLsnnPolicy, or SpikingRecurrentPPO, has one that does"
        )


def _front(space: spaces.Space) -> BaseFeaturesExtractor:
    """Return what turns observations into currents."""
    if isinstance(space, spaces.Dict):
        return CombinedExtractor(space)
    return NatureCNN(space) if is_image_space(space) else FlattenExtractor(space)  # type: ignore[arg-type]


def _core(inputs: int, neurons: int, layers: int, settings: CoreSettings, *, recurrent: bool) -> SpikingCore:
    """Return a core; one that is not recurrent has recurrent weights of 0 that are not trained."""
    core = SpikingCore(
        inputs,
        neurons,
        layers,
        settings if recurrent else settings.model_copy(update={"recurrent_scale": 0.0}),
    )
    if not recurrent:
        for name, parameter in core.named_parameters():
            if "recurrent_synapses" in name:
                parameter.requires_grad_(False)
    return core


def _tssl_bp(sizes: list[int], kwargs: Mapping[str, Any]) -> LayeredNetwork:
    neuron = TSSLNeuron(**kwargs)
    layers = [tssl_bp_layer(*pair, neuron) for pair in pairwise(sizes)]
    return LayeredNetwork([InputTraces(neuron.tau_synapse), *layers])


def _antlr(sizes: list[int], kwargs: Mapping[str, Any]) -> AntlrNetwork:
    neuron = AntlrNeuron(**kwargs)
    return AntlrNetwork([antlr_layer(*pair, neuron, AntlrRule()) for pair in pairwise(sizes)])


LAYERED: Mapping[str, Callable[[list[int], Mapping[str, Any]], nn.Module]] = {
    "tssl-bp": _tssl_bp,
    "antlr": _antlr,
}
"""The rules of feedforward layers: what makes a network from layer sizes and the neurons' constants."""
