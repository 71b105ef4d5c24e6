# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The models that can be trained: one adapter file each, found by the model's word."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from adet_core.models import model_info
from adet_training.models.base import Adapter

_ADAPTERS: Mapping[str, str] = {
    'padim': 'adet_training.models.padim:PadimAdapter',
}


def load_adapter(name: str) -> Adapter:
    """The adapter of a model.

    Raises:
        adet_core.errors.ConfigError: The name is unknown; the message lists the known ones.
    """
    module, _, attribute = _ADAPTERS[model_info(name).name].partition(':')
    return cast('Adapter', getattr(import_module(module), attribute)())
