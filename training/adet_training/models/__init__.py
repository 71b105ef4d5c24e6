# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The models that can be trained: those of this folder, and every other one of Anomalib.

A file is a model. ``<name>.py`` holds ``ADAPTER``, an `adet_training.adapter.Adapter`;
docs/new_model.md shows how to write one. Nothing here imports torch until a model is loaded.
"""

from __future__ import annotations

from importlib import import_module
import pkgutil
from typing import cast, TYPE_CHECKING

from adet_core.errors import ConfigError, did_you_mean
from adet_training.anomalib_models import anomalib_models, check_exportable, REFUSED

if TYPE_CHECKING:
    from adet_training.adapter import AnyAdapter


def own_models() -> list[str]:
    """The names of the models that have an adapter of their own, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def known_models() -> list[str]:
    """The names of the models that can be trained, sorted: also Anomalib's that work here."""
    return sorted({*own_models(), *anomalib_models()} - {*REFUSED})


def check_model(name: str) -> None:
    """Refuse a model that cannot be trained.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in own_models():
        check_exportable(name)
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
    if name not in own_models():
        from adet_training.anomalib_adapter import AnomalibAdapter

        return AnomalibAdapter(name)
    return cast('AnyAdapter', import_module(f'{__name__}.{name}').ADAPTER)
