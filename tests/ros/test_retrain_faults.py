# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Real processes killed at random instants of a retraining: one whole bundle inspects."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
import random
import shutil
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from action_msgs.msg import GoalStatus
from adet_interfaces.msg import AnomalyResult
from adet_interfaces.srv import LoadBundle
from robot import children_of, Client, killed_after, publish
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet.conversions import to_image_message, to_stamp
from adet_core.bundle import open_bundle, rollback
from adet_core.image import read_image
from adet_core.inference.detector import Detector

pytestmark = pytest.mark.ros

_DEADLINE_S = 60.0


@pytest.fixture
def image(robot):
    return sorted((robot.data_root / 'test' / 'plate' / 'anomaly').glob('*.png'))[0]


def until_gone(pids):
    deadline = time.monotonic() + _DEADLINE_S
    while any(Path(f'/proc/{pid}').exists() for pid in pids):
        assert time.monotonic() < deadline, 'a child lives on'
        time.sleep(0.02)


def test_a_child_killed_at_any_instant_leaves_what_was(ros, robot, client, deployed, image):
    ros.detector(deployed, **robot.parameters)
    heard = ros.hear(AnomalyResult, 'padim/result')
    chance, killed = random.Random(0), 0
    for number in range(1, 11):
        client.feedback.clear()
        handle = client.send(model='padim')
        ended = ros.do(handle.get_result_async)
        # Not after so many seconds, which are another instant on every machine.
        stage = chance.choice(['load', 'extract', 'fit', 'calibrate', 'validate', 'write'])
        ros.until(
            lambda e=ended, s=stage: e.done() or any(one.stage == s for one in client.feedback),
            f'{stage} or the end',
        )
        time.sleep(chance.uniform(0, 0.2))
        for child in children_of(os.getpid()):
            os.kill(child, 9)
        status, result = client.result(handle)
        assert robot.in_service() == result.bundle_id
        assert publish(ros, image, number, heard).bundle_id == result.bundle_id
        if status == GoalStatus.STATUS_SUCCEEDED:
            assert client.run(model='padim', mode='rollback')[1].success
        else:
            killed += 1
            assert 'was killed by signal 9' in result.message
            assert result.bundle_id == robot.deployed_id
    assert killed


