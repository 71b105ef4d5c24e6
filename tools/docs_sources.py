# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the sources say of options, fields, topics and messages, read without importing them.

Reading the syntax tree needs neither ROS nor torch, so the tables of the documentation can be
made and checked anywhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
import inspect
from pathlib import Path
import re

ROOT = Path(__file__).parents[1]
PACKAGE_ROOTS = (
    ROOT / 'ros2_ws' / 'src' / 'adet_core',
    ROOT / 'ros2_ws' / 'src' / 'adet_evaluation',
    ROOT / 'ros2_ws' / 'src' / 'adet',
    ROOT / 'ros2_ws' / 'src' / 'adet_console',
    ROOT / 'ros2_ws' / 'src' / 'adet_forwarder',
    ROOT / 'ros2_ws' / 'src' / 'adet_fleet',
    ROOT / 'training',
    ROOT / 'training' / 'adet_synth',
)
INTERFACES = ROOT / 'ros2_ws' / 'src' / 'adet_interfaces'
REQUIRED = 'required'
_LIMITS = ('minimum', 'maximum', 'choices')


class DocsError(Exception):
    """A table cannot be made from the sources; the message names the page or class."""


@dataclass(frozen=True)
class Entry:
    """One row of a table of fields or options.

    Attributes:
        name: Name of the field.
        type: Its annotation.
        default: Its default as people write it; `REQUIRED` if there is none.
        meaning: What the source says of it.
    """

    name: str
    type: str
    default: str
    meaning: str


@cache
def modules() -> dict[Path, ast.Module]:
    """The syntax trees of all packages, by file."""
    files = sorted(
        path
        for root in PACKAGE_ROOTS
        for path in root.glob('adet*/**/*.py')
        if 'build' not in path.relative_to(root).parts
    )
    return {path: ast.parse(path.read_text(encoding='utf-8')) for path in files}


@cache
def class_named(name: str) -> tuple[ast.ClassDef, ast.Module]:
    """The only class of a name, and the module it stands in.

    Raises:
        DocsError: There is none, or more than one.
    """
    found = [
        (node, tree)
        for tree in modules().values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    if len(found) != 1:
        raise DocsError(f'{len(found)} classes are called {name}, expected 1')
    return found[0]


def entries_of(name: str, *, inherited: bool = True) -> list[Entry]:
    """The fields of a dataclass, in the order of `dataclasses.fields`.

    Args:
        name: Name of the class.
        inherited: False leaves out what base classes declare.
    """
    node, tree = class_named(name)
    rows: dict[str, Entry] = {}
    if inherited:
        # As `dataclasses` has them: those of the last base first.
        for base in reversed(node.bases):
            rows.update((entry.name, entry) for entry in _of_base(base))
    told = _attributes(ast.get_docstring(node) or '')
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            field = statement.target.id
            kind = ast.unparse(statement.annotation)
            if not kind.startswith('ClassVar'):
                rows[field] = _entry(field, kind, statement.value, told.get(field, ''), tree)
    return list(rows.values())


def _of_base(base: ast.expr) -> list[Entry]:
    try:
        return entries_of(ast.unparse(base))
    except DocsError:
        return []  # a base from elsewhere, e.g. Protocol


def _entry(name: str, kind: str, value: ast.expr | None, meaning: str, tree: ast.Module) -> Entry:
    call = _resolved(value, tree)
    if not isinstance(call, ast.Call):
        return Entry(name, kind, _text(call), meaning)
    given = {word.arg: word.value for word in call.keywords}
    if ast.unparse(call.func) == 'field' and 'default_factory' in given:
        return Entry(name, kind, 'empty', meaning)
    if ast.unparse(call.func) != 'option':
        return Entry(name, kind, ast.unparse(call), meaning)
    said = ast.literal_eval(call.args[0]) + _limits(given)
    return Entry(name, kind, _text(_resolved(given.get('default'), tree)), said)


def _limits(given: dict[str | None, ast.expr]) -> str:
    """Ranges and choices of an option, as the end of its sentence."""
    values = {name: ast.literal_eval(given[name]) for name in _LIMITS if name in given}
    text = f'; one of: {", ".join(values["choices"])}' if 'choices' in values else ''
    return f'{text}; {values["minimum"]} to {values["maximum"]}' if 'maximum' in values else text


def _resolved(value: ast.expr | None, tree: ast.Module) -> ast.expr | None:
    """What a name stands for, or a function of options returns; other expressions as they are."""
    if isinstance(value, ast.Name):
        return _assigned(value.id, tree)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        for module in (tree, *modules().values()):
            for node in module.body:
                if isinstance(node, ast.FunctionDef) and node.name == value.func.id != 'option':
                    last = node.body[-1]
                    if isinstance(last, ast.Return) and isinstance(last.value, ast.Call):
                        return last.value
    return value


def _assigned(name: str, tree: ast.Module) -> ast.expr:
    for module in (tree, *modules().values()):
        for node in module.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                assert isinstance(node, ast.Assign)
                return node.value
    raise DocsError(f'nothing is assigned to {name}')


def _text(value: ast.expr | None) -> str:
    """A default as people write it."""
    if value is None:
        return REQUIRED
    try:
        literal = ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)
    if isinstance(literal, bool):
        return str(literal).lower()
    if literal is None:
        return 'null'
    if isinstance(literal, tuple):
        return ','.join(map(str, literal)) or 'empty'
    return str(literal) if literal != '' else 'empty'


