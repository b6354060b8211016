"""Checks recorded runs of ST-RSBP: ``strsbp_*.npz``, each in float64 and float32.

Every file is one pass forwards and backwards of each sample alone and of all together, by three variants of the
recurrent layers' rule; some go on with updates sample by sample. Weights are ``[post, pre]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lsnn_gym.rules.layers import DenseSynapses, LayeredNetwork, Signal
from lsnn_gym.rules.st_rsbp.layers import SpikingLayer, silent_made_to_fire
from lsnn_gym.rules.st_rsbp.losses import count_loss, published_cost, regular_train, wanted_counts
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron, spike_psp
from lsnn_gym.rules.st_rsbp.penalty import ExponentialPenalty
from lsnn_gym.rules.st_rsbp.recurrent import RecurrentLayer, released_transfer
from lsnn_gym.rules.st_rsbp.rule import Recurrence, RSBPRule, by_pre_count
from lsnn_gym.rules.st_rsbp.tables import EffectTable
from tests.vectors.results import BadRecordingError, Recording, Result, compare, identical

TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-4}
VARIANTS = {
    "released": Recurrence.RELEASED,
    "intended": Recurrence.INTENDED,
    "full": Recurrence.FULL,
}
Layer = SpikingLayer | RecurrentLayer


def check(path: Path) -> list[Result]:
    """Check one file: by the form that layers use by themselves in both precisions, in float64 by the plain one too.

    Raises:
        BadRecordingError: If it lacks something, or holds a layer that is not known.
    """
    recording = Recording(path)
    results = [recording.all_finite()]
    for dtype, compiled in ((torch.float64, False), (torch.float64, True), (torch.float32, True)):
        results += Case(recording, dtype, compiled).check()
    return results


@dataclass
class Explicit:
    """A layer's matrices as the files hold them, of all samples ``[B, post, pre]``."""

    psp: Tensor
    divisor: Tensor
    transfer: Tensor
    recurrent_psp: Tensor | None = None
    system: Tensor | None = None
    matrix: Tensor | None = None

    @classmethod
    def of(cls, layer: Layer, values: Tensor, trains: Tensor) -> Explicit:
        """Return those of a layer that received ``values`` and learns by ``trains``."""
        responses, pre, post = layer.neuron.responses(trains), values.sum(0), trains.sum(0)
        psp, divisor = spike_psp(responses, values), layer.divisor(pre, post, len(values))
        matrix = layer.weight * by_pre_count(psp, pre, post, layer.rule.silent_ratio)
        if isinstance(layer, SpikingLayer):
            return cls(psp, divisor, matrix / divisor[:, :, None])
        within = spike_psp(responses, trains) * layer.mask
        system = layer.system(divisor, within, post)
        if layer.rule.recurrence is Recurrence.RELEASED:
            transfer = released_transfer(system, matrix)
        else:
            transfer = torch.linalg.solve(system, matrix)
        return cls(psp, divisor, transfer, within, system, matrix)


