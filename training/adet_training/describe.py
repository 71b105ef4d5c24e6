# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Hyper-parameters in words, from the dataclasses that declare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, MISSING
import inspect
import re
from typing import Any, get_type_hints, NamedTuple

from adet_training.limits import limits_of
from adet_training.parameters import Parameters, WORDS


class Described(NamedTuple):
    """A hyper-parameter.

    Attributes:
        name: As ``--set`` takes it.
        type: In words.
        allowed: Which values of that type; empty: all.
        default: As ``--set`` takes it; empty for an empty text or list.
        meaning: What it is.
    """

    name: str
    type: str
    allowed: str
    default: str
    meaning: str


def describe_parameters(kind: type[Parameters]) -> list[Described]:
    """The hyper-parameters of a model, its own first, then those every model has."""
    meanings: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        meanings.update(_attributes(one.__doc__ or ''))
    shared = {field.name for field in fields(Parameters)}
    hints, limits = get_type_hints(kind), limits_of(kind)
    ordered = sorted(fields(kind), key=lambda field: field.name in shared)
    return [
        Described(
            field.name,
            WORDS[hints[field.name]],
            limits[field.name].text if field.name in limits else '',
            _text(field.default if field.default is not MISSING else ''),
            meanings.get(field.name, ''),
        )
        for field in ordered
    ]


def described_lines(parameters: Sequence[Described]) -> list[str]:
    """The same for a terminal: name, type, range and default, and the meaning below."""
    lines = []
    for one in parameters:
        values = f'{one.type}, {one.allowed}' if one.allowed else one.type
        lines.append(f'{one.name} ({values}; default: {one.default or "empty"})')
        lines.append(f'    {one.meaning}')
    return lines


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)


def _attributes(docstring: str) -> dict[str, str]:
    """The section Attributes of a Google docstring: a description for each name."""
    _, _, section = inspect.cleandoc(docstring).partition('Attributes:\n')
    found = re.findall(r'^ {4}(\w+): (.+(?:\n {8}.+)*)', section, flags=re.M)
    return {name: ' '.join(text.split()).replace('``', '') for name, text in found}
