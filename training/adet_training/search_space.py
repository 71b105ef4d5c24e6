# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which hyper-parameters ``adet tune`` tries: ``search_space.yaml``.

A mapping of hyper-parameter to what it may be:

    n_features: {low: 50, high: 200, step: 10}      a whole number
    learning_rate: {low: 0.0001, high: 0.01, log: true}
    layers: {choices: ['blocks.1,blocks.2', 'blocks.2,blocks.4']}
    image_size: 256                                 always this
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adet_core.errors import ConfigError
from adet_training.parameters import make_parameters, Parameters, read_yaml

if TYPE_CHECKING:
    from optuna import Trial

Space = Mapping[str, Any]

_RANGE = {'low', 'high', 'step', 'log'}


def default_search_space(model: str) -> Path:
    """The file that comes with adet for a model."""
    return Path(__file__).parent / 'spaces' / f'{model}.yaml'


def read_search_space(path: Path, kind: type[Parameters]) -> Space:
    """Read and check a search space: every value it can give is one that the model takes.

    Args:
        path: A YAML file.
        kind: The model's hyper-parameters.

    Raises:
        ConfigError: The file is missing or wrong; names the parameter.
    """
    space = read_yaml(path, 'no such search space; name one with --search-space FILE')
    if not isinstance(space, dict) or not space:
        msg = f'{path}: expected hyper-parameters and what they may be'
        raise ConfigError(msg)
    for name, entry in space.items():
        try:
            for value in _extremes(entry):
                make_parameters(kind, {name: value})
        except ConfigError as error:
            msg = f'{path}: {name}: {error}'
            raise ConfigError(msg) from None
    return space


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """One value for each hyper-parameter."""
    return {name: _suggest(trial, name, entry) for name, entry in space.items()}


def _suggest(trial: Trial, name: str, entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    if 'choices' in entry:
        return trial.suggest_categorical(name, entry['choices'])
    whole = isinstance(entry['low'], int) and isinstance(entry['high'], int)
    kind = trial.suggest_int if whole else trial.suggest_float
    return kind(name, **entry)


def _extremes(entry: Any) -> list[Any]:
    """The values to try out: all of the choices, or both ends.

    Raises:
        ConfigError: The entry is of no known form.
    """
    if not isinstance(entry, dict):
        return [entry]
    if set(entry) == {'choices'}:
        choices = entry['choices']
        if isinstance(choices, list) and choices and all(map(_is_plain, choices)):
            return choices
    elif {'low', 'high'} <= set(entry) <= _RANGE and _is_range(entry):
        return [entry['low'], entry['high']]
    msg = (
        'expected a value, {choices: [...]} of plain values, or '
        '{low: ..., high: ..., step: ... or log: true}'
    )
    raise ConfigError(msg)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _is_range(entry: Mapping[str, Any]) -> bool:
    low, high, log = entry['low'], entry['high'], entry.get('log', False)
    step = entry.get('step', 1)
    numbers = (low, high, step)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
        return False
    if not low < high or step <= 0:
        return False
    # Optuna takes no steps on a logarithmic scale, which has no 0 either.
    return log is False or (log is True and 'step' not in entry and low > 0)