def _attributes(docstring: str) -> dict[str, str]:
    """The section Attributes of a Google docstring: a description for each name."""
    parts = re.split(r'^Attributes:\n', inspect.cleandoc(docstring), maxsplit=1, flags=re.M)
    if len(parts) == 1:
        return {}
    section = re.split(r'^\S', parts[1], maxsplit=1, flags=re.M)[0]
    found = re.findall(r'^    (\w+): (.+(?:\n {5,}.+)*)', section, flags=re.M)
    return {name: _markdown(' '.join(text.split())) for name, text in found}


def _markdown(text: str) -> str:
    return text.replace('``', '`').removesuffix('.')


@dataclass(frozen=True)
class Endpoint:
    """One publisher, subscription, service or action of a node.

    Attributes:
        kind: ``publisher``, ``subscription``, ``service`` or ``action``.
        topic: Relative name; ``<model>`` stands for the model name.
        type: E.g. ``sensor_msgs/msg/Image``.
        node: The node; ``every node`` where any has it.
        qos: Names of the profiles of `adet.qos` it may have, in order.
    """

    kind: str
    topic: str
    type: str
    node: str
    qos: tuple[str, ...]


_KINDS = {
    'create_publisher': 'publisher',
    'create_subscription': 'subscription',
    'create_service': 'service',
    'ActionServer': 'action',
}
# Whose endpoints a module makes, where that is not the node it is called after.
_NODES = {
    'detector': '<model>_detector',
    'bundle_services': '<model>_detector',
    'image_topic': '<model>_detector',
    'inspect_services': '<model>_detector',
    'live_parameters': '<model>_detector',
    'preview': '<model>_detector',
    'result_topics': '<model>_detector',
    'diagnostics': 'every node',
}
_PROFILE = re.compile(r'qos\.(\w+)')


def endpoints() -> list[Endpoint]:
    """Every publisher, subscription, service and action that the nodes make."""
    return [
        _endpoint(call, kind, path, tree)
        for path, tree in modules().items()
        if path.parent.name == 'nodes' or path.stem in _NODES
        for call, kind in _calls(tree)
    ]


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).split('.')[-1]
            if name in _KINDS:
                yield node, _KINDS[name]


def _endpoint(call: ast.Call, kind: str, path: Path, tree: ast.Module) -> Endpoint:
    first = 1 if kind == 'action' else 0
    imported = {
        alias.asname or alias.name: f'{node.module.replace(".", "/")}/{alias.name}'
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    topic = re.sub(r'\{[\w.]+\}', '<model>', ast.unparse(call.args[first + 1])).strip("f'")
    node = _NODES.get(path.stem, path.stem)
    profiles = _PROFILE.findall(' '.join(_spelled(word, tree) for word in call.args[first + 2 :]))
    return Endpoint(kind, topic, imported[ast.unparse(call.args[first])], node, tuple(profiles))


def _spelled(value: ast.expr, tree: ast.Module) -> str:
    """An argument's source; that of what was assigned to it if it is a local name."""
    if isinstance(value, ast.Name):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target, given in _pairs(node):
                    if target == value.id:
                        return ast.unparse(given)
    return ast.unparse(value)


def _pairs(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(map(ast.unparse, target.elts), node.value.elts, strict=True)
        else:
            yield ast.unparse(target), node.value


def interfaces() -> dict[str, list[list[Entry]]]:
    """Of each message, service and action: the fields of its parts, by type name."""
    files = sorted(INTERFACES.glob('*/*.*'), key=lambda path: (path.suffix, path.name))
    return {
        f'adet_interfaces/{path.suffix[1:]}/{path.stem}': [
            _message_fields(part) for part in path.read_text(encoding='utf-8').split('\n---\n')
        ]
        for path in files
        if path.suffix in ('.msg', '.srv', '.action')
    }


def _message_fields(text: str) -> list[Entry]:
    """Fields of one part; the comment above a group of lines describes the group."""
    rows = []
    for paragraph in re.split(r'\n\s*\n', text):
        comments: list[str] = []
        lines: list[str] = []
        for line in paragraph.strip().splitlines():
            (comments if line.startswith('#') else lines).append(line.lstrip('# ').strip())
        meaning = _markdown(' '.join(comments))
        rows += [Entry(line.split()[1], line.split()[0], '', meaning) for line in lines]
    return rows