def test_a_server_killed_at_any_instant_leaves_no_child_and_a_whole_bundle(
    ros, robot, deployed, image
):
    ros.detector(deployed, **robot.parameters)
    heard = ros.hear(AnomalyResult, 'padim/result')
    chance = random.Random(1)
    to_detector = f'padim/load_bundle:={ros.namespace}/padim/load_bundle'
    for number in range(1, 6):
        # Another namespace each time: a dead server is only forgotten after a while.
        place = f'{ros.namespace}/server{number}'
        parameters = robot.server_parameters
        with killed_after('retrain_server', place, parameters, [to_detector]) as server:
            client = Client(ros, f'{place}/retrain')
            client.ask(model='padim')
            # Its answers may be lost: DDS does not always survive that others were killed.
            ros.until(lambda s=server: children_of(s.pid), 'the retraining begins')
            time.sleep(chance.uniform(0, 2.5))
            children = children_of(server.pid)
        ros.do(client.action.destroy)
        until_gone(children)
        now = robot.in_service()
        inspected = publish(ros, image, number, heard)
        # The server may have died between the disc and the detector.
        assert inspected.bundle_id in {now, robot.deployed_id}
        answer = ros.call(LoadBundle, 'padim/load_bundle', LoadBundle.Request())
        assert (answer.success, answer.bundle_id) == (True, now)
        if now != robot.deployed_id:
            rollback(robot.bundle)
            assert ros.call(LoadBundle, 'padim/load_bundle', LoadBundle.Request()).success
    # What a dead one held is free again.
    words = ['retrain', str(robot.bundle), '--images', str(robot.data_root / 'train' / 'plate')]
    done = subprocess.run(['adet', *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_detector_killed_at_any_instant_of_a_swap_comes_back_with_what_is_in_service(
    ros, robot, image
):
    ids = two_sets(robot)
    chance = random.Random(2)
    for number in range(1, 7):
        place = f'{ros.namespace}/detector{number}'
        heard = ros.hear(AnomalyResult, f'{place}/padim/result')
        parameters = {**robot.parameters, 'frames': 'every'}
        publisher = ros.publisher(ImageMessage, f'{place}/image_raw')
        swap = ros.client.create_client(LoadBundle, f'{place}/padim/load_bundle')
        with killed_after('padim_detector', place, parameters):
            assert swap.wait_for_service(_DEADLINE_S)
            wanted = next(one for one in ids if one != robot.in_service())
            rollback(robot.bundle, wanted)
            asked = swap.call_async(LoadBundle.Request())
            time.sleep(chance.uniform(0, 0.15))
        ros.client.destroy_client(swap)
        asked.cancel()
        assert robot.in_service() == wanted
        with killed_after('padim_detector', place, parameters):
            publisher.publish(message(image, number))
            ros.until(lambda h=heard: h, 'the result')
        assert heard[0].bundle_id == wanted
        assert heard[0].score == pytest.approx(ids[wanted](image).score, rel=1e-5)


def two_sets(robot):
    """Learn once; what inspects an image by either set, by id."""
    first = Detector.load(robot.bundle)
    words = ['retrain', str(robot.bundle), '--images', str(robot.data_root / 'train' / 'plate')]
    subprocess.run(['adet', *words, '--incremental'], check=True, capture_output=True)
    second = Detector.load(robot.bundle)

    def judge(detector):
        return lambda path: detector.inspect(read_image(path))

    return {one.bundle.bundle_id: judge(one) for one in (first, second)}


def message(path, stamp):
    image = read_image(path)
    header = Header(stamp=to_stamp(stamp), frame_id='camera')
    return to_image_message(image.pixels, image.encoding, header)


def test_while_bundles_are_swapped_no_image_is_lost_or_judged_by_halves(
    ros, robot, deployed, image
):
    ids = two_sets(robot)
    expected = {one: judge(image) for one, judge in ids.items()}
    first, second = expected.values()
    assert abs(first.score - second.score) > 1e-3 * first.score
    ros.detector(deployed, **robot.parameters)
    heard = ros.hear(AnomalyResult, 'padim/result')
    publisher = ros.publisher(ImageMessage, 'image_raw')
    count = 0
    for number in range(12):
        target = list(ids)[number % 2]
        rollback(robot.bundle, target)
        client = ros.client.create_client(LoadBundle, 'padim/load_bundle')
        assert client.wait_for_service(_DEADLINE_S)
        swapped = client.call_async(LoadBundle.Request())
        while not swapped.done() or count % 5:
            count += 1
            publisher.publish(message(image, count))
            # What is in flight stays below the depth of the topic, as image_source sees to.
            ros.until(lambda n=count: len(heard) > n - 8, 'results keep up')
        assert swapped.result().bundle_id == target
    ros.until(lambda: len(heard) == count, 'every image is inspected')
    assert [one.header.stamp.nanosec for one in heard] == list(range(1, count + 1))
    for one in heard:
        assert one.score == pytest.approx(expected[one.bundle_id].score, rel=1e-5)
        assert one.threshold == pytest.approx(expected[one.bundle_id].threshold)
    changes = sum(a.bundle_id != b.bundle_id for a, b in itertools.pairwise(heard))
    assert changes >= 10


def test_a_client_that_vanishes_changes_nothing(ros, robot, client):
    words = ['retrain-goal', '--model', 'padim', '--namespace', ros.namespace]
    with subprocess.Popen(['adet', *words]) as vanishing:
        ros.until(lambda: children_of(os.getpid()), 'the retraining begins')
        vanishing.kill()
    assert children_of(os.getpid())
    ros.until(lambda: not children_of(os.getpid()), 'the retraining ends')
    report = open_bundle(robot.bundle, in_service=True).report
    assert report is not None
    assert report.pictures
    # The server is there for the next one, as soon as it has looked for a detector.
    ros.until(lambda: client.run(model='padim', mode='rollback')[1].success, 'the next goal')
    assert robot.in_service() == robot.deployed_id


ON_A_DISC = """
set -eu
mount -t tmpfs -o size="$1" none "$2"
cp -r "$3" "$2/PaDiM"
if [ "$4" = ro ]; then mount -o remount,ro "$2"; fi
if adet retrain "$2/PaDiM" --images "$5" --incremental; then exit 9; fi
"$6" -c 'import sys; from pathlib import Path; from adet_core.inference.detector import Detector
print("whole", Detector.load(Path(sys.argv[1])).bundle.bundle_id)' "$2/PaDiM"
"""


@pytest.mark.parametrize(
    ('flag', 'reason'), [('rw', 'No space left on device'), ('ro', 'Read-only file system')]
)
def test_a_disc_that_takes_nothing_leaves_what_was(robot, tmp_path, flag, reason):
    """A file system of the test's own, where the machine allows one."""
    isolated = ['unshare', '--user', '--map-root-user', '--mount']
    place = tmp_path / 'disc'
    place.mkdir()
    probe = [*isolated, 'mount', '-t', 'tmpfs', 'none', str(place)]
    if (
        not shutil.which('unshare')
        or subprocess.run(probe, capture_output=True, check=False).returncode
    ):
        pytest.skip('no file system may be mounted here')
    used = sum(path.stat().st_size for path in robot.bundle.rglob('*') if path.is_file())
    size = used + 200_000 if flag == 'rw' else 10 * used
    words = [str(size), place, robot.bundle, flag, robot.data_root / 'train' / 'plate']
    done = subprocess.run(
        [*isolated, 'sh', '-c', ON_A_DISC, 'disc', *map(str, words), sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'whole {robot.deployed_id}' in done.stdout
    assert f'error: {place}' in done.stderr
    assert reason in done.stderr
    assert 'Traceback' not in done.stderr
