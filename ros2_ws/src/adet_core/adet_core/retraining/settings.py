# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a retraining goes by: the values the bundle was trained with, unless somebody says else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from adet_core.bundle import Manifest
from adet_core.errors import ConfigError

MODES = ('incremental', 'full')


class _Setting(NamedTuple):
    default: float
    minimum: float
    maximum: float


_SETTINGS = {
    'held_out': _Setting(0.2, 0.01, 0.9),
    'false_reject_rate': _Setting(0.01, 1e-6, 0.5),
    'confidence': _Setting(0.95, 0.5, 0.999999),
    'uncertain_rate': _Setting(0.0, 0.0, 0.5),
    'max_auroc_loss': _Setting(0.01, 0.0, 1.0),
    'keep': _Setting(5, 1, 1000),
    'seed': _Setting(0, 0, 2**32 - 1),
    # One false alarm among many images would hardly move PaDiM's Gaussians.
    'marked_weight': _Setting(10, 1, 1000),
    'coreset_ratio': _Setting(0.1, 1e-6, 1.0),
    'max_bank': _Setting(10_000, 1, 1_000_000),
    'num_neighbors': _Setting(9, 1, 64),
    # 0: the model's own number for a retraining.
    'steps': _Setting(0, 0, 1_000_000),
}
# How many neighbours the graph looks at, it was exported with.
_FIXED = ('num_neighbors',)
# The many steps of a training are not what a robot has time for.
_NOT_INHERITED = ('steps',)


def retrain_settings(manifest: Manifest, overrides: Sequence[str]) -> dict[str, Any]:
    """Settings by name; whole numbers are int.

    Args:
        manifest: Of the bundle that is retrained.
        overrides: ``KEY=VALUE`` words.

    Raises:
        ConfigError: A word names no setting, or its value is not allowed.
    """
    texts = dict(_split(word) for word in overrides)
    values = {}
    for name, setting in _SETTINGS.items():
        trained = None if name in _NOT_INHERITED else manifest.hyper_parameters.get(name)
        value = texts.get(name, setting.default if trained is None else trained)
        values[name] = _number(name, value, setting)
    return values


def _split(word: str) -> tuple[str, str]:
    name, separator, text = word.partition('=')
    known = [name for name in _SETTINGS if name not in _FIXED]
    if not separator or name not in known:
        msg = f'{word!r} is no setting of a retraining; give KEY=VALUE with one of: '
        raise ConfigError(msg + ', '.join(known))
    return name, text


def _number(name: str, value: Any, setting: _Setting) -> float:
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
