# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The command that follows the one that just ended, whole, as a shell runs it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import shlex
from typing import Any

from adet_core.errors import AdetError


def next_command(
    name: str, *positional: object, carry: argparse.Namespace | None = None, **options: object
) -> str:
    """One line with every option that differs from its default, quoted where a shell needs it.

    Args:
        name: Of the subcommand.
        *positional: Its arguments without a flag.
        carry: Options of the command that just ended; those that the next one has, too, go along.
        **options: Further options, by the name that ``argparse`` gives them.

    Raises:
        ValueError: The command has no such option.
    """
    words = ['adet', name, *map(str, positional)]
    declared = _declared(name)
    if declared is None:
        # Its package is not installed here; then it runs where it is.
        for key, value in options.items():
            words += [f'--{key.replace("_", "-")}', str(value)]
        return shlex.join(words)
    for action in declared:
        value = options.pop(action.dest, getattr(carry, action.dest, action.default))
        words += _words(action, value)
    if options:
        msg = f'adet {name} has no option {", ".join(options)}'
        raise ValueError(msg)
    return shlex.join(words)


def _declared(name: str) -> list[argparse.Action] | None:
    """The options of a command, in the order of its help; None if it is not installed here."""
    from adet_core.cli import load_command

    parser = argparse.ArgumentParser(add_help=False)
    try:
        load_command(name).add_arguments(parser)
    except AdetError:
        return None
    return [action for action in parser._actions if action.option_strings]  # noqa: SLF001


def _words(action: argparse.Action, value: Any) -> Iterator[str]:
    if value is None or value == action.default:
        return
    flag = action.option_strings[0]
    if action.nargs == 0:
        yield flag
        return
    for one in value if isinstance(value, list | tuple) else [value]:
        text = str(one)
        # A value that looks like an option has to be tied to its flag.
        yield from [f'{flag}={text}'] if text.startswith('-') else [flag, text]
