# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Managed nodes, driven through the services that a lifecycle manager calls."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_interfaces.srv import InspectNow, LoadBundle
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from adet.managed import ManagedNode
from adet.nodes.csv_recorder import CsvRecorder
from adet.nodes.image_source import ImageSource
from adet_core.errors import ConfigError
from adet_core.records import read_records, results_path

pytestmark = pytest.mark.ros

CONFIGURE, CLEAN_UP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE


@pytest.fixture
def change(ros):
    """Ask a node for a transition; returns whether it was made."""

    def ask(node, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return ros.call(ChangeState, f'{node}/change_state', request).success

    return ask


def state_of(ros, node):
    return ros.call(GetState, f'{node}/get_state', GetState.Request()).current_state.id


def test_a_manager_runs_pauses_and_frees_the_nodes_and_no_image_is_lost(
    ros, deployed, tmp_path, change
):
    waiting = {'autostart': False}
    recorder = ros.start(CsvRecorder, output_dir=str(tmp_path), **waiting)
    detector = ros.detector(deployed, **waiting)
    source = ros.start(
        ImageSource,
        source=str(deployed.test_folder),
        wait_for='padim',
        publish_rate=3.0,
        **waiting,
    )
    nodes = ('csv_recorder', 'padim_detector', 'image_source')
    assert {state_of(ros, node) for node in nodes} == {State.PRIMARY_STATE_UNCONFIGURED}
    # Nothing is open or loaded, and a service says so.
    assert not results_path(tmp_path, 'padim').exists()
    answer = ros.call(LoadBundle, 'padim/load_bundle', LoadBundle.Request())
    assert 'not configured' in answer.message
    assert not change('padim_detector', ACTIVATE)

    assert all(change(node, CONFIGURE) for node in nodes)
    heard = ros.hear(DiagnosticArray, '/diagnostics', 10)
    name = detector.get_fully_qualified_name()
    held = {f'{name}: inspection': 'not active: a lifecycle manager holds the node back'}
    ros.until(
        lambda: held.items() <= {(s.name, s.message) for a in heard for s in a.status}, 'its state'
    )
    assert 'not active' in ros.call(InspectNow, 'padim/inspect_now', InspectNow.Request()).message
    assert (source.total, source._published) == (16, 0)

    # Without a detector the source stops by itself.
    assert all(change(node, ACTIVATE) for node in ('csv_recorder', 'image_source'))
    ros.until(lambda: source._published == 3, 'three images on their way')
    assert change('padim_detector', ACTIVATE)
    ros.until(lambda: source.recorded > 3, 'rows')
    for node in nodes[1:]:
        assert change(node, DEACTIVATE)
    paused = source._published
    assert detector._images is None

    # A bundle is loaded anew, and goes on with what is in flight.
    assert change('padim_detector', CLEAN_UP)
    assert not hasattr(detector, '_service')
    assert change('padim_detector', CONFIGURE)
    assert change('padim_detector', ACTIVATE)
    ros.until(lambda: not source._in_flight, 'the rows of what was in flight')
    assert source._published == paused < source.total
    source._options = replace(source._options, publish_rate=0.0)
    assert change('image_source', ACTIVATE)
    ros.until(source.done.done, 'the end')
    rows = list(read_records(results_path(tmp_path, 'padim')))
    assert len(rows) == len({row.source for row in rows}) == source.total
    assert change('csv_recorder', DEACTIVATE)
    assert change('csv_recorder', CLEAN_UP)
    assert recorder._writers['padim']._descriptor == -1


class Fragile(ManagedNode):
    """Fails in a transition as long as it is told to."""

    def __init__(self, *, fails_in='', autostart=False, **options):
        super().__init__('fragile', **options)
        self.fails_in, self.calls = fails_in, []
        self.begin(autostart=autostart)

    def configure(self):
        self.create_timer(60.0, print)
        self.do('configure')

    def activate(self):
        self.create_timer(60.0, print)
        self.do('activate')

    def deactivate(self):
        self.calls.append('deactivate')

    def clean_up(self):
        self.calls.append('clean_up')

    def do(self, name):
        self.calls.append(name)
        if self.fails_in == name:
            raise ConfigError(f'{name} has failed')


@pytest.mark.parametrize('transition', ['configure', 'activate'])
def test_what_fails_at_the_start_is_raised(transition):
    with pytest.raises(ConfigError, match=f'{transition} has failed'):
        Fragile(fails_in=transition, autostart=True)


def test_a_transition_that_fails_may_be_tried_again_and_leaves_nothing_behind(ros, change):
    node = ros.start(Fragile)
    node.fails_in = 'activate'
    assert change('fragile', CONFIGURE)
    assert not change('fragile', ACTIVATE)
    assert state_of(ros, 'fragile') == State.PRIMARY_STATE_INACTIVE
    assert len(list(node.timers)) == 1
    node.fails_in = ''
    assert change('fragile', ACTIVATE)
    assert len(list(node.timers)) == 2
    # Not possible from here, which is no reason to end.
    assert not change('fragile', CONFIGURE)
    assert change('fragile', Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert node.calls[-2:] == ['deactivate', 'clean_up']
    assert not list(node.timers)
