# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a retraining: the values of the bundle's training are the defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adet_core.bundle import Manifest
from adet_core.errors import ConfigError
from adet_core.models.names import statistics_model
from adet_core.models.statistics_model import Setting

MODES = ('incremental', 'full')
MODE_NEW = 'new'
"""Learns another category, see `adet_core.retraining.new_category`."""

_SETTINGS: Mapping[str, Setting] = {
    'held_out': Setting(0.2, 0.01, 0.9),
    'false_reject_rate': Setting(0.01, 1e-6, 0.5),
    'confidence': Setting(0.95, 0.5, 0.999999),
    'uncertain_rate': Setting(0.0, 0.0, 0.5),
    # What a retraining may make worse, beyond what chance explains.
    'max_missed': Setting(0.0, 0.0, 1.0),
    'max_rejected': Setting(0.0, 0.0, 1.0),
    'max_auroc_loss': Setting(0.01, 0.0, 1.0),
    'keep': Setting(5, 1, 1000),
    'seed': Setting(0, 0, 2**32 - 1),
}
_OF_WEIGHTS: Mapping[str, Setting] = {
    # 0: the model's own number for a retraining. The many steps of a training are not what a robot
    # has time for.
    'steps': Setting(0, 0, 1_000_000, is_inherited=False),
}


def retrain_settings(manifest: Manifest, overrides: Sequence[str]) -> dict[str, Any]:
    """Settings of a retraining by name; whole numbers are int.

    Args:
        manifest: Of the bundle that is retrained: its model says which settings there are, and the
            values of its training are the defaults.
        overrides: ``KEY=VALUE`` words.

    Raises:
        ConfigError: A word names no setting of this model, or its value is not allowed.
    """
    model = statistics_model(manifest.model)
    settings = {**_SETTINGS, **(_OF_WEIGHTS if model is None else model.settings)}
    texts = dict(_split(word, settings, manifest.model) for word in overrides)
    values = {}
    for name, setting in settings.items():
        trained = manifest.hyper_parameters.get(name) if setting.is_inherited else None
        value = texts.get(name, setting.default if trained is None else trained)
        values[name] = _number(name, value, setting)
    return values


def _split(word: str, settings: Mapping[str, Setting], model: str) -> tuple[str, str]:
    name, separator, text = word.partition('=')
    known = [name for name, setting in settings.items() if not setting.is_fixed]
    if not separator or name not in known:
        msg = f'{word!r} is no setting of a retraining of {model}; give KEY=VALUE with one of: '
        raise ConfigError(msg + ', '.join(known))
    return name, text


def _number(name: str, value: Any, setting: Setting) -> float:
    whole = isinstance(setting.default, int)
    try:
        number = int(value) if whole else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None or not setting.minimum <= number <= setting.maximum:
        kind = 'a whole number' if whole else 'a number'
        msg = f'{name} is {value!r}, expected {kind}, {setting.minimum:g} to {setting.maximum:g}'
        raise ConfigError(msg)
    return number