class Case:
    """A recorded run as the library's own objects."""

    def __init__(self, recording: Recording, dtype: torch.dtype, compiled: bool) -> None:
        self.recording = recording
        self.dtype = dtype
        self.compiled = compiled
        self.inputs = self.tensor("x")
        self.labels = torch.as_tensor(recording.array("y").astype(np.int64))
        self.sample_weight = self.tensor("sample_weight")
        self.table = EffectTable(torch.as_tensor(recording.array("poly").astype(np.float64)))
        self.target = {
            "desired": int(self.setting("desired")),
            "undesired": int(self.setting("undesired")),
            "margin": float(self.setting("margin")),
        }

    # ---- reading

    def setting(self, name: str) -> float:
        """Return a number of the recorded settings."""
        return float(self.recording.setting(name))

    def tensor(self, name: str) -> Tensor:
        """Return a recorded array in the dtype of the case."""
        return torch.as_tensor(self.recording.array(name).copy(), dtype=self.dtype)

    @cached_property
    def kinds(self) -> list[str]:
        """Return the kinds of the layers: ff, rec or out."""
        kinds = list(self.recording.setting("kinds"))
        for kind in kinds:
            if kind not in ("ff", "rec", "out"):
                raise BadRecordingError(f"{self.recording.path}: layer {kind!r}, expected ff, rec or out")
        return kinds

    def network(self, variant: str) -> LayeredNetwork:
        """Return the recorded network with its first weights."""
        rule = RSBPRule(
            silent_ratio=self.setting("silent_ratio"),
            recurrence=VARIANTS[variant],
            smallest_recurrent_divisor=self.setting("sum_clamp"),
            table=self.table,
            compiled=self.compiled,
        )
        return LayeredNetwork([self.layer(number, rule) for number in range(len(self.kinds))])

    def layer(self, number: int, rule: RSBPRule) -> Layer:
        """Return one layer."""
        thresholds = self.recording.setting("vth")
        neuron = RSBPNeuron(
            float(thresholds[number]),
            self.setting("tau_m"),
            self.setting("tau_s"),
            int(self.setting("t_ref")),
            self.setting("thr_eps"),
        )
        weight, kind = self.tensor(f"W{number}"), self.kinds[number]
        if kind == "rec":
            return RecurrentLayer(weight, self.tensor(f"WR{number}"), neuron, rule)
        inhibition = self.setting("lateral") if kind == "out" else 0.0
        is_output = kind == "out"
        return SpikingLayer(DenseSynapses(), weight, neuron, rule, inhibition=inhibition, is_output=is_output)

    def loss(self, output: Signal, samples: slice) -> Tensor:
        """Return the loss of some samples."""
        weight = self.sample_weight[samples]
        return count_loss(output, self.labels[samples], sample_weight=weight, **self.target)  # type: ignore[arg-type]

    # ---- comparing

    def compare(self, name: str, value: Tensor) -> Result:
        """Compare with a recorded array."""
        return compare(self.label(name), value, self.recording.array(name), TOLERANCES[self.dtype])

    def identical(self, name: str, value: Tensor) -> Result:
        """Compare spikes or counts with recorded ones; none may differ."""
        return identical(self.label(name), value, self.recording.array(name))

    def label(self, name: str) -> str:
        """Return the name of a quantity with the precision and the form."""
        form = "as by itself" if self.compiled else "plain"
        return f"{str(self.dtype).removeprefix('torch.')} {form}: {name}"

    # ---- checks

    def check(self) -> list[Result]:
        """One pass by each variant, and updates if there are any."""
        results = self.check_forward(self.network("intended"))
        for variant in VARIANTS:
            results += self.check_variant(variant)
        return results + (self.check_updates() if "step0_W0" in self.recording else [])

    @torch.no_grad()
    def check_forward(self, network: LayeredNetwork) -> list[Result]:
        """Spikes, membranes, counts, the decision, and what follows from the loss's settings alone."""
        results, signals = [], network(self.inputs)
        below = self.inputs
        for number, (layer, signal) in enumerate(zip(network.layers, signals, strict=True)):
            record = layer.neuron.run(layer.synapses.drive(below, layer.weight), layer.same_layer())  # type: ignore[operator,union-attr]
            below = signal.values
            results += [
                self.identical(f"spikes{number}", below),
                self.compare(f"vtest{number}", record.membrane),
                self.identical(f"count{number}", below.sum(0)),
            ]
        counts = below.sum(0)
        wanted = wanted_counts(self.labels, counts.shape[1], self.target["desired"], self.target["undesired"])
        each = range(len(self.labels))
        unweighted = [
            count_loss(Signal(below[:, b : b + 1]), self.labels[b : b + 1], **self.target)  # type: ignore[arg-type]
            for b in each
        ]
        return [
            *results,
            self.identical("pred", counts.argmax(1)),
            self.identical("target_counts", wanted),
            self.compare("loss_half", torch.stack(unweighted)),
            self.compare("cost_reported", published_cost(below, self.labels, **self.target)),  # type: ignore[arg-type]
            *self.check_output(network.layers[-1], below),  # type: ignore[arg-type]
        ]

    def forced(self, spikes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the trains that the output learns by, and who should fire."""
        train = regular_train(len(spikes), int(self.target["desired"]), spikes)
        is_label = torch.nn.functional.one_hot(self.labels, spikes.shape[2]).to(spikes)
        return silent_made_to_fire(spikes, train[:, None, None] * is_label)

    def check_output(self, layer: SpikingLayer, spikes: Tensor) -> list[Result]:
        """The factor of inhibition, and the forced trains."""
        trains, wanted = self.forced(spikes)
        psp = spike_psp(layer.neuron.responses(spikes), spikes)
        factor = layer.inhibition_factor(spikes.sum(0), psp, wanted)
        return [
            self.compare("lateral_factor", torch.as_tensor(factor).to(spikes).expand_as(spikes[0])),
            self.identical("spikes_out_bwd", trains),
            self.identical("count_out_bwd", trains.sum(0)),
        ]

    def check_variant(self, variant: str) -> list[Result]:
        """Errors, gradients and the matrices between them: of each sample, and the gradients' sums."""
        network, results = self.network(variant), []
        batch, alone = self.gradients(network, slice(None))[1], []
        errors: list[list[Tensor]] = []
        for b in range(len(self.labels)):
            by_count, gradients = self.gradients(network, slice(b, b + 1))
            errors.append(by_count)
            alone.append(gradients)
        for name, total in batch.items():
            prefix, number = name.rstrip("0123456789"), name.lstrip("gWR")
            results += [
                self.compare(f"{name}_{variant}", torch.stack([each[name] for each in alone])),
                self.compare(f"{prefix}sum{number}_{variant}", total),
            ]
        for number in range(len(self.kinds)):
            found = torch.cat([each[number] for each in errors])
            results.append(self.compare(f"delta{number}_{variant}", found))
        return results + self.check_matrices(network, variant)

    def gradients(self, network: LayeredNetwork, samples: slice) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return each layer's error of counts ``[B, N]``, and the gradients as the files name them."""
        network.zero_grad()
        signals = network(self.inputs[:, samples])
        for signal in signals:
            signal.values.retain_grad()
        self.loss(signals[-1], samples).backward()
        found = {}
        for number, layer in enumerate(network.layers):
            found[f"gW{number}"] = layer.weight.grad.clone()  # type: ignore[union-attr,operator]
            if isinstance(layer, RecurrentLayer):
                assert layer.recurrent_weight.grad is not None
                found[f"gWR{number}"] = layer.recurrent_weight.grad.clone()
        return [signal.values.grad[0] for signal in signals], found  # type: ignore[index]

    @torch.no_grad()
    def check_matrices(self, network: LayeredNetwork, variant: str) -> list[Result]:
        """S-PSPs, divisors, systems and effects."""
        signals, results, below = network(self.inputs), [], self.inputs
        for number, (layer, signal) in enumerate(zip(network.layers, signals, strict=True)):
            trains = self.forced(signal.values)[0] if self.kinds[number] == "out" else signal.values
            found = Explicit.of(layer, below, trains)  # type: ignore[arg-type]
            below = signal.values
            results.append(self.compare(f"P{number}_{variant}", found.transfer))
            if variant != "intended":  # the others do not depend on it
                continue
            results += [self.compare(f"E{number}", found.psp), self.compare(f"S{number}", found.divisor)]
            if found.system is not None:
                assert found.recurrent_psp is not None
                assert found.matrix is not None
                results += [
                    self.compare(f"ER{number}", found.recurrent_psp),
                    self.compare(f"A{number}", found.system),
                    self.compare(f"B{number}", found.matrix),
                ]
        return results

    def check_updates(self) -> list[Result]:
        """Updates sample by sample, with the penalty, by the released variant and Adam."""
        network = self.network("released")
        names = {id(value): name for name, value in self.parameters(network).items()}
        penalty = ExponentialPenalty(self.setting("lam"), self.setting("beta"), self.setting("limit"))
        penalty(network.layers).backward()
        results = [self.compare(f"reg{names[id(each)]}", each.grad) for each in network.parameters()]  # type: ignore[arg-type]
        optimizer = torch.optim.Adam(network.parameters(), lr=self.setting("lr"))
        step = 0
        for epoch in range(int(self.setting("epochs"))):
            for group in optimizer.param_groups:
                group["lr"] = self.setting("lr") / (epoch + 1) ** 0.5
            for b in range(len(self.labels)):
                sample = slice(b, b + 1)
                optimizer.zero_grad()
                output = network(self.inputs[:, sample])[-1]
                (self.loss(output, sample) + penalty(network.layers)).backward()
                optimizer.step()
                counts, expected = (
                    output.values.detach().sum(0),
                    self.recording.array(f"step{step}_count_out"),
                )
                results.append(
                    identical(self.label(f"step{step}_count_out"), counts.reshape(expected.shape), expected)
                )
                results += [
                    self.compare(f"step{step}_{name}", value)
                    for name, value in self.parameters(network).items()
                ]
                step += 1
        return results

    @staticmethod
    def parameters(network: LayeredNetwork) -> dict[str, Tensor]:
        """Return the weights as the files name them."""
        found: dict[str, Tensor] = {}
        for number, layer in enumerate(network.layers):
            found[f"W{number}"] = layer.weight  # type: ignore[assignment]
            if isinstance(layer, RecurrentLayer):
                found[f"WR{number}"] = layer.recurrent_weight
        return found
