# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Hyper-parameters in words, from the dataclasses that declare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, MISSING
import inspect
import re
from typing import Any, get_type_hints, NamedTuple

from adet_training.parameters import Parameters

_WORDS = {
    int: 'whole number',
    float: 'number',
    bool: 'true or false',
    str: 'text',
    int | str: 'whole number or text',
    tuple[str, ...]: 'names separated by commas',
    # Of a model of Anomalib, which checks it itself.
    Any: 'YAML',
}


class Described(NamedTuple):
    """A hyper-parameter.

    Attributes:
        name: As ``--set`` takes it.
        type: In words.
        default: As ``--set`` takes it; empty for an empty text or list.
        meaning: What it is, and its range.
    """

    name: str
    type: str
    default: str
    meaning: str


def describe_parameters(kind: type[Parameters]) -> list[Described]:
    """The hyper-parameters of a model, its own first, then those every model has."""
    meanings: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        meanings.update(_attributes(one.__doc__ or ''))
    shared = {field.name for field in fields(Parameters)}
    hints = get_type_hints(kind)
    ordered = sorted(fields(kind), key=lambda field: field.name in shared)
    return [
        Described(
            field.name,
            _WORDS[hints[field.name]],
            _text(field.default if field.default is not MISSING else ''),
            meanings.get(field.name, ''),
        )
        for field in ordered
    ]


def described_lines(parameters: Sequence[Described]) -> list[str]:
    """The same for a terminal: a line with name, type and default, and the meaning below."""
    lines = []
    for one in parameters:
        lines.append(f'{one.name} ({one.type}; default: {one.default or "empty"})')
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
