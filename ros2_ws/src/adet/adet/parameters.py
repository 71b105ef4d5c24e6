# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Options written once, as a dataclass: ROS parameters, launch arguments and command lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, field, fields, MISSING
from typing import Any, cast, TypeVar

from adet_core.errors import ConfigError

T = TypeVar('T')

_TRUE, _FALSE = ('true', '1', 'yes', 'on'), ('false', '0', 'no', 'off')


def option(
    description: str,
    *,
    default: Any = MISSING,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A dataclass field with what people need to know of it.

    Args:
        description: One sentence, with the unit.
        default: Its value when nothing is given; without one the option is required.
        minimum: Smallest number allowed.
        maximum: Largest number allowed.
        choices: The only texts allowed; empty allows all.
    """
    metadata = {
        'description': description,
        'minimum': minimum,
        'maximum': maximum,
        'choices': tuple(choices),
    }
    if isinstance(default, list):
        values = tuple(default)
        return field(default_factory=lambda: list(values), metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(kind: type[Any]) -> tuple[Field[Any], ...]:
    """The options of a dataclass, in order."""
    return fields(kind)


def default_of(spec: Field[Any]) -> Any:
    """An option's default; None if it is required."""
    if spec.default_factory is not MISSING:
        return spec.default_factory()
    return None if spec.default is MISSING else spec.default


def default_text(spec: Field[Any]) -> str | None:
    """An option's default as `from_texts` reads it; None if it is required."""
    default = default_of(spec)
    return None if default is None else to_text(default)


def to_text(value: Any) -> str:
    """An option's value as `from_texts` reads it."""
    if isinstance(value, list):
        return ','.join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def from_texts(kind: type[T], texts: Mapping[str, str]) -> T:
    """Build a dataclass of options from texts, as launch arguments are.

    Raises:
        ConfigError: One is missing or not of its type; names it.
    """
    values: dict[str, Any] = {}
    for spec in options_of(kind):
        if spec.name in texts:
            values[spec.name] = _parse(spec, texts[spec.name])
        elif default_of(spec) is None:
            msg = f'{spec.name} is required: {spec.metadata["description"]}'
            raise ConfigError(msg)
    return checked(kind(**values))


def checked(values: T) -> T:
    """Check choices and ranges.

    Raises:
        ConfigError: A value is not allowed; names it and says what is.
    """
    for spec in options_of(type(values)):
        value, limits = getattr(values, spec.name), spec.metadata
        if limits['choices'] and value not in limits['choices']:
            msg = f'{spec.name} is {value!r}, expected one of: {", ".join(limits["choices"])}'
            raise ConfigError(msg)
        below = limits['minimum'] is not None and value < limits['minimum']
        if below or (limits['maximum'] is not None and value > limits['maximum']):
            msg = f'{spec.name} is {value!r}, expected {limits["minimum"]} to {limits["maximum"]}'
            raise ConfigError(msg)
    return values


def _parse(spec: Field[Any], text: str) -> Any:
    try:
        return _PARSERS[cast('str', spec.type)](text)
    except ValueError:
        msg = f'{spec.name} is {text!r}, expected {spec.type}: {spec.metadata["description"]}'
        raise ConfigError(msg) from None


def _truth(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(text)
    return word in _TRUE


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.strip('[] ').split(',')]


_PARSERS: dict[str, Callable[[str], Any]] = {
    'bool': _truth,
    'int': int,
    'float': float,
    'str': str,
    'list[float]': _numbers,
}
