"""From a config to an experiment and its family: the only place that knows all families by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from lsnn_gym.errors import UserError, unknown
from lsnn_gym.families.classification import Classification, ClassificationExperiment
from lsnn_gym.families.family import Family
from lsnn_gym.families.regression import Regression, RegressionExperiment
from lsnn_gym.families.reinforcement import Reinforcement, ReinforcementExperiment
from lsnn_gym.families.supervised import Supervised, SupervisedExperiment
from lsnn_gym.plain_yaml import read_yaml
from lsnn_gym.settings import apply_overrides, validate
from lsnn_gym.training.run_folder import RunFolder

Experiment = ReinforcementExperiment | SupervisedExperiment | RegressionExperiment | ClassificationExperiment
"""Everything that a result depends on."""

_KINDS: dict[str, tuple[type[Experiment], Family[Any]]] = {
    "env": (ReinforcementExperiment, Reinforcement()),
    "task": (SupervisedExperiment, Supervised()),
    "regression": (RegressionExperiment, Regression()),
    "rule": (ClassificationExperiment, Classification()),
}
"""By the key of the section that only such experiments have."""


def family_of(experiment: Experiment) -> Family[Any]:
    """Return what makes trainers, figures and pictures of such experiments."""
    return next(family for kind, family in _KINDS.values() if isinstance(experiment, kind))


def experiment_from(mapping: Mapping[str, Any], source: str) -> Experiment:
    """Validate plain data: with the key ``task``, ``regression``, ``rule`` or ``env``, which say what kind it is.

    Raises:
        UserError: It does not describe an experiment; ``source`` begins the message.
    """
    keys = [key for key in ("task", "regression", "rule", "env") if key in mapping]
    if len(keys) > 1:
        raise UserError(f"{source}: there is {' and '.join(keys)}: expected one of them")
    return validate(_KINDS[keys[0] if keys else "env"][0], mapping, source)


def config_names() -> dict[str, Path]:
    """Return the configs that come with the package, by name."""
    folder = Path(str(resources.files("lsnn_gym.configs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def config_path(config: str) -> Path:
    """Return the path of a config: by its name in the package, or the path of a YAML file itself.

    Raises:
        UserError: There is no config of that name.
    """
    known = config_names()
    if config in known:
        return known[config]
    path = Path(config)
    if path.suffix not in {".yaml", ".yml"} and not path.exists():
        raise UserError(unknown("config", config, known))
    return path


def load_experiment(config: str, overrides: tuple[str, ...] = ()) -> Experiment:
    """Read a config and apply ``section.key=value`` overrides.

    Args:
        config: Name of a config of the package, or path of a YAML file.
        overrides: Assignments, applied in order.

    Raises:
        UserError: There is no such config, or it does not describe an experiment.
    """
    mapping = read_yaml(config_path(config))
    if "base" in mapping:
        raise UserError(f"{config} is a comparison of experiments: lsnn-gym compare {config}")
    return experiment_from(apply_overrides(mapping, overrides), config)


def experiment_of(run: RunFolder) -> Experiment:
    """Return the experiment that ``run`` was started with."""
    return experiment_from(run.read_config(), str(run.config))
