# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The retrain action over DDS, with real children, and the images operators mark."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from action_msgs.msg import GoalStatus
from adet_interfaces.action import Retrain
from adet_interfaces.msg import AnomalyResult
from adet_interfaces.srv import LoadBundle, MarkResult
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from docs_sources import interfaces
import rclpy
from rclpy.action import ActionServer
from robot import children_of, Client, publish

from adet.cli import retrain_goal
from adet.conversions import to_stamp
from adet.node import AdetNode
from adet_core.bundle import kept_sets, open_bundle
from adet_core.errors import ConfigError
from adet_core.image import read_image
from adet_core.inference.detector import Detector
from adet_core.progress import silent

pytestmark = pytest.mark.ros


def test_the_short_goal_learns_and_the_detector_goes_on_with_it(ros, robot, client, deployed):
    ros.detector(deployed, **robot.parameters)
    heard = ros.hear(AnomalyResult, 'padim/result')
    path = sorted((robot.data_root / 'test' / 'plate' / 'anomaly').glob('*.png'))[0]
    before = publish(ros, path, 1, heard)
    assert before.bundle_id == robot.deployed_id
    status, result = client.run(model='padim')
    assert (status, result.success) == (GoalStatus.STATUS_SUCCEEDED, True), result.message
    assert 0 < result.images_used <= 15
    assert result.bundle_id == robot.in_service() != robot.deployed_id
    assert result.after.normals == result.before.normals > 0
    assert list(result.after.made_up_strengths) == ['faint', 'clear', 'strong']
    assert list(result.after.made_up) == list(result.before.made_up)
    assert 'made-up defects (faint ' in result.message
    assert result.threshold == result.after.threshold != result.before.threshold
    stages = list(dict.fromkeys(one.stage for one in client.feedback))
    told = next(
        entry.meaning
        for part in interfaces()['adet_interfaces/action/Retrain']
        for entry in part
        if entry.name == 'stage'
    )
    # In the order that the action tells, which has more for other goals.
    assert stages == [stage for stage in told.rpartition(': ')[2].split(', ') if stage in stages]
    assert {'load', 'extract', 'fit', 'calibrate', 'validate', 'write', 'swap'} <= set(stages)
    after = publish(ros, path, 2, heard)
    assert after.bundle_id == result.bundle_id
    assert after.threshold == pytest.approx(result.threshold)
    assert after.score == pytest.approx(
        Detector.load(robot.bundle).inspect(read_image(path)).score, rel=1e-5
    )
    # And back, with one goal.
    status, result = client.run(model='padim', mode='rollback')
    assert (status, result.bundle_id) == (GoalStatus.STATUS_SUCCEEDED, robot.deployed_id)
    assert publish(ros, path, 3, heard).score == before.score
    status, result = client.run(model='padim', mode='rollback')
    assert status == GoalStatus.STATUS_ABORTED
    assert 'nothing to roll back' in result.message


@pytest.mark.parametrize(
    ('goal', 'reason'),
    [
        ({'model': 'magic'}, "unknown model 'magic'"),
        ({'model': 'vae'}, 'VAE/meta.json: missing'),
        ({'model': 'padim', 'mode': 'quick'}, "mode is 'quick', expected one of: incremental"),
        ({'model': 'padim', 'images': '/etc'}, 'images is /etc, which is not inside'),
        ({'model': 'padim', 'images': '{data}/../..'}, 'which is not inside'),
        ({'model': 'padim', 'images': '{data}/none'}, 'none: no such folder'),
        ({'model': 'padim', 'images': '{data}/linked'}, 'secret.png, which is not inside'),
        ({'model': 'padim', 'images': '~nosuchuser/x'}, "images is '~nosuchuser/x': that home"),
        ({'model': 'padim', 'images': '{data}/empty'}, 'empty: holds no images'),
        ({'model': 'padim', 'test_dir': '/etc'}, 'test_dir is /etc, which is not inside'),
        ({'model': 'padim', 'images': '{data}/test/plate'}, 'is labelled as an anomaly'),
        ({'model': 'padim', 'overrides': ['magic=1']}, "'magic=1' is no setting"),
        ({'model': 'padim', 'overrides': ['held_out=2']}, "held_out is '2', expected a number"),
    ],
)
def test_a_goal_that_cannot_work_ends_with_the_reason(robot, client, goal, reason):
    (robot.data_root / 'empty').mkdir()
    (robot.data_root / 'linked').mkdir()
    (robot.data_root.parent / 'secret.png').write_bytes(b'secret')
    (robot.data_root / 'linked' / 'secret.png').symlink_to(robot.data_root.parent / 'secret.png')
    words = {
        key: value.format(data=robot.data_root) if isinstance(value, str) else value
        for key, value in goal.items()
    }
    status, result = client.run(**words)
    assert (status, result.success) == (GoalStatus.STATUS_ABORTED, False)
    assert reason in result.message
    assert '\n' not in result.message
    assert robot.in_service() == robot.deployed_id


