# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Strict JSON values to frozen dataclasses: what is not declared is refused, with its place.

msgspec saves 1 ms per bundle, but lets unknown fields of dataclasses pass, knows no checks such as
`adet_core.folder.check_name`, and does not say the value that is wrong; so this is our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, MISSING
import json
import math
from reprlib import repr as brief
import types
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints, TypeVar, Union

T = TypeVar('T')


def parse_json(data: bytes) -> Any:
    """What a JSON text in UTF-8 holds.

    Raises:
        ValueError: It is not JSON (or nested beyond all reason), a number is not finite, or a
            text holds half of a UTF-16 pair, which nothing could print or send.
    """
    try:
        values = json.loads(data.decode(), parse_constant=_finite, parse_float=_finite)
        if b'\\ud' in data.lower():
            json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        msg = f'not valid JSON ({error})'
        raise ValueError(msg) from None
    return values


def decode(kind: type[T], values: object, place: str = '') -> T:
    """Build dataclass ``kind`` from a JSON object, checking every field's type.

    Args:
        kind: A dataclass; its fields may be dataclasses, str, int, float, bool, Any,
            ``X | None``, ``dict[str, X]``, ``tuple[X, ...]`` and ``tuple[X, Y, Z]``; or
            ``Annotated[X, check]``, where ``check`` returns the value or raises ValueError.
        values: What ``json.loads`` gave.
        place: Dotted name of this object, for messages.

    Raises:
        ValueError: A field is missing, unknown or of another type; names the field.
    """
    given = _expect(dict, values, place or 'the whole file')
    hints = get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(cast('Any', kind))}
    if unknown := sorted(given.keys() - known.keys()):
        msg = f'unknown field {_at(place, unknown[0])!r:.100}'
        raise ValueError(msg)
    arguments = {}
    for name, field in known.items():
        if name in given:
            arguments[name] = _value(hints[name], given[name], _at(place, name))
        elif field.default is MISSING and field.default_factory is MISSING:
            msg = f'field {_at(place, name)!r} is missing'
            raise ValueError(msg)
    return kind(**arguments)


def _value(hint: Any, value: object, place: str) -> Any:  # noqa: PLR0911 - one for each kind
    """One JSON value as type ``hint``; the dispatch follows the list in `decode`."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return decode(cast('type[Any]', hint), value, place)
    if origin is Annotated:
        return _checked(hint.__metadata__[0], _value(inner[0], value, place), place)
    if origin in (types.UnionType, Union):
        return None if value is None else _value(inner[0], value, place)
    if origin is dict:
        entries = _expect(dict, value, place)
        return {
            _value(inner[0], key, place): _value(inner[1], entry, _at(place, key))
            for key, entry in entries.items()
        }
    if origin is tuple:
        return _tuple(inner, _expect(list, value, place), place)
    return _float(value, place) if hint is float else _expect(hint, value, place)


def _checked(check: Callable[[Any], Any], value: Any, place: str) -> Any:
    try:
        return check(value)
    except ValueError as error:
        msg = f'field {place!r:.100}: {error}'
        raise ValueError(msg) from None


def _float(value: object, place: str) -> float:
    try:
        return float(_expect((int, float), value, place))
    except OverflowError:
        msg = f'field {place!r} is {brief(value)}, which is too large'
        raise ValueError(msg) from None


def _tuple(inner: tuple[Any, ...], values: list[Any], place: str) -> tuple[Any, ...]:
    kinds = [inner[0]] * len(values) if inner[-1] is Ellipsis else list(inner)
    if len(kinds) != len(values):
        msg = f'field {place!r} has {len(values)} values, expected {len(kinds)}'
        raise ValueError(msg)
    return tuple(
        _value(kind, value, f'{place}[{index}]')
        for index, (kind, value) in enumerate(zip(kinds, values, strict=True))
    )


def _expect(kind: Any, value: Any, place: str) -> Any:
    # bool is an int in Python, but a flag where a number belongs is a damaged file.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = kind if isinstance(kind, tuple) else (kind,)
        expected = ' or '.join(name.__name__ for name in names)
        msg = f'field {place!r} is {brief(value)}, expected {expected}'
        raise ValueError(msg)
    return value


def _finite(text: str) -> float:
    """A number of the text; Python's reader would let NaN, Infinity and 1e999 pass."""
    number = float(text)
    if not math.isfinite(number):
        msg = f'{text:.60} is not a finite number'
        raise ValueError(msg)
    return number


def _at(place: str, name: str) -> str:
    return f'{place}.{name}' if place else name
