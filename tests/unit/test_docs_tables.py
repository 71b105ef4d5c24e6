# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the documentation are those that `tools/docs_tables.py` makes from the sources."""

from __future__ import annotations

from dataclasses import fields, MISSING
import importlib
from pathlib import Path
import re
import sys

import docs_sources
import docs_tables
import pytest
from shell_blocks import ROOT

PAGE_IDS = [str(page.relative_to(ROOT)) for page in docs_tables.PAGES]
ON_DISK = [
    'Manifest',
    'ImageSpec',
    'TileSpec',
    'Box',
    'BackboneSpec',
    'Threshold',
    'ScoreRange',
    'FileEntry',
    'DatasetInfo',
    'EngineRecord',
    'Parity',
    'PlanRecord',
    'BuildOptions',
    'RetrainReport',
    'Figures',
    'KnownImages',
    'Record',
    'EvaluationFigures',
    'ForwardSettings',
    'MqttSettings',
    'WebhookSettings',
    'OpcUaSettings',
    'JobGroup',
    'UploadSettings',
]
OPTIONS = [
    'InspectLaunchOptions',
    'ImageSourceOptions',
    'DetectorOptions',
    'CsvRecorderOptions',
    'RetrainServerOptions',
    'EvaluateOptions',
    'ConsoleLaunchOptions',
    'ForwarderLaunchOptions',
    'FleetLaunchOptions',
]


def imported(name: str) -> type:
    """The class itself, where what its module needs is installed."""
    _, tree = docs_sources.class_named(name)
    path = next(path for path, found in docs_sources.modules().items() if found is tree)
    root = next(r for r in reversed(docs_sources.PACKAGE_ROOTS) if path.is_relative_to(r))
    module = '.'.join(path.relative_to(root).with_suffix('').parts).removesuffix('.__init__')
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        pytest.skip(f'{error} (needs ROS 2)')


@pytest.mark.parametrize('page', docs_tables.PAGES, ids=PAGE_IDS)
def test_no_table_is_stale(page: Path, capsys):
    stale = docs_tables.renewed(page) != page.read_text(encoding='utf-8')
    assert not stale, f'{page.name}: run tools/docs_tables.py'
    if skipped := capsys.readouterr().err:
        pytest.skip(skipped)


@pytest.mark.parametrize('name', [*ON_DISK, *OPTIONS])
def test_what_is_read_of_the_source_is_what_python_makes_of_it(name: str):
    actual = {field.name: field for field in fields(imported(name))}
    read = docs_sources.entries_of(name)
    assert [entry.name for entry in read] == list(actual)
    for entry in read:
        field = actual[entry.name]
        required = field.default is MISSING and field.default_factory is MISSING
        assert (entry.default == docs_sources.REQUIRED) == required, entry
        assert entry.type == field.type
        if field.metadata:
            assert entry.meaning.startswith(field.metadata['description'])


def test_every_file_option_topic_and_message_has_its_table():
    pages = '\n'.join(page.read_text(encoding='utf-8') for page in docs_tables.PAGES)
    marks = set(re.findall(r'<!-- table: ([^>]+) -->', pages))
    wanted = {f'options {name}' for name in OPTIONS} | {
        'topics',
        'services',
        'interfaces',
        'commands',
    }
    assert wanted <= marks
    assert set(ON_DISK) <= {mark.split()[-1] for mark in marks}


def test_a_stale_table_is_found_and_made_anew(tmp_path: Path, monkeypatch, capsys):
    page = tmp_path / 'page.md'
    page.write_text(
        'before\n<!-- table: fields FileEntry -->\nold\n<!-- end of table -->\nafter\n'
    )
    monkeypatch.setattr(docs_tables, 'PAGES', [page])
    monkeypatch.setattr(sys, 'argv', ['docs_tables.py', '--check'])
    assert docs_tables.main() == 1
    assert 'page.md: a table is stale; run tools/docs_tables.py' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', ['docs_tables.py'])
    assert docs_tables.main() == 0
    text = page.read_text()
    assert '| `sha256` | string |' in text
    assert 'old' not in text
    assert text.startswith('before\n')
    assert text.endswith('after\n')


def test_a_field_without_a_description_is_refused(monkeypatch):
    bare = docs_sources.Entry('size', 'int', 'required', '')
    monkeypatch.setattr(docs_tables, 'entries_of', lambda _: [bare])
    with pytest.raises(docs_sources.DocsError, match=r'FileEntry\.size has no description'):
        docs_tables.fields_table('FileEntry')


def test_the_topics_say_who_publishes_and_who_reads_with_which_profile():
    rows = docs_tables.topics_table('').splitlines()
    (line,) = [row for row in rows if row.startswith('| `image_raw`')]
    assert '`image_source` (newest only or every frame)' in line
    assert '`<model>_detector` (every frame or any camera)' in line