@pytest.mark.parametrize('stage', ['load', 'extract', 'calibrate'])
def test_a_goal_is_cancelled_at_any_stage(ros, robot, client, stage):
    handle = client.send(model='padim')
    client.until_stage(stage)
    cancelled = ros.do(handle.cancel_goal_async)
    ros.until(cancelled.done, 'the cancel is answered')
    status, result = client.result(handle)
    assert status == GoalStatus.STATUS_CANCELED
    assert robot.in_service() == robot.deployed_id == result.bundle_id
    # The next goal is none the worse.
    assert client.run(model='padim')[1].success


def test_a_second_goal_is_refused_while_one_runs(robot, client):
    first = client.send(model='padim')
    client.until_stage('load')
    status, result = client.run(model='padim')
    assert status == GoalStatus.STATUS_ABORTED
    assert 'a retraining runs already' in result.message
    assert client.result(first)[1].success
    assert robot.in_service() != robot.deployed_id


def test_what_an_operator_marks_is_stored_and_learned(ros, robot, client, deployed):
    ros.detector(deployed, **robot.parameters)
    heard = ros.hear(AnomalyResult, 'padim/result')
    path, other = sorted((robot.data_root / 'test' / 'plate' / 'anomaly').glob('*.png'))[:2]
    publish(ros, path, 5, heard)
    second = publish(ros, other, 6, heard)
    request = MarkResult.Request(stamp=to_stamp(5), verdict='fine', note='dust')
    answer = ros.call(MarkResult, 'padim/mark', request)
    assert answer.success, answer.message
    stored = robot.data_root / 'train' / 'plate' / 'frame_5.png'
    assert Path(answer.path) == stored
    assert (read_image(stored).pixels == read_image(path).pixels).all()
    note = json.loads(stored.with_suffix('.json').read_text())
    assert note['note'] == 'dust'
    assert note['bundle_id'] == robot.deployed_id
    # Without a stamp: the newest.
    answer = ros.call(MarkResult, 'padim/mark', MarkResult.Request(verdict='bad'))
    assert answer.path.endswith('test/plate/anomaly/frame_6.png')
    assert json.loads(Path(answer.path).with_suffix('.json').read_text())['score'] == second.score
    status, result = client.run(model='padim', overrides=['max_auroc_loss=1'])
    assert status == GoalStatus.STATUS_SUCCEEDED, result.message
    assert result.after.marked == 1
    known = open_bundle(robot.bundle, in_service=True).known_images()[0]
    assert 'frame_5.png' in known.values()
    for bad, reason in (
        (MarkResult.Request(verdict='maybe'), "verdict is 'maybe', expected one of: fine, bad"),
        (MarkResult.Request(verdict='bad', stamp=to_stamp(99)), 'no image with stamp 99 ns'),
    ):
        answer = ros.call(MarkResult, 'padim/mark', bad)
        assert not answer.success
        assert reason in answer.message


def test_anomalous_images_are_saved_for_review_and_the_folder_has_a_bound(ros, robot, deployed):
    node = ros.detector(
        deployed, **robot.parameters, save_frames='both', keep_limit=2, threshold=0.0
    )
    heard = ros.hear(AnomalyResult, 'padim/result')
    paths = sorted((robot.data_root / 'test' / 'plate' / 'anomaly').glob('*.png'))
    for number, path in enumerate(paths[:4], start=1):
        assert publish(ros, path, number, heard).is_anomalous
        ros.until(lambda n=number: node._service.recent.saved == n, 'stored')
    folder = robot.data_root / 'review' / 'plate'
    assert sorted(path.name for path in folder.glob('*.png')) == ['frame_3.png', 'frame_4.png']
    assert len(list(folder.iterdir())) == 4


class Stubborn(AdetNode):
    """A detector that takes no other bundle, as one does on which the engine cannot be built."""

    def __init__(self, **options):
        super().__init__('stubborn', **options)
        self.asked = []
        self.create_service(LoadBundle, 'padim/load_bundle', self._refuse)

    def _refuse(self, request, response):
        self.asked.append(open_bundle(Path(request.folder), in_service=True).bundle_id)
        response.message = 'no memory for the engine'
        return response

    def stop(self):
        """It runs nothing."""


def test_a_set_that_the_detector_refuses_is_taken_back(ros, robot, client):
    detector = ros.start(Stubborn)
    status, result = client.run(model='padim')
    assert status == GoalStatus.STATUS_ABORTED
    (asked,) = detector.asked
    assert f'the detector refuses {asked} (no memory for the engine)' in result.message
    assert asked != robot.deployed_id == robot.in_service() == result.bundle_id
    # It is kept all the same, for when the reason is gone.
    assert [one.bundle_id for one in kept_sets(robot.bundle)] == [asked]


