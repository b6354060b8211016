"""The rules by which layered networks learn to classify, by the name that settings give them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lsnn_gym.rules.antlr.classifier import AntlrSettings
from lsnn_gym.rules.bptt import BPTTSettings
from lsnn_gym.rules.lstm import LSTMSettings
from lsnn_gym.rules.mlp import MLPSettings
from lsnn_gym.rules.st_rsbp.classifier import STRSBPSettings
from lsnn_gym.rules.tssl_bp.classifier import TSSLBPSettings

AnyRuleSettings = AntlrSettings | BPTTSettings | LSTMSettings | MLPSettings | STRSBPSettings | TSSLBPSettings

RuleSettings = Annotated[AnyRuleSettings, Field(discriminator="kind")]
"""A section with the key ``kind``."""

RULES: dict[str, type[AnyRuleSettings]] = {
    settings.model_fields["kind"].default: settings
    for settings in (
        AntlrSettings,
        BPTTSettings,
        LSTMSettings,
        MLPSettings,
        STRSBPSettings,
        TSSLBPSettings,
    )
}
"""Settings of each rule, by name."""
