# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that is to be retrained, and who asks it to."""

from __future__ import annotations

from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import subprocess

from adet_interfaces.action import Retrain
from ament_index_python.packages import get_package_prefix
from rclpy.action import ActionClient
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet.conversions import to_image_message, to_stamp
from adet_core.bundle import open_bundle
from adet_core.image import read_image
from adet_core.inference.detector import Detector

# What camera_calibration writes.
CALIBRATION = """
image_width: 64
image_height: 48
camera_name: left
camera_matrix: {rows: 3, cols: 3, data: [50, 0, 32, 0, 51.5, 24, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [50, 0, 32, 0, 0, 51.5, 24, 0, 0, 0, 1, 0]}
"""


class Robot:
    """A deployed PaDiM with its data, and images it does not know yet."""

    def __init__(self, deployed, new_images, root):
        self.models_root = shutil.copytree(deployed.models_root, root / 'models')
        self.data_root = shutil.copytree(deployed.data_root, root / 'data')
        self.bundle = self.models_root / 'PaDiM'
        self.deployed_id = open_bundle(self.bundle).bundle_id
        for path in new_images.iterdir():
            shutil.copy(path, self.data_root / 'train' / 'plate' / f'new_{path.name}')

    def in_service(self):
        """The id of what is in service on disk, after a look at all of it."""
        return Detector.load(self.bundle).bundle.bundle_id

    @property
    def parameters(self):
        return {'models_root': str(self.models_root), 'data_root': str(self.data_root)}

    @property
    def server_parameters(self):
        """Those of the server; its children stand back behind nobody, such as other tests."""
        return {**self.parameters, 'niceness': max(os.nice(0), 0)}


class Client:
    """Sends goals."""

    def __init__(self, ros, name='retrain'):
        self.ros = ros
        self.feedback = []
        self.action = ActionClient(ros.client, Retrain, name)
        assert self.action.wait_for_server(30)

    def ask(self, **goal):
        """Send a goal; returns the future of its handle."""
        return self.ros.do(
            lambda: self.action.send_goal_async(
                Retrain.Goal(**goal), feedback_callback=lambda m: self.feedback.append(m.feedback)
            )
        )

    def send(self, **goal):
        """Send a goal; returns its handle."""
        sent = self.ask(**goal)
        self.ros.until(sent.done, 'the goal is taken')
        assert sent.result().accepted
        return sent.result()

    def result(self, handle):
        """Wait for the end: status and result."""
        ended = self.ros.do(handle.get_result_async)
        self.ros.until(ended.done, 'the goal ends')
        return ended.result().status, ended.result().result

    def run(self, **goal):
        return self.result(self.send(**goal))

    def until_stage(self, stage):
        self.ros.until(lambda: any(one.stage == stage for one in self.feedback), stage)


def publish(ros, path, stamp, heard):
    """Let the detector inspect an image; returns the result."""
    header = Header(stamp=to_stamp(stamp), frame_id='camera')
    image = read_image(path)
    ros.publisher(ImageMessage, 'image_raw').publish(
        to_image_message(image.pixels, image.encoding, header)
    )
    ros.until(lambda: any(one.header.stamp == header.stamp for one in heard), 'the result')
    return next(one for one in heard if one.header.stamp == header.stamp)


def children_of(pid):
    """The retrainings that a process runs."""
    found = subprocess.run(
        ['ps', '-ww', '-o', 'pid=,args=', '--ppid', str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line.split()[0]) for line in found.stdout.splitlines() if '--child' in line]


@contextmanager
def killed_after(name, namespace, parameters, remap=()):
    """A node as a process of its own, which is killed at the end of the block."""
    words = [str(Path(get_package_prefix('adet'), 'lib', 'adet', name)), '--ros-args']
    for key, value in parameters.items():
        words += ['-p', f'{key}:={value}']
    for rule in (f'__ns:={namespace}', *remap):
        words += ['-r', rule]
    with subprocess.Popen(words) as process:
        try:
            yield process
        finally:
            process.kill()
