# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The layouts of Foxglove, RViz and rqt are built as these programs read them, without them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[2] / 'ros2_ws' / 'src' / 'adet' / 'config'

# Panels of Foxglove and Lichtblick, and what each is told here.
PANELS = {
    'Image': {'imageMode'},
    'Plot': {
        'paths',
        'minYValue',
        'maxYValue',
        'showLegend',
        'isSynced',
        'xAxisVal',
    },
    'RawMessages': {'topicPath', 'diffEnabled'},
    'DiagnosticSummary': {'topicToRender', 'minLevel', 'sortByLevel'},
}
LAYOUT = {'configById', 'globalVariables', 'userNodes', 'playbackConfig', 'layout'}
# The words that rviz_common's display properties know.
QOS = {
    'Durability Policy': {'Volatile', 'Transient Local', 'System Default'},
    'History Policy': {'Keep Last', 'Keep All', 'System Default'},
    'Reliability Policy': {'Reliable', 'Best Effort', 'System Default'},
}


def test_foxglove_reads_its_layout() -> None:
    found = json.loads((CONFIG / 'adet.foxglove.json').read_text(encoding='utf-8'))
    assert set(found) == LAYOUT
    for name, told in found['configById'].items():
        kind, _, number = name.partition('!')
        assert number
        assert set(told) - {'foxglovePanelTitle'} == PANELS[kind], name
    image = found['configById']['Image!map']['imageMode']
    assert set(image) <= {'imageTopic', 'colorMode', 'colorMap'}
    (path,) = found['configById']['Plot!score']['paths']
    assert path['timestampMethod'] in {'receiveTime', 'headerStamp'}
    assert set(panels_of(found['layout'])) == set(found['configById'])


def panels_of(node: Any) -> Iterator[str]:
    """The panels of a tree that is split in two at every node."""
    if isinstance(node, str):
        yield node
        return
    assert set(node) == {'direction', 'first', 'second'} | (set(node) & {'splitPercentage'})
    assert node['direction'] in {'row', 'column'}
    assert 0 < node.get('splitPercentage', 50) < 100
    yield from panels_of(node['first'])
    yield from panels_of(node['second'])


def test_rviz_reads_its_layout() -> None:
    found = yaml.safe_load((CONFIG / 'adet.rviz').read_text(encoding='utf-8'))
    assert set(found) == {'Panels', 'Visualization Manager', 'Window Geometry'}
    assert [panel['Class'] for panel in found['Panels']] == ['rviz_common/Displays']
    manager = found['Visualization Manager']
    # The frame of image_source, as it comes.
    assert manager['Global Options']['Fixed Frame'] == 'camera'
    for display in manager['Displays']:
        assert display['Class'] == 'rviz_default_plugins/Image'
        assert display['Enabled'] is display['Value'] is True
        topic = display['Topic']
        assert set(topic) == {'Depth', 'Value', *QOS}
        for name, known in QOS.items():
            assert topic[name] in known


def test_rqt_reads_its_perspective() -> None:
    found = json.loads((CONFIG / 'adet.perspective').read_text(encoding='utf-8'))
    values = dict(settings_of(found))
    running = values['pluginmanager/running-plugins']
    groups = {
        f'plugin__{name.replace("/", "__")}__{number}'
        for name, numbers in running.items()
        for number in numbers
    }
    told = set(found['groups']['pluginmanager']['groups'])
    # The robot monitor has nothing to be told.
    assert told == {group for group in groups if 'robot_monitor' not in group}
    for group in told:
        (setting,) = (name for name in values if f'/{group}/plugin/' in name)
        assert values[setting].startswith('/padim/')


def settings_of(group: dict[str, Any], place: str = '') -> Iterator[tuple[str, Any]]:
    """The settings of qt_gui: groups in groups, and values as Python writes them."""
    assert set(group) == {'keys', 'groups'}
    for name, told in group['keys'].items():
        assert set(told) == {'type', 'repr'}
        assert told['type'] == 'repr'
        yield f'{place}{name}', ast.literal_eval(told['repr'])
    for name, inner in group['groups'].items():
        yield from settings_of(inner, f'{place}{name}/')
