# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The documentation says what the code says: names, types, defaults, messages, command lines."""

from __future__ import annotations

import ast
from collections.abc import Iterable
import contextlib
import importlib
from itertools import pairwise
from pathlib import Path
import re
import shlex
from typing import Any

from docs_sources import PACKAGE_ROOTS
import pytest
from shell_blocks import blocks_of, PAGE_IDS, PAGES, ROOT
import yaml

from adet_core import cli
from adet_core.bundle.manifest import STATISTICS_FILES
from adet_core.errors import AdetError
from adet_core.image import ENCODINGS
from adet_core.io.folders import IMAGE_SUFFIXES
from adet_core.models.names import FOLDERS

NODES = ROOT / 'ros2_ws' / 'src' / 'adet'
CORE = ROOT / 'ros2_ws' / 'src' / 'adet_core' / 'adet_core'
INSPECT_YAML = NODES / 'config' / 'inspect.yaml'

OPTIONS = {
    'image_source': ('adet.options', 'ImageSourceOptions'),
    '<model>_detector': ('adet.options', 'DetectorOptions'),
    'csv_recorder': ('adet.options', 'CsvRecorderOptions'),
    'retrain_server': ('adet.options', 'RetrainServerOptions'),
    'Launch arguments': ('adet.launch_options', 'InspectLaunchOptions'),
    'Replay': ('adet.launch_options', 'EvaluateOptions'),
}
NO_NODES = ('Launch arguments', 'Replay')

MARK = re.compile(r'run|not run: .+|tested by (?P<file>\S+)::(?P<name>\w+)')

LAUNCH_OPTIONS = {
    'inspect.launch.py': 'Launch arguments',
    'retrain.launch.py': 'retrain_server',
    'evaluate.launch.py': 'Replay',
}


def text_of(page: str) -> str:
    return (ROOT / 'docs' / page).read_text(encoding='utf-8')


