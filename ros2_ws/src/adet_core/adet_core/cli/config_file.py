# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet.toml``: defaults of options, for all commands and for single ones.

    models_root = "/opt/models"        # wherever a command has --models-root

    [train]                            # adet train alone
    model = "patchcore"
    set = ["image_size=320"]

The command line goes before the command's table, that before the top of the file, and this before
the defaults of the commands. The file is ``adet.toml`` in the present folder, or the one that
ADET_CONFIG names.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import os
from pathlib import Path
from typing import Any

from adet_core.errors import ConfigError, did_you_mean
from adet_core.folder import open_regular

FILE, VARIABLE = 'adet.toml', 'ADET_CONFIG'
_LARGEST_FILE = 1 << 20
# What no file decides: the first belongs to argparse, the others to one run.
_NOT_HERE = {'help', 'json', 'debug'}


def has_config() -> bool:
    """Whether there is a file, or should be one."""
    return bool(os.environ.get(VARIABLE)) or Path(FILE).exists()


def read_config() -> tuple[Path, dict[str, Any]]:
    """The file and what it holds; nothing where there is none.

    Raises:
        ConfigError: It cannot be read or is no TOML, or ADET_CONFIG names none.
    """
    named = os.environ.get(VARIABLE, '')
    path = Path(named or FILE)
    try:
        with open_regular(path) as file:
            data = file.read(_LARGEST_FILE)
    except FileNotFoundError:
        if named:
            raise ConfigError(f'{path}: no such file; {VARIABLE} names it') from None
        return path, {}
    except OSError as error:
        raise ConfigError(f'{path}: {error.strerror}') from None
    return path, _parse(path, data)


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:
        try:
            import tomli as tomllib
        except ModuleNotFoundError:
            msg = f'{path}: to read it, Python 3.10 needs tomli: pip install tomli'
            raise ConfigError(msg) from None
    try:
        values: dict[str, Any] = tomllib.loads(data.decode())
    except ValueError as error:
        raise ConfigError(f'{path}: not TOML ({error})') from None
    return values


def use_config(
    parsers: Mapping[str, argparse.ArgumentParser], elsewhere: Mapping[str, str]
) -> None:
    """Make what the file says the defaults of the commands' options.

    Args:
        parsers: Of the commands, by name.
        elsewhere: Commands that are not installed here; their tables are left alone.

    Raises:
        ConfigError: A key is no option, or a value is not one of it; names the closest.
    """
    path, values = read_config()
    options = {name: _options(parser) for name, parser in parsers.items()}
    every = {key for one in options.values() for key in one}
    for key, value in values.items():
        if isinstance(value, dict) and key in options:
            _check_known(path, value, options[key], f'[{key}] ')
        elif not (isinstance(value, dict) and key in elsewhere):
            _check_known(path, [key], {*every, *options}, '')
    for name, parser in parsers.items():
        shared = {key: value for key, value in values.items() if key in options[name]}
        own = values.get(name, {})
        for key, value in {**shared, **(own if isinstance(own, dict) else {})}.items():
            _set_default(parser, options[name][key], value, f'{path}: {key}')


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {
        action.dest: action
        for action in parser._actions  # noqa: SLF001 - argparse has no other list of them
        if action.option_strings and action.dest not in _NOT_HERE
    }


def _check_known(path: Path, given: Any, known: Any, table: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f'{path}: {table}{key} is no option{did_you_mean(key, known)}')


def _set_default(
    parser: argparse.ArgumentParser, action: argparse.Action, value: Any, place: str
) -> None:
    """Turn a value of the file into what the command line would have made of it.

    Raises:
        ConfigError: The option does not take it.
    """
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigError(f'{place} is {value!r}, expected true or false')
        chosen = action.const if value else action.default
    elif isinstance(action.default, list) or isinstance(value, list):
        if not (isinstance(value, list) and _takes_several(action)):
            raise ConfigError(f'{place} is {value!r}, expected {_kind(action)}')
        chosen = [_converted(action, one, place) for one in value]
    else:
        chosen = _converted(action, value, place)
    # What has a default need not be given.
    action.required = False
    parser.set_defaults(**{action.dest: chosen})


def _takes_several(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction)  # noqa: SLF001 - the class has no other name


def _kind(action: argparse.Action) -> str:
    return 'a list' if _takes_several(action) else 'one value'


def _converted(action: argparse.Action, value: Any, place: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(f'{place} is {value!r}, expected text or a number')
    convert: Any = action.type or str
    try:
        made = convert(str(value))
    except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
        raise ConfigError(f'{place} is {value!r}: {error}') from None
    if action.choices is not None and made not in action.choices:
        expected = ', '.join(map(str, action.choices))
        raise ConfigError(f'{place} is {value!r}, expected one of: {expected}')
    return made
