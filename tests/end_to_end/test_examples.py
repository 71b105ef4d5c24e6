# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The scripts of examples/ do what they say."""

from __future__ import annotations

from pathlib import Path
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from shell_blocks import ROOT

EXAMPLES = ROOT / 'examples'


def output_of(script: str, *words: object) -> list[str]:
    """The lines that an example prints."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.training
def test_a_folder_is_inspected(deployed):
    lines = output_of('inspect_folder.py', deployed.bundle, deployed.test_folder)
    assert len(lines) == 16
    assert all(line.startswith(('normal  0.', 'ANOMALY 0.', 'ANOMALY 1.')) for line in lines)
    named = {Path(word) for line in lines for word in line.split() if word.endswith('.png')}
    normal, anomaly = (deployed.test_folder / name for name in ('normal', 'anomaly'))
    assert named == {*normal.glob('*.png'), *anomaly.glob('*.png')}


@pytest.mark.training
def test_a_retraining_is_rolled_back(deployed, tmp_path):
    bundle = tmp_path / 'PaDiM'
    shutil.copytree(deployed.bundle, bundle)
    before, after, back = output_of(
        'retrain_and_rollback.py', bundle, deployed.data_root / 'train' / 'plate'
    )
    assert before.split()[1] == back.split()[1]
    assert after.split()[1] != before.split()[1]


@pytest.mark.ros
def test_results_are_printed_as_they_come():
    rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    from adet_interfaces.msg import AnomalyResult

    from adet import qos

    result = AnomalyResult(score=12.5, is_anomalous=True)
    result.header.stamp.sec = 7
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node('detector', context=context)
    script = [sys.executable, str(EXAMPLES / 'subscribe_to_results.py'), 'padim']
    # Its reader is volatile, so it hears only what is published from then on.
    publisher = node.create_publisher(AnomalyResult, 'padim/result', qos.every_frame())
    heard = threading.Event()

    def publish() -> None:
        while not heard.wait(0.2):
            publisher.publish(result)

    thread = threading.Thread(target=publish)
    thread.start()
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as printer:
        try:
            assert printer.stdout is not None
            assert printer.stdout.readline() == '7.000000000 12.500 ANOMALY\n'
        finally:
            heard.set()
            thread.join()
            printer.send_signal(signal.SIGINT)
    assert printer.returncode == 0
    node.destroy_node()
    context.try_shutdown()