def section_of(page: str, heading: str) -> str:
    """What stands between a heading and the next one."""
    parts = re.split(r'^#+ (.+)$', text_of(page), flags=re.MULTILINE)
    found = {
        name.replace('`', ''): body for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert heading in found, f'docs/{page} has no section {heading}'
    return found[heading]


def rows_of(text: str) -> list[list[str]]:
    """Cells of the rows of all tables, without their heads, code marks taken off."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    rows = [[cell.strip().strip('`') for cell in line.strip('|').split('|')] for line in lines]
    heads = [number - 1 for number, row in enumerate(rows) if set(row[0]) == {'-'}]
    return [row for n, row in enumerate(rows) if n not in heads and set(row[0]) != {'-'}]


def nodes_of(paths: Iterable[Path]) -> list[ast.AST]:
    """The syntax of some modules, node by node."""
    return [node for path in paths for node in ast.walk(ast.parse(path.read_text('utf-8')))]


def strings_of(paths: Iterable[Path]) -> str:
    """All string constants of some modules, one below the other."""
    found = [
        node.value
        for node in nodes_of(paths)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return '\n'.join(found)


def options_of(place: str) -> dict[str, tuple[str, Any]]:
    """Type and default of each option; the default is None where there is none."""
    module, name = OPTIONS[place]
    pytest.importorskip('adet', reason='needs ROS 2')
    from adet import parameters

    kind = getattr(importlib.import_module(module), name)
    specs = parameters.options_of(kind)
    return {spec.name: (spec.type, parameters.default_of(spec)) for spec in specs}


def test_every_file_and_array_of_every_model_is_described():
    text = text_of('bundle.md')
    # What a model's file in the training package calls its statistics.
    arrays = {
        key.value
        for function in nodes_of(ROOT.glob('training/adet_training/models/*.py'))
        if isinstance(function, ast.FunctionDef) and function.name == 'statistics'
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert {'mean', 'inv_covariance', 'memory_bank'} <= arrays
    folders = {f'models/{folder}/' for folder in FOLDERS.values()}
    told = [*(f'`{name}`' for name in arrays), *(f'`{name}`' for name in STATISTICS_FILES)]
    assert [name for name in [*told, *folders] if name not in text] == []


def test_the_parameter_file_holds_every_parameter_with_its_default():
    text = INSPECT_YAML.read_text(encoding='utf-8')
    values = yaml.safe_load(text)
    nodes = [place for place in OPTIONS if place not in NO_NODES]
    assert list(values) == [f'/**/{node.replace("<model>", "padim")}' for node in nodes]
    for node, content in zip(nodes, values.values(), strict=True):
        given, declared = content['ros__parameters'], options_of(node)
        assert list(given) == list(declared)
        for name, (kind, default) in declared.items():
            assert given[name] == default or default is None, name
            assert type(given[name]).__name__ == kind.split('[')[0], name
    # A value would take the place of the bundle's own.
    assert re.search(r'^    # threshold: \d+\.\d+$', text, re.MULTILINE)


def test_every_value_of_the_parameter_file_has_a_comment():
    lines = INSPECT_YAML.read_text(encoding='utf-8').splitlines()
    for above, line in pairwise(lines):
        if re.match(r'    \w', line):
            assert above.startswith('    # '), line


@pytest.mark.parametrize('namespace', ['', '/line1', '/hall/line1'])
def test_ros_reads_the_parameter_file_in_any_namespace(namespace):
    rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    try:
        for key, content in yaml.safe_load(INSPECT_YAML.read_text('utf-8')).items():
            node = rclpy.create_node(
                key.rpartition('/')[2],
                namespace=namespace,
                context=context,
                cli_args=['--ros-args', '--params-file', str(INSPECT_YAML)],
                automatically_declare_parameters_from_overrides=True,
            )
            for name, value in content['ros__parameters'].items():
                read = node.get_parameter(name).value
                assert (list(read) if isinstance(value, list) else read) == value
            node.destroy_node()
    finally:
        context.try_shutdown()


def test_every_diagnostic_value_is_described():
    text = section_of('ros_interface.md', 'Diagnostics')
    keys = {
        key.value
        for function in nodes_of([*NODES.glob('adet/**/*.py'), *CORE.glob('inference/*.py')])
        if isinstance(function, ast.FunctionDef) and function.name in ('_health', 'figures')
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert {'in_flight', 'dropped', 'rows', 'rate_hz'} <= keys
    assert [key for key in sorted(keys) if f'`{key}`' not in text] == []


def test_exactly_the_encodings_that_are_read_are_listed():
    cells = [row[0] for row in rows_of(section_of('ros_interface.md', 'Encodings'))]
    assert sorted(re.findall(r'\w+', ' '.join(cells))) == sorted(ENCODINGS)


def test_exactly_the_suffixes_that_are_read_are_listed():
    (told,) = re.findall(r'Suffixes: `([^`]*)`', text_of('ros_interface.md'))
    assert set(told.split()) == IMAGE_SUFFIXES


def test_every_quoted_error_is_one_the_program_gives():
    sources = [
        *ROOT.glob('ros2_ws/src/*/adet*/**/*.py'),
        *ROOT.glob('training/adet_training/**/*.py'),
    ]
    scripts = [*ROOT.glob('tools/*.sh'), ROOT / 'env.sh']
    said = '\n'.join([strings_of(sources), *(path.read_text('utf-8') for path in scripts)])
    pattern = r'`((?:error: |encoding <|<encoding> )[^`]*)`'
    quoted = re.findall(pattern, text_of('troubleshooting.md'))
    assert len(quoted) > 20
    # What is between placeholders, file names and the joints of composed messages is literal.
    joint = r'<[^>]*>|: |; |/|\w+\.(?:json|onnx)\b'
    for line in quoted:
        pieces = [piece.strip() for piece in re.split(joint, line.removeprefix('error: '))]
        for piece in pieces:
            assert len(piece) < 3 or piece in said, f'{piece!r} of {line!r}'


@pytest.mark.parametrize('page', PAGES, ids=PAGE_IDS)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text(encoding='utf-8')):
        path = target.partition('#')[0]
        if path and '://' not in path:
            assert (page.parent / path).exists(), target


def test_every_file_that_the_architecture_names_exists():
    named = re.findall(r'`((?:adet|adet_[a-z]+)/[\w/.]*)`', text_of('architecture.md'))
    assert len(named) > 30
    found = [any((root / name).exists() for root in PACKAGE_ROOTS) for name in named]
    assert all(found), named[found.index(False)]


def test_the_images_stay_small():
    files = [path for path in (ROOT / 'docs' / 'images').iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000


def test_the_index_names_every_page():
    text = text_of('README.md')
    pages = {page.name for page in ROOT.glob('docs/*.md')} - {'README.md'}
    assert [name for name in sorted(pages) if f']({name})' not in text] == []


def command_lines(page: Path, start: str) -> list[str]:
    """The commands of a page that begin so, as typed."""
    blocks = [block for block in blocks_of(page) if block.language == 'sh']
    return [line for block in blocks for line in block.lines() if line.startswith(start)]


@pytest.mark.parametrize('page', PAGES, ids=PAGE_IDS)
def test_every_block_of_commands_is_run_or_says_why_not(page):
    for block in blocks_of(page):
        if block.language != 'sh':
            assert not re.search(r'^(adet|ros2|make) ', block.text, re.M), block.place
            continue
        mark = MARK.fullmatch(block.mark)
        assert mark, f'{block.place}: {block.mark!r}, see tests/shell_blocks.py'
        if mark['file']:
            text = (ROOT / mark['file']).read_text(encoding='utf-8')
            assert f'def {mark["name"]}(' in text, block.place
        for file in re.findall(r'(?:tests|docs)/[\w/]+\.\w+', block.mark):
            assert (ROOT / file).is_file(), block.place


@pytest.mark.parametrize('page', PAGES, ids=PAGE_IDS)
def test_every_adet_command_line_is_one_that_works(page):
    for line in command_lines(page, 'adet '):
        # A placeholder for a number has to be one; for anything else it may be.
        words = [
            '1' if re.fullmatch(r'[A-Z][A-Z_]*|<.*>', word) else word
            for word in shlex.split(line, comments=True)[1:]
        ]
        try:
            cli._parse(words)
        except AdetError:
            # The command of a package that is not installed here.
            continue
        except SystemExit as end:
            problem = end.code
        else:
            problem = 0
        assert not problem, line


@pytest.mark.parametrize('page', PAGES, ids=PAGE_IDS)
def test_every_option_in_the_text_is_one_of_its_command(page, capsys):
    for line in re.findall(r'`adet ([^`]*)`', page.read_text('utf-8')):
        command, *words = shlex.split(line)
        with contextlib.suppress(SystemExit, AdetError):
            cli._parse([command, '--help'])
        said = capsys.readouterr()
        # Nothing is said of a command whose package is not installed here.
        assert not said.err, line
        known = re.findall(r'--[a-z-]+', said.out)
        unknown = [word for word in words if word.startswith('--') and word not in known]
        assert not said.out or not unknown, line


@pytest.mark.parametrize('page', PAGES, ids=PAGE_IDS)
def test_every_launch_line_gives_arguments_that_exist(page):
    for line in command_lines(page, 'ros2 launch adet '):
        _, _, _, file, *arguments = shlex.split(line, comments=True)
        assert (NODES / 'launch' / file).is_file(), line
        known = options_of(LAUNCH_OPTIONS[file])
        assert {argument.partition(':=')[0] for argument in arguments} <= known.keys(), line


@pytest.mark.parametrize('page', PAGES, ids=PAGE_IDS)
def test_every_ros2_run_line_names_an_executable_and_its_parameters(page):
    setup = (NODES / 'setup.py').read_text('utf-8')
    for line in command_lines(page, 'ros2 run adet '):
        _, _, _, executable, *words = shlex.split(line, comments=True)
        kind = re.sub(r'^\w+_detector$', '<model>_detector', executable)
        node = '<model>_detector' if kind == 'detector' else kind
        assert f"'{kind} = ".replace('<model>', '{model}') in setup, line
        given = {after.split(':=')[0] for word, after in pairwise(words) if word == '-p'}
        parameters = {name for name in given if not name.startswith('qos_overrides.')}
        assert parameters <= {*options_of(node), 'threshold'}, line
