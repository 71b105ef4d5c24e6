# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which values a hyper-parameter takes: said once, for its check, its error and its help.

The type of a field names it: ``steps: Annotated[int, at_least(1)] = 400``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
import math
import re
from typing import Annotated, Any, get_type_hints, NamedTuple

from adet_core.errors import ConfigError

SIZE = 'a whole number, or WIDTHxHEIGHT such as 512x256'
"""What an image size is, for people."""


class Allowed(NamedTuple):
    """Which values a hyper-parameter takes, of those that have its type.

    Attributes:
        text: For people, after "expected".
        holds: Whether a value is one.
    """

    text: str
    holds: Callable[[Any], bool]


def within(low: float, high: float) -> Allowed:
    """Both ends are allowed."""
    return Allowed(f'{low} to {high}', lambda value: low <= value <= high)


def between(low: float, high: float) -> Allowed:
    """Neither end is allowed."""
    return Allowed(f'between {low} and {high}', lambda value: low < value < high)


def at_least(low: float) -> Allowed:
    """No upper end."""
    return Allowed(f'{low} or more', lambda value: low <= value < math.inf)


def above(low: float) -> Allowed:
    """The end is not allowed."""
    return Allowed(f'more than {low}', lambda value: low < value < math.inf)


def one_of(words: Collection[str]) -> Allowed:
    """One of a few words."""
    return Allowed(' or '.join(words), lambda value: value in words)


def edges(text: str, holds: Callable[[int], bool]) -> Allowed:
    """An image size, both edges of which hold."""
    return Allowed(text, lambda value: all(map(holds, edges_of(value))))


def edges_of(size: int | str) -> tuple[int, int]:
    """Height and width of an image size, in pixels.

    Raises:
        ConfigError: It is neither a number nor WIDTHxHEIGHT.
    """
    if isinstance(size, int):
        return size, size
    found = re.fullmatch(r'(\d{1,5})x(\d{1,5})', size)
    if found is None:
        raise ConfigError(f'image_size is {size!r}, expected {SIZE}')
    return int(found[2]), int(found[1])


Share = Annotated[float, between(0, 1)]


def limits_of(kind: type) -> dict[str, Allowed]:
    """What the fields of a dataclass allow, by name; a field that takes any value is left out.

    A field that is declared again, for another default, allows the same unless it says otherwise.
    """
    return {
        name: one
        for base in reversed(kind.__mro__)
        for name, hint in get_type_hints(base, include_extras=True).items()
        for one in getattr(hint, '__metadata__', ())
        if isinstance(one, Allowed)
    }


def check(holds: bool, name: str, value: object, expected: str) -> None:
    """Refuse an impossible value.

    Raises:
        ConfigError: ``holds`` is false.
    """
    if not holds:
        msg = f'{name} is {value!r}, expected {expected}'
        raise ConfigError(msg)
