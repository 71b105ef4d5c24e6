# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What runs beside an inspection: it gets its parameters, and ends with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet import companions
from adet.companions import beside, Companion, console_of, retrain_server_of
from adet.graph import check_source, prepare_output
from adet.launch_options import InspectOptions
from adet_core.errors import ConfigError, DatasetError

# Writes down its words, and why it ended.
STUB = """
import json, pathlib, sys, time
def main():
    told = pathlib.Path(sys.argv[-1].partition(':=')[2].strip('"'))
    told.write_text(json.dumps(sys.argv[1:]))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        told.with_suffix('.ended').touch()
    return 0
"""


def test_a_companion_gets_its_words_and_ends_with_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'stub_node.py').write_text(STUB)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    told = tmp_path / 'told'
    one = Companion('stub_node', 'line1', {'depth': 3, 'file': str(told)})
    with beside([one]) as (process,):
        while not (told.exists() and told.read_text()):
            assert process.poll() is None
    assert process.returncode == 0
    assert (tmp_path / 'told.ended').exists()
    assert json.loads(told.read_text()) == [
        *('--ros-args', '-r', '__ns:=/line1', '-p', 'depth:=3', '-p', f'file:="{told}"')
    ]


def test_console_and_retrain_server_look_where_the_inspection_does() -> None:
    options = InspectOptions(source='x', data_root='d', models_root='m', output_dir='o')
    assert console_of(options).parameters == {'data_root': 'd', 'output_dir': 'o'}
    server = retrain_server_of(options)
    assert (server.parameters['models_root'], server.parameters['data_root']) == ('m', 'd')
    assert server.words[1:2] == ['-c']


def test_a_console_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companions, 'find_spec', lambda _: None)
    with pytest.raises(ConfigError, match='console needs the package adet_console'):
        console_of(InspectOptions(source='x'))


def test_a_source_that_is_not_there_leaves_no_file(tmp_path: Path) -> None:
    options = InspectOptions(source=str(tmp_path / 'none'), output_dir=str(tmp_path / 'out'))
    with pytest.raises(DatasetError, match='none: no such folder'):
        check_source(options)
    assert not (tmp_path / 'out').exists()
    check_source(InspectOptions(source='camera:7'))
    prepare_output(options)
    assert (tmp_path / 'out').is_dir()
