"""Runs of the slow form of ST-RSBP, written as the recorded cases hold theirs, so that one check serves for both."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from tests.rules.obvious_st_rsbp import (
    Run,
    Settings,
    Weights,
    loss_error,
    random_table,
    random_weights,
    regularised,
    run,
)


def record(path: Path, cfg: Settings) -> dict[str, Any]:
    """Write a run of random spikes through a random network, by all variants, and return its arrays."""
    rng = np.random.default_rng(cfg.seed)
    weights, poly = random_weights(cfg, rng), random_table(cfg, rng)
    rates = rng.uniform(0, 2 * cfg.rate, (cfg.B, cfg.sizes[0])) * (rng.random((cfg.B, cfg.sizes[0])) < 0.8)
    x = (rng.random((cfg.T, cfg.B, cfg.sizes[0])) < rates).astype(float)
    y = rng.integers(0, cfg.sizes[-1], cfg.B)
    sample_weight = np.round(rng.uniform(0.5, 2, cfg.B) * 16) / 16
    arrays: dict[str, Any] = {"x": x.astype(np.uint8), "y": y, "sample_weight": sample_weight, "poly": poly}
    for k, layer in enumerate(weights):
        arrays[f"W{k}"] = layer.w
        if cfg.kinds[k] == "rec":
            arrays[f"WR{k}"] = layer.same
    for variant in ("released", "intended", "full"):
        runs = [run(cfg, weights, poly, x[:, b], int(y[b]), sample_weight[b], variant) for b in range(cfg.B)]
        arrays |= of_variant(cfg, runs, variant)
    arrays |= of_forward(cfg, runs, y)
    if cfg.extra:
        arrays |= updates(cfg, weights, poly, x, y, sample_weight)
    meta = {name: value for name, value in vars(cfg).items() if name != "extra"} | cfg.extra
    np.savez(path, meta=json.dumps(meta), **arrays)
    return arrays


def of_variant(cfg: Settings, runs: list[Run], variant: str) -> dict[str, Any]:
    """Return what depends on the variant."""
    found: dict[str, Any] = {}
    for k, kind in enumerate(cfg.kinds):
        layers = [each.layers[k] for each in runs]
        found[f"delta{k}_{variant}"] = np.stack([each.deltas[k] for each in runs])
        found[f"P{k}_{variant}"] = np.stack([each.p for each in layers])
        names = {"gW": "g"} | ({"gWR": "g_rec"} if kind == "rec" else {})
        for name, attribute in names.items():
            alone = np.stack([getattr(each, attribute) for each in layers])
            found |= {f"{name}{k}_{variant}": alone, f"{name}sum{k}_{variant}": alone.sum(0)}
        names = {"E": "e", "S": "s"} | ({"ER": "e_rec", "A": "a", "B": "b"} if kind == "rec" else {})
        found |= {
            f"{name}{k}": np.stack([getattr(each, at) for each in layers]) for name, at in names.items()
        }
    return found


def of_forward(cfg: Settings, runs: list[Run], y: np.ndarray) -> dict[str, Any]:
    """Return what does not."""
    found: dict[str, Any] = {}
    for k in range(len(cfg.kinds)):
        spikes = np.stack([each.spikes[k] for each in runs], axis=1)
        found |= {f"spikes{k}": spikes.astype(np.uint8), f"count{k}": spikes.sum(0).astype(int)}
        found[f"vtest{k}"] = np.stack([each.tested[k] for each in runs], axis=1)
    counts = np.stack([each.spikes[-1] for each in runs], axis=1).sum(0)
    train = np.stack([each.train for each in runs], axis=1)
    errors = [loss_error(cfg, c, label) for c, label in zip(counts, y, strict=True)]
    after = [loss_error(cfg, c, label) for c, label in zip(train.sum(0), y, strict=True)]
    is_label = np.arange(cfg.sizes[-1])[None] == y[:, None]
    return found | {
        "pred": counts.argmax(1),
        "target_counts": np.where(is_label, cfg.desired, cfg.undesired).astype(float),
        "loss_half": np.array([0.5 * (each**2).sum() for each in errors]),
        "cost_reported": np.array([(each**2).sum() for each in after]),
        "lateral_factor": np.stack([each.factor for each in runs]),
        "spikes_out_bwd": train.astype(np.uint8),
        "count_out_bwd": train.sum(0).astype(int),
    }


def updates(
    cfg: Settings,
    weights: list[Weights],
    poly: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray,
) -> dict[str, Any]:
    """Return updates sample by sample, by Adam written out, the released variant and the penalty."""
    constants = (cfg.extra["lam"], cfg.extra["beta"], cfg.extra["limit"])
    values: dict[str, np.ndarray] = {}
    for k, layer in enumerate(weights):
        values[f"W{k}"] = layer.w.copy()
        if cfg.kinds[k] == "rec":
            assert layer.same is not None
            values[f"WR{k}"] = layer.same.copy()
    first = {name: np.zeros_like(value) for name, value in values.items()}
    second = {name: np.zeros_like(value) for name, value in values.items()}
    found: dict[str, Any] = {}
    step = 0
    for epoch in range(cfg.extra["epochs"]):
        for b in range(cfg.B):
            now = [
                Weights(values[f"W{k}"], values.get(f"WR{k}", layer.same)) for k, layer in enumerate(weights)
            ]
            done = run(cfg, now, poly, x[:, b], int(y[b]), sample_weight[b], "released")
            found[f"step{step}_count_out"] = done.spikes[-1].sum(0).astype(int)
            for k, layer in enumerate(now):
                by_w, by_r = regularised(layer, cfg.kinds[k] == "rec", *constants)
                if step == 0:
                    found |= {f"regW{k}": by_w} | ({} if by_r is None else {f"regWR{k}": by_r})
                gradients = {f"W{k}": done.layers[k].g + by_w}
                if by_r is not None:
                    gradients[f"WR{k}"] = done.layers[k].g_rec + by_r  # type: ignore[operator]
                rate = cfg.extra["lr"] / math.sqrt(epoch + 1)
                for name, g in gradients.items():
                    first[name] = 0.9 * first[name] + 0.1 * g
                    second[name] = 0.999 * second[name] + 0.001 * g**2
                    mean = first[name] / (1 - 0.9 ** (step + 1))
                    size = np.sqrt(second[name] / (1 - 0.999 ** (step + 1)))
                    values[name] = values[name] - rate * mean / (size + 1e-8)
            found |= {f"step{step}_{name}": value.copy() for name, value in values.items()}
            step += 1
    return found
