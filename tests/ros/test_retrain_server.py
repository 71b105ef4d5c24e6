# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The retrain action over DDS, with real children, and the pictures operators mark."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from action_msgs.msg import GoalStatus
from adet_interfaces.action import Retrain
from adet_interfaces.msg import AnomalyResult
from adet_interfaces.srv import MarkResult
from rclpy.action import ActionClient
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from adet.conversions import to_image, to_stamp
from adet.nodes.retrain_server import RetrainServer
from adet_core.bundle import open_bundle
from adet_core.detector import Detector
from adet_core.pictures import read_picture
from adet_core.synth import write_dataset

pytestmark = pytest.mark.ros


class Robot:
    """A deployed PaDiM with its data, and pictures it does not know yet."""

    def __init__(self, deployed, root):
        self.models_root = shutil.copytree(deployed.models_root, root / 'models')
        self.data_root = shutil.copytree(deployed.data_root, root / 'data')
        self.bundle = self.models_root / 'PaDiM'
        self.deployed_id = open_bundle(self.bundle).bundle_id
        new = root / 'new'
        write_dataset(
            new, category='plate', train=15, test_normal=1, test_anomaly=1, size=128, seed=8
        )
        for path in (new / 'train' / 'plate').iterdir():
            shutil.copy(path, self.data_root / 'train' / 'plate' / f'new_{path.name}')

    def in_service(self):
        """The id of what is in service on disk, after a look at all of it."""
        return Detector.load(self.bundle).bundle.bundle_id

    @property
    def parameters(self):
        return {'models_root': str(self.models_root), 'data_root': str(self.data_root)}


@pytest.fixture
def robot(deployed, tmp_path):
    return Robot(deployed, tmp_path)


class Client:
    """Sends goals."""

    def __init__(self, ros):
        self.ros = ros
        self.feedback = []
        self.action = ActionClient(ros.client, Retrain, 'retrain')
        assert self.action.wait_for_server(30)

    def send(self, **goal):
        """Send a goal; returns its handle."""
        sent = self.action.send_goal_async(
            Retrain.Goal(**goal), feedback_callback=lambda m: self.feedback.append(m.feedback)
        )
        self.ros.until(sent.done, 'the goal is taken')
        assert sent.result().accepted
        return sent.result()

    def result(self, handle):
        """Wait for the end: status and result."""
        ended = handle.get_result_async()
        self.ros.until(ended.done, 'the goal ends')
        return ended.result().status, ended.result().result

    def run(self, **goal):
        return self.result(self.send(**goal))

    def until_stage(self, stage):
        self.ros.until(lambda: any(one.stage == stage for one in self.feedback), stage)


@pytest.fixture
def client(ros, robot):
    ros.start(RetrainServer, **robot.parameters)
    made = Client(ros)
    yield made
    made.action.destroy()


def publish(ros, path, stamp, heard):
    """Let the detector judge a picture; returns the result."""
    header = Header(stamp=to_stamp(stamp), frame_id='camera')
    picture = read_picture(path)
    ros.publisher(Image, 'image_raw').publish(to_image(picture.pixels, picture.encoding, header))
    ros.until(lambda: any(one.header.stamp == header.stamp for one in heard), 'the result')
    return next(one for one in heard if one.header.stamp == header.stamp)


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
    assert result.threshold == result.after.threshold != result.before.threshold
    stages = list(dict.fromkeys(one.stage for one in client.feedback))
    wanted = ['load', 'extract', 'fit', 'calibrate', 'validate', 'write', 'swap']
    assert [stage for stage in stages if stage in wanted] == wanted
    after = publish(ros, path, 2, heard)
    assert after.bundle_id == result.bundle_id
    assert after.threshold == pytest.approx(result.threshold)
    assert after.score == pytest.approx(
        Detector.load(robot.bundle).inspect(read_picture(path)).score, rel=1e-5
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
        ({'model': 'padim', 'images': '/etc'}, '/etc, which is not inside'),
        ({'model': 'padim', 'images': '{data}/../..'}, 'which is not inside'),
        ({'model': 'padim', 'images': '{data}/none'}, 'none: no such folder'),
        ({'model': 'padim', 'images': '{data}/empty'}, 'empty: holds no pictures'),
        ({'model': 'padim', 'test_dir': '/etc'}, 'test_dir is /etc, which is not inside'),
        ({'model': 'padim', 'images': '{data}/test/plate'}, 'is labelled as an anomaly'),
        ({'model': 'padim', 'overrides': ['magic=1']}, "'magic=1' is no setting"),
        ({'model': 'padim', 'overrides': ['held_out=2']}, "held_out is '2', expected a number"),
    ],
)
def test_a_goal_that_cannot_work_ends_with_the_reason(robot, client, goal, reason):
    (robot.data_root / 'empty').mkdir()
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
    cancelled = handle.cancel_goal_async()
    ros.until(cancelled.done, 'the cancel is answered')
    status, result = client.result(handle)
    # What was already done by then stays done.
    expected = {
        GoalStatus.STATUS_CANCELED: robot.deployed_id,
        GoalStatus.STATUS_SUCCEEDED: result.bundle_id,
    }
    assert robot.in_service() == expected[status] == result.bundle_id
    # The next goal is none the worse.
    client.feedback.clear()
    if status == GoalStatus.STATUS_CANCELED:
        assert client.run(model='padim')[1].success


