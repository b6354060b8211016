"""ST-RSBP as plainly as it can be written: one sample, one neuron, one synapse at a time, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Settings:
    """Constants of a network and of its loss; the defaults are a small one's."""

    kinds: list[str]
    sizes: list[int]
    vth: list[float]
    T: int = 60
    B: int = 3
    tau_m: float = 64.0
    tau_s: float = 8.0
    t_ref: int = 2
    lateral: float = 1.0
    desired: int = 12
    undesired: int = 2
    margin: int = 2
    silent_ratio: float = 0.5
    thr_eps: float = 1e-6
    sum_clamp: float = 1e-4
    poly_rows: int = 16
    rate: float = 0.2
    scale: float = 1.0
    seed: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Weights:
    """Of one layer, ``[post, pre]``; ``same`` are those within it, trained or not, if any."""

    w: np.ndarray
    same: np.ndarray | None = None


def forward(cfg: Settings, threshold: float, layer: Weights, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return spikes and membranes ``[T, n]`` of one sample's inputs ``[T, m]``."""
    n = len(layer.w)
    spikes, tested = np.zeros((cfg.T, n)), np.zeros((cfg.T, n))
    trace, membrane, wait = np.zeros(n), np.zeros(n), np.zeros(n, dtype=int)
    for t in range(1, cfg.T):
        for o in range(n):
            membrane[o] *= 1 - 1 / cfg.tau_m
            trace[o] *= 1 - 1 / cfg.tau_s
            trace[o] += sum(layer.w[o, i] for i in range(x.shape[1]) if x[t - 1, i])
            if layer.same is not None:
                trace[o] += sum(layer.same[o, p] for p in range(n) if spikes[t - 1, p])
            membrane[o] += trace[o] / cfg.tau_s
            if wait[o] > 0:
                membrane[o], wait[o] = 0.0, wait[o] - 1
            tested[t, o] = membrane[o]
            if membrane[o] > threshold - cfg.thr_eps:
                spikes[t, o], membrane[o], wait[o] = 1, 0.0, cfg.t_ref
    return spikes, tested


def spike_psp(tau_m: float, tau_s: float, t_ref: int, pre: np.ndarray, post: np.ndarray) -> float:
    """Return e of one pair of trains ``[T]``, step by step."""
    total = p = q = 0.0
    wait = 0
    for t in range(len(post)):
        p = (1 - 1 / tau_s) * p + (pre[t - 1] if t else 0)
        q = (1 - 1 / tau_m) * q + p / tau_s
        if wait > 0:
            q, wait = 0.0, wait - 1
        if post[t]:
            total += q
            q, wait = 0.0, t_ref
    return total


def closed_psp(tau_m: float, tau_s: float, t_ref: int, pre: np.ndarray, post: np.ndarray) -> float:
    """Return e of one pair of trains ``[T]``, pair of spikes by pair of spikes (tau_m and tau_s unlike)."""
    of_m, of_s = 1 - 1 / tau_m, 1 - 1 / tau_s
    total, start = 0.0, 0
    for f in np.flatnonzero(post):
        for s in np.flatnonzero(pre):
            first = max(start, s + 1)
            steps = f - first
            if steps >= 0:
                total += (
                    (1 / tau_s)
                    * of_s ** (first - s - 1)
                    * (of_m ** (steps + 1) - of_s ** (steps + 1))
                    / (of_m - of_s)
                )
        start = f + t_ref + 1
    return total


def continuous_psp(tau_m: float, tau_s: float, t_ref: int, pre: np.ndarray, post: np.ndarray) -> float:
    """Return e of one pair of trains ``[T]`` in continuous time."""
    total, last = 0.0, 1
    for f in np.flatnonzero(post):
        s = f - last
        for there in np.flatnonzero(pre):
            t = f - (there + t_ref)
            if t < 0 or f - there > 4 * tau_m:
                continue
            nearer = min(s, t)
            total += (
                math.exp(-max(t - s, 0) / tau_s)
                * (math.exp(-nearer / tau_m) - math.exp(-nearer / tau_s))
                / (1 - tau_s / tau_m)
            )
        last = f + t_ref
    return total


def pair_matrix(cfg: Settings, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    """Return e ``[post, pre]`` of trains ``[T, pre]`` and ``[T, post]``."""
    return np.array(
        [[spike_psp(cfg.tau_m, cfg.tau_s, cfg.t_ref, i, o) for i in pre.T] for o in post.T]
    ).reshape(post.shape[1], pre.shape[1])


def own_slope(poly: np.ndarray, pre: int, post: int, recurrent: bool) -> float:
    """Return de/dc_o from the table."""
    if post == 0 and not recurrent:
        return 0.0
    p4, p3, p2, p1, _ = poly[min(max(pre, 1), len(poly)) - 1]
    c = min(max(post, 1), len(poly)) if recurrent else post
    return 4 * p4 * c**3 + 3 * p3 * c**2 + 2 * p2 * c + p1


def ratio(cfg: Settings, psp: float, pre: int, post: int) -> float:
    """Return de/dc_i."""
    return cfg.silent_ratio if pre == 0 or post == 0 else psp / pre


def loss_error(cfg: Settings, counts: np.ndarray, label: int) -> np.ndarray:
    """Return count minus wanted count where it matters."""
    wanted = np.where(np.arange(len(counts)) == label, cfg.desired, cfg.undesired)
    return np.where(np.abs(counts - wanted) > cfg.margin, counts - wanted, 0).astype(float)


def forced(cfg: Settings, spikes: np.ndarray, label: int) -> np.ndarray:
    """Return the output's trains with that of a silent label's neuron written."""
    found = spikes.copy()
    if not spikes[:, label].any():
        every = cfg.T // cfg.desired
        for t in range(every, cfg.T, every):
            found[t, label] = 1
    return found


def lateral_factor(cfg: Settings, threshold: float, spikes: np.ndarray, label: int) -> np.ndarray:
    """Return F of the output's neurons."""
    counts, psp = spikes.sum(0), pair_matrix(cfg, spikes, spikes)
    n = len(counts)
    active = [(1 / threshold) if counts[k] > 0 or k == label else 0.0 for k in range(n)]
    found = np.ones(n)
    for j in range(n):
        mutual = 0.0
        for k in range(n):
            if k != j:
                there = ratio(cfg, psp[k, j], counts[j], counts[k])
                back = ratio(cfg, psp[j, k], counts[k], counts[j])
                mutual += there * active[k] * back * active[j]
        found[j] = 1 / (1 - cfg.lateral**2 * mutual)
    return found


@dataclass
class Layer:
    """What one layer of one sample is about, as the files name it."""

    e: np.ndarray
    s: np.ndarray
    p: np.ndarray
    g: np.ndarray
    g_rec: np.ndarray | None = None
    e_rec: np.ndarray | None = None
    a: np.ndarray | None = None
    b: np.ndarray | None = None


def dense_layer(
    cfg: Settings, threshold: float, layer: Weights, poly: np.ndarray, x: np.ndarray, train: np.ndarray
) -> Layer:
    """Return the effects in a layer without recurrence; the gradient is still missing."""
    pre, post = x.sum(0).astype(int), train.sum(0).astype(int)
    e, w = pair_matrix(cfg, x, train), layer.w
    s, p = np.ones(len(w)), np.zeros_like(w)
    for o in range(len(w)):
        for i in range(w.shape[1]):
            s[o] -= w[o, i] * own_slope(poly, pre[i], post[o], recurrent=False) / threshold
        for i in range(w.shape[1]):
            p[o, i] = w[o, i] * ratio(cfg, e[o, i], pre[i], post[o]) / s[o]
    return Layer(e, s, p, np.zeros_like(w))


def recurrent_layer(
    cfg: Settings,
    threshold: float,
    layer: Weights,
    poly: np.ndarray,
    x: np.ndarray,
    train: np.ndarray,
    variant: str,
) -> Layer:
    """Return the effects in a recurrent layer; the gradients are still missing."""
    w, r = layer.w, layer.same
    assert r is not None
    pre, post = x.sum(0).astype(int), train.sum(0).astype(int)
    e, e_rec = pair_matrix(cfg, x, train), pair_matrix(cfg, train, train) * (r != 0)
    n, m = w.shape
    a, b, s = np.zeros((n, n)), np.zeros((n, m)), np.ones(n)
    for o in range(n):
        for i in range(m):
            s[o] -= w[o, i] * own_slope(poly, pre[i], post[o], recurrent=True) / threshold
            b[o, i] = w[o, i] * ratio(cfg, e[o, i], pre[i], post[o])
        for p in range(n):
            if r[o, p] != 0:
                s[o] -= r[o, p] * own_slope(poly, post[p], post[o], recurrent=True) / threshold
        if abs(s[o]) < cfg.sum_clamp:
            s[o] = -cfg.sum_clamp if s[o] < 0 else cfg.sum_clamp
        for p in range(n):
            if p != o and r[o, p] != 0:
                a[o, p] = -r[o, p] * ratio(cfg, e_rec[o, p], post[p], post[o]) / threshold
        a[o, o] = s[o]
    inverse = np.linalg.inv(a)
    transfer = inverse @ b
    if variant == "released":
        transfer = (b.reshape(m, n) @ inverse).reshape(n, m)
    return Layer(e, s, transfer, np.zeros_like(w), np.zeros_like(r), e_rec, a, b)


@dataclass
class Run:
    """One sample: spikes and membranes of all layers, and what went back."""

    spikes: list[np.ndarray]
    tested: list[np.ndarray]
    layers: list[Layer]
    deltas: list[np.ndarray]
    factor: np.ndarray
    train: np.ndarray


def run(
    cfg: Settings,
    weights: list[Weights],
    poly: np.ndarray,
    x: np.ndarray,
    label: int,
    weight: float,
    variant: str,
) -> Run:
    """Return one sample's run by one variant."""
    spikes, tested = [x], []
    for threshold, layer in zip(cfg.vth, weights, strict=True):
        fired, membrane = forward(cfg, threshold, layer, spikes[-1])
        spikes.append(fired)
        tested.append(membrane)
    train = forced(cfg, spikes[-1], label)
    factor = lateral_factor(cfg, cfg.vth[-1], spikes[-1], label)
    delta = weight * loss_error(cfg, spikes[-1].sum(0), label)
    layers: list[Layer] = []
    deltas: list[np.ndarray] = []
    for k in reversed(range(len(weights))):
        below, threshold, deltas = spikes[k], cfg.vth[k], [delta, *deltas]
        dv = delta / threshold
        if cfg.kinds[k] == "rec":
            found = recurrent_layer(cfg, threshold, weights[k], poly, below, spikes[k + 1], variant)
            scale = np.linalg.inv(found.a).T @ dv if variant == "full" else dv / found.s  # type: ignore[arg-type]
            found.g_rec = scale[:, None] * found.e_rec  # type: ignore[operator]
        else:
            is_out = cfg.kinds[k] == "out"
            found = dense_layer(cfg, threshold, weights[k], poly, below, train if is_out else spikes[k + 1])
            scale = dv / found.s * (factor if is_out else 1.0)
        found.g = scale[:, None] * found.e
        delta = dv @ found.p
        layers = [found, *layers]
    return Run(spikes[1:], tested, layers, deltas, factor, train)


def regularised(weights: Weights, is_recurrent: bool, lam: float, beta: float, limit: float):
    """Return the penalty's published gradients by W and R."""
    within = weights.same if is_recurrent else None
    number = weights.w.shape[1] + 1 + (0 if within is None else int((within != 0).sum()))
    by_w = np.zeros_like(weights.w)
    by_r = None if within is None else np.zeros_like(within)
    for o in range(len(weights.w)):
        omega = sum((v / limit) ** 2 for v in weights.w[o])
        if within is not None:
            omega += sum((v / limit) ** 2 for v in within[o])
        factor = lam * beta * math.exp(beta * (omega / number - 1))
        by_w[o] = factor * weights.w[o] / limit
        if by_r is not None and within is not None:
            by_r[o] = factor * within[o] / limit
    return by_w, by_r


def random_weights(cfg: Settings, rng: np.random.Generator) -> list[Weights]:
    """Return weights that float32 holds exactly."""
    found = []
    for k, kind in enumerate(cfg.kinds):
        n, m = cfg.sizes[k + 1], cfg.sizes[k]
        w = np.round(cfg.scale * rng.uniform(-0.6, 1.0, (n, m)) * 64) / 64
        same = None
        if kind == "rec":
            same = np.round(rng.uniform(-1, 1, (n, n)) * (rng.random((n, n)) < 0.4) * 64) / 64
        elif kind == "out" and cfg.lateral:
            same = cfg.lateral * (np.eye(n) - 1)
        found.append(Weights(w, same))
    return found


def random_table(cfg: Settings, rng: np.random.Generator) -> np.ndarray:
    """Return a table that float32 holds exactly and that peaks as real ones do."""
    rows = np.arange(1, cfg.poly_rows + 1)[:, None]
    shape = np.array([[-1.0e-6, 1e-4, -2.0e-3, 0.04, 0.01]])
    return (rows * shape * rng.uniform(0.8, 1.2, (cfg.poly_rows, 5))).astype(np.float32).astype(float)
