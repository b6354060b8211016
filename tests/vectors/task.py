"""Checks recorded tasks: ``task_*.npz``: the coding of images, readout and loss, store-recall, evidence."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.engine import ENGINES, choose_engine
from lsnn_gym.neurons import NeuronParameters, SpikingState, decay
from lsnn_gym.readouts import low_pass
from lsnn_gym.synapses import stack_by_delay
from lsnn_gym.tasks import evidence, sequential_mnist, store_recall
from lsnn_gym.tasks.scoring import rate_loss
from tests.vectors.results import BadRecordingError, Recording, Result, compare, identical, spikes_agree

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
# Names under which the cues of evidence accumulation, 0 left and 1 right, may be recorded.
CUES = ("cue_assignments", "cues", "cue_assignment")


def check(path: Path | str) -> list[Result]:
    """Return the largest error of every quantity recorded in a file."""
    recording = Recording(path)
    results = [recording.all_finite()]
    if "images" in recording:
        return results + _check_coding(recording)
    if "spike_probability" in recording and "candidate_sequences" in recording:
        return results + _check_store_recall(recording)
    if any(name in recording for name in CUES):
        return results + _check_evidence(recording)
    if "logits_t" in recording:
        engines = [name for name, engine in ENGINES.items() if not engine.unavailable]
        cases = [(dtype, engine) for dtype in TOLERANCES for engine in engines]
        return results + [each for case in cases for each in _check_readout(recording, *case)]
    raise BadRecordingError(f"{recording.path}: its arrays are those of no known task")


def _check_coding(recording: Recording) -> list[Result]:
    images = recording.array("images")
    num_channels = int(recording.setting("n_in"))
    repeats = int(recording.setting("ext_time", default=1))
    results = []
    for dtype in TOLERANCES:
        shown = torch.as_tensor(images.copy(), dtype=dtype)
        if recording.setting("crs_thr", default=True):
            coded = sequential_mnist.threshold_crossings(shown, num_channels, repeats)
            name = f"{str(dtype).removeprefix('torch.')}: spikes"
            results.append(identical(name, coded.transpose(0, 1), recording.array("spikes")))
        else:
            coded = sequential_mnist.grey_values(shown, repeats).transpose(0, 1)
            results.append(compare("grey values", coded, recording.array("spikes"), TOLERANCES[dtype]))
    labels = recording.array("targets", (len(images),))
    return [*results, identical("targets are classes", (labels >= 0) & (labels < 10), np.ones_like(labels))]


def _check_readout(recording: Recording, dtype: torch.dtype, engine: str) -> list[Result]:
    """Run cell, readout and loss, forwards and backwards."""
    weights = {
        name: torch.as_tensor(recording.array(name).copy(), dtype=dtype).requires_grad_()
        for name in ("w_in", "w_rec", "w_out", "b_out")
    }
    spikes = _run_cell(recording, weights, engine)
    kappa = math.exp(-1 / float(recording.setting("tau_out", "tau_readout", default=20.0)))
    psp = low_pass(spikes, kappa)
    outputs = psp @ weights["w_out"] + weights["b_out"]
    labels = torch.as_tensor(recording.array("targets", (spikes.shape[1],)).copy())
    num_blocks = int(recording.setting("n_bins"))
    cross_entropy = sequential_mnist.classification_loss(outputs, labels, num_blocks)
    regularisation = float(recording.setting("reg")) * rate_loss(
        spikes, 1000 * float(recording.setting("f0"))
    )
    loss = cross_entropy + regularisation
    loss.backward()
    label = f"{str(dtype).removeprefix('torch.')} {engine}: "
    found = {
        "psp": psp.transpose(0, 1),
        "logits_t": outputs.transpose(0, 1),
        "logits": sequential_mnist.class_logits(outputs, num_blocks),
        "loss_ce": cross_entropy,
        "loss_reg": regularisation,
        "loss": loss,
    }
    for name, weight in weights.items():
        assert weight.grad is not None
        found[f"g_{name}"] = weight.grad
    fired = spikes_agree(label, spikes.transpose(0, 1), recording)
    return [fired] + [
        compare(label + name, value, recording.array(name), TOLERANCES[dtype])
        for name, value in found.items()
    ]


def _run_cell(recording: Recording, weights: dict[str, Tensor], engine: str) -> Tensor:
    """Return the spikes ``[T, B, N]`` of the recorded network."""
    inputs = torch.as_tensor(recording.array("x").copy(), dtype=weights["w_in"].dtype).transpose(0, 1)
    size, depth = weights["w_in"].shape[1], int(recording.setting("n_delay"))

    def constant(value: float | Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64).expand(size).to(inputs.dtype)

    beta = torch.as_tensor(recording.array("beta", (size,)).copy()) if "beta" in recording else 0.0
    neurons = NeuronParameters(
        membrane_decay=constant(decay(float(recording.setting("tau")), 1.0)),
        adaptation_decay=constant(decay(float(recording.setting("tau_adaptation", default=1.0)), 1.0)),
        threshold=constant(float(recording.setting("thr"))),
        beta=constant(beta),
        refractory_period=constant(float(recording.setting("n_refractory"))),
    )
    autapses = torch.eye(size, dtype=torch.bool)
    recurrent = weights["w_rec"].masked_fill(autapses, 0.0)
    delays = [torch.as_tensor(recording.array(name).copy()) for name in ("d_in", "d_rec")]
    stacked = [
        stack_by_delay(weight.T, delay.T, depth)
        for weight, delay in zip((weights["w_in"], recurrent), delays, strict=True)
    ]
    rest = SpikingState.zeros(inputs.shape[1], size, depth, dtype=inputs.dtype)
    spikes, _ = choose_engine(engine).run(
        neurons,
        torch.cat(stacked, dim=1),
        inputs,
        rest,
        None,
        None,
        dt=1.0,
        dampening_factor=float(recording.setting("dampening_factor")),
    )
    return spikes


def _check_store_recall(recording: Recording) -> list[Result]:
    symbols = torch.as_tensor(recording.array("input_nums").copy()).T
    probability = recording.array("spike_probability")
    duration, rest = divmod(probability.shape[1], len(symbols))
    steps = recording.setting("n_charac_duration", default=duration)
    if rest or steps != duration:
        raise BadRecordingError(f"{recording.path}: {len(symbols)} symbols of {steps} steps expected")
    rate = 1000 * float(recording.setting("f0"))
    targets = store_recall.recall_targets(symbols)
    active = store_recall.active_groups(symbols)
    found = store_recall.spike_probabilities(
        active, probability.shape[2], duration, rate, dtype=torch.float64
    )
    candidates = [store_recall.is_valid(each) for each in recording.array("candidate_sequences").tolist()]
    sampled = [store_recall.is_valid(each) for each in recording.array("sampled_sequences").tolist()]
    per_step = {
        "is_recall": symbols == store_recall.RECALL,
        "target_sequence": targets,
    }
    results = [
        identical("target_nums", targets.T, recording.array("target_nums")),
        compare("spike_probability", found.transpose(0, 1), probability, TOLERANCES[torch.float64]),
        identical("candidate_valid", np.array(candidates), recording.array("candidate_valid")),
        identical("sampled_sequences are valid", np.array(sampled), np.ones(len(sampled))),
    ]
    results += [
        identical(name, value.repeat_interleave(duration, dim=0).T, recording.array(name))
        for name, value in per_step.items()
    ]
    return results + _check_statistics(recording)


def _check_statistics(recording: Recording) -> list[Result]:
    """Draw as many sequences as the recorded means are of, and compare the means."""
    recorded = recording.setting("statistics_over_2000", default={})
    generator = torch.Generator().manual_seed(0)
    length = recording.array("input_nums").shape[1]
    mean_delay = 1 / float(recording.setting("prob_signals", default=1 / 7)) - 1
    drawn = torch.tensor([store_recall.draw_symbols(length, mean_delay, generator) for _ in range(2000)])
    results = []
    for name, symbol in (("mean_stores", store_recall.STORE), ("mean_recalls", store_recall.RECALL)):
        if name in recorded:
            counts = F.one_hot(drawn, 4)[:, :, symbol].sum(1).double()
            # Both means are of samples: five standard errors of their difference.
            tolerance = 5 * counts.std().item() * math.sqrt(2 / len(counts))
            results.append(
                Result(f"{name} (absolute)", abs(counts.mean().item() - recorded[name]), tolerance)
            )
    return results


def _check_evidence(recording: Recording) -> list[Result]:
    cues = recording.array(next(name for name in CUES if name in recording))
    setting = recording.setting
    timing = evidence.Timing(
        num_cues=cues.shape[1],
        cue=int(setting("t_cue", default=100)),
        interval=int(setting("t_interval", default=150)),
        recall=int(setting("recall_duration", "t_recall", default=150)),
    )
    name = next((each for each in ("spike_probability", "input_spike_prob") if each in recording), None)
    if name is None:
        raise BadRecordingError(f"{recording.path}: array 'spike_probability' is missing")
    probability = recording.array(name)
    timing = timing._replace(delay=probability.shape[1] - timing.num_cues * timing.interval - timing.recall)
    shown = torch.as_tensor(cues.copy()).T
    rate = 1000 * float(setting("f0", default=0.04))
    found = evidence.spike_probabilities(
        shown, probability.shape[2] // 4, timing, rate, rate / 4, dtype=torch.float64
    )
    results = [compare(name, found.transpose(0, 1), probability, TOLERANCES[torch.float64])]
    for each in ("target_nums", "targets", "target"):
        if each in recording:
            wanted = recording.array(each)
            majority = evidence.majority(shown).numpy()
            majority = majority.reshape(-1, *[1] * (wanted.ndim - 1))
            results.append(identical(each, np.broadcast_to(majority, wanted.shape), wanted))
    return results
