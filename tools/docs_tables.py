#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of the documentation anew from the sources.

A page holds a table between two comments, and what is between them is written by this script:

    <!-- table: options DetectorOptions -->
    ...
    <!-- end of table -->

    fields CLASS       fields of a dataclass that is a file on disk
    options CLASS      ROS parameters or launch arguments, declared with `adet.parameters.option`
    parameters CLASS   hyper-parameters that a class declares itself
    columns CLASS      the same as fields, by name alone
    commands           options of every subcommand of adet
    topics             topics of the nodes; services: their services and actions
    interfaces         fields of every message, service and action

Without options it rewrites the pages; with --check it names the stale ones and exits with 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import importlib
from pathlib import Path
import re
import sys

from docs_sources import (
    DocsError,
    endpoints,
    entries_of,
    Entry,
    interfaces,
    modules,
    PACKAGE_ROOTS,
    REQUIRED,
    ROOT,
)

PAGES = sorted([*ROOT.glob('docs/**/*.md'), *ROOT.glob('*.md')])
_BLOCK = re.compile(
    r'(?P<head><!-- table: (?P<kind>\w+) ?(?P<name>\w*) -->\n).*?(?=<!-- end of table -->)',
    re.DOTALL,
)
_JSON_TYPES = {
    'str': 'string',
    'Name': 'string',
    'Url': 'string',
    'int': 'integer',
    'Count': 'integer',
    'Port': 'integer',
    'float': 'number',
    'Seconds': 'number',
    'bool': 'boolean',
}
_PROFILES = {
    'every_frame': 'every frame',
    'newest_only': 'newest only',
    'latched': 'latched',
    'any_camera': 'any camera',
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown; a cell may hold anything but line breaks."""
    lines = [head, ['---'] * len(head), *([_cell(text) for text in row] for row in rows)]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _cell(text: str) -> str:
    """Text that is neither a border of the table nor, outside of code, a tag."""
    parts = text.replace('|', '\\|').split('`')
    parts[::2] = [part.replace('<', '&lt;') for part in parts[::2]]
    return '`'.join(parts)


def code(text: str) -> str:
    """Text in the font of code, except words about values."""
    return text if text in ('', REQUIRED, 'empty', 'null') else f'`{text}`'


def json_type(annotation: str) -> str:
    """How a page writes the type of a field on disk."""
    if annotation.endswith(' | None'):
        return f'{json_type(annotation[: -len(" | None")])} or null'
    if found := re.fullmatch(r'tuple\[(\w+)(?:, \1)*, ?(?:\.\.\.|\1)\]', annotation):
        count = '' if '...' in annotation else f'{annotation.count(found[1])} '
        return f'list of {count}{json_type(found[1])}{"s" if count else ""}'
    if found := re.fullmatch(r'dict\[str, (.+)\]', annotation):
        return 'object' if found[1] == 'Any' else f'object of {json_type(found[1])}'
    if annotation.startswith('Mapping'):
        return json_type(annotation.replace('Mapping', 'dict', 1))
    return _JSON_TYPES.get(annotation, annotation)


def described(name: str, entries: list[Entry]) -> list[Entry]:
    """The entries.

    Raises:
        DocsError: The source does not say what one of them means.
    """
    for entry in entries:
        if not entry.meaning:
            raise DocsError(f'{name}.{entry.name} has no description in its source')
    return entries


def fields_table(name: str) -> str:
    """Fields of a file on disk; those with a default may be absent."""
    rows = [
        [
            code(entry.name),
            json_type(entry.type),
            entry.meaning.replace('None', 'null') + _default(entry),
        ]
        for entry in described(name, entries_of(name))
    ]
    return table(['field', 'type', 'meaning'], rows)


def _default(entry: Entry) -> str:
    return '' if entry.default == REQUIRED else f'. Default: {code(entry.default)}'


def columns_table(name: str) -> str:
    """Names and meanings of fields."""
    rows = [[code(e.name), e.meaning] for e in described(name, entries_of(name))]
    return table(['name', 'meaning'], rows)


def options_table(name: str) -> str:
    """ROS parameters or launch arguments."""
    rows = [
        [code(e.name), e.type, code(e.default), e.meaning]
        for e in described(name, entries_of(name))
    ]
    return table(['name', 'type', 'default', 'meaning'], rows)


def parameters_table(name: str) -> str:
    """Hyper-parameters of a model, without those every model has."""
    shared = entries_of('Parameters') if name != 'Parameters' else []
    told = {entry.name: entry.meaning for entry in shared}
    rows = [
        [code(e.name), code(e.default), e.meaning or told.get(e.name, '')]
        for e in entries_of(name, inherited=False)
    ]
    if missing := [row[0] for row in rows if not row[2]]:
        raise DocsError(f'{name}: no description of {", ".join(missing)} in its source')
    return table(['hyper-parameter', 'default', 'meaning'], rows)


def topics_table(_: str) -> str:
    """Topics with who publishes and who reads them."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for end in endpoints():
        if end.kind in ('publisher', 'subscription'):
            profiles = ' or '.join(_PROFILES[name] for name in end.qos) or 'reliable, depth 10'
            sides = found.setdefault((end.topic, end.type), {})
            who = end.node if end.node == 'every node' else code(end.node)
            sides.setdefault(end.kind, []).append(f'{who} ({profiles})')
    rows = [
        [
            code(topic),
            code(kind),
            ', '.join(sides.get('publisher', [])),
            ', '.join(sides.get('subscription', [])),
        ]
        for (topic, kind), sides in sorted(found.items())
    ]
    return table(['topic', 'type', 'published by', 'read by'], rows)


def services_table(_: str) -> str:
    """Services and actions with the node that offers them."""
    rows = [
        [code(end.topic), code(end.type), code(end.node)]
        for end in endpoints()
        if end.kind in ('service', 'action')
    ]
    return table(['name', 'type', 'node'], rows)


def interfaces_table(_: str) -> str:
    """A table for each message, service and action."""
    parts = []
    for name, fields in interfaces().items():
        head = {1: [''], 2: ['request', 'response'], 3: ['goal', 'result', 'feedback']}
        rows = [
            [*([where] if where else []), code(e.name), code(e.type), e.meaning]
            for where, entries in zip(head[len(fields)], fields, strict=True)
            for e in entries
        ]
        columns = (
            ['field', 'type', 'meaning'] if len(fields) == 1 else ['', 'field', 'type', 'meaning']
        )
        parts.append(f'### {name.rpartition("/")[2]}\n\n`{name}`\n\n{table(columns, rows)}')
    return '\n'.join(parts)


def commands_table(_: str) -> str:
    """A section for each subcommand, from its own parser.

    Raises:
        ModuleNotFoundError: A package that a command's parser needs is not installed.
    """
    sys.path[:0] = [str(root) for root in PACKAGE_ROOTS]
    found = {
        path.stem.replace('_', '-'): path
        for path, tree in modules().items()
        if path.parent.name == 'cli' and 'EXAMPLE' in {_target(node) for node in tree.body}
    }
    return '\n'.join(_command(name, found[name]) for name in sorted(found))


def _target(node: object) -> str:
    targets = getattr(node, 'targets', [])
    return getattr(targets[0], 'id', '') if targets else ''


def _command(name: str, path: Path) -> str:
    root = next(root for root in reversed(PACKAGE_ROOTS) if path.is_relative_to(root))
    module = importlib.import_module('.'.join(path.relative_to(root).with_suffix('').parts))
    parser = argparse.ArgumentParser(prog=f'adet {name}', add_help=False)
    module.add_arguments(parser)
    rows = [_argument(action) for action in parser._actions if action.help != argparse.SUPPRESS]  # noqa: SLF001
    text = f'### adet {name}\n\n{module.HELP[0].upper()}{module.HELP[1:]}.\n'
    return f'{text}Example: `{module.EXAMPLE}`\n\n{table(["option", "default", "meaning"], rows)}'


def _argument(action: argparse.Action) -> list[str]:
    """One row: an option or positional argument, its default and its meaning."""
    placeholder = str(action.metavar or _choices(action) or action.dest.upper())
    name = placeholder
    if action.option_strings:
        name = action.option_strings[0] + ('' if action.nargs == 0 else f' {placeholder}')
    given = '' if action.default in (None, '', []) or action.nargs == 0 else str(action.default)
    meaning = (action.help or '').replace('%%', '%')
    # Help texts say a default in several ways; it has a column of its own here.
    meaning = re.sub(r' \((?:default:? )?%\(default\)\w(?:[,:] )?([^)]*)\)', r' (\1)', meaning)
    if found := re.search(r' \(default:? ([^)]*)\)', meaning):
        given = given or found[1]
        meaning = meaning.replace(found[0], '')
    return [
        code(name),
        REQUIRED if action.required else code(given),
        meaning.replace(' ()', ''),
    ]


def _choices(action: argparse.Action) -> str:
    return '|'.join(map(str, action.choices or ()))


TABLES: dict[str, Callable[[str], str]] = {
    'fields': fields_table,
    'columns': columns_table,
    'options': options_table,
    'parameters': parameters_table,
    'topics': topics_table,
    'services': services_table,
    'interfaces': interfaces_table,
    'commands': commands_table,
}


def renewed(page: Path) -> str:
    """The text of a page with its tables made anew.

    Raises:
        DocsError: A table cannot be made; the message names the page.
    """

    def fresh(found: re.Match[str]) -> str:
        try:
            # Blank lines, or Markdown takes the marks for rows.
            return f'{found["head"]}\n{TABLES[found["kind"]](found["name"])}\n'
        except KeyError:
            raise DocsError(f'{page}: no kind of table is called {found["kind"]}') from None
        except DocsError as error:
            raise DocsError(f'{page}: {error}') from None
        except ModuleNotFoundError as error:
            print(f'skipped: {page}: table of {found["kind"]}: {error}', file=sys.stderr)
            return found[0]

    return _BLOCK.sub(fresh, page.read_text(encoding='utf-8'))


def main() -> int:
    """Rewrite the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description='Write the tables of docs/ from the sources.')
    parser.add_argument(
        '--check', action='store_true', help='change nothing; exit with 1 if stale'
    )
    check = parser.parse_args().check
    try:
        stale = {
            page: text for page in PAGES if (text := renewed(page)) != page.read_text('utf-8')
        }
    except DocsError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for page, text in stale.items():
        if check:
            print(f'{page}: a table is stale; run tools/docs_tables.py', file=sys.stderr)
        else:
            page.write_text(text, encoding='utf-8')
            print(f'wrote {page}')
    return 1 if check and stale else 0


if __name__ == '__main__':
    sys.exit(main())
