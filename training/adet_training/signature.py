# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Hyper-parameters from the signature of somebody else's class."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, make_dataclass
from enum import Enum
import inspect
import re
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from adet_training.parameters import Parameters

_SIMPLE = (bool, int, float, str)
_ARGUMENT = re.compile(r'^ {4}(\w+)\b[^:\n]*:(.*(?:\n {8}.*)*)', re.MULTILINE)
_DEFAULT = re.compile(r'\s*(Defaults? (to|is)|Default:).*', re.DOTALL)


def parameters_of(
    kind: type,
    name: str,
    *,
    without: Collection[str],
    defaults: Mapping[str, Any],
    base: type[Parameters] = Parameters,
) -> type[Parameters]:
    """A dataclass of hyper-parameters with the arguments of a class.

    Args:
        kind: The class.
        name: Of the dataclass.
        without: Arguments that are left out.
        defaults: Defaults that replace the class's own.
        base: What it inherits from; an argument that it has, too, is left out.
    """
    fields = []
    for argument in inspect.signature(kind).parameters.values():
        if argument.name in without or argument.name in base.__dataclass_fields__:
            continue
        if argument.default is argument.empty:
            continue
        hint = _hint(_annotation(kind, argument), argument.default)
        default = defaults.get(argument.name, argument.default)
        fields.append((argument.name, hint, field(default=_frozen(default, hint))))
    for key, value in defaults.items():
        if key in base.__dataclass_fields__:
            fields.append((key, get_type_hints(base)[key], field(default=value)))
    made = make_dataclass(name, fields, bases=(base,), frozen=True, kw_only=True)
    made.__doc__ = _doc(kind, name, [key for key, *_ in fields])
    return made


def _annotation(kind: type, argument: inspect.Parameter) -> Any:
    try:
        return get_type_hints(kind.__init__).get(argument.name, Any)  # type: ignore[misc]
    except (NameError, TypeError):
        # A name that exists for type checkers alone.
        return type(argument.default)


def _hint(annotation: Any, default: Any) -> Any:
    """One of the types that `adet_training.parameters.make_parameters` checks.

    A value of any other type is the model's to check.
    """
    kinds = [one for one in get_args(annotation) or (annotation,) if one is not NoneType]
    if annotation in _SIMPLE:
        return annotation
    if get_origin(annotation) in (Sequence, list, tuple) and kinds[0] is str:
        return tuple[str, ...]
    if isinstance(default, str):
        # One of a few words, often an enumeration's.
        return str
    return Any


def _frozen(value: Any, hint: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    return tuple(value) if hint == tuple[str, ...] or isinstance(value, list) else value


def _doc(kind: type, name: str, names: Sequence[str]) -> str:
    """A docstring like those of adet's own, from the class's."""
    said = dict(_ARGUMENT.findall(inspect.getdoc(kind) or ''))
    lines = [f'Hyper-parameters of {name}.', '', 'Attributes:']
    for key in names:
        text = ' '.join(_DEFAULT.sub('', said.get(key, '')).replace('``', '`').split())
        lines.append(f'    {key}: {text or "See Anomalib."}')
    return '\n'.join(lines)