def test_what_came_into_service_cannot_be_cancelled_any_more(ros, robot, client, deployed):
    """The answer says so, instead of a cancelled goal whose work stays."""
    ros.detector(deployed, **robot.parameters)
    handle = client.send(model='padim')
    client.until_stage('swap')
    cancelled = ros.do(handle.cancel_goal_async)
    ros.until(cancelled.done, 'the cancel is answered')
    assert not cancelled.result().goals_canceling
    status, result = client.result(handle)
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.bundle_id == robot.in_service() != robot.deployed_id


def adet(*words):
    return subprocess.run(['adet', *words], capture_output=True, text=True, check=False)


@pytest.mark.usefixtures('client')
def test_the_commands_do_the_same_where_ros2_is_missing(ros, robot, deployed):
    ros.detector(deployed, **robot.parameters)
    heard = ros.hear(AnomalyResult, 'padim/result')
    path = sorted((robot.data_root / 'test' / 'plate' / 'anomaly').glob('*.png'))[0]
    publish(ros, path, 7, heard)
    place = ('--model', 'padim', '--namespace', ros.namespace, '--json')
    marked = adet('mark', 'bad', *place, '--stamp', '7', '--note', 'a scratch')
    assert marked.returncode == 0, marked.stderr
    stored = Path(json.loads(marked.stdout)['path'])
    assert json.loads(stored.with_suffix('.json').read_text())['note'] == 'a scratch'
    unknown = adet('mark', 'bad', *place, '--stamp', '99')
    assert (unknown.returncode, unknown.stdout) == (1, '')
    assert 'error: no image with stamp 99 ns is remembered' in unknown.stderr
    learned = adet('retrain-goal', *place)
    assert learned.returncode == 0, learned.stderr
    assert json.loads(learned.stdout)['bundle_id'] == robot.in_service() != robot.deployed_id
    again = adet('retrain-goal', *place)
    assert again.returncode == 1
    assert 'error: ' in again.stderr
    assert 'nothing new to learn' in again.stderr
    assert 'Traceback' not in again.stderr
    back = adet('retrain-goal', *place, '--mode', 'rollback')
    assert json.loads(back.stdout)['bundle_id'] == robot.in_service() == robot.deployed_id


@pytest.mark.usefixtures('client')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_cancels_what_it_asked_for(ros, robot, number):
    words = ['adet', 'retrain-goal', '--model', 'padim', '--namespace', ros.namespace]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as asking:
        ros.until(lambda: children_of(os.getpid()), 'the retraining begins')
        asking.send_signal(number)
        _, errors = asking.communicate(timeout=60)
    assert asking.returncode == 130
    assert 'Traceback' not in errors
    ros.until(lambda: not children_of(os.getpid()), 'the retraining ends')
    assert robot.in_service() == robot.deployed_id


def test_a_server_that_is_interrupted_in_a_goal_ends_in_order(ros, robot):
    words = [sys.executable, '-m', 'adet.nodes.retrain_server', '--ros-args']
    words += [
        word
        for name, value in robot.server_parameters.items()
        for word in ('-p', f'{name}:={value}')
    ]
    words += ['-r', f'__ns:={ros.namespace}']
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        client = Client(ros)
        client.ask(model='padim')
        ros.until(lambda: children_of(server.pid), 'the retraining begins')
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=60)
    ros.do(client.action.destroy)
    assert server.returncode == 0
    assert 'never retrieved' not in errors
    assert robot.in_service() == robot.deployed_id


def test_a_client_whose_answer_is_lost_is_told(ros, monkeypatch):
    monkeypatch.setattr(retrain_goal, '_SERVER_S', 2.0)
    parser = argparse.ArgumentParser()
    retrain_goal.add_arguments(parser)
    # Nobody spins the server, so it never answers.
    deaf, client = (
        rclpy.create_node(name, namespace=ros.namespace) for name in ('deaf', 'asking')
    )
    server = ActionServer(deaf, Retrain, 'retrain', lambda _: None)
    with pytest.raises(ConfigError, match='did not say whether it took the goal'):
        retrain_goal._send(client, parser.parse_args(['--model', 'padim']), silent)
    server.destroy()
    deaf.destroy_node()
    client.destroy_node()


def test_the_server_reports_on_diagnostics(ros, client):
    heard = ros.hear(DiagnosticArray, '/diagnostics', 10)
    name = f'{ros.namespace}/retrain_server: retraining'

    def told():
        found = [s for array in heard for s in array.status if s.name == name]
        return (found[-1].level, found[-1].message, found[-1].values[0].value) if found else None

    ros.until(lambda: told() == (DiagnosticStatus.OK, 'ok', '0'), 'an idle server')
    client.run(model='vae')
    ros.until(lambda: told() and told()[0] == DiagnosticStatus.WARN, 'the failure')
    assert 'the last goal failed: ' in told()[1]
    assert 'VAE/meta.json: missing' in told()[1]
    assert client.run(model='padim')[1].success
    ros.until(lambda: told() == (DiagnosticStatus.OK, 'ok', '2'), 'the success')
