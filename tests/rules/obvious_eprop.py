"""e-prop as slowly and obviously as it can be written: model A, one synapse at a time, in Python's floats."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Constants:
    """Of all neurons but beta, which is each neuron's own."""

    alpha: float
    rho: float
    threshold: float
    beta: list[float]
    period: int
    gamma: float
    kappa: float


Matrix = list[list[float]]


def run_cell(constants: Constants, w_in: Matrix, w_rec: Matrix, inputs: Matrix) -> tuple[Matrix, Matrix]:
    """Return spikes and pseudo-derivatives ``[T][N]`` of one network; weights are ``[post][pre]``."""
    size = len(constants.beta)
    voltage, spike, adaptation, blocked = [0.0] * size, [0.0] * size, [0.0] * size, [0] * size
    spikes, slopes = [], []
    for arrived in inputs:
        sent = spike
        spike, slope = [0.0] * size, [0.0] * size
        for j in range(size):
            current = sum(w * x for w, x in zip(w_in[j], arrived, strict=True))
            current += sum(w_rec[j][i] * sent[i] for i in range(size) if i != j)
            adaptation[j] = constants.rho * adaptation[j] + sent[j]
            voltage[j] = constants.alpha * voltage[j] + current - constants.threshold * sent[j]
            argument = voltage[j] - constants.threshold - constants.beta[j] * adaptation[j]
            argument /= constants.threshold
            if blocked[j] > 0:
                blocked[j] -= 1
                continue
            slope[j] = constants.gamma / constants.threshold * max(0.0, 1 - abs(argument))
            if argument > 0:
                spike[j] = 1.0
                blocked[j] = max(constants.period - 1, 0)
        spikes.append(spike)
        slopes.append(slope)
    return spikes, slopes


def filtered_trace(
    constants: Constants, arriving: list[float], slopes: list[float], beta: float
) -> list[float]:
    """Return one synapse's filtered eligibility trace, given what arrives and the neuron's slopes, by step."""
    by_voltage = by_adaptation = filtered = 0.0
    slope_before = 0.0
    traces = []
    for arrived, slope in zip(arriving, slopes, strict=True):
        by_adaptation = slope_before * by_voltage + (constants.rho - beta * slope_before) * by_adaptation
        by_voltage = constants.alpha * by_voltage + arrived
        eligibility = slope * (by_voltage - beta * by_adaptation)
        filtered = constants.kappa * filtered + (1 - constants.kappa) * eligibility
        slope_before = slope
        traces.append(filtered)
    return traces


def gradients(
    constants: Constants,
    w_in: Matrix,
    w_rec: Matrix,
    readout: Matrix,
    feedback: Matrix,
    inputs: Matrix,
    targets: Matrix,
) -> tuple[Matrix, Matrix]:
    """Return the gradients of half the squared error by ``w_in`` and ``w_rec``."""
    size = len(constants.beta)
    spikes, slopes = run_cell(constants, w_in, w_rec, inputs)
    filtered, signals = [0.0] * size, []
    for t, target in enumerate(targets):
        filtered = [
            constants.kappa * old + (1 - constants.kappa) * new
            for old, new in zip(filtered, spikes[t], strict=True)
        ]
        errors = [
            sum(w * z for w, z in zip(row, filtered, strict=True)) - wanted
            for row, wanted in zip(readout, target, strict=True)
        ]
        signals.append([sum(errors[k] * feedback[k][j] for k in range(len(errors))) for j in range(size)])

    def gradient(j: int, arriving: list[float]) -> float:
        traces = filtered_trace(constants, arriving, [each[j] for each in slopes], constants.beta[j])
        return sum(signals[t][j] * traces[t] for t in range(len(traces)))

    before = [[0.0] * size, *spikes[:-1]]
    by_input = [
        [gradient(j, [each[i] for each in inputs]) for i in range(len(inputs[0]))] for j in range(size)
    ]
    by_recurrent = [
        [0.0 if i == j else gradient(j, [each[i] for each in before]) for i in range(size)]
        for j in range(size)
    ]
    return by_input, by_recurrent
