"""The supervised tasks there are, by the name that settings give them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lsnn_gym.errors import UserError
from lsnn_gym.settings import Settings, validate
from lsnn_gym.tasks.evidence import EvidenceSettings
from lsnn_gym.tasks.few_shot import FewShotSettings
from lsnn_gym.tasks.sequential_mnist import SequentialImagesSettings
from lsnn_gym.tasks.speech import FramewisePhonesSettings, SpokenDigitsSettings
from lsnn_gym.tasks.store_recall import StoreRecallSettings
from lsnn_gym.tasks.task import Task

AnyTaskSettings = (
    EvidenceSettings
    | FewShotSettings
    | FramewisePhonesSettings
    | SequentialImagesSettings
    | SpokenDigitsSettings
    | StoreRecallSettings
)


def _from_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


TaskSettings = Annotated[AnyTaskSettings, Field(discriminator="kind"), BeforeValidator(_from_name)]
"""A section with the key ``kind``, or only its name."""

TASKS: dict[str, type[AnyTaskSettings]] = {
    settings.model_fields["kind"].default: settings
    for settings in (
        EvidenceSettings,
        FewShotSettings,
        FramewisePhonesSettings,
        SequentialImagesSettings,
        SpokenDigitsSettings,
        StoreRecallSettings,
    )
}
"""Settings of each task, by name."""


class _TaskSection(Settings):
    task: TaskSettings


def make_task(name: str, /, **options: Any) -> Task:
    """Make the task ``name``; ``options`` are those of its settings that are to differ.

    Raises:
        UserError: There is no such task or option, or an option's value is of no use.
    """
    if options.get("kind", name) != name:
        raise UserError(f"task: kind is {options['kind']!r}, expected the name of the task, {name!r}")
    return validate(_TaskSection, {"task": {**options, "kind": name}}).task.make()