def test_a_second_goal_is_refused_while_one_runs(robot, client):
    first = client.send(model='padim')
    client.until_stage('load')
    status, result = client.run(model='padim')
    assert status == GoalStatus.STATUS_ABORTED
    assert 'a retraining runs already' in result.message
    assert client.result(first)[1].success
    assert robot.in_service() != robot.deployed_id


def children_of(pid):
    found = subprocess.run(
        ['ps', '-o', 'pid=,args=', '--ppid', str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in found.stdout.splitlines() if 'retrain' in line]


def test_a_child_that_is_killed_is_told_of_and_leaves_what_was(robot, client):
    handle = client.send(model='padim')
    client.until_stage('load')
    (child,) = children_of(os.getpid())
    os.kill(child, signal.SIGKILL)
    status, result = client.result(handle)
    assert status == GoalStatus.STATUS_ABORTED
    assert 'was killed by signal 9' in result.message
    assert robot.in_service() == robot.deployed_id == result.bundle_id


def test_a_server_that_is_killed_leaves_no_child_and_a_whole_bundle(ros, robot):
    words = [f'{name}:={value}' for name, value in robot.parameters.items()]
    command = [sys.executable, '-m', 'adet.nodes.retrain_server', '--ros-args']
    command += [word for pair in words for word in ('-p', pair)]
    command += ['-r', f'__ns:={ros.namespace}']
    with subprocess.Popen(command) as server:
        client = Client(ros)
        client.send(model='padim')
        client.until_stage('load')
        children = children_of(server.pid)
        assert children
        server.send_signal(signal.SIGKILL)
    client.action.destroy()
    deadline = time.monotonic() + 60
    while any(Path(f'/proc/{pid}').exists() for pid in children):
        assert time.monotonic() < deadline, 'the child lives on'
        time.sleep(0.05)
    report = open_bundle(robot.bundle, in_service=True).report
    assert robot.in_service() == robot.deployed_id or report is not None


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
    assert (read_picture(stored).pixels == read_picture(path).pixels).all()
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
    known = open_bundle(robot.bundle, in_service=True).known_pictures()[0]
    assert 'frame_5.png' in known.values()
    for bad, reason in (
        (MarkResult.Request(verdict='maybe'), "verdict is 'maybe', expected one of: fine, bad"),
        (MarkResult.Request(verdict='bad', stamp=to_stamp(99)), 'no picture with stamp 99 ns'),
    ):
        answer = ros.call(MarkResult, 'padim/mark', bad)
        assert not answer.success
        assert reason in answer.message


def test_anomalous_pictures_are_saved_for_review_and_the_folder_has_a_bound(ros, robot, deployed):
    node = ros.detector(
        deployed, **robot.parameters, save_frames='both', keep_limit=2, threshold=0.0
    )
    heard = ros.hear(AnomalyResult, 'padim/result')
    paths = sorted((robot.data_root / 'test' / 'plate' / 'anomaly').glob('*.png'))
    for number, path in enumerate(paths[:4], start=1):
        assert publish(ros, path, number, heard).is_anomalous
        ros.until(lambda n=number: node._frames.saved == n, 'stored')
    folder = robot.data_root / 'review' / 'plate'
    assert sorted(path.name for path in folder.glob('*.png')) == ['frame_3.png', 'frame_4.png']
    assert len(list(folder.iterdir())) == 4
