# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The command ``adet``: finds its subcommands among the installed packages and runs one.

A subcommand is a module of this package, or one in the entry-point group ``adet.commands``, with

    HELP: str                                     one line for the list of commands
    EXAMPLE: str                                  one command line that works
    add_arguments(parser) -> None                 declares its options
    run(arguments) -> dict                        does the work; what ``--json`` prints
    show(result) -> None                          prints the same for people

Such a module imports heavy libraries only inside ``run``, so ``adet --help`` stays quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points, EntryPoint
import io
import json
import os
import re
import sys
from typing import Any, cast, Protocol

from adet_core import __version__
from adet_core.cli.config_file import has_config, read_config, use_config
from adet_core.errors import (
    AdetError,
    describe,
    did_you_mean,
    IncompleteError,
    is_debugging,
)

_TRAINING = 'the training package: pip install ./ros2_ws/src/adet_core ./training'
_EVALUATION = 'the evaluation package: pip install ./ros2_ws/src/adet_evaluation'
_SYNTH = 'the renderer: pip install ./training/adet_synth'
_FLEET = 'the fleet package: pip install ./ros2_ws/src/adet_fleet'
_ROS = 'the ROS packages: build ros2_ws with colcon and source it'
_GROUP = 'adet.commands'
# Commands of this package.
_OWN = ('deploy', 'doctor', 'learn', 'list', 'retrain', 'threshold')
# Commands of the packages that may be absent, and what to install then.
_ELSEWHERE = {
    'evaluate': _EVALUATION,
    'record': _EVALUATION,
    'runs': _EVALUATION,
    'synth': _SYNTH,
    'batch': _TRAINING,
    'train': _TRAINING,
    'tune': _TRAINING,
    'distill': _TRAINING,
    'export': _TRAINING,
    'fetch': _FLEET,
    'keygen': _FLEET,
    'publish': _FLEET,
    'console-password': _ROS,
    'health': _ROS,
    'inspect': _ROS,
    'mark': _ROS,
    'models': _TRAINING,
    'retrain-goal': _ROS,
    'serve': _ROS,
}


class Command(Protocol):
    """What a subcommand's module offers; see above."""

    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare options."""

    def run(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Do the work."""

    def show(self, result: dict[str, Any]) -> None:
        """Print the result for people."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``adet``.

    Args:
        argv: The words after ``adet``; None takes them from the process.

    Returns:
        0; 1 after an error, whose one line is on standard error; 130 when interrupted. Wrong
        usage exits with 2.

    Raises:
        Exception: An unexpected one, if ADET_DEBUG=1 or ``--debug`` asks for its traceback.
    """
    # Not list(), which is a subcommand's module here.
    words = [*(sys.argv[1:] if argv is None else argv)]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file may be called what the terminal cannot show.
            stream.reconfigure(errors='backslashreplace')
    try:
        _run(_parse(words))
    except BrokenPipeError:
        # Whoever read the output, e.g. ``head``, has enough; nothing is to be flushed any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    # The one place where errors become a line: whatever happens, people get no traceback.
    except Exception as error:
        if not isinstance(error, (AdetError, OSError)) and (is_debugging() or '--debug' in words):
            raise
        print(f'error: {describe(error)}', file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if limit := getattr(arguments, 'max_megapixels', None):
        from adet_core.image import set_max_megapixels

        set_max_megapixels(limit)
    fault = None
    try:
        result = arguments.command.run(arguments)
    except IncompleteError as error:
        result, fault = error.result, error
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        arguments.command.show(result)
    sys.stdout.flush()
    if fault:
        raise fault


def _parse(words: list[str]) -> argparse.Namespace:
    # A child runs one of our own, and has no time for those of other packages, unless a file of
    # defaults may name their options.
    found = _own() if '--child' in words and not read_config()[1] else _installed()
    chosen = next((word for word in words if not word.startswith('-')), None)
    if chosen in _ELSEWHERE:
        _load_from(found, chosen)
    parser = argparse.ArgumentParser(
        prog='adet', usage='adet COMMAND ...', description='Visual inspection on ROS 2.'
    )
    if chosen and chosen not in found and (similar := did_you_mean(chosen, found)):
        parser.error(f'unknown command {chosen!r}{similar}')
    parser.add_argument('--version', action='version', version=f'adet {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND', prog='adet')
    parsers = {}
    # One module of many, each with imports of its own; all only where they are told or asked for.
    alone = words[:1] == [chosen] and '_ARGCOMPLETE' not in os.environ and not has_config()
    for name in [chosen] if alone and chosen and chosen in found else sorted(found):
        try:
            command = _load(name, found[name])
        except AdetError:
            # One package that is not whole leaves the commands of the others alone.
            if name == chosen:
                raise
            continue
        subparser = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            epilog=f'example: {command.EXAMPLE}',
        )
        subparser.add_argument('--json', action='store_true', help='print one JSON object last')
        subparser.add_argument(
            '--debug', action='store_true', help='show the traceback of an unexpected error'
        )
        subparser.set_defaults(command=command)
        command.add_arguments(subparser)
        parsers[name] = subparser
    _complete(parser)
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2)
    use_config(parsers, _ELSEWHERE)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        known = re.findall(r'--[\w-]+', parsers[chosen or ''].format_usage())
        flag = unknown[0].partition('=')[0]
        parser.error(f'unrecognized arguments: {" ".join(unknown)}{did_you_mean(flag, known)}')
    return arguments


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks what a word may be, and end; else do nothing."""
    if '_ARGCOMPLETE' not in os.environ:
        return
    try:
        import argcomplete
    except ModuleNotFoundError:
        return
    argcomplete.autocomplete(parser)


def installed_commands() -> list[str]:
    """The names of the subcommands that are installed, sorted."""
    return sorted(_installed())


def missing_commands() -> dict[str, list[str]]:
    """What would have to be installed, and which subcommands that brings."""
    found = _installed()
    missing: dict[str, list[str]] = {}
    for name, needs in _ELSEWHERE.items():
        if name not in found:
            missing.setdefault(needs, []).append(name)
    return missing


def load_command(name: str) -> Command:
    """The module of a subcommand.

    Raises:
        AdetError: It is not installed; says what to install.
    """
    return _load_from(_installed(), name)


def _load_from(found: Mapping[str, Any], name: str) -> Command:
    if name not in found:
        msg = f'adet {name} needs {_ELSEWHERE.get(name, "a complete installation of adet")}'
        raise AdetError(msg)
    return _load(name, found[name])


def _installed() -> dict[str, Any]:
    return {**_own(), **{entry.name: entry for entry in entry_points(group=_GROUP)}}


def _own() -> dict[str, Any]:
    return {name: EntryPoint(name, f'{__name__}.{name}', _GROUP) for name in _OWN}


def _load(name: str, entry: Any) -> Command:
    try:
        return cast('Command', entry.load())
    # Not only a module that is missing: a library that is broken fails in ways of its own.
    except Exception as error:  # noqa: BLE001
        needs = _ELSEWHERE.get(name, 'a complete installation of adet')
        msg = f'adet {name} cannot be loaded ({error}); it needs {needs}'
        raise AdetError(msg) from None
