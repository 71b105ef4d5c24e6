# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The models that can be trained. This folder is the registry: a file is a model.

``<name>.py`` holds ``ADAPTER``, an `adet_training.adapter.Adapter`; docs/new_model.md shows how
to write one. Nothing here imports torch until a model is loaded.
"""

from __future__ import annotations

from importlib import import_module
import pkgutil
from typing import cast, TYPE_CHECKING

from adet_core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from adet_training.adapter import AnyAdapter


def known_models() -> list[str]:
    """The names of the models that can be trained, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def check_model(name: str) -> None:
    """Refuse a model that cannot be trained.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in known_models():
        known = known_models()
        msg = f'unknown model {name!r}; known models: {", ".join(known)}'
        raise ConfigError(msg + did_you_mean(name, known))


def load_adapter(name: str) -> AnyAdapter:
    """The adapter of a model.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    check_model(name)
    return cast('AnyAdapter', import_module(f'{__name__}.{name}').ADAPTER)
