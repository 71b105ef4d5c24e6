# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Before a training: a look at the images, and the size, proportions and tiles that suit them."""

from __future__ import annotations

from dataclasses import replace

from adet_core.errors import ConfigError
from adet_core.progress import ProgressCallback, silent
from adet_training.backbone import name_backbone
from adet_training.layout import find_roi
from adet_training.models import load_adapter
from adet_training.parameters import make_parameters
from adet_training.proposal import Proposal, propose
from adet_training.survey import survey
from adet_training.train import TrainConfig

AUTO = 'auto'
"""Value of the setting ``tiles`` that takes the proposal."""

# Whoever sets one of these has chosen.
_CHOICES = ('image_size', 'tiles', 'fit', 'overlap', 'whole', 'align')


def choose(
    config: TrainConfig, *, progress: ProgressCallback = silent
) -> tuple[Proposal | None, TrainConfig]:
    """Propose how images are brought to the graph, and take the proposal where that is asked for.

    Args:
        config: What to train on; ``tiles=auto`` takes the proposal, other settings stay.
        progress: Told the progress.

    Returns:
        The proposal; None where the settings choose, or where nothing but the usual is proposed.
        And the configuration to train with.

    Raises:
        adet_core.errors.ConfigError: A setting cannot be used.
        adet_core.errors.DatasetError: There are no images of the category.
    """
    is_auto = config.settings.get('tiles') == AUTO
    settings = {
        key: value for key, value in config.settings.items() if value != AUTO or key != 'tiles'
    }
    if not is_auto and settings.keys() & set(_CHOICES):
        return None, config
    if roi := config.roi or find_roi(config.data_root, config.category):
        if is_auto:
            msg = (
                f'tiles=auto looks at whole images, not at the region {roi}; set tiles to a width'
            )
            raise ConfigError(msg)
        return None, config
    adapter = load_adapter(config.model)
    named = name_backbone(adapter.parameters, settings, config.backbone_weights)
    cost = adapter.cost(make_parameters(adapter.parameters, named))
    facts = survey(config.data_root, config.category, progress=progress)
    proposal = propose(facts, cost)
    if is_auto:
        return proposal, replace(config, settings={**proposal.settings(), **settings})
    usual = {'image_size': cost.edge}
    return (None if proposal.settings() == usual else proposal), config
